"""The commands, put together."""

from __future__ import annotations

from typing import Annotated

import typer

from .. import __version__
from . import (
    backends,
    bench,
    capture,
    convert,
    demo,
    doctor,
    feed,
    filter_run,
    generate,
    info,
    lab,
    lb,
    metrics,
    program,
    publish,
    report,
    route_run,
    switch,
    top,
    tune,
)
from .exits import MEANINGS
from .log_options import LogFormat, LogLevel
from .log_options import apply as apply_log_options

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
    log_format: LogFormat = None,
    log_level: LogLevel = None,
) -> None:
    del version
    if log_format is not None or log_level is not None:
        apply_log_options(log_format, log_level)


app.command("backends")(backends.backends)
app.command("info")(info.info)
app.command("doctor")(doctor.doctor)
app.command("publish")(publish.publish)
app.command("generate")(generate.generate)
app.command("feed")(feed.feed)
app.command("convert")(convert.convert)
app.command("demo")(demo.demo)
app.command("capture")(capture.capture)
app.command("top")(top.top)
app.command("metrics")(metrics.metrics)
app.command("switch")(switch.switch)
app.command("tune")(tune.tune)
app.command("report")(report.report)
app.add_typer(bench.app, name="bench")
app.add_typer(lab.app, name="lab")
app.add_typer(filter_run.app, name="filter")
app.add_typer(lb.app, name="lb")
app.add_typer(program.app, name="program")
app.add_typer(route_run.app, name="route")
