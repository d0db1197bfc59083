"""``wirepath report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .. import bench, logs, traces
from ..hdr import check_path
from . import options as o
from . import output


def report(
    a: Annotated[Path, typer.Argument(metavar="A", help="Result file of the path in use.")],
    b: Annotated[
        Path | None, typer.Argument(metavar="[B]", help="Of the path in question.")
    ] = None,
    *,
    html: Annotated[Path, typer.Option("--output", "-O", metavar="FILE", help="The page.")] = Path(
        "report.html"
    ),
    png: Annotated[
        Path | None,
        typer.Option("--png", metavar="FILE", help="Also the curves as a PNG (needs matplotlib)."),
    ] = None,
    anyway: Annotated[
        bool,
        typer.Option("--anyway", help="Show results of different traffic, too; without a verdict."),
    ] = False,
    as_json: o.Json = False,
) -> None:
    """Make one self-contained page of one result file, or of two side by side.

    Percentile curves, distributions, timelines, figures with intervals, losses by layer, CPU by
    core, settings; the page fetches nothing.

    Example:  [bold]wirepath report baseline.json run.json[/bold]
    """
    for path in (html, png):
        if path is not None:
            check_path(path)
    with traces.span("report", a=a, b=b):
        first = bench.Result.load(a)
        second = bench.Result.load(b) if b is not None else None
        files = [bench.write_page(html, first, second, anyway=anyway)]
        if png is not None:
            files.append(bench.write_picture(png, first, second))
    logs.emit("report.written", files=files)
    if as_json:
        output.emit({"files": files})
    else:
        for path in files:
            output.stdout().print(str(path), markup=False, soft_wrap=True)
