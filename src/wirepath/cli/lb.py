"""``wirepath lb``: a Maglev load balancer in the driver, and what is asked of one that runs."""

from __future__ import annotations

import signal
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer

from ..balancer import Balancer, BalancerConfig, Decapsulation, ask
from ..balancer.tables import SCALE, build, hash_name, shares
from ..errors import WirepathError
from . import output
from .exits import Exit
from .options import Json, Quiet

app = typer.Typer(
    help="A Maglev load balancer: services, servers, drains, weights.", no_args_is_help=True
)

File = Annotated[Path, typer.Argument(metavar="FILE", help="TOML file with \\[balancer].")]
Interface = Annotated[
    str | None,
    typer.Option("--interface", help="Of which balancer, where several run here."),
]
ServerName = Annotated[str, typer.Argument(metavar="SERVER", help="Name of the server.")]
Vip = Annotated[str | None, typer.Option("--vip", help="Of this service only.", metavar="NAME")]


@app.command()
def check(file: File, as_json: Json = False) -> None:
    """Read a configuration, build its tables, and say what part each server gets.

    Example:  [bold]wirepath lb check balancer.toml[/bold]
    """
    config = BalancerConfig.from_toml(file)
    report: dict[str, Any] = {"file": str(file), "interface": config.interface, "vips": []}
    for vip in config.vip:
        servers = config.servers_of(vip)
        names = [hash_name(config.algorithm, vip, s) for s in servers]
        table = build(
            names,
            [s.weight * SCALE for s in servers],
            range(1, len(servers) + 1),
            config.table_size,
            config.algorithm,
        )
        part = shares(table)
        report["vips"].append(
            {
                "name": vip.name,
                "address": vip.address,
                "protocol": vip.protocol,
                "port": vip.port,
                "shares": {s.name: part.get(i, 0.0) for i, s in enumerate(servers, 1)},
            }
        )
    if as_json:
        output.emit(report)
        return
    console = output.stdout()
    for vip_report in report["vips"]:
        rows = [(name, f"{share:.3%}") for name, share in vip_report["shares"].items()]
        console.print(_title(vip_report), style="bold")
        console.print(output.table("", ("server", "share"), rows))


