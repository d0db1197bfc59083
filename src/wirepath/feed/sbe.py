"""SBE messages to raw columns: an array of root blocks per template, of entries per group."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _core
from ..errors import ConfigError
from .sbe_schema import SbeSchema

Buffer = bytes | bytearray | memoryview | NDArray[Any]


@dataclass(frozen=True)
class SbeTable:
    """What was decoded of one template.

    ``rows``: one a message, dtype ``schema.dtype(name)``. ``groups``: by name (dots for groups
    inside groups), one row an entry, dtype ``schema.group_dtype(name, group)``, in the order of
    the wire. ``data``: the bytes that columns of variable-length data point into.
    """

    name: str
    rows: NDArray[np.void]
    groups: dict[str, NDArray[np.void]]
    data: NDArray[np.uint8]

    def bytes_of(self, name: str, group: str | None = None) -> list[bytes]:
        """Variable-length data of every row, as bytes objects."""
        rows = self.rows if group is None else self.groups[group]
        return [
            self.data[int(at) : int(at) + int(n)].tobytes()
            for at, n in zip(rows[name]["offset"], rows[name]["length"], strict=True)
        ]


def lengths_of(lengths: ArrayLike) -> NDArray[np.uint32]:
    """Lengths as native code takes them. Raises ConfigError for what is no length."""
    given = np.asarray(lengths)
    if given.ndim != 1 or (given.size and (given.dtype.kind not in "iu" or given.min() < 0)):
        raise ConfigError("lengths must be a list of whole numbers, 0 and up")
    return np.ascontiguousarray(given, dtype="<u4")


class SbeDecoder:
    """Decodes messages of a schema into columns, natively, without an object for each.

    templates: names or ids of those to keep, all when empty; others are checked and counted.

    Versions newer than the schema are fine: what they added is skipped, by the block lengths on
    the wire. In messages of older versions, fields that they do not have hold their null value.
    Unknown templates, other schemas, and messages of which a part lies outside are counted and
    skipped.
    """

    def __init__(self, schema: SbeSchema, templates: Iterable[str | int] = ()) -> None:
        self.schema = schema
        ids = [schema.message_type(template).id for template in templates]
        self._native = _core.SbeColumns(schema.plan, ids)

    def append(self, message: Buffer, seq: int = 0, recv_time: int = 0, send_time: int = 0) -> bool:
        """Add one message, which begins with the SBE header; False when it was skipped (see
        ``counters``). Times are ns since the Unix epoch."""
        return self._native.append(message, seq, recv_time, send_time) == "ok"

    def append_many(
        self, data: Buffer, lengths: ArrayLike, seq: int = 1, recv_time: int = 0
    ) -> int:
        """Add messages that stand behind each other in ``data``, numbered from ``seq``; returns
        the next number. The GIL is released.

        Raises ConfigError when the lengths are more than there is of data.
        """
        return self._native.append_many(data, lengths_of(lengths), seq, recv_time)

    def rows(self, message: str | int) -> int:
        """How many messages of a template are waiting to be taken."""
        return self._native.rows(self.schema.block_index(message))

    def columns(self, message: str | int) -> SbeTable:
        """What was decoded of a template so far; its columns begin anew."""
        schema, native = self.schema, self._native
        name = schema.message_type(message).name
        rows = native.take(schema.block_index(name), schema.dtype(name))
        groups = {
            group: native.take(schema.block_index(name, group), schema.group_dtype(name, group))
            for group in schema.groups(name)
        }
        index = schema.message_index(name)
        data: NDArray[np.uint8] = native.heap(index, np.dtype(np.uint8))
        native.clear(index)
        return SbeTable(name, rows, groups, data)

    def tables(self) -> dict[str, SbeTable]:
        """:meth:`columns` of every template that has rows."""
        return {name: self.columns(name) for name in self.schema.messages if self.rows(name)}

    @property
    def counters(self) -> dict[str, Any]:
        """``messages`` (decoded), ``by_template`` (by id), ``unknown``, ``other_schema``,
        ``malformed``: together all that were offered."""
        return self._native.counters
