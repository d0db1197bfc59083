"""Where datagrams go, as text: ``GROUP:PORT``."""

from __future__ import annotations

import ipaddress

from .errors import ConfigError
from .settings import problem


def flow_of(text: str, field: str = "flow") -> tuple[str, int]:
    """``239.1.1.1:9001`` or ``[ff15::1]:9001`` as (address, port)."""
    address, _, port = text.rpartition(":")
    address = address.removeprefix("[").removesuffix("]")
    try:
        if address != "*":
            ipaddress.ip_address(address)
        number = int(port)
    except ValueError:
        number = 0
    if not 1 <= number <= 65535:
        must = "GROUP:PORT, such as 239.1.1.1:9001 or [ff15::1]:9001"
        raise ConfigError(problem(field, text, must))
    return address, number


def flow_text(host: str, port: int) -> str:
    """The inverse of :func:`flow_of`."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
