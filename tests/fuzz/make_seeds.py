# SPDX-License-Identifier: Apache-2.0
"""Writes the seed corpora of the MoldUDP64, ITCH, SBE and CME fuzz targets, from nothing but this
file."""

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
    made = {"mold_udp64": mold, "itch50": itch, "sbe": sbe_seeds(), "cme": cme_seeds()}
    for name, seeds in made.items():
        folder = CORPUS / name
        folder.mkdir(parents=True, exist_ok=True)
        for seed, content in seeds.items():
            (folder / seed).write_bytes(content)


if __name__ == "__main__":
    main()
