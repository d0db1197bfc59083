# One long function after the other, as a reader would do it by hand.
# ruff: noqa: PLR0911, PLR0912, PLR0915, PLR0917
"""A deliberately naive balancer: what maglev.c has to do, in plain Python, a packet at a time.

Bytes in, (verdict, bytes, names of counters) out. Nothing here is shared with the program but the
numbers of its hash.
"""

from __future__ import annotations

import struct
from collections import Counter
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network

DROP, TX, NEXT = 1, 3, 6
SEED, FACTOR, MASK = 0x9AE16A3B2F90404F, 0xC949C7DEAD8B68A7, (1 << 64) - 1
EXTENSIONS = {0, 43, 44, 51, 60}


@dataclass
class NaiveServer:
    address: str
    mode: str = "ipip"
    mac: bytes = b"\x02\0\0\0\0\x63"
    state: str = "up"
    generation: int = 1


@dataclass
class NaiveVip:
    number: int
    table: list[int] = field(default_factory=list)
    quic: bool = False
    stateless: bool = False
    echo: bool = False


@dataclass
class Headers:
    at: int
    family: int = 0
    source: bytes = b""
    destination: bytes = b""
    protocol: int = 0
    tos: int = 0
    l4: int = 0
    end: int = 0
    sport: int = 0
    dport: int = 0
    tcp_flags: int = 0
    ports: bool = False
    icmp: tuple[int, int] | None = None
    fragment: bool = False
    later: bool = False
    options: bool = False
    df: bool = False
    bad: bool = False


def ip_headers(frame: bytes, at: int, ethertype: int, quoted: bool = False) -> Headers:
    h = Headers(at)
    ip = frame[at:]
    if ethertype == 0x0800:
        if len(ip) < 20:
            h.bad = True
            return h
        header, total = (ip[0] & 15) * 4, int.from_bytes(ip[2:4], "big")
        if ip[0] >> 4 != 4 or header < 20 or total < header:
            h.bad = True
            return h
        h.family, h.tos, h.protocol = 4, ip[1], ip[9]
        h.source, h.destination = ip[12:16], ip[16:20]
        h.l4, h.end = at + header, at + total
        piece = int.from_bytes(ip[6:8], "big")
        h.fragment, h.later = bool(piece & 0x3FFF), bool(piece & 0x1FFF)
        h.df, h.options = bool(piece & 0x4000), header > 20
    elif ethertype == 0x86DD:
        if len(ip) < 40 or ip[0] >> 4 != 6:
            h.bad = True
            return h
        h.family, h.tos = 6, (ip[0] << 4 | ip[1] >> 4) & 255
        h.source, h.destination, h.df = ip[8:24], ip[24:40], True
        h.end = at + 40 + int.from_bytes(ip[4:6], "big")
        following, offset, pieces = ip[6], 40, 0
        for _ in range(8):
            if following not in EXTENSIONS or pieces & 0xFFF8:
                break
            h.options = True
            if len(ip) < offset + 8:
                h.bad = True
                return h
            length = (ip[offset + 1] + 1) * 8
            if following == 51:
                length = (ip[offset + 1] + 2) * 4
            elif following == 44:
                length = 8
                pieces |= int.from_bytes(ip[offset + 2 : offset + 4], "big")
            following, offset = ip[offset], offset + length
        h.protocol, h.l4 = following, at + offset
        h.fragment, h.later = bool(pieces & 0xFFF9), bool(pieces & 0xFFF8)
        if h.l4 > h.end:
            h.bad = True
            return h
    else:
        return h
    if not quoted and len(frame) < h.end:
        h.bad = True
    if h.later or (h.family == 6 and h.protocol in EXTENSIONS):
        return h
    need = {6: 8 if quoted else 20, 17: 8, 1 if h.family == 4 else 58: 8}.get(h.protocol)
    if need is None or len(frame) < h.l4 + need or h.end < h.l4 + need:
        return h
    l4 = frame[h.l4 :]
    if h.protocol in (6, 17):
        h.ports = True
        h.sport, h.dport = struct.unpack(">HH", l4[:4])
        h.tcp_flags = l4[13] if h.protocol == 6 and not quoted else 0
    else:
        h.icmp = (l4[0], l4[1])
    return h


