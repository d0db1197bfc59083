"""The commands, put together."""

from __future__ import annotations

from typing import Annotated

import typer

from .. import __version__
from . import (
    backends,
    bench,
    convert,
    demo,
    doctor,
    feed,
    generate,
    info,
    lab,
    publish,
    report,
    route,
    top,
    tune,
)
from .exits import MEANINGS

_EPILOG = "Exit codes: " + "; ".join(f"{code.value} {text}" for code, text in MEANINGS.items())

app = typer.Typer(
    name="wirepath",
    help="Kernel-bypass networking: ports, market-data feeds, and what they lost.",
    epilog=_EPILOG,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        print(__version__)
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    del version


app.command("backends")(backends.backends)
app.command("info")(info.info)
app.command("doctor")(doctor.doctor)
app.command("publish")(publish.publish)
app.command("generate")(generate.generate)
app.command("feed")(feed.feed)
app.command("convert")(convert.convert)
app.command("demo")(demo.demo)
app.command("top")(top.top)
app.command("metrics")(top.metrics)
app.command("tune")(tune.tune)
app.command("report")(report.report)
app.add_typer(bench.app, name="bench")
app.add_typer(lab.app, name="lab")
app.add_typer(route.app, name="route")
