"""The tables of a running `wirepath route run`, read where its program reads them in the driver,
against the kernel's. Answers questions; each is a line of JSON, and so is its answer.

    python route_driver.py INTERFACE
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Any

import numpy as np
from numpy.typing import NDArray
from route_answers import Kernel, judge_refusal, probes

from wirepath.route import Forwarding, HopKind, KernelSource, RouteTable, RouteType
from wirepath.route.driver import running
from wirepath.route.model import address_text
from wirepath.route.program import _bytes_of, counters_of

_GROUP_FLAG = 1 << 31  # WP_FIB_GROUP_FLAG32 of route_fib.h

Way = tuple[str, int, str]  # kind, interface, destination MAC


class Driver:
    """Maps of the router that has its program on an interface."""

    def __init__(self, interface: str) -> None:
        self.program = running(interface)
        self._entries = {
            name: np.frombuffer(_bytes_of(self.program, name), np.uint32)  # type: ignore[call-overload]
            for name in ("root4", "groups4", "state4", "root6", "groups6", "state6")
        }
        self._kernel = Kernel()

    # --- what the program reads -------------------------------------------------------------------
    def groups(self, addresses: NDArray[np.uint8]) -> list[int]:
        """Number of the group of next hops of each address; 0 = none."""
        family = 4 if addresses.shape[1] == 4 else 6
        root, below, state = (self._entries[f"{n}{family}"] for n in ("root", "groups", "state"))
        out = []
        for a in addresses.tolist():
            entry = int(root[a[0] << 16 | a[1] << 8 | a[2]])
            at = 3
            while entry & _GROUP_FLAG:
                entry = int(below[(entry & ~_GROUP_FLAG) << 8 | a[at]])
                at += 1
            out.append(entry or int(state[2]))  # default_next_hop of struct wp_fib_state
        return out

    def members(self, group: int) -> set[Way]:
        """What becomes of packets that fall to a group."""
        numbers = set(self.program.maps["buckets"][group]["next_hop"].tolist()) - {0}
        hops = (self.program.maps["hops"][n] for n in numbers)
        return {
            _way(int(h["kind"]), int(h["interface_index"]), bytes(h["destination"])) for h in hops
        }

    # --- questions --------------------------------------------------------------------------------
    def macs(self, addresses: list[str]) -> dict[str, Any]:
        """Every destination MAC that packets to these addresses are given."""
        groups = {g for _, packed in _families(addresses) for g in self.groups(packed)}
        return {"macs": sorted({mac for g in groups for _, _, mac in self.members(g)})}

    def ways(self, addresses: list[str]) -> dict[str, Any]:
        """Of each address what the driver does, and what tables do that are made from the kernel's
        anew; the moment when both had been read."""
        _, forwarding = _anew()
        found: list[set[Way]] = [set()] * len(addresses)
        differ = 0
        for at, packed in _families(addresses):
            wanted = forwarding.fibs[packed.shape[1]].lookup(packed).tolist()
            for i, group, anew in zip(at, self.groups(packed), wanted, strict=True):
                found[i] = self.members(group) if group else set()
                differ += found[i] != {
                    _way(int(r.kind), r.interface, r.destination)
                    for r in _rewrites(forwarding, anew)
                }
        return {
            "driver": [sorted(ways) for ways in found],
            "differ": differ,
            "now": time.monotonic_ns(),
        }

    def lookups(self, n: int, seed: int) -> dict[str, Any]:
        """Look-ups in the driver's tables against the kernel's own, half of them of each family."""
        table, _ = _anew()
        sorts: Counter[str] = Counter()
        wrong: list[str] = []
        for size in (4, 16):
            addresses = probes(table, n // 2, size, seed)
            known: dict[int, set[Way]] = {0: set()}
            groups = self.groups(addresses)
            for a, group, said in zip(addresses, groups, self._kernel.get(addresses), strict=True):
                if group not in known:
                    known[group] = self.members(group)
                good, sort = _judge(table, a.tobytes(), known[group], said)
                sorts[sort] += 1
                if not good:
                    wrong.append(f"{address_text(a.tobytes())}: kernel {said}, {known[group]}")
        return {"wrong": wrong[:10], "n_wrong": len(wrong), "sorts": dict(sorts)}

    def counters(self) -> dict[str, Any]:
        """Outcomes of packets by name, until now."""
        return counters_of(self.program)


def _way(kind: int, interface: int, mac: bytes) -> Way:
    forward = kind == HopKind.FORWARD
    return HopKind(kind).name, interface if forward else 0, mac.hex(":") if forward else ""


def _families(addresses: list[str]) -> Iterator[tuple[list[int], NDArray[np.uint8]]]:
    """The addresses of each family that there is, packed, and where they stand."""
    packed = [ip_address(a).packed for a in addresses]
    for size in (4, 16):
        at = [i for i, each in enumerate(packed) if len(each) == size]
        if at:
            rows = np.frombuffer(b"".join(packed[i] for i in at), np.uint8)
            yield at, rows.reshape(-1, size)


def _anew() -> tuple[RouteTable, Forwarding]:
    """What the kernel has now, in tables of our own."""
    table = RouteTable()
    with KernelSource(table) as kernel:
        kernel.sync()
    forwarding = Forwarding(table)
    forwarding.refresh()
    return table, forwarding


def _rewrites(forwarding: Forwarding, group: int) -> list[Any]:
    members = forwarding.groups.group_members(group) if group else {}
    return [forwarding.groups.rewrite(key) for key in members]


def _judge(
    table: RouteTable, packed: bytes, ways: set[Way], said: tuple[Any, ...]
) -> tuple[bool, str]:
    """Whether a path of the driver's is the kernel's, and which sort of address it is."""
    kinds = {kind for kind, _, _ in ways}
    if len(said) == 1:
        return judge_refusal(-said[0], [HopKind[kind] for kind in kinds])
    kind, interface, gateway = said
    if kind != RouteType.UNICAST:
        return kinds == {"HOST"}, "host"
    neighbour = table.neighbours.get((interface, gateway or packed))
    if neighbour is None or not neighbour.usable:
        return "HOST" in kinds, "unresolved"
    way = ("FORWARD", interface, neighbour.mac.hex(":"))
    return way in ways, "via" if gateway else "on link"


def main(interface: str) -> None:
    driver = Driver(interface)
    for line in sys.stdin:
        words = json.loads(line)
        print(json.dumps(getattr(driver, words.pop("what"))(**words)), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
