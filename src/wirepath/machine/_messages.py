# SPDX-License-Identifier: Apache-2.0
"""Messages of the families ``ethtool`` and ``netdev`` that are asked here.

Numbers and attributes from linux/ethtool_netlink.h and linux/netdev.h; the latter is made from
Documentation/netlink/specs/netdev.yaml. Every one is a query. Importing this imports pyroute2.
"""

from __future__ import annotations

from typing import Any, Final

from pyroute2.netlink import genlmsg
from pyroute2.netlink.generic.ethtool import ethtool_rings_msg, ethtoolbitset, ethtoolheader

ETHTOOL_LINKMODES: Final = 4
ETHTOOL_FEATURES: Final = 11
ETHTOOL_RINGS: Final = 15
ETHTOOL_CHANNELS: Final = 17
ETHTOOL_COALESCE: Final = 19
ETHTOOL_PAUSE: Final = 21
ETHTOOL_TSINFO: Final = 25
ETHTOOL_RSS: Final = 38
NETDEV_DEV: Final = 1
NETDEV_QUEUE: Final = 10
NETDEV_NAPI: Final = 11

# Bit 0 first: enum netdev_xdp_act, netdev_xdp_rx_metadata, netdev_xsk_flags.
XDP_FEATURES: Final = (
    "basic",
    "redirect",
    "ndo-xmit",
    "xsk-zerocopy",
    "hw-offload",
    "rx-sg",
    "ndo-xmit-sg",
)
XDP_RX_METADATA: Final = ("timestamp", "hash", "vlan-tag")
XSK_FEATURES: Final = ("tx-timestamp", "tx-checksum", "tx-launch-time-fifo")

# ethtool -c's words, in the order of ETHTOOL_A_COALESCE_*.
COALESCING: Final = (
    "rx-usecs",
    "rx-frames",
    "rx-usecs-irq",
    "rx-frames-irq",
    "tx-usecs",
    "tx-frames",
    "tx-usecs-irq",
    "tx-frames-irq",
    "stats-block-usecs",
    "adaptive-rx",
    "adaptive-tx",
)
_SWITCHES: Final = ("adaptive-rx", "adaptive-tx")


class _Ethtool(genlmsg):  # type: ignore[misc]  # pyroute2 is not typed
    ethtoolheader = ethtoolheader
    ethtoolbitset = ethtoolbitset


class FeaturesMessage(_Ethtool):
    nla_map = (
        ("UNSPEC", "none"),
        ("HEADER", "ethtoolheader"),
        ("HW", "ethtoolbitset"),
        ("WANTED", "ethtoolbitset"),
        ("ACTIVE", "ethtoolbitset"),
        ("NOCHANGE", "ethtoolbitset"),
    )


class ChannelsMessage(_Ethtool):
    nla_map = (
        ("UNSPEC", "none"),
        ("HEADER", "ethtoolheader"),
        ("RX_MAX", "uint32"),
        ("TX_MAX", "uint32"),
        ("OTHER_MAX", "uint32"),
        ("COMBINED_MAX", "uint32"),
        ("RX_COUNT", "uint32"),
        ("TX_COUNT", "uint32"),
        ("OTHER_COUNT", "uint32"),
        ("COMBINED_COUNT", "uint32"),
    )


class CoalesceMessage(_Ethtool):
    nla_map = (
        ("UNSPEC", "none"),
        ("HEADER", "ethtoolheader"),
        *((name, "uint8" if name in _SWITCHES else "uint32") for name in COALESCING),
    )


class PauseMessage(_Ethtool):
    nla_map = (
        ("UNSPEC", "none"),
        ("HEADER", "ethtoolheader"),
        ("AUTONEG", "uint8"),
        ("RX", "uint8"),
        ("TX", "uint8"),
    )


class LinkmodesMessage(_Ethtool):
    nla_map = (
        ("UNSPEC", "none"),
        ("HEADER", "ethtoolheader"),
        ("AUTONEG", "uint8"),
        ("OURS", "ethtoolbitset"),
        ("PEER", "ethtoolbitset"),
        ("SPEED", "uint32"),
        ("DUPLEX", "uint8"),
    )


class TsinfoMessage(_Ethtool):
    nla_map = (
        ("UNSPEC", "none"),
        ("HEADER", "ethtoolheader"),
        ("TIMESTAMPING", "ethtoolbitset"),
        ("TX_TYPES", "ethtoolbitset"),
        ("RX_FILTERS", "ethtoolbitset"),
        ("PHC_INDEX", "uint32"),
    )


