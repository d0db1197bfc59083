"""The words of a filter's rules, read: ranges, prefixes, protocols, TCP flags.

Each reader takes text as it stands in a TOML file, on the command line or in Python, and raises
ValueError where it is not that.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

Range = tuple[int, int]
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

#: Protocols that have a name here; every other is written as its number.
PROTOCOLS = {
    "icmp": 1, "igmp": 2, "ipip": 4, "tcp": 6, "udp": 17, "dccp": 33, "ipv6": 41, "gre": 47,
    "esp": 50, "ah": 51, "icmpv6": 58, "ospf": 89, "pim": 103, "vrrp": 112, "sctp": 132,
    "udplite": 136,
}  # fmt: skip
#: Protocols whose first four bytes are the ports.
WITH_PORTS = (6, 17, 33, 132, 136)
TCP_FLAGS = {
    "fin": 1, "syn": 2, "rst": 4, "psh": 8, "ack": 16, "urg": 32, "ece": 64, "cwr": 128,
}  # fmt: skip
#: What a packet is of its datagram.
FRAGMENTS = {"no": 0, "first": 1, "later": 2}


def joined(value: object) -> object:
    """Lists and numbers as the text they stand for: ``[53, "80-90"]`` is ``"53,80-90"``."""
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        return str(value)
    if isinstance(value, (list, tuple)):
        return ",".join(str(each) for each in value)
    return value


def parts(text: str) -> list[str]:
    """The items of a comma-separated text; raises ValueError where one is empty."""
    out = [part.strip() for part in text.split(",")]
    if not all(out):
        raise ValueError("an empty item")
    return out


def ranges(text: str, top: int) -> list[Range]:
    """``"53,80-90,1024-"`` as inclusive ranges of 0 to `top`."""
    out = []
    for part in parts(text):
        first, dash, last = part.partition("-")
        low = int(first) if first else 0
        high = (int(last) if last else top) if dash else low
        if not part.strip("-") or not 0 <= low <= high <= top:
            raise ValueError(f"not a range of 0 to {top}")
        out.append((low, high))
    return out


def complement(of: Iterable[Range], top: int) -> list[Range]:
    """Everything from 0 to `top` that is in none of the ranges."""
    out, at = [], 0
    for low, high in sorted(of):
        if low > at:
            out.append((at, low - 1))
        at = max(at, high + 1)
    if at <= top:
        out.append((at, top))
    return out


def range_text(of: Iterable[Range]) -> str:
    """Ranges as :func:`ranges` reads them."""
    return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in of)


def protocols(text: str) -> list[int]:
    """Numbers of the protocols named."""
    out = []
    for part in parts(text):
        number = PROTOCOLS.get(part.lower())
        if number is None:
            number = int(part)
        if not 0 <= number <= 255:
            raise ValueError("not a protocol")
        out.append(number)
    return out


def tcp_flags(text: str) -> tuple[int, int]:
    """(flags looked at, those of them that must be set) of ``syn,!ack``, ``none`` or ``all``."""
    if text == "none":
        return 0x3F, 0  # the six of RFC 793: a null scan may well carry ECN's
    if text == "all":
        return 0x3F, 0x3F
    mask = value = 0
    for part in parts(text):
        bit = TCP_FLAGS[part.lstrip("!").strip().lower()]
        if mask & bit:
            raise ValueError("a flag twice")
        mask |= bit
        value |= 0 if part.startswith("!") else bit
    return mask, value


def fragments(text: str) -> list[int]:
    """States of :data:`FRAGMENTS`; ``yes`` is first and later."""
    out: list[int] = []
    for part in parts(text):
        out += [1, 2] if part == "yes" else [FRAGMENTS[part]]
    return out


def network(text: str) -> Network:
    """A prefix. Bits behind its length are a mistake, not a notation."""
    return ipaddress.ip_network(text)


def prefixes(text: str) -> tuple[list[Network], list[str]]:
    """(prefixes, names of sets) of ``"10.0.0.0/8,@office"``."""
    nets, names = [], []
    for part in parts(text):
        if part.startswith("@"):
            if len(part) == 1:
                raise ValueError("a set without a name")
            names.append(part[1:])
        else:
            nets.append(network(part))
    return nets, names


def per_lengths(text: str) -> tuple[int, int]:
    """Lengths of IPv4 and IPv6 prefixes of ``"/24,/56"``; without the second, 64."""
    lengths = [int(part.removeprefix("/")) for part in parts(text)]
    if len(lengths) == 1:
        lengths.append(64)
    four, six = lengths
    if not (1 <= four <= 32 and 1 <= six <= 128 and text.startswith("/")):
        raise ValueError("not prefix lengths")
    return four, six
