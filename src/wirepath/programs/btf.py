"""Types of eBPF objects as NumPy dtypes: reads BTF (kernel documentation, bpf/btf.rst) and the few
ELF sections around it."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import ConfigError

_INT, _PTR, _ARRAY, _STRUCT, _UNION, _ENUM = 1, 2, 3, 4, 5, 6
_TYPEDEF, _VOLATILE, _CONST, _RESTRICT, _VAR, _DATASEC = 8, 9, 10, 11, 14, 15
_FLOAT, _DECL_TAG, _TYPE_TAG, _ENUM64, _FUNC_PROTO = 16, 17, 18, 19, 13
_THROUGH = (_VOLATILE, _CONST, _RESTRICT, _TYPE_TAG)


@dataclass(frozen=True)
class _Type:
    kind: int
    name: str
    size: int  # or the type referred to
    flag: bool
    parts: tuple[tuple[Any, ...], ...] = ()


@dataclass(frozen=True)
class Variable:
    """A variable of a data section: where it is, and its type."""

    name: str
    offset: int
    size: int
    type: int


class Btf:
    """Type information of one object."""

    def __init__(self, data: bytes) -> None:
        if len(data) < 24 or struct.unpack_from("<H", data)[0] != 0xEB9F:
            raise ConfigError("the object's type information is not little-endian BTF")
        _, _, _, header, types, type_bytes, strings, _ = struct.unpack_from("<HBBIIIII", data)
        self._strings = data[header + strings :]
        self._types: list[_Type] = [_Type(0, "void", 0, False)]
        at, end = header + types, header + types + type_bytes
        while at < end:
            at = self._read(data, at)

    def _string(self, at: int) -> str:
        return self._strings[at : self._strings.index(b"\0", at)].decode()

    def _read(self, data: bytes, at: int) -> int:
        name, info, size = struct.unpack_from("<III", data, at)
        kind, count, flag = info >> 24 & 0x1F, info & 0xFFFF, bool(info >> 31)
        at += 12
        parts: list[tuple[Any, ...]] = []
        if kind in (_INT, _VAR, _DECL_TAG):
            parts = [struct.unpack_from("<I", data, at)]
            at += 4
        elif kind == _ARRAY:
            parts = [struct.unpack_from("<III", data, at)]  # item type, index type, items
            at += 12
        elif kind in (_STRUCT, _UNION, _DATASEC, _ENUM64):
            for _ in range(count):
                parts.append(struct.unpack_from("<III", data, at))
                at += 12
        elif kind in (_ENUM, _FUNC_PROTO):
            at += 8 * count
        self._types.append(_Type(kind, self._string(name), size, flag, tuple(parts)))
        return at

    def _plain(self, number: int) -> _Type:
        """Behind const, volatile and the like; typedefs too."""
        each = self._types[number]
        while each.kind in (*_THROUGH, _TYPEDEF):
            each = self._types[each.size]
        return each

    def dtype(self, number: int) -> np.dtype[Any]:  # noqa: PLR0911 -- one for each kind
        """The dtype of a type. Network order where the type says so (``__be32``); what NumPy has
        no word for (unions, bit fields) as raw bytes."""
        each = self._types[number]
        while each.kind in (*_THROUGH, _TYPEDEF):
            if each.kind == _TYPEDEF and each.name in ("__be16", "__be32", "__be64"):
                return np.dtype(f">u{int(each.name[4:]) // 8}")
            each = self._types[each.size]
        if each.kind == _INT:
            signed, char = bool(each.parts[0][0] >> 24 & 1), each.name in ("char", "_Bool")
            if each.name == "_Bool":
                return np.dtype(np.bool_)
            if each.size == 16:
                return np.dtype("V16")
            return np.dtype(f"{'i' if signed and not char else 'u'}{each.size}")
        if each.kind in (_ENUM, _ENUM64):
            return np.dtype(f"{'i' if each.flag else 'u'}{each.size}")
        if each.kind == _FLOAT:
            return np.dtype(f"f{each.size}")
        if each.kind == _PTR:
            return np.dtype("u8")
        if each.kind == _ARRAY:
            item, _, items = each.parts[0]
            if self._plain(item).name == "char" and self._plain(item).kind == _INT:
                return np.dtype(f"S{items}") if items else np.dtype("V0")
            return np.dtype((self.dtype(item), (items,)))
        if each.kind == _STRUCT:
            return self._struct(each)
        return np.dtype(f"V{each.size if each.kind == _UNION else 0}")

    def _struct(self, each: _Type) -> np.dtype[Any]:
        names, formats, offsets = [], [], []
        for name, kind, offset in each.parts:
            bits = offset >> 24 if each.flag else 0
            at = (offset & 0xFFFFFF if each.flag else offset) // 8
            if bits:
                return np.dtype(f"V{each.size}")
            inner = self.dtype(kind)
            if not self._string(name) and inner.names:  # an anonymous struct: its fields are ours
                for field in inner.names:
                    names.append(field)
                    formats.append(inner.fields[field][0])  # type: ignore[index]
                    offsets.append(at + inner.fields[field][1])  # type: ignore[index]
                continue
            names.append(self._string(name) or f"anonymous{len(names)}")
            formats.append(inner)
            offsets.append(at)
        spec = {"names": names, "formats": formats, "offsets": offsets, "itemsize": each.size}
        return np.dtype(spec)  # type: ignore[call-overload, no-any-return]

    def section(self, name: str) -> list[Variable]:
        """The variables of a data section, such as ``.rodata``."""
        for each in self._types:
            if each.kind == _DATASEC and each.name == name:
                return [
                    Variable(self._types[var].name, offset, size, self._types[var].size)
                    for var, offset, size in each.parts
                ]
        return []

    def maps(self) -> dict[str, tuple[np.dtype[Any] | None, np.dtype[Any] | None]]:
        """Key and value dtype of every map that the object declares."""
        out: dict[str, tuple[np.dtype[Any] | None, np.dtype[Any] | None]] = {}
        for var in self.section(".maps"):
            found: dict[str, np.dtype[Any]] = {}
            for name, kind, _ in self._plain(var.type).parts:
                pointer = self._plain(kind)
                if self._string(name) in ("key", "value") and pointer.kind == _PTR:
                    found[self._string(name)] = self.dtype(pointer.size)
            out[var.name] = (found.get("key"), found.get("value"))
        return out


def sections(image: bytes) -> dict[str, bytes]:
    """The sections of a 64-bit little-endian ELF file. Raises :class:`ConfigError`."""
    if len(image) < 64 or image[:6] != b"\x7fELF\x02\x01":
        raise ConfigError("not a 64-bit little-endian ELF object")
    try:
        offset = struct.unpack_from("<Q", image, 40)[0]
        size, count, names_at = struct.unpack_from("<HHH", image, 58)
        heads = [struct.unpack_from("<IIQQQQ", image, offset + i * size) for i in range(count)]
        names = image[heads[names_at][4] : heads[names_at][4] + heads[names_at][5]]
        out = {}
        for name, kind, _, _, at, length in heads:
            text = names[name : names.index(b"\0", name)].decode()
            out[text] = b"\0" * length if kind == 8 else image[at : at + length]  # SHT_NOBITS
        return out
    except (struct.error, IndexError, ValueError) as error:
        raise ConfigError(f"not a whole ELF object: {error}") from None


def symbols(parts: dict[str, bytes]) -> dict[str, int]:
    """Where each named symbol of an object lies within its section."""
    table, names, out = parts.get(".symtab", b""), parts.get(".strtab", b""), {}
    for at in range(0, len(table) - 23, 24):
        name, _, _, _, value, _ = struct.unpack_from("<IBBHQQ", table, at)
        if name:
            out[names[name : names.index(b"\0", name)].decode()] = value
    return out
