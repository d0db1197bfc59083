"""A FIX Simple Binary Encoding schema: what its XML says, with every offset computed.

Source: FIX Simple Binary Encoding 1.0, sections 2 (field encoding), 3 (message structure) and 4
(message schema).
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass, field
from typing import Any

from .sbe_xml import Element

MAX_BLOCK = 65_535
MAX_NESTED = 8
MAX_TEMPLATE = 65_535
MAX_LEAVES = 1024


@dataclass(frozen=True)
class Primitive:
    """A primitive type: NumPy's name for it and the null value of the specification."""

    name: str
    format: str  # NumPy's, and struct's second letter
    code: str
    size: int
    null: int | float


PRIMITIVES = {
    p.name: p
    for p in (
        Primitive("char", "S1", "B", 1, 0),
        Primitive("int8", "i1", "b", 1, -(1 << 7)),
        Primitive("uint8", "u1", "B", 1, (1 << 8) - 1),
        Primitive("int16", "i2", "h", 2, -(1 << 15)),
        Primitive("uint16", "u2", "H", 2, (1 << 16) - 1),
        Primitive("int32", "i4", "i", 4, -(1 << 31)),
        Primitive("uint32", "u4", "I", 4, (1 << 32) - 1),
        Primitive("int64", "i8", "q", 8, -(1 << 63)),
        Primitive("uint64", "u8", "Q", 8, (1 << 64) - 1),
        Primitive("float", "f4", "f", 4, math.nan),
        Primitive("double", "f8", "d", 8, math.nan),
    )
}


@dataclass(frozen=True)
class Encoded:
    """A type as it is on the wire: a primitive, or an array of them."""

    primitive: Primitive
    length: int = 1
    null: int | float = 0
    optional: bool = False
    constant: int | float | bytes | None = None
    values: dict[str, int | bytes] = field(default_factory=dict)  # of an enum
    choices: dict[str, int] = field(default_factory=dict)  # of a set: bit numbers

    @property
    def size(self) -> int:
        return 0 if self.constant is not None else self.primitive.size * self.length

    def null_bytes(self) -> bytes:
        """As it is stored in a row, native byte order (little-endian)."""
        return struct.pack("<" + self.primitive.code, self.null) * self.length


@dataclass(frozen=True)
class Composite:
    """Several types in a row; ``members`` with their offsets, constants at offset 0."""

    name: str
    members: tuple[tuple[str, int, Encoded | Composite], ...]
    size: int
    leaves: int  # encoded types in it, all levels

    def member(self, name: str) -> tuple[int, Encoded | Composite] | None:
        """Offset and type of a member."""
        return next(((at, kind) for n, at, kind in self.members if n == name), None)


Type = Encoded | Composite


@dataclass(frozen=True)
class Field:
    """A field of a block. ``offset`` is meaningless for a constant."""

    name: str
    id: int
    type: Type
    offset: int
    since: int
    attributes: dict[str, str]


@dataclass(frozen=True)
class Number:
    """An unsigned integer of a header."""

    offset: int
    width: int


@dataclass(frozen=True)
class Data:
    """Variable-length data: a length, then its bytes."""

    name: str
    id: int
    since: int
    header_size: int
    length: Number
    attributes: dict[str, str]


@dataclass(frozen=True)
class Group:
    """A repeating group: its dimensions, and the block of its entries."""

    name: str
    id: int
    since: int
    header_size: int
    block_length: Number
    count: Number
    block: Block


@dataclass(frozen=True)
class Block:
    """The fixed part of a message or entry, and the groups and data behind it."""

    length: int
    fields: tuple[Field, ...]
    groups: tuple[Group, ...]
    data: tuple[Data, ...]


@dataclass(frozen=True)
class MessageType:
    """A template."""

    name: str
    id: int
    since: int
    block: Block
    attributes: dict[str, str]


@dataclass(frozen=True)
class Schema:
    """A schema with everything resolved."""

    id: int
    version: int
    package: str
    big_endian: bool
    header_size: int
    header: tuple[Number, Number, Number, Number]  # blockLength templateId schemaId version
    messages: tuple[MessageType, ...]


def _integer(element: Element, name: str, default: int | None, low: int, high: int) -> int:
    text = element.get(name)
    if text is None:
        if default is None:
            element.fail(f'it has no "{name}"', f'add {name}="…", a number from {low} to {high}')
        return default
    try:
        value = int(text, 10)
    except ValueError:
        value = low - 1
    if not low <= value <= high:
        element.fail(f'{name}="{text[:40]}"', f"it must be a whole number from {low} to {high}")
    return value


