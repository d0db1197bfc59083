# SPDX-License-Identifier: Apache-2.0
"""Interfaces through rtnetlink, ethtool netlink and netdev-genl, in the calling thread's network
namespace. The driver's name comes by the ethtool ioctl: netlink has no message for it."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import socket
import struct
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Final, Protocol

from ._nic import (
    UNSUPPORTED,
    Channels,
    Features,
    Link,
    Nic,
    QueueVector,
    Rings,
    Rss,
    Timestamping,
    XdpFeatures,
)
from ._wire import KernelWire, Wire

_IFF_UP, _IFF_LOOPBACK, _IFF_LOWER_UP = 0x1, 0x8, 0x10000  # linux/if.h
_SIOCETHTOOL: Final = 0x8946  # linux/sockios.h
_ETHTOOL_GDRVINFO, _DRVINFO_BYTES = 3, 196  # struct ethtool_drvinfo
_RTN_UNICAST: Final = 1  # linux/rtnetlink.h
_QUEUE_RX: Final = 0  # enum netdev_queue_type
_XDP_MODES: Final = {
    None: "none",
    "xdp": "native",
    "xdpgeneric": "generic",
    "xdpoffload": "hardware",
    "xdpmulti": "several",
}
# 0 and 2^32 - 1 both stand for "no such kind of queue" in drivers' answers.
_NO_COUNT: Final = 0xFFFFFFFF


class Links(Protocol):
    """Interfaces of a network namespace."""

    def links(self) -> list[Link]:
        """All of them."""

    def default_routes(self) -> set[str]:
        """Names of the interfaces that default routes leave by, whatever the routing table."""

    def nic(self, link: Link) -> Nic:
        """Everything that can be read of one."""


class KernelLinks:
    """The kernel's. ``wire`` opens generic netlink."""

    def __init__(self, wire: Callable[[], AbstractContextManager[Wire]] = KernelWire) -> None:
        self._wire = wire

    def links(self) -> list[Link]:
        from pyroute2 import IPRoute  # noqa: PLC0415 -- slow to import

        with IPRoute() as route:
            return [_link(message) for message in route.get_links()]

    def default_routes(self) -> set[str]:
        from pyroute2 import IPRoute  # noqa: PLC0415 -- slow to import

        indices: set[int] = set()
        with IPRoute() as route:
            for family in (socket.AF_INET, socket.AF_INET6):
                for each in route.get_routes(family=family):
                    if each["dst_len"] or each["type"] != _RTN_UNICAST:
                        continue
                    if (index := each.get_attr("RTA_OIF")) is not None:
                        indices.add(index)
                    for hop in each.get_attr("RTA_MULTIPATH") or []:
                        indices.add(hop["oif"])
        return {link.name for link in self.links() if link.index in indices}

    def nic(self, link: Link) -> Nic:
        driver, bus, _ = driver_of(link.name)
        with self._wire() as wire:
            return nic_of(wire, link, driver, bus)


def nic_of(wire: Wire, link: Link, driver: str = "", bus: str = "") -> Nic:
    """What generic netlink says of one interface."""
    from . import _messages as m  # noqa: PLC0415 -- imports pyroute2

    refused: dict[str, str] = {}

    def ethtool(what: str) -> Any:  # noqa: ANN401
        try:
            answers = wire.ask("ethtool", m.ethtool_query(what, link.index))
            return m.decoded(m.ETHTOOL[what][1], answers[0]) if answers else None
        except OSError as error:
            refused[what] = _reason(error, "ethtool", "5.6")
            return None

    def netdev(what: str, *, dump: bool) -> list[Any]:
        try:
            answers = wire.ask("netdev", m.netdev_query(what, link.index), dump=dump)
            return [m.decoded(m.NETDEV[what][1], each) for each in answers]
        except OSError as error:
            refused[what] = _reason(error, "netdev", "6.3")
            return []

    queues, napis = netdev("queues", dump=True), netdev("napis", dump=True)
    xdp = netdev("xdp", dump=False)
    return Nic(
        link,
        driver,
        bus,
        features=_features(ethtool("features")),
        rings=_rings(ethtool("rings")),
        channels=_channels(ethtool("channels")),
        coalesce=_coalesce(ethtool("coalesce")),
        timestamping=_timestamping(ethtool("timestamping")),
        rss=_rss(ethtool("rss")),
        xdp=_xdp(xdp[0]) if xdp else None,
        vectors=_vectors(queues, napis),
        refused=refused,
    )


def _reason(error: OSError, family: str, since: str) -> str:
    if error.errno == errno.EOPNOTSUPP:
        return UNSUPPORTED
    if error.errno == errno.ENOENT:
        return f"this kernel has no netlink family {family} (Linux {since})"
    return f"the kernel refused: {error.strerror or error}"


