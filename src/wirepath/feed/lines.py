"""The frames of a capture as one channel: lines arbitrated, messages decoded natively."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _core
from .._core import Batch, SymbolTable
from ..dtypes import RECORD
from ..errors import ConfigError
from . import iex, itch50, pitch, reading
from .mdp3 import Mdp3, Mdp3Columns
from .sbe import SbeTable
from .sbe_schema import SbeSchema

__all__ = ["PROTOCOLS", "LineReader"]

PROTOCOLS = ("itch", "iex", "pitch", "cme")
"""ITCH 5.0 over MoldUDP64; TOPS, DEEP and DEEP+ over IEX-TP; Cboe PITCH; CME MDP 3.0."""

# Units of a PITCH feed are sequences of their own, each with a buffer to hold messages in.
_UNITS = {"pitch": 64}
_HOLD_BYTES = {"pitch": 1 << 19}
_HOLD_MESSAGES = {"pitch": 4096}
_MAX_GAPS = {"pitch": 128}


class LineReader:
    """Decodes whole captures: every UDP destination with packets of it is a line of the channel.

    protocol: one of :data:`PROTOCOLS`. Lines are found as they come, 16 at most, and put together
    message by message, the first arrival winning; a session that the header names (MoldUDP64,
    IEX-TP) is a channel of its own. Messages come in order: a gap is waited for ``hold_ns`` of the
    capture's time and then abandoned.

    columns: raw rows by message type instead of records (:meth:`take_rows`, CME: :meth:`tables`).
    types: message types wanted in raw rows, all when empty. session_date: the trading day, which
    makes ``event_time`` of ITCH and PITCH Unix time. schema: CME's. channel: of the first session's
    records; further sessions count up from it.

    ``frames = not_udp + payloads``, and ``payloads = Σ packets of lines + foreign + other_line +
    other_channel + no_session``; foreign are those to destinations that have carried no packet of
    the protocol.

    Raises :class:`~wirepath.errors.ConfigError` naming the option.
    """

    def __init__(
        self,
        protocol: str,
        *,
        columns: bool = False,
        types: Iterable[str | int] = (),
        session_date: date | None = None,
        schema: SbeSchema | None = None,
        symbols: SymbolTable | int | None = None,
        channel: int = 0,
        hold_ns: int = 10_000_000,
    ) -> None:
        if protocol not in PROTOCOLS:
            raise ConfigError(
                f'protocol = "{protocol}" is not usable: it must be one of {", ".join(PROTOCOLS)}'
            )
        if (schema is None) == (protocol == "cme"):
            must = "a schema with cme" if schema is None else "left out: only cme has a schema"
            raise ConfigError(f"schema is not usable: it must be {must}")
        self.protocol = protocol
        self.columns = columns
        wanted = list(types)
        self._types = wanted
        self._symbols = reading.symbol_table(symbols)
        self._cme = Mdp3(schema, channel) if schema is not None and not columns else None
        self._tables = Mdp3Columns(schema, wanted) if schema is not None and columns else None
        self._native = _core.LineReader.make(
            protocol,
            columns=columns,
            types=b"" if protocol == "cme" else bytes(map(self._number, wanted)),
            symbols=self._symbols,
            midnight_ns=itch50.midnight_ns(session_date) if session_date else 0,
            channel=reading.checked_channel(channel),
            arbiter={
                "units": _UNITS.get(protocol, 1),
                "hold_ns": hold_ns,
                "hold_messages": _HOLD_MESSAGES.get(protocol, 65_536),
                "hold_bytes": _HOLD_BYTES.get(protocol, 8 << 20),
                "max_gaps": _MAX_GAPS.get(protocol, 1024),
            },
        )

    def _number(self, message_type: str | int) -> int:
        self.row_dtype(message_type)
        return ord(message_type) if isinstance(message_type, str) else message_type

    @property
    def message_types(self) -> dict[Any, str]:
        """Types that the protocol knows, with their names."""
        if self.protocol == "itch":
            return dict(itch50.message_types())
        if self.protocol == "iex":
            return dict(iex.message_types())
        if self.protocol == "pitch":
            return dict(pitch.message_types())
        schema = (self._cme or self._tables).schema  # type: ignore[union-attr]
        return {schema.message_type(name).id: name for name in schema.messages}

    def row_dtype(self, message_type: Any) -> np.dtype[np.void]:  # noqa: ANN401  # letter or number
        """Dtype of the raw rows of a type."""
        of = {"itch": itch50.row_dtype, "iex": iex.row_dtype, "pitch": pitch.row_dtype}
        return of[self.protocol](message_type)

    def on_batch(self, batch: Batch) -> None:
        """Take the frames of a batch in; the GIL is released."""
        self._native.on_batch(batch)

    def flush(self) -> None:
        """The end of the capture: what is held waits no longer."""
        self._native.flush()

    @property
    def pending(self) -> int:
        """Records, messages of raw rows, or packets (CME) that wait to be taken."""
        return self._native.pending

    def take(self) -> NDArray[np.void]:
        """The records so far, in order (dtype :data:`wirepath.RECORD`); begins anew."""
        if self._cme is None:
            return self._native.take_records(RECORD)
        data, lengths, times = self._native.copy_packets(
            np.dtype(np.uint8), np.dtype("<u4"), np.dtype("<i8")
        )
        self._native.clear()
        return self._cme.packets(data, lengths, times)

    def take_rows(self) -> dict[Any, NDArray[np.void]]:
        """The raw rows so far by type, those that have any; begins anew."""
        out = {}
        for each in self._types or self.message_types:
            number = ord(each) if isinstance(each, str) else each
            if self._native.rows(number):
                out[each] = self._native.copy_rows(number, self.row_dtype(each))
        self._native.clear()
        return out

    def tables(self) -> dict[str, SbeTable]:
        """CME's raw columns so far by template, with their groups; begins anew."""
        if self._tables is None:
            raise ConfigError("tables are CME's, of a reader with columns: use take or take_rows")
        data, lengths, times = self._native.copy_packets(
            np.dtype(np.uint8), np.dtype("<u4"), np.dtype("<i8")
        )
        self._native.clear()
        self._tables.append_packets(data, lengths, times)
        return self._tables.tables()

    @property
    def symbols(self) -> SymbolTable:
        """Numbers of instruments, where the venue has none."""
        return self._symbols

    @property
    def counters(self) -> dict[str, int]:
        """``frames``, ``not_udp``, ``payloads``, ``foreign``, ``other_line``, ``other_channel``,
        ``no_session``."""
        return self._native.counters

    @property
    def messages(self) -> dict[str, Any]:
        """``messages``, ``by_type``, ``unknown``, ``malformed``. CME: of templates, as of what was
        taken."""
        decoder = self._cme or self._tables
        if decoder is None:
            return self._native.messages
        told = decoder.counters
        return {
            "messages": told["messages"],
            "by_type": told["by_template"],
            "unknown": told["unknown"] + told["other_schema"],
            "malformed": told["malformed"],
        }

    @property
    def lines(self) -> list[dict[str, Any]]:
        """By line: ``line`` (GROUP:PORT), counters as of :attr:`Arbiter.lines`, and ``behind``, a
        histogram of ns by which it came after another."""
        return self._native.lines

    @property
    def channels(self) -> list[dict[str, Any]]:
        """By session: counters as of :attr:`Arbiter.counters`, and ``units`` with ``unit``,
        ``session`` and ``next_sequence``."""
        return self._native.channels

    @property
    def abandoned(self) -> list[tuple[int, int, int, int, str]]:
        """Gaps that nothing filled: (channel, unit, first, last, reason), the first 1024."""
        return self._native.abandoned
