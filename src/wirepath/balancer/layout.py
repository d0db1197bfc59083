"""Keys, values and configuration of the balancer's maps, as maglev_shared.h lays them out.

Addresses and ports are in network order there, so they are kept as the words that the machine
reads; everything else is the machine's own order.
"""

from __future__ import annotations

import ipaddress

import numpy as np
from numpy.typing import NDArray

from .config import BalancerConfig, Network

Words = NDArray[np.uint32]

VIP_KEY = np.dtype([("address", "<u4", 4), ("port", "<u2"), ("family", "u1"), ("protocol", "u1")])
VIP = np.dtype([("number", "<u4"), ("ring", "<u4"), ("size", "<u4"), ("flags", "<u4")])
PREFIX4 = np.dtype([("prefixlen", "<u4"), ("address", "<u4")])
PREFIX6 = np.dtype([("prefixlen", "<u4"), ("address", "<u4", 4)])
SERVER = np.dtype(
    [
        ("address", "<u4", 4),
        ("generation", "<u4"),
        ("gue_port", "<u2"),
        ("family", "u1"),
        ("mode", "u1"),
        ("state", "u1"),
        ("unused", "u1"),
        ("mac", "u1", 6),
    ]
)
FLOW = np.dtype(
    [
        ("source", "<u4", 4),
        ("destination", "<u4", 4),
        ("source_port", "<u2"),
        ("destination_port", "<u2"),
        ("family", "u1"),
        ("protocol", "u1"),
        ("unused", "<u2"),
    ]
)
CONNECTION = np.dtype([("seen", "<u8"), ("server", "<u4"), ("generation", "<u4")])
VIP_COUNTERS = np.dtype([(n, "<u8") for n in ("packets", "bytes", "new_flows", "drops")])
SERVER_COUNTERS = np.dtype([(n, "<u8") for n in ("packets", "bytes", "new_flows")])
CONFIG = np.dtype(
    [
        ("udp_timeout", "<u8"),
        ("flows_per_second", "<u8"),
        ("errors_per_second", "<u8"),
        ("features", "<u4"),
        ("mtu", "<u4"),
        ("source4", "<u4"),
        ("source6", "<u4", 4),
        ("quic_config", "<u4"),
    ]
)
DECAP_CONFIG = np.dtype([("gue_port", "<u2")])
ENDPOINT = np.dtype([("address", "<u4", 4), ("family", "<u4")])

MODES = {"ipip": 1, "gue": 2, "dsr": 3}
QUIC, ECHO, STATELESS = 1, 2, 4
EXACT, ANY_PORT, ANY_PROTOCOL, BY_PREFIX4, BY_PREFIX6, BY_QUIC, ANSWER_ECHO = (
    1 << bit for bit in range(7)
)
PROTOCOLS = {"tcp": 6, "udp": 17, "any": 0}
ICMP = {4: 1, 6: 58}


def words(address: str | ipaddress.IPv4Address | ipaddress.IPv6Address) -> Words:
    """Four words, IPv4 in the first."""
    packed = ipaddress.ip_address(address).packed
    return np.frombuffer(packed.ljust(16, b"\0"), "<u4")


def address(row: Words, family: int) -> str:
    """The text of such words."""
    raw = row.astype("<u4").tobytes()
    return str(ipaddress.ip_address(raw[:4] if family == 4 else raw))


def port(number: int) -> int:
    """A port as the machine reads it from a packet."""
    return int.from_bytes(number.to_bytes(2, "big"), "little")


def features(config: BalancerConfig) -> int:
    """What of the program these services need; the rest is not loaded at all."""
    out = 0
    for vip in config.vip:
        if vip.protocol == "any":
            out |= ANY_PROTOCOL
        else:
            out |= EXACT if vip.port else ANY_PORT
        if vip.network.num_addresses > 1:
            out |= BY_PREFIX4 if vip.network.version == 4 else BY_PREFIX6
        out |= BY_QUIC if vip.quic else 0
    if config.echo and config.vip:
        out |= ANSWER_ECHO | ANY_PORT
    return out


def program_config(config: BalancerConfig, sources: dict[int, str]) -> NDArray[np.void]:
    """The program's configuration, one row. sources: of each family what packets come from."""
    row = np.zeros(1, CONFIG)
    row["udp_timeout"] = round(config.udp_timeout * 1e9)
    row["flows_per_second"] = config.new_flows_per_second
    row["errors_per_second"] = config.icmp_errors_per_second
    row["features"] = features(config)
    row["mtu"] = config.mtu
    if 4 in sources:
        row["source4"] = words(sources[4])[0]
    if 6 in sources:
        row["source6"] = words(sources[6])
    row["quic_config"] = config.quic_config
    return row


def prefix_key(network: Network) -> NDArray[np.void]:
    """The key of a prefix, one row."""
    row = np.zeros(1, PREFIX4 if network.version == 4 else PREFIX6)
    row["prefixlen"] = network.prefixlen
    address = words(network.network_address)
    row["address"] = address[0] if network.version == 4 else address
    return row