def headers(frame: bytes) -> Headers:
    if len(frame) < 14:
        return Headers(0)
    at, ethertype = 14, int.from_bytes(frame[12:14], "big")
    for _ in range(2):
        if ethertype not in (0x8100, 0x88A8):
            break
        if len(frame) < at + 4:
            return Headers(0)
        ethertype = int.from_bytes(frame[at + 2 : at + 4], "big")
        at += 4
    return ip_headers(frame, at, ethertype)


def is_error(h: Headers) -> bool:
    if h.icmp is None:
        return False
    return h.icmp[0] in (3, 5, 11, 12) if h.family == 4 else h.icmp[0] < 128


def checksum(data: bytes) -> int:
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def flow_hash(
    family: int, protocol: int, source: bytes, dest: bytes, sport: int, dport: int
) -> int:
    words = struct.unpack("<8I", source.ljust(16, b"\0") + dest.ljust(16, b"\0"))
    swap = [int.from_bytes(p.to_bytes(2, "big"), "little") for p in (sport, dport)]
    values = [words[0] << 32 | words[1], words[2] << 32 | words[3]]
    values += [words[4] << 32 | words[5], words[6] << 32 | words[7]]
    values.append(swap[0] << 48 | swap[1] << 32 | family << 8 | protocol)
    out = SEED
    for value in values:
        out = ((out ^ value) * FACTOR) & MASK
        out ^= out >> 32
    return (out * FACTOR) & MASK


def ip4(source: bytes, dest: bytes, protocol: int, tos: int, payload: bytes) -> bytes:
    head = struct.pack(
        ">BBHHHBBH4s4s", 0x45, tos, 20 + len(payload), 0, 0x4000, 64, protocol, 0, source, dest
    )
    return head[:10] + checksum(head).to_bytes(2, "big") + head[12:] + payload


def ip6(source: bytes, dest: bytes, following: int, tos: int, label: int, payload: bytes) -> bytes:
    first = 6 << 28 | tos << 20 | label & 0xFFFFF
    return struct.pack(">IHBB", first, len(payload), following, 64) + source + dest + payload


