"""``wirepath demo``."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from ..demo import run_demo
from ..errors import ConfigError
from ..measure import Progress
from ..report import name_of, rows
from ..settings import problem
from . import output
from .exits import Exit
from .live import live
from .options import Json, Quiet


def demo(
    *,
    seconds: Annotated[
        float, typer.Option("--seconds", help="Of publishing, for each backend; 0.1 to 600.")
    ] = 10.0,
    rate: Annotated[float, typer.Option("--rate", help="Messages a second.")] = 200_000.0,
    seed: Annotated[int, typer.Option("--seed", help="Of the generated day.")] = 1,
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Where the report goes.")
    ] = Path("demo-report"),
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Take the same generated day in over a kernel socket and over AF_XDP, and compare.

    As root in a lab of two network namespaces; otherwise over loopback, by socket only. Ends with
    a table, and with a page, a plot and histograms in --out.

    Example:  [bold]sudo wirepath demo --seconds 5[/bold]
    """
    problems = []
    if not 0.1 <= seconds <= 600:
        problems.append(problem("--seconds", seconds, "from 0.1 to 600"))
    if not 1 <= rate <= 1e8:
        problems.append(problem("--rate", rate, "from 1 to 1e8 messages a second"))
    if problems:
        raise ConfigError("\n".join(problems))
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--out: {out} cannot be made: {error.strerror}") from None
    console = output.stdout()
    with ExitStack() as stack:
        shown = ExitStack()
        stack.enter_context(shown)

        def stage(title: str) -> Progress | None:
            shown.close()  # the table of the phase before
            if not as_json:
                console.print(f"[bold]▸[/bold] {title}")
            return shown.enter_context(live(title, quiet=quiet))

        done = run_demo(out, seconds=seconds, rate=rate, seed=seed, stage=stage)
    balanced = all(run.account is not None and run.account.balanced for run in done.runs)
    if as_json:
        output.emit(
            {
                "runs": [run.to_dict() for run in done.runs],
                "files": done.files,
                "notes": done.notes,
                "balanced": balanced,
            }
        )
    else:
        names = [name_of(run) for run in done.runs]
        lines = [(label, *values) for label, values in rows(done.runs)]
        console.print(output.table("side by side", ["", *names], lines))
        for run in done.runs:
            if run.account is not None:
                console.print(f"{name_of(run)}: {run.account.packets.equation()}")
                console.print(f"{name_of(run)}: {run.account.messages.equation()}")
        for note in done.notes:
            console.print(note, style="yellow", markup=False)
        console.print("written: " + ", ".join(map(str, done.files)))
    if any(run.interrupted for run in done.runs):
        raise typer.Exit(Exit.INTERRUPTED)
    if not balanced:
        raise typer.Exit(Exit.FAILED)
