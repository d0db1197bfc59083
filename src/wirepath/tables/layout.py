"""Which Arrow columns a structured dtype becomes, and how each is filled."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..dtypes import NO_PRICE, RECORD, Action
from ..errors import ExtraMissing

EPOCH = "ns since the Unix epoch"
VENUES = ("", "nasdaq", "iex", "cme", "cboe", "nyse")


def pyarrow() -> Any:  # noqa: ANN401  # a module that is untyped
    """pyarrow. Raises :class:`~wirepath.errors.ExtraMissing` where it is not installed."""
    try:
        import pyarrow as pa  # noqa: PLC0415
    except ImportError as error:
        raise ExtraMissing(
            f"pyarrow is needed and cannot be imported ({error}): "
            "pip install 'wirepath[parquet]', or pip install pyarrow"
        ) from None
    return pa


@dataclass(frozen=True)
class Column:
    """A column: its field, and what makes an Arrow array of the values of a structured array."""

    name: str
    type: Any
    make: Callable[[NDArray[Any]], Any]
    source: str | list[str]  # field or fields of the row
    unit: str = ""


@dataclass(frozen=True)
class Layout:
    """The columns that the rows of a dtype become."""

    dtype: np.dtype[np.void]
    columns: tuple[Column, ...]
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def schema(self) -> Any:  # noqa: ANN401
        """The Arrow schema; units and what is known of the table are its metadata."""
        pa = pyarrow()
        fields = [
            pa.field(c.name, c.type, metadata={"unit": c.unit} if c.unit else None)
            for c in self.columns
        ]
        return pa.schema(fields, metadata={f"wirepath.{k}": v for k, v in self.metadata.items()})

    def batch(self, rows: NDArray[np.void]) -> Any:  # noqa: ANN401
        """The rows as a RecordBatch."""
        arrays = [c.make(rows[c.source]) for c in self.columns]
        return pyarrow().RecordBatch.from_arrays(arrays, schema=self._cached_schema())

    def _cached_schema(self) -> Any:  # noqa: ANN401
        found = self.__dict__.get("_schema")
        if found is None:
            found = self.schema
            object.__setattr__(self, "_schema", found)
        return found


def _plain(kind: Any) -> Callable[[NDArray[Any]], Any]:  # noqa: ANN401
    pa = pyarrow()
    return lambda values: pa.array(np.ascontiguousarray(values), type=kind)


def _unless(kind: Any, none: int) -> Callable[[NDArray[Any]], Any]:  # noqa: ANN401
    """Values of which one says that there is none."""
    pa = pyarrow()

    def make(values: NDArray[Any]) -> Any:  # noqa: ANN401
        values = np.ascontiguousarray(values)
        missing = values == none
        if not missing.any():
            return pa.array(values).cast(kind) if kind != pa.int64() else pa.array(values)
        return pa.array(values, mask=missing).cast(kind)

    return make


def _names(names: Mapping[int, str]) -> tuple[Any, Callable[[NDArray[Any]], Any]]:
    """Codes of one byte with a name each, the same dictionary always; others are null."""
    pa = pyarrow()
    texts = pa.array(list(names.values()), pa.string())
    place = np.full(256, -1, np.int8)
    place[list(names)] = np.arange(len(names))
    complete = bool((place >= 0).all())

    def make(values: NDArray[Any]) -> Any:  # noqa: ANN401
        at = place[values]
        missing = None if complete else at < 0
        if missing is not None and not missing.any():
            missing = None
        return pa.DictionaryArray.from_arrays(pa.array(at, mask=missing), texts)

    return pa.dictionary(pa.int8(), pa.string()), make


def _letters(width: int) -> Callable[[NDArray[Any]], Any]:
    """Alpha fields: text without the spaces that fill it up, as a dictionary."""
    pa = pyarrow()

    def make(values: NDArray[Any]) -> Any:  # noqa: ANN401
        whole = np.ascontiguousarray(values)
        packed = pa.Array.from_buffers(
            pa.binary(width), len(whole), [None, pa.py_buffer(whole.view(np.uint8))]
        ).dictionary_encode()
        # Latin-1 maps each byte to a character and cannot fail.
        texts = [v.decode("latin-1").rstrip(" \0") for v in packed.dictionary.to_pylist()]
        merged = list(dict.fromkeys(texts))
        indices = packed.indices
        if len(merged) != len(texts):
            place = {text: i for i, text in enumerate(merged)}
            remap = np.array([place[text] for text in texts], np.int32)
            indices = pa.array(remap[indices.to_numpy()])
        return pa.DictionaryArray.from_arrays(indices, pa.array(merged, pa.string()))

    return make


def type_text(venue: int, number: int) -> str:
    """A record's message type as its venue writes it: a letter (ITCH, IEX), 0x21 (Cboe), 32."""
    if venue in (1, 2):
        return chr(number)
    return f"0x{number:02X}" if venue == 4 else str(number)


