"""What ``PORT|IFACE|PID[:port]`` means here and now."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from typing import Literal

from .. import _core
from ..config import known_backends
from ..errors import ConfigError, PortError
from ..series import processes
from ..settings import nearest, problem

# Ports of the same spec in two processes have nothing in common.
_NO_DEVICE = ("null:", "pcap:")


@dataclass(frozen=True)
class Target:
    """``process``: ports of a running one, tapped there. ``port``: opened for the capture, by its
    spec. ``interface``: frames as the driver hands them over, by an XDP tap."""

    kind: Literal["process", "port", "interface"]
    name: str
    pid: int = 0
    ports: tuple[str, ...] = ()


def ports_of(pid: int) -> list[str]:
    """Specs of the ports that a process has open; none where that cannot be read."""
    try:
        return _core.tap_ports(str(pid))
    except PortError:
        return []


def resolve(text: str) -> Target:
    """``4711``: every port of process 4711; ``4711:af_xdp:eth0``: one of them. A port spec: where
    a process of this user has it open, that one; else it is opened here. A name of an interface:
    that interface.

    Raises :class:`~wirepath.errors.ConfigError` for what is none of these, or several.
    """
    head, colon, rest = text.partition(":")
    if head.isdecimal():
        return _of_process(int(head), rest if colon else None)
    if not colon and text in (name for _, name in socket.if_nameindex()):
        return Target("interface", text)
    if head in known_backends() and colon:
        return _of_port(text)
    interfaces = [name for _, name in socket.if_nameindex()]
    raise ConfigError(
        problem(
            "target",
            text,
            "a port spec (af_xdp:eth0), an interface, or PID[:port] of a running process",
        )
        + (nearest(text, interfaces) or f" (interfaces here: {', '.join(interfaces)})")
    )


def _of_process(pid: int, port: str | None) -> Target:
    if pid not in processes():
        others = [other for other in processes() if other != os.getpid()]
        known = ", ".join(map(str, others)) or "none"
        raise ConfigError(
            f"process {pid} is no wirepath process whose ports this user may tap "
            f"(those that are: {known})"
        )
    have = ports_of(pid)
    if port is None:
        if not have:
            raise ConfigError(f"process {pid} has no port open")
        return Target("process", str(pid), pid, tuple(have))
    # The whole spec, or what of it tells the ports apart.
    whole = _without_options(port)
    found = [spec for spec in have if spec == whole] or [spec for spec in have if port in spec]
    if len(found) != 1:
        what = "has no port like that" if not found else "has several ports like that"
        raise ConfigError(
            problem("port", port, f"a port of process {pid}, which {what}")
            + f" (its ports: {', '.join(have) or 'none'})"
        )
    return Target("process", str(pid), pid, tuple(found))


def _without_options(spec: str) -> str:
    """As a port that is open calls itself."""
    if ":" not in spec:
        return spec
    backend, device, _ = _core.parse_port_spec(spec)
    return f"{backend}:{device}"


def _of_port(spec: str) -> Target:
    mine, whole = os.getpid(), _without_options(spec)
    if whole.startswith(_NO_DEVICE):
        return Target("port", spec)
    having = [pid for pid in processes() if pid != mine and whole in ports_of(pid)]
    if len(having) > 1:
        raise ConfigError(
            f"{whole} is open in several processes: say which, such as {having[0]}:{whole} "
            f"(all: {', '.join(map(str, having))})"
        )
    if having:
        return Target("process", str(having[0]), having[0], (whole,))
    return Target("port", spec)
