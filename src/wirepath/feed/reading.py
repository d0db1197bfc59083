"""What the venues' readers share: datagrams in, items (records, the user's rows) out."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._core import Batch, SymbolTable
from ..errors import ConfigError

Buffer = bytes | bytearray | memoryview | NDArray[Any]
Layouts = dict[
    Any, tuple[str, list[int], int, list[tuple[str, str, int, str]], list[dict[str, Any]]]
]


class Line(Protocol):
    """The state of one line, as every native session and reader tells it."""

    @property
    def counters(self) -> dict[str, int]: ...
    @property
    def session(self) -> str: ...
    @property
    def missing(self) -> int: ...
    def next_sequence(self, unit: int = 0) -> int: ...
    def gaps(self, unit: int = 0) -> list[tuple[int, int]]: ...


class NativeReader(Line, Protocol):
    """A native reader."""

    @property
    def not_udp(self) -> int: ...
    def read(self, packet: Buffer, recv_time: int, dtype: Any) -> NDArray[np.void]: ...  # noqa: ANN401
    def read_batch(self, batch: Batch, dtype: Any) -> NDArray[np.void]: ...  # noqa: ANN401
    def read_into(  # noqa: PLR0917 -- as the native one
        self,
        data: Buffer,
        offsets: NDArray[np.uint64],
        lengths: NDArray[np.uint64],
        recv_times: NDArray[np.int64] | None,
        recv_time: int,
        begin: int,
        out: NDArray[np.void],
    ) -> tuple[int, int]: ...


def bytes_of(buffer: Buffer) -> memoryview:
    """The bytes of anything that has some."""
    anything: Any = buffer  # NumPy does not tell type checkers that its arrays are buffers
    return memoryview(anything).cast("B")


def checked_channel(channel: int) -> int:
    """The channel, when it fits a record."""
    if not 0 <= channel <= 0xFFFF:
        raise ConfigError(f"channel = {channel} is not usable: it must be from 0 to 65535")
    return channel


def symbol_table(symbols: SymbolTable | int | None) -> SymbolTable:
    """The user's table, or a new one of a capacity."""
    if isinstance(symbols, SymbolTable):
        return symbols
    return SymbolTable() if symbols is None else SymbolTable(symbols)


class Reader:
    """One line of a feed: it follows the sequence and makes items of new messages.

    ``counters`` are the session's. Every sequence number from the first expected up to the next
    is in exactly one of ``messages``, ``empty``, ``gap_open`` and ``lost``; ``packets = data +
    heartbeats + end_of_session + resets + unsequenced_packets + ignored + malformed``.
    """

    def __init__(self, native: NativeReader, dtype: np.dtype[np.void]) -> None:
        self._line = native
        self._dtype = dtype

    @property
    def dtype(self) -> np.dtype[np.void]:
        """Of the items."""
        return self._dtype

    def on_packet(self, packet: Buffer, recv_time: int = 0) -> NDArray[np.void]:
        """The items of one UDP payload. recv_time: ns since the Unix epoch."""
        return self._line.read(packet, recv_time, self._dtype)

    def on_batch(self, batch: Batch) -> NDArray[np.void]:
        """The items of every UDP payload of a batch; the batch's timestamps are their time.
        Frames that are not whole UDP datagrams are counted in ``not_udp``."""
        return self._line.read_batch(batch, self._dtype)

    def decode_into(
        self,
        data: Buffer,
        offsets: ArrayLike,
        lengths: ArrayLike,
        out: NDArray[np.void],
        *,
        recv_times: ArrayLike | int = 0,
        begin: int = 0,
    ) -> tuple[int, int]:
        """UDP payloads that lie within ``data``, from number ``begin`` on, into ``out``.

        recv_times: one for all, or one of each. Returns (items written, number of the next
        payload): that is below their number when ``out`` had no room for the most that the next
        payload could make (two records a message). Nothing is allocated and the GIL is released.

        Raises :class:`~wirepath.errors.ConfigError` for payloads outside of ``data``, arrays of
        different length, and an ``out`` of another dtype.
        """
        if out.dtype != self._dtype:
            raise ConfigError(f"out has dtype {out.dtype}; it must be {self._dtype}")
        times = None if isinstance(recv_times, int) else np.ascontiguousarray(recv_times, np.int64)
        return self._line.read_into(
            data,
            np.ascontiguousarray(offsets, np.uint64),
            np.ascontiguousarray(lengths, np.uint64),
            times,
            recv_times if isinstance(recv_times, int) else 0,
            begin,
            out,
        )

    @property
    def counters(self) -> dict[str, int]:
        return self._line.counters

    @property
    def not_udp(self) -> int:
        """Frames that ``on_batch`` left out."""
        return self._line.not_udp

    @property
    def session(self) -> str:
        """The venue's name of the session, "" where it has none."""
        return self._line.session

    @property
    def missing(self) -> int:
        """Messages known to exist and not received."""
        return self._line.missing

    def next_sequence(self, unit: int = 0) -> int:
        """Number of the next message of a unit; 0: none seen."""
        return self._line.next_sequence(unit)

    def gaps(self, unit: int = 0) -> list[tuple[int, int]]:
        """Open gaps of a unit: (first, last), both inclusive."""
        return self._line.gaps(unit)


def layout(layouts: Layouts, message_type: object) -> Any:  # noqa: ANN401
    """The layout of a type, or the error that names the types there are."""
    if message_type not in layouts:
        known = ", ".join(t if isinstance(t, str) else f"0x{t:02X}" for t in layouts)
        raise ConfigError(f"type = {message_type!r} is not usable: it must be one of {known}")
    return layouts[message_type]


def layout_dtype(layouts: Layouts, message_type: object) -> np.dtype[np.void]:
    """Dtype of the raw rows of a type."""
    _, _, itemsize, columns, _ = layout(layouts, message_type)
    return np.dtype(
        {
            "names": [name for name, _, _, _ in columns],
            "formats": [fmt for _, fmt, _, _ in columns],
            "offsets": [offset for _, _, offset, _ in columns],
            "itemsize": itemsize,
        }
    )


def layout_units(layouts: Layouts, message_type: object) -> dict[str, str]:
    """Unit of each raw column that has one."""
    return {name: unit for name, _, _, unit in layout(layouts, message_type)[3] if unit}
