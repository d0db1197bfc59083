"""Ports and interfaces of the router, numbered as its program knows them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import IntFlag
from typing import Literal, NamedTuple

from ..errors import ConfigError
from ..settings import nearest, problem
from .model import LOOPBACK, UP, Link
from .program import INTERFACES, AnyRouteProgram
from .table import RouteTable

__all__ = ["Interface", "Interfaces", "Rpf"]

Rpf = Literal["off", "strict", "loose"]
_SWITCHED = ("bridge", "bond", "team", "openvswitch")


class _Flag(IntFlag):
    """Of an interface (``ROUTE_…`` in src/programs/route_shared.h)."""

    UP = 1
    RPF_STRICT = 2 | 8
    RPF_LOOSE = 4 | 16
    NO_IP4 = 32
    NO_IP6 = 64


_RPF: dict[Rpf, int] = {"off": 0, "strict": _Flag.RPF_STRICT, "loose": _Flag.RPF_LOOSE}


class Interface(NamedTuple):
    """port: number of the port whose frames are its. number: its own. vlan: 0 = without a tag."""

    port: int
    number: int
    vlan: int
    name: str


class Interfaces:
    """The router's ports with their VLAN interfaces, as the links of a :class:`RouteTable` say.

    Port n of the list has the number n + 1. VLAN interfaces are found by themselves; their numbers
    stay theirs while they exist.

    Args:
        table: brought up to date by a ``KernelSource``.
        ports: names of network interfaces, each with its own MAC address.
        rpf: the reverse-path filter of all of them.
        families: which are forwarded: 4, 6; the others are the host's.
        vrf: whose tables are followed: name of a VRF's interface; None = what belongs to none.
            Packets of interfaces elsewhere are the host's, also once one is moved.
        any_vrf: the data plane knows by itself whose an interface is.
        forwards4: whether the kernel forwards the IPv4 packets of an interface, by its name.

    Raises:
        ConfigError: an interface that there is not, is named twice, or is a member of a bridge.
    """

    def __init__(
        self,
        table: RouteTable,
        ports: Sequence[str],
        *,
        rpf: Rpf = "off",
        families: Sequence[int] = (4, 6),
        vrf: str | None = None,
        any_vrf: bool = False,
        forwards4: Callable[[str], bool] = lambda _: True,
    ) -> None:
        self.table = table
        self._vrf, self._any_vrf = vrf, any_vrf
        self._forwards4 = forwards4
        self.ports = tuple(ports)
        if not 1 <= len(ports) < INTERFACES:
            must = f"from 1 to {INTERFACES - 1} names"
            raise ConfigError(problem("interfaces", len(ports), must))
        self._flags = _RPF[rpf]
        self._flags |= 0 if 4 in families else _Flag.NO_IP4
        self._flags |= 0 if 6 in families else _Flag.NO_IP6
        by_name = {link.name: index for index, link in table.links.items()}
        self._port_of: dict[int, int] = {}
        for number, name in enumerate(ports, 1):
            index = by_name.get(name)
            others = [n for n, at in by_name.items() if not table.links[at].flags & LOOPBACK]
            must = "the name of an Ethernet interface" + nearest(name, others)
            if index is None or table.links[index].flags & LOOPBACK:
                raise ConfigError(problem("interfaces", name, must))
            if index in self._port_of:
                raise ConfigError(problem("interfaces", name, "named once"))
            self._check_master(name, table.links[index])
            self._port_of[index] = number
        self.known: dict[int, Interface] = {}
        self.full = 0  # VLAN interfaces that found no number
        #: Interfaces whose packets are the host's for where they belong, with why.
        self.elsewhere: dict[str, str] = {}
        self._free = list(range(INTERFACES - 1, len(ports), -1))
        self._written: dict[tuple[str, object], object] = {}

    @property
    def gone(self) -> list[str]:
        """Ports whose network interface is no more; another one of that name is not theirs."""
        links = self.table.links
        return [self.ports[n - 1] for index, n in self._port_of.items() if index not in links]

    def _check_master(self, name: str, link: Link) -> None:
        master = self.table.links.get(link.master)
        if master is not None and master.kind in _SWITCHED:
            raise ConfigError(
                f"interfaces: {name} is a member of {master.kind} {master.name}, whose packets are "
                f"not to be routed by their members (take it out: ip link set {name} nomaster)"
            )

    @property
    def places(self) -> Mapping[int, tuple[int, int]]:
        """Of a network interface's index the numbers of port and interface."""
        return {index: (each.port, each.number) for index, each in self.known.items()}

    def update(self, program: AnyRouteProgram | None = None) -> bool:
        """Follow the links of the table, into the program's maps.

        Returns:
            Whether :attr:`places` changed.
        """
        before = dict(self.known)
        for index in [i for i in self.known if not self._belongs(i)]:
            gone = self.known.pop(index)
            if gone.number > len(self.ports):
                self._free.insert(0, gone.number)
        self.full = 0
        for index, link in self.table.links.items():
            if not self._belongs(index):
                continue
            port = self._port_of.get(index) or self._port_of[link.parent]
            vlan = 0 if index in self._port_of else link.vlan
            was = self.known.get(index)
            if was is None and vlan and not self._free:
                self.full += 1
                continue
            number = was.number if was else (self._free.pop() if vlan else port)
            self.known[index] = Interface(port, number, vlan, link.name)
        if program is not None:
            self._write(program)
        return before != self.known

    def _belongs(self, index: int) -> bool:
        link = self.table.links.get(index)
        if link is None:
            return False
        return index in self._port_of or (link.kind == "vlan" and link.parent in self._port_of)

    def _not_ours(self, link: Link) -> str | None:
        """Why what comes in there is not to be routed by these tables."""
        if link.master:
            master = self.table.links.get(link.master)
            if master is None or master.kind != "vrf":
                return f"a member of {master.name if master else link.master}"
            if not self._any_vrf and master.name != self._vrf:
                return f"in VRF {master.name}"
        elif self._vrf is not None and not self._any_vrf:
            return f"not in VRF {self._vrf}"
        return None

    def _write(self, program: AnyRouteProgram) -> None:
        wanted: dict[tuple[str, object], object] = {}
        self.elsewhere = {}
        for index, (port, number, vlan, name) in self.known.items():
            link = self.table.links[index]
            flags = self._flags | (_Flag.UP if link.flags & UP else 0)
            if (why := self._not_ours(link)) is not None:
                flags &= ~_Flag.UP
                self.elsewhere[name] = why
            if not self._forwards4(name):
                flags |= _Flag.NO_IP4
            wanted["interfaces", number] = (index, tuple(link.mac), int(flags))
            wanted["outs", index] = (port, number, vlan, 0)
            if vlan:
                wanted["vlans", (port, vlan)] = number
        # What frames are taken for goes last when it comes, first when it goes.
        for name, key in [k for k in self._written if k not in wanted]:
            if name == "interfaces":
                program.maps[name][key] = (0, (0,) * 6, 0)
            else:
                program.maps[name].pop(key, None)
        for (name, key), value in wanted.items():
            if self._written.get((name, key)) != value:
                program.maps[name][key] = value
        self._written = wanted

    def name(self, number: int) -> str:
        """Of the interface with this number."""
        return next((i.name for i in self.known.values() if i.number == number), str(number))
