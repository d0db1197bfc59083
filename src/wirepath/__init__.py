"""Kernel-bypass networking for Python.

One API over kernel sockets, AF_XDP and captures (DPDK and ef_vi to come)::

    import wirepath as wp

    with wp.open("af_xdp:eth0", steer=wp.udp("239.1.1.1", 9001)) as port:
        for batch in port:
            sequence = batch.column(52, ">u8")      # one value of every frame, gathered natively
            print(len(batch), sequence[0], port.info()["mode"])
"""

from __future__ import annotations

from . import doctor, errors, feed, lab, tune
from ._core import (
    Batch,
    HandOff,
    HeldFrame,
    Histogram,
    Ring,
    Steering,
    __version__,
    everything,
    now,
)
from .dtypes import HEADERS, RECORD, Action, RecordFlag, Verdict
from .errors import (
    BackendUnavailable,
    CompileError,
    ConfigError,
    DeviceBusy,
    LabUnavailable,
    PermissionDenied,
    PortError,
    ReleasedError,
    Unsupported,
    WirepathError,
)
from .ingestion import IngestionClient, IngestionConfig, IngestionStats, RingBuffer
from .merge import Merge, merge
from .ports import Port, open  # wp.open() is the name users expect
from .registry import BackendStatus, backends
from .stages import Stage, StageFunction, StageWarning, be16, be32, include, load_stage, stage
from .steering import tcp, udp
from .telemetry import Snapshot, attach, counters
from .worker import Worker, WorkerGroup, workers

ABORTED = Verdict.ABORTED
DROP = Verdict.DROP
PASS = Verdict.PASS
TX = Verdict.TX
REDIRECT = Verdict.REDIRECT
KEEP = Verdict.KEEP

__all__ = [
    "ABORTED",
    "DROP",
    "HEADERS",
    "KEEP",
    "PASS",
    "RECORD",
    "REDIRECT",
    "TX",
    "Action",
    "BackendStatus",
    "BackendUnavailable",
    "Batch",
    "CompileError",
    "ConfigError",
    "DeviceBusy",
    "HandOff",
    "HeldFrame",
    "Histogram",
    "IngestionClient",
    "IngestionConfig",
    "IngestionStats",
    "LabUnavailable",
    "Merge",
    "PermissionDenied",
    "Port",
    "PortError",
    "RecordFlag",
    "ReleasedError",
    "Ring",
    "RingBuffer",
    "Snapshot",
    "Stage",
    "StageFunction",
    "StageWarning",
    "Steering",
    "Unsupported",
    "Verdict",
    "WirepathError",
    "Worker",
    "WorkerGroup",
    "__version__",
    "attach",
    "backends",
    "be16",
    "be32",
    "counters",
    "doctor",
    "errors",
    "everything",
    "feed",
    "include",
    "lab",
    "load_stage",
    "merge",
    "now",
    "open",
    "stage",
    "tcp",
    "tune",
    "udp",
    "workers",
]
