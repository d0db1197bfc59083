"""Vectors of rules for each value of what rules look at: the classifier's tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import fields

#: The dimensions of src/programs/filter_shared.h: name, number of values.
DIMENSIONS = (
    ("shape", 64), ("protocol", 256), ("source_port", 65537), ("destination_port", 65537),
    ("flags", 257), ("icmp", 131073), ("ttl", 256), ("length", 65536), ("vlan", 4097),
)  # fmt: skip
WORDS = 8
#: What packets must be, all of it.
Conditions = Mapping[str, Any]
Allowed = NDArray[np.bool_]

_SHAPE = np.arange(64)


def _in_ranges(text: str, top: int, size: int) -> Allowed:
    out = np.zeros(size, bool)
    for low, high in fields.ranges(text, top):
        out[low : high + 1] = True
    return out


def _shape(rule: Conditions) -> Allowed | None:
    out = np.ones(64, bool)
    if "family" in rule:
        out &= (_SHAPE & 1 == 1) == (rule["family"] == 6)
    if "fragment" in rule:
        out &= np.isin(_SHAPE >> 1 & 3, fields.fragments(rule["fragment"]))
    for name, bit in (("ip_options", 8), ("land", 16), ("same_port", 32)):
        if name in rule:
            out &= (_SHAPE & bit != 0) == rule[name]
    return None if out.all() else out


def _protocol(rule: Conditions) -> Allowed | None:
    if "protocol" not in rule:
        return None
    allowed: Allowed = np.isin(np.arange(256), fields.protocols(rule["protocol"]))
    return allowed


def _port(name: str) -> Callable[[Conditions], Allowed | None]:
    def allowed(rule: Conditions) -> Allowed | None:
        return _in_ranges(rule[name], 65535, 65537) if name in rule else None

    return allowed


def _flags(rule: Conditions) -> Allowed | None:
    if "tcp_flags" not in rule:
        return None
    mask, value = fields.tcp_flags(rule["tcp_flags"])
    values = np.arange(257)
    allowed: Allowed = (values & mask == value) & (values < 256)
    return allowed


def _icmp(rule: Conditions) -> Allowed | None:
    if "icmp_type" not in rule:
        return None
    types = _in_ranges(rule["icmp_type"], 255, 256)
    codes = _in_ranges(rule.get("icmp_code", "0-255"), 255, 256)
    one = (types[:, None] & codes[None, :]).ravel()
    return np.concatenate([one, one, [False]])


def _plain(name: str, top: int) -> Callable[[Conditions], Allowed | None]:
    def allowed(rule: Conditions) -> Allowed | None:
        return _in_ranges(rule[name], top, top + 1) if name in rule else None

    return allowed


def _only(values: Any) -> Allowed:  # noqa: ANN401  # NumPy's comparisons are Any
    return np.asarray(values, bool)


def _vlan(rule: Conditions) -> Allowed | None:
    match rule.get("vlan"):
        case None:
            return None
        case "none":
            return _only(np.arange(4097) == 4096)
        case "any":
            return _only(np.arange(4097) < 4096)
        case ranges:
            return _in_ranges(ranges, 4095, 4097)


_ALLOWED: Mapping[str, Callable[[Conditions], Allowed | None]] = {
    "shape": _shape,
    "protocol": _protocol,
    "source_port": _port("source_port"),
    "destination_port": _port("destination_port"),
    "flags": _flags,
    "icmp": _icmp,
    "ttl": _plain("ttl", 255),
    "length": _plain("length", 65535),
    "vlan": _vlan,
}


@dataclass(frozen=True)
class Dimension:
    """A dimension in use: for each value (padded to blocks of 256) the number of its vector."""

    name: str
    vector: NDArray[np.uint16]


class Vectors:
    """Vectors of rules, each there once; those of prefixes follow behind, by their class."""

    def __init__(self, rules: int) -> None:
        self.words = max(1, -(-rules // 64))
        self.every = np.zeros(self.words, np.uint64)
        for i in range(rules):
            self.every[i // 64] |= np.uint64(1 << i % 64)
        self._known: dict[bytes, int] = {}
        self._rows: list[NDArray[np.uint64]] = []
        self._behind: list[NDArray[np.uint64]] = []

    def dimension(
        self, name: str, size: int, bits: Sequence[Sequence[Conditions]]
    ) -> Dimension | None:
        """The classes of one dimension; None where no rule looks at it."""
        rows: NDArray[np.uint64] | None = None
        for bit, conditions in enumerate(bits):
            for rule in conditions:
                allowed = _ALLOWED[name](rule)
                if allowed is None:
                    continue
                if rows is None:
                    rows = np.tile(self.every, (size, 1))
                rows[~allowed, bit // 64] &= ~np.uint64(1 << bit % 64)
        if rows is None:
            return None
        return Dimension(name, self._numbers(rows))

    def everything(self) -> Dimension:
        """The shape as a dimension that excludes nothing: a rule without any condition."""
        return Dimension("shape", self._numbers(np.tile(self.every, (64, 1))))

    def _numbers(self, rows: NDArray[np.uint64]) -> NDArray[np.uint16]:
        raw = np.ascontiguousarray(rows).view(np.dtype((np.void, 8 * self.words))).ravel()
        unique, inverse = np.unique(raw, return_inverse=True)
        numbers = np.empty(len(unique), np.uint16)
        for i, each in enumerate(unique):
            key = each.tobytes()
            if key not in self._known:
                self._known[key] = len(self._rows)
                self._rows.append(np.frombuffer(key, np.uint64))
            numbers[i] = self._known[key]
        out = np.zeros(-(-len(rows) // 256) * 256, np.uint16)
        out[: len(rows)] = numbers[inverse.ravel()]
        return out

    def append(self, rows: NDArray[np.uint64]) -> int:
        """Vectors of the classes of prefixes, in the order of the classes; where they begin among
        those appended."""
        at = sum(map(len, self._behind))
        self._behind.append(rows)
        return at

    def __len__(self) -> int:
        return len(self._rows)

    def array(self) -> NDArray[np.uint64]:
        """All of them, shape (n, 8)."""
        parts = [np.array(self._rows, np.uint64).reshape(-1, self.words), *self._behind]
        rows = np.concatenate(parts)
        out = np.zeros((max(1, len(rows)), WORDS), np.uint64)
        out[: len(rows), : self.words] = rows
        return out


def first_rules(rows: NDArray[np.uint64]) -> NDArray[np.uint32]:
    """1 + number of the first rule of each vector, 0 where there is none."""
    bits = np.unpackbits(rows.view(np.uint8), axis=1, bitorder="little")
    return np.where(bits.any(axis=1), bits.argmax(axis=1) + 1, 0).astype(np.uint32)
