"""``wirepath top``."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Annotated, Any

import typer
from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from .. import traces
from ..activity import (
    Activity,
    Item,
    Process,
    latency_title,
    packets_per_core,
    thread_of,
)
from ..errors import ConfigError
from ..series import chosen
from ..settings import problem
from . import output
from .options import Pids


def top(
    pids: Pids = None,
    interval: Annotated[
        float, typer.Option("--interval", "-i", help="Seconds between two readings.")
    ] = 1.0,
    count: Annotated[
        int | None, typer.Option("--count", "-n", help="End after this many readings.")
    ] = None,
    drops: Annotated[
        bool,
        typer.Option(
            "--drops",
            help="Layer by layer from NIC to consumer: what entered, passed and was lost.",
        ),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object a reading on standard output.")
    ] = False,
) -> None:
    """What wirepath processes do right now: rates, drops by cause, latencies, processor time.

    Reads their counters in shared memory: it costs their data path nothing, and works for every
    process of the same user. Ctrl-C ends it.

    Example:  [bold]wirepath top --interval 2[/bold]
    """
    if not 0.05 <= interval <= 3600:
        raise ConfigError(problem("--interval", interval, "a number of seconds from 0.05 to 3600"))
    if count is not None and count < 1:
        raise ConfigError(problem("--count", count, "at least 1"))
    with traces.span("attach", pid=pids):
        named = chosen(pids or ())
    activity = Activity(lambda: named if pids else chosen(()))
    screen = _layers if drops else _screen
    console = output.stdout()
    try:
        if as_json:
            for found in _shown(activity, interval, count, pids):
                output.emit({"time": time.time(), "processes": [_plain(p) for p in found]})
        elif console.is_terminal:
            with Live(console=console, screen=count is None, auto_refresh=False) as live:
                for found in _shown(activity, interval, count, pids):
                    live.update(screen(found), refresh=True)
        else:
            for found in _shown(activity, interval, count, pids):
                console.print(screen(found))
    except KeyboardInterrupt:
        return  # how one leaves it


def _readings(activity: Activity, interval: float, count: int | None) -> Iterator[list[Process]]:
    due, done = time.monotonic(), 0
    while count is None or done < count:
        due += interval
        time.sleep(max(0.0, due - time.monotonic()))
        yield activity.step()
        done += 1


def _shown(
    activity: Activity, interval: float, count: int | None, pids: list[int] | None
) -> Iterator[list[Process]]:
    """Readings without processes that have nothing to show, such as other tops; those that were
    named stay."""
    for found in _readings(activity, interval, count):
        yield [process for process in found if pids or process.items]


def _plain(process: Process) -> dict[str, Any]:
    return {
        "pid": process.pid,
        "command": process.command,
        "seconds": process.seconds,
        "items": [
            {
                "kind": item.kind,
                "name": item.name,
                "totals": item.totals,
                "rates": item.rates,
                "drops": {c: {"now": now, "ever": ever} for c, (now, ever) in item.drops.items()},
            }
            for item in process.items
        ],
        "latency_ns": {each.name: each.quantiles for each in process.latencies},
        "threads": process.cores,
        "packets_per_second_per_core": {
            item.name: packets_per_core(
                item.rates.get("frames", 0.0), thread_of(process, item.name)
            )
            for item in process.items
            if item.kind == "worker"
        },
        "softirq_share": process.softirq,
        "layers": [layer.to_dict() for layer in process.layers],
    }


def _screen(found: list[Process]) -> Group:
    if not found:
        return _nobody()
    parts: list[Any] = []
    for process in found:
        parts.append(_title(process))
        tables = (*_rates(process), _drops(process), _latency(process))
        parts += [table for table in tables if table]
    return Group(*parts)


def _nobody() -> Group:
    return Group(Text("no wirepath process of this user has a port, worker or feed"))


def _title(process: Process) -> Text:
    return Text(f"{process.pid}  {process.command}", style="bold", overflow="ellipsis")


def _layers(found: list[Process]) -> Group:
    """A row a layer and a row a cause; each layer's figures add up."""
    parts: list[Any] = []
    for process in found:
        rows = []
        for each in process.layers:
            gone = [(f"− {cause}", n) for cause, n in (each.lost | each.left).items() if n]
            gone += [(text, n) for text, n in (("− waiting", each.waiting),) if n]
            gone += [("− unexplained", each.unexplained)] if each.unexplained else []
            rows.append([each.name, each.unit, f"{each.entered:,}", "", f"{each.passed:,}"])
            rows += [[f"  {text}", "", "", f"{n:,}", ""] for text, n in gone]
        parts += [_title(process), _table(["layer", "", "entered", "lost", "passed"], rows)]
    return Group(*parts) if parts else _nobody()


