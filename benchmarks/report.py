# SPDX-License-Identifier: Apache-2.0
"""What is printed: a table with the spread and the ports behind it, or one JSON object a line."""

from __future__ import annotations

import json
import os
import platform
import sys
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.status import Status
from rich.table import Table

from .harness import Outcome, Settings

_PORT_KEYS = ("backend", "device", "driver", "mode", "queues", "wakeup", "timestamp_source")


def _amount(value: float | None, unit: str) -> str:
    if value is None:
        return ""
    if unit.startswith("ns"):
        return f"{value:.2f}"
    for limit, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= limit:
            return f"{value / limit:.3g} {letter}"
    return f"{value:.3g}"


def _latency_table() -> Table:
    title = "latencies, µs: from sender to stage; behind the bar, from the frame's time stamp"
    table = Table(title=title, title_justify="left", pad_edge=False)
    table.add_column("name", no_wrap=True)
    for column in ("p50", "p99", "p99.9", "p99.99", "max", "| p50", "p99"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("mode, wake-up; time stamps", overflow="fold")
    return table


def _feed_table() -> Table:
    title = "latencies of messages, µs: from the frame's time stamp to record and book"
    table = Table(title=title, title_justify="left", pad_edge=False)
    table.add_column("name", no_wrap=True)
    for column in ("p50", "p99", "p99.9", "p99.99", "max"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("mode, wake-up; time stamps", overflow="fold")
    return table


class Report:
    """Shows progress on stderr and the results as they come."""

    def __init__(self, settings: Settings, priority: str, *, as_json: bool) -> None:
        self._as_json = as_json
        self._settings = settings
        self._out = Console(width=None if sys.stdout.isatty() else 120)
        self._status: Status = Console(stderr=True).status("benchmarks")
        self._ports: dict[str, list[str]] = {}
        self._remarks: list[str] = []
        load = os.getloadavg()[0]
        self._title = (
            f"{settings.rounds} rounds, {settings.seconds:g} s of traffic, processors "
            f"{settings.cpus[0]} and {settings.cpus[1]}, {priority}, load {load:.1f}, "
            f"Linux {platform.release()}"
        )
        self._table = Table(title=self._title, title_justify="left", pad_edge=False)
        self._table.add_column("name", no_wrap=True)
        self._table.add_column("unit", no_wrap=True)
        for column in ("ours", "yardstick", "ratio", "min–max", "goal"):
            self._table.add_column(column, justify="right", no_wrap=True)

        self._latencies = _latency_table()
        self._feeds = _feed_table()

    def __enter__(self) -> Self:
        self._status.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._status.stop()
        if self._as_json or not self._table.row_count:
            return
        self._out.print(self._table)
        if self._latencies.row_count:
            self._out.print(self._latencies)
        if self._feeds.row_count:
            self._out.print(self._feeds)
        for text, names in self._ports.items():
            self._out.print(f"[dim]{', '.join(names)}:[/] {text}", highlight=False)
        for remark in self._remarks:
            self._out.print(remark, highlight=False, markup=False)

    def progress(self, text: str) -> None:
        """What is going on."""
        self._status.update(text)

    def add(self, outcome: Outcome) -> None:
        """One finished line."""
        values = outcome.as_json()
        if self._as_json:
            print(json.dumps(values), flush=True)
            return
        line = outcome.line
        if outcome.skipped or outcome.refused:
            word = "skipped" if outcome.skipped else "REFUSED"
            self._table.add_row(line.name, line.unit, "", "", word, "", "")
            self._remarks.append(f"{line.name} {word}: {outcome.skipped or outcome.refused}")
            return
        sign = "≥" if line.better == "higher" else "≤"
        goal = "" if line.goal is None else f"{sign} {line.goal:g} {'✓' if outcome.met else '✗'}"
        colour = {True: "green", False: "red", None: "default"}[outcome.met]
        self._table.add_row(
            line.name,
            line.unit,
            _amount(values["ours"], line.unit),
            _amount(values["yardstick"], line.unit),
            f"[{colour}]{values['ratio']:.3g}[/]",
            f"{values['ratio_min']:.3g}–{values['ratio_max']:.3g}",
            goal,
        )
        if outcome.latencies:
            self._add_latencies(outcome)
        elif outcome.info:
            text = ", ".join(f"{k} {outcome.info[k]}" for k in _PORT_KEYS if outcome.info.get(k))
            tuning = outcome.info.get("tuning")
            text += f", tuning {', '.join(tuning) if tuning else 'none'}"
            self._ports.setdefault(text, []).append(line.name)
        if values["note"]:
            self._remarks.append(f"{line.name}: {values['note']}")

    def _add_latencies(self, outcome: Outcome) -> None:
        info = outcome.info
        how = f"{info['mode']}, {info.get('wakeup', 'no wake-up')}; {info['timestamp_source']}"
        columns = ("p50", "p99", "p99.9", "p99.99", "max")
        if "since_sent" not in outcome.latencies:
            told = outcome.percentiles("since_stamp")
            figures = (f"{told[name] / 1e3:.1f}" for name in columns)
            self._feeds.add_row(outcome.line.name, *figures, how)
            return
        sent, stamped = (outcome.percentiles(name) for name in ("since_sent", "since_stamp"))
        cells = [sent[name] for name in columns]
        cells += [stamped[name] for name in ("p50", "p99")]
        name = outcome.line.name.removeprefix("latency_")
        self._latencies.add_row(name, *(f"{ns / 1e3:.1f}" for ns in cells), how)
