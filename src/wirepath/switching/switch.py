"""The running switch of one ``auto`` port: looks, decides, and moves flows between its paths."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from .._core import PortHandle, Steering, SwitchControl, SwitchCount
from .._core import now as clock
from ..errors import ConfigError, PortError, WirepathError
from ..ports import Port
from .config import ALL_FLOWS, KERNEL, SwitchConfig, Way, native_value
from .health import Judge, Reading
from .machine import Action, Close, Divert, Happened, Kind, Machine, Open
from .paths import LASTING, Opener

_log = logging.getLogger("wirepath.switch")

_KEPT_EVENTS = 4096
_SHOWN_EVENTS = 10
# A program that saw the share as it was may still be running: the kernel ends a poll of a NIC's
# queue, and with it every program run, within some milliseconds.
_GRACE_NS = 20_000_000
_LINGER_TICK, _LINGER_NS = 0.005, 500_000_000

_COUNTED = {
    Kind.FALL_BACK: SwitchCount.FALL_BACKS,
    Kind.RETURN: SwitchCount.RETURNS,
    Kind.REFUSED: SwitchCount.REFUSALS,
    Kind.CONFIG: SwitchCount.CHANGES,
    Kind.CONFIG_ERROR: SwitchCount.TROUBLES,
    Kind.ERROR: SwitchCount.TROUBLES,
}
_GRAVE = (Kind.FALL_BACK, Kind.REFUSED, Kind.TRIAL_FAILED, Kind.CONFIG_ERROR, Kind.ERROR)


class SwitchEvent(NamedTuple):
    """Something that happened to the switch of ``port``.

    time: ns since the Unix epoch. kind: opened, refused, active, return, share, fall_back,
    trial_failed, closed, config, config_error or error. path: the way, "" where it is about all.
    """

    time: int
    port: str
    kind: str
    path: str
    reason: str


@dataclass
class _Path:
    """An open port, and its place in the native one."""

    way: Way
    port: Port
    number: int
    splits: bool
    leaving: str = ""  # "": in use; "drain": takes nothing more; "last": polled no more
    since: int = 0
    empty: list[int] = field(default_factory=list)


class Switch:
    """Made by opening an ``auto`` port: ``port.switch``. Every method may be called from any
    thread. on_event: called with each :class:`SwitchEvent` on the thread where it came about; what
    it raises is logged by the logger ``wirepath.switch``.
    """

    def __init__(
        self,
        spec: str,
        config: SwitchConfig,
        opener: Opener,
        file: Path | None = None,
        given: Mapping[str, Any] | None = None,
    ) -> None:
        self.spec = spec
        self.on_event: Callable[[SwitchEvent], object] | None = None
        self._opener = opener
        self._file, self._given = file, dict(given or {})
        self._stamp = _stamp(file)
        self._machine = Machine(config)
        self._judge = Judge(config)
        self._events: deque[SwitchEvent] = deque(maxlen=_KEPT_EVENTS)
        self._recent: deque[SwitchEvent] = deque(maxlen=_SHOWN_EVENTS)
        self._lock = threading.RLock()
        self._wake = threading.Event()
        self._ended = False
        self._control: SwitchControl | None = None
        self._kernel: _Path | None = None
        self._way: _Path | None = None
        self._leaving: list[_Path] = []
        self._refused: dict[str, str] = {}
        self._todo: Action | None = None  # for the control thread
        self._thread = threading.Thread(target=self._run, name="wp-switch", daemon=True)

    # --- life --------------------------------------------------------------------------------
    def begin(self, handle: PortHandle) -> None:
        """Open the paths and start to look after them. Raises where none can be opened."""
        with self._lock:
            self._control = SwitchControl(handle)
            error: WirepathError | None = None
            kernel = self._machine.config.kernel
            if kernel is not None:
                try:
                    self._kernel = self._add(Way.of(kernel), kernel=True)
                except WirepathError as refusal:
                    error = refusal
                    self._refused[kernel] = str(refusal)
                    self._tell(Happened(Kind.REFUSED, kernel, str(refusal)))
            if self._kernel is None and self._machine.config.share < 100:
                self._ended = True
                why = self._refused.get(kernel or "", "not in the policy")
                raise ConfigError(
                    f"share = {self._machine.config.share:g} is not usable: it must be 100 where "
                    f"no way of the kernel takes the rest ({kernel or KERNEL}: {why})"
                )
            self._decide()
            if self._kernel is None and self._way is None:
                self._ended = True
                ways = "; ".join(f"{way}: {why}" for way, why in self._refused.items())
                kind = type(error) if isinstance(error, LASTING) else PortError
                raise kind(f"no way of {self.spec} can be opened: {ways}")
        self._thread.start()

    def end(self) -> None:
        """Stop looking. The paths stay as they are; closing the port closes them."""
        with self._lock:
            self._ended = True
        self._wake.set()
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join()

    def close_paths(self) -> None:
        """After the port's own end."""
        with self._lock:
            self._close_all()

    def _close_all(self) -> None:
        for path in (self._way, self._kernel, *self._leaving):
            if path is not None:
                path.port.close()

    # --- what users ask ----------------------------------------------------------------------
    @property
    def config(self) -> SwitchConfig:
        """What is in force."""
        return self._machine.config

    def configure(self, config: SwitchConfig | None = None, **changes: Any) -> None:  # noqa: ANN401
        """Take over another configuration, or changes of this one: ``configure(share=10)``.

        Returns when the flows have been diverted; paths are opened and closed after that. Raises
        :class:`~wirepath.errors.ConfigError`; what was in force stays then.
        """
        with self._lock:
            if config is None:
                config = self.config.replace(**changes)
            elif changes:
                config = config.replace(**changes)
            self._check(config)
            self._machine.configure(config)
            self._judge.config = config
            self._judge.forget()
            self._decide()
        self._wake.set()

    def reload(self) -> None:
        """Read the file of the option ``config`` again. Raises as :meth:`configure`, and for a
        port without one."""
        if self._file is None:
            raise ConfigError(f"{self.spec} was opened without config=FILE: there is none to read")
        self.configure(file_config(self._file, self._given))

    def events(self) -> list[SwitchEvent]:
        """What happened since the last call, oldest first, the newest 4,096."""
        out = []
        while self._events:
            out.append(self._events.popleft())
        return out

    def info(self) -> dict[str, Any]:
        """What is in force and why: ``path`` that takes flows from the kernel (None: none does),
        its ``share`` in percent, ``flows``, ``policy``; ``ways``: of each its phase, failures,
        seconds until it is tried again and the reason of its latest failure; ``delivered``: frames
        by path; ``leaving``: paths that are being read empty, with the frames still held;
        ``recent``: the latest events.
        """
        with self._lock:
            machine, now = self._machine, time.monotonic_ns()
            active = self._way is not None and (machine.share > 0 or bool(machine.flows))
            return {
                "path": machine.current if active else None,
                "kernel": self._kernel.way.text if self._kernel is not None else None,
                "share": machine.share * 100 / ALL_FLOWS,
                "flows": list(machine.flows),
                "policy": list(machine.config.policy),
                "wanted_share": machine.config.share,
                "ways": {
                    way: {
                        "phase": str(machine.phase) if way == machine.current else "closed",
                        "failures": each.failures,
                        "tried_again": not each.given_up,
                        "hold_down": max(0.0, (each.not_before - now) / 1e9),
                        "reason": each.reason,
                    }
                    for way, each in machine.candidates.items()
                },
                "refused": dict(self._refused),
                "delivered": self._control.delivered() if self._control else {},
                "leaving": {path.way.text: self._status(path) for path in self._leaving},
                "file": str(self._file) if self._file is not None else None,
                "recent": [event._asdict() for event in self._recent],
            }

    def port_info(self) -> dict[str, Any]:
        """``info()`` of the port that most frames come by."""
        with self._lock:
            machine = self._machine
            way = self._way if machine.share * 2 >= ALL_FLOWS or self._kernel is None else None
            path = way or self._kernel
            return path.port.info() if path is not None else {}

    # --- the control thread ------------------------------------------------------------------
    def _run(self) -> None:
        while not self._ended:
            self._wake.wait(self._pause())
            self._wake.clear()
            with self._lock:
                if self._ended:
                    return
                try:
                    self._watch_file()
                    self._look()
                    self._decide()
                except Exception as error:
                    _log.exception("%s: the switch failed", self.spec)
                    self._tell(Happened(Kind.ERROR, "", str(error)))

    def _pause(self) -> float:
        """Seconds to the next look: soon where a path has just begun to leave, which takes a
        moment unless nobody drives the port or somebody holds its frames."""
        recent = time.monotonic_ns() - _LINGER_NS
        soon = any(path.since > recent for path in self._leaving)
        return min(_LINGER_TICK, self.config.interval) if soon else self.config.interval

    def _watch_file(self) -> None:
        stamp = _stamp(self._file)
        if self._file is None or stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self.configure(file_config(self._file, self._given))
        except ConfigError as error:
            self._tell(Happened(Kind.CONFIG_ERROR, "", str(error)))

    def _look(self) -> None:
        path, control = self._way, self._control
        if path is None or control is None:
            return
        reading = Reading(
            now=time.monotonic_ns(),
            way=path.port.stats(),
            kernel=self._kernel.port.stats() if self._kernel is not None else {},
            share=self._machine.share,
            link=str(path.port.info().get("link", "")),
            finished=path.port.native.finished,
            polls=control.polls(),
            claimed=control.claimed(),
        )
        self._machine.look(self._judge.look(reading), reading.now)

    def _decide(self) -> None:
        self._let_go()
        while True:
            # The way that comes next may need the hook that one on its way out still has.
            action, self._todo = self._todo, None
            if action is None and not self._leaving:
                action = self._machine.step(time.monotonic_ns())
            for each in self._machine.happened:
                self._tell(each)
            self._machine.happened.clear()
            if action is None:
                return
            if isinstance(action, Open) and self._is_elsewhere():
                self._todo = action
                self._wake.set()
                return
            self._do(action)
            self._let_go()

    def _is_elsewhere(self) -> bool:
        """The caller is not the control thread, which opens ports: they belong to the network
        namespace of the thread that opens them, and opening may take seconds."""
        return self._thread.is_alive() and threading.current_thread() is not self._thread

    def _do(self, action: Action) -> None:
        now = time.monotonic_ns
        if isinstance(action, Open):
            try:
                path = self._add(Way.of(action.way), kernel=False)
            except WirepathError as error:
                self._refused[action.way] = str(error)
                lasting = isinstance(error, LASTING)
                self._machine.refused(action.way, str(error), lasting, now())
                return
            self._refused.pop(action.way, None)
            self._way = path
            self._judge.forget()
            if not path.splits:
                self._arrange(ALL_FLOWS, grew=True)
            self._machine.opened(action.way, path.splits, now())
        elif isinstance(action, Divert):
            self._divert(action.share, action.flows)
        elif isinstance(action, Close):
            self._leave()

    def _divert(self, share: int, flows: tuple[str, ...]) -> None:
        path, machine = self._way, self._machine
        assert path is not None
        grew = share >= machine.share
        try:
            if path.splits:
                path.port.native.divert(share, machine.config.named if flows else Steering())
        except WirepathError as error:
            machine.failed(f"it cannot be diverted: {error}", time.monotonic_ns())
            return
        self._judge.forget()
        self._arrange(share, grew=grew, named=bool(flows))
        machine.diverted(path.way.text, share, flows, time.monotonic_ns())

    def _arrange(self, share: int, *, grew: bool, named: bool = False) -> None:
        """Poll often what frames come by; read first what they came by before."""
        way, kernel, control = self._way, self._kernel, self._control
        if way is None or control is None:
            return
        if kernel is not None:
            control.rest(way.number, share == 0 and not named)
            first = kernel.number if grew else way.number
            control.rest(kernel.number, share >= ALL_FLOWS, first)
        self._moved(share)

    def _moved(self, share: int) -> None:
        if self._control is not None:
            self._control.count(SwitchCount.TRANSITIONS)
            self._control.set_share(native_value(share * 100 / ALL_FLOWS))

    # --- paths -------------------------------------------------------------------------------
    def _add(self, way: Way, *, kernel: bool) -> _Path:
        assert self._control is not None
        port = self._opener.open(way)
        try:
            number = self._control.add(port.native, way.text, kernel)
        except BaseException:
            port.close()
            raise
        return _Path(way, port, number, bool(port.capabilities["divert"]))

    def _leave(self) -> None:
        """The open way takes nothing from now on; what it holds is read, then it is closed."""
        path, control = self._way, self._control
        assert path is not None
        assert control is not None
        if path.splits:
            try:
                path.port.native.divert(0, Steering())
            except WirepathError as error:  # its interface is gone: then nothing comes by it
                self._tell(Happened(Kind.ERROR, path.way.text, str(error)))
        if self._machine.share or self._machine.flows:
            self._moved(0)
        control.rest(path.number, True)
        if self._kernel is not None:
            control.rest(self._kernel.number, False, path.number)
        path.leaving, path.since = "drain", time.monotonic_ns()
        if not path.splits:  # frames come by it until it is closed, so it never runs empty
            control.take_away(path.number)
            path.leaving = "last"
        self._leaving.append(path)
        self._way = None

    def _let_go(self) -> None:
        control = self._control
        assert control is not None
        for path in list(self._leaving):
            if path.leaving == "drain" and self._drained(path):
                control.take_away(path.number)
                path.leaving = "last"
            if path.leaving == "last" and control.gone(path.number):
                control.forget(path.number)
                path.port.close()
                self._leaving.remove(path)
                self._machine.closed(path.way.text, time.monotonic_ns())

    def _drained(self, path: _Path) -> bool:
        """Each queue has polled it in vain since the last frame can have come."""
        if time.monotonic_ns() - path.since < _GRACE_NS:
            return False
        empty = self._status(path)["empty_polls"]
        if not path.empty:
            path.empty = empty
            return False
        return all(b > a for a, b in zip(path.empty, empty, strict=True))

    def _status(self, path: _Path) -> dict[str, Any]:
        assert self._control is not None
        return next(p for p in self._control.paths() if p["path"] == path.number)

    # --- telling -----------------------------------------------------------------------------
    def _check(self, config: SwitchConfig) -> None:
        old = self.config
        if config.kernel != old.kernel:
            raise ConfigError(
                f"policy = {', '.join(config.policy)} is not usable: it must keep "
                f"{old.kernel or 'the kernel out'}, which it was opened with (open the port anew)"
            )
        if self._kernel is None and config.share < 100:
            raise ConfigError(
                f"share = {config.share:g} is not usable: it must be 100 where no way of the "
                "kernel is open for the rest"
            )
        self._opener.check(config.ways)

    def _tell(self, happened: Happened) -> None:
        event = SwitchEvent(clock(), self.spec, str(happened.kind), happened.way, happened.reason)
        self._events.append(event)
        self._recent.append(event)
        if self._control is not None and happened.kind in _COUNTED:
            self._control.count(_COUNTED[happened.kind])
        level = logging.WARNING if happened.kind in _GRAVE else logging.INFO
        what = " ".join(word for word in (happened.kind, happened.way) if word)
        _log.log(level, "%s: %s%s", self.spec, what, f": {happened.reason}" * bool(happened.reason))
        if self.on_event is not None:
            try:
                self.on_event(event)
            except Exception:
                _log.exception("on_event failed")


def file_config(file: Path, given: Mapping[str, Any]) -> SwitchConfig:
    """The configuration of a file; ``given`` stands for what it does not say."""
    values = SwitchConfig.read_toml(file)
    try:
        return SwitchConfig(**{**given, **values})
    except ConfigError as error:
        lines = str(error).split("\n")
        raise ConfigError("\n".join(f"{file}: {line}" for line in lines)) from None


def _stamp(file: Path | None) -> tuple[int, int, int] | None:
    """What changes when a file is written or replaced."""
    if file is None:
        return None
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size
