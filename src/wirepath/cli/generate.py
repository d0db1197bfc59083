"""``wirepath generate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..feed.generate import generate as write_day
from . import output
from .options import Json, Quiet


def generate(
    *,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="File to write; *.gz is compressed.")],
    messages: Annotated[int, typer.Option("--messages", help="Messages of the day.")] = 1_000_000,
    seed: Annotated[int, typer.Option("--seed", help="The same seed gives the same bytes.")] = 1,
    symbols: Annotated[int, typer.Option("--symbols", help="Instruments, 1 to 20000.")] = 500,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write a believable ITCH 5.0 day: length-prefixed messages, as in Nasdaq's day files.

    Example:  [bold]wirepath generate day.itch --messages 5000000 --seed 7[/bold]
    """
    with output.progress(quiet=quiet) as bar:
        task = bar.add_task("messages", total=messages)
        done = write_day(
            out,
            messages=messages,
            seed=seed,
            symbols=symbols,
            on_progress=lambda n: bar.update(task, completed=n),
        )
    if as_json:
        return output.emit(done)
    console = output.stdout()
    console.print(f"{done.path}: {done.messages:,} messages, {done.bytes:,} bytes")
    rows = sorted(done.by_type.items(), key=lambda row: -row[1])
    console.print(output.table("", ["type", "messages"], rows))
    return None
