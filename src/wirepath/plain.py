"""Values as plain JSON, and times as people read them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def plain(value: object) -> Any:  # noqa: ANN401  # what json.dumps takes
    """Dataclasses, NumPy numbers, paths, bytes and tuples as plain JSON values."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return plain(dataclasses.asdict(value))
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        values = [plain(v) for v in value]
        return sorted(values, key=str) if isinstance(value, (set, frozenset)) else values
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    if isinstance(value, (Path, bytes)):
        return value.decode("latin-1") if isinstance(value, bytes) else str(value)
    item = getattr(value, "item", None)
    return item() if item is not None else str(value)


def duration(ns: float) -> str:
    """Nanoseconds with a fitting unit."""
    for unit, size in (("s", 1e9), ("ms", 1e6), ("µs", 1e3)):
        if ns >= size:
            return f"{ns / size:.3g} {unit}"
    return f"{ns:.0f} ns"
