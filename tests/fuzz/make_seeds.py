# SPDX-License-Identifier: Apache-2.0
"""Writes the seed corpora of the MoldUDP64, ITCH and arbiter fuzz targets, from nothing but this
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


def step(
    line: int, kind: int, first: int, *blocks: bytes, session: int = 0, flags: int = 0
) -> bytes:
    """One packet on a line of the arbiter's target, a while after the one before."""
    body = struct.pack("<BBBBI", kind, flags, 0, session, first - 1)
    body += b"".join(bytes([len(block)]) + block for block in blocks)
    return bytes([line | 0x10, len(body)]) + body


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
    for name, seeds in {"mold_udp64": mold, "itch50": itch, "arbiter": arbiter}.items():
        folder = CORPUS / name
        folder.mkdir(parents=True, exist_ok=True)
        for seed, content in seeds.items():
            (folder / seed).write_bytes(content)


if __name__ == "__main__":
    main()
