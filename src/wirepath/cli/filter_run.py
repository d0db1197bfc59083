"""``wirepath filter run | reload | show | top | block | unblock | stop``: filters in force."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer
from rich.console import Group
from rich.live import Live

from .. import filter as filtering
from ..errors import ConfigError, WirepathError
from ..filter.view import View
from ..settings import problem
from . import output
from .exits import Exit
from .filter import (
    ConfigArgument,
    DefaultOption,
    DryRun,
    RuleOptions,
    SignatureOption,
    app,
    configured,
)
from .options import Json, check_limits

__all__ = ["app"]

Interface = Annotated[str, typer.Argument(metavar="IFACE", help="Network interface.")]
Force = Annotated[
    bool,
    typer.Option("--force", help="Even if it cuts the session that this command is given in."),
]
_TICK = 0.2  # seconds between two looks at samples and signals


@app.command()
def run(
    interface: Interface,
    *,
    config: ConfigArgument = None,
    rule: RuleOptions = None,
    signatures: SignatureOption = None,
    default: DefaultOption = None,
    dry_run: DryRun = None,
    mode: Annotated[
        str,
        typer.Option("--mode", metavar="auto|native|generic", help="Where the program runs."),
    ] = "auto",
    blocks: Annotated[
        int | None, typer.Option("--blocks", help="Addresses that can be blocked at a time.")
    ] = None,
    pin: Annotated[
        bool,
        typer.Option(
            "--pin", help="Return at once; the filter stays until `wirepath filter stop`."
        ),
    ] = False,
    samples: Annotated[
        Path | None,
        typer.Option("--samples", metavar="FILE", help="Write sampled packets there, as pcapng."),
    ] = None,
    max_seconds: Annotated[
        float | None, typer.Option("--max-seconds", help="End after this long.")
    ] = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Put a filter into the driver of an interface.

    It is in force until Ctrl-C or SIGTERM, and ends with this process however that ends; with
    --pin it stays. SIGHUP reads the file again: all of it is taken, or nothing.

    Example:  [bold]wirepath filter run eth1 --config filter.toml[/bold]
    """
    check_limits(max_seconds, None)
    if pin and samples is not None:
        raise ConfigError(problem("--samples", str(samples), "left out with --pin: nobody writes"))
    found, folder = configured(config, rule, signatures, default, dry_run, blocks=blocks)
    one = filtering.Filter(found, folder=folder)
    if pin:
        got = one.attach(interface, mode, pin=True, force=force)
        if as_json:
            output.emit({"interface": interface, "mode": got, "pinned": True})
        else:
            end = f"pinned (wirepath filter stop {interface} ends it)"
            output.stderr.print(f"{_about(found, interface)}, {got} mode, {end}")
        return

    def again() -> None:
        fresh, where = configured(config, rule, signatures, default, dry_run, blocks=blocks)
        one.reload(fresh, folder=where, force=force)

    interrupted = False
    with _hangups() as waiting, one:  # from here on SIGHUP does not end this process
        got = one.attach(interface, mode, force=force)
        output.stderr.print(f"{_about(found, interface)}, {got} mode (Ctrl-C ends it)")
        try:
            _keep(one, again, waiting, samples, max_seconds)
        except KeyboardInterrupt:
            interrupted = True
        _show(one, interface, as_json=as_json)
    if interrupted:
        raise typer.Exit(Exit.INTERRUPTED)


def _about(config: filtering.FilterConfig, interface: str) -> str:
    return f"{len(config.named_rules())} rules on {interface}"


