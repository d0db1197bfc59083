"""Cboe Multicast PITCH over sequenced units: datagrams to records, or to raw columns."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _core
from .._core import Batch, PitchUnits, SymbolTable
from ..dtypes import RECORD
from . import reading
from .itch50 import midnight_ns
from .reading import Buffer, Reader

__all__ = [
    "Pitch",
    "PitchColumns",
    "PitchUnits",
    "message_types",
    "row_dtype",
    "row_units",
]


@cache
def _layouts() -> reading.Layouts:
    return _core.pitch_layouts()


@cache
def row_dtype(message_type: int) -> np.dtype[np.void]:
    """Dtype of the raw rows of one message type (0x21, …): ``seq``, ``recv_time``, ``unit``,
    ``event_time`` (ns since the Unix epoch), then every field of the message; those that options
    feeds add are 0 in messages of equities. See :func:`row_units` for units."""
    return reading.layout_dtype(_layouts(), message_type)


def row_units(message_type: int) -> dict[str, str]:
    """Unit of each raw column that has one, e.g. ``{"price": "1e-4 USD"}``."""
    return reading.layout_units(_layouts(), message_type)


def message_types() -> dict[int, str]:
    """The 24 message types that are known: number -> name."""
    return {number: told[0] for number, told in _layouts().items()}


class Pitch(Reader):
    """Datagrams to normalised records (dtype :data:`wirepath.RECORD`), with the session.

    session_date: the trading day, which makes ``event_time`` Unix time; without it
    ``event_time`` is nanoseconds since New York midnight. It is 0 while the second is not known:
    before a unit's first Time message, after a gap until the next one, and for late messages
    whose Time message did not come with them.

    channel: goes into every record. symbols: the table that numbers instruments, to be shared or
    filled beforehand; a number makes one of that capacity. next_sequence: first message wanted of
    each unit, 0 begins with its first packet. max_gaps: open gaps remembered per unit.

    Unknown types and known types of another length are counted and skipped.
    """

    def __init__(
        self,
        session_date: date | None = None,
        *,
        channel: int = 0,
        symbols: SymbolTable | int | None = None,
        next_sequence: int = 0,
        max_gaps: int = 64,
    ) -> None:
        self._symbols = reading.symbol_table(symbols)
        self._native = _core.PitchReader(
            self._symbols,
            next_sequence,
            max_gaps,
            reading.checked_channel(channel),
            midnight_ns(session_date) if session_date else 0,
        )
        super().__init__(self._native, RECORD)

    def decode(
        self, message: Buffer, seq: int = 0, recv_time: int = 0, *, unit: int = 0, flags: int = 0
    ) -> NDArray[np.void]:
        """The record of one message (with its length byte), none when it was skipped (see
        ``message_counters``); the session has no part in it. flags: or-ed into the record."""
        return self._native.decode(message, seq, recv_time, unit, flags, RECORD)

    @property
    def symbols(self) -> SymbolTable:
        """Numbers of instruments."""
        return self._symbols

    @property
    def message_counters(self) -> dict[str, Any]:
        """``messages``, ``by_type``, ``records``, ``unknown``, ``malformed``, ``untimed``."""
        return self._native.message_counters


class PitchColumns:
    """Raw columns: per message type one structured array with every field as it is on the wire.

    types: numbers to keep, none for all. The rest is as in :class:`Pitch`.
    """

    def __init__(
        self,
        types: Iterable[int] = (),
        session_date: date | None = None,
        *,
        next_sequence: int = 0,
        max_gaps: int = 64,
    ) -> None:
        kept = list(types)
        for number in kept:
            reading.layout(_layouts(), number)
        midnight = midnight_ns(session_date) if session_date else 0
        self._native = _core.PitchColumnReader(bytes(kept), next_sequence, max_gaps, midnight)

    def append(self, message: Buffer, seq: int = 0, recv_time: int = 0, *, unit: int = 0) -> bool:
        """Add one message; False when it was skipped (see ``message_counters``)."""
        return self._native.append(message, seq, recv_time, 0, unit)

    def on_packet(self, packet: Buffer, recv_time: int = 0) -> None:
        """Add the new messages of one UDP payload."""
        self._native.read(packet, recv_time, np.uint8)

    def on_batch(self, batch: Batch) -> None:
        """Add the new messages of every UDP payload of a batch."""
        self._native.read_batch(batch, np.uint8)

    def rows(self, message_type: int) -> int:
        """How many messages of a type are waiting to be taken."""
        row_dtype(message_type)
        return self._native.rows(message_type)

    def take(self, message_type: int) -> NDArray[np.void]:
        """The rows of a type so far (dtype :func:`row_dtype`); begins anew."""
        return self._native.take(message_type, row_dtype(message_type))

    @property
    def counters(self) -> dict[str, int]:
        """The session's."""
        return self._native.counters

    @property
    def message_counters(self) -> dict[str, Any]:
        """``messages``, ``by_type``, ``records`` (rows kept), ``unknown``, ``malformed``."""
        return self._native.message_counters
