"""One file of a table: open, batches, close. What is unfinished has another name."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .layout import Layout, pyarrow

FORMATS = ("parquet", "arrow", "csv", "npy")


class TableFile(Protocol):
    """A file that is being written."""

    def write(self, rows: NDArray[np.void]) -> None: ...
    def close(self) -> None: ...


class _Parquet:
    # What a column's values are like says how they are written: numbers that count up as
    # differences, the few values of codes by dictionary, the rest as they are.
    _DELTA = ("seq", "event_time", "recv_time", "send_time", "timestamp")
    _DICTIONARY = ("instrument", "stock_locate", "flags", "channel", "unit", "qty", "shares")

    def __init__(self, path: Path, layout: Layout, compression: str, group_rows: int) -> None:
        pa = pyarrow()
        import pyarrow.parquet as pq  # noqa: PLC0415

        self._layout = layout
        self._group_rows = group_rows
        delta = [c.name for c in layout.columns if c.name in self._DELTA]
        coded = [
            c.name
            for c in layout.columns
            if pa.types.is_dictionary(c.type) or c.name in self._DICTIONARY
        ]
        self._writer = pq.ParquetWriter(
            path,
            layout.schema,
            compression=compression,
            use_dictionary=coded,
            column_encoding=dict.fromkeys(delta, "DELTA_BINARY_PACKED") or None,
            write_statistics=True,
        )

    def write(self, rows: NDArray[np.void]) -> None:
        self._writer.write_batch(self._layout.batch(rows), row_group_size=self._group_rows)

    def close(self) -> None:
        self._writer.close()


class _Arrow:
    """Arrow's IPC file, as Feather reads it. Dictionaries that grow are written as text: the
    format has one dictionary a file."""

    def __init__(self, path: Path, layout: Layout) -> None:
        pa = pyarrow()
        self._layout = layout
        fields = [
            f.with_type(pa.string()) if f.type == pa.dictionary(pa.int32(), pa.string()) else f
            for f in layout.schema
        ]
        self._schema = pa.schema(fields, metadata=layout.schema.metadata)
        self._file = pa.OSFile(str(path), "wb")
        options = pa.ipc.IpcWriteOptions(compression="lz4")
        self._writer = pa.ipc.new_file(self._file, self._schema, options=options)

    def write(self, rows: NDArray[np.void]) -> None:
        self._writer.write_batch(self._layout.batch(rows).cast(self._schema))

    def close(self) -> None:
        try:
            self._writer.close()
        finally:
            self._file.close()


class _Csv:
    """A header line, then a line a row; dictionaries as their text, nulls empty."""

    def __init__(self, path: Path, layout: Layout) -> None:
        pa = pyarrow()
        from pyarrow import csv  # noqa: PLC0415

        self._layout = layout
        fields = []
        for f in layout.schema:
            kind = f.type
            if pa.types.is_dictionary(kind):
                kind = pa.string()
            elif pa.types.is_timestamp(kind):
                kind = pa.int64()  # ns: no reader of times loses digits
            elif not pa.types.is_integer(kind) and not pa.types.is_floating(kind):
                kind = pa.string()
            fields.append(pa.field(f.name, kind))
        self._schema = pa.schema(fields)
        self._file = pa.OSFile(str(path), "wb")
        self._writer = csv.CSVWriter(self._file, self._schema)

    def write(self, rows: NDArray[np.void]) -> None:
        pa = pyarrow()
        batch = self._layout.batch(rows)
        arrays = [
            pa.array([None if v is None else str(v) for v in column.to_pylist()], pa.string())
            if pa.types.is_nested(column.type) or pa.types.is_fixed_size_binary(column.type)
            else column.cast(field.type)
            for column, field in zip(batch.columns, self._schema, strict=True)
        ]
        self._writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=self._schema))

    def close(self) -> None:
        try:
            self._writer.close()
        finally:
            self._file.close()


class _Npy:
    """One structured array."""

    def __init__(self, path: Path, layout: Layout) -> None:
        self._dtype = layout.dtype
        self._rows = 0
        self._file = path.open("wb")
        self._header()

    def _header(self) -> None:
        # NumPy leaves room in the header for the first axis to grow to any length.
        np.lib.format.write_array_header_1_0(
            self._file,
            {
                "descr": np.lib.format.dtype_to_descr(self._dtype),
                "fortran_order": False,
                "shape": (self._rows,),
            },
        )

    def write(self, rows: NDArray[np.void]) -> None:
        self._file.write(np.ascontiguousarray(rows).tobytes())
        self._rows += len(rows)

    def close(self) -> None:
        with self._file:
            self._file.seek(0)
            self._header()


def open_table(
    path: Path, layout: Layout, kind: str, *, compression: str, group_rows: int
) -> TableFile:
    """A file of a format of :data:`FORMATS`."""
    if kind == "parquet":
        return _Parquet(path, layout, compression, group_rows)
    if kind == "arrow":
        return _Arrow(path, layout)
    return _Csv(path, layout) if kind == "csv" else _Npy(path, layout)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def settle(part: Path, folder: Path, stem: str, suffix: str, *, durable: bool) -> Path:
    """Give a finished file its name, ``stem`` and a number where that is taken: never over another
    file. durable: it is on the disk when this returns."""
    if durable:
        _sync(part)
    number = 0
    while True:
        path = folder / (f"{stem}-{number}{suffix}" if number else f"{stem}{suffix}")
        number += 1
        try:
            os.link(part, path)  # unlike rename, it fails where the name is taken
        except FileExistsError:
            continue
        except OSError:  # a file system without hard links
            if path.exists():
                continue
            part.rename(path)
        else:
            part.unlink()
        if durable:
            _sync(folder)
        return path


def discard(file: Any, part: Path) -> None:  # noqa: ANN401
    """Give a file up: what is there of it goes."""
    with contextlib.suppress(Exception):  # it failed before, and is not wanted any more
        file.close()
    part.unlink(missing_ok=True)