def _si(value: float) -> str:
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.0f}"


# Columns of each kind: title, rate to show.
_COLUMNS = {
    "port": (("rx/s", "rx_packets"), ("tx/s", "tx_packets"), ("drops/s", "drops")),
    "feed": (
        ("messages/s", "delivered"),
        ("packets/s", "frames"),
        ("gaps/s", "gaps"),
        ("drops/s", "drops"),
    ),
    "publisher": (("messages/s", "messages"), ("packets/s", "packets"), ("drops/s", "drops")),
    "hand_off": (("frames/s", "frames"), ("copied/s", "copied"), ("drops/s", "drops")),
}


_BUSIEST = 20  # next hops shown, of which a router may have thousands


def _rates(process: Process) -> Iterator[Table]:
    kinds: dict[str, list[Item]] = {}
    for item in process.items:
        kinds.setdefault(item.kind, []).append(item)
    if hops := kinds.get("route_next_hop"):
        hops.sort(key=lambda item: -item.rates.get("packets", 0.0))
        del hops[_BUSIEST:]
    for kind, items in kinds.items():
        if kind == "worker":
            yield _workers(process, items)
            continue
        if kind == "switch":
            yield _switches(items)
            continue
        columns = _COLUMNS.get(kind) or tuple(
            (f"{name.replace('_', ' ')}/s", name) for name in items[0].rates
        )
        rows = [[i.name, *[_si(i.rates.get(name, 0.0)) for _, name in columns]] for i in items]
        titles = [kind.replace("_", " "), *[title for title, _ in columns]]
        if kind == "port":
            titles[3:3] = ["rx bit/s", "held"]
            for row, item in zip(rows, items, strict=True):
                bits, held = 8 * item.rates.get("rx_bytes", 0.0), item.totals.get("held", 0)
                row[3:3] = [_si(bits), _si(held)]
        yield _table(titles, rows)


def _workers(process: Process, items: list[Item]) -> Table:
    rows = []
    for item in items:
        bursts, frames = item.rates.get("bursts", 0.0), item.rates.get("frames", 0.0)
        share = thread_of(process, item.name)
        per_core = packets_per_core(frames, share)
        rows.append(
            [
                item.name,
                _si(frames),
                f"{frames / bursts:.1f}" if bursts else "–",
                _si(item.rates.get("idle_polls", 0.0)),
                _si(item.rates.get("drops", 0.0)),
                "–" if per_core is None else _si(per_core),
                *(
                    (f"{share['user']:.0%}", f"{share['system']:.0%}", f"{share['core']:.0f}")
                    if share
                    else ("–", "–", "–")
                ),
                f"{process.softirq.get(int(share['core']), 0.0):.0%}" if share else "–",
            ]
        )
    titles = ["worker", "frames/s", "a burst", "idle polls/s", "drops/s", "packets/s per core"]
    titles += ["user", "system", "core", "softirq share"]
    return _table(titles, rows)


def _switches(items: list[Item]) -> Table:
    names = ("transitions", "fall_backs", "returns", "refusals")
    rows = []
    for item in items:
        frames = [_si(item.rates.get(name, 0.0)) for name in ("bypass_frames", "kernel_frames")]
        share = f"{item.totals.get('share_basis_points', 0) / 100:g} %"
        rows.append([item.name, share, *frames, *(f"{item.totals.get(n, 0):,}" for n in names)])
    titles = ["switch", "share", "bypass/s", "kernel/s", *(n.replace("_", " ") for n in names)]
    return _table(titles, rows)


def _drops(process: Process) -> Table | None:
    rows = [
        [f"{item.kind} {item.name}", cause, f"{now:,}", f"{ever:,}"]
        for item in process.items
        for cause, (now, ever) in item.drops.items()
        if ever
    ]
    return _table(["lost or left out", "cause", "now", "ever"], rows) if rows else None


def _latency(process: Process) -> Table | None:
    rows = []
    for each in process.latencies:
        owner, what = latency_title(each.name)
        if each.samples:
            figures = [output.duration(v) for v in each.quantiles.values()]
            rows.append([f"{owner} {what}", f"{each.samples:,}", *figures])
    columns = ["latency", "samples", "p50", "p99", "p99.9", "max"]
    return _table(columns, rows) if rows else None


def _table(columns: list[str], rows: list[list[str]]) -> Table:
    out = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for i, name in enumerate(columns):
        out.add_column(name, justify="left" if i == 0 or name == "cause" else "right")
    for row in rows:
        out.add_row(*[Text(cell) for cell in row])
    return out
