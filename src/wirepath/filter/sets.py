"""Sets of prefixes: from text, from files with one a line, from a URL."""

from __future__ import annotations

import socket
import struct
import urllib.error
import urllib.request
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError
from ..settings import problem
from . import fields
from .rules import Set

_MAX_BYTES = 1 << 28


@dataclass(frozen=True)
class Prefixes:
    """Prefixes as arrays.

    address4: uint32, host order. address6: uint64, shape (n, 2), the high half first. length4,
    length6: uint8.
    """

    address4: NDArray[np.uint32]
    length4: NDArray[np.uint8]
    address6: NDArray[np.uint64]
    length6: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.length4) + len(self.length6)

    @classmethod
    def join(cls, those: Iterable[Prefixes]) -> Prefixes:
        """All of them together."""
        each = list(those)
        if not each:
            return of_lines([], "")
        return cls(
            np.concatenate([p.address4 for p in each]),
            np.concatenate([p.length4 for p in each]),
            np.concatenate([p.address6 for p in each]),
            np.concatenate([p.length6 for p in each]),
        )


def of_lines(lines: Iterable[str], where: str) -> Prefixes:
    """A prefix a line; # begins a comment. Raises ConfigError with `where` and the line."""
    address4, length4, address6, length6 = [], [], [], []
    for number, line in enumerate(lines, 1):
        text = line.partition("#")[0].strip()
        if not text:
            continue
        address, slash, length = text.partition("/")
        try:
            if ":" in address:
                bits = int(length) if slash else 128
                high, low = struct.unpack(">QQ", socket.inet_pton(socket.AF_INET6, address))
                if not 0 <= bits <= 128 or (high << 64 | low) & ((1 << (128 - bits)) - 1):
                    raise ValueError
                address6.append((high, low))
                length6.append(bits)
            else:
                bits = int(length) if slash else 32
                (value,) = struct.unpack(">I", socket.inet_pton(socket.AF_INET, address))
                if not 0 <= bits <= 32 or value & ((1 << (32 - bits)) - 1):
                    raise ValueError
                address4.append(value)
                length4.append(bits)
        except (ValueError, OSError):
            must = "a prefix such as 192.0.2.0/24 or 2001:db8::/32, without bits behind its length"
            raise ConfigError(problem(f"{where} line {number}", text, must)) from None
    return Prefixes(
        np.array(address4, np.uint32),
        np.array(length4, np.uint8),
        np.array(address6, np.uint64).reshape(-1, 2),
        np.array(length6, np.uint8),
    )


def of_text(text: str) -> Prefixes:
    """Prefixes with commas between."""
    return of_lines(fields.parts(text), "prefixes")


def load(each: Set, folder: Path) -> Prefixes:
    """What a set holds. Its file is looked for in `folder`, unless its path is absolute.

    Raises ConfigError: it cannot be read or fetched, or a line is no prefix.
    """
    if each.prefixes is not None:
        return of_text(each.prefixes)
    where = f"sets.{each.name}.{'url' if each.file is None else 'file'}"
    if each.file is not None:
        try:
            with (folder / each.file).open(encoding="utf-8") as file:
                return of_lines(file, str(each.file))
        except OSError as error:
            must = f"a file that can be read ({error.strerror})"
            raise ConfigError(problem(where, each.file, must)) from None
        except UnicodeDecodeError:
            raise ConfigError(problem(where, each.file, "UTF-8 text")) from None
    url = each.url or ""
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            data = answer.read(_MAX_BYTES + 1)
    except (urllib.error.URLError, OSError, ValueError) as error:
        raise ConfigError(problem(where, url, f"a URL that answers ({error})")) from None
    if len(data) > _MAX_BYTES:
        raise ConfigError(problem(where, url, f"a list of at most {_MAX_BYTES} bytes"))
    return of_lines(data.decode("utf-8", "replace").splitlines(), url)