def _types(values: NDArray[Any]) -> Any:  # noqa: ANN401
    """Venue and type of records as the type's text."""
    pa = pyarrow()
    codes = values["venue"].astype(np.uint32) << 16 | values["type"]
    found = pa.array(codes).dictionary_encode()
    texts = [type_text(code >> 16, code & 0xFFFF) for code in found.dictionary.to_pylist()]
    merged = list(dict.fromkeys(texts))
    place = np.array([merged.index(text) for text in texts], np.int32)
    return pa.DictionaryArray.from_arrays(
        pa.array(place[found.indices.to_numpy()]), pa.array(merged, pa.string())
    )


@cache
def record_layout(with_type: bool = True) -> Layout:
    """The columns of :data:`wirepath.RECORD`.

    Times are ``timestamp[ns, UTC]`` and null where nobody told them, ``price`` is null where there
    is none, ``action``, ``side``, ``venue`` and ``type`` are dictionaries of text. with_type: False
    for files whose path has the type.
    """
    pa = pyarrow()
    time = pa.timestamp("ns", tz="UTC")
    text = pa.dictionary(pa.int32(), pa.string())
    action, make_action = _names({int(a): a.name.lower() for a in Action})
    side, make_side = _names({ord("B"): "B", ord("S"): "S"})
    venue, make_venue = _names(dict(enumerate(VENUES)))
    columns = (
        Column("seq", pa.uint64(), _plain(pa.uint64()), "seq"),
        Column("event_time", time, _unless(time, 0), "event_time", EPOCH),
        Column("recv_time", time, _unless(time, 0), "recv_time", EPOCH),
        Column("order_id", pa.uint64(), _plain(pa.uint64()), "order_id"),
        Column("aux", pa.uint64(), _plain(pa.uint64()), "aux"),
        Column("price", pa.int64(), _unless(pa.int64(), NO_PRICE), "price", "1e-9"),
        Column("qty", pa.uint32(), _plain(pa.uint32()), "qty"),
        Column("instrument", pa.uint32(), _plain(pa.uint32()), "instrument"),
        Column("type", text, _types, ["venue", "type"]),
        Column("action", action, make_action, "action"),
        Column("side", side, make_side, "side"),
        Column("flags", pa.uint8(), _plain(pa.uint8()), "flags", "wirepath.RecordFlag"),
        Column("venue", venue, make_venue, "venue"),
        Column("channel", pa.uint16(), _plain(pa.uint16()), "channel"),
    )
    kept = tuple(c for c in columns if with_type or c.name != "type")
    return Layout(RECORD, kept, {"table": "records"})


def row_layout(
    dtype: np.dtype[np.void], units: Mapping[str, str] | None = None, table: str = ""
) -> Layout:
    """The columns of raw rows: numbers as they are, alpha fields as dictionaries of text, times
    since the epoch as timestamps; units go into the schema."""
    columns: list[Column] = []
    for name in dtype.names or ():
        columns += _columns_of(name, dtype[name], (units or {}).get(name, ""))
    return Layout(dtype, tuple(columns), {"table": table})


_TIMES = ("recv_time", "send_time", "event_time")


def _part(name: str, make: Callable[[NDArray[Any]], Any]) -> Callable[[NDArray[Any]], Any]:
    return lambda values: make(values[name])


def _columns_of(name: str, dtype: np.dtype[Any], unit: str) -> list[Column]:
    pa = pyarrow()
    if dtype.names:  # of SBE: composites, places of variable-length data
        return [
            Column(column.name, column.type, _part(part, column.make), name, column.unit)
            for part in dtype.names
            for column in _columns_of(f"{name}.{part}", dtype[part], unit)
        ]
    if dtype.subdtype is not None:
        base, shape = dtype.subdtype
        size = int(np.prod(shape))
        inner_type = pa.from_numpy_dtype(base)
        kind = pa.list_(inner_type, size)

        def lists(values: NDArray[Any]) -> Any:  # noqa: ANN401
            flat = np.ascontiguousarray(values).reshape(-1)
            return pa.FixedSizeListArray.from_arrays(pa.array(flat, inner_type), size)

        return [Column(name, kind, lists, name, unit)]
    if dtype.kind == "S":
        text = pa.dictionary(pa.int32(), pa.string())
        return [Column(name, text, _letters(dtype.itemsize), name, unit)]
    if dtype.kind == "V":
        kind = pa.binary(dtype.itemsize)

        def opaque(values: NDArray[Any]) -> Any:  # noqa: ANN401
            whole = np.ascontiguousarray(values)
            return pa.Array.from_buffers(
                kind, len(whole), [None, pa.py_buffer(whole.view(np.uint8))]
            )

        return [Column(name, kind, opaque, name, unit)]
    if name in _TIMES and dtype.kind == "i" and dtype.itemsize == 8:
        time = pa.timestamp("ns", tz="UTC")
        return [Column(name, time, _unless(time, 0), name, unit or EPOCH)]
    native = dtype.newbyteorder("=")
    kind = pa.from_numpy_dtype(native)

    def numbers(values: NDArray[Any]) -> Any:  # noqa: ANN401
        return pa.array(np.ascontiguousarray(values, native), type=kind)

    return [Column(name, kind, numbers, name, unit)]
