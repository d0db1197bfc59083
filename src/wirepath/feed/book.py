"""Order books from normalised records."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from .. import _core
from ..dtypes import RECORD, BookCheck, Phase
from ..errors import ConfigError

Side = Literal["B", "S"]


@dataclass(frozen=True)
class BookChecks:
    """What broke the rules of a venue: how often, and the first records that did."""

    counts: dict[str, int]
    """By name of :class:`wirepath.BookCheck`, in lower case."""
    offences: NDArray[np.void]
    """The first ones, in order (dtype :data:`wirepath.OFFENCE`). Of a book that is crossed or
    locked for many events, the first."""


class Books:
    """Price-time order books of all instruments of a channel.

    ``apply`` takes records (dtype :data:`wirepath.RECORD`) of any venue; every order stands in the
    queue of its price level. Records without an order id set a level: at a price (IEX DEEP), the
    best of a side (IEX TOPS), or a numbered one (CME, beside the orders where it sends both). What
    keeps an order's place is docs/feed.md's "Order books". Trades leave books alone; CLEAR empties
    one, or all for instrument 0; during a halt orders go on coming and going.

    Where a venue announces the end of an event (IEX DEEP and TOPS, CME, PITCH transactions) best
    prices and checks wait for it; ``consistent`` says whether one is under way.

    orders, instruments: how many to make room for from the start; more allocate as they come.
    max_orders: resting at a time; those beyond are counted in ``full`` and left out.
    offences: how many to remember. depth, implied_depth: numbered levels that an instrument has
    (1 to 16), until :meth:`set_depth` says it.

    Raises ConfigError for a value out of range.
    """

    def __init__(
        self,
        *,
        orders: int = 1 << 16,
        max_orders: int = 1 << 26,
        instruments: int = 1 << 14,
        offences: int = 64,
        depth: int = 10,
        implied_depth: int = 2,
    ) -> None:
        least = {"orders": orders, "max_orders": max_orders, "instruments": instruments}
        for name, value in (least | {"depth": depth, "implied_depth": implied_depth}).items():
            if value < 1:
                raise ConfigError(f"{name} = {value} is not usable: it must be at least 1")
        if offences < 0:
            raise ConfigError(f"offences = {offences} is not usable: it must be at least 0")
        self._native = _core.Books(orders, max_orders, instruments, offences, depth, implied_depth)

    def apply(self, records: NDArray[np.void], *, bbo: bool = True) -> NDArray[np.void]:
        """Apply records in order, without the GIL. Returns one row of dtype :data:`wirepath.BBO`
        for each event that changed an instrument's best price or its quantity; none with
        ``bbo=False``. A CLEAR of several books is one row, of instrument 0."""
        if records.dtype != RECORD:
            raise ConfigError(f"records have dtype {records.dtype}; it must be wirepath.RECORD")
        return self._native.apply(np.ascontiguousarray(records), bbo)

    def best(self, instrument: int) -> np.void:
        """Best prices now: a row of dtype :data:`wirepath.BBO` whose times are 0."""
        row: np.void = self._native.best(instrument)[0]
        return row

    def depth(self, instrument: int, side: Side, levels: int = 10) -> NDArray[np.void]:
        """Up to ``levels`` price levels of a side, best first (dtype :data:`wirepath.LEVEL`)."""
        return self._native.depth(instrument, side, levels)

    def implied(self, instrument: int, side: Side) -> NDArray[np.void]:
        """Numbered levels that orders of other instruments imply (CME), best first (dtype
        :data:`wirepath.LEVEL`)."""
        return self._native.implied(instrument, side)

    def consistent(self, instrument: int) -> bool:
        """False while an event that changed this book is not at its end."""
        return self._native.consistent(instrument)

    def events(self, instrument: int) -> int:
        """Events that changed this book and are at their end."""
        return self._native.events(instrument)

    def state(self, instrument: int) -> int:
        """The venue's trading state: ``ord`` of its letter (ITCH, IEX ``H``, PITCH 0x31), or CME's
        SecurityTradingStatus; 0: not told."""
        return self._native.state(instrument)

    def phase(self, instrument: int) -> Phase:
        """What the state means; HALTED too while the venue itself is (ITCH ``h``, IEX ``O``)."""
        return Phase(self._native.phase(instrument))

    def set_depth(self, instrument: int, depth: int, implied: int = 2) -> None:
        """Numbered levels that the venue keeps of an instrument (CME: MarketDepth of the
        definition), 1 to 16; raises ConfigError. What moves beyond is gone without a word, so
        that a depth that is too large leaves old levels behind."""
        for name, value in (("depth", depth), ("implied", implied)):
            if value < 1:
                raise ConfigError(f"{name} = {value} is not usable: it must be from 1 to 16")
        self._native.set_depth(instrument, depth, implied)

    def set_group(self, instrument: int, group: int | str) -> None:
        """Say what records without an instrument mean this one: the unit of a PITCH instrument (a
        unit clear voids those of its unit, and those of which it is not known), or the
        SecurityGroup of a CME instrument (a status of the group)."""
        if isinstance(group, str):
            text = group.encode("ascii")
            if not 0 < len(text) <= 6:
                raise ConfigError(
                    f"group = {group!r} is not usable: it must have 1 to 6 characters"
                )
            group = int.from_bytes(text, "little")
        if group < 0:
            raise ConfigError(f"group = {group} is not usable: it must be at least 0")
        self._native.set_group(instrument, group)

    @property
    def checks(self) -> BookChecks:
        """What broke the venues' rules: crossed and locked books at the end of an event while the
        instrument trades, unknown and doubled orders, more taken than rested, sizes below 0."""
        counters = self.counters
        counts = {check.name.lower(): counters[check.name.lower()] for check in BookCheck}
        return BookChecks(counts, self._native.offences())

    def orders(self, instrument: int, side: Side) -> NDArray[np.void]:
        """Every order of a side, best price first, oldest first within a price (dtype
        :data:`wirepath.ORDER`)."""
        return self._native.orders(instrument, side)

    def instruments(self) -> list[int]:
        """Instruments that had a book, in order of appearance."""
        return self._native.instruments()

    def __len__(self) -> int:
        """Orders resting in all books."""
        return self._native.order_count()

    def clear(self, instrument: int | None = None) -> None:
        """Empty the book of an instrument, or all."""
        self._native.clear(instrument)

    @property
    def counters(self) -> dict[str, int]:
        """``records`` = ``applied`` + ``ignored`` + ``unknown_order`` + ``duplicate_order`` +
        ``full``; of those applied ``over_reduced`` took more than rested; ``unknown_level``
        (numbered, changed or deleted without having been told, or outside the depth),
        ``negative_size``; ``events`` at their end, of which ``crossed`` and ``locked`` left bid
        above or equal to ask while the instrument traded; ``bbo_changes``."""
        return self._native.counters
