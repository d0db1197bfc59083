"""One capture into its folder, which appears when it is complete."""

from __future__ import annotations

import resource
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError, WirepathError
from ..feed import SbeSchema, iex, itch50, pitch
from ..tables import Finished, Layout, Partitions, row_layout
from ..tables.layout import type_text
from .filters import Filter
from .folder import ResultFolder
from .options import ConvertConfig, name_of
from .sources import Broken, Source

Progress = Callable[[int], object]

# Files by period of time that a capture may make at once, and one more for so many rows: times that
# are damaged would make one of each message.
_FILES, _ROWS_A_FILE = 1024, 100


def convert_one(
    capture: str, config: ConvertConfig, on_progress: Progress | None = None
) -> dict[str, Any]:
    """Convert a capture; what became of it. Errors of the capture are in ``error``, others raise
    (OSError of the disk, ExtraMissing)."""
    start = time.perf_counter()
    target = Path(config.out) / name_of(capture)
    files: list[Finished] = []
    source = Source(capture, config)
    rows: Counter[str] = Counter()
    error = ""
    kept = False
    with ResultFolder(target) as folder:
        partitions = Partitions(
            folder.path,
            kind=config.to,
            period=config.period,
            compression=config.compression,
            group_rows=config.group_rows,
            pending_rows=max(524_288, config.group_rows),
            max_open=256,
            durable=False,
            most_files=(_FILES, _ROWS_A_FILE),
            on_finished=files.append,
        )
        try:
            error, damaged = _write(source, config, partitions, rows, on_progress)
            # Of a capture that was refused nothing was read: no result may go for that.
            kept = not error or (config.partial and damaged and rows.total() > 0)
            if kept:
                partitions.finish()
                folder.publish(force=config.force)
        except _arrow_errors() as refused:
            error, kept = _not_written(capture, config, refused), False
        finally:
            partitions.abort()
    seconds = time.perf_counter() - start
    total = sum(rows.values()) if kept else 0
    return source.report | {
        "capture": str(capture),
        "out": str(target) if kept else "",
        "ok": not error,
        "error": error,
        "rows": total,
        "rows_by_type": dict(sorted(rows.items())) if kept else {},
        "files": len(files) if kept else 0,
        "rows_out_of_time": partitions.rows_elsewhere if kept else 0,
        "input_bytes": Path(capture).stat().st_size if Path(capture).is_file() else 0,
        "output_bytes": sum(file.bytes for file in files) if kept else 0,
        "seconds": seconds,
        "rows_per_second": total / seconds,
        "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def _write(
    source: Source,
    config: ConvertConfig,
    partitions: Partitions,
    rows: Counter[str],
    on_progress: Progress | None,
) -> tuple[str, bool]:
    """All that is in a capture; what is wrong with it, "" for nothing, and whether that is damage
    behind which nothing could be read."""
    only = Filter(config, source)
    tables = _Tables(config)
    try:
        for piece in source:
            if isinstance(piece, dict):
                for key, some in only.rows(piece).items():
                    rows[tables.write(partitions, key, some)] += len(some)
            else:
                some = only.records(piece)
                _count(rows, some)
                partitions.write_records(some, by_type=config.by_type)
            if on_progress is not None:
                on_progress(sum(rows.values()))
    except Broken as broken:
        return str(broken), True
    except (ConfigError, WirepathError) as refused:
        if isinstance(refused, ImportError):
            raise
        return str(refused), False
    return "", False


def _count(rows: Counter[str], records: NDArray[np.void]) -> None:
    if not len(records):
        return
    venue = int(records["venue"][0])
    numbers = np.bincount(records["type"])
    for number in np.flatnonzero(numbers).tolist():
        rows[type_text(venue, number)] += int(numbers[number])


class _Tables:
    """Raw rows as tables: their layouts, names and times."""

    def __init__(self, config: ConvertConfig) -> None:
        self._config = config
        self._layouts: dict[Any, Layout] = {}
        day = config.session_date
        self._midnight = itch50.midnight_ns(day) if day else 0
        if config.schema_file and config.raw:
            schema = SbeSchema.load(config.schema_file)
            for name in schema.messages:
                block = schema.message_type(name).block
                if block.data or any(group.block.data for group in block.groups):
                    raise ConfigError(
                        f"schema_file = {config.schema_file} is not usable with raw: template "
                        f"{name} has data of variable length (wirepath.feed.SbeDecoder reads it)"
                    )

    def write(self, partitions: Partitions, key: Any, rows: NDArray[np.void]) -> str:  # noqa: ANN401
        """Rows of a type; returns the name they are counted under."""
        protocol = self._config.protocol
        name = f"0x{key:02X}" if protocol == "pitch" else str(key)
        layout = self._layouts.get(key)
        if layout is None:
            layout = self._layouts[key] = self._layout(key, name, rows)
        table = "" if protocol == "raw" else f"type={quote(name, safe='')}"
        partitions.write(table, layout, rows, self._times(rows))
        return name

    def _layout(self, key: Any, name: str, rows: NDArray[np.void]) -> Layout:  # noqa: ANN401
        if self._config.to == "npy":
            return Layout(rows.dtype, ())
        units: dict[str, str] = {}
        if self._config.protocol in ("itch", "iex", "pitch"):
            units = {"itch": itch50, "iex": iex, "pitch": pitch}[self._config.protocol].row_units(
                key
            )
        return row_layout(rows.dtype, units, name)

    def _times(self, rows: NDArray[np.void]) -> NDArray[np.int64] | None:
        protocol = self._config.protocol
        if protocol == "itch":
            return rows["timestamp"].astype(np.int64) + self._midnight
        if protocol == "iex":
            return rows["timestamp"].astype(np.int64)
        if protocol == "pitch":
            times = rows["event_time"]
            return np.where(times == 0, rows["recv_time"], times)
        return rows["send_time"].astype(np.int64) if protocol == "cme" else None


def _arrow_errors() -> tuple[type[BaseException], ...]:
    """What pyarrow raises for values that a format cannot hold; nothing while it is not loaded."""
    loaded = sys.modules.get("pyarrow")
    return (loaded.ArrowException,) if loaded is not None else ()


def _not_written(capture: str, config: ConvertConfig, error: BaseException) -> str:
    first = str(error).strip().partition("\n")[0]
    return (
        f"{capture} holds values that {config.to} cannot hold: {first} (--to npy keeps them as "
        "they are)"
    )
