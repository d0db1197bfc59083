"""``wirepath program load | list | detach | test``."""

from __future__ import annotations

import json
import socket
import time
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer

from .. import programs
from ..errors import ConfigError
from ..programs import trial
from ..settings import problem
from . import output
from .exits import Exit
from .options import Json

app = typer.Typer(
    help="Packet programs in the driver: your own, and those that wirepath put there.",
    no_args_is_help=True,
)

Source = Annotated[
    str, typer.Argument(metavar="PROGRAM", help="C file, eBPF object (.o) or a built-in name.")
]
Config = Annotated[
    list[str] | None,
    typer.Option("--config", metavar="NAME=VALUE", help="Of the configuration; may be repeated."),
]
Entries = Annotated[
    list[str] | None,
    typer.Option("--entries", metavar="MAP=N", help="Size of a map; may be repeated."),
]
Put = Annotated[
    list[str] | None,
    typer.Option(
        "--put",
        metavar="MAP:KEY=VALUE",
        help="An entry, key and value as numbers or JSON; may be repeated.",
    ),
]


@app.command("load")
def load(
    source: Source,
    *,
    interface: Annotated[str, typer.Option("--interface", "-i", help="Network interface.")],
    slot: Annotated[
        str, typer.Option("--slot", help=f"Place in the chain: {', '.join(programs.SLOTS)}.")
    ] = "user",
    mode: Annotated[
        str, typer.Option("--mode", metavar="auto|native|generic", help="How XDP runs.")
    ] = "auto",
    config: Config = None,
    entries: Entries = None,
    put: Put = None,
    pin: Annotated[
        bool, typer.Option("--pin", help="Leave it there and return; else until Ctrl-C.")
    ] = False,
    max_seconds: Annotated[
        float | None, typer.Option("--max-seconds", help="End after this long.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Put a program into the chain of an interface.

    A program of the same slot that is pinned is replaced without a gap. Without --pin it is there
    as long as this command runs, however it ends.

    Example:  [bold]sudo wirepath program load drop_port.c -i eth0 --put blocked:53=1[/bold]
    """
    if max_seconds is not None and not 0 < max_seconds <= 1e9:
        raise ConfigError(problem("--max-seconds", max_seconds, "above 0, at most 1e9 seconds"))
    with programs.Chain(interface, mode) as chain:
        program = chain.load(slot, source, config=_config(config), entries=_entries(entries))
        for name, items in _fill(put).items():
            for key, value in items.items():
                program.map(name)[key] = value
        chain.put(program, stays=pin)
        if pin:
            chain.pin()
        else:
            end = time.monotonic() + (max_seconds or 1e9)
            with suppress(KeyboardInterrupt):
                while time.monotonic() < end:
                    time.sleep(min(0.2, max(0.0, end - time.monotonic())))
        answer: dict[str, Any] = {
            "interface": interface,
            "mode": chain.mode,
            "slot": slot,
            "pinned": pin,
            "program": program.info(),
            "counters": program.counters(),
        }
    if as_json:
        return output.emit(answer)
    shown = {k: v for k, v in answer.items() if k not in ("program", "counters")}
    console = output.stdout()
    console.print(output.facts(f"{program.name} on {interface}", shown))
    console.print(output.facts("counters", answer["counters"]))
    return None


@app.command("list")
def list_(
    interface: Annotated[str | None, typer.Argument(metavar="[INTERFACE]")] = None,
    as_json: Json = False,
) -> None:
    """XDP programs on interfaces, foreign ones too; of wirepath's chains the slots and counters.

    Example:  [bold]sudo wirepath program list eth0[/bold]
    """
    names = [interface] if interface else [name for _, name in socket.if_nameindex()]
    rows: list[dict[str, Any]] = []
    for name in names:
        for each in programs.attached(name):
            row: dict[str, Any] = {"interface": name, **vars(each), "slots": []}
            if each.name == "wirepath_root":
                with programs.Chain(name) as chain:
                    counters = chain.counters()
                    row["pinned"] = chain.pinned
                    row["slots"] = [
                        vars(s) | {"counters": counters.get(s.slot, {})} for s in chain.slots()
                    ]
            rows.append(row)
    if as_json:
        return output.emit({"programs": rows})
    console = output.stdout()
    if not rows:
        console.print("No XDP program is attached.")
        return None
    columns = ["interface", "program", "number", "mode", "held by"]
    cells = [
        [r["interface"], r["name"], str(r["program_id"]), r["mode"], r["held_by"]] for r in rows
    ]
    console.print(output.table("XDP programs", columns, cells))
    for row in rows:
        for slot in row["slots"]:
            title = f"{row['interface']} {slot['slot']}: {slot['name']} ({_holder(slot['pid'])})"
            counted = {k: v for k, v in slot["counters"].items() if v}
            console.print(output.facts(title, counted or {"packets": 0}))
    return None


def _holder(pid: int | None) -> str:
    return "stays" if pid is None else f"process {pid}"


@app.command()
def detach(
    interface: Annotated[str, typer.Argument(metavar="INTERFACE")],
    *,
    slot: Annotated[
        str | None, typer.Option("--slot", help="Only this place in the chain.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Also what another running process put there.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Take programs out of the chain of an interface, and the chain away when nobody is in it.

    Foreign programs are left alone.

    Example:  [bold]sudo wirepath program detach eth0[/bold]
    """
    taken = programs.detach(interface, slot, force=force)
    if as_json:
        return output.emit({"interface": interface, "taken_out": [vars(s) for s in taken]})
    for each in taken:
        output.stdout().print(f"{interface}: {each.name} taken out of slot {each.slot}")
    return None


@app.command()
def test(
    source: Source,
    *,
    capture: Annotated[Path, typer.Option("--capture", help="pcap or pcapng file.")],
    config: Config = None,
    entries: Entries = None,
    put: Put = None,
    repeat: Annotated[
        int, typer.Option("--repeat", help="Runs of each timed frame; 0 = no timing.")
    ] = 1000,
    frames: Annotated[
        bool, typer.Option("--frames", help="A line for every frame, not only for differences.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Run a capture through a program in the kernel and natively; nothing is attached.

    Says each verdict, the bytes changed, nanoseconds a packet by the kernel's measure
    (BPF_PROG_RUN), and where the two builds differ: then it exits with 1.

    Example:  [bold]sudo wirepath program test drop_port.c --capture day.pcapng[/bold]
    """
    if not 0 <= repeat <= 1_000_000:
        raise ConfigError(problem("--repeat", repeat, "a whole number from 0 to 1000000"))
    result = trial.try_out(
        source,
        trial.frames_of(capture),
        config=_config(config),
        entries=_entries(entries),
        fill=_fill(put),
        repeat=repeat,
    )
    _show(result, frames=frames, as_json=as_json)
    if result.differences:
        raise typer.Exit(Exit.FAILED)


def _show(result: trial.Trial, *, frames: bool, as_json: bool) -> None:
    if as_json:
        shown = vars(result) | {"agree": result.agree, "rows": result.rows if frames else []}
        output.emit(shown)
        return
    console = output.stdout()
    if frames:
        columns = ["frame", "bytes", "verdict", "natively", "bytes after", "changed"]
        rows = [
            [r.number, r.length, r.verdict, r.native, r.new_length, r.changed] for r in result.rows
        ]
        console.print(output.table(f"{result.program}: every frame", columns, rows))
    changed = sum(r.changed != 0 for r in result.rows)
    builds = "agree" if result.agree else result.why_no_native or "differ"
    facts = {
        "frames": len(result.rows),
        "not run (too short or long)": result.not_run,
        "verdicts": result.verdicts,
        "frames changed": changed,
        "ns a packet (median)": result.ns,
        "of which the test run itself": result.empty_ns,
        "the two builds": builds,
    }
    console.print(output.facts(result.program, facts))
    console.print(output.facts("counters", {k: v for k, v in result.counters.items() if v}))
    for line in result.differences[:20]:
        console.print(f"[red]differs[/red]  {line}")
    if len(result.differences) > 20:
        console.print(f"and {len(result.differences) - 20} more")


def _pair(text: str, option: str, shape: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals or not value:
        raise ConfigError(problem(option, text, shape))
    return name, value


def _parsed(text: str) -> Any:  # noqa: ANN401 -- a number, a list, a mapping
    with suppress(ValueError):
        return int(text, 0)
    with suppress(ValueError):
        return json.loads(text)
    return text


def _config(pairs: list[str] | None) -> dict[str, Any] | None:
    out = {}
    for pair in pairs or []:
        name, value = _pair(pair, "--config", "NAME=VALUE")
        out[name] = _parsed(value)
    return out or None


def _entries(pairs: list[str] | None) -> dict[str, int]:
    out = {}
    for pair in pairs or []:
        name, value = _pair(pair, "--entries", "MAP=N")
        if not isinstance(number := _parsed(value), int) or not 1 <= number < 2**31:
            raise ConfigError(
                problem(f"--entries {name}", value, "a whole number from 1 to 2^31 - 1")
            )
        out[name] = number
    return out


def _fill(pairs: list[str] | None) -> dict[str, dict[Any, Any]]:
    out: dict[str, dict[Any, Any]] = {}
    for pair in pairs or []:
        left, value = _pair(pair, "--put", "MAP:KEY=VALUE")
        name, colon, key = left.partition(":")
        if not name or not colon or not key:
            raise ConfigError(problem("--put", pair, "MAP:KEY=VALUE"))
        parsed = _parsed(key)
        hashable = tuple(parsed) if isinstance(parsed, list) else parsed
        if isinstance(hashable, dict):
            raise ConfigError(
                problem("--put", pair, "MAP:KEY=VALUE with a list for a struct's key")
            )
        out.setdefault(name, {})[hashable] = _parsed(value)
    return out
