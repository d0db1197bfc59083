# SPDX-License-Identifier: Apache-2.0
"""Writes the seed corpora of the session, decoder and arbiter fuzz targets, from nothing else."""

import struct
from pathlib import Path

CORPUS = Path(__file__).parent / "corpus"
LENGTHS = {
    "S": 12, "R": 39, "H": 25, "Y": 20, "L": 26, "V": 35, "W": 12, "K": 28, "J": 35, "h": 21,
    "A": 36, "F": 40, "E": 31, "C": 36, "X": 23, "D": 19, "U": 35, "P": 44, "Q": 40, "B": 19,
    "I": 50, "N": 20, "O": 48,
}  # fmt: skip


def packet(
    sequence: int, *blocks: bytes, count: int | None = None, session: str = "SESSION__A"
) -> bytes:
    """One downstream packet, with the target's length byte before it."""
    count = len(blocks) if count is None else count
    body = session.encode() + struct.pack(">QH", sequence, count)
    body += b"".join(struct.pack(">H", len(block)) + block for block in blocks)
    return bytes([len(body)]) + body


def message(kind: str, fill: bytes) -> bytes:
    """One message of the type's length, filled with a repeated pattern."""
    length = LENGTHS[kind]
    return kind.encode() + (fill * length)[: length - 1]


def frames(*messages: bytes) -> bytes:
    """The file framing."""
    return b"".join(struct.pack(">H", len(m)) + m for m in messages)


def step(
    line: int, kind: int, first: int, *blocks: bytes, session: int = 0, flags: int = 0
) -> bytes:
    """One packet on a line of the arbiter's target, a while after the one before."""
    body = struct.pack("<BBBBI", kind, flags, 0, session, first - 1)
    body += b"".join(bytes([len(block)]) + block for block in blocks)
    return bytes([line | 0x10, len(body)]) + body


IEX_LENGTHS = {
    "S": 10, "D": 31, "H": 22, "O": 18, "P": 19, "E": 18, "I": 18, "8": 30, "5": 30, "Q": 42,
    "T": 38, "B": 38, "X": 26, "A": 80, "a": 38, "M": 38, "R": 26, "L": 46, "C": 18,
}  # fmt: skip
PITCH_LENGTHS = {
    0x20: 6, 0x97: 6, 0x21: 34, 0x22: 26, 0x2F: 41, 0x23: 26, 0x24: 38, 0x25: 18, 0x26: 16,
    0x27: 27, 0x28: 19, 0x29: 14, 0x2A: 41, 0x2B: 33, 0x30: 43, 0x2C: 14, 0x2D: 6, 0x2E: 30,
    0x31: 18, 0x95: 47, 0x96: 27, 0x98: 15, 0xBC: 6, 0xBD: 6,
}  # fmt: skip


def datagram(body: bytes) -> bytes:
    """A datagram with the target's length before it."""
    if len(body) < 0xFF:
        return bytes([len(body)]) + body
    return b"\xff" + struct.pack("<H", len(body)) + body


def segment(first: int, *blocks: bytes, session: int = 7, sent: int = 1) -> bytes:
    """One IEX-TP segment."""
    payload = b"".join(struct.pack("<H", len(block)) + block for block in blocks)
    head = struct.pack(
        "<BBHIIHHqqq", 1, 0, 0x8003, 1, session, len(payload), len(blocks), 0, first, sent
    )
    return datagram(head + payload)


def iex(kind: str, fill: bytes) -> bytes:
    """One IEX message."""
    length = IEX_LENGTHS[kind]
    return kind.encode() + (fill * length)[: length - 1]


def unit(sequence: int, *messages: bytes, number: int = 1, count: int | None = None) -> bytes:
    """One sequenced unit of PITCH."""
    body = b"".join(messages)
    count = len(messages) if count is None else count
    return datagram(struct.pack("<HBBI", 8 + len(body), count, number, sequence) + body)


def pitch(kind: int, fill: bytes, extra: int = 0) -> bytes:
    """One PITCH message; extra: bytes that options feeds add."""
    length = PITCH_LENGTHS[kind] + extra
    return bytes([length, kind]) + (fill * length)[: length - 2]


def pillar(flag: int, sequence: int, *messages: bytes) -> bytes:
    """One Pillar packet of messages that are whole."""
    body = b"".join(struct.pack("<HH", 4 + len(m), 3) + m for m in messages)
    head = struct.pack("<HBBIII", 16 + len(body), flag, len(messages), sequence, 1, 2)
    return datagram(head + body)


