"""Kernel-bypass networking for Python.

One API over kernel sockets, AF_XDP and captures (DPDK and ef_vi to come)::

    import wirepath as wp

    with wp.open("af_xdp:eth0", steer=wp.udp("239.1.1.1", 9001)) as port:
        for batch in port:
            sequence = batch.column(52, ">u8")      # one value of every frame, gathered natively
            print(len(batch), sequence[0], port.info()["mode"])
"""

from __future__ import annotations

from . import errors, feed, lab
from ._core import Batch, Histogram, Ring, Steering, __version__, everything, now
from .dtypes import HEADERS, RECORD, Action, RecordFlag, Verdict
from .errors import (
    BackendUnavailable,
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
from .ports import Port, open  # wp.open() is the name users expect
from .registry import BackendStatus, backends
from .steering import tcp, udp
from .telemetry import Snapshot, attach, counters
from .worker import Worker

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
    "ConfigError",
    "DeviceBusy",
    "Histogram",
    "IngestionClient",
    "IngestionConfig",
    "IngestionStats",
    "LabUnavailable",
    "PermissionDenied",
    "Port",
    "PortError",
    "RecordFlag",
    "ReleasedError",
    "Ring",
    "RingBuffer",
    "Snapshot",
    "Steering",
    "Unsupported",
    "Verdict",
    "WirepathError",
    "Worker",
    "__version__",
    "attach",
    "backends",
    "counters",
    "errors",
    "everything",
    "feed",
    "lab",
    "now",
    "open",
    "tcp",
    "udp",
]
