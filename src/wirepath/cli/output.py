"""Printing: one JSON object with --json, tables otherwise; progress on stderr, on a terminal."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

stderr = Console(stderr=True, highlight=False)


def stdout() -> Console:
    """A console on what is standard output now."""
    return Console(highlight=False)


def emit(value: object) -> None:
    """One JSON object, on one line."""
    print(json.dumps(plain(value)), flush=True)


def plain(value: object) -> Any:  # noqa: ANN401  # what json.dumps takes
    """Dataclasses, NumPy numbers, paths and tuples as plain JSON values."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return plain(dataclasses.asdict(value))
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(v) for v in value]
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    if isinstance(value, Path):
        return str(value)
    item = getattr(value, "item", None)
    return item() if item is not None else str(value)


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    """A table whose columns after the first are right-aligned when they hold numbers."""
    rows = [list(row) for row in rows]
    out = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD)
    for i, name in enumerate(columns):
        numbers = i > 0 and any(isinstance(row[i], (int, float)) for row in rows)
        out.add_column(name, justify="right" if numbers else "left", overflow="fold")
    for row in rows:
        out.add_row(*[text(cell) for cell in row])
    return out


def facts(title: str, values: Mapping[str, object]) -> Table:
    """A table of names and values."""
    out = Table(title=title, title_justify="left", title_style="bold", box=None, show_header=False)
    out.add_column(style="cyan", no_wrap=True)
    out.add_column(overflow="fold")
    for name, value in values.items():
        out.add_row(name, text(value))
    return out


def text(value: object) -> str:
    """A cell's text: thousands apart, lists joined."""
    match value:
        case None | "" | []:
            out = "–"
        case bool():
            out = "yes" if value else "no"
        case int():
            out = f"{value:,}"
        case float():
            out = f"{value:,.3f}" if abs(value) < 100 else f"{value:,.0f}"
        case Mapping():
            out = ", ".join(f"{k} {text(v)}" for k, v in value.items()) or "–"
        case list() | tuple():
            out = ", ".join(text(v) for v in value)
        case _:
            out = str(value)
    return out


def duration(ns: float) -> str:
    """Nanoseconds with a fitting unit."""
    for unit, size in (("s", 1e9), ("ms", 1e6), ("µs", 1e3)):
        if ns >= size:
            return f"{ns / size:.3g} {unit}"
    return f"{ns:.0f} ns"


def progress(*, quiet: bool = False) -> Progress:
    """Bars on stderr; nothing at all where that is no terminal."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=stderr,
        transient=True,
        disable=quiet or not stderr.is_terminal,
    )
