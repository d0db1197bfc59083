"""Order books from normalised records."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from .. import _core
from ..dtypes import RECORD
from ..errors import ConfigError

Side = Literal["B", "S"]


class Books:
    """Price-time order books of all instruments of a channel.

    ``apply`` takes records (dtype :data:`wirepath.RECORD`) of any venue; every order stands in the
    queue of its price level. Records without an order id set a whole level. A smaller quantity at
    the same price keeps an order's place, any other modification loses it. Trades leave books
    alone; CLEAR empties one, or all for instrument 0; during a halt orders go on coming and going.

    orders, instruments: how many to make room for from the start; more allocate as they come.
    max_orders: resting at a time; those beyond are counted in ``full`` and left out.
    """

    def __init__(
        self, *, orders: int = 1 << 16, max_orders: int = 1 << 26, instruments: int = 1 << 14
    ) -> None:
        for name, value in (("orders", orders), ("max_orders", max_orders)):
            if value < 1:
                raise ConfigError(f"{name} = {value} is not usable: it must be at least 1")
        if instruments < 1:
            raise ConfigError(f"instruments = {instruments} is not usable: it must be at least 1")
        self._native = _core.Books(orders, max_orders, instruments)

    def apply(self, records: NDArray[np.void], *, bbo: bool = True) -> NDArray[np.void]:
        """Apply records in order, without the GIL. Returns one row of dtype :data:`wirepath.BBO`
        for each record that changed a best price or its quantity; none with ``bbo=False``."""
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
        ``full``; of those applied: ``over_reduced`` took more than rested, ``crossed`` and
        ``locked`` left bid above or equal to ask; ``bbo_changes``."""
        return self._native.counters
