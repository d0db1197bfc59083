"""A capture from its beginning to its end."""

from __future__ import annotations

import os
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from .. import __version__, _core
from ..errors import ConfigError, PortError, WirepathError
from ..ports import Port
from ..ports import open as open_port
from ..series import command_of
from ..settings import problem
from ..worker import Worker
from ._source import Source
from .config import MAX_SNAPLEN, CaptureConfig
from .device_counts import PortCounts, told
from .filters import compile_filter
from .targets import Target, resolve

_MIB = 1 << 20
_REFUSED = (
    "process {pid} could not map the rings of the capture: it runs in another container, or "
    "another version of wirepath"
)


@dataclass(frozen=True)
class InterfaceSummary:
    """Frames of one interface of the file: ``seen = delivered + filtered + dropped`` once the
    capture has ended by itself (an end by ``count`` leaves some in the rings).

    dropped: found no room on the way to the capturer. received, device_drops: what the port
    itself received and lost meanwhile, None where that is not known.
    """

    name: str
    seen: int
    filtered: int
    dropped: int
    delivered: int
    received: int | None
    device_drops: int | None


@dataclass(frozen=True)
class Summary:
    """A capture so far. files: those that are there, oldest first; removed: others before them."""

    target: str
    frames: int
    bytes: int
    seconds: float
    files: list[str]
    removed: int
    interfaces: list[InterfaceSummary] = field(default_factory=list)


