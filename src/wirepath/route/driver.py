"""The router's program in the drivers of its interfaces: a chain on each, maps in common."""

from __future__ import annotations

import secrets
from contextlib import suppress
from typing import Any

from .. import programs
from ..errors import ConfigError
from . import program as maps
from .config import RouterConfig
from .interfaces import Interfaces
from .table import RouteTable

__all__ = ["SLOT", "DriverPlane", "is_left", "running"]

SLOT = "router"
_COUNTERS = ("counters", "if_counters")


class DriverPlane:
    """The program of every port, loaded and not yet in force until :meth:`attach`.

    Args:
        config: which interfaces, and which tables.
        table: knows the links.

    Raises:
        ConfigError, DeviceBusy, PermissionDenied, Unsupported, BackendUnavailable: as they say.
    """

    def __init__(self, config: RouterConfig, table: RouteTable) -> None:
        self.config = config
        kinds = {link.name: link.kind for link in table.links.values()}
        self._chains: list[programs.Chain] = []
        self._programs: list[programs.Program] = []
        self._kernel_fib = config.plane == "xdp-kernel-fib"
        self._attached = False
        self._pinned: list[programs.Chain] = []  # not so before
        try:
            for name in config.interfaces:
                self._chains.append(programs.Chain(name, self._mode(kinds[name])))
            self._load()
            self.tables = None if self._kernel_fib else maps.ForwardingTables(self.program)
        except BaseException:
            self.close()
            raise

    def _mode(self, kind: str) -> str:
        """A veth pair takes what XDP sends out of it only where its other end has an XDP program or
        GRO; else it is lost, and nobody is told. There "auto" is the generic hook."""
        return "generic" if self.config.attach == "auto" and kind == "veth" else self.config.attach

    @property
    def program(self) -> programs.Program:
        """That of the first port; all have its maps."""
        return self._programs[0]

    def _load(self) -> None:
        config = self.config
        sizes = {"groups4": config.groups4, "groups6": config.groups6}
        options: dict[str, Any] = {}
        if not self._kernel_fib:
            options["entries"] = maps.entries(**sizes, next_hops=config.next_hops)
        seed = secrets.randbits(64)
        for number, chain in enumerate(self._chains, 1):
            given = {"seed": seed, "port": number, "kernel_fib": int(self._kernel_fib)}
            if self._programs:
                options["share"] = dict.fromkeys(self.program.maps, self.program)
            elif (before := self._left_behind(chain)) is not None:
                # Counters go on where a process before left off.
                options["share"] = dict.fromkeys(_COUNTERS, before)
            self._programs.append(chain.load(SLOT, "route", config=given, **options))

    def _left_behind(self, chain: programs.Chain) -> programs.Program | None:
        if not any(slot.slot == SLOT and slot.pid is None for slot in chain.slots()):
            return None
        with suppress(ConfigError):
            return chain.program(SLOT)
        return None

    def attach(self, interfaces: Interfaces) -> None:
        """Forward from now on: tables and interfaces are written. What a process before has left
        pinned is replaced, and no packet passes without one of the two."""
        self.program.maps["ports"].clear()
        for index, each in interfaces.known.items():
            if not each.vlan:
                self.program.maps["ports"][each.port] = index
        for chain, program in zip(self._chains, self._programs, strict=True):
            chain.put(program, stays=self.config.pin, force=self._is_left(chain))
        for chain in self._chains:
            if self.config.pin:
                if not chain.pinned:
                    self._pinned.append(chain)
                chain.pin()
            elif chain.pinned:
                chain.unpin()
        self._attached = True

    def _is_left(self, chain: programs.Chain) -> bool:
        return any(slot.slot == SLOT and slot.pid is None for slot in chain.slots())

    @property
    def modes(self) -> dict[str, str]:
        """Of each interface ``native`` or ``generic``, as the kernel says; ``gone``."""
        return {chain.interface: _mode_of(chain) for chain in self._chains}

    def close(self) -> None:
        """The programs leave the interfaces, unless they are pinned and all of them are there."""
        keep = self.config.pin and self._attached
        for chain in () if keep else self._pinned:
            chain.unpin()
        for chain in self._chains:
            chain.close(keep=keep)
        self._pinned.clear()
        self._chains.clear()


def _mode_of(chain: programs.Chain) -> str:
    try:
        return chain.mode
    except ConfigError:  # there is no interface of that name any more
        return "gone"


def running(interface: str) -> programs.Program:
    """The router's program on an interface, whoever put it there.

    Raises:
        ConfigError: there is none.
    """
    none = ConfigError(f"there is no router on {interface} (wirepath route run {interface})")
    if not any(each.name == "wirepath_root" for each in programs.attached(interface)):
        raise none
    chain = programs.Chain(interface)
    try:
        if not any(slot.slot == SLOT for slot in chain.slots()):
            raise none
        return chain.program(SLOT)
    finally:
        chain.close()


def is_left(interface: str) -> bool:
    """Whether a process that has ended left its router pinned on an interface."""
    if not any(each.name == "wirepath_root" for each in programs.attached(interface)):
        return False
    chain = programs.Chain(interface)
    try:
        return any(slot.slot == SLOT and slot.pid is None for slot in chain.slots())
    finally:
        chain.close()
