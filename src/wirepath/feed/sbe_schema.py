"""Schemas of FIX Simple Binary Encoding as users see them: messages, dtypes, constants, nulls."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _core
from ..errors import ConfigError
from . import sbe_model as model
from .sbe_xml import Element, read_file, read_text

_MAGIC = 0x31454253
_MAX_WORDS = 4 << 20

ROOT_PREFIX = (
    ("seq", "<u8"),
    ("recv_time", "<i8"),
    ("send_time", "<i8"),
    ("message", "<u8"),
    ("version", "<u4"),
)
ENTRY_PREFIX = (("parent", "<u8"), ("entry", "<u4"))
_DATA = np.dtype([("offset", "<u8"), ("length", "<u4")])


@dataclass(frozen=True)
class SbeField:
    """One column of a message or group, or a constant that has none.

    ``format``: its dtype, None for a constant. ``null``: the value that says "not there", None
    for a required field (which holds its type's null where the sender's version lacks it), and
    for composites. ``exponent``: the constant exponent of a decimal, whose column is its mantissa.
    ``values``: of an enum, name -> value. ``choices``: of a set, name -> bit.
    """

    name: str
    id: int
    format: np.dtype[Any] | None
    since_version: int
    constant: int | float | bytes | None
    null: int | float | bytes | None
    exponent: int | None
    values: Mapping[str, int | bytes]
    choices: Mapping[str, int]
    description: str


def _plain(kind: model.Type) -> tuple[int, model.Encoded] | None:
    """Offset and type when a column can be a plain number or text: a primitive, or a composite
    of which only one primitive is on the wire (a decimal of constant exponent)."""
    if isinstance(kind, model.Encoded):
        return 0, kind
    encoded = [(at, k) for _, at, k in kind.members if k.size != 0]
    if len(encoded) == 1 and isinstance(encoded[0][1], model.Encoded):
        return encoded[0][0], encoded[0][1]
    return None


def _format(kind: model.Type) -> np.dtype[Any]:
    if isinstance(kind, model.Encoded):
        if kind.primitive.name == "char":
            return np.dtype(f"S{kind.length}")
        base = np.dtype("<" + kind.primitive.format)
        return base if kind.length == 1 else np.dtype((base, (kind.length,)))
    members = [(name, at, k) for name, at, k in kind.members if k.size != 0]
    return np.dtype(
        {
            "names": [name for name, _, _ in members],
            "formats": [_format(k) for _, _, k in members],
            "offsets": [at for _, at, _ in members],
            "itemsize": kind.size,
        }
    )


def _leaves(kind: model.Type, at: int) -> Iterator[tuple[int, model.Encoded]]:
    if isinstance(kind, model.Encoded):
        if kind.size != 0:
            yield at, kind
        return
    for _, offset, member in kind.members:
        yield from _leaves(member, at + offset)


def _prefixed(prefix: tuple[tuple[str, str], ...], taken: set[str]) -> list[tuple[str, str]]:
    """The prefix columns, with an underscore where the schema has a field of the name."""
    out = []
    for name, fmt in prefix:
        free = name
        while free in taken:
            free += "_"
        out.append((free, fmt))
    return out


def _row_dtype(block: model.Block, prefix: tuple[tuple[str, str], ...]) -> np.dtype[np.void]:
    taken = {f.name for f in block.fields} | {d.name for d in block.data}
    names: list[str] = []
    formats: list[Any] = []
    offsets: list[int] = []
    at = 0
    for name, fmt in _prefixed(prefix, taken):
        names.append(name)
        formats.append(fmt)
        offsets.append(at)
        at += np.dtype(fmt).itemsize
    for f in block.fields:
        if f.type.size == 0:
            continue
        plain = _plain(f.type)
        inside, kind = plain if plain is not None else (0, f.type)
        names.append(f.name)
        formats.append(_format(kind))
        offsets.append(at + f.offset + inside)
    at += block.length
    for data in block.data:
        names.append(data.name)
        formats.append(_DATA)
        offsets.append(at)
        at += _DATA.itemsize
    return np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": at})


def _describe(f: model.Field) -> SbeField:
    plain = _plain(f.type)
    kind = plain[1] if plain is not None else None
    exponent = None
    if isinstance(f.type, model.Composite):
        member = f.type.member("exponent")
        if member is not None and isinstance(member[1], model.Encoded):
            constant = member[1].constant
            exponent = constant if isinstance(constant, int) else None
    null: int | float | bytes | None = None
    if kind is not None and kind.optional:
        null = b"" if kind.primitive.name == "char" and kind.null == 0 else kind.null
        if isinstance(null, int) and kind.primitive.name == "char":
            null = bytes([null])
    return SbeField(
        name=f.name,
        id=f.id,
        format=_format(kind if kind is not None else f.type) if f.type.size else None,
        since_version=f.since,
        constant=kind.constant if kind is not None else None,
        null=null,
        exponent=exponent,
        values=MappingProxyType(kind.values if kind is not None else {}),
        choices=MappingProxyType(kind.choices if kind is not None else {}),
        description=f.attributes.get("description", ""),
    )


class _Words:
    """The decode plan: see src/native/feed/sbe_plan.h for the order of its words."""

    def __init__(self, schema: model.Schema, name: str) -> None:
        self._words = array("I")
        self._name = name
        self.blocks: dict[tuple[str, ...], int] = {}
        self._add(_MAGIC, schema.id, schema.version, schema.big_endian, schema.header_size)
        for number in schema.header:
            self._add(number.offset, number.width)
        self._add(len(schema.messages))
        for message in schema.messages:
            self._add(message.id)
            self._block(message.block, (message.name,))

    def _add(self, *words: int) -> None:
        self._words.extend(words)
        if len(self._words) > _MAX_WORDS:
            raise ConfigError(
                f"{self._name}: its messages are too large together; split the schema"
            )

    def _block(self, block: model.Block, path: tuple[str, ...]) -> None:
        self.blocks[path] = len(self.blocks)
        leaves = [
            (at, kind, f.since) for f in block.fields for at, kind in _leaves(f.type, f.offset)
        ]
        self._add(block.length, len(leaves))
        nulls = bytearray(block.length + -block.length % 4)
        for at, kind, since in leaves:
            self._add(at, kind.size, kind.primitive.size, since)
            nulls[at : at + kind.size] = kind.null_bytes()
        self._add(*memoryview(bytes(nulls)).cast("I"))
        self._add(len(block.groups))
        for group in block.groups:
            self._add(group.since, group.header_size)
            for number in (group.block_length, group.count):
                self._add(number.offset, number.width)
            self._block(group.block, (*path, group.name))
        self._add(len(block.data))
        for data in block.data:
            self._add(data.since, data.header_size, data.length.offset, data.length.width)

    def __bytes__(self) -> bytes:
        return self._words.tobytes()


class SbeSchema:
    """A message schema of FIX Simple Binary Encoding, with a native decode plan.

    ``group`` names below are those of the schema, with dots for a group inside another:
    ``"NoLegs.NoPrices"``.
    """

    def __init__(self, root: Element, name: str = "<schema>") -> None:
        self._schema = model.load(root)
        self._by_name = {m.name: m for m in self._schema.messages}
        self._by_id = {m.id: m for m in self._schema.messages}
        words = _Words(self._schema, name)
        self._blocks = words.blocks
        self.plan = _core.SbePlan(bytes(words))

    @classmethod
    def load(cls, path: str | Path) -> SbeSchema:
        """A schema from its XML file; files that it includes must stand beside it.

        Raises :class:`~wirepath.errors.ConfigError`, which names file, line, element and what
        would be right, and OSError of the disk.
        """
        return cls(read_file(Path(path)), str(path))

    @classmethod
    def parse(cls, text: str | bytes, name: str = "<schema>") -> SbeSchema:
        """A schema from XML in memory; ``name`` stands in errors. Raises ConfigError."""
        return cls(read_text(text, name), name)

    @property
    def id(self) -> int:
        """The schema's number: messages of others are skipped."""
        return self._schema.id

    @property
    def version(self) -> int:
        return self._schema.version

    @property
    def package(self) -> str:
        return self._schema.package

    @property
    def byte_order(self) -> str:
        """``littleEndian`` or ``bigEndian``, of the wire; columns are native."""
        return "bigEndian" if self._schema.big_endian else "littleEndian"

    @cached_property
    def messages(self) -> Mapping[str, int]:
        """Every template: name -> id."""
        return MappingProxyType({m.name: m.id for m in self._schema.messages})

    @cached_property
    def names(self) -> Mapping[int, str]:
        """Every template: id -> name."""
        return MappingProxyType({m.id: m.name for m in self._schema.messages})

    def groups(self, message: str | int) -> list[str]:
        """The groups of a message, those inside others after them, with dots."""
        return [".".join(path[1:]) for path in self._paths(message) if len(path) > 1]

    def data(self, message: str | int, group: str | None = None) -> list[str]:
        """Names of the variable-length data of a message or group."""
        return [d.name for d in self._block(message, group).data]

    def fields(self, message: str | int, group: str | None = None) -> dict[str, SbeField]:
        """What is known of each field, constants too."""
        return {f.name: _describe(f) for f in self._block(message, group).fields}

    def constants(self, message: str | int, group: str | None = None) -> dict[str, Any]:
        """Every constant, by field name with dots: ``{"MDEntryPx.exponent": -9, …}``."""
        out: dict[str, Any] = {}
        for f in self._block(message, group).fields:
            out |= model.constants(f.type, f.name)
        return out

    def dtype(self, message: str | int) -> np.dtype[np.void]:
        """Dtype of the root rows of a message: ``seq``, ``recv_time``, ``send_time`` (ns since
        the Unix epoch), ``message`` (its number among all that were taken in), ``version`` (of
        the sender's schema), then every field that is on the wire.

        A composite of which one member is on the wire is a plain column; others are nested. Data
        are ``(offset, length)`` into the message's bytes. A prefix column whose name is also a
        field's gets an underscore behind it.
        """
        return _row_dtype(self._block(message, None), ROOT_PREFIX)

    def group_dtype(self, message: str | int, group: str) -> np.dtype[np.void]:
        """Dtype of a group's rows: ``parent`` (row of the message, or of the group around it),
        ``entry`` (from 0), then its fields as in :meth:`dtype`."""
        return _row_dtype(self._block(message, group), ENTRY_PREFIX)

    def message_type(self, message: str | int) -> model.MessageType:
        """A template as the schema describes it, offsets computed. Raises ConfigError."""
        found = self._by_name.get(message) if isinstance(message, str) else self._by_id.get(message)
        if found is None:
            known = ", ".join(list(self._by_name)[:8])
            raise ConfigError(
                f"message = {message!r} is not usable: it must be a template of the schema, by "
                f"name or id ({known}{', …' if len(self._by_name) > 8 else ''})"
            )
        return found

    def block_index(self, message: str | int, group: str | None = None) -> int:
        """Number of a block in the plan."""
        name = self.message_type(message).name
        path = (name, *group.split(".")) if group else (name,)
        self._block(message, group)
        return self._blocks[path]

    def message_index(self, message: str | int) -> int:
        """Number of a template in the plan."""
        return self._schema.messages.index(self.message_type(message))

    def _paths(self, message: str | int) -> list[tuple[str, ...]]:
        name = self.message_type(message).name
        return [path for path in self._blocks if path[0] == name]

    def _block(self, message: str | int, group: str | None) -> model.Block:
        found = self.message_type(message)
        block = found.block
        for name in group.split(".") if group else ():
            inner = next((g.block for g in block.groups if g.name == name), None)
            if inner is None:
                known = ", ".join(self.groups(message)) or "none"
                raise ConfigError(
                    f"group = {group!r} is not usable: it must be one of {found.name}'s ({known})"
                )
            block = inner
        return block


def is_null(column: NDArray[Any], field: SbeField) -> NDArray[np.bool_]:
    """Where a column says that there is no value. All False for a field that is never null."""
    if field.null is None:
        return np.zeros(column.shape[:1], bool)
    nan = isinstance(field.null, float) and math.isnan(field.null)
    null: NDArray[np.bool_] = np.isnan(column) if nan else np.equal(column, field.null)
    return null