def _link(message: Any) -> Link:  # noqa: ANN401
    info = message.get_attr("IFLA_LINKINFO")
    xdp = message.get_attr("IFLA_XDP")
    attached = xdp.get_attr("IFLA_XDP_ATTACHED") if xdp is not None else None
    stats = message.get_attr("IFLA_STATS64") or {}
    flags = message["flags"]
    return Link(
        name=message.get_attr("IFLA_IFNAME"),
        index=message["index"],
        kind=(info.get_attr("IFLA_INFO_KIND") if info is not None else None) or "",
        up=bool(flags & _IFF_UP),
        carrier=bool(flags & _IFF_LOWER_UP),
        loopback=bool(flags & _IFF_LOOPBACK),
        mac=message.get_attr("IFLA_ADDRESS") or "",
        mtu=message.get_attr("IFLA_MTU") or 0,
        rx_queues=message.get_attr("IFLA_NUM_RX_QUEUES") or 1,
        tx_queues=message.get_attr("IFLA_NUM_TX_QUEUES") or 1,
        xdp=_XDP_MODES.get(attached, str(attached)),
        rx_packets=stats.get("rx_packets", 0),
        rx_dropped=stats.get("rx_dropped", 0),
        rx_missed=stats.get("rx_missed_errors", 0),
    )


def driver_of(name: str) -> tuple[str, str, str]:
    """The driver's name, the bus address of its device and the version of the device's firmware;
    empty where it has none to tell."""
    info = ctypes.create_string_buffer(struct.pack("=I", _ETHTOOL_GDRVINFO), _DRVINFO_BYTES)
    request = struct.pack("@16sP16x", name.encode(), ctypes.addressof(info))  # struct ifreq
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        try:
            fcntl.ioctl(control, _SIOCETHTOOL, request)
        except OSError:
            return "", "", ""
    driver, _version, firmware, bus = struct.unpack_from("4x32s32s32s32s", info.raw)
    return _string(driver), _string(bus), _string(firmware)


def _string(raw: bytes) -> str:
    return raw.split(b"\0", 1)[0].decode(errors="replace")


def _features(message: Any) -> Features | None:  # noqa: ANN401
    from . import _messages as m  # noqa: PLC0415

    if message is None:
        return None
    hardware = m.bits(message.get_attr("HW"))
    return Features(
        m.bits(message.get_attr("ACTIVE")), hardware - m.bits(message.get_attr("NOCHANGE"))
    )


def _rings(message: Any) -> Rings | None:  # noqa: ANN401
    if message is None:
        return None
    names = ("RX", "RX_MAX", "TX", "TX_MAX")
    return Rings(*(message.get_attr(f"ETHTOOL_A_RINGS_{name}") for name in names))


def _channels(message: Any) -> Channels | None:  # noqa: ANN401
    if message is None:
        return None

    def count(name: str) -> int:
        value = message.get_attr(name) or 0
        return 0 if value == _NO_COUNT else int(value)

    return Channels(
        count("RX_COUNT"),
        count("TX_COUNT"),
        count("COMBINED_COUNT"),
        count("RX_MAX"),
        count("TX_MAX"),
        count("COMBINED_MAX"),
    )


def _coalesce(message: Any) -> dict[str, int] | None:  # noqa: ANN401
    from . import _messages as m  # noqa: PLC0415

    if message is None:
        return None
    found = ((name, message.get_attr(name)) for name in m.COALESCING)
    return {name: value for name, value in found if value is not None}


def _timestamping(message: Any) -> Timestamping | None:  # noqa: ANN401
    from . import _messages as m  # noqa: PLC0415

    if message is None:
        return None
    return Timestamping(m.bits(message.get_attr("TIMESTAMPING")), message.get_attr("PHC_INDEX"))


def _rss(message: Any) -> Rss | None:  # noqa: ANN401
    raw = message.get_attr("INDIR") if message is not None else None
    if not raw:
        return None
    return Rss(struct.unpack(f"={len(raw) // 4}I", bytes(raw)[: len(raw) // 4 * 4]))


def _xdp(message: Any) -> XdpFeatures:  # noqa: ANN401
    from . import _messages as m  # noqa: PLC0415

    return XdpFeatures(
        m.flags(message.get_attr("XDP_FEATURES"), m.XDP_FEATURES),
        m.flags(message.get_attr("XDP_RX_METADATA_FEATURES"), m.XDP_RX_METADATA),
        m.flags(message.get_attr("XSK_FEATURES"), m.XSK_FEATURES),
        message.get_attr("XDP_ZC_MAX_SEGS"),
    )


def _vectors(queues: list[Any], napis: list[Any]) -> tuple[QueueVector, ...]:
    interrupts = {napi.get_attr("ID"): napi.get_attr("IRQ") for napi in napis}
    return tuple(
        sorted(
            (
                QueueVector(each.get_attr("ID"), interrupts.get(each.get_attr("NAPI_ID")))
                for each in queues
                if each.get_attr("TYPE") == _QUEUE_RX
            ),
            key=lambda vector: vector.queue,
        )
    )