def venues() -> dict[str, dict[str, bytes]]:
    """Seeds of the venues' targets."""
    every = [iex(kind, b"\x01ABC") for kind in IEX_LENGTHS]
    all_pitch = [pitch(kind, b"\x02XY") for kind in PITCH_LENGTHS]
    longer = [pitch(kind, b"Z\x00", 1) for kind in (0x23, 0x24, 0x2A, 0x2B, 0x30)]
    top = 2**32 - 1
    return {
        "iex": {
            "all_types": b"\x18" + segment(1, *every[:10]) + segment(11, *every[10:]),
            "extremes": b"\xff" + segment(1, *(iex(kind, b"\xff") for kind in "QT8DXAL")),
            "gap_fill": b"\x18" + segment(1, every[0]) + segment(9) + segment(3, *every[1:3]),
            "restart": b"\x08" + segment(50, every[2]) + segment(1, sent=2) + segment(1, every[3]),
            "session": b"\x08" + segment(5, every[2]) + segment(1, every[4], session=8),
            "bad": b"\x00" + segment(1, b"z", b"", every[1][:-1]) + datagram(b"\x02" * 40),
        },
        "pitch": {
            "all_types": b"\x18" + unit(1, *all_pitch[:12]) + unit(13, *all_pitch[12:]),
            "options": b"\xff" + unit(1, *longer, pitch(0x2F, b"Q", 9), pitch(0x2F, b"Q", 1)),
            "wrap": b"\x18" + unit(top, all_pitch[0], all_pitch[1]) + unit(2, all_pitch[2]),
            "units": b"\x08" + unit(1, all_pitch[2]) + unit(9, all_pitch[3], number=2) + unit(5),
            "unsequenced": b"\x00" + unit(0) + unit(0, all_pitch[4]) + unit(3, all_pitch[5]),
            "bad": b"\x00" + unit(1, b"\x00\x21") + unit(1, b"\x09\x21") + unit(1, count=3),
        },
        "pillar": {
            "flags": b"\x10" + b"".join(pillar(f, 5 + f, b"ab") for f in range(9, 23)),
            "reset": b"\x00" + pillar(11, 900, b"x") + pillar(12, 1, b"r") + pillar(11, 2, b"y"),
            "heartbeat": b"\x00" + pillar(11, 1, b"a", b"b") + pillar(1, 7) + pillar(15, 3, b"c"),
            "wrap": b"\x18"
            + pillar(11, top, b"a", b"b")
            + pillar(11, 2, b"c")
            + pillar(11, 0, b"z"),
            "bad": b"\x00" + datagram(struct.pack("<HBBIIIHH", 20, 11, 1, 1, 0, 0, 3, 1)),
        },
    }


def sbe_header(length: int, template: int, version: int, schema: int = 1) -> bytes:
    """An SBE message header, little-endian."""
    return struct.pack("<HHHH", length, template, schema, version)


def pieces(*parts: bytes) -> bytes:
    """Each with its length in a byte before it."""
    return b"".join(bytes([len(part)]) + part for part in parts)


