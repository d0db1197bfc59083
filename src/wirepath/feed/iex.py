"""IEX TOPS 1.6, DEEP 1.0 and DEEP+ over IEX-TP: segments to records, or to raw columns."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import _core
from .._core import Batch, IexTp, SymbolTable
from ..dtypes import RECORD
from . import reading
from .reading import Buffer, Reader

__all__ = [
    "Iex",
    "IexColumns",
    "IexTp",
    "SegmentHeader",
    "message_types",
    "row_dtype",
    "row_units",
    "segment_header",
]


class SegmentHeader(NamedTuple):
    """The header of a segment (IEX Transport Specification 1.26). ``protocol``: 0x8003 TOPS,
    0x8004 DEEP, 0x8005 DEEP+. ``send_time``: ns since the Unix epoch."""

    protocol: int
    channel: int
    session: int
    payload_length: int
    message_count: int
    stream_offset: int
    first: int
    send_time: int


def segment_header(packet: Buffer) -> SegmentHeader | None:
    """The header of a segment; None: too short, or another version."""
    fields = _core.iex_segment_header(packet)
    return None if fields is None else SegmentHeader(*fields)


@cache
def _layouts() -> reading.Layouts:
    return _core.iex_layouts()


@cache
def row_dtype(message_type: str) -> np.dtype[np.void]:
    """Dtype of the raw rows of one message type: ``seq``, ``recv_time``, ``send_time`` (of the
    segment), then every field of the message; see :func:`row_units` for units."""
    return reading.layout_dtype(_layouts(), message_type)


def row_units(message_type: str) -> dict[str, str]:
    """Unit of each raw column that has one, e.g. ``{"price": "1e-4 USD"}``."""
    return reading.layout_units(_layouts(), message_type)


def message_types() -> dict[str, str]:
    """The 19 message types of the three feeds: letter -> name."""
    return {letter: told[0] for letter, told in _layouts().items()}


class Iex(Reader):
    """Segments to normalised records (dtype :data:`wirepath.RECORD`), with the session.

    channel: goes into every record. symbols: the table that numbers instruments, to be shared or
    filled beforehand; a number makes one of that capacity. next_sequence: first message wanted, 0
    begins with the first segment. max_gaps: open gaps remembered.

    Unknown types and known types of another length are counted and skipped. A quote (TOPS ``Q``)
    makes two records, bid then ask.
    """

    def __init__(
        self,
        *,
        channel: int = 0,
        symbols: SymbolTable | int | None = None,
        next_sequence: int = 0,
        max_gaps: int = 64,
    ) -> None:
        self._symbols = reading.symbol_table(symbols)
        self._native = _core.IexReader(
            self._symbols, next_sequence, max_gaps, reading.checked_channel(channel)
        )
        super().__init__(self._native, RECORD)

    def decode(
        self, message: Buffer, seq: int = 0, recv_time: int = 0, *, flags: int = 0
    ) -> NDArray[np.void]:
        """The records of one message, none when it was skipped (see ``message_counters``); the
        session has no part in it. flags: or-ed into the records."""
        return self._native.decode(message, seq, recv_time, 0, flags, RECORD)

    @property
    def symbols(self) -> SymbolTable:
        """Numbers of instruments."""
        return self._symbols

    @property
    def message_counters(self) -> dict[str, Any]:
        """``messages``, ``by_type``, ``records``, ``unknown``, ``malformed``, ``untimed``."""
        return self._native.message_counters


class IexColumns:
    """Raw columns: per message type one structured array with every field as it is on the wire.

    types: letters to keep, "" for all. The rest is as in :class:`Iex`.
    """

    def __init__(self, types: str = "", *, next_sequence: int = 0, max_gaps: int = 64) -> None:
        for letter in types:
            reading.layout(_layouts(), letter)
        self._native = _core.IexColumnReader(types.encode(), next_sequence, max_gaps)

    def append(self, message: Buffer, seq: int = 0, recv_time: int = 0, send_time: int = 0) -> bool:
        """Add one message; False when it was skipped (see ``message_counters``)."""
        return self._native.append(message, seq, recv_time, send_time, 0)

    def on_packet(self, packet: Buffer, recv_time: int = 0) -> None:
        """Add the new messages of one UDP payload."""
        self._native.read(packet, recv_time, np.uint8)

    def on_batch(self, batch: Batch) -> None:
        """Add the new messages of every UDP payload of a batch."""
        self._native.read_batch(batch, np.uint8)

    def rows(self, message_type: str) -> int:
        """How many messages of a type are waiting to be taken."""
        row_dtype(message_type)
        return self._native.rows(ord(message_type))

    def take(self, message_type: str) -> NDArray[np.void]:
        """The rows of a type so far (dtype :func:`row_dtype`); begins anew."""
        return self._native.take(ord(message_type), row_dtype(message_type))

    @property
    def counters(self) -> dict[str, int]:
        """The session's."""
        return self._native.counters

    @property
    def message_counters(self) -> dict[str, Any]:
        """``messages``, ``by_type``, ``records`` (rows kept), ``unknown``, ``malformed``."""
        return self._native.message_counters
