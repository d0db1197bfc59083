"""A generated ITCH 5.0 day into a file."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from .. import _core
from ..errors import ConfigError

_CHUNK = 1 << 20


@dataclass(frozen=True)
class Generated:
    """What was written: messages, bytes of them with their length prefixes, and how many of each
    type."""

    path: str
    messages: int
    bytes: int
    by_type: dict[str, int]


def generate(
    path: str | Path,
    *,
    messages: int = 1_000_000,
    seed: int = 1,
    symbols: int = 500,
    on_progress: Callable[[int], object] | None = None,
) -> Generated:
    """Write a believable day of ``messages`` length-prefixed messages (the format of Nasdaq's day
    files) to ``path``, compressed when it ends in ``.gz``.

    The same seed, messages and symbols give the same bytes on any machine. on_progress: called
    with the number of messages written so far. The file appears when it is complete.

    Raises :class:`~wirepath.errors.ConfigError` for values out of range and for a path that is
    no regular file, OSError of the disk.
    """
    for name, value, highest in (
        ("messages", messages, 1 << 40),
        ("seed", seed, (1 << 64) - 1),
        ("symbols", symbols, 20_000),
    ):
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= highest:
            raise ConfigError(
                f"{name} = {value!r} is not usable: it must be a whole number up to {highest}"
            )
    path = Path(path)
    if path.exists() and not path.is_file():
        raise ConfigError(f"{path} is not a regular file: name one, or a file that is to be made")
    generator = _core.ItchGenerator(seed=seed, messages=messages, symbols=symbols)
    part = path.with_name(path.name + ".part")
    buffer = bytearray(_CHUNK)
    total = 0
    try:
        with ExitStack() as stack:
            out: BinaryIO = stack.enter_context(part.open("wb"))
            if path.suffix == ".gz":
                packed = gzip.GzipFile("", "wb", 6, out, mtime=0)
                out = cast(BinaryIO, stack.enter_context(packed))
            while n := generator.generate(buffer):
                out.write(memoryview(buffer)[:n])
                total += n
                if on_progress is not None:
                    on_progress(generator.written)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    return Generated(str(path), generator.written, total, dict(generator.by_type))
