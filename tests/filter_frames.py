"""Hypothesis strategies: frames that filters find hard, and the rules to hold them against."""

from __future__ import annotations

import ipaddress
import struct

from hypothesis import strategies as st

from wirepath.filter import SIGNATURES, FilterConfig, Rule, Set

ADDRESSES4 = ["10.0.0.1", "10.0.0.2", "10.0.1.1", "10.1.0.9", "192.0.2.7", "198.51.100.255",
              "8.8.8.8", "9.255.255.255", "0.0.0.0", "255.255.255.255"]  # fmt: skip
ADDRESSES6 = ["2001:db8::1", "2001:db8::2", "2001:db8:0:1::1", "2a00::1", "fe80::1", "::", "::1"]
PORTS = [0, 19, 22, 53, 80, 123, 161, 389, 443, 500, 1023, 1024, 1900, 11211, 65535]
PREFIXES = ["10.0.0.0/8", "10.0.0.0/24", "10.0.0.1/32", "10.0.0.0/31", "192.0.2.0/25", "0.0.0.0/0",
            "128.0.0.0/1", "8.8.8.8/32", "2001:db8::/32", "2001:db8::/64", "2001:db8::1/128",
            "::/0", "fe80::/10", "2a00::/12"]  # fmt: skip


@st.composite
def transports(draw, protocol):
    """Bytes behind the IP headers, whole more often than not."""
    ports = struct.pack(">HH", draw(st.sampled_from(PORTS)), draw(st.sampled_from(PORTS)))
    payload = bytes(draw(st.sampled_from([0, 0, 1, 40, 100, 600])))
    if protocol == 6:
        flags = draw(st.sampled_from([0, 1, 2, 4, 0x10, 0x12, 0x18, 0x29, 0x3F, 3, 6, 0xC2]))
        return ports + bytes(8) + bytes([0x50, flags]) + bytes(6) + payload
    if protocol == 17:
        return ports + struct.pack(">HH", 8 + len(payload), 0) + payload
    if protocol in (1, 58):
        kind = draw(st.sampled_from([0, 1, 3, 8, 11, 128, 135, 255]))
        return bytes([kind, draw(st.sampled_from([0, 1, 4, 15]))]) + bytes(6) + payload
    return ports + bytes(12) + payload


_PROTOCOLS = st.sampled_from([6, 6, 17, 17, 1, 58, 47, 132, 33, 136, 0, 255])


@st.composite
def packets4(draw):
    """An IPv4 packet."""
    protocol = draw(_PROTOCOLS)
    body = draw(transports(protocol))
    options = bytes(draw(st.sampled_from([0, 0, 0, 4, 40])))
    piece = draw(st.sampled_from([0, 0, 0, 0, 0x4000, 0x2000, 1, 0x2005, 0x1FFF, 0x8000]))
    total = 20 + len(options) + len(body) + draw(st.sampled_from([0] * 8 + [-1, -8, -30, 1, 5]))
    header = struct.pack(
        ">BBHHHBBH", draw(st.sampled_from([0x40] * 12 + [0x60, 0x50])) | 5 + len(options) // 4,
        0, max(total, 0), 1, piece, draw(st.sampled_from([0, 1, 63, 64, 255])), protocol, 0,
    )  # fmt: skip
    ends = [draw(st.sampled_from(ADDRESSES4)) for _ in range(2)]
    return header + b"".join(ipaddress.ip_address(a).packed for a in ends) + options + body


@st.composite
def packets6(draw):
    """An IPv6 packet with up to eleven extension headers."""
    protocol = draw(_PROTOCOLS)
    body = draw(transports(protocol))
    kinds = st.sampled_from([0, 43, 60, 60, 44, 51])
    for kind in draw(st.one_of(st.just([]), st.lists(kinds, max_size=11))):
        if kind == 44:
            piece = draw(st.sampled_from([0, 0, 1, 8, 9, 0xFFF9, 6]))
            body = bytes([protocol, 0]) + struct.pack(">HI", piece, 1) + body
        else:
            more = draw(st.sampled_from([0, 0, 0, 1, 3]))
            size = (more + 2) * 4 if kind == 51 else (more + 1) * 8
            body = (bytes([protocol, more]) + bytes(max(size, 8)))[:size] + body
        protocol = kind
    length = max(0, len(body) + draw(st.sampled_from([0] * 8 + [-1, -9, 1, 7])))
    ends = [draw(st.sampled_from(ADDRESSES6)) for _ in range(2)]
    first = draw(st.sampled_from([0x60000000] * 12 + [0x40000000]))
    header = struct.pack(">IHBB", first, length, protocol, draw(st.sampled_from([0, 1, 64, 255])))
    return header + b"".join(ipaddress.ip_address(a).packed for a in ends) + body


