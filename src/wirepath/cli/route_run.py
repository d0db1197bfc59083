"""``wirepath route run | counters | stop``: a router on interfaces of this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ..route.config import RouterConfig
from . import output
from .exits import Exit
from .options import Json, Quiet, check_limits, help_of
from .route import app

__all__ = ["app"]

Interfaces = Annotated[
    list[str] | None,
    typer.Argument(metavar="[IFACE]...", help="Interfaces to forward between, without --config."),
]
Interface = Annotated[str, typer.Argument(metavar="IFACE", help="One of its interfaces.")]


def _option(name: str, metavar: str | None = None) -> Any:  # noqa: ANN401
    return typer.Option(
        f"--{name.replace('_', '-')}",
        help=help_of(RouterConfig, name),
        metavar=metavar,
        show_default=False,
    )


@app.command()
def run(
    interfaces: Interfaces = None,
    *,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            metavar="FILE",
            help="TOML file with a table \\[router]; options given here win.",
        ),
    ] = None,
    plane: Annotated[str | None, _option("plane", "PLANE")] = None,
    source: Annotated[str | None, _option("source", "kernel|fpm")] = None,
    fpm_port: Annotated[int | None, _option("fpm_port")] = None,
    vrf: Annotated[str | None, _option("vrf", "NAME")] = None,
    rpf: Annotated[str | None, _option("rpf", "off|strict|loose")] = None,
    attach: Annotated[str | None, _option("attach", "auto|native|generic")] = None,
    pin: Annotated[
        bool | None,
        typer.Option("--pin/--no-pin", help=help_of(RouterConfig, "pin"), show_default=False),
    ] = None,
    max_seconds: Annotated[
        float | None, typer.Option("--max-seconds", help="End after this long.")
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Forward between interfaces until Ctrl-C; what is not plain forwarding is left to the host.

    Example:  [bold]sudo wirepath route run eth1 eth2[/bold]
    """
    from ..route.router import Router  # noqa: PLC0415 -- a driver's programs, for this command only

    check_limits(max_seconds, None)
    values = RouterConfig.read_toml(config) if config is not None else {}
    given = {
        "interfaces": interfaces or None,
        "plane": plane,
        "source": source,
        "fpm_port": fpm_port,
        "vrf": vrf,
        "rpf": rpf,
        "attach": attach,
        "pin": pin,
    }
    values |= {name: value for name, value in given.items() if value is not None}

    def heard(text: str) -> None:
        if not quiet:
            output.stderr.print(text, markup=False)

    router = Router(RouterConfig(**values), heard=heard)
    interrupted = not router.run(max_seconds)
    if as_json:
        output.emit({**router.report, "interrupted": interrupted})
    else:
        _show(router.report)
    if interrupted:
        raise typer.Exit(Exit.INTERRUPTED)


@app.command()
def counters(interface: Interface, as_json: Json = False) -> None:
    """What a running router did: packets by interface, next hop and reason.

    Example:  [bold]sudo wirepath route counters eth1[/bold]
    """
    from ..route.published import reader  # noqa: PLC0415

    found = reader(interface)()
    if as_json:
        output.emit(found)
    else:
        _show(found)


@app.command()
def stop(
    interfaces: Annotated[list[str], typer.Argument(metavar="IFACE...", help="Its interfaces.")],
) -> None:
    """End the router that has one of these interfaces, on all of its own; and take off these what a
    process that is gone has left there by --pin.

    Example:  [bold]sudo wirepath route stop eth1[/bold]
    """
    from ..route.end import end  # noqa: PLC0415

    for text in end(interfaces):
        output.stderr.print(text, markup=False)


def _show(found: dict[str, Any]) -> None:
    console = output.stdout()
    used = {name.replace("_", " "): n for name, n in found["counters"].items() if n}
    console.print(output.facts("packets", used or {"packets": 0}))
    rows = found["interfaces"]
    fields = list(next(iter(rows.values()), {}))
    columns = ["interface", *[name.replace("_", " ") for name in fields]]
    cells = [[name, *[row[f] for f in fields]] for name, row in rows.items()]
    console.print(output.table("by interface", columns, cells))
    if found["next_hops"]:
        names = list(found["next_hops"][0])
        cells = [[row[n] for n in names] for row in found["next_hops"]]
        console.print(output.table("by next hop", [n.replace("_", " ") for n in names], cells))
