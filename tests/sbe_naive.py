"""A deliberately naive SBE decoder: one message, `struct`, a dictionary, straight from the XML.

Nothing of wirepath is in it, so that two readings of the specification meet in the tests.
"""

from __future__ import annotations

import math
import struct
import xml.etree.ElementTree as ET
from typing import Any

PRIMITIVES = {
    "char": ("c", b"\0"),
    "int8": ("b", -(2**7)),
    "uint8": ("B", 2**8 - 1),
    "int16": ("h", -(2**15)),
    "uint16": ("H", 2**16 - 1),
    "int32": ("i", -(2**31)),
    "uint32": ("I", 2**32 - 1),
    "int64": ("q", -(2**63)),
    "uint64": ("Q", 2**64 - 1),
    "float": ("f", math.nan),
    "double": ("d", math.nan),
}
MOST_EMPTY = 65_535


class Malformed(Exception):
    """The message does not hold what it says."""


def tag(element: ET.Element) -> str:
    return element.tag.rpartition("}")[2]


class Naive:
    """decode(message) for every template of a schema."""

    def __init__(self, xml: str | bytes) -> None:
        root = ET.fromstring(xml)
        self.order = ">" if root.get("byteOrder") == "bigEndian" else "<"
        self.schema_id = int(root.attrib["id"])
        self.types: dict[str, ET.Element] = {}
        self.messages: dict[int, ET.Element] = {}
        for element in root:
            if tag(element) == "types":
                self.types |= {t.attrib["name"]: t for t in element}
            elif tag(element) == "message":
                self.messages[int(element.attrib["id"])] = element
        self.header = self.types[root.get("headerType", "messageHeader")]

    # --- types -------------------------------------------------------------------------------
    def type_of(self, name: str) -> ET.Element:
        if name in self.types:
            return self.types[name]
        return ET.Element("type", {"name": name, "primitiveType": name})

    def is_constant(self, user: ET.Element, t: ET.Element) -> bool:
        return "constant" in (user.get("presence"), t.get("presence"))

    def size(self, t: ET.Element) -> int:
        kind = tag(t)
        if kind == "ref":
            return self.size(self.type_of(t.attrib["type"]))
        if kind in ("enum", "set"):
            return self.size(self.type_of(t.attrib["encodingType"]))
        if kind == "composite":
            return max((at + self.size(m) for m, at in self.members(t)), default=0)
        if t.get("presence") == "constant":
            return 0
        one = struct.calcsize("=" + PRIMITIVES[t.attrib["primitiveType"]][0])
        return one * int(t.get("length", "1"))

    def members(self, composite: ET.Element) -> list[tuple[ET.Element, int]]:
        """Members on the wire, with offsets."""
        out, at = [], 0
        for member in composite:
            if self.size(member) == 0:
                continue
            at = int(member.get("offset", at))
            out.append((member, at))
            at += self.size(member)
        return out

    def value(self, t: ET.Element, buf: bytes | None, at: int) -> Any:  # noqa: PLR0911
        """What is at `at`; buf None: the null."""
        kind = tag(t)
        if kind == "ref":
            return self.value(self.type_of(t.attrib["type"]), buf, at)
        if kind in ("enum", "set"):
            base = self.type_of(t.attrib["encodingType"])
            if buf is not None:
                return self.value(base, buf, at)
            return 0 if kind == "set" else self.value(base, None, at)
        if kind == "composite":
            return {m.attrib["name"]: self.value(m, buf, at + o) for m, o in self.members(t)}
        code, null = PRIMITIVES[t.attrib["primitiveType"]]
        n = int(t.get("length", "1"))
        if t.attrib["primitiveType"] == "char":
            return b"" if buf is None else buf[at : at + n].rstrip(b"\0")
        if "nullValue" in t.attrib:
            null = (float if code in "fd" else int)(t.attrib["nullValue"])
        if buf is None:
            return null if n == 1 else [null] * n
        values = list(struct.unpack_from(f"{self.order}{n}{code}", buf, at))
        return values[0] if n == 1 else values

    def number(self, composite: ET.Element, name: str, buf: bytes, at: int) -> int:
        for member, offset in self.members(composite):
            if member.attrib["name"] == name:
                if at + self.size(composite) > len(buf):
                    raise Malformed
                value = self.value(member, buf, at + offset)
                assert isinstance(value, int)
                return value
        raise AssertionError(name)

    # --- messages ----------------------------------------------------------------------------
    def layout(self, block: ET.Element) -> list[tuple[ET.Element, ET.Element, int, int]]:
        """(field, type, offset, size) of what is on the wire."""
        out, at = [], 0
        for f in block:
            if tag(f) != "field":
                continue
            t = self.type_of(f.attrib["type"])
            size = self.size(t)
            if self.is_constant(f, t) or size == 0:
                continue
            at = int(f.get("offset", at))
            out.append((f, t, at, size))
            at += size
        return out

    def block_length(self, block: ET.Element) -> int:
        end = max((at + size for _, _, at, size in self.layout(block)), default=0)
        return int(block.get("blockLength", end))

    def needs(self, block: ET.Element, version: int) -> int:
        """Bytes that a block of this version has at least."""
        return max(
            (
                at + size
                for f, _, at, size in self.layout(block)
                if int(f.get("sinceVersion", "0")) <= version
            ),
            default=0,
        )

    def dimension(self, group: ET.Element) -> ET.Element:
        return self.types[group.get("dimensionType", "groupSizeEncoding")]

    def data_header(self, data: ET.Element) -> tuple[ET.Element, int]:
        t = self.types[data.attrib["type"]]
        return t, max(
            at + self.size(m) for m, at in self.members(t) if m.attrib["name"] != "varData"
        )

    def block(  # noqa: PLR0912, PLR0917
        self, block: ET.Element, buf: bytes, at: int, length: int, version: int, empty: list[int]
    ) -> tuple[dict[str, Any], int]:
        if at + length > len(buf) or length < self.needs(block, version):
            raise Malformed
        out: dict[str, Any] = {"fields": {}, "groups": {}, "data": {}}
        for f, t, offset, _ in self.layout(block):
            there = int(f.get("sinceVersion", "0")) <= version
            value = self.value(t, buf if there else None, at + offset)
            # A field that is a decimal of constant exponent is its mantissa.
            if isinstance(value, dict) and len(value) == 1:
                (only,) = value.values()
                value = value if isinstance(only, dict) else only
            out["fields"][f.attrib["name"]] = value
        at += length
        for g in block:
            if tag(g) == "group":
                entries: list[dict[str, Any]] = []
                out["groups"][g.attrib["name"]] = entries
                if int(g.get("sinceVersion", "0")) > version:
                    continue
                dimension = self.dimension(g)
                entry_length = self.number(dimension, "blockLength", buf, at)
                count = self.number(dimension, "numInGroup", buf, at)
                at += self.size(dimension)
                for _ in range(count):
                    entry, end = self.block(g, buf, at, entry_length, version, empty)
                    if end == at:
                        empty[0] += 1
                        if empty[0] > MOST_EMPTY:
                            raise Malformed
                    at = end
                    entries.append(entry)
            elif tag(g) == "data":
                out["data"][g.attrib["name"]] = b""
                if int(g.get("sinceVersion", "0")) > version:
                    continue
                header, size = self.data_header(g)
                if at + size > len(buf):
                    raise Malformed
                n = next(
                    self.value(m, buf, at + o)
                    for m, o in self.members(header)
                    if m.attrib["name"] == "length"
                )
                at += size
                if at + n > len(buf):
                    raise Malformed
                out["data"][g.attrib["name"]] = buf[at : at + n]
                at += n
        return out, at

    def decode(self, buf: bytes) -> tuple[str, int, int, dict[str, Any]]:
        """(result, template id, version, message)."""
        try:
            length, template, schema, version = (
                self.number(self.header, name, buf, 0)
                for name in ("blockLength", "templateId", "schemaId", "version")
            )
            if schema != self.schema_id:
                return "other schema", template, version, {}
            if template not in self.messages:
                return "unknown", template, version, {}
            at = self.size(self.header)
            message, _ = self.block(self.messages[template], buf, at, length, version, [0])
        except Malformed:
            return "malformed", 0, 0, {}
        return "ok", template, version, message

    def encode(
        self,
        template: int,
        version: int,
        values: dict[str, Any],
        groups: dict[str, list[dict[str, Any]]] | None = None,
    ) -> bytes:
        """A message from values by field name; fields that are not given are null. A composite is
        given as its first member."""
        element = self.messages[template]

        def pack(t: ET.Element, buf: bytearray, at: int, value: Any) -> None:
            if tag(t) == "ref":
                t = self.type_of(t.attrib["type"])
            if tag(t) in ("enum", "set"):
                t = self.type_of(t.attrib["encodingType"])
            if tag(t) == "composite":
                for i, (member, offset) in enumerate(self.members(t)):
                    pack(member, buf, at + offset, value if i == 0 else None)
                return
            code, _ = PRIMITIVES[t.attrib["primitiveType"]]
            if value is None:
                value = self.value(t, None, 0)
            if code == "c":
                size = self.size(t)
                buf[at : at + size] = value[:size].ljust(size, b"\0")
            else:
                struct.pack_into(self.order + code, buf, at, value)

        def block(element: ET.Element, given: dict[str, Any]) -> bytes:
            buf = bytearray(self.block_length(element))
            left = dict(given)
            for f, t, at, _ in self.layout(element):
                pack(t, buf, at, left.pop(f.attrib["name"], None))
            assert not left, left
            return bytes(buf)

        def numbers(composite: ET.Element, **wanted: int) -> bytes:
            buf = bytearray(self.size(composite))
            for member, at in self.members(composite):
                pack(member, buf, at, wanted.get(member.attrib["name"], 0))
            return bytes(buf)

        out = block(element, values)
        head = numbers(
            self.header,
            blockLength=len(out),
            templateId=template,
            schemaId=self.schema_id,
            version=version,
        )
        for g in element:
            if tag(g) != "group" or int(g.get("sinceVersion", "0")) > version:
                continue
            entries = (groups or {}).get(g.attrib["name"], [])
            out += numbers(
                self.dimension(g), blockLength=self.block_length(g), numInGroup=len(entries)
            )
            out += b"".join(block(g, entry) for entry in entries)
        return head + out


