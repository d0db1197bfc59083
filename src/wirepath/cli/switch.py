"""``wirepath switch``."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.markup import escape

from ..errors import ConfigError
from ..settings import problem
from ..switching import control
from ..switching.config import Way
from . import output
from .options import Json


def switch(
    pid: Annotated[
        int | None, typer.Argument(metavar="[PID]", help="Process; left out: those that have any.")
    ] = None,
    what: Annotated[
        str | None,
        typer.Argument(
            metavar="[WHAT]",
            help="A share such as 10%; socket (0%); a way such as af_xdp/native (100%, tried "
            "first); or reload.",
        ),
    ] = None,
    port: Annotated[
        str | None,
        typer.Option("--port", metavar="SPEC", help="Of this port only, such as auto:eth0."),
    ] = None,
    flow: Annotated[
        list[str] | None,
        typer.Option(
            "--flow",
            metavar="GROUP:PORT",
            help="Leaves the kernel whatever the share; may be repeated. None at all: --flow none.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Which way the frames of a running process come, and another share while it runs.

    Works on the auto ports of processes of the same user, through a socket that only that user can
    write to. What is changed here holds until the process ends or its configuration file changes.

    Example:  [bold]wirepath switch 4711 10%[/bold]
    Example:  [bold]wirepath switch 4711 socket --port auto:eth0[/bold]
    """
    if pid is None:
        numbers = control.processes()
        found = {str(number): control.ask(number) for number in numbers}
        return _show(found, as_json)
    request: dict[str, Any] = {"port": port, "reload": what == "reload", "changes": {}}
    if what is not None and what != "reload":
        request["changes"] |= _changes(what, pid, port)
    if flow:
        request["changes"]["flows"] = [] if flow == ["none"] else flow
    return _show({str(pid): control.ask(pid, **request)}, as_json)


def _changes(what: str, pid: int, port: str | None) -> dict[str, Any]:
    number = what.removesuffix("%")
    try:
        return {"share": float(number)}
    except ValueError:
        pass
    ports = control.ask(pid, port=port)
    policies = {tuple(info["policy"]) for info in ports.values()}
    if len(policies) != 1:
        raise ConfigError("the ports of this process have different policies (name one: --port)")
    (policy,) = policies
    ways = [Way.of(text) for text in policy]
    named = [way for way in ways if what in (way.text, way.backend)]
    if not named:
        must = f"a share such as 10%, reload, or a way: {', '.join(policy)}"
        raise ConfigError(problem("WHAT", what, must))
    if named[0].kernel:
        return {"share": 0.0, "flows": []}  # everything, named flows too
    first = named[0].text
    return {"share": 100.0, "policy": [first, *(text for text in policy if text != first)]}


def _show(found: dict[str, dict[str, Any]], as_json: bool) -> None:
    if as_json:
        return output.emit(found)
    console = output.stdout()
    if not any(found.values()):
        console.print("no process of this user has an auto port open")
        return None
    rows: list[list[object]] = []
    for pid, ports in found.items():
        for spec, info in ports.items():
            frames = ", ".join(f"{name} {n:,}" for name, n in info["delivered"].items())
            held = {way: each["reason"] for way, each in info["ways"].items() if each["reason"]}
            why = "; ".join(f"{way}: {reason}" for way, reason in held.items())
            way = info["path"] or info["kernel"]
            share = f"{info['share']:.4g} %"  # it is kept in 65536ths
            named = ", ".join(info["flows"])
            rows.append([pid, escape(spec), way, share, named, frames, escape(why)])
    titles = ["process", "port", "path", "share", "flows", "frames", "not better because"]
    console.print(output.table("switches", titles, rows))
    return None
