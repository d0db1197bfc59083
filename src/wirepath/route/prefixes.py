"""A file of prefixes, one a line: a table to look addresses up in."""

from __future__ import annotations

import gzip
import zlib
from ipaddress import ip_network
from pathlib import Path

from ..errors import ConfigError
from ..settings import problem
from .model import Prefix

__all__ = ["read_prefixes"]


def read_prefixes(path: Path) -> list[Prefix]:
    """The prefixes of a text file (gzip or not), in its order; empty lines and # are skipped.

    Raises:
        ConfigError: the file cannot be read, or a line is no prefix.
    """
    try:
        data = path.read_bytes()
        if data[:2] == b"\x1f\x8b":
            data = gzip.decompress(data)
        text = data.decode()
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise ConfigError(f"prefix file {path}: {error}") from error
    out = []
    for number, line in enumerate(text.splitlines(), 1):
        word = line.partition("#")[0].strip()
        if not word:
            continue
        try:
            net = ip_network(word)
        except ValueError as error:
            must = f"a prefix such as 10.0.0.0/8 ({error})"
            raise ConfigError(problem(f"{path} line {number}", word, must)) from None
        out.append((net.network_address.packed, net.prefixlen))
    return out
