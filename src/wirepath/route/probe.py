"""What the running router would do with a packet: its own program, over its own tables.

The program is loaded a second time with all maps of the one that runs but its counters, so that it
decides as that one does, and the counters of real packets stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_interface
from typing import Any

from .. import frames, programs
from ..errors import ConfigError, Unsupported
from ..programs.program import Layout
from ..programs.source import find
from ..settings import problem
from . import claims, driver
from .program import counters_of, hop_counters, interface_counters
from .report import name_of
from .trace import Trace

__all__ = ["Probe", "Ran", "differs"]

_OWN = ("counters", "if_counters", "hop_counters")
_PEER = "02:57:50:00:00:01"  # a station on the link
_FATE = {"redirect": "forwarded", "pass": "to the host", "drop": "dropped"}
#: Counters of what the tables alone decide.
_OF_TABLES = frozenset(
    {
        *("forwarded4", "forwarded6", "to_host_local", "to_host_unresolved", "to_host_no_route"),
        *("to_host_unreachable", "to_host_prohibit", "drop_blackhole"),
    }
)
#: Where an interface has no address of that family.
_SOURCES = {4: "192.0.2.1", 6: "2001:db8::1"}
_HEADERS = {4: 28, 6: 48}
_MOST = 3400  # bytes of a packet that the kernel takes for a trial


@dataclass(frozen=True)
class Ran:
    """What became of a packet. counter: the one that it would be in. out_of and what follows: None
    unless it was forwarded; next_hop: its number, None where the kernel's table decides."""

    address: str
    interface: str
    source: str
    bytes: int
    fate: str
    counter: str
    out_of: str | None = None
    next_hop: int | None = None
    destination_mac: str | None = None
    source_mac: str | None = None
    vlan: int | None = None
    ttl: int | None = None


class Probe:
    """Asks the router that runs in the driver of an interface, or was left there by ``--pin``.

    Programs that stand before it in the interface's chain, such as a filter, are not asked.

    Args:
        interface: one of the router's, or a VLAN interface on one.

    Raises:
        ConfigError: it has no router. Unsupported: one in user space, or another version's.
    """

    def __init__(self, interface: str) -> None:
        link = _Link(interface)
        self.interface = interface
        who = claims.holder(link.port)
        if who is not None and who.plane == "user":
            raise Unsupported(
                f"the router on {link.port} is in user space, and only one in the driver can be "
                "asked (without --interface trace explains by the kernel's tables)"
            )
        running = driver.running(link.port)
        found = find("route", native=False)
        layout = Layout.of(found.bpf or b"")
        at = layout.variables["wp_config_data"]
        constants = next(m["name"] for m in running.native.maps if m["name"].endswith(".rodata"))
        self._program = programs.load(
            found,
            config=running.native.get(constants, bytes(4))[at.offset : at.offset + at.size],
            entries={"hop_counters": running.maps["hop_counters"].max_entries},
            share={name: running for name in running.maps if name not in _OWN},
        )
        if self._program.info()["tag"] != running.info()["tag"]:
            raise Unsupported(
                f"the router on {link.port} is another version's (start it again with this one)"
            )
        number = self._number(link)
        self._mac = bytes(int(b) for b in running.maps["interfaces"][number]["mac"]).hex(":")
        self._link = link

    def _number(self, link: _Link) -> int:
        for number in range(1, self._program.maps["interfaces"].max_entries):
            if int(self._program.maps["interfaces"][number]["index"]) == link.index:
                return number
        raise ConfigError(f"the router on {link.port} does not know {link.name} (yet: ask again)")

    def run(
        self,
        address: str,
        *,
        source: str | None = None,
        source_port: int = 1024,
        port: int = 33434,
        size: int = 0,
    ) -> Ran:
        """A UDP packet for ``address`` through the program.

        Args:
            address: IPv4 or IPv6, as text.
            source: where it comes from; None = a neighbour on the interface's own network.
            source_port, port: of UDP, which choose among paths as the addresses do.
            size: bytes of the IP packet, at most 3,400; 0 = without a payload.

        Raises:
            ConfigError: a value out of range.
        """
        to = _address("address", address)
        origin = _address("--source", source) if source else self._link.neighbour(to.version)
        if origin.version != to.version:
            raise ConfigError(problem("--source", str(origin), f"IPv{to.version}, as {address}"))
        for name, value in (("--source-port", source_port), ("--port", port)):
            if not 0 <= value < 1 << 16:
                raise ConfigError(problem(name, value, "from 0 to 65535"))
        least = _HEADERS[to.version]
        size = size or least
        if not least <= size <= _MOST:
            raise ConfigError(problem("--size", size, f"from {least} to {_MOST} for {address}"))
        frame = frames.udp(
            bytes(size - least),
            dst=(str(to), port),
            src=(str(origin), source_port),
            dst_mac=self._mac,
            src_mac=_PEER,
            vlan=self._link.vlan or None,
        )
        for name in _OWN:
            self._program.maps[name].clear()
        did = self._program.run(frame)
        counter = next((name for name, n in counters_of(self._program).items() if n), "")
        told = Ran(
            address, self.interface, str(origin), size, _FATE.get(did.verdict, did.verdict), counter
        )
        return self._sent(told, did.frame) if did.verdict == "redirect" else told

    def _sent(self, told: Ran, frame: bytes) -> Ran:
        rows = interface_counters(self._program)
        out = next((n for n, row in rows.items() if row["sent_packets"]), 0)
        tagged = frame[12:14] == b"\x81\x00"
        ip = frame[18:] if tagged else frame[14:]
        return Ran(
            told.address,
            told.interface,
            told.source,
            told.bytes,
            told.fate,
            told.counter,
            out_of=name_of(int(self._program.maps["interfaces"][out]["index"])),
            next_hop=next(iter(hop_counters(self._program)), None),
            destination_mac=frame[:6].hex(":"),
            source_mac=frame[6:12].hex(":"),
            vlan=int.from_bytes(frame[14:16], "big") & 0xFFF if tagged else None,
            ttl=ip[8] if ip[0] >> 4 == 4 else ip[7],
        )


