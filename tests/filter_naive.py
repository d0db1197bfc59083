"""The filter once more, as naive as it can be: rules one after the other, addresses as objects.

What the two builds of src/programs/filter.c do is held against this. It shares the readers of
single words ("80-90", "syn,!ack") with the compiler and nothing else.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import Path

from wirepath.filter import fields
from wirepath.filter.rules import FilterConfig, Rule
from wirepath.filter.signatures import SIGNATURES

NOT_IP, MALFORMED, TAGS = "not_ip", "malformed", "too_many_tags"
DROP, NEXT = 1, 6


@dataclass
class Packet:
    version: int
    source: object
    destination: object
    length: int
    ttl: int
    protocol: int
    fragment: str = "no"
    options: bool = False
    vlan: int | None = None
    ports: tuple[int, int] | None = None
    flags: int | None = None
    icmp: tuple[int, int] | None = None


def read(frame: bytes, deep: bool = True) -> Packet | str:
    if len(frame) < 14:
        return NOT_IP
    kind, rest, vlan, tags = frame[12:14], frame[14:], None, 0
    while kind in (b"\x81\x00", b"\x88\xa8") and tags < 4:
        if len(rest) < 4:
            return NOT_IP
        if vlan is None:
            vlan = int.from_bytes(rest[:2], "big") % 4096
        kind, rest, tags = rest[2:4], rest[4:], tags + 1
    if kind in (b"\x81\x00", b"\x88\xa8"):
        return TAGS
    if kind == b"\x08\x00":
        found = read4(rest, deep)
    elif kind == b"\x86\xdd":
        found = read6(rest, deep)
    else:
        return NOT_IP
    if found is None:
        return MALFORMED
    found.vlan = vlan
    return found


def read4(data: bytes, deep: bool) -> Packet | None:
    if len(data) < 20 or data[0] // 16 != 4:
        return None
    header, total = data[0] % 16 * 4, int.from_bytes(data[2:4], "big")
    if header < 20 or total < header or total > len(data):
        return None
    packet = Packet(
        4, ipaddress.IPv4Address(data[12:16]), ipaddress.IPv4Address(data[16:20]),
        total, data[8], data[9], options=header > 20,
    )  # fmt: skip
    piece = int.from_bytes(data[6:8], "big")
    if piece % 8192:
        packet.fragment = "later"
        return packet
    if piece // 8192 % 2:
        packet.fragment = "first"
    return packet if not deep or transport(packet, data[header:total]) else None


def read6(data: bytes, deep: bool) -> Packet | None:  # noqa: PLR0911
    if len(data) < 40 or data[0] // 16 != 6:
        return None
    total = 40 + int.from_bytes(data[4:6], "big")
    if total > len(data):
        return None
    packet = Packet(
        6, ipaddress.IPv6Address(data[8:24]), ipaddress.IPv6Address(data[24:40]),
        total, data[7], data[6],
    )  # fmt: skip
    body = data[40:total]
    headers = 0
    while packet.protocol in (0, 43, 60, 44, 51):
        headers += 1
        if headers > 9 or len(body) < 8:
            return None
        size = 8
        if packet.protocol == 44:
            piece = int.from_bytes(body[2:4], "big")
            if piece // 8:
                packet.fragment, packet.protocol = "later", body[0]
                return packet
            if piece % 2:
                packet.fragment = "first"
        elif packet.protocol == 51:
            size = (body[1] + 2) * 4
        else:
            packet.options = True
            size = (body[1] + 1) * 8
        if size > len(body):
            return None
        packet.protocol, body = body[0], body[size:]
    if headers > 8:
        return None
    return packet if not deep or transport(packet, body) else None


def transport(packet: Packet, data: bytes) -> bool:
    need = {6: 20, 17: 8, 33: 8, 132: 8, 136: 8}.get(packet.protocol, 0)
    if packet.protocol == (58 if packet.version == 6 else 1):
        need = 4
    if len(data) < need:
        return False
    if packet.protocol in (6, 17, 33, 132, 136):
        packet.ports = int.from_bytes(data[:2], "big"), int.from_bytes(data[2:4], "big")
        packet.flags = data[13] if packet.protocol == 6 else None
    elif need:
        packet.icmp = data[0], data[1]
    return True


def in_ranges(value: int | None, text: str, top: int) -> bool:
    return value is not None and any(a <= value <= b for a, b in fields.ranges(text, top))


class Naive:
    """Judges frames one after the other; `now` in ns is that of the caller."""

    def __init__(self, config: FilterConfig, folder: Path = Path()) -> None:
        self.config = config
        self.sets = {}
        for each in config.sets:
            if each.prefixes is not None:
                self.sets[each.name] = fields.prefixes(each.prefixes)[0]
            else:
                lines = (folder / each.file).read_text().splitlines()
                texts = [line.split("#")[0].strip() for line in lines]
                self.sets[each.name] = [ipaddress.ip_network(text) for text in texts if text]
        self.rules = config.named_rules()
        # Transport headers are read where something asks for them.
        self.deep = config.malformed == "drop" or any(
            word in conditions
            for _, rule in self.rules
            for conditions in (
                rule.conditions(),
                *(SIGNATURES[rule.signature].conditions if rule.signature else ()),
            )
            for word in ("source_port", "destination_port", "tcp_flags", "icmp_type", "same_port")
        )
        self.buckets: dict[object, tuple[float, float, int]] = {}
        self.counts: dict[str, list[int]] = {}
        self.reasons: dict[str, int] = {}
        self.blocked: dict[object, int] = {}

    def inside(self, address, text: str) -> bool:
        nets, names = fields.prefixes(text)
        for name in names:
            nets = nets + self.sets[name]
        return any(address.version == net.version and address in net for net in nets)

    def fits(self, packet: Packet, what) -> bool:
        get = what.get
        flags = fields.tcp_flags(what["tcp_flags"]) if "tcp_flags" in what else None
        vlan = get("vlan")
        checks = {
            "family": lambda: packet.version == what["family"],
            "source": lambda: self.inside(packet.source, what["source"]),
            "source_not": lambda: not self.inside(packet.source, what["source_not"]),
            "destination": lambda: self.inside(packet.destination, what["destination"]),
            "destination_not": lambda: not self.inside(packet.destination, what["destination_not"]),
            "protocol": lambda: packet.protocol in fields.protocols(what["protocol"]),
            "source_port": lambda: (
                packet.ports and in_ranges(packet.ports[0], what["source_port"], 65535)
            ),
            "destination_port": lambda: (
                packet.ports and in_ranges(packet.ports[1], what["destination_port"], 65535)
            ),
            "tcp_flags": lambda: packet.flags is not None and packet.flags & flags[0] == flags[1],
            "icmp_type": lambda: packet.icmp and in_ranges(packet.icmp[0], what["icmp_type"], 255),
            "icmp_code": lambda: packet.icmp and in_ranges(packet.icmp[1], what["icmp_code"], 255),
            "fragment": lambda: (
                ["no", "first", "later"].index(packet.fragment)
                in fields.fragments(what["fragment"])
            ),
            "ip_options": lambda: packet.options == what["ip_options"],
            "land": lambda: (packet.source == packet.destination) == what["land"],
            "same_port": lambda: (
                (packet.ports is not None and packet.ports[0] == packet.ports[1])
                == what["same_port"]
            ),
            "ttl": lambda: in_ranges(packet.ttl, what["ttl"], 255),
            "length": lambda: in_ranges(packet.length, what["length"], 65535),
            "vlan": lambda: (
                (packet.vlan is None)
                if vlan == "none"
                else packet.vlan is not None
                if vlan == "any"
                else in_ranges(packet.vlan, vlan, 4095)
            ),
        }
        return all(checks[name]() for name in what)

    def over(self, name: str, rule: Rule, packet: Packet, now: int) -> bool:
        """A token bucket, its tokens counted in ns."""
        if rule.per == "rule":
            key: object = name
        else:
            lengths = (32, 128) if rule.per == "source" else fields.per_lengths(rule.per)
            length = lengths[packet.version == 6]
            bits = 32 if packet.version == 4 else 128
            key = (name, packet.version, int(packet.source) >> (bits - length))
        full_packets = full_bits = None
        if rule.packets is not None:
            each = -(-1_000_000_000 // rule.packets)
            full_packets = each * rule.burst
        if rule.bits is not None:
            holds = rule.burst_bits or max(rule.bits // 10, 8 * 9216)
            full_bits = -(-holds * 1_000_000_000 // rule.bits)
            takes = packet.length * -(-(8_000_000_000 << 20) // rule.bits) >> 20
        packets, bits_left, before = self.buckets.get(key, (full_packets, full_bits, now))
        if full_packets is not None:
            packets = min(full_packets, packets + now - before)
        if full_bits is not None:
            bits_left = min(full_bits, bits_left + now - before)
        over = (full_packets is not None and packets < each) or (
            full_bits is not None and bits_left < takes
        )
        if not over:
            packets = None if full_packets is None else packets - each
            bits_left = None if full_bits is None else bits_left - takes
        self.buckets[key] = (packets, bits_left, now)
        return over

    def count(self, name: str, frame: bytes, *, drop: bool) -> None:
        row = self.counts.setdefault(name, [0, 0, 0, 0])
        for i, value in enumerate((1, len(frame), drop, drop * len(frame))):
            row[i] += value

    def drop(self, reason: str) -> int:
        if self.config.dry_run:
            self.reasons["would_drop"] = self.reasons.get("would_drop", 0) + 1
            return NEXT
        self.reasons[reason] = self.reasons.get(reason, 0) + 1
        return DROP

    def judge(self, frame: bytes, now: int) -> int:  # noqa: PLR0911
        packet = read(frame, self.deep)
        if packet == NOT_IP:
            self.reasons[NOT_IP] = self.reasons.get(NOT_IP, 0) + 1
            return NEXT
        if packet in (MALFORMED, TAGS):
            if packet == TAGS:
                self.reasons[TAGS] = self.reasons.get(TAGS, 0) + 1
            drop = self.config.malformed == "drop"
            self.count("malformed", frame, drop=drop)
            return self.drop(MALFORMED) if drop else NEXT
        if self.blocked.get(packet.source, 0) > now:
            self.count("blocked", frame, drop=True)
            return self.drop("blocked")
        for name, rule in self.rules:
            own = rule.conditions()
            alternatives = SIGNATURES[rule.signature].conditions if rule.signature else ({},)
            if not any(self.fits(packet, each) for each in alternatives):
                continue
            if not self.fits(packet, own):
                continue
            over = rule.action == "limit" and self.over(name, rule, packet, now)
            self.count(name, frame, drop=over or rule.action == "drop")
            if over:
                return self.drop("limit")
            if rule.action != "drop":
                return NEXT
            return self.drop("signature" if rule.signature else "rule")
        self.count("default", frame, drop=self.config.default == "drop")
        return self.drop("unmatched") if self.config.default == "drop" else NEXT
