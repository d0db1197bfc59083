"""What a router is told; a table ``[router]`` of a TOML file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field

from ..settings import Must, Settings, problem
from .fpm import FPM_PORT
from .interfaces import Rpf

__all__ = ["RouterConfig"]


def _names(value: object) -> object:
    return tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else value


def _names_of_each(value: object) -> object:
    return {k: _names(v) for k, v in value.items()} if isinstance(value, Mapping) else value


class RouterConfig(Settings):
    """Interfaces, data plane, and where routes come from."""

    table: ClassVar[str] = "router"

    interfaces: Annotated[
        tuple[str, ...],
        BeforeValidator(_names),
        Field(min_length=1, max_length=255, description="interfaces to forward between"),
        Must("a list of 1 to 255 names of interfaces"),
    ]
    plane: Annotated[
        Literal["xdp", "xdp-kernel-fib", "user"],
        Field(
            description="xdp: tables of wirepath's; xdp-kernel-fib: the kernel's own; user: in a "
            "process, over ports of any backend"
        ),
        Must('"xdp", "xdp-kernel-fib" or "user"'),
    ] = "xdp"
    ports: Annotated[
        Mapping[str, str] | None,
        Field(description="user: of each interface's name the port behind it"),
        Must('a table of port specs, such as {wan = "af_xdp:eth1"}'),
    ] = None
    addresses: Annotated[
        Mapping[str, tuple[str, ...]] | None,
        BeforeValidator(_names_of_each),
        Field(description="user: addresses of interfaces, such as 192.0.2.1/24"),
        Must('a table of lists, such as {wan = ["192.0.2.1/24"]}'),
    ] = None
    workers: Annotated[
        int, Field(ge=1, le=64, description="user: threads, each with queues of every port")
    ] = 1
    idle: Annotated[
        Literal["sleep", "spin"],
        Field(description="user: what a worker without packets does"),
        Must('"sleep" or "spin"'),
    ] = "sleep"
    source: Annotated[
        Literal["kernel", "fpm"],
        Field(description="kernel: its tables by netlink; fpm: FRR tells them as well"),
        Must('"kernel" or "fpm"'),
    ] = "kernel"
    fpm_host: Annotated[
        str, Field(min_length=1, description="where zebra connects to"), Must("an address")
    ] = "127.0.0.1"
    fpm_port: Annotated[
        int, Field(ge=1, le=65535, description="the port that zebra connects to")
    ] = FPM_PORT
    fpm_quiet: Annotated[
        float,
        Field(gt=0, le=3600, description="seconds of silence that end what zebra tells anew"),
        Must("a number of seconds above 0, at most 3600"),
    ] = 5.0
    vrf: Annotated[
        str | None, Field(description="the tables of this VRF"), Must("the name of a VRF")
    ] = None
    rpf: Annotated[
        Rpf,
        Field(description="reverse-path filter of sources: off, strict or loose"),
        Must('"off", "strict" or "loose"'),
    ] = "off"
    attach: Annotated[
        Literal["auto", "native", "generic"],
        Field(description="where the program runs"),
        Must('"auto", "native" or "generic"'),
    ] = "auto"
    pin: Annotated[
        bool,
        Field(description="go on forwarding when this process ends, by the tables as they are"),
        Must("true or false"),
    ] = False
    groups4: Annotated[
        int,
        Field(ge=1, le=1 << 24, description="groups of 256 IPv4 addresses with longer prefixes"),
    ] = 32768
    groups6: Annotated[
        int, Field(ge=1, le=1 << 24, description="groups of the IPv6 table, of 1 KiB each")
    ] = 131072
    next_hops: Annotated[
        int, Field(ge=16, le=65535, description="next hops, and groups of them")
    ] = 16383

    @classmethod
    def conflicts(cls, values: Mapping[str, Any]) -> list[str]:
        out = []
        kernel_fib = values.get("plane") == "xdp-kernel-fib"
        if kernel_fib and values.get("source") == "fpm":
            out.append(problem("source", "fpm", '"kernel" with plane = "xdp-kernel-fib"'))
        if kernel_fib and values.get("vrf"):
            must = 'left out with plane = "xdp-kernel-fib": the kernel knows whose interfaces are'
            out.append(problem("vrf", values["vrf"], must))
        ports = values.get("ports") or {}
        user = values.get("plane") == "user"
        if user and set(ports) != set(values.get("interfaces") or ()):
            must = 'a port for each of interfaces, and no other, with plane = "user"'
            out.append(problem("ports", dict(ports), must))
        # What is said of another plane would go unheeded.
        for name in ("ports", "addresses"):
            if values.get(name) and not user:
                out.append(problem(name, dict(values[name]), 'left out but with plane = "user"'))
        needless = ("pin", "attach") if user else ("workers", "idle")
        for name in needless:
            value = values.get(name)
            if value is not None and value != cls.model_fields[name].default:
                must = (
                    'left out with plane = "user"' if user else 'left out but with plane = "user"'
                )
                out.append(problem(name, value, must))
        return out
