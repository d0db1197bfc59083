# SPDX-License-Identifier: Apache-2.0
"""One conversion, measured: `python -m benchmarks.convert_run MODE DAY OUT CPU` prints JSON."""

from __future__ import annotations

import json
import os
import resource
import shutil
import sys
import time
from collections import defaultdict
from pathlib import Path


def _records(day: Path, out: Path, *, raw: bool) -> tuple[int, float]:
    import pyarrow.parquet  # noqa: F401, PLC0415 -- as for the others: loaded before the clock runs

    import wirepath as wp  # noqa: PLC0415

    start = time.perf_counter()
    done = wp.convert(day, out=str(out), raw=raw)
    elapsed = time.perf_counter() - start
    return (done.rows if done.ok else 0), elapsed


def _pyarrow(day: Path, out: Path) -> tuple[int, float]:
    """Decoded and sorted beforehand; pyarrow writes the same files with the same options."""
    import numpy as np  # noqa: PLC0415
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    import wirepath as wp  # noqa: PLC0415
    from wirepath.tables import record_layout  # noqa: PLC0415

    records = wp.feed.Itch50().decode_file(day.read_bytes())
    layout = record_layout(False)
    tables = {}
    hours = records["event_time"] // 3_600_000_000_000
    for letter in np.unique(records["type"]).tolist():
        for hour in np.unique(hours[records["type"] == letter]).tolist():
            some = records[(records["type"] == letter) & (hours == hour)]
            tables[letter, hour] = pa.Table.from_batches([layout.batch(some)])
    out.mkdir(parents=True)
    coded = [f.name for f in layout.schema if pa.types.is_dictionary(f.type)]
    coded += ["instrument", "flags", "channel", "qty"]
    delta = dict.fromkeys(("seq", "event_time", "recv_time"), "DELTA_BINARY_PACKED")
    start = time.perf_counter()
    rows = 0
    for (letter, hour), table in tables.items():
        pq.write_table(
            table,
            out / f"{letter}-{hour}.parquet",
            compression="zstd",
            use_dictionary=coded,
            column_encoding=delta,
            row_group_size=131_072,
        )
        rows += table.num_rows
    return rows, time.perf_counter() - start


def _loop(day: Path, out: Path) -> tuple[int, float]:
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415
    from itch.parser import MessageParser  # noqa: PLC0415

    out.mkdir(parents=True)
    start = time.perf_counter()
    columns: dict[str, dict[str, list[object]]] = defaultdict(lambda: defaultdict(list))
    rows = 0
    with day.open("rb") as file:
        for message in MessageParser().parse_file(file):
            into = columns[type(message).__name__]
            for name, value in vars(message).items():
                into[name].append(value)
            rows += 1
    for name, table in columns.items():
        pq.write_table(pa.table(dict(table)), out / f"{name}.parquet", compression="zstd")
    return rows, time.perf_counter() - start


def main() -> None:
    """Does it and prints a line."""
    mode, day, out, cpu = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])
    os.sched_setaffinity(0, {cpu})
    shutil.rmtree(out, ignore_errors=True)
    try:
        if mode == "loop":
            rows, elapsed = _loop(day, out)
        elif mode == "pyarrow":
            rows, elapsed = _pyarrow(day, out)
        else:
            rows, elapsed = _records(day, out, raw=mode == "raw")
    finally:
        shutil.rmtree(out, ignore_errors=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"rows": rows, "rate": rows / elapsed, "peak_bytes": peak}))


if __name__ == "__main__":
    main()