def differs(found: Trace, ran: Ran) -> str | None:
    """Where the running router does not what the tables say; None where it does, or where
    something else than the tables decided (such as the MTU, see :attr:`Ran.counter`)."""
    if ran.counter not in _OF_TABLES:
        return None
    fate = found.fate.replace(":", ",").split(",")[0]
    if fate != ran.fate:
        return f"the tables say {found.fate}, the running router {ran.fate} ({ran.counter})"
    ways = {(m.get("interface"), m.get("destination_mac")) for m in found.members}
    if ran.fate == "forwarded" and (ran.out_of, ran.destination_mac) not in ways:
        return f"{ran.destination_mac} on {ran.out_of} is no member of the group"
    return None


class _Link:
    """An interface of this network namespace: of a VLAN's the port below it as well."""

    def __init__(self, name: str) -> None:
        from pyroute2 import IPRoute  # noqa: PLC0415 -- slow to import

        with IPRoute() as kernel:
            index = next(iter(kernel.link_lookup(ifname=name)), None)
            if index is None:
                raise ConfigError(problem("--interface", name, "the name of an interface"))
            link = next(iter(kernel.link("get", index=index)))
            self.name, self.index = name, int(index)
            self.port, self.vlan = name, 0
            about = link.get_attr("IFLA_LINKINFO")
            if about is not None and about.get_attr("IFLA_INFO_KIND") == "vlan":
                below = next(iter(kernel.link("get", index=link.get_attr("IFLA_LINK"))))
                self.port = str(below.get_attr("IFLA_IFNAME"))
                self.vlan = int(about.get_attr("IFLA_INFO_DATA").get_attr("IFLA_VLAN_ID"))
            rows: Iterable[Any] = kernel.get_addr(index=index)
            self._addresses = [
                ip_interface(f"{row.get_attr('IFA_ADDRESS')}/{row['prefixlen']}") for row in rows
            ]

    def neighbour(self, version: int) -> IPv4Address | IPv6Address:
        """An address beside the interface's own."""
        for each in self._addresses:
            if each.version == version and not each.ip.is_link_local:
                beside = each.ip + 1
                if beside in each.network and beside != each.network.broadcast_address:
                    return beside
                return each.ip - 1 if each.ip - 1 in each.network else beside
        return ip_address(_SOURCES[version])


def _address(field: str, text: str) -> IPv4Address | IPv6Address:
    try:
        return ip_address(text)
    except ValueError:
        raise ConfigError(problem(field, text, "an IPv4 or IPv6 address")) from None