@dataclass
class NaiveBalancer:
    """Services by (family or 0, address or prefix number, protocol or 0, port or 0)."""

    vips: dict[tuple[str, int, int], NaiveVip]
    servers: dict[int, NaiveServer]
    source4: str = "10.0.0.1"
    source6: str = "fd00::1"
    mtu: int = 1500
    gue_port: int = 6080
    quic_config: int = 0
    quic_ids: dict[tuple[int, int], int] = field(default_factory=dict)
    udp_timeout: int = 0
    flows_per_second: int = 1 << 30
    errors_per_second: int = 1 << 30
    flows: dict[tuple[object, ...], list[int]] = field(default_factory=dict)
    second: list[int] = field(default_factory=lambda: [0, 0, 0])

    def find(self, address: bytes, port: int, protocol: int) -> NaiveVip | None:
        """The most exact service: address before prefix, port before none, protocol before any."""
        where = ip_address(address)
        networks = {ip_network(text) for text, _, _ in self.vips}
        ours = [n for n in networks if n.version == where.version and where in n]
        whole = [n for n in ours if n.num_addresses == 1]
        prefixes = sorted((n for n in ours if n.num_addresses > 1), key=lambda n: -n.prefixlen)
        for network in [*whole, *prefixes[:1]]:
            text = str(network.network_address) if network in whole else str(network)
            for key in ((text, protocol, port), (text, protocol, 0), (text, 0, 0)):
                if key in self.vips:
                    return self.vips[key]
        return None

    def within(self, index: int, now: int, bound: int) -> bool:
        if now - self.second[0] >= 10**9:
            self.second[:] = [now, 0, 0]
        if self.second[index] >= bound:
            return False
        self.second[index] += 1
        return True

    def choose(
        self,
        flow: tuple[object, ...],
        vip: NaiveVip,
        hashed: int,
        h: Headers,
        own: bool,
        now: int,
        count: Counter[str],
    ) -> int:
        begins = h.protocol == 6 and h.tcp_flags & 0x12 == 0x02 and own
        known = self.flows.get(flow) if not vip.stateless else None
        if known is not None:
            server = self.servers.get(known[0])
            fits = server is not None and server.generation == known[1]
            fits = fits and (server.state == "up" or (server.state == "draining" and not begins))
            if flow[1] == 17 and self.udp_timeout:
                age = max(0, now - known[2])
                if age > self.udp_timeout:
                    fits = False
                elif fits and own and age > 10**9:
                    known[2] = now
            if fits:
                count["established"] += own
                return known[0]
            count["moved"] += own
        number = vip.table[(hashed >> 32) * len(vip.table) >> 32] if vip.table else 0
        if number == 0 or self.servers[number].state == "down":
            return 0
        if own:
            count["new_flows"] += 1
            if not vip.stateless:
                if self.within(1, now, self.flows_per_second):
                    self.flows[flow] = [number, self.servers[number].generation, now]
                else:
                    count["unentered"] += 1
        return number

    def __call__(self, frame: bytes, now: int = 0) -> tuple[int, bytes, Counter[str]]:
        count: Counter[str] = Counter()

        def said(verdict: int, name: str, out: bytes = frame) -> tuple[int, bytes, Counter[str]]:
            count[("drop_" if verdict == DROP else "") + name] += 1
            return verdict, out, count

        h = headers(frame)
        if not h.family:
            return said(NEXT, "not_ours")
        source, dest, protocol = h.source, h.destination, h.protocol
        sport, dport = (0, 0) if h.fragment else (h.sport, h.dport)
        error = False
        if is_error(h) and not h.bad and not h.fragment:
            q = ip_headers(frame, h.l4 + 8, 0x0800 if h.family == 4 else 0x86DD, quoted=True)
            # Eight bytes of transport within the error itself; what is behind is padding.
            if q.ports and q.l4 + 8 <= h.end and q.source == h.destination:
                error = True
                source, dest, protocol = q.destination, q.source, q.protocol
                sport, dport = q.dport, q.sport
        vip = self.find(dest, dport, protocol)
        if vip is None:
            icmp = 1 if h.family == 4 else 58
            if h.fragment and self.find(h.destination, 0, icmp) is not None:
                return said(DROP, "fragment")
            return said(NEXT, "not_ours")
        if h.bad:
            return said(DROP, "malformed")
        ether, tags = frame[6:12] + frame[:6], frame[12 : h.at - 2]
        if vip.echo:
            if not h.fragment and h.icmp == ((8 if h.family == 4 else 128), 0):
                return said(TX, "echo_answered", self.echo(frame, h, ether + tags))
            return said(NEXT, "not_ours")
        hashed = flow_hash(h.family, protocol, source, dest, sport, dport)
        number = 0
        if vip.quic and h.protocol == 17 and h.ports and h.end >= h.l4 + 12:
            quic = frame[h.l4 + 8 : h.l4 + 12]
            if quic[0] & 0xC0 == 0x40 and quic[1] >> 5 == self.quic_config:
                number = self.quic_ids.get((vip.number, int.from_bytes(quic[2:4], "big")), 0)
                if number and self.servers[number].state == "down":
                    number = 0
                count["quic"] += number != 0
        if not number:
            flow = (h.family, protocol, source, dest, sport, dport)
            number = self.choose(flow, vip, hashed, h, not error, now, count)
        if not number:
            return said(DROP, "no_server")
        server = self.servers[number]
        inner = frame[h.at : h.end]
        rest = frame[h.end :]
        to = ip_address(server.address)
        own = frame[:6]
        if server.mode == "dsr":
            out = server.mac + own + frame[12:]
        else:
            overhead = (20 if to.version == 4 else 40) + (8 if server.mode == "gue" else 0)
            if len(inner) + overhead > self.mtu:
                asked = h.df and not h.later and not is_error(h)
                if asked and self.within(2, now, self.errors_per_second):
                    return said(TX, "icmp_too_big", self.too_big(frame, h, ether + tags, overhead))
                return said(DROP, "too_big")
            kind = b"\x08\x00" if to.version == 4 else b"\x86\xdd"
            out = server.mac + own + tags + kind + self.around(inner, h, server, hashed) + rest
        if error:
            count["icmp_forwarded"] += 1
        return TX, out, count

    def around(self, inner: bytes, h: Headers, server: NaiveServer, hashed: int) -> bytes:
        to = ip_address(server.address)
        protocol = 4 if h.family == 4 else 41
        source = ip_address(self.source4 if to.version == 4 else self.source6).packed
        payload = inner
        if server.mode == "gue":
            protocol = 17
            port = 0xC000 | hashed >> 14 & 0x3FFF
            udp = struct.pack(">HHHH", port, self.gue_port, len(inner) + 8, 0)
            if to.version == 6 and covered(inner, h):
                pseudo = source + to.packed + struct.pack(">II", len(inner) + 8, 17)
                udp = udp[:6] + (checksum(pseudo + udp + inner) or 0xFFFF).to_bytes(2, "big")
            payload = udp + inner
        if to.version == 4:
            return ip4(source, to.packed, protocol, h.tos, payload)
        return ip6(source, to.packed, protocol, h.tos, hashed, payload)

    def echo(self, frame: bytes, h: Headers, ether: bytes) -> bytes:
        icmp = bytearray(frame[h.l4 :])
        old = (icmp[0] << 8 | icmp[1], icmp[2] << 8 | icmp[3])
        icmp[0] = 0 if h.family == 4 else 129
        total = (~old[1] & 0xFFFF) + (~old[0] & 0xFFFF) + (icmp[0] << 8)
        while total >> 16:
            total = (total & 0xFFFF) + (total >> 16)
        icmp[2:4] = (~total & 0xFFFF).to_bytes(2, "big")
        ip = bytearray(frame[h.at : h.l4])
        kind = b"\x08\x00" if h.family == 4 else b"\x86\xdd"
        if h.family == 4:
            old_sum = (ip[10] << 8 | ip[11], ip[8] << 8 | ip[9])
            total = (~old_sum[0] & 0xFFFF) + (~old_sum[1] & 0xFFFF) + (64 << 8 | 1)
            while total >> 16:
                total = (total & 0xFFFF) + (total >> 16)
            ip[10:12] = (~total & 0xFFFF).to_bytes(2, "big")
            ip[8], ip[12:20] = 64, h.destination + h.source
        else:
            ip[7], ip[8:40] = 64, h.destination + h.source
        return ether + kind + bytes(ip) + bytes(icmp)

    def too_big(self, frame: bytes, h: Headers, ether: bytes, overhead: int) -> bytes:
        fits = self.mtu - overhead
        if h.family == 4:
            icmp = struct.pack(">BBHHH", 3, 4, 0, 0, fits) + frame[h.at : h.at + 64]
            icmp = icmp[:2] + checksum(icmp).to_bytes(2, "big") + icmp[4:]
            return ether + b"\x08\x00" + ip4(h.destination, h.source, 1, 0, icmp)
        icmp = struct.pack(">BBHI", 2, 0, 0, fits) + frame[h.at : h.at + 256]
        pseudo = h.destination + h.source + struct.pack(">II", len(icmp), 58)
        icmp = icmp[:2] + checksum(pseudo + icmp).to_bytes(2, "big") + icmp[4:]
        return ether + b"\x86\xdd" + ip6(h.destination, h.source, 58, 0, 0, icmp)


def covered(inner: bytes, h: Headers) -> bool:
    """The packet has a checksum of its own over all of it, so that the outer one can be told."""
    if h.fragment or h.options:
        return False
    if h.protocol == 17 and inner[h.l4 - h.at + 6 : h.l4 - h.at + 8] == b"\0\0":
        return False
    return h.ports or (h.family == 6 and h.icmp is not None)


def covers_itself(frame: bytes) -> bool:
    """False for a packet whose own checksum is wrong."""
    h = headers(frame)
    if not h.family or h.bad or not covered(frame[h.at :], h):
        return True
    if h.family == 4 and checksum(frame[h.at : h.l4]):
        return False
    pseudo = h.source + h.destination + struct.pack(">II", h.end - h.l4, h.protocol)
    return checksum(pseudo + frame[h.l4 : h.end]) == 0
