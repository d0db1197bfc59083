"""Frames for the balancer's tests: what hypothesis makes of a few addresses, ports and headers."""

from __future__ import annotations

import struct
from ipaddress import ip_address
from pathlib import Path

from balancer_naive import checksum
from hypothesis import strategies as st

import wirepath as wp

CLIENTS4 = ["198.51.100.1", "198.51.100.2", "203.0.113.77"]
CLIENTS6 = ["2001:db8:c::1", "2001:db8:c::2"]
TO_US = b"\x02\x57\x50\0\0\x01"
FROM = b"\x02\x57\x50\0\0\x02"
PORTS = [80, 443, 53, 1024, 40000, 65535]


def packets_of(path: Path) -> list[bytes]:
    """The frames of a capture."""
    with wp.open(f"pcap:{path}", steer=wp.everything()) as port:
        return [bytes(frame) for batch in port for frame in batch]


def write_capture(path: Path, sent: list[bytes]) -> None:
    """A pcap file of these frames, a microsecond apart."""
    out = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)
    for i, frame in enumerate(sent):
        out += struct.pack("<IIII", 1_700_000_000, i, len(frame), len(frame)) + frame
    path.write_bytes(out)


def packed(address: str) -> bytes:
    return ip_address(address).packed


def transport(source: str, dest: str, protocol: int, body: bytes) -> bytes:
    """The body with its checksum filled in, where it has one."""
    at = {6: 16, 17: 6, 1: 2, 58: 2}.get(protocol)
    if at is None or len(body) < at + 2:
        return body
    body = body[:at] + b"\0\0" + body[at + 2 :]
    pseudo = b""
    if protocol != 1:
        length = struct.pack(">I", len(body))
        pseudo = packed(source) + packed(dest) + length + struct.pack(">I", protocol)
    value = checksum(pseudo + body) or (0xFFFF if protocol == 17 else 0)
    return body[:at] + value.to_bytes(2, "big") + body[at + 2 :]


def tcp(sport: int, dport: int, flags: int, payload: bytes = b"") -> bytes:
    return struct.pack(">HHIIBBHHH", sport, dport, 1, 2, 5 << 4, flags, 8192, 0, 0) + payload


def udp(sport: int, dport: int, payload: bytes = b"") -> bytes:
    return struct.pack(">HHHH", sport, dport, 8 + len(payload), 0) + payload


def ip4(
    source: str, dest: str, protocol: int, body: bytes, *, piece: int = 0, options: bytes = b"",
    tos: int = 0, ttl: int = 61,
) -> bytes:  # fmt: skip
    head = struct.pack(
        ">BBHHHBBH4s4s", 0x40 | 5 + len(options) // 4, tos, 20 + len(options) + len(body), 7,
        piece, ttl, protocol, 0, packed(source), packed(dest),
    )  # fmt: skip
    head += options
    return head[:10] + checksum(head).to_bytes(2, "big") + head[12:] + body


def ip6(source: str, dest: str, following: int, body: bytes, tos: int = 0) -> bytes:
    first = 6 << 28 | tos << 20 | 0x12345
    return (
        struct.pack(">IHBB", first, len(body), following, 61) + packed(source) + packed(dest) + body
    )


def ethernet(packet: bytes, tags: int = 0, kind: int | None = None) -> bytes:
    kind = kind if kind is not None else (0x0800 if packet[:1] and packet[0] >> 4 == 4 else 0x86DD)
    shim = b"".join(struct.pack(">HH", 0x8100, 100 + i) for i in range(tags))
    return TO_US + FROM + shim + kind.to_bytes(2, "big") + packet


