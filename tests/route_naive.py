"""What the forwarding program is to do, as plainly as can be; and frames to try it on."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import NamedTuple

from hypothesis import strategies as st
from route_lab import checksum

MASK = (1 << 64) - 1
OURS = bytes.fromhex("025750000001")
PEER = bytes.fromhex("025750000099")
NONE, FORWARD, HOST, BLACKHOLE, UNREACHABLE, PROHIBIT = range(6)


class Hop(NamedTuple):
    """A row of the table of next hops."""

    kind: int
    index: int = 0
    destination: bytes = bytes(6)
    source: bytes = bytes(6)
    mtu: int = 0
    vlan: int = 0
    port: int = 0
    out: int = 0


class Did(NamedTuple):
    """verdict: forward (with the port), host or drop. why: the counter."""

    verdict: str
    frame: bytes
    why: str
    port: int = 0


@dataclass
class Model:
    """Tables as the control plane has them."""

    seed: int
    prefixes: dict[str, int]  # to a group
    buckets: dict[int, list[int]]
    hops: dict[int, Hop]
    interfaces: dict[int, tuple[bytes, set[str]]]  # its address; "up", "strict", "loose", …
    vlans: dict[tuple[int, int], int] = field(default_factory=dict)
    member: int | None = None  # of a group, in place of the one that the flow hash chooses

    # --- tables ---------------------------------------------------------------------------------
    def group(self, address: IPv4Address | IPv6Address) -> int:
        nets = [(ip_network(p), g) for p, g in self.prefixes.items()]
        found = [(n.prefixlen, g) for n, g in nets if n.version == address.version and address in n]
        return max(found)[1] if found else 0

    def reach(self, group: int) -> set[int]:
        hops = [self.hops[n] for n in self.buckets.get(group, []) if n]
        return {h.out for h in hops if h.kind == FORWARD or (h.kind == HOST and h.index)}

    def flow_hash(self, source, source_port, destination, destination_port, protocol) -> int:
        def mix(value: int) -> int:
            value = value * 0x9E3779B97F4A7C15 & MASK
            return value ^ value >> 32

        def end(address, port: int) -> int:
            number = int(address)
            return mix(mix(self.seed ^ number >> 64) + (number & MASK) + (port << 32) & MASK)

        ends = end(source, source_port) + end(destination, destination_port) & MASK
        return mix(ends + protocol & MASK) * 0xD6E8FEB86659FD93 >> 32 & 0xFFFFFFFF

    def _chosen(self, row: list[int], hashed: int) -> int:
        if not row:
            return 0
        members = sorted(set(row))
        return (
            row[hashed % len(row)] if self.member is None else members[self.member % len(members)]
        )

    # --- packets --------------------------------------------------------------------------------
    def all_ways(self, frame: bytes, port: int) -> list[Did]:
        """What may become of a frame, whichever member of a group is chosen."""
        most = max((len(set(row)) for row in self.buckets.values()), default=1)
        return [replace(self, member=n).run(frame, port) for n in range(most)]

    def run(self, frame: bytes, port: int) -> Did:  # noqa: PLR0911
        number, l2 = port, 14
        if len(frame) < 14:
            return Did("drop", frame, "drop_malformed")
        kind = frame[12:14]
        if kind == b"\x81\x00":
            if len(frame) < 18:
                return Did("drop", frame, "drop_malformed")
            vlan = int.from_bytes(frame[14:16], "big") & 0xFFF
            if vlan:
                if (port, vlan) not in self.vlans:
                    return Did("host", frame, "to_host_vlan")
                number = self.vlans[port, vlan]
            kind, l2 = frame[16:18], 18
        mac, flags = self.interfaces.get(number, (b"", set()))
        if "up" not in flags:
            return Did("host", frame, "to_host_off")
        if kind not in (b"\x08\x00", b"\x86\xdd"):
            return Did("host", frame, "to_host_not_ip")
        if frame[:6] != mac:
            return Did("host", frame, "to_host_not_ours")
        four = kind == b"\x08\x00"
        if ("no4" if four else "no6") in flags:
            return Did("host", frame, "to_host_off")
        read = self._four if four else self._six
        return read(frame, l2, number, flags)

    def _four(  # noqa: PLR0911
        self, frame: bytes, l2: int, number: int, flags: set[str]
    ) -> Did:
        ip = frame[l2:]
        if len(ip) < 20:
            return Did("drop", frame, "drop_malformed")
        header, total = (ip[0] & 15) * 4, int.from_bytes(ip[2:4], "big")
        if ip[0] >> 4 != 4 or header < 20 or total < header or total > len(ip):
            return Did("drop", frame, "drop_malformed")
        if header > 20:
            return Did("host", frame, "to_host_options")
        if checksum(ip[:20]) != 0:
            return Did("drop", frame, "drop_bad_checksum")
        source, destination = IPv4Address(ip[12:16]), IPv4Address(ip[16:20])
        special = ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3")
        if any(a in ip_network(n) for a in (source, destination) for n in special):
            return Did("host", frame, "to_host_special")
        if ip[8] <= 1:
            return Did("host", frame, "to_host_ttl")
        whole = int.from_bytes(ip[6:8], "big") & 0x3FFF == 0
        ports = self._ports(ip[9], ip[20:total] if whole else b"")
        less = ip[:8] + bytes([ip[8] - 1]) + ip[9:10] + b"\0\0" + ip[12:]
        less = less[:10] + checksum(less[:20]).to_bytes(2, "big") + less[12:]
        return self._forward(
            frame, (source, destination, *ports, ip[9]), total, number, flags, b"\x08\x00" + less
        )

    def _six(self, frame: bytes, l2: int, number: int, flags: set[str]) -> Did:
        ip = frame[l2:]
        total = 40 + int.from_bytes(ip[4:6], "big")
        if len(ip) < 40 or ip[0] >> 4 != 6 or total > len(ip):
            return Did("drop", frame, "drop_malformed")
        if ip[6] == 0:
            return Did("host", frame, "to_host_options")
        source, destination = IPv6Address(ip[8:24]), IPv6Address(ip[24:40])
        for a in (source, destination):
            if a.is_multicast or a.is_link_local or a.is_loopback or a.is_unspecified:
                return Did("host", frame, "to_host_special")
        if ip[7] <= 1:
            return Did("host", frame, "to_host_ttl")
        ports = self._ports(ip[6], ip[40:total])
        less = b"\x86\xdd" + ip[:7] + bytes([ip[7] - 1]) + ip[8:]
        return self._forward(
            frame, (source, destination, *ports, ip[6]), total, number, flags, less
        )

    def _ports(self, protocol: int, transport: bytes) -> tuple[int, int]:
        if protocol not in (6, 17, 132) or len(transport) < 4:
            return 0, 0
        return struct.unpack("!HH", transport[:4])

    def _forward(self, frame, flow, total, number, flags, rest) -> Did:  # noqa: PLR0917
        source, destination, source_port, destination_port, protocol = flow
        group = self.group(destination)
        h = self.flow_hash(source, source_port, destination, destination_port, protocol)
        row = self.buckets.get(group)
        hop = self.hops.get(self._chosen(row or [], h), Hop(NONE))
        if hop.kind == BLACKHOLE:
            return Did("drop", frame, "drop_blackhole")
        if hop.kind != FORWARD:
            local = "to_host_unresolved" if hop.index else "to_host_local"
            names = {UNREACHABLE: "to_host_unreachable", PROHIBIT: "to_host_prohibit", HOST: local}
            return Did("host", frame, names.get(hop.kind, "to_host_no_route"))
        reach = self.reach(self.group(source))
        if ("strict" in flags and number not in reach) or ("loose" in flags and not reach):
            return Did("drop", frame, "drop_rpf")
        if not hop.port:
            return Did("host", frame, "to_host_no_port")
        if hop.mtu and total > hop.mtu:
            return Did("host", frame, "to_host_mtu")
        tag = b"\x81\x00" + hop.vlan.to_bytes(2, "big") if hop.vlan else b""
        why = "forwarded4" if source.version == 4 else "forwarded6"
        return Did("forward", hop.destination + hop.source + tag + rest, why, hop.port)


# --- frames ---------------------------------------------------------------------------------------
ADDRESSES4 = st.sampled_from(
    (
        *("10.1.2.3", "10.1.2.129", "10.9.9.9", "10.200.0.1", "10.201.1.1", "10.202.0.7"),
        *("172.16.0.1", "192.0.2.1", "198.51.100.9", "203.0.113.5", "203.0.113.200", "8.8.8.8"),
        *("127.0.0.1", "169.254.1.1", "224.0.0.5", "255.255.255.255", "0.0.0.0", "240.0.0.1"),
    )
)
ADDRESSES6 = st.sampled_from(
    (
        *("2001:db8::1", "2001:db8:1::5", "2001:db8:2:3::9", "2001:db8:ffff::1", "3fff::1"),
        *("2001:db8:1:2:3:4:5:6", "fe80::1", "ff02::1", "::", "::1", "fd00::1"),
    )
)
PORTS = st.sampled_from([0, 53, 1000, 40_000, 65_535])


@st.composite
def frames(draw) -> bytes:
    """Whole packets most of the time, and everything that can be wrong with them."""
    four = draw(st.booleans())
    payload = draw(st.sampled_from([0, 4, 20, 100, 900, 1400]))
    protocol = draw(st.sampled_from([1, 6, 17, 58, 132, 47, 0, 43, 44, 60]))
    transport = struct.pack("!HH", draw(PORTS), draw(PORTS)) + bytes(payload)
    if draw(st.integers(0, 9)) == 0:  # a header alone
        transport = b""
    ttl = draw(st.sampled_from([64, 64, 64, 255, 2, 1, 0]))
    if four:
        packet = _packet4(draw, protocol, ttl, transport)
    else:
        packet = _packet6(draw, protocol, ttl, transport)
    macs = draw(st.sampled_from([OURS + PEER] * 8 + [b"\xff" * 6 + PEER, PEER + OURS]))
    kind = b"\x08\x00" if four else b"\x86\xdd"
    kind = draw(st.sampled_from([kind] * 12 + [b"\x08\x06", b"\x88\xa8"]))
    tags = [b"", b"", b"", b"\x81\x00\x00\x07", b"\x81\x00\xe0\x00", b"\x81\x00\x20\x09"]
    frame = macs + draw(st.sampled_from(tags)) + kind + packet + bytes(draw(st.integers(0, 8)))
    if draw(st.integers(0, 9)) == 0:
        frame = frame[: draw(st.integers(14, len(frame)))]
    if draw(st.integers(0, 9)) == 0:
        at = draw(st.integers(0, len(frame) - 1))
        frame = frame[:at] + bytes([frame[at] ^ 1 << draw(st.integers(0, 7))]) + frame[at + 1 :]
    return frame


def _packet4(draw, protocol: int, ttl: int, transport: bytes) -> bytes:
    options = draw(st.sampled_from([b"", b"", b"", b"", b"\x94\x04\0\0"]))
    fragment = draw(st.sampled_from([0, 0, 0x4000, 0x2000, 0x0010, 0x8000]))
    total = 20 + len(options) + len(transport) + draw(st.sampled_from([0] * 8 + [4, -30, 100]))
    source, destination = (ip_address(draw(ADDRESSES4)).packed for _ in range(2))
    head = struct.pack("!BBHHHBB", 0x45 + len(options) // 4, 0, max(total, 0), 7, fragment, ttl,
                       protocol)  # fmt: skip
    after = source + destination + options
    total_sum = checksum(head + b"\0\0" + after)
    return head + total_sum.to_bytes(2, "big") + after + transport


def _packet6(draw, protocol: int, ttl: int, transport: bytes) -> bytes:
    if protocol in (43, 60):
        transport = struct.pack("!BB6x", 17, 0) + transport
    if protocol == 44:
        transport = struct.pack("!BBHI", 17, 0, draw(st.sampled_from([0, 1, 8])), 9) + transport
    length = len(transport) + draw(st.sampled_from([0] * 8 + [4, -30, 100]))
    source, destination = (ip_address(draw(ADDRESSES6)).packed for _ in range(2))
    head = struct.pack("!IHBB", 6 << 28 | 0x12345, max(length, 0), protocol, ttl)
    return head + source + destination + transport
