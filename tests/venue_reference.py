"""IEX and Cboe PITCH the slow way: struct formats from the specifications, for tests to compare
with. Shares nothing with the package but the numbers of actions and flags."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Any

from wirepath import Action, RecordFlag

# Behind type, flags or sub-code, timestamp and (but for S) the symbol.
IEX = {
    "S": ("", ""),
    "D": ("IqB", "lot poc tier"),
    "H": ("4s", "reason"),
    "O": ("", ""),
    "P": ("c", "detail"),
    "E": ("", ""),
    "I": ("", ""),
    "8": ("Iq", "size price"),
    "5": ("Iq", "size price"),
    "Q": ("IqqI", "bid_size bid ask ask_size"),
    "T": ("Iqq", "size price id"),
    "B": ("Iqq", "size price id"),
    "X": ("q", "price"),
    "A": ("IqqIcBIqqqq", "paired ref ind imb side ext time book collar low high"),
    "a": ("qIq", "order size price"),
    "M": ("qIq", "order size price"),
    "R": ("q", "order"),
    "L": ("qIqq", "order size price id"),
    "C": ("", ""),
}
# Behind length, type and the time offset.
PITCH = {
    0x20: ("", ""),
    0x97: ("", ""),
    0x21: ("QcI6sQB", "order side qty symbol price flags"),
    0x22: ("QcH6sHB", "order side qty symbol price flags"),
    0x2F: ("QcI8sQB4sc", "order side qty symbol price flags mpid customer"),
    0x23: ("QIQ", "order qty id"),
    0x24: ("QIIQQ", "order qty left id price"),
    0x25: ("QI", "order qty"),
    0x26: ("QH", "order qty"),
    0x27: ("QIQB", "order qty price flags"),
    0x28: ("QHHB", "order qty price flags"),
    0x29: ("Q", "order"),
    0x2A: ("QcI6sQQ", "order side qty symbol price id"),
    0x2B: ("QcH6sHQ", "order side qty symbol price id"),
    0x30: ("QcI8sQQ", "order side qty symbol price id"),
    0x2C: ("Q", "id"),
    0x2D: ("", ""),
    0x31: ("8scc2s", "symbol state reg reserved"),
    0x95: ("8scQIIQQ", "symbol auction ref qty sell price only"),
    0x96: ("8scQI", "symbol auction price qty"),
    0x98: ("8sc", "symbol state"),
    0xBC: ("", ""),
    0xBD: ("", ""),
}
SHORT = {0x22, 0x2B, 0x28}
OPTIONS = {0x23: 1, 0x24: 1, 0x2A: 1, 0x2B: 1, 0x30: 1, 0x2F: 9}
PITCH_ACTION = {
    0x20: Action.OTHER, 0x97: Action.CLEAR, 0x21: Action.ADD, 0x22: Action.ADD, 0x2F: Action.ADD,
    0x23: Action.EXECUTE, 0x24: Action.EXECUTE, 0x25: Action.CANCEL, 0x26: Action.CANCEL,
    0x27: Action.MODIFY, 0x28: Action.MODIFY, 0x29: Action.DELETE, 0x2A: Action.TRADE,
    0x2B: Action.TRADE, 0x30: Action.TRADE, 0x2C: Action.BREAK, 0xBC: Action.OTHER,
    0xBD: Action.OTHER,
}  # fmt: skip
IEX_ACTION = {
    "8": Action.MODIFY, "5": Action.MODIFY, "Q": Action.MODIFY, "T": Action.TRADE,
    "B": Action.BREAK, "a": Action.ADD, "M": Action.MODIFY, "R": Action.DELETE,
    "L": Action.EXECUTE, "C": Action.CLEAR,
}  # fmt: skip
LARGEST = 2**63 - 1


def iex_length(letter: str) -> int:
    """Bytes of a message."""
    return (10 if letter == "S" else 18) + struct.calcsize("<" + IEX[letter][0])


def pitch_length(kind: int) -> int:
    """Bytes of a message of the equities form."""
    return 6 + struct.calcsize("<" + PITCH[kind][0])


def _price(raw: int, scale: int) -> tuple[int, int]:
    """Price in 1e-9 and the flag that it needs."""
    nanos = raw * scale
    if abs(nanos) > LARGEST:
        return (LARGEST if raw > 0 else -LARGEST - 1), RecordFlag.SATURATED
    return nanos, 0


@dataclass
class Symbols:
    """Numbers in order of appearance."""

    numbers: dict[bytes, int] = field(default_factory=dict)

    def of(self, symbol: bytes) -> int:
        """The number of a symbol of any width."""
        return self.numbers.setdefault(symbol.ljust(8), len(self.numbers) + 1)


def _blank(**known: Any) -> dict[str, Any]:
    names = ("event_time", "order_id", "aux", "price", "qty", "instrument", "side", "flags")
    return dict.fromkeys(names, 0) | known


def _aux(symbol: bytes) -> int:
    return int.from_bytes(symbol.ljust(8), "little")


def iex_records(message: bytes, symbols: Symbols) -> list[dict[str, Any]] | None:
    """What the records of a message must hold; None: not a message."""
    letter = chr(message[0]) if message else ""
    if letter not in IEX or len(message) != iex_length(letter):
        return None
    code, time = struct.unpack_from("<Bq", message, 1)
    r = _blank(event_time=time, type=ord(letter), action=IEX_ACTION.get(letter, Action.STATUS))
    v: dict[str, Any] = {}
    if letter != "S":
        symbol = message[10:18]
        r |= {"instrument": symbols.of(symbol), "aux": _aux(symbol)}
        formats, names = IEX[letter]
        v = dict(zip(names.split(), struct.unpack_from("<" + formats, message, 18), strict=True))
    if letter == "Q":
        out = []
        for side, price, size, flag in (
            ("B", v["bid"], v["bid_size"], 0),
            ("S", v["ask"], v["ask_size"], RecordFlag.END_OF_EVENT),
        ):
            nanos, wide = _price(price, 100_000)
            out.append(r | {"side": ord(side), "price": nanos, "qty": size, "flags": flag | wide})
        return out
    r["qty"] = {"D": v.get("lot"), "A": v.get("paired")}.get(letter, v.get("size", 0))
    if letter in "SHOPEIX":
        r["qty"] = code
    raw = {"D": v.get("poc"), "A": v.get("ref")}.get(letter, v.get("price", 0))
    r["price"], r["flags"] = _price(raw, 100_000)
    r["order_id"] = v.get("order", 0) % 2**64
    if letter == "M":
        r["aux"] = r["order_id"]
        r["flags"] |= RecordFlag.KEEPS_PRIORITY if code & 1 else 0
    if letter in "TBL":
        r["aux"] = v["id"] % 2**64
    if letter in "85":
        r["side"] = ord("B" if letter == "8" else "S")
        r["flags"] |= RecordFlag.END_OF_EVENT if code & 1 else 0
    if letter == "a":
        r["side"] = {0x38: ord("B"), 0x35: ord("S")}.get(code, code if code in b"BS" else 0)
    if letter == "A":
        sides = {b"B": b"B", b"S": b"S", b"8": b"B", b"5": b"S"}
        r["side"] = sides.get(v["side"], b"\0")[0]
    return [r]


@dataclass
class PitchTimes:
    """Latest second of each unit, ns since midnight."""

    seconds: dict[int, int] = field(default_factory=dict)


def pitch_records(
    message: bytes, unit: int, times: PitchTimes, symbols: Symbols
) -> list[dict[str, Any]] | None:
    """What the records of a message must hold; None: not a message."""
    kind = message[1] if len(message) > 1 else -1
    if kind not in PITCH or len(message) - pitch_length(kind) not in {0, OPTIONS.get(kind, 0)}:
        return None
    (number,) = struct.unpack_from("<I", message, 2)
    r = _blank(type=kind, action=PITCH_ACTION.get(kind, Action.STATUS))
    formats, names = PITCH[kind]
    v = dict(zip(names.split(), struct.unpack_from("<" + formats, message, 6), strict=True))
    if kind == 0x20:
        times.seconds[unit] = number * 1_000_000_000
    if unit in times.seconds:
        r["event_time"] = times.seconds[unit] + (number if kind != 0x20 else 0)
    r["price"], r["flags"] = _price(v.get("price", 0), 10_000_000 if kind in SHORT else 100_000)
    r["order_id"] = v.get("order", 0)
    r["qty"] = v["state"][0] if "state" in v else v.get("qty", 0)
    r["aux"] = v.get("id", 0)
    if "symbol" in v:
        r["instrument"] = symbols.of(v["symbol"])
        if "id" not in v:
            r["aux"] = _aux(v["symbol"])
    if v.get("side") in {b"B", b"S", b"8", b"5"}:
        r["side"] = ord("B") if v["side"] in b"B8" else ord("S")
    if r["action"] == Action.MODIFY:
        r["aux"] = r["order_id"]
        r["flags"] |= RecordFlag.KEEPS_PRIORITY if v["flags"] & 2 else 0
    if kind == 0xBD:
        r["flags"] |= RecordFlag.END_OF_EVENT
    if kind == 0x97:
        r["aux"] = unit
    return [r]


def segment(
    first: int, *messages: bytes, sent: int = 1, session: int = 7, protocol: int = 0x8003
) -> bytes:
    """An IEX-TP segment."""
    payload = b"".join(struct.pack("<H", len(m)) + m for m in messages)
    head = (1, 0, protocol, 1, session, len(payload), len(messages), 0, first, sent)
    return struct.pack("<BBHIIHHqqq", *head) + payload


def unit_of(sequence: int, *messages: bytes, unit: int = 1) -> bytes:
    """A sequenced unit."""
    body = b"".join(messages)
    return struct.pack("<HBBI", 8 + len(body), len(messages), unit, sequence) + body


def pillar_packet(flag: int, sequence: int, *messages: bytes, sent: int = 0) -> bytes:
    """An NYSE packet of messages that have their header."""
    body = b"".join(messages)
    seconds, ns = divmod(sent, 1_000_000_000)
    head = (16 + len(body), flag, len(messages), sequence, seconds, ns)
    return struct.pack("<HBBIII", *head) + body