@st.composite
def bodies(draw: st.DrawFn, source: str, dest: str) -> tuple[int, bytes]:
    """(protocol, transport header and payload) with a right checksum."""
    family = ip_address(dest).version
    protocol = draw(st.sampled_from([6, 6, 17, 17, 1 if family == 4 else 58, 47, 132]))
    sport, dport = draw(st.sampled_from(PORTS)), draw(st.sampled_from(PORTS))
    payload = draw(st.binary(max_size=40))
    if draw(st.integers(0, 9)) == 0:
        payload += bytes(draw(st.integers(1200, 1480)))
    if protocol == 6:
        body = tcp(sport, dport, draw(st.sampled_from([2, 0x12, 0x10, 0x18, 4, 1, 0])), payload)
    elif protocol == 17:
        if draw(st.booleans()):  # a QUIC short header, perhaps with an ID that is routable
            first, config = draw(st.sampled_from([0x40, 0x5F, 0xC3])), draw(st.sampled_from([0, 5]))
            ident = draw(st.sampled_from([1, 2, 513]))
            payload = struct.pack(">BBH", first, config << 5, ident) + payload
        body = udp(sport, dport, payload)
    elif protocol in (1, 58):
        kinds = [8, 0, 3, 11, 5, 12] if family == 4 else [128, 129, 1, 2, 3, 135]
        kind, code = draw(st.sampled_from(kinds)), draw(st.sampled_from([0, 0, 4]))
        body = struct.pack(">BBHI", kind, code, 0, 1234)
        if kind not in (8, 0, 128, 129, 135):
            # About a packet that went from `dest` back to a client.
            other = tcp(dport, sport, 0x10) if draw(st.booleans()) else udp(dport, sport, b"x" * 4)
            number = 6 if len(other) == 20 else 17
            about = (ip4 if family == 4 else ip6)(dest, source, number, other)
            body += about[: draw(st.sampled_from([len(about), 28, 48, 20, 30]))]
        else:
            body += payload
    else:
        body = payload
    whole = transport(source, dest, protocol, body)
    if protocol == 17 and family == 4 and draw(st.integers(0, 3)) == 0:
        whole = whole[:6] + b"\0\0" + whole[8:]  # no checksum
    return protocol, whole


@st.composite
def frames(draw: st.DrawFn, destinations: list[str]) -> bytes:
    """A frame for one of the addresses, whole."""
    dest = draw(st.sampled_from(destinations))
    family = ip_address(dest).version
    source = draw(st.sampled_from(CLIENTS4 if family == 4 else CLIENTS6))
    protocol, body = draw(bodies(source, dest))
    tos = draw(st.sampled_from([0, 0, 0x2E << 2, 3]))
    if family == 4:
        piece = draw(st.sampled_from([0, 0x4000, 0x4000, 0x4000, 0x2000, 0x2003, 0x0007]))
        options = b"\x01" * 4 * draw(st.sampled_from([0, 0, 0, 1, 10]))
        packet = ip4(source, dest, protocol, body, piece=piece, options=options, tos=tos)
    else:
        following = protocol
        for kind in draw(st.lists(st.sampled_from([0, 43, 44, 51, 60]), max_size=3)) or []:
            if kind == 44:
                offset = draw(st.sampled_from([0, 0, 1, 0x0010]))
                body = struct.pack(">BBHI", following, 0, offset, 99) + body
            elif kind == 51:
                body = struct.pack(">BB", following, 1) + bytes(10) + body
            else:
                words = draw(st.sampled_from([0, 0, 1, 4]))
                body = struct.pack(">BB", following, words) + bytes(6 + 8 * words) + body
            following = kind
        packet = ip6(source, dest, following, body, tos)
    frame = ethernet(packet, draw(st.sampled_from([0, 0, 0, 1, 2, 3])))
    # A short frame is padded to the least that Ethernet carries.
    return frame.ljust(60, b"\0") if draw(st.booleans()) else frame


@st.composite
def damaged(draw: st.DrawFn, destinations: list[str]) -> bytes:
    """A frame with a piece missing at its end, or with bytes that are others."""
    frame = bytearray(draw(frames(destinations)))
    if draw(st.booleans()):
        frame = frame[: draw(st.integers(14, len(frame)))]
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(12, min(len(frame) - 1, 80)))
        frame[at] = draw(st.integers(0, 255))
    return bytes(frame)