# --- what wirepath made of messages, in the same form ---------------------------------------------
def plain(value: Any) -> Any:
    """A NumPy value as Python's."""
    if hasattr(value, "dtype") and value.dtype.names:
        return {name: plain(value[name]) for name in value.dtype.names}
    return value.tolist() if hasattr(value, "tolist") else value


def same(a: Any, b: Any) -> bool:
    """Equal, and NaN is itself."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, float) and isinstance(b, float) and math.isnan(a) and math.isnan(b):
        return True
    return type(a) is type(b) and bool(a == b)


def messages_of(schema: Any, table: Any) -> list[dict[str, Any]]:
    """Every message of a table as Naive gives it."""
    block = schema.message_type(table.name).block
    prefix = len(table.rows.dtype.names) - len(table.rows.dtype.names[5:])
    assert prefix == 5

    def build(rows: Any, block: Any, path: tuple[str, ...], skip: int) -> list[dict[str, Any]]:
        data_names = [d.name for d in block.data]
        names = [n for n in rows.dtype.names[skip:] if n not in data_names]
        columns = {n: rows[n] for n in names}
        bytes_of = {n: table.bytes_of(n, ".".join(path) or None) for n in data_names}
        out = [
            {
                "fields": {n: plain(columns[n][i]) for n in names},
                "groups": {g.name: [] for g in block.groups},
                "data": {n: bytes_of[n][i] for n in data_names},
            }
            for i in range(len(rows))
        ]
        for group in block.groups:
            inner = table.groups[".".join((*path, group.name))]
            entries = build(inner, group.block, (*path, group.name), 2)
            for entry, parent, number in zip(
                entries,
                inner[inner.dtype.names[0]].tolist(),
                inner[inner.dtype.names[1]].tolist(),
                strict=True,
            ):
                siblings = out[parent]["groups"][group.name]
                assert number == len(siblings)
                siblings.append(entry)
        return out

    return build(table.rows, block, (), 5)