def _name(element: Element) -> str:
    name = element.get("name")
    if not name or len(name) > 256:
        element.fail("it has no usable name", 'add name="…", at most 256 characters')
    if "." in name:  # dots join the names of groups inside groups
        element.fail("its name has a dot in it", "name it with letters, digits and underscores")
    return name


def _number(element: Element, primitive: Primitive, text: str, what: str) -> int | float:
    text = text.strip()
    try:
        value: int | float
        if primitive.name == "char":
            value = ord(text) if len(text) == 1 and ord(text) < 256 else int(text, 0)
        elif primitive.format[0] == "f":
            value = float(text)
        else:
            value = int(text, 0 if text.lower().lstrip("+-").startswith("0x") else 10)
        struct.pack(primitive.code, value)
    except (ValueError, struct.error, OverflowError):
        element.fail(f'{what} "{text[:40]}"', f"it must be a value of {primitive.name}")
    return value


class _Loader:
    """One pass over the tree; types are resolved when they are first named."""

    def __init__(self, root: Element) -> None:
        self._root = root
        self._types: dict[str, Element] = {}
        self._done: dict[str, Type] = {}
        self._open: list[str] = []

    def load(self) -> Schema:
        root = self._root
        if root.tag != "messageSchema":
            root.fail("this is no SBE schema", "the outermost element must be <messageSchema>")
        self._collect(root, "types")
        order = root.get("byteOrder", "littleEndian")
        if order not in ("littleEndian", "bigEndian"):
            root.fail(f'byteOrder="{order}"', "it must be littleEndian or bigEndian")
        header_name = root.get("headerType") or "messageHeader"
        header = self._composite(root, header_name, "the header of messages")
        numbers = tuple(
            self._header_number(root, header, name)
            for name in ("blockLength", "templateId", "schemaId", "version")
        )
        if header.size > 64:
            root.fail(f"{header_name} has {header.size} bytes", "a header has at most 64")
        messages: list[MessageType] = []
        for element in _below(root, "message"):
            message = self._message(element)
            for other in messages:
                if other.id == message.id or other.name == message.name:
                    element.fail("its name or id is that of another", "give each its own")
            messages.append(message)
        return Schema(
            id=_integer(root, "id", None, 0, (1 << 32) - 1),
            version=_integer(root, "version", 0, 0, (1 << 32) - 1),
            package=root.get("package") or "",
            big_endian=order == "bigEndian",
            header_size=header.size,
            header=(numbers[0], numbers[1], numbers[2], numbers[3]),
            messages=tuple(messages),
        )

    def _collect(self, root: Element, tag: str) -> None:
        for types in _below(root, tag):
            for element in types.children:
                if element.tag == "types":  # an included file, whose root it is
                    self._collect(types, tag)
                elif element.tag in ("type", "composite", "enum", "set"):
                    name = _name(element)
                    if name in self._types:
                        element.fail("a type of this name was declared before", "rename one")
                    self._types[name] = element

    def _named(self, user: Element, name: str) -> Type:
        if name in self._done:
            return self._done[name]
        element = self._types.get(name)
        if element is None:
            if name in PRIMITIVES:
                primitive = PRIMITIVES[name]
                return Encoded(primitive, 1, primitive.null)
            user.fail(f'type "{name[:60]}" is not declared', "declare it under <types>")
        if name in self._open or len(self._open) >= MAX_NESTED:
            user.fail(f'type "{name}" contains itself, or is nested too deep', "break the circle")
        self._open.append(name)
        made = self._type(element)
        self._open.pop()
        self._done[name] = made
        return made

    def _type(self, element: Element) -> Type:
        if element.tag == "type":
            return self._encoded(element)
        if element.tag == "composite":
            return self._make_composite(element)
        return self._enum_or_set(element)

    def _encoded(self, element: Element) -> Encoded:
        name = element.get("primitiveType") or ""
        primitive = PRIMITIVES.get(name)
        if primitive is None:
            element.fail(
                f'primitiveType="{name[:40]}"', f"it must be one of {', '.join(PRIMITIVES)}"
            )
        length = _integer(element, "length", 1, 0, MAX_BLOCK)
        presence = self._presence(element)
        null = primitive.null
        if (text := element.get("nullValue")) is not None and (name != "char" or length == 1):
            null = _number(element, primitive, text, "nullValue")
        constant = self._constant(element, primitive) if presence == "constant" else None
        return Encoded(primitive, length, null, presence == "optional", constant)

    def _presence(self, element: Element) -> str | None:
        presence = element.get("presence")
        if presence not in (None, "required", "optional", "constant"):
            element.fail(f'presence="{presence}"', "it must be required, optional or constant")
        return presence

    def _constant(self, element: Element, primitive: Primitive | None) -> int | float | bytes:
        reference = element.get("valueRef")
        if reference is not None:
            enum_name, _, value_name = reference.partition(".")
            enum = self._named(element, enum_name)
            if not isinstance(enum, Encoded) or value_name not in enum.values:
                element.fail(f'valueRef="{reference[:60]}"', "it must be Enum.value, as declared")
            return enum.values[value_name]
        text = element.text.strip()
        if not text or primitive is None:
            element.fail("a constant without a value", "give it one: text, or valueRef")
        if primitive.name == "char":
            try:
                return text.encode("latin-1")
            except UnicodeEncodeError:
                element.fail("a constant that is no text of bytes", "use Latin-1 characters")
        return _number(element, primitive, text, "constant")

    def _enum_or_set(self, element: Element) -> Encoded:
        name = element.get("encodingType") or ""
        base = self._named(element, name)
        if not isinstance(base, Encoded) or base.length != 1 or base.constant is not None:
            element.fail(f'encodingType="{name[:40]}"', "it must be a plain type of one value")
        primitive = base.primitive
        if element.tag == "set":
            if primitive.format[0] != "u":
                element.fail(f"a set encoded as {primitive.name}", "it must be an unsigned integer")
            top = 8 * primitive.size - 1
            choices: dict[str, int] = {}
            for choice in _below(element, "choice"):
                bit = _number(choice, PRIMITIVES["uint8"], choice.text, "bit")
                if bit > top:
                    choice.fail(f"bit {bit} of {primitive.name}", f"it must be from 0 to {top}")
                choices[_name(choice)] = int(bit)
            return Encoded(primitive, choices=choices)
        values: dict[str, int | bytes] = {}
        for valid in _below(element, "validValue"):
            value = _number(valid, primitive, valid.text, "value")
            if not isinstance(value, int):
                valid.fail(f"a value of {primitive.name}", "an enum is of char or an integer")
            values[_name(valid)] = bytes([value]) if primitive.name == "char" else value
        null = base.null
        if (text := element.get("nullValue")) is not None:
            null = _number(element, primitive, text, "nullValue")
        return Encoded(primitive, 1, null, base.optional, values=values)

    def _make_composite(self, element: Element) -> Composite:
        members: list[tuple[str, int, Type]] = []
        at = 0
        for child in element.children:
            if child.tag not in ("type", "composite", "enum", "set", "ref"):
                continue
            name = _name(child)
            if any(name == other for other, _, _ in members):
                child.fail(f"{element} has two of this name", "rename one")
            kind = (
                self._named(child, child.get("type") or "")
                if child.tag == "ref"
                else self._inline(child)
            )
            offset, at = self._place(child, kind, at)
            members.append((name, offset, kind))
        leaves = sum(k.leaves if isinstance(k, Composite) else 1 for _, _, k in members)
        if leaves > MAX_LEAVES:  # a few composites of composites would be millions
            element.fail(f"it has {leaves} members", f"at most {MAX_LEAVES} are known")
        return Composite(_name(element), tuple(members), at, leaves)

    def _inline(self, element: Element) -> Type:
        if len(self._open) >= MAX_NESTED:
            element.fail("composites are nested too deep", f"at most {MAX_NESTED} in each other")
        self._open.append("")
        made = self._type(element)
        self._open.pop()
        return made

    def _place(self, element: Element, kind: Type, at: int) -> tuple[int, int]:
        """Offset of the next thing in a block, and where it ends."""
        if kind.size == 0:
            return 0, at
        offset = _integer(element, "offset", at, 0, MAX_BLOCK)
        if offset < at:
            element.fail(
                f'offset="{offset}" is inside what stands before it', f"it must be at least {at}"
            )
        if offset + kind.size > MAX_BLOCK:
            element.fail(f"it ends at byte {offset + kind.size}", f"at most {MAX_BLOCK} are known")
        return offset, offset + kind.size

    def _composite(self, user: Element, name: str, what: str) -> Composite:
        kind = self._named(user, name)
        if not isinstance(kind, Composite):
            user.fail(f'"{name}" is not a composite', f"{what} must be one")
        return kind

    def _header_number(self, user: Element, header: Composite, name: str) -> Number:
        member = header.member(name)
        if member is None:
            user.fail(f"<composite {header.name}> has no {name}", "it needs one")
        offset, kind = member
        if not (
            isinstance(kind, Encoded)
            and kind.primitive.format[0] == "u"
            and kind.length == 1
            and kind.constant is None
        ):
            user.fail(f"{name} of <composite {header.name}>", "it must be an unsigned integer")
        return Number(offset, kind.primitive.size)

    def _message(self, element: Element) -> MessageType:
        return MessageType(
            _name(element),
            _integer(element, "id", None, 0, MAX_TEMPLATE),
            _integer(element, "sinceVersion", 0, 0, (1 << 32) - 1),
            self._block(element, 0),
            element.attributes,
        )

    def _block(self, element: Element, depth: int) -> Block:
        if depth > MAX_NESTED:
            element.fail("groups are nested too deep", f"at most {MAX_NESTED} in each other")
        fields: list[Field] = []
        groups: list[Group] = []
        data: list[Data] = []
        names: set[str] = set()
        at = 0
        for child in element.children:
            if child.tag not in ("field", "group", "data"):
                continue
            name = _name(child)
            if name in names:
                child.fail(f"{element} has two of this name", "rename one")
            names.add(name)
            if len(names) > 4096:
                element.fail("more than 4096 fields, groups and data", "split it")
            if child.tag == "field":
                if groups or data:
                    child.fail("a field behind a group or data", "put fields first")
                kind = self._field_type(child)
                offset, at = self._place(child, kind, at)
                fields.append(
                    Field(name, self._id(child), kind, offset, _since(child), child.attributes)
                )
            elif child.tag == "group":
                if data:
                    child.fail("a group behind data", "put groups first")
                groups.append(self._group(child, name, depth))
            else:
                data.append(self._data(child, name))
        length = _integer(element, "blockLength", at, 0, MAX_BLOCK)
        if length < at:
            element.fail(f'blockLength="{length}"', f"its fields end at byte {at}")
        return Block(length, tuple(fields), tuple(groups), tuple(data))

    def _id(self, element: Element) -> int:
        return _integer(element, "id", 0, 0, (1 << 32) - 1)

    def _field_type(self, element: Element) -> Type:
        name = element.get("type") or ""
        presence = self._presence(element)
        if not name:
            element.fail("it has no type", 'add type="…"')
        kind = self._named(element, name)
        if isinstance(kind, Composite):
            return kind
        if kind.length == 0 and kind.constant is None:
            element.fail(f'type "{name}" has length 0', "use it inside <data> only")
        if presence == "constant" and kind.constant is None:
            return Encoded(
                kind.primitive,
                kind.length,
                kind.null,
                False,
                self._constant(element, kind.primitive),
            )
        if presence == "optional" and not kind.optional and kind.constant is None:
            return Encoded(
                kind.primitive, kind.length, kind.null, True, None, kind.values, kind.choices
            )
        return kind

    def _group(self, element: Element, name: str, depth: int) -> Group:
        dimension_name = element.get("dimensionType") or "groupSizeEncoding"
        dimension = self._composite(element, dimension_name, "the dimensions of a group")
        if dimension.size > 64:
            element.fail(f"{dimension_name} has {dimension.size} bytes", "at most 64 are known")
        return Group(
            name,
            self._id(element),
            _since(element),
            dimension.size,
            self._header_number(element, dimension, "blockLength"),
            self._header_number(element, dimension, "numInGroup"),
            self._block(element, depth + 1),
        )

    def _data(self, element: Element, name: str) -> Data:
        kind_name = element.get("type") or ""
        kind = self._composite(element, kind_name, "the type of data")
        var = kind.member("varData")
        if var is None or not isinstance(var[1], Encoded):
            element.fail(f"<composite {kind.name}> has no varData", "it needs one, of length 0")
        length = self._header_number(element, kind, "length")
        # Of a varData without length="0", which some schemas have, one element is not the header's.
        header = max(
            (at + k.size for n, at, k in kind.members if n != "varData" and k.size != 0), default=0
        )
        if header > 64:
            element.fail(f"{kind_name} has {header} bytes", "at most 64 are known")
        return Data(name, self._id(element), _since(element), header, length, element.attributes)


def _since(element: Element) -> int:
    return _integer(element, "sinceVersion", 0, 0, (1 << 32) - 1)


def _below(element: Element, tag: str) -> list[Element]:
    return [child for child in element.children if child.tag == tag]


def load(root: Element) -> Schema:
    """The schema that a tree of elements describes. Raises ConfigError."""
    return _Loader(root).load()


def constants(kind: Type, prefix: str) -> dict[str, Any]:
    """Every constant in a type, by name with dots."""
    if isinstance(kind, Encoded):
        return {} if kind.constant is None else {prefix: kind.constant}
    out: dict[str, Any] = {}
    for name, _, member in kind.members:
        out |= constants(member, f"{prefix}.{name}")
    return out
