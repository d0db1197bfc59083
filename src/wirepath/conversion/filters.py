"""Which records and rows are kept."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .options import ConvertConfig, type_number
from .sources import Source


class Filter:
    """Keeps the message types and instruments that were asked for.

    Symbols of ITCH are known from its directory messages (``R``), those of IEX and Cboe from the
    messages themselves.
    """

    def __init__(self, config: ConvertConfig, source: Source) -> None:
        self._protocol = config.protocol
        self._source = source
        self._types = [type_number(config.protocol, each) for each in config.types]
        given = config.instruments
        self._numbers = {int(each) for each in given if each.isdecimal()}
        self._symbols = {each for each in given if not each.isdecimal()}
        self._by_instrument = bool(given)
        self._hidden = "R" if config.raw and config.types and "R" not in config.types else ""

    def records(self, records: NDArray[np.void]) -> NDArray[np.void]:
        """Those of an array of records that are kept."""
        if self._by_instrument:
            if self._protocol == "itch" and self._symbols:
                directory = records[records["type"] == ord("R")]
                self._learn(directory["instrument"], directory["aux"].astype("<u8").view("S8"))
            self._learn_numbers()
            kept = np.isin(records["instrument"], list(self._numbers))
            if self._types:
                kept &= np.isin(records["type"], self._types)
            return np.take(records, np.flatnonzero(kept))
        if not self._types:
            return records
        return np.take(records, np.flatnonzero(np.isin(records["type"], self._types)))

    def rows(self, tables: dict[Any, NDArray[np.void]]) -> dict[Any, NDArray[np.void]]:
        """Those of raw rows; types were chosen before they were decoded."""
        if not self._by_instrument:
            return tables
        if self._protocol == "itch" and "R" in tables:
            self._learn(tables["R"]["stock_locate"], tables["R"]["stock"])
        out = {}
        for key, rows in tables.items():
            if key == self._hidden:
                continue
            if self._protocol == "itch":
                some = rows[np.isin(rows["stock_locate"], list(self._numbers))]
            else:
                some = rows[self._named(rows)]
            if len(some):
                out[key] = some
        return out

    def _named(self, rows: NDArray[np.void]) -> NDArray[np.bool_]:
        if "symbol" not in (rows.dtype.names or ()):
            return np.zeros(len(rows), bool)
        wanted = [symbol.ljust(8).encode("latin-1") for symbol in self._symbols]
        return np.isin(rows["symbol"], np.array(wanted, "S8"))

    def _learn(self, numbers: NDArray[Any], names: NDArray[Any]) -> None:
        for number, name in zip(numbers.tolist(), names.tolist(), strict=True):
            if name.decode("latin-1").rstrip() in self._symbols:
                self._numbers.add(number)

    def _learn_numbers(self) -> None:
        if self._source.symbols is None or self._protocol not in ("iex", "pitch"):
            return
        for symbol in self._symbols:
            if number := self._source.symbols.number(symbol):
                self._numbers.add(number)
