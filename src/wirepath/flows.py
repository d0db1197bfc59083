"""Where datagrams go, as text: ``GROUP:PORT``."""

from __future__ import annotations

import ipaddress

from .errors import ConfigError
from .settings import problem


def flow_of(text: str, field: str = "flow", must: str = "GROUP:PORT") -> tuple[str, int]:
    """``239.1.1.1:9001`` or ``[ff15::1]:9001`` as (address, port). must: what it is called."""
    address, _, port = text.rpartition(":")
    address = address.removeprefix("[").removesuffix("]")
    try:
        if address != "*":
            ipaddress.ip_address(address)
        number = int(port)
    except ValueError:
        number = 0
    if not 1 <= number <= 65535:
        such = "127.0.0.1:9464" if must == "HOST:PORT" else "239.1.1.1:9001 or [ff15::1]:9001"
        raise ConfigError(problem(field, text, f"{must}, such as {such}, with a port up to 65535"))
    return address, number


def flow_text(host: str, port: int) -> str:
    """The inverse of :func:`flow_of`."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
