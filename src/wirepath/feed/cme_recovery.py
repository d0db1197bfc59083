"""Recovery of CME books from the snapshot loop."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from .. import _core
from ..errors import ConfigError
from .mdp3 import native_schema
from .sbe import Buffer
from .sbe_schema import SbeSchema


class CmeRecovery:
    """Packets of a CME channel and of its snapshot feeds to records that keep books right.

    Takes the place of :class:`Mdp3` where losses are to be repaired. After a loss an instrument
    goes on when its next RptSeq continues the last, and is stale when it does not; orders have no
    such number, so after a loss all of them are stale. A book that becomes stale is cleared and
    what would change it is held back; trades and statistics are passed on. A snapshot that covers
    what is missing gives CLEAR, its own levels or orders, and what was held back and is newer, all
    flagged ``RECOVERED``.

    schema: CME's template file. channel: goes into every record. held_records: held back for all
    instruments together; what has no room waits for a newer snapshot (``dropped``). instruments:
    how many are followed; records of more pass through as they are (``untracked``).

    Raises ConfigError for a value out of range.
    """

    def __init__(
        self,
        schema: SbeSchema,
        channel: int = 0,
        *,
        held_records: int = 1 << 16,
        instruments: int = 1 << 16,
    ) -> None:
        if not 0 <= channel <= 0xFFFF:
            raise ConfigError(f"channel = {channel} is not usable: it must be from 0 to 65535")
        for name, value in (("held_records", held_records), ("instruments", instruments)):
            if value < 1:
                raise ConfigError(f"{name} = {value} is not usable: it must be at least 1")
        self.schema = schema
        self._native = _core.CmeRecovery(*native_schema(schema), channel, held_records, instruments)

    def packet(self, payload: Buffer, recv_time: int = 0) -> NDArray[np.void]:
        """The records (dtype :data:`wirepath.RECORD`) to apply for one UDP payload of the
        incremental feed. Payloads come in order and once, as an :class:`Arbiter` gives them; a
        number that jumps is a loss, one that goes back is left out (``superseded``)."""
        out: NDArray[np.void] = self._native.packet(payload, recv_time)
        return out

    def snapshot(self, payload: Buffer, recv_time: int = 0) -> NDArray[np.void]:
        """The records to apply for one UDP payload of a snapshot feed (levels or orders)."""
        out: NDArray[np.void] = self._native.snapshot(payload, recv_time)
        return out

    def reset(self) -> NDArray[np.void]:
        """The sequence begins anew (a new week): one CLEAR of all books."""
        out: NDArray[np.void] = self._native.reset()
        return out

    @property
    def wanting(self) -> bool:
        """Whether the snapshot feeds are wanted: a book is stale, or no whole loop has been seen
        since the last loss that would show that none is."""
        return self._native.wanting

    @property
    def stale(self) -> list[int]:
        """Instruments with a book that is stale."""
        return self._native.stale

    def state(self, instrument: int, of: Literal["levels", "orders"] = "levels") -> str:
        """``unseen``, ``live`` or ``stale``: an instrument's levels or orders."""
        return self._native.state(instrument, of)

    @property
    def counters(self) -> dict[str, int]:
        """``records`` = ``passed`` + ``held`` + ``superseded`` (older than the book is); ``held`` =
        ``replayed`` + ``covered`` by a snapshot + ``dropped`` + ``held_now``; ``untracked``,
        ``lost_packets``, times ``stale`` and ``recovered``; ``snapshots`` begun, of which
        ``snapshots_too_old``, ``snapshots_unused`` (nothing was missing), ``snapshots_broken`` (a
        part was lost); whole ``loops`` seen, ``resets``, ``malformed_packets``."""
        return self._native.counters