class RssMessage(_Ethtool):
    nla_map = (
        ("UNSPEC", "none"),
        ("HEADER", "ethtoolheader"),
        ("CONTEXT", "uint32"),
        ("HFUNC", "uint32"),
        ("INDIR", "cdata"),
        ("HKEY", "cdata"),
    )


class NetdevMessage(genlmsg):  # type: ignore[misc]
    nla_map = (
        ("UNSPEC", "none"),
        ("IFINDEX", "uint32"),
        ("PAD", "none"),
        ("XDP_FEATURES", "uint64"),
        ("XDP_ZC_MAX_SEGS", "uint32"),
        ("XDP_RX_METADATA_FEATURES", "uint64"),
        ("XSK_FEATURES", "uint64"),
    )


class QueueMessage(genlmsg):  # type: ignore[misc]
    nla_map = (
        ("UNSPEC", "none"),
        ("ID", "uint32"),
        ("IFINDEX", "uint32"),
        ("TYPE", "uint32"),
        ("NAPI_ID", "uint32"),
    )


class NapiMessage(genlmsg):  # type: ignore[misc]
    nla_map = (
        ("UNSPEC", "none"),
        ("IFINDEX", "uint32"),
        ("ID", "uint32"),
        ("IRQ", "uint32"),
    )


ETHTOOL: Final[dict[str, tuple[int, Any, str]]] = {
    "features": (ETHTOOL_FEATURES, FeaturesMessage, "HEADER"),
    "rings": (ETHTOOL_RINGS, ethtool_rings_msg, "ETHTOOL_A_RINGS_HEADER"),
    "channels": (ETHTOOL_CHANNELS, ChannelsMessage, "HEADER"),
    "coalesce": (ETHTOOL_COALESCE, CoalesceMessage, "HEADER"),
    "pause": (ETHTOOL_PAUSE, PauseMessage, "HEADER"),
    "linkmodes": (ETHTOOL_LINKMODES, LinkmodesMessage, "HEADER"),
    "timestamping": (ETHTOOL_TSINFO, TsinfoMessage, "HEADER"),
    "rss": (ETHTOOL_RSS, RssMessage, "HEADER"),
}
NETDEV: Final[dict[str, tuple[int, Any]]] = {
    "xdp": (NETDEV_DEV, NetdevMessage),
    "queues": (NETDEV_QUEUE, QueueMessage),
    "napis": (NETDEV_NAPI, NapiMessage),
}


def ethtool_query(what: str, ifindex: int) -> Any:  # noqa: ANN401
    """The message that asks the family ``ethtool`` for one of `ETHTOOL`."""
    command, kind, header = ETHTOOL[what]
    message = kind()
    message["cmd"], message["version"] = command, 1
    message["attrs"] = [[header, {"attrs": [["ETHTOOL_A_HEADER_DEV_INDEX", ifindex]]}]]
    return message


def netdev_query(what: str, ifindex: int) -> Any:  # noqa: ANN401
    """The message that asks the family ``netdev`` for one of `NETDEV`."""
    command, kind = NETDEV[what]
    message = kind()
    message["cmd"], message["version"] = command, 1
    message["attrs"] = [["IFINDEX", ifindex]]
    return message


def decoded(kind: Any, data: bytes) -> Any:  # noqa: ANN401
    """An answer's bytes as a message of its kind."""
    message = kind(data)
    message.decode()
    return message


def bits(bitset: Any) -> frozenset[str]:  # noqa: ANN401
    """Names of the bits that are set, of a bitset in its long form without a mask."""
    if bitset is None:
        return frozenset()
    names = set()
    listed = bitset.get_attr("ETHTOOL_A_BITSET_BITS")
    nomask = bitset.get_attr("ETHTOOL_A_BITSET_NOMASK") is not None
    for bit in listed.get_attrs("ETHTOOL_A_BITSET_BITS_BIT") if listed is not None else ():
        if nomask or bit.get_attr("ETHTOOL_A_BITSET_BIT_VALUE") is not None:
            names.add(bit.get_attr("ETHTOOL_A_BITSET_BIT_NAME"))
    return frozenset(names)


def flags(value: int | None, names: tuple[str, ...]) -> frozenset[str]:
    """Names of the bits of a number; those that have none yet are called bit-N."""
    out, number = set(), 0
    rest = value or 0
    while rest:
        if rest & 1:
            out.add(names[number] if number < len(names) else f"bit-{number}")
        rest >>= 1
        number += 1
    return frozenset(out)
