# SPDX-License-Identifier: Apache-2.0
"""The wire's side of an interface: speed, duplex, pause frames and firmware, as ethtool(8) shows
them. What a driver does not tell is None."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from ._links import driver_of
from ._nic import Link
from ._wire import KernelWire, Wire

_UNKNOWN_SPEED, _DUPLEX = 0xFFFFFFFF, {0: "half", 1: "full"}  # linux/ethtool.h


@dataclass(frozen=True, slots=True)
class Pause:
    """IEEE 802.3 flow control: whether it is negotiated, honoured and sent."""

    negotiated: bool
    rx: bool
    tx: bool


@dataclass(frozen=True, slots=True)
class Wired:
    """speed: Mbit/s. firmware: of the device."""

    speed: int | None = None
    duplex: str | None = None
    negotiated: bool | None = None
    pause: Pause | None = None
    firmware: str | None = None


def wired(link: Link, wire: Callable[[], AbstractContextManager[Wire]] = KernelWire) -> Wired:
    """Of an interface in the calling thread's network namespace."""
    with wire() as answers:
        return wired_of(answers, link, driver_of(link.name)[2])


def wired_of(wire: Wire, link: Link, firmware: str = "") -> Wired:
    """What generic netlink says of one interface."""
    modes, pause = _ask(wire, "linkmodes", link), _ask(wire, "pause", link)
    speed = modes.get_attr("SPEED") if modes is not None else None
    return Wired(
        None if speed in (None, 0, _UNKNOWN_SPEED) else int(speed),
        _DUPLEX.get(modes.get_attr("DUPLEX")) if modes is not None else None,
        _switch(modes, "AUTONEG"),
        Pause(*(bool(pause.get_attr(name)) for name in ("AUTONEG", "RX", "TX"))) if pause else None,
        firmware or None,
    )


def _switch(message: Any, name: str) -> bool | None:  # noqa: ANN401
    value = message.get_attr(name) if message is not None else None
    return None if value is None else bool(value)


def _ask(wire: Wire, what: str, link: Link) -> Any:  # noqa: ANN401
    from . import _messages as m  # noqa: PLC0415 -- imports pyroute2

    try:
        answers = wire.ask("ethtool", m.ethtool_query(what, link.index))
    except OSError:  # the driver has no such thing
        return None
    return m.decoded(m.ETHTOOL[what][1], answers[0]) if answers else None