@app.command()
def run(
    file: File,
    max_seconds: Annotated[
        float | None, typer.Option("--max-seconds", help="End after this long.")
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Balance on the interface of the configuration until Ctrl-C; SIGHUP reads the file again.

    Example:  [bold]sudo wirepath lb run balancer.toml[/bold]
    """
    config = BalancerConfig.from_toml(file)

    def heard(text: str) -> None:
        if not quiet:
            output.stderr.print(text, markup=False)

    balancer = Balancer(config, heard=heard)

    def again(_number: int, _frame: FrameType | None) -> None:
        try:
            balancer.reload(file)
        except WirepathError as error:  # all stays as it was
            output.stderr.print(str(error), markup=False)

    signal.signal(signal.SIGHUP, again)
    interrupted = not balancer.run(max_seconds)
    report = {**balancer.report, "interrupted": interrupted}
    if as_json:
        output.emit(report)
    else:
        _show(report)
    if interrupted:
        raise typer.Exit(Exit.INTERRUPTED)


@app.command()
def show(interface: Interface = None, as_json: Json = False) -> None:
    """Services, servers and counters of a balancer that runs.

    Example:  [bold]sudo wirepath lb show[/bold]
    """
    report = ask(interface, do="show")
    if as_json:
        output.emit(report)
    else:
        _show(report)


@app.command()
def drain(
    server: ServerName, vip: Vip = None, interface: Interface = None, as_json: Json = False
) -> None:
    """Send new flows elsewhere; the server keeps those that it has until they end.

    Example:  [bold]sudo wirepath lb drain web-3[/bold]
    """
    _told(ask(interface, do="drain", server=server, vip=vip), as_json=as_json)


@app.command()
def undrain(
    server: ServerName, vip: Vip = None, interface: Interface = None, as_json: Json = False
) -> None:
    """The end of a drain: the server takes new flows again.

    Example:  [bold]sudo wirepath lb undrain web-3[/bold]
    """
    _told(ask(interface, do="undrain", server=server, vip=vip), as_json=as_json)


@app.command()
def weight(
    server: ServerName,
    weight: Annotated[int, typer.Argument(metavar="WEIGHT", help="0 to 10000; 0: no new flows.")],
    vip: Vip = None,
    interface: Interface = None,
    as_json: Json = False,
) -> None:
    """Give a server another weight, until the balancer's next start.

    Example:  [bold]sudo wirepath lb weight web-3 5[/bold]
    """
    request = {"do": "weight", "server": server, "weight": weight, "vip": vip}
    _told(ask(interface, **request), as_json=as_json)


@app.command()
def reload(file: File, interface: Interface = None, as_json: Json = False) -> None:
    """Have the running balancer go over to this configuration; servers that leave are drained.

    Example:  [bold]sudo wirepath lb reload balancer.toml[/bold]
    """
    config = BalancerConfig.from_toml(file)  # a mistake is told before anybody is asked
    answer = ask(interface or config.interface, do="reload", config=str(file.resolve()))
    _told(answer, as_json=as_json)


@app.command()
def unpin(
    interface: Annotated[str, typer.Argument(metavar="INTERFACE", help="Where it is attached.")],
    as_json: Json = False,
) -> None:
    """Take a pinned data path off its interface, once no balancer runs on it.

    Example:  [bold]sudo wirepath lb unpin eth1[/bold]
    """
    found = Balancer.unpin(interface)
    if as_json:
        output.emit({"interface": interface, "unpinned": found})
    else:
        output.stdout().print("taken off" if found else "nothing is pinned there")


@app.command()
def decap(
    *,
    interface: Annotated[str, typer.Argument(metavar="INTERFACE", help="Of the server.")],
    endpoint: Annotated[
        list[str],
        typer.Option("--endpoint", metavar="ADDRESS", help="Of the server; may be repeated."),
    ],
    vip: Annotated[
        list[str],
        typer.Option("--vip", metavar="ADDRESS", help="What may stand within; may be repeated."),
    ],
    gue_port: Annotated[int, typer.Option("--gue-port", help="UDP port of GUE; 0: none.")] = 6080,
    attach: Annotated[
        str, typer.Option("--attach", metavar="auto|native|generic", help="Where it runs.")
    ] = "auto",
    max_seconds: Annotated[
        float | None, typer.Option("--max-seconds", help="End after this long.")
    ] = None,
    as_json: Json = False,
) -> None:
    """On a server: take the balancer's tunnel headers off, until Ctrl-C.

    Example:  [bold]sudo wirepath lb decap eth0 --endpoint 10.0.0.5 --vip 192.0.2.10[/bold]
    """
    with Decapsulation(interface, endpoint, vip, gue_port=gue_port, attach=attach) as running:
        interrupted = not running.wait(max_seconds)
        report = {**running.counters(), "interrupted": interrupted}
    if as_json:
        output.emit(report)
    else:
        output.stdout().print(output.facts(f"decapsulation on {interface}", report))
    if interrupted:
        raise typer.Exit(Exit.INTERRUPTED)


def _title(vip: dict[str, Any]) -> str:
    port = f" port {vip['port']}" if vip["port"] else ""
    return f"{vip['name']}: {vip['address']} {vip['protocol']}{port}"


def _told(answer: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        output.emit(answer)
    else:
        for text in answer["events"] or ["nothing had to change"]:
            output.stdout().print(text, markup=False)


def _show(report: dict[str, Any]) -> None:
    console = output.stdout()
    for vip in report["vips"]:
        columns = ("server", "state", "weight", "share", "packets", "new flows", "why")
        rows = [
            (
                s["name"],
                s["state"],
                s["weight"],
                f"{s['share']:.2%}",
                s["packets"],
                s["new_flows"],
                s["reason"],
            )
            for s in vip["servers"]
        ]
        state = "announced" if vip["announced"] else "withdrawn"
        console.print(f"{_title(vip)}, {state}", style="bold")
        console.print(output.table("", columns, rows))
    counters = {name: value for name, value in report["counters"].items() if value}
    console.print(output.facts(f"packets on {report['interface']}", counters))
