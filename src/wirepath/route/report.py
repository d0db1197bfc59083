"""What a router's program did, with names in place of numbers; for Prometheus too."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from ..errors import WirepathError
from .groups import HopKind
from .program import AnyRouteProgram, counters_of, hop_counters, interface_counters

__all__ = ["RouterCollector", "name_of", "report"]


def report(program: AnyRouteProgram) -> dict[str, Any]:
    """``counters`` by reason, ``interfaces`` by name, ``next_hops`` as rows.

    Works on the program of any running router, also of another process.
    """
    return {
        "counters": counters_of(program),
        "interfaces": {
            name_of(_index_of(program, number)) or str(number): row
            for number, row in interface_counters(program).items()
        },
        "next_hops": [
            {"number": number, **_hop(program, number), **row}
            for number, row in hop_counters(program).items()
        ],
    }


def _index_of(program: AnyRouteProgram, number: int) -> int:
    return int(program.maps["interfaces"][number]["index"])


def name_of(index: int) -> str:
    """Of an interface of this network namespace; its number where it is gone, "" for 0."""
    try:
        return socket.if_indextoname(index)
    except OSError:
        return str(index) if index else ""


def _hop(program: AnyRouteProgram, number: int) -> dict[str, Any]:
    hop = program.maps["hops"][number]
    return {
        "kind": HopKind(int(hop["kind"])).name.lower(),
        "interface": name_of(int(hop["interface_index"])),
        "vlan": int(hop["vlan"]),
        "destination_mac": bytes(hop["destination"]).hex(":"),
    }


class RouterCollector(Collector):
    """A collector for any prometheus_client registry.

    Args:
        reports: what gives the :func:`report` of a router that runs now, by the name that its
            series carry; they have none where it raises an error of wirepath's.
    """

    def __init__(self, reports: Mapping[str, Callable[[], Mapping[str, Any]]]) -> None:
        self._reports = dict(reports)

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterator[Metric]:
        outcomes = CounterMetricFamily(
            "wirepath_router_outcome", "what became of packets", labels=("router", "outcome")
        )
        by_interface: dict[str, CounterMetricFamily] = {}
        by_hop = {
            field: CounterMetricFamily(
                f"wirepath_router_next_hop_{field}",
                f"{field} sent to a next hop",
                labels=("router", "number", "interface", "mac", "vlan"),
            )
            for field in ("packets", "bytes")
        }
        for name, read in self._reports.items():
            try:
                found = read()
            except WirepathError:  # it has just ended, or has not begun to count
                continue
            for outcome, value in found["counters"].items():
                outcomes.add_metric((name, outcome), value)
            for interface, row in found["interfaces"].items():
                for field, value in row.items():
                    family = by_interface.setdefault(
                        field,
                        CounterMetricFamily(
                            f"wirepath_router_interface_{field}",
                            f"{field} of an interface",
                            labels=("router", "interface"),
                        ),
                    )
                    family.add_metric((name, interface), value)
            for row in found["next_hops"]:
                # Routes of several MTUs have next hops of their own by one neighbour.
                labels = (
                    name,
                    str(row["number"]),
                    row["interface"],
                    row["destination_mac"],
                    str(row["vlan"]),
                )
                for field, metric in by_hop.items():
                    metric.add_metric(labels, row[field])
        yield from (outcomes, *by_interface.values(), *by_hop.values())
