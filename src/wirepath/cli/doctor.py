"""``wirepath doctor``."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.table import Table
from rich.text import Text

from ..doctor import Finding, Interface, Report, Severity, examine
from ..doctor._model import listing
from ..errors import ConfigError
from ..settings import problem
from . import output
from . import tune as tuning
from .exits import Exit
from .options import Json

_COLOURS = {
    Severity.BLOCKER: "bold red",
    Severity.WARNING: "yellow",
    Severity.ADVICE: "cyan",
    Severity.UNSEEN: "magenta",
    Severity.OK: "green",
}


class FailOn(StrEnum):
    """From which severity on the exit code is 1."""

    BLOCKER = "blocker"
    WARNING = "warning"
    ADVICE = "advice"
    NEVER = "never"


def doctor(
    interface: Annotated[
        str | None,
        typer.Argument(
            metavar="[IFACE]",
            help="Interface to judge; without, all that stand for hardware and are up.",
        ),
    ] = None,
    show_all: Annotated[bool, typer.Option("--all", help="Show the quiet checks as well.")] = False,
    fail_on: Annotated[
        FailOn,
        typer.Option("--fail-on", help="Exit with 1 from this severity on."),
    ] = FailOn.BLOCKER,
    restore: Annotated[
        bool,
        typer.Option("--restore", help="Judge nothing; put back what wirepath tune changed."),
    ] = False,
    as_json: Json = False,
) -> None:
    """What stands in the way of low latency and of bypass: a ranked list, each with its mend.

    Reads only, and needs no privilege; what it cannot see is in the list as "unseen".

    Severities: blocker (cannot work until it is mended), warning (costs frames or latency),
    advice (for a machine that is there for this), unseen, ok.

    Exit codes: 0 nothing of --fail-on's severity or graver, 1 something, 2 no such interface. With
    --restore, which is that of wirepath tune: 0 all is as it was, 1 something was left alone.

    Example:  [bold]wirepath doctor eth0[/bold]
    """
    if restore:
        if interface is not None:
            must = "left out with --restore, which is of all that was tuned here"
            raise ConfigError(problem("IFACE", interface, must))
        return tuning.restore_now(as_json=as_json)
    report = examine(interface)
    if as_json:
        output.emit(_as_json(report))
    else:
        _show(report, show_all=show_all)
    if fail_on is not FailOn.NEVER and report.worst.rank <= Severity(fail_on.value).rank:
        raise typer.Exit(Exit.FAILED)
    return None


def _as_json(report: Report) -> dict[str, Any]:
    answer: dict[str, Any] = output.plain(report)
    for shown, each in zip(answer["interfaces"], report.interfaces, strict=True):
        for line, way in zip(shown["ways"], each.ways, strict=True):
            line["works"] = way.works
    answer["worst"] = report.worst
    answer["counts"] = {severity: len(report.of(severity)) for severity in Severity}
    return answer


def _show(report: Report, *, show_all: bool) -> None:
    console = output.stdout()
    for each in report.interfaces:
        console.print(output.facts(each.nic.name, _facts(each)))
        console.print(_ways(each))
        if each.queue_map:
            console.print(_map(each))
    shown = [each for each in report.findings if show_all or each.severity is not Severity.OK]
    console.print(_findings(shown))
    quiet = len(report.of(Severity.OK))
    if not show_all:
        console.print(f"{quiet} checks are quiet (--all shows them).")
    if not report.interfaces:
        console.print("No interface was judged: wirepath doctor IFACE names one.")


def _facts(each: Interface) -> dict[str, object]:
    nic = each.nic
    rings, xdp = nic.rings, nic.xdp
    return {
        "driver": " ".join(filter(None, (nic.driver or nic.link.kind, nic.bus))),
        "MTU": nic.link.mtu,
        "NUMA node": each.node,
        "receive queues": nic.receiving,
        "receive ring": f"{rings.rx} of {rings.rx_max}" if rings and rings.rx else None,
        "XDP": sorted(xdp.features) if xdp else nic.refused.get("xdp"),
    }


def _ways(each: Interface) -> Table:
    rows = (
        (
            way.backend,
            "[green]yes[/green]" if way.works else "[red]no[/red]",
            way.mode,
            "; ".join(way.in_the_way),
        )
        for way in each.ways
    )
    title = f"Backends on {each.nic.name}"
    return output.table(title, ["backend", "works", "mode", "in the way"], rows)


def _map(each: Interface) -> Table:
    rows = (
        ("?" if line.queue is None else line.queue, line.interrupt, line.name, listing(line.cores),
         line.count)
        for line in each.queue_map
    )  # fmt: skip
    return output.table(
        f"Interrupts of {each.nic.name}", ["queue", "irq", "name", "cores", "count"], rows
    )


def _findings(findings: Iterable[Finding]) -> Table:
    out = Table(box=SIMPLE_HEAD)
    out.add_column("", justify="right", no_wrap=True)
    out.add_column("severity", no_wrap=True)
    out.add_column("found", overflow="fold")
    for number, each in enumerate(findings, 1):
        where = "" if each.subject == "machine" else f" on {each.subject}"
        # Text, not str: what the kernel says may look like markup ("always [madvise]").
        lines = [Text(each.check + where, style="bold"), Text(each.evidence)]
        if each.severity is not Severity.OK:
            lines.append(Text(each.why, style="dim"))
        if each.mend:
            lines.append(Text(f"mend: {each.mend}"))
        out.add_row(
            str(number), Text(each.severity.value, style=_COLOURS[each.severity]), Group(*lines)
        )
    return out
