"""Files by message type and time."""

from __future__ import annotations

import time
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError
from ..tables import Finished, Partitions
from ..tables.layout import pyarrow
from . import config
from .base import Sink


class FileSink(Sink):
    """``type=A/2019-12-30T09.parquet`` and so on; ``written`` counts rows of finished files.

    A file is finished when it has the age ``rotate_seconds``, when another one takes its place
    (``max_open``), and at the end. Until then it has a hidden name; a crash loses it and no other.
    """

    def __init__(self, settings: config.FileSink) -> None:
        super().__init__(
            settings.name, policy=settings.policy, queue_records=settings.queue_records
        )
        self._settings = settings
        self._folder = Path(settings.folder)
        self._files = 0
        self._bytes = 0
        # Where writes ended among the records offered, and when; all before `_settled` is in files
        # that are finished, or lost.
        self._writes: deque[tuple[int, int]] = deque()
        self._settled = 0
        # Not each of them: a thousand in a file's life.
        self._grain = max(settings.rotate_seconds * 1_000_000, 100_000_000)
        self._partitions = Partitions(
            self._folder,
            kind=settings.kind,
            period=settings.period,
            compression=settings.compression,
            group_rows=settings.group_rows,
            pending_rows=max(settings.group_rows, 1_048_576),
            max_open=settings.max_open,
            on_finished=self._finished,
        )

    def open(self) -> None:
        if self._settings.kind != "npy":
            pyarrow()
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(
                f'folder = "{self._folder}" is not usable: it must be a folder that can be made '
                f"and written to ({error.strerror})"
            ) from None

    def write(self, records: NDArray[np.void]) -> None:
        now = time.monotonic_ns()
        if (taken := self.queue.latest) is not None:
            if self._writes and now // self._grain == self._writes[-1][1] // self._grain:
                self._writes.pop()
            self._writes.append((taken.end, now))
        self._partitions.write_records(records, by_type=self._settings.by_type, now=now)

    def settle(self, records: NDArray[np.void], error: Exception | None) -> None:
        del records, error
        self._account()

    def idle(self) -> None:
        try:
            self._partitions.finish_older(
                time.monotonic_ns(), self._settings.rotate_seconds * 1_000_000_000
            )
        finally:
            self._account()

    def close(self) -> None:
        try:
            self._partitions.finish()
        finally:
            self._partitions.abort()
            self._account()

    def _account(self) -> None:
        """What is neither in a finished file (told already) nor in an open one is lost."""
        if lost := self.queue.held - self._partitions.open_rows:
            self.queue.failed(lost)
        # A file that was begun after a write has nothing of it.
        oldest = self._partitions.oldest_began
        while self._writes and (oldest is None or self._writes[0][1] < oldest):
            self._settled, _ = self._writes.popleft()

    @property
    def acknowledged(self) -> int:
        """Of the records offered: those before the first that is in no finished file."""
        return self.queue.acknowledged(self._settled)

    def _finished(self, file: Finished) -> None:
        self._files += 1
        self._bytes += file.bytes
        self.queue.wrote(file.rows)

    @property
    def extra_counters(self) -> dict[str, Any]:
        """``files`` and ``bytes`` that are finished, ``open_files``."""
        return {
            "files": self._files,
            "bytes": self._bytes,
            "open_files": self._partitions.open_files,
        }