def sbe_seeds() -> dict[str, bytes]:
    """Recipes of schemas with messages, and words of a plan."""
    # One template: a u32 and a u16 since version 1, a group of one u8, a text.
    recipe = bytes([0, 2, 2, 0xFF, 0x11, 0xFF, 0, 1, 0, 1, 0, 0xFF, 0, 0, 0, 1, 0])
    good = sbe_header(6, 1, 3) + b"abcdef" + b"\x01\x00\x02xy" + b"\x02\x00hi"
    longer = sbe_header(9, 1, 7) + b"abcdef..." + b"\x03\x00\x01x.." + b"\x00\x00" + b"more"
    older = sbe_header(4, 1, 0) + b"abcd" + b"\x01\x00\x00" + b"\x00\x00"
    big = struct.pack(">HHHH", 6, 1, 1, 3) + b"abcdef" + b"\x00\x01\x01x" + b"\x00\x01t"
    header = [0x31454253, 1, 1, 0, 8, 0, 2, 2, 2, 4, 2, 6, 2]
    block = [4, 1, 0, 4, 4, 0, 0xFFFFFFFF, 1, 0, 3, 0, 2, 2, 1, 1, 1, 0, 1, 1, 0, 0xFF, 0, 0, 0]
    words = struct.pack(f"<{len(header) + 2 + len(block)}I", *header, 1, 1, *block)
    count = bytes([len(words) // 4])
    message = sbe_header(4, 1, 1) + b"abcd" + b"\x01\x00\x02xy"
    return {
        "schema": b"\x00" + pieces(recipe) + pieces(good, longer, older, good[:-4]),
        "big_endian": b"\x02" + pieces(recipe) + pieces(big, big[:-1]),
        "words": b"\x01" + count + words + message,
        "words_cut": b"\x01" + count + words[:-8] + message,
    }


def cme_packet(*messages: bytes, sequence: int = 5) -> bytes:
    """A packet of MDP 3.0."""
    body = b"".join(struct.pack("<H", len(m) + 2) + m for m in messages)
    return struct.pack("<IQ", sequence, 1_700_000_000_000_000_000) + body


def cme_seeds() -> dict[str, bytes]:
    """Packets of template 46, a book with orders, and 12, a heartbeat."""
    entry = struct.pack("<qiiIiBBc5x", 40_000_000, 3, 7, 1, 1, 1, 0, b"0")
    order = struct.pack("<QQiBBxx", 99, 5, 3, 1, 0)
    root = struct.pack("<QBxx", 1_700_000_000_000_000_000, 0x80)
    book = sbe_header(11, 46, 9) + root + b"\x20\x00\x02" + entry * 2
    orders = b"\x18\x00" + bytes(5) + b"\x02" + order * 2
    heartbeat = sbe_header(0, 12, 9)
    return {
        "book": cme_packet(book + orders),
        "heartbeat": cme_packet(heartbeat),
        "several": cme_packet(book + orders, heartbeat, sbe_header(0, 99, 9), book),
        "empty_event": cme_packet(sbe_header(11, 46, 9) + root + b"\x20\x00\x00" + bytes(8)),
        "cut": cme_packet(book + orders)[:-1],
    }


def soup(kind: bytes, payload: bytes = b"") -> bytes:
    """One packet of SoupBinTCP, as a step of its target."""
    body = struct.pack(">H", 1 + len(payload)) + kind + payload
    return bytes([len(body)]) + body


def soup_seeds() -> dict[str, bytes]:
    """Both sides: the first byte is 0 for a client, 1 for a server, and the size of the pieces."""
    connect, gone, logout, written, second = b"\xf0", b"\xf1", b"\xf2", b"\xf3", b"\xfa"
    accepted = soup(b"A", b"      DAY1" + b"1".rjust(20))
    login = b"user  secret    " + b"DAY1".rjust(10) + b"1".rjust(20)
    data = soup(b"S", b"one") + soup(b"H") + soup(b"S") + soup(b"S", b"three")
    return {
        "client": b"\x14" + written + accepted + data + soup(b"Z") + connect + accepted,
        "reconnect": b"\x34" + accepted + data + gone + connect + accepted + data,
        "sessions": b"\x04"
        + accepted
        + connect
        + soup(b"A", b"      DAY2" + b"9".rjust(20))
        + data,
        "rejected": b"\x06" + soup(b"J", b"S") + data,
        "silence": b"\x04" + accepted + written + second * 20,
        "bad": b"\x00" + accepted[:-1] + b"x" + soup(b"?") + b"\x02\x00\x00" + soup(b"+", b"debug"),
        "logout": b"\x00" + accepted + logout + data,
        "server": b"\x11" + soup(b"L", login) + soup(b"R") + soup(b"U", b"u") + soup(b"O"),
        "server_no": b"\x01" + soup(b"L", b"no    " + login[6:]) + soup(b"R"),
        "server_bad": b"\x21" + soup(b"L", login[:-1] + b"x") + soup(b"L", b"short") + second * 20,
    }


def line_reader_seeds() -> dict[str, bytes]:
    """Packets on two lines of each protocol, with one lost on both and one session more."""

    def sent(*packets: bytes) -> bytes:
        out = b""
        for i, one in enumerate(packets):
            body = one[3:] if one[0] == 0xFF else one[1:]  # without the other targets' length
            out += struct.pack("<BBH", i % 2, 1, len(body)) + body
        return out

    itch = [packet(n, message("A", b"\x01"), message("D", b"\x02")) for n in (1, 3, 2, 9)]
    itch.append(packet(1, message("S", b"O"), session="SESSION__B"))
    segments = [segment(n, iex("Q", b"\x01"), iex("T", b"\x02")) for n in (1, 2, 3, 9)]
    units = [unit(n, pitch(0x20, b"\x01"), pitch(0x22, b"\x02")) for n in (1, 2, 3, 9)]
    cme = [datagram(struct.pack("<IQHHHHH", n, 5, 10, 0, 12, 1, 6)) for n in (1, 1, 2, 7)]
    which = (itch, itch, segments, segments, units, units, cme)
    return {f"lines_{i}": bytes([i]) + sent(*packets) for i, packets in enumerate(which)}


def main() -> None:
    """Writes the files."""
    mold = {
        "in_order": b"\x00" + packet(1, b"a", b"bb") + packet(3, b"c") + packet(4, count=0),
        "gap_and_fill": b"\x30" + packet(1, b"a") + packet(6, b"f") + packet(3, b"c", b"d"),
        "many_gaps": b"\x02" + b"".join(packet(n, b"x") for n in (2, 4, 6, 8, 10, 3, 7)),
        "end_of_session": b"\x00" + packet(1, b"a") + packet(4, b"junk", count=0xFFFF),
        "session_change": b"\x00" + packet(1, b"a") + packet(9, b"x", session="SESSION__B"),
        "wrong_session": b"\x01" + packet(1, b"a", session="SESSION__B") + packet(5, b"e"),
        "damaged": b"\x03" + packet(1, b"a", b"", count=5) + packet(2**64 - 1, b"z") + b"\x05short",
    }
    itch = {
        "all_types": b"\x3f\x00" + frames(*(message(kind, b"\x00\x01") for kind in LENGTHS)),
        "extremes": b"\x07\x00" + frames(*(message(kind, b"\xff") for kind in "AVQICJ")),
        "letters": b"\x02\x20" + frames(*(message(kind, b"NBS") for kind in "CAFPIH")),
        "bad_frames": b"\x03\x00" + frames(b"z12", message("D", b"1")[:-1], message("X", b"2")),
        "end_of_session": b"\x00\x09" + frames(message("S", b"O")) + b"\x00\x00more",
        "truncated": b"\x01\x00" + frames(message("U", b"\x01"))[:-3],
    }
    # Two lines and one for recovery, in order; hold 100, 16 messages, 4 gaps, restart after 2.
    two = bytes([0x35, 100, 0x3F, 0, 16, 2])
    data, heartbeat, end, reset = 0, 1, 2, 3
    arbiter = {
        "in_order": two + b"".join(step(line, data, n, b"m") for n in (1, 2, 3) for line in (0, 1)),
        "held": two + step(0, data, 1, b"a") + step(0, data, 3, b"c") + step(1, data, 2, b"b"),
        "recovered": two + step(0, data, 1, b"a") + step(0, data, 9, b"i") + step(2, data, 2, b"b"),
        "timeout": two + step(0, data, 1, b"a") + step(1, heartbeat, 5) + b"\xf0\x00" * 12,
        "roll": two + step(0, data, 498, b"x", b"y", b"z", b"a") + step(1, data, 2, b"b", b"c"),
        "restart": two
        + step(0, data, 90, b"x")
        + step(0, heartbeat, 1)
        + step(1, data, 91, b"y")
        + step(1, heartbeat, 1)
        + step(1, data, 1, b"a"),
        "restart_by_data": two
        + step(0, data, 90, b"x")
        + b"".join(step(0, data, n, b"m") for n in (1, 2, 3)),
        "reset": two + step(0, data, 5, b"x") + step(0, reset, 1) + step(1, reset, 1),
        "sessions": two
        + step(0, data, 5, b"x")
        + step(0, data, 1, b"a", session=1)
        + step(1, data, 6, b"y")
        + step(1, end, 2, session=1),
    }
    # A number of four bytes in a header of five, rows of two; one byte in the row; none.
    numbered, in_row = bytes([6, 5, 2, 1, 4, 0]), bytes([7, 0, 3, 1, 1, 9])
    raw = {
        "gap": numbered
        + b"".join(datagram(b"v" + struct.pack("<I", n) + b"aabb") for n in (1, 3, 9, 5, 3, 11)),
        "heartbeats": numbered + datagram(b"v" + struct.pack("<I", 7)) * 2 + datagram(b"short"),
        "wrap": in_row + b"".join(datagram(b"x%cyx%cy" % (n, n)) for n in (253, 255, 1, 3, 250)),
        "plain": bytes([0, 2, 4, 0, 0, 0]) + datagram(b"hhrrrrssss") + datagram(b"hhrrr"),
        "unusable": bytes([0, 1, 0, 9, 3, 0]) + datagram(b"rows"),
    }
    made = {"mold_udp64": mold, "itch50": itch, "arbiter": arbiter, **venues()}
    made |= {"soup": soup_seeds(), "raw": raw}
    made |= {"sbe": sbe_seeds(), "cme": cme_seeds(), "line_reader": line_reader_seeds()}
    made["cme_recovery"] = {
        "no_loss": bytes([1, 0, 255]) + bytes(60),
        "losses": bytes([2, 0, 255]) + bytes([0, 8, 12, 1, 8, 12]) * 20,
        "little_room": bytes([3, 0, 2]) + bytes([1, 0, 0, 0, 0, 8, 12]) * 30,
        "reset": bytes([4, 0, 99]) + bytes([0, 1, 8, 12]) * 9 + b"\xf0" + bytes([0, 12, 8, 1]) * 9,
        "copies": bytes([5, 0, 99]) + bytes([1, 6, 136, 140, 10, 14]) * 20,
    }
    for name, seeds in made.items():
        folder = CORPUS / name
        folder.mkdir(parents=True, exist_ok=True)
        for seed, content in seeds.items():
            (folder / seed).write_bytes(content)


if __name__ == "__main__":
    main()
