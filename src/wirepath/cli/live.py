"""The live table of a running ingestion, on stderr and only on a terminal."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.live import Live
from rich.table import Table

from ..accounting import dropped
from ..intake import Intake
from ..stats import IngestionStats
from . import output

Show = Callable[[Intake, IngestionStats, float], object]


@contextmanager
def live(title: str, *, quiet: bool = False) -> Iterator[Show | None]:
    """A callback for ``on_progress``; None where there is no terminal."""
    if quiet or not output.stderr.is_terminal:
        yield None
        return
    with Live(console=output.stderr, transient=True, auto_refresh=False) as screen:
        before = (time.monotonic(), 0)

        def show(client: Intake, stats: IngestionStats, elapsed: float) -> None:
            nonlocal before
            now, messages = time.monotonic(), stats.messages
            since, then = before
            rate = (messages - then) / (now - since) if now > since else 0.0
            before = (now, messages)
            screen.update(_table(title, client, stats, elapsed, rate), refresh=True)

        yield show


def _table(title: str, client: Intake, stats: IngestionStats, elapsed: float, rate: float) -> Table:
    latency = stats.latency_ns()
    lost = {name: n for name, n in dropped(client.port_stats(), client.snapshot()).items() if n}
    values: dict[str, object] = {
        "elapsed": f"{elapsed:.1f} s",
        "packets": client.packets_received,
        "messages": stats.messages,
        "messages/s": f"{rate:,.0f}",
        "lost or left out": lost or "nothing",
    }
    for name, figures in latency.items():
        shown = {p: output.duration(figures[p]) for p in ("p50", "p99", "p99.9") if p in figures}
        values[name.replace("_", " ")] = shown
    return output.facts(title, values)
