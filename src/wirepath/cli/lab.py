"""``wirepath lab up | status | down | exec``."""

from __future__ import annotations

import subprocess
from typing import Annotated, Any, cast

import typer

from .. import lab as labs
from . import output
from .exits import Exit
from .options import Json

app = typer.Typer(
    help="Network namespaces and veth pairs that stand for hosts and NICs.", no_args_is_help=True
)

Name = Annotated[str, typer.Option("--name", help="Name of the lab.")]


@app.command()
def up(
    *,
    name: Name = "wirepath",
    hosts: Annotated[int, typer.Option("--hosts", help="Number of hosts: a, b, c, …")] = 2,
    queues: Annotated[int, typer.Option("--queues", help="Queues of each interface, 1 to 64.")] = 1,
    topology: Annotated[
        str, typer.Option("--topology", metavar="line|star|lan", help="How hosts are joined.")
    ] = "line",
    mtu: Annotated[int, typer.Option("--mtu", help="Bytes.")] = 1500,
    as_json: Json = False,
) -> None:
    """Lay out a lab that stays until [bold]wirepath lab down[/bold].

    Example:  [bold]sudo wirepath lab up --queues 2[/bold]
    """
    made = labs.up(name, hosts, queues=queues, topology=cast("Any", topology), mtu=mtu)
    _show([made.status()], as_json=as_json)


@app.command()
def status(
    name: Annotated[str | None, typer.Option("--name", help="One lab only.")] = None,
    as_json: Json = False,
) -> None:
    """What the kernel says of the labs that are up.

    Example:  [bold]sudo wirepath lab status --json[/bold]
    """
    _show(labs.status(name), as_json=as_json)


@app.command()
def down(
    name: Name = "wirepath",
    force: Annotated[
        bool, typer.Option("--force", help="Even when it belongs to another running process.")
    ] = False,
    as_json: Json = False,
) -> None:
    """End the processes of a lab and remove it.

    Example:  [bold]sudo wirepath lab down[/bold]
    """
    removed = labs.down(name, force=force)
    if as_json:
        return output.emit({"lab": name, "removed": removed})
    output.stdout().print(f"lab {name} removed" if removed else f"there is no lab {name}")
    return None


@app.command("exec", context_settings={"ignore_unknown_options": True})
def execute(
    host: Annotated[str, typer.Argument(metavar="HOST", help="a, b, …")],
    command: Annotated[list[str], typer.Argument(metavar="COMMAND…", help="What to run there.")],
    name: Name = "wirepath",
) -> None:
    """Run a command on a host of a lab; its exit code is passed on.

    Example:  [bold]sudo wirepath lab exec b -- wirepath feed af_xdp:wp0 239.1.1.1:9001[/bold]
    """
    try:
        done: subprocess.CompletedProcess[bytes] = labs.attach(name)[host].run(command)
    except FileNotFoundError:
        output.stderr.print(f"wirepath: there is no command {command[0]}", markup=False)
        raise typer.Exit(Exit.USAGE) from None
    raise typer.Exit(done.returncode if done.returncode >= 0 else 128 - done.returncode)


def _show(found: list[labs.LabStatus], *, as_json: bool) -> None:
    if as_json:
        return output.emit({"labs": found})
    console = output.stdout()
    if not found:
        console.print("no lab is up (sudo wirepath lab up)")
    for each in found:
        rows = []
        for host in each.hosts:
            for link in host.interfaces:
                state = link.state
                addresses = ", ".join((*state.ipv4, *state.ipv6)) if state else "gone"
                xdp = state.xdp if state else "–"
                peers = ", ".join(link.peers)
                rows.append((host.name, link.name, peers, addresses, xdp, len(host.pids)))
        title = f"lab {each.name} ({each.kind}), {each.queues} queues, MTU {each.mtu}"
        columns = ["host", "interface", "to", "addresses", "XDP", "processes"]
        console.print(output.table(title, columns, rows))
    return None
