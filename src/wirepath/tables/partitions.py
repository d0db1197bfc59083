"""Rows into files by message type and time, rotated, each complete or not there."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count, pairwise
from pathlib import Path
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from ..dtypes import RECORD
from .files import FORMATS, TableFile, discard, open_table, settle
from .layout import Layout, record_layout, type_text

__all__ = ["FORMATS", "PERIODS", "Finished", "Partitions"]

PERIODS = {"minute": 60, "hour": 3600, "day": 86_400, "none": 0}
"""Seconds of each period of time that files may hold; UTC."""

_LABELS = {"minute": "%Y-%m-%dT%H-%M", "hour": "%Y-%m-%dT%H", "day": "%Y-%m-%d"}
_SUFFIX = {"parquet": ".parquet", "arrow": ".arrow", "csv": ".csv", "npy": ".npy"}
_SECOND = 1_000_000_000
_TIMELESS = -(1 << 62)  # the period of rows whose time is of no concern
_ELSEWHERE = _TIMELESS - 1  # and of those for whose time there is no file
_serial = count()

NPY_RECORDS = Layout(RECORD, ())
"""Of files that hold rows as they are, for which no Arrow is needed."""


@dataclass(frozen=True)
class Finished:
    """A file that is complete, and has its name."""

    path: Path
    rows: int
    bytes: int


@dataclass
class _Open:
    folder: Path
    stem: str
    part: Path
    layout: Layout
    file: TableFile | None
    pieces: list[NDArray[np.void]]
    pending: int = 0  # rows in pieces
    rows: int = 0  # rows in the file
    used: int = 0  # when, as a number that counts up
    began: int = 0  # clock, ns


class Partitions:
    """Files ``[TABLE/]PERIOD.parquet`` under a folder, many open at a time.

    Rows come by table with a key of time; each file is written under a hidden name
    (``.PERIOD.parquet.…part``), row group by row group, and gets its own name when it is finished:
    what has a name is complete, also after a crash. A name that is taken gets a number behind it.

    group_rows: most rows of a row group. pending_rows: most rows that wait in memory for their row
    group over all files; the largest is written then. max_open: files open at a time, one more
    finishes one of the earliest period. most_files: (n, m), n files and one more for each m rows
    written; rows that would need another one go to ``other.parquet`` of their table and are counted
    in ``rows_elsewhere``: times that make no sense do not make a file each. None: no limit.
    durable: a file has its name only when it is on the disk. on_finished: called with each file
    that is complete. Rows whose file fails are gone, and with them all of the same unfinished file.
    """

    def __init__(
        self,
        folder: Path,
        *,
        kind: str = "parquet",
        period: str = "hour",
        compression: str = "zstd",
        group_rows: int = 131_072,
        pending_rows: int = 1_048_576,
        max_open: int = 64,
        durable: bool = True,
        most_files: tuple[int, int] | None = None,
        on_finished: Callable[[Finished], object] | None = None,
    ) -> None:
        self.folder = folder
        self._kind = kind
        self._period = period
        self._seconds = PERIODS[period]
        self._compression = compression
        self._group_rows = group_rows
        self._pending_rows = pending_rows
        self._max_open = max_open
        self._durable = durable
        self._most_files = most_files
        self._on_finished = on_finished
        self.rows_elsewhere = 0
        """Rows that are in files ``other``."""
        self._begun = 0  # files
        self._put_rows = 0
        self._open: dict[tuple[str, int], _Open] = {}
        self._pending = 0
        self._clock = 0

    @property
    def open_files(self) -> int:
        """Files that are not finished."""
        return len(self._open)

    @property
    def open_rows(self) -> int:
        """Rows that are in no finished file yet."""
        return sum(each.rows + each.pending for each in self._open.values())

    @property
    def oldest_began(self) -> int | None:
        """When the first of the files that are not finished was begun; None: there is none."""
        return min((each.began for each in self._open.values()), default=None)

    def write(
        self,
        table: str,
        layout: Layout,
        rows: NDArray[np.void],
        times: NDArray[np.int64] | None,
        now: int = 0,
    ) -> None:
        """Rows of a table. times: ns since the Unix epoch, one a row, None = all one period."""
        if not len(rows):
            return
        if not self._seconds or times is None:
            self._put(table, _TIMELESS, layout, rows, now)
            return
        periods = times // (self._seconds * _SECOND)
        first = int(periods[0])
        if (periods == first).all():
            self._put(table, first, layout, rows, now)
            return
        order = np.argsort(periods, kind="stable")
        periods = periods[order]
        edges = np.flatnonzero(periods[1:] != periods[:-1]) + 1
        for begin, end in pairwise([0, *edges.tolist(), len(periods)]):
            some = np.take(rows, order[begin:end])
            self._put(table, int(periods[begin]), layout, some, now)

    def write_records(
        self, records: NDArray[np.void], *, by_type: bool = True, now: int = 0
    ) -> None:
        """Records, into a folder ``type=…`` each where by_type; the type is then in the path only.

        Their time is the event's; where that is not told, the arrival's.
        """
        if not len(records):
            return
        if not by_type:
            self.write("", self._record_layout(True), records, _time_of(records), now)
            return
        venues = records["venue"]
        if (venues == venues[0]).all():
            keys = records["type"]  # of 16 bits: sorted by radix
        else:
            keys = venues.astype(np.uint32) << 16 | records["type"]
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        edges = np.flatnonzero(keys[1:] != keys[:-1]) + 1
        bounds = [0, *edges.tolist(), len(keys)]
        # Rows as plain words: NumPy copies those of a structured dtype field by field.
        words = np.ascontiguousarray(records).view("<u8").reshape(len(records), -1)
        for begin, end in pairwise(bounds):
            some = np.take(words, order[begin:end], axis=0).view(RECORD)[:, 0]
            text = type_text(int(some["venue"][0]), int(some["type"][0]))
            table = f"type={quote(text, safe='')}"
            self.write(table, self._record_layout(False), some, _time_of(some), now)

    def _record_layout(self, with_type: bool) -> Layout:
        if self._kind == "npy":
            return NPY_RECORDS
        return record_layout(with_type)

    def finish_older(self, now: int, age: int) -> None:
        """Finish files that were begun ``age`` ns before ``now`` or earlier."""
        for key in [k for k, each in self._open.items() if now - each.began >= age]:
            self._finish(key)

    def finish(self) -> None:
        """Finish every file; those that fail do not keep others from it. Raises the first error."""
        first: Exception | None = None
        for key in list(self._open):
            try:
                self._finish(key)
            except Exception as error:
                first = first or error
        if first is not None:
            raise first

    def abort(self) -> None:
        """Give every unfinished file up."""
        for key in list(self._open):
            self._give_up(key)

    def _put(
        self, table: str, period: int, layout: Layout, rows: NDArray[np.void], now: int
    ) -> None:
        self._put_rows += len(rows)
        if (table, period) not in self._open and period > _TIMELESS and not self._may_begin():
            period = _ELSEWHERE
            self.rows_elsewhere += len(rows)
        key = (table, period)
        each = self._open.get(key)
        self._clock += 1
        if each is None:
            if len(self._open) >= self._max_open:
                # Those without a period last: they would be begun again at once.
                ends = min(self._open, key=lambda k: (k[1] <= _TIMELESS, k[1], self._open[k].used))
                self._finish(ends)
            self._begun += 1
            folder = self.folder / table if table else self.folder
            stem = self._stem(table, period)
            part = folder / f".{stem}{_SUFFIX[self._kind]}.{os.getpid()}-{next(_serial)}.part"
            each = self._open[key] = _Open(folder, stem, part, layout, None, [], began=now)
        each.used = self._clock
        each.pieces.append(rows)
        each.pending += len(rows)
        self._pending += len(rows)
        while each.pending >= self._group_rows:
            self._flush(key, each, self._group_rows)
        while self._pending > self._pending_rows:
            largest = max(self._open, key=lambda k: self._open[k].pending)
            self._flush(largest, self._open[largest], self._group_rows)

    def _may_begin(self) -> bool:
        if self._most_files is None:
            return True
        at_once, rows = self._most_files
        return self._begun < at_once + self._put_rows // rows

    def _stem(self, table: str, period: int) -> str:
        if period == _ELSEWHERE:
            return "other"
        if period == _TIMELESS:
            return table.rpartition("/")[2].rpartition("=")[2] or "records"
        when = datetime.fromtimestamp(period * self._seconds, UTC)
        return when.strftime(_LABELS[self._period])

    def _flush(self, key: tuple[str, int], each: _Open, most: int) -> None:
        """Write at most so many of the rows that wait as one row group."""
        taken: list[NDArray[np.void]] = []
        n = 0
        while each.pieces and n < most:
            piece = each.pieces[0]
            room = most - n
            if len(piece) > room:
                taken.append(piece[:room])
                each.pieces[0] = piece[room:]
                n = most
            else:
                taken.append(each.pieces.pop(0))
                n += len(piece)
        if not n:
            return
        each.pending -= n
        self._pending -= n
        rows = taken[0] if len(taken) == 1 else np.concatenate(taken)
        each.rows += n  # gone with the file, should this fail
        try:
            if each.file is None:
                each.folder.mkdir(parents=True, exist_ok=True)
                each.file = open_table(
                    each.part,
                    each.layout,
                    self._kind,
                    compression=self._compression,
                    group_rows=self._group_rows,
                )
            each.file.write(rows)
        except BaseException:
            self._give_up(key)
            raise

    def _finish(self, key: tuple[str, int]) -> None:
        each = self._open[key]
        while each.pending:
            self._flush(key, each, self._group_rows)
        try:
            assert each.file is not None
            each.file.close()
            size = each.part.stat().st_size
            path = settle(
                each.part, each.folder, each.stem, _SUFFIX[self._kind], durable=self._durable
            )
        except BaseException:
            self._give_up(key)
            raise
        del self._open[key]
        if self._on_finished is not None:
            self._on_finished(Finished(path, each.rows, size))

    def _give_up(self, key: tuple[str, int]) -> None:
        each = self._open.pop(key)
        self._pending -= each.pending
        if each.file is not None:
            discard(each.file, each.part)
        else:
            each.part.unlink(missing_ok=True)


def _time_of(records: NDArray[np.void]) -> NDArray[np.int64]:
    times: NDArray[np.int64] = records["event_time"]
    unknown = times == 0
    if unknown.any():
        times = np.where(unknown, records["recv_time"], times)
    return times
