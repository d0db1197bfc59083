"""Counters of a router in user space in its process's segment, and from there back again.

Of one in the driver everybody reads the program's own maps; one in user space has none that
others see.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from .. import telemetry
from ..cells import CellGroups
from ..errors import ConfigError
from . import claims, driver
from .program import AnyRouteProgram
from .report import RouterCollector, report

__all__ = ["Published", "collector", "reader"]

_KINDS = ("route", "route_interface", "route_next_hop")
_MOST = 1024  # next hops by themselves; a segment has room for 16,384 counters
_OTHERS = "others"
_OF_A_HOP = ("packets", "bytes")
#: As struct route_interface_counters has them.
_OF_AN_INTERFACE = frozenset(
    ("packets", "bytes", "forwarded", "to_host", "dropped", "sent_packets", "sent_bytes")
)


class Published:
    """Cells named ``route/<label>/…``, ``route_interface/<label>/<interface>/…`` and
    ``route_next_hop/<label>/<number>/<kind>/<interface>/<vlan>/<mac>/…``.

    Args:
        label: of this router among this process's.
    """

    def __init__(self, label: str) -> None:
        self._label = label
        self._cells = CellGroups()

    def write(self, program: AnyRouteProgram) -> None:
        """The program's counters as they are now.

        Raises:
            PortError: the segment is full.
        """
        self._cells.write(groups_of(self._label, report(program)))

    def close(self) -> None:
        """Take the cells out of the segment."""
        self._cells.close()


def groups_of(label: str, found: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    """A report as groups of cells. Next hops beyond the first 1,024 are added up."""
    # As ports name theirs: a series of drops by cause.
    named = {n.replace("drop_", "drop.", 1): count for n, count in found["counters"].items()}
    out = {f"route/{label}": named}
    for name, row in found["interfaces"].items():
        out[f"route_interface/{label}/{name}"] = dict(row)
    rest = dict.fromkeys(_OF_A_HOP, 0)
    for number, hop in enumerate(found["next_hops"]):
        counts = {name: int(hop[name]) for name in rest}
        if number < _MOST:
            words = (hop["number"], hop["kind"], hop["interface"], hop["vlan"])
            place = "/".join(map(str, (*words, hop["destination_mac"])))
            out[f"route_next_hop/{label}/{place}"] = counts
        else:
            rest = {name: rest[name] + count for name, count in counts.items()}
    if len(found["next_hops"]) > _MOST:
        out[f"route_next_hop/{label}/{_OTHERS}"] = rest
    return out


def report_of(label: str, cells: Mapping[str, int]) -> dict[str, Any]:
    """The report that :func:`groups_of` made cells of. A row that has not all of its cells yet, or
    any more, is left out.

    Raises:
        ConfigError: there are none.
    """
    counters: dict[str, int] = {}
    interfaces: dict[str, dict[str, int]] = {}
    hops: dict[str, dict[str, Any]] = {}
    for cell, value in cells.items():
        kind, *words, name = cell.split("/")
        if kind not in _KINDS or words[0] != label:
            continue
        if kind == "route":
            counters[name.replace("drop.", "drop_", 1)] = value
        elif kind == "route_interface":
            interfaces.setdefault(words[1], {})[name] = value
        else:
            hops.setdefault("/".join(words[1:]), _described(words[1:]))[name] = value
    if not counters:
        raise ConfigError(f"the router {label} has not begun to count yet (ask again)")
    return {
        "counters": counters,
        "interfaces": {n: r for n, r in interfaces.items() if r.keys() >= _OF_AN_INTERFACE},
        "next_hops": [r for r in hops.values() if r.keys() >= set(_OF_A_HOP)],
    }


def _described(words: list[str]) -> dict[str, Any]:
    if words == [_OTHERS]:
        return {
            "number": 0,
            "kind": _OTHERS,
            "interface": "",
            "vlan": 0,
            "destination_mac": "",
        }
    number, kind, interface, vlan, mac = words
    return {
        "number": int(number),
        "kind": kind,
        "interface": interface,
        "vlan": int(vlan),
        "destination_mac": mac,
    }


def reader(interface: str) -> Callable[[], dict[str, Any]]:
    """What gives the counters of the router that has an interface now, whichever process it is and
    whether in the driver or in user space; as :func:`wirepath.route.report.report`.

    Raises:
        ConfigError: there is none. PermissionDenied: it is another user's.
    """
    who = claims.holder(interface)
    if who is not None and who.plane == "user":
        return partial(_read, who)
    return partial(report, driver.running(interface))


def _read(who: claims.Holder) -> dict[str, Any]:
    return report_of(who.label, telemetry.attach(who.pid).counters)


def collector(interfaces: Iterable[str]) -> RouterCollector:
    """Series of the routers that have these interfaces: at each collection of the one that has it
    then, as routers end and others begin.

    Raises:
        ConfigError: one has no router now. PermissionDenied: it is another user's.
    """
    names = list(dict.fromkeys(interfaces))
    for name in names:
        reader(name)
    return RouterCollector({name: partial(_read_now, name) for name in names})


def _read_now(interface: str) -> dict[str, Any]:
    return reader(interface)()
