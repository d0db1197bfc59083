"""Printing: one JSON object with --json, tables otherwise; progress on stderr, on a terminal."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence

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

from ..plain import duration, plain

__all__ = ["duration", "emit", "facts", "plain", "progress", "stderr", "stdout", "table", "text"]

stderr = Console(stderr=True, highlight=False)


def stdout() -> Console:
    """A console on what is standard output now."""
    return Console(highlight=False)


def emit(value: object) -> None:
    """One JSON object, on one line."""
    print(json.dumps(plain(value)), flush=True)


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
