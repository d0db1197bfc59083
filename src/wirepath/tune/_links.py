# SPDX-License-Identifier: Apache-2.0
"""Interfaces through netlink and ethtool, in the calling thread's network namespace."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Protocol

from .. import machine
from ._knobs import Gone, Knob, Refused, Unreadable

# ethtool -C's words, and the fields of struct ethtool_coalesce (linux/ethtool.h) behind them.
COALESCING: Final = {
    "adaptive-rx": "use_adaptive_rx_coalesce",
    "adaptive-tx": "use_adaptive_tx_coalesce",
    "rx-usecs": "rx_coalesce_usecs",
    "rx-frames": "rx_max_coalesced_frames",
    "rx-usecs-irq": "rx_coalesce_usecs_irq",
    "rx-frames-irq": "rx_max_coalesced_frames_irq",
    "tx-usecs": "tx_coalesce_usecs",
    "tx-frames": "tx_max_coalesced_frames",
    "tx-usecs-irq": "tx_coalesce_usecs_irq",
    "tx-frames-irq": "tx_max_coalesced_frames_irq",
}
_SWITCHES: Final = ("adaptive-rx", "adaptive-tx")


@dataclass(frozen=True, slots=True)
class Identity:
    """Which interface this is: a name alone may be another one's tomorrow."""

    name: str
    mac: str
    ifindex: int

    def __str__(self) -> str:
        return f"{self.name} (index {self.ifindex}, {self.mac or 'no MAC address'})"


class Links(Protocol):
    """What tuning needs of interfaces."""

    def interfaces(self) -> list[Identity]:
        """All of this network namespace."""

    def default_routes(self) -> set[str]:
        """Names of the interfaces that default routes leave by, whatever the routing table."""

    def read(self, knob: Knob) -> str:
        """A feature, ring, channel or coalescing value. Raises Unreadable."""

    def limit(self, knob: Knob) -> int | None:
        """The largest value of a ring or channel count; None where the driver has no such knob."""

    def fixed(self, knob: Knob) -> bool:
        """A feature that the driver cannot switch."""

    def write(self, knob: Knob, value: str) -> None:
        """Sets it. Raises Refused."""


class KernelLinks:
    """The kernel's."""

    def __init__(self) -> None:
        self._links = machine.KernelLinks()

    def interfaces(self) -> list[Identity]:
        return [Identity(link.name, link.mac, link.index) for link in self._links.links()]

    def default_routes(self) -> set[str]:
        return self._links.default_routes()

    def read(self, knob: Knob) -> str:
        if knob.kind == "coalesce" and (told := self._coalescing(knob)) is not None:
            return told
        with _tool(knob) as tool:
            match knob.kind:
                case "feature":
                    features = tool.get_features()
                    if knob.name not in features:
                        raise Gone(f"this kernel knows no feature {knob.name} (ethtool -k)")
                    return "on" if features.is_active(knob.name) else "off"
                case "ring":
                    return str(tool.get_rings()[knob.name])
                case "channels":
                    return str(tool.get_channels()[f"{knob.name}_count"])
                case _:
                    value = int(tool.get_coalesce()[COALESCING[knob.name]])
                    return _switch(value) if knob.name in _SWITCHES else str(value)

    def _coalescing(self, knob: Knob) -> str | None:
        """By netlink, which tells 0 from "no such option"; None where the kernel is too old."""
        link = next((each for each in self._links.links() if each.name == knob.interface), None)
        if link is None:
            raise Gone(f"there is no interface {knob.interface}")
        have = self._links.nic(link).coalesce
        if have is None:
            return None
        if knob.name not in have:
            raise Gone(f"the driver of {knob.interface} has no {knob.name} (ethtool -c)")
        value = have[knob.name]
        return _switch(value) if knob.name in _SWITCHES else str(value)

    def limit(self, knob: Knob) -> int | None:
        with _tool(knob) as tool:
            if knob.kind == "ring":
                value = int(tool.get_rings()[f"{knob.name}_max"])
            else:
                value = int(tool.get_channels()[f"max_{knob.name}"])
            return value or None

    def fixed(self, knob: Knob) -> bool:
        with _tool(knob) as tool:
            features = tool.get_features()
            if features.is_never_changed(knob.name):
                return True
            return not features.is_available(knob.name)

    def write(self, knob: Knob, value: str) -> None:
        try:
            with _tool(knob) as tool:
                _write(tool, knob, value)
        except Unreadable as error:
            raise Refused(str(error)) from None
        except OSError as error:
            reason = error.strerror or str(error)
            raise Refused(f"{knob} = {value}: the driver refused ({reason})") from None


def _write(tool: Any, knob: Knob, value: str) -> None:  # noqa: ANN401  # pyroute2 is not typed
    from pyroute2.ethtool.ioctl import NotSupportedError  # noqa: PLC0415 -- slow to import

    match knob.kind:
        case "feature":
            features = tool.get_features()
            features[knob.name] = value == "on"
            # "Not supported" is also what this call says when others changed along or the driver
            # did not follow (ETHTOOL_F_WISH): reading back tells.
            with contextlib.suppress(NotSupportedError):
                tool.set_features(features)
        case "ring":
            rings = tool.get_rings()
            rings[knob.name] = int(value)
            tool.set_rings(rings)
        case "channels":
            channels = tool.get_channels()
            channels[f"{knob.name}_count"] = int(value)
            tool.set_channels(channels)
        case _:
            coalesce = tool.get_coalesce()
            number = int(value == "on") if knob.name in _SWITCHES else int(value)
            coalesce[COALESCING[knob.name]] = number
            tool.set_coalesce(coalesce)


def _switch(value: int) -> str:
    return "on" if value else "off"


@contextmanager
def _tool(knob: Knob) -> Iterator[Any]:
    from pyroute2.ethtool.ioctl import (  # noqa: PLC0415 -- slow to import
        IoctlEthtool,
        NoSuchDevice,
        NotSupportedError,
    )

    tool = None
    try:
        tool = IoctlEthtool(knob.interface)
        yield tool
    except NotSupportedError:
        raise Gone(f"the driver of {knob.interface} has no {_WHAT[knob.kind]}") from None
    except NoSuchDevice:
        raise Gone(f"there is no interface {knob.interface}") from None
    except OSError as error:
        if error.errno == errno.EOPNOTSUPP:
            raise Gone(f"the driver of {knob.interface} has no {_WHAT[knob.kind]}") from None
        if error.errno == errno.ENODEV:
            raise Gone(f"there is no interface {knob.interface}") from None
        raise
    finally:
        if tool is not None:
            tool.close()


_WHAT: Final = {
    "feature": "features",
    "ring": "ring sizes to set",
    "channels": "channels to set",
    "coalesce": "interrupt coalescing",
}


def namespace_name() -> str:
    """An identity of the calling thread's network namespace: its cookie, never used twice between
    two boots (SO_NETNS_COOKIE, Linux 5.14), else device and inode."""
    so_netns_cookie = 71  # asm-generic/socket.h
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            raw = probe.getsockopt(socket.SOL_SOCKET, so_netns_cookie, 8)
            return f"netns-{int.from_bytes(raw, sys.byteorder)}"
        except OSError:
            found = os.stat("/proc/thread-self/ns/net")  # noqa: PTH116  # of this thread
            return f"netns-{found.st_dev}-{found.st_ino}"