@app.command()
def reload(
    interface: Interface,
    *,
    config: ConfigArgument = None,
    rule: RuleOptions = None,
    signatures: SignatureOption = None,
    default: DefaultOption = None,
    dry_run: DryRun = None,
    blocks: Annotated[
        int | None, typer.Option("--blocks", help="Addresses that can be blocked at a time.")
    ] = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Other rules for a filter that is in force: all of them between two packets, or none.

    Blocks stay; counts begin anew.

    Example:  [bold]wirepath filter reload eth1 --config filter.toml[/bold]
    """
    found, folder = configured(config, rule, signatures, default, dry_run, blocks=blocks)
    one = filtering.Filter.adopt(interface)
    one.reload(found, folder=folder, force=force)
    if as_json:
        output.emit({"interface": interface, "rules": len(found.named_rules())})
    else:
        output.stderr.print(f"{len(found.named_rules())} rules on {interface}")


@app.command()
def show(interface: Interface, as_json: Json = False) -> None:
    """What the filter on an interface did: packets and bytes by rule, drops by reason, blocks.

    Example:  [bold]wirepath filter show eth1[/bold]
    """
    _show(filtering.Filter.adopt(interface), interface, as_json=as_json)


@app.command()
def stop(interface: Interface, as_json: Json = False) -> None:
    """Take the filter off an interface, whoever put it there.

    Example:  [bold]wirepath filter stop eth1[/bold]
    """
    one = filtering.Filter.adopt(interface)
    counters = one.counters()
    one.detach(interface)
    if as_json:
        output.emit({"interface": interface, "counters": counters})
    else:
        output.stderr.print(f"no filter on {interface} any more")


@app.command()
def block(
    interface: Interface,
    address: Annotated[str, typer.Argument(help="IPv4 or IPv6 address.")],
    seconds: Annotated[float, typer.Option("--seconds", help="For how long.")] = 600.0,
    as_json: Json = False,
) -> None:
    """Drop everything from an address for a time.

    Example:  [bold]wirepath filter block eth1 192.0.2.7 --seconds 60[/bold]
    """
    one = filtering.Filter.adopt(interface)
    one.block(address, seconds)
    if as_json:
        output.emit({"blocks": one.blocks()})


@app.command()
def unblock(
    interface: Interface,
    address: Annotated[str, typer.Argument(help="IPv4 or IPv6 address.")],
    as_json: Json = False,
) -> None:
    """End the block of an address.

    Example:  [bold]wirepath filter unblock eth1 192.0.2.7[/bold]
    """
    one = filtering.Filter.adopt(interface)
    was = one.unblock(address)
    if as_json:
        output.emit({"was_blocked": was, "blocks": one.blocks()})
    elif not was:
        output.stderr.print(f"{address} was not blocked")


@app.command()
def top(
    interface: Interface,
    interval: Annotated[
        float, typer.Option("--interval", "-i", help="Seconds between two readings.")
    ] = 1.0,
    count: Annotated[
        int | None, typer.Option("--count", "-n", help="End after this many readings.")
    ] = None,
    every: Annotated[
        int, typer.Option("--every", metavar="N", help="Look at one packet in N.")
    ] = 64,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object a reading on standard output.")
    ] = False,
) -> None:
    """Under attack: who sends most, to which ports, of which size, and which rules it meets.

    One packet in --every is copied out while this command runs.

    Example:  [bold]wirepath filter top eth1 --every 1000[/bold]
    """
    if not 0.05 <= interval <= 3600:
        raise ConfigError(problem("--interval", interval, "a number of seconds from 0.05 to 3600"))
    if count is not None and count < 1:
        raise ConfigError(problem("--count", count, "at least 1"))
    if not 1 <= every <= 10**6:
        raise ConfigError(problem("--every", every, "a whole number from 1 to 1000000"))
    one = filtering.Filter.adopt(interface)
    one.watch(every)
    console = output.stdout()
    try:
        if as_json:
            for view, rates in _readings(one, interval, count):
                output.emit(_plain(view, rates, every))
        elif console.is_terminal:
            with Live(console=console, screen=count is None, auto_refresh=False) as live:
                for view, rates in _readings(one, interval, count):
                    live.update(_screen(view, rates), refresh=True)
        else:
            for view, rates in _readings(one, interval, count):
                console.print(_screen(view, rates))
    except KeyboardInterrupt:
        return
    finally:
        one.watch(0)


Rates = dict[str, float]


def _readings(
    one: filtering.Filter, interval: float, count: int | None
) -> Iterator[tuple[View, Rates]]:
    before, then, done = one.counters(), time.monotonic(), 0
    while count is None or done < count:
        view, due = View(), then + interval
        while (left := due - time.monotonic()) > 0:
            time.sleep(min(left, _TICK))
            view.add(one.samples(65536))
        after, now = one.counters(), time.monotonic()
        yield view, {n: (after[n] - before.get(n, 0)) / (now - then) for n in after}
        before, then, done = after, now, done + 1


def _plain(view: View, rates: Rates, every: int) -> dict[str, Any]:
    tops = {
        n: dict(getattr(view, n).most_common(10)) for n in ("sources", "ports", "sizes", "rules")
    }
    return {"rates": rates, "samples": view.samples, "every": every, **tops}


def _screen(view: View, rates: Rates) -> Group:
    parts: list[Any] = [output.facts("a second", {n: f"{v:,.0f}" for n, v in rates.items() if v})]
    for name in ("sources", "ports", "sizes", "rules"):
        found = getattr(view, name).most_common(10)
        rows = [[each, f"{n / view.samples:.1%}"] for each, n in found]
        if rows:
            parts.append(output.table(name, [name, "share"], rows))
    return Group(*parts)


def _keep(
    one: filtering.Filter,
    again: Callable[[], None],
    waiting: list[int],
    samples: Path | None,
    max_seconds: float | None,
) -> None:
    end = None if max_seconds is None else time.monotonic() + max_seconds
    writer = None if samples is None else filtering.SampleWriter(samples)
    try:
        while end is None or time.monotonic() < end:
            time.sleep(_TICK)
            one.refresh()
            if waiting:
                waiting.clear()
                _read_again(again)
            offset = time.time_ns() - time.monotonic_ns()
            for sample in one.samples(65536):
                if writer is not None:
                    writer.write(sample, offset)
    finally:
        if writer is not None:
            writer.close()


def _read_again(again: Callable[[], None]) -> None:
    try:
        again()
    except WirepathError as error:
        output.stderr.print(f"not in force, the old rules stay: {error}", markup=False)
    else:
        output.stderr.print("read again, and in force")


@contextmanager
def _hangups() -> Iterator[list[int]]:
    """Gets an item for each SIGHUP."""
    seen: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        del frame
        seen.append(number)

    before = signal.signal(signal.SIGHUP, note)
    try:
        yield seen
    finally:
        signal.signal(signal.SIGHUP, before)


def _show(one: filtering.Filter, interface: str, *, as_json: bool) -> None:
    counts, counters, blocks = one.counts(), one.counters(), one.blocks()
    if as_json:
        about = {"interface": interface, "features": one.tables.features, "rules": counts}
        output.emit({**about, "counters": counters, "blocks": blocks})
        return
    console = output.stdout()
    shown = {name.replace("_", " "): value for name, value in counters.items() if value}
    console.print(output.facts(f"filter on {interface}", shown or {"packets": 0}))
    rows = [[name, *row.values()] for name, row in counts.items()]
    columns = ["rule", "packets", "bytes", "dropped", "dropped bytes"]
    console.print(output.table("by rule", columns, rows))
    if blocks:
        left = [[str(address), f"{seconds:.0f} s"] for address, seconds in blocks.items()]
        console.print(output.table("blocked", ["address", "for"], left))
