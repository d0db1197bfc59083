"""Datagrams of a layout that the user declares as a NumPy dtype."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from .. import _core
from ..errors import ConfigError
from .reading import Buffer, Reader, bytes_of

__all__ = ["Raw"]


def _field(name: str, header: np.dtype[Any], row: np.dtype[Any]) -> tuple[int, int, bool]:
    """Offset in the datagram, width and byte order (big?) of the field of that name."""
    for dtype, start in ((header, 0), (row, header.itemsize)):
        fields = dtype.fields
        if fields is None or name not in fields:
            continue
        found, offset = fields[name][:2]
        if found.kind != "u":
            raise ConfigError(
                f"sequence = {name!r} is not usable: it must be an unsigned integer, not {found}"
            )
        return start + offset, found.itemsize, found.byteorder == ">"
    known = ", ".join((*(header.names or ()), *(row.names or ())))
    raise ConfigError(f"sequence = {name!r} is not usable: it must be one of {known or 'no field'}")


class Raw(Reader):
    """Datagrams as rows of ``dtype``: a header, which may be nothing, then any number of rows.

    dtype: of a row, without Python objects. header: bytes before the first row, or their dtype.
    sequence: field of the header, or of the row, that numbers the first row of a datagram; the
    others of it follow. Then rows that repeat are left out, and gaps are told, as with the venues'
    sessions; the numbers wrap to 0 at the width of the field. Without it every row is taken.
    next_sequence: first row wanted, 0 begins with the first datagram. max_gaps: open gaps
    remembered.

    A datagram that is shorter than the header, or not a whole number of rows, is counted in
    ``malformed``.

    Raises :class:`~wirepath.errors.ConfigError` for a dtype of no size or with objects, and for a
    ``sequence`` that is no such field or no unsigned integer.
    """

    def __init__(
        self,
        dtype: DTypeLike,
        *,
        header: DTypeLike | int = 0,
        sequence: str | None = None,
        next_sequence: int = 0,
        max_gaps: int = 64,
    ) -> None:
        row = np.dtype(dtype)
        if row.hasobject:
            raise ConfigError(f"dtype = {row} is not usable: it must not hold Python objects")
        if isinstance(header, int) and header < 0:
            raise ConfigError(f"header = {header} is not usable: it must be at least 0 bytes")
        head: np.dtype[Any] = (
            np.dtype(f"V{header}") if isinstance(header, int) else np.dtype(header)
        )
        at, width, big = (0, 0, False) if sequence is None else _field(sequence, head, row)
        self._head = head
        native = _core.RawReader(
            head.itemsize, row.itemsize, at, width, big, next_sequence, max_gaps
        )
        super().__init__(native, row)

    def view(self, packet: Buffer) -> NDArray[np.void]:
        """The rows of a datagram where they stand, without a copy; the session has no part in it.
        Of a frame it is valid as long as the frame is.

        Raises :class:`~wirepath.errors.ConfigError` for a datagram that is malformed.
        """
        data = bytes_of(packet)
        size = len(data) - self._head.itemsize
        if size < 0 or size % self._dtype.itemsize:
            raise ConfigError(
                f"packet = {len(data)} bytes is not usable: it must be {self._head.itemsize} bytes "
                f"and a whole number of {self._dtype.itemsize}"
            )
        return np.frombuffer(data[self._head.itemsize :], self._dtype)

    def header(self, packet: Buffer) -> NDArray[np.void]:
        """The header of a datagram where it stands, one item of its dtype.

        Raises ValueError for a datagram that is shorter.
        """
        return np.frombuffer(bytes_of(packet), self._head, count=1)
