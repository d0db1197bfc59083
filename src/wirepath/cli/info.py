"""``wirepath info``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from .. import _core, numa
from ..config import known_backends
from ..errors import ConfigError
from ..ports import open as open_port
from ..publish import flow_of
from ..registry import backends, load
from ..settings import nearest, problem
from ..steering import udp
from . import output
from .options import Json


def info(
    port: Annotated[str, typer.Argument(metavar="PORT", help="Port spec, such as af_xdp:eth0.")],
    flow: Annotated[
        str | None, typer.Argument(metavar="[GROUP:PORT]", help="Flow to open it with.")
    ] = None,
    everything: Annotated[
        bool,
        typer.Option(
            "--everything", help="Open it with all of its traffic: SSH over it stops meanwhile."
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """What a port says of itself: backend, driver, mode, queues, timestamps, tuning.

    Opened with GROUP:PORT (or a capture), it is read back from the kernel; without, only what can
    be told without opening it.

    Example:  [bold]wirepath info af_xdp:eth0 239.1.1.1:9001[/bold]
    """
    backend, device, _ = _core.parse_port_spec(port)
    if backend not in known_backends():
        known = ", ".join(known_backends())
        hint = nearest(backend, known_backends())
        raise ConfigError(problem("backend", backend, f"one of {known}") + hint)
    answer: dict[str, Any] = {"port": port, "opened": False}
    if flow is not None or everything or backend in ("pcap", "null"):
        steer = udp(*flow_of(flow, "GROUP:PORT")) if flow is not None else _core.everything()
        with open_port(port, steer=steer) as opened:
            answer |= {
                "opened": True,
                "info": opened.info(),
                "capabilities": opened.capabilities,
                "stats": opened.stats(),
            }
    else:
        answer |= _unopened(backend, device)
    if as_json:
        return output.emit(answer)
    console = output.stdout()
    for name in ("info", "capabilities", "interface", "backend"):
        if name in answer:
            console.print(output.facts(f"{port}: {name}", answer[name]))
            console.print()
    if not answer["opened"]:
        console.print(
            "Not opened: give GROUP:PORT (or --everything) to see what the kernel grants."
        )
    return None


def _unopened(backend: str, device: str) -> dict[str, Any]:
    status = next(b for b in backends() if b.name == backend)
    if status.available:
        load(backend)
    out: dict[str, Any] = {
        "backend": {
            "name": backend,
            "available": status.available,
            "help": status.help,
            "reason": status.reason,
            "mend": status.mend,
        }
    }
    if device:
        out["interface"] = _interface(device)
    return out


def _interface(name: str) -> dict[str, Any]:
    root = Path("/sys/class/net") / name
    if not root.is_dir():
        have = ", ".join(sorted(p.name for p in Path("/sys/class/net").iterdir()))
        raise ConfigError(
            f'there is no network interface "{name}" (the interfaces here are: {have})'
        )

    def read(file: str) -> str | None:
        try:
            return (root / file).read_text().strip()
        except OSError:
            return None

    driver = root / "device" / "driver"
    return {
        "name": name,
        "driver": driver.resolve().name if driver.exists() else None,
        "address": read("address"),
        "mtu": int(read("mtu") or 0),
        "state": read("operstate"),
        "speed_mbit": read("speed"),
        "rx_queues": len(list(root.glob("queues/rx-*"))),
        "tx_queues": len(list(root.glob("queues/tx-*"))),
        "numa_node": numa.node_of_interface(name),
    }
