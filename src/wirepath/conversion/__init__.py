"""Captures and day files to Parquet, Arrow, CSV and NumPy files, in parallel."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import logs, traces
from ..errors import ConfigError
from ..settings import problem
from .options import ConvertConfig
from .run import check, in_process, on_processes, on_ray

__all__ = ["Conversion", "ConvertConfig", "convert"]


@dataclass(frozen=True)
class Conversion:
    """What became of captures. ``captures``: a dictionary each, with ``capture``, ``out``, ``ok``,
    ``error``, ``rows``, ``rows_by_type``, ``messages``, ``gaps``, ``missing``, ``abandoned``,
    ``lines``, ``files``, ``output_bytes``, ``seconds``, ``peak_rss_bytes`` and more."""

    captures: list[dict[str, Any]]
    seconds: float

    @property
    def ok(self) -> bool:
        """Every capture was converted whole."""
        return all(each["ok"] for each in self.captures)

    @property
    def rows(self) -> int:
        """Rows written."""
        return self.total("rows")

    @property
    def rows_by_type(self) -> dict[str, int]:
        """Rows written, by message type."""
        out: Counter[str] = Counter()
        for each in self.captures:
            out.update(each["rows_by_type"])
        return dict(sorted(out.items()))

    def total(self, name: str) -> int:
        """A number of the captures' dictionaries, over all of them."""
        return sum(each[name] for each in self.captures)

    def as_dict(self) -> dict[str, Any]:
        """Totals and captures."""
        names = ("rows", "messages", "gaps", "missing", "unknown", "malformed", "files",
                 "input_bytes", "output_bytes")  # fmt: skip
        return {
            "ok": self.ok,
            "failed": [each["capture"] for each in self.captures if not each["ok"]],
            **{name: self.total(name) for name in names},
            "rows_by_type": self.rows_by_type,
            "seconds": self.seconds,
            "rows_per_second": self.rows / self.seconds if self.seconds else 0.0,
            "captures": self.captures,
        }


def convert(
    captures: str | Path | Iterable[str | Path],
    *,
    jobs: int | None = None,
    ray: str | None = None,
    on_progress: Callable[[str, int], object] | None = None,
    **options: Any,  # noqa: ANN401  # validated
) -> Conversion:
    """Decode captures and day files into ``out/NAME/type=…/PERIOD.parquet``.

    captures: pcap and pcapng files, ITCH day files, compressed by gzip or not. options: those of
    :class:`ConvertConfig`; ``out`` is needed. jobs: captures at a time, each in a process of its
    own, None = as many as there are cores; a single capture is converted in this process. ray:
    address of a Ray cluster to use instead, whose nodes find captures and ``out`` under the same
    paths. on_progress: called with a capture and the rows that came of it so far.

    A capture that cannot be read costs nothing but itself: see ``ok`` and ``error`` of the result.
    Each folder appears when it is complete. Raises ConfigError for options, for results that are
    there already, ExtraMissing without pyarrow.
    """
    names: Sequence[str] = (
        [str(captures)]
        if isinstance(captures, (str, Path))
        else list(dict.fromkeys(str(each) for each in captures))
    )
    if jobs is not None and not 1 <= jobs <= 1024:
        raise ConfigError(problem("jobs", jobs, "a whole number from 1 to 1024"))
    config = ConvertConfig(**options)
    check(names, config)
    with traces.span("convert", captures=len(names), out=config.out, to=config.to) as span:
        logs.emit("convert.started", captures=len(names), out=config.out, to=config.to)
        done = _convert(names, config, jobs, ray, on_progress)
        traces.note(span, ok=done.ok, rows=done.rows)
        _tell(done)
    return done


def _tell(done: Conversion) -> None:
    bad = [each for each in done.captures if not each["ok"]]
    for each in bad:
        logs.emit("convert.failed", capture=each["capture"], error=each["error"])
    logs.emit("convert.ended", captures=len(done.captures), failed=len(bad), rows=done.rows)


def _convert(
    names: Sequence[str],
    config: ConvertConfig,
    jobs: int | None,
    ray: str | None,
    on_progress: Callable[[str, int], object] | None,
) -> Conversion:
    start = time.perf_counter()
    if ray is not None:
        results = on_ray(names, config, ray, on_progress)
    elif len(names) == 1:
        results = [in_process(names[0], config, on_progress)]
    else:
        most = jobs or len(os.sched_getaffinity(0))
        results = on_processes(names, config, min(most, len(names)), on_progress)
    return Conversion(results, time.perf_counter() - start)
