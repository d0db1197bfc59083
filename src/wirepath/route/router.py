"""The router as a user starts it: sources of routes, tables, and a data plane."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..errors import ConfigError, PermissionDenied, PortError, StateError
from ..running import Running
from .claims import Claim
from .config import RouterConfig
from .driver import DriverPlane
from .forwarding import Forwarding
from .fpm import FpmServer
from .interfaces import Interfaces
from .kernel import KernelSource
from .model import Prefix
from .neighbours import Prober
from .published import Published
from .report import report
from .table import RouteTable
from .user import UserPlane

__all__ = ["Router"]

_TICK = 0.2  # seconds between two looks where nothing is heard
_PUBLISHED = 1.0  # seconds between counters for others
_PAUSE = 0.005  # and where something was: each look costs more than another route in it
_FORWARDING = {4: "net/ipv4/ip_forward", 6: "net/ipv6/conf/all/forwarding"}


class Router(Running):
    """Forwards between interfaces, from entering a ``with`` block to its end.

    The kernel stays the slow path: what is not plain forwarding goes to it, and it must be willing
    to forward (``net.ipv4.ip_forward``, ``net.ipv6.conf.all.forwarding``; a family that it does not
    forward is left to it).

    Args:
        config: what to forward between, and how.
        heard: takes a line of text for each thing worth telling, on the router's thread.

    Raises (at :meth:`start`):
        ConfigError, PermissionDenied, DeviceBusy, Unsupported, BackendUnavailable: as they say.
    """

    def __init__(self, config: RouterConfig, *, heard: Callable[[str], None] | None = None) -> None:
        self.config = config
        self.table = RouteTable()
        self.forwarding: Forwarding | None = None
        self.interfaces: Interfaces | None = None
        self.plane: DriverPlane | UserPlane | None = None
        self.report: dict[str, Any] = {}
        self._heard = heard or (lambda _: None)
        self._told_full = False
        self._told_gone: set[str] = set()
        self._claim: Claim | None = None
        self._published: Published | None = None
        self._lock = threading.Lock()
        self._ending = threading.Event()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None
        self._open = contextlib.ExitStack()

    # --- life -----------------------------------------------------------------------------------
    def start(self) -> None:
        if self._thread is not None:
            raise StateError("this router ran already (make another one)")
        config = self.config
        families = forwarded_families()
        with contextlib.ExitStack() as opened:
            if (claim := self._claimed()) is not None:
                opened.callback(claim.release)
            if config.plane == "user":  # its devices are the kernel's interfaces
                self.plane = UserPlane.of(config)
                opened.callback(self.plane.close)
            kernel = opened.enter_context(KernelSource(self.table))
            kernel.sync()
            self.interfaces = Interfaces(
                self.table,
                config.interfaces,
                rpf=config.rpf,
                families=families,
                vrf=config.vrf,
                any_vrf=config.plane == "xdp-kernel-fib",
                forwards4=_forwards4,
            )
            fpm = None
            if config.source == "fpm":
                server = FpmServer(
                    self.table, config.fpm_host, config.fpm_port, quiet=config.fpm_quiet
                )
                fpm = opened.enter_context(server)
            if self.plane is None:
                self.plane = DriverPlane(config, self.table)
                opened.callback(self.plane.close)
            if (tables := self.plane.tables) is not None:
                self.forwarding = Forwarding(
                    self.table,
                    vrf=config.vrf,
                    fib4=tables.fib4,
                    fib6=tables.fib6,
                    next_hops=tables.next_hops,
                )
            prober = opened.enter_context(Prober(self.table)) if self.forwarding else None
            self._follow()
            self.plane.attach(self.interfaces)
            if isinstance(self.plane, UserPlane) and claim is not None:
                self._published = Published(claim.holder.label)
                opened.callback(self._published.close)
                self._publish()
            self._claim = claim
            self._open = opened.pop_all()
        for text in self.forwarding.unexpressed() if self.forwarding else ():
            self._heard(f"not followed: {text}")
        self._thread = threading.Thread(
            target=self._run, args=(kernel, fpm, prober), name="wirepath-route", daemon=True
        )
        self._thread.start()

    def _claimed(self) -> Claim | None:
        """Where it cannot be written down a router in user space is by itself."""
        try:
            return Claim(self.config.interfaces, self.config.plane)
        except (PermissionDenied, PortError) as error:
            if self.config.plane != "user":
                raise
            self._heard(f"neither wirepath route counters nor stop will find this router: {error}")
            return None

    def _publish(self) -> None:
        """Counters of a program that other processes cannot read."""
        if self._published is None or self.plane is None:
            return
        try:
            self._published.write(self.plane.program)
        except PortError as error:
            self._heard(f"counters are not published any more: {error}")
            self._published.close()
            self._published = None

    def _follow(self) -> None:
        """Tables and interfaces as the sources say now."""
        assert self.interfaces is not None
        assert self.plane is not None
        with self._lock:
            before = self.interfaces.elsewhere
            self.interfaces.update(self.plane.program)
            for name, why in self.interfaces.elsewhere.items():
                if before.get(name) != why:
                    self._heard(f"left to the host: {name}, {why}")
            for name in set(self.interfaces.gone) - self._told_gone:
                self._told_gone.add(name)
                self._heard(f"gone: {name} (start the router again once there is one)")
            if self.forwarding is not None:
                self.forwarding.groups.places = self.interfaces.places
                self.forwarding.refresh()
                self._tell_refused(self.forwarding.refused)

    def _tell_refused(self, refused: Mapping[Prefix, str]) -> None:
        """Once, until there is room for all again."""
        if refused and not self._told_full:
            self._heard(f"{len(refused):,} prefixes found no room: {next(iter(refused.values()))}")
        self._told_full = bool(refused)

    def _run(self, kernel: KernelSource, fpm: FpmServer | None, prober: Prober | None) -> None:
        published = time.monotonic()
        try:
            while not self._ending.is_set():
                self._look_whether_asked()
                changed = kernel.poll(0.0 if fpm else _TICK)
                if fpm is not None:
                    changed |= fpm.poll(_TICK / 4)
                if changed:
                    self._follow()
                    # What comes at once is followed at once, what follows it together.
                    self._ending.wait(_PAUSE)
                if isinstance(self.plane, UserPlane):
                    self.plane.look()
                if time.monotonic() - published >= _PUBLISHED:
                    self._publish()
                    published = time.monotonic()
                if prober is not None and self.forwarding is not None:
                    assert self.plane is not None
                    prober.tick(self.forwarding.groups, self.plane.program, time.monotonic())
        except BaseException as error:  # told by join()
            self._error = error
        finally:
            self._ended.set()

    def _look_whether_asked(self) -> None:
        """Somebody may want the end (`wirepath route stop`). It is the owner's: until then packets
        are forwarded, and the tables have to be followed."""
        if self._claim is None or self._ended.is_set() or not self._claim.end_asked():
            return
        self._heard("ends, as it was asked to")
        self._claim.ending()
        self._ended.set()

    def stop(self) -> None:
        if self._claim is not None and not self._ending.is_set():
            self._claim.ending()
        self._ending.set()

    def join(self) -> dict[str, Any]:
        """Wait for the end. Returns the last :meth:`show`. The data plane goes, unless pinned."""
        if self._thread is not None:
            self._thread.join()
            if isinstance(self.plane, UserPlane):  # so that nothing is under way any more
                try:
                    self.plane.stop()
                except Exception as error:  # what ended a worker, told below
                    self._error = self._error or error
            if self.plane is not None and not self.report:
                self.report = self.show()
        self._open.close()
        if self._error is not None:
            raise self._error
        return self.report

    def wait(self, max_seconds: float | None = None) -> bool:
        """Wait until this router is to end: another process asked for it (`wirepath route stop`),
        or something went wrong, which :meth:`join` raises. False: not within ``max_seconds``.

        It forwards until :meth:`join`, and follows its sources until :meth:`stop`.
        """
        return self._ended.wait(max_seconds)

    def run(self, max_seconds: float | None = None) -> bool:
        """Start, and forward until Ctrl-C (False), for so long, or until asked to end (True)."""
        with self:
            self._heard(self._about())
            try:
                self.wait(max_seconds)
            except KeyboardInterrupt:
                return False
        return True

    def _about(self) -> str:
        assert self.plane is not None
        modes = ", ".join(f"{name} ({mode})" for name, mode in self.plane.modes.items())
        routes = ""
        if self.forwarding is not None:
            sizes = {family: len(fib) for family, fib in self.forwarding.fibs.items()}
            routes = f"; {sizes[4]:,} IPv4 and {sizes[16]:,} IPv6 prefixes"
        return f"{self.config.plane} on {modes}{routes}"

    # --- what can be asked of it ----------------------------------------------------------------
    def show(self) -> dict[str, Any]:
        """Interfaces, counters and tables, as plain values."""
        if self.plane is None or self.interfaces is None or self._thread is None:
            raise StateError("this router does not run (start it first)")
        with self._lock:
            out: dict[str, Any] = {"plane": self.config.plane, "modes": self.plane.modes}
            out |= report(self.plane.program)
            if isinstance(self.plane, UserPlane):
                out |= self.plane.report()
            if self.forwarding is not None:
                out["tables"] = {
                    "prefixes4": len(self.forwarding.fibs[4]),
                    "prefixes6": len(self.forwarding.fibs[16]),
                    **self.forwarding.groups.counts(),
                    "not_installed": len(self.forwarding.refused),
                    "refreshes": self.forwarding.counters["refreshes"],
                    "unexpressed": self.forwarding.unexpressed(),
                }
        return out


def _forwards4(interface: str) -> bool:
    """Of IPv6 the kernel has a switch for all of them alone."""
    try:
        name = Path("/proc/sys/net/ipv4/conf") / interface / "forwarding"
        return name.read_text().strip() != "0"
    except OSError:  # gone
        return True


def forwarded_families() -> tuple[int, ...]:
    """The families that the kernel of this network namespace forwards.

    Raises:
        ConfigError: it forwards none.
    """
    out = []
    for family, name in _FORWARDING.items():
        with contextlib.suppress(OSError):  # a kernel without IPv6
            if (Path("/proc/sys") / name).read_text().strip() != "0":
                out.append(family)
    if not out:
        raise ConfigError(
            "the kernel forwards neither IPv4 nor IPv6, and what wirepath leaves to it would be "
            "lost (sysctl -w net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1)"
        )
    return tuple(out)
