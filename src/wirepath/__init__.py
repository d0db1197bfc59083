"""Kernel-bypass networking for Python.

One API over kernel sockets, AF_XDP, DPDK, ef_vi and captures::

    import wirepath as wp

    with wp.open("af_xdp:eth0", steer=wp.udp("239.1.1.1", 9001)) as port:
        for batch in port:
            sequence = batch.column(52, ">u8")      # one value of every frame, gathered natively
            print(len(batch), sequence[0], port.info()["mode"])
"""

from __future__ import annotations

from . import _start

_start.catch()  # before what takes time to import

# ruff: noqa: E402
from . import doctor, errors, feed, filter, lab, logs, programs, sinks, switching, tune
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
from .balancer import Balancer, BalancerConfig, Decapsulation
from .conversion import Conversion, ConvertConfig, convert
from .dtypes import (
    BBO,
    HEADERS,
    LEVEL,
    OFFENCE,
    ORDER,
    RECORD,
    Action,
    BookCheck,
    Phase,
    RecordFlag,
    Verdict,
)
from .errors import (
    BackendUnavailable,
    CompileError,
    ConfigError,
    DeviceBusy,
    ExtraMissing,
    LabUnavailable,
    PermissionDenied,
    PortError,
    ReleasedError,
    Unsupported,
    WirepathError,
)
from .feed_client import FeedClient
from .feed_config import FeedConfig
from .feed_watch import FeedEvent
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
    "BBO",
    "DROP",
    "HEADERS",
    "KEEP",
    "LEVEL",
    "OFFENCE",
    "ORDER",
    "PASS",
    "RECORD",
    "REDIRECT",
    "TX",
    "Action",
    "BackendStatus",
    "BackendUnavailable",
    "Balancer",
    "BalancerConfig",
    "Batch",
    "BookCheck",
    "CompileError",
    "ConfigError",
    "Conversion",
    "ConvertConfig",
    "Decapsulation",
    "DeviceBusy",
    "ExtraMissing",
    "FeedClient",
    "FeedConfig",
    "FeedEvent",
    "HandOff",
    "HeldFrame",
    "Histogram",
    "IngestionClient",
    "IngestionConfig",
    "IngestionStats",
    "LabUnavailable",
    "Merge",
    "PermissionDenied",
    "Phase",
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
    "convert",
    "counters",
    "doctor",
    "errors",
    "everything",
    "feed",
    "filter",
    "include",
    "lab",
    "load_stage",
    "logs",
    "merge",
    "now",
    "open",
    "programs",
    "sinks",
    "stage",
    "switching",
    "tcp",
    "tune",
    "udp",
    "workers",
]