class Capture:
    """Captures ``target`` (see :func:`~wirepath.capture.resolve`) into a pcapng file.

    steer: the flows to open a port with, where the target is a port that nobody has open
    (:func:`wirepath.udp`, :func:`wirepath.everything`, …). Of an interface: xdp_mode is
    ``"native"``, ``"generic"`` or ``"auto"``; xdp_at is ``"before"`` the other programs on it,
    ``"after"`` them, or ``"both"``. It begins with :meth:`start`, or a ``with`` block.

    Raises :class:`~wirepath.errors.ConfigError`, :class:`~wirepath.errors.DeviceBusy` (somebody
    else captures it), :class:`~wirepath.errors.PermissionDenied` (another user's process),
    :class:`~wirepath.errors.BackendUnavailable` (no libpcap for a filter).
    """

    def __init__(
        self,
        target: str | Target,
        config: CaptureConfig,
        *,
        steer: _core.Steering | None = None,
        xdp_mode: str = "auto",
        xdp_at: str = "both",
    ) -> None:
        if xdp_at not in ("before", "after", "both"):
            raise ConfigError(problem("xdp_at", xdp_at, "before, after or both"))
        self.target = target if isinstance(target, Target) else resolve(target)
        self.config = config
        self._steer = steer
        self._xdp_mode, self._xdp_at = xdp_mode, xdp_at
        self._filter = compile_filter(config.filter)
        self._stack = ExitStack()
        self._sources: list[Source] = []
        self._session: _core.CaptureSession | None = None
        self._worker: Worker | None = None
        self._began = self._ended = 0.0
        self._more = True
        self._last: Summary | None = None

    # --- beginning -------------------------------------------------------------------------
    def start(self) -> None:
        """Put the taps in place and write the beginning of the file."""
        with self._stack as stack:
            match self.target.kind:
                case "process":
                    self._sources = [self._tap(self.target.pid, s) for s in self.target.ports]
                case "port":
                    self._open(stack)
                case "interface":
                    self._attach(stack)
            self._session = self._make_session()
            if self._worker is not None:
                self._worker.start()
            self._began = time.monotonic()
            self._stack = stack.pop_all()

    def _tap(self, pid: int, spec: str) -> Source:
        own = pid == os.getpid()
        tap = _core.TapSource(
            str(pid), spec, self.config.buffer_size * _MIB, self._snap_length, self._filter
        )
        counts = PortCounts("" if own else str(pid), spec)
        who = f"port of process {pid}" + ("" if own else f": {command_of(pid)}")
        return Source(tap, spec, who, lambda: told(counts.since()))

    def _open(self, stack: ExitStack) -> None:
        spec = self.target.name
        backend = spec.partition(":")[0]
        steer = self._steer
        if steer is None and backend in ("pcap", "null"):
            steer = _core.everything()
        if steer is None:
            raise ConfigError(
                f"{spec} is open in no process of this user, and to open it here the frames to "
                "take have to be said: --flow GROUP:PORT, or --everything (SSH over it stops "
                "meanwhile)"
            )
        port: Port = stack.enter_context(open_port(spec, steer=steer))
        source = self._tap(os.getpid(), port.spec)
        info = port.info()
        source.description = ", ".join(
            str(info[name])
            for name in ("backend", "driver", "mode", "timestamp_source")
            if info.get(name)
        )
        self._sources = [source]
        self._worker = stack.enter_context(_Stopped(Worker("capture"))).worker
        self._worker.add_port(port)

    def _attach(self, stack: ExitStack) -> None:
        from .xdp import taps_of  # noqa: PLC0415 -- needs libbpf

        self._sources = stack.enter_context(
            taps_of(
                self.target.name,
                self._xdp_mode,
                where=self._xdp_at,
                snap_length=self._snap_length,
                ring_bytes=self.config.buffer_size * _MIB,
                program=self._filter,
            )
        )

    @property
    def _snap_length(self) -> int:
        return self.config.snaplen or MAX_SNAPLEN

    def _make_session(self) -> _core.CaptureSession:
        config, system = self.config, os.uname()
        if (to_stdout := config.file == "-") and sys.stdout is not None:
            sys.stdout.flush()
        return _core.CaptureSession(
            [each.native for each in self._sources],
            [[self._interface(each)] for each in self._sources],
            path="" if to_stdout else config.file,
            fd=1 if to_stdout else -1,
            file_bytes=round((config.file_size or 0) * 1e6),
            file_ns=round((config.file_duration or 0) * 1e9),
            ring_files=config.ring_files,
            hardware=system.machine,
            os=f"{system.sysname} {system.release}",
            application=f"wirepath {__version__}",
            comment=config.comment,
        )

    def _interface(self, source: Source) -> dict[str, Any]:
        return {
            "name": source.name,
            "description": source.description,
            "filter": self.config.filter,
            "snap_length": self.config.snaplen,
        }

    # --- meanwhile -------------------------------------------------------------------------
    @property
    def ready(self) -> bool:
        """Every queue copies its frames by now. One that its process does not poll never does."""
        return all(source.ready for source in self._sources)

    @property
    def queues(self) -> int:
        """Queues of all ports that are tapped."""
        return sum(source.queues for source in self._sources)

    def step(self, seconds: float = 0.25) -> bool:
        """Write what comes for so long, at most to the end of ``duration``. False: the capture
        has come to its end, and :meth:`finish` completes the file.

        Raises :class:`~wirepath.errors.PortError` where writing fails.
        """
        session = self._running()
        if not self._more:
            return False
        if (left := self._left()) is not None:
            seconds = min(seconds, left)
        self._tell_device_counts()
        # A port of our own that has handed out all it had: what is in the rings comes yet.
        last = self._worker is not None and not self._worker.running
        self._more = session.run(max(seconds, 0.0), self.config.count)
        for source in self._sources:
            if source.refused:
                raise PortError(_REFUSED.format(pid=self.target.pid))
        if last or ((left := self._left()) is not None and left <= 0):
            self._more = False
        return self._more

    def _left(self) -> float | None:
        if self.config.duration is None:
            return None
        return self._began + self.config.duration - time.monotonic()

    def _running(self) -> _core.CaptureSession:
        if self._session is None:
            raise WirepathError("the capture has not begun: start() it, or use it in a with block")
        return self._session

    def _tell_device_counts(self) -> None:
        for number, source in enumerate(self._sources):
            source.refresh()
            received, dropped, words = source.device_counts()
            self._running().set_device_counts(number, received, dropped, words)

    # --- end -------------------------------------------------------------------------------
    def finish(self) -> Summary:
        """Take the taps away, write what they still have and the statistics of the file."""
        if self._session is not None and not self._ended:
            self._ended = time.monotonic()
            with self._stack:
                self._tell_device_counts()
                self._session.finish(self.config.count)
                self._last = self.summary()
            self._let_go()
        return self.summary()

    def _let_go(self) -> None:
        """The rings are memory that nobody needs any more."""
        self._sources, self._session = [], None

    def summary(self) -> Summary:
        """What was captured so far."""
        if self._last is not None:
            return self._last
        session = self._running()
        rows = []
        for number, source in enumerate(self._sources):
            counts = session.counts(number)
            received, lost, _ = source.device_counts()
            rows.append(
                InterfaceSummary(
                    name=source.name,
                    seen=counts["seen"],
                    filtered=counts["filtered"],
                    dropped=counts["dropped"],
                    delivered=counts["delivered"],
                    received=received,
                    device_drops=lost,
                )
            )
        return Summary(
            self.target.name,
            session.written,
            session.bytes,
            (self._ended or time.monotonic()) - self._began,
            session.files,
            session.removed,
            rows,
        )

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if exc is None:
            self.finish()
        else:  # the file ends where writing failed
            self._ended = time.monotonic()
            for source in self._sources:
                source.native.stop()
            self._stack.close()
            if self._session is not None:
                self._last = self.summary()
            self._let_go()


class _Stopped:
    """Stops a worker at the end of a block, whether or not it was started."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.worker.stop()
        self.worker.join()
