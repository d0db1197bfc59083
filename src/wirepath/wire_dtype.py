"""Layouts of bytes on a wire as text: ``price:<u4,size:<u2``."""

from __future__ import annotations

from typing import Any

import numpy as np

from .errors import ConfigError
from .settings import problem

_MAX_DATAGRAM = 65_507


def dtype_of(field: str, text: str) -> np.dtype[Any]:
    """``price:<u4,size:<u2`` as a dtype; a number is so many bytes. Raises ConfigError."""
    if text.isdecimal():
        if len(text) > 5 or int(text) > _MAX_DATAGRAM:
            raise ConfigError(problem(field, text, f"at most {_MAX_DATAGRAM} bytes"))
        return np.dtype(f"V{text}")
    must = "NAME:TYPE fields separated by commas, such as price:<u4,size:<u2"
    try:
        parts = [part.split(":", 1) for part in text.split(",")]
        out = np.dtype([(name.strip(), kind.strip()) for name, kind in parts])
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{problem(field, text, must)} ({error})") from None
    for name in out.names or ():
        if not _on_a_wire(out[name]):
            must = "integers, floats of at most 8 bytes, ?, S, V, or M8 and m8 of s, ms, us or ns"
            raise ConfigError(f"{problem(field, text, must)} ({name})")
    return out


def _on_a_wire(kind: np.dtype[Any]) -> bool:
    """Whether it is a type that messages have and Arrow knows."""
    if kind.kind in "Mm":
        return np.datetime_data(kind) in {(unit, 1) for unit in ("s", "ms", "us", "ns")}
    return kind.kind in "biuSV" or (kind.kind == "f" and kind.itemsize <= 8)