_TAGS = st.sampled_from([b"\x81\x00", b"\x88\xa8"])


@st.composite
def frames(draw):
    """An Ethernet frame: tagged, padded, cut short, or changed by a byte now and then."""
    ethernet = bytes.fromhex("020000000002020000000001")
    tags = draw(st.one_of(
        st.just([]), st.just([]),
        st.lists(st.tuples(_TAGS, st.sampled_from([0, 5, 100, 4095, 0x6005])), max_size=6),
    ))  # fmt: skip
    for kind, number in tags:
        ethernet += kind + struct.pack(">H", number)
    match draw(st.sampled_from("444466660")):
        case "4":
            out = ethernet + b"\x08\x00" + draw(packets4())
        case "6":
            out = ethernet + b"\x86\xdd" + draw(packets6())
        case _:
            out = ethernet + draw(st.sampled_from([b"\x08\x06", b"\x88\xcc"])) + bytes(40)
    out += bytes(draw(st.sampled_from([0, 0, 0, 6, 18])))
    if draw(st.integers(0, 5)) == 0:
        out = out[: draw(st.integers(14, len(out)))]
    if draw(st.integers(0, 5)) == 0:
        at = draw(st.integers(12, len(out) - 1))
        out = out[:at] + bytes([out[at] ^ (1 << draw(st.integers(0, 7)))]) + out[at + 1 :]
    return out


def _some(values, most=3):
    return st.lists(st.sampled_from(values), min_size=1, max_size=most, unique=True)


_PREFIX_LISTS = _some([*PREFIXES, "@one", "@two"])
_RANGES = _some(["0-52", "53", "80-443", "1024-", "161", "65535", "22"])
_CONDITIONS = {
    "family": st.sampled_from([4, 6]),
    "source": _PREFIX_LISTS,
    "source_not": _PREFIX_LISTS,
    "destination": _PREFIX_LISTS,
    "destination_not": _PREFIX_LISTS,
    "protocol": _some(["tcp", "udp", "icmp", "icmpv6", "47", "sctp"]),
    "source_port": _RANGES,
    "destination_port": _RANGES,
    "tcp_flags": st.sampled_from(["syn", "syn,!ack", "none", "all", "rst", "!syn", "fin,psh,urg"]),
    "icmp_type": _some(["0", "3", "8", "128-255"]),
    "fragment": _some(["no", "first", "later"]),
    "ip_options": st.booleans(),
    "land": st.booleans(),
    "same_port": st.booleans(),
    "ttl": _some(["0-1", "64", "200-255"]),
    "length": _some(["0-60", "40", "100-", "44"]),
    "vlan": st.sampled_from(["any", "none", "5", "0-100", "4095"]),
}


@st.composite
def rules(draw):
    """A rule of up to four conditions, which now and then is a limit."""
    names = draw(st.lists(st.sampled_from(sorted(_CONDITIONS)), max_size=4, unique=True))
    values = {name: draw(_CONDITIONS[name]) for name in names}
    if "icmp_type" in values and draw(st.booleans()):
        values["icmp_code"] = "0,4-15"
    if draw(st.integers(0, 6)) == 0:
        values["signature"] = draw(st.sampled_from(sorted(SIGNATURES)))
    values["action"] = draw(st.sampled_from(["drop", "drop", "pass", "limit"]))
    if values["action"] == "limit":
        if draw(st.booleans()):
            values |= {
                "packets": draw(st.sampled_from([1, 3, 1000])),
                "burst": draw(st.integers(1, 3)),
            }
        if "packets" not in values or draw(st.booleans()):
            values |= {"bits": draw(st.sampled_from([1000, 10_000_000])), "burst_bits": 12_000}
        values["per"] = draw(st.sampled_from(["source", "rule", "/24", "/8,/32"]))
    return Rule(**values)


@st.composite
def configs(draw, most=8):
    """A whole filter."""
    named = draw(st.lists(st.sampled_from(sorted(SIGNATURES)), max_size=4, unique=True))
    return FilterConfig(
        default=draw(st.sampled_from(["pass", "drop"])),
        malformed=draw(st.sampled_from(["pass", "drop"])),
        dry_run=draw(st.integers(0, 5)) == 0,
        rules=tuple(draw(st.lists(rules(), max_size=most))),
        signatures=",".join(named) or None,
        sets=(
            Set(name="one", prefixes="10.0.0.0/30,2001:db8::/126,192.0.2.7"),
            Set(name="two", prefixes="::/1,10.1.0.0/16"),
        ),
    )
