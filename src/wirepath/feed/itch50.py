"""Nasdaq TotalView-ITCH 5.0: messages to records, or to raw columns per message type."""

from __future__ import annotations

from datetime import date, datetime
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from .. import _core
from ..dtypes import RECORD
from ..errors import ConfigError

Buffer = bytes | bytearray | memoryview | NDArray[Any]

_NEW_YORK = "America/New_York"


def midnight_ns(session: date) -> int:
    """New York midnight of ``session`` in ns since the Unix epoch: what ITCH's timestamps count
    from (ITCH 5.0 specification, section 2, "Timestamp"), daylight saving time applied."""
    midnight = datetime(session.year, session.month, session.day, tzinfo=ZoneInfo(_NEW_YORK))
    return int(midnight.timestamp()) * 1_000_000_000


@cache
def row_dtype(message_type: str) -> np.dtype[np.void]:
    """Dtype of the raw rows of one message type: ``seq``, ``recv_time``, then every field of the
    message with its wire name, native-endian; see :func:`row_units` for units."""
    layouts = _core.itch50_layouts()
    if message_type not in layouts:
        raise ConfigError(
            f"type = {message_type!r} is not usable: it must be one of {''.join(layouts)}"
        )
    _, itemsize, columns = layouts[message_type]
    return np.dtype(
        {
            "names": [name for name, _, _, _ in columns],
            "formats": [fmt for _, fmt, _, _ in columns],
            "offsets": [offset for _, _, offset, _ in columns],
            "itemsize": itemsize,
        }
    )


def row_units(message_type: str) -> dict[str, str]:
    """Unit of each raw column that has one, e.g. ``{"price": "1e-4 USD"}``."""
    row_dtype(message_type)
    return {name: unit for name, _, _, unit in _core.itch50_layouts()[message_type][2] if unit}


def message_types() -> dict[str, str]:
    """The 23 message types: letter -> name."""
    return {letter: name for letter, (name, _, _) in _core.itch50_layouts().items()}


class Itch50:
    """Decoder to normalised records (dtype :data:`wirepath.RECORD`).

    session_date: the trading day, which makes ``event_time`` Unix time; without it
    ``event_time`` is nanoseconds since New York midnight. channel: goes into every record.

    Unknown types and known types of another length are counted and skipped.
    """

    def __init__(self, session_date: date | None = None, channel: int = 0) -> None:
        if not 0 <= channel <= 0xFFFF:
            raise ConfigError(f"channel = {channel} is not usable: it must be from 0 to 65535")
        self._native = _core.Itch50Decoder()
        self._midnight = midnight_ns(session_date) if session_date else 0
        self._channel = channel

    def decode(self, message: Buffer, seq: int = 0, recv_time: int = 0) -> np.void | None:
        """One message as a record, or None when it was skipped (see ``counters``)."""
        out = np.empty(1, RECORD)
        result = self._native.decode(message, out, seq, recv_time, self._midnight, self._channel)
        return out[0] if result == "ok" else None

    def decode_into(
        self,
        data: Buffer,
        out: NDArray[np.void],
        *,
        offset: int = 0,
        seq: int = 1,
        recv_time: int = 0,
        last: bool = True,
    ) -> tuple[int, int, int]:
        """Decode length-prefixed messages (Nasdaq day files) from ``data[offset:]`` into ``out``.

        The first message gets number ``seq``. ``last=False`` leaves an incomplete message at the
        end for a caller that has more bytes. Returns (records written, bytes consumed, number of
        the next message); nothing is allocated and the GIL is released.
        """
        if out.dtype != RECORD:
            raise ConfigError(f"out has dtype {out.dtype}; it must be wirepath.RECORD")
        return self._native.decode_frames(
            data, offset, out, seq, recv_time, self._midnight, self._channel, last
        )

    def decode_file(self, data: Buffer, *, seq: int = 1, recv_time: int = 0) -> NDArray[np.void]:
        """Every message of a length-prefixed file as one array of records."""
        size = data.nbytes if isinstance(data, memoryview | np.ndarray) else len(data)
        parts: list[NDArray[np.void]] = []
        offset = 0
        while offset < size:
            # 14 bytes: prefix and the shortest message; a guess that never needs a second look
            # at a whole file of them, and is grown part by part for the rest.
            out = np.empty(min(max((size - offset) // 14, 1), 1 << 20), RECORD)
            written, consumed, seq = self.decode_into(
                data, out, offset=offset, seq=seq, recv_time=recv_time
            )
            parts.append(out[:written])
            offset += consumed
            if self._native.end:
                break
        return np.concatenate(parts) if parts else np.empty(0, RECORD)

    @property
    def end(self) -> str:
        """How the latest file ended: "clean", "end of session", "truncated"; "" = not yet."""
        return self._native.end

    @property
    def counters(self) -> dict[str, Any]:
        """``messages``, ``by_type``, ``unknown``, ``malformed``, ``truncated``,
        ``end_of_session``."""
        return self._native.counters


class Itch50Columns:
    """Raw columns: per message type one structured array with every field as it is on the wire.

    types: letters to keep, "" for all.
    """

    def __init__(self, types: str = "") -> None:
        self._native = _core.Itch50Columns(types)

    def append(self, message: Buffer, seq: int = 0, recv_time: int = 0) -> bool:
        """Add one message; False when it was skipped (see ``counters``)."""
        return self._native.append(message, seq, recv_time) == "ok"

    def append_file(self, data: Buffer, seq: int = 1, recv_time: int = 0) -> int:
        """Add every message of a length-prefixed file; returns the next sequence number."""
        _, following = self._native.append_frames(data, seq, recv_time, True)
        return following

    def rows(self, message_type: str) -> int:
        """How many messages of a type are waiting to be taken."""
        return self._native.rows(message_type)

    def take(self, message_type: str) -> NDArray[np.void]:
        """The rows of a type so far (dtype :func:`row_dtype`); begins anew."""
        out: NDArray[np.void] = self._native.take(message_type, row_dtype(message_type))
        return out

    @property
    def counters(self) -> dict[str, Any]:
        return self._native.counters
