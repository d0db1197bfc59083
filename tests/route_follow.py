"""wirepath's tables in one network namespace: follows the kernel or FRR, and answers questions.

    python route_follow.py kernel|fpm [PLANE]

With a data plane it is the router, as `wirepath route run` makes it, on all links of the lab. A
question is a line of JSON, {"what": "state" | "tables" | "lookups", …}; so is its answer.
"""

from __future__ import annotations

import csv
import gzip
import json
import os
import select
import subprocess
import sys
import time
from collections import Counter
from contextlib import ExitStack
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from route_answers import MAIN, Kernel, judge_refusal, probes

from wirepath.errors import StateError
from wirepath.route import (
    Forwarding,
    FpmServer,
    HopKind,
    KernelSource,
    RouteTable,
    RouteType,
    read_prefixes,
)
from wirepath.route.config import RouterConfig
from wirepath.route.model import address_text, prefix_text
from wirepath.route.router import Router

_TRIES = 50
_PAUSE = 0.1


class Watched(Router):
    """The router, with notes of when its tables changed."""

    def __init__(self, config: RouterConfig, notes: Notes) -> None:
        super().__init__(config)
        self.notes = notes
        self.fpm: FpmServer | None = None

    def _run(self, kernel: KernelSource, fpm: FpmServer | None, prober: Any) -> None:
        self.kernel, self.fpm = kernel, fpm
        super()._run(kernel, fpm, prober)

    def check(self) -> None:
        """Raises what has ended it."""
        if self.wait(0):
            raise self._error or StateError("the router has ended, or was asked to")

    def _follow(self) -> None:
        super()._follow()
        assert self.forwarding is not None
        self.notes.look(self.table, self.forwarding, self.fpm)


class Notes:
    """When things were in force, by the clock that all processes have in common."""

    def __init__(self) -> None:
        self.changed = self.decided = self.told = time.monotonic()
        self.least = 0
        self._heard = self._events = 0

    def look(self, table: RouteTable, forwarding: Forwarding, fpm: FpmServer | None) -> None:
        """Something was followed."""
        self.changed = time.monotonic()
        self.least = min(self.least, len(forwarding.fibs[4]))
        # Of routes; neighbours change all the time.
        heard = table.counters["added"] + table.counters["removed"]
        if heard != self._heard:
            self._heard, self.decided = heard, self.changed
        if fpm is not None and fpm.session.counters["events"] != self._events:
            self._events, self.told = fpm.session.counters["events"], self.changed


class Follower:
    """The sources, the tables, and the answers."""

    def __init__(self, source: str, plane: str, stack: ExitStack) -> None:
        self.notes = Notes()
        self.fpm: FpmServer | None = None
        self.router: Watched | None = None
        if plane:
            config: dict[str, Any] = {"interfaces": ["wp0", "wp1", "wp2"], "attach": "generic"}
            config |= {"plane": plane, "source": source, "fpm_quiet": 2.0}
            self.router = stack.enter_context(Watched(RouterConfig(**config), self.notes))
            self.table = self.router.table
            assert self.router.forwarding is not None
            self.forwarding = self.router.forwarding
            while not hasattr(self.router, "kernel"):
                time.sleep(0.01)
            self.kernel, self.fpm = self.router.kernel, self.router.fpm
        else:
            self.table = RouteTable()
            self.kernel = stack.enter_context(KernelSource(self.table))
            if source == "fpm":
                self.fpm = stack.enter_context(FpmServer(self.table, quiet=2.0))
            self.kernel.sync()
            self.forwarding = Forwarding(self.table)
            self.forwarding.refresh()
        self._get = Kernel()
        self.watch()

    def follow(self) -> bool:
        """Takes in what was told; whether there was anything. Raises what has ended a router."""
        if self.router is not None:  # has a thread for it
            self.router.check()
            return False
        changed = self.kernel.poll(0.0)
        if self.fpm is not None:
            changed |= self.fpm.poll(0.0)
        if changed:
            self.forwarding.refresh()
            self.notes.look(self.table, self.forwarding, self.fpm)
        return changed

    def answer(self, what: str, **words: Any) -> dict[str, Any]:
        """To a question. The router's thread may change what is just walked through."""
        for left in reversed(range(_TRIES)):
            try:
                said: dict[str, Any] = getattr(self, what)(**words)
                break
            except RuntimeError as error:
                if self.router is None or not left or "during iteration" not in str(error):
                    raise
                self.router.check()
                time.sleep(_PAUSE)
        return said

    def watch(self) -> dict[str, Any]:
        """From now on the least number of IPv4 prefixes in force is noted (see `state`)."""
        self.notes.least = len(self.forwarding.fibs[4])
        return {"now": self.notes.least}

    def ways(self, address: str) -> dict[str, Any]:
        """What becomes of packets to an address: (kind, interface, destination MAC) a member."""
        group = int(self.forwarding.fibs[4].lookup([address])[0])
        rewrites = [self.forwarding.groups.rewrite(h) for h in self._members(group)]
        links = self.table.links
        return {
            "ways": sorted(
                (
                    r.kind.name,
                    links[r.interface].name if r.interface in links else "",
                    r.destination.hex(":"),
                )
                for r in rewrites
            )
        }

    def state(self) -> dict[str, Any]:
        """Sizes and counters."""
        answer: dict[str, Any] = {
            "fib4": len(self.forwarding.fibs[4]),
            "least4": self.notes.least,
            "fib6": len(self.forwarding.fibs[16]),
            "kernel": dict(self.kernel.counters),
            "resident": int(Path("/proc/self/statm").read_text().split()[1]) * 4096,
            "refused": len(self.forwarding.refused),
            "cpu": time.process_time(),
            "idle": time.monotonic() - self.notes.changed,
            "decided": self.notes.decided,
            "told": self.notes.told,
        }
        if self.fpm is not None:
            answer["fpm"] = dict(self.fpm.session.counters) | {"queued": self.fpm.queued}
            answer["syncing"] = self.table.syncing("fpm")
        return answer

    def sources(self) -> dict[str, int]:
        """How many routes of BGP's each source has told."""
        return dict(Counter(r.source for _, _, r in self.table.routes() if r.protocol == 186))

    def counters(self) -> dict[str, Any]:
        """What the program has forwarded, and why not."""
        assert self.router is not None
        return dict(self.router.show()["counters"])

    def vectors(self, prefixes: str, vectors: str) -> dict[str, Any]:
        """The longest prefix of each address against a file of answers. Left out are prefixes that
        the lab does not announce, and addresses of its own."""
        lines = read_prefixes(Path(prefixes))
        with gzip.open(vectors, "rt") as file:
            rows = list(csv.reader(file))[1:]
        announced = {p for number, p, r in self.table.routes() if r.protocol == 186}
        wrong: list[str] = []
        sorts: Counter[str] = Counter()
        for address, line, length in rows:
            expected = lines[int(line) - 1] if int(line) else None
            found = self.forwarding.fibs[4].match(address)
            prefix = found and ip_network(found[0])
            key = (prefix.network_address.packed, prefix.prefixlen) if prefix else None
            own = key is not None and key not in announced
            if (expected is None and own) or (expected and expected not in announced):
                sorts["left out"] += 1
            elif key != expected or (expected and expected[1] != int(length)):
                wrong.append(f"{address}: expected {expected}, found {key}")
            else:
                sorts["found" if expected else "no route"] += 1
        return {"wrong": wrong[:10], "n_wrong": len(wrong), "sorts": dict(sorts)}

    def tables(self) -> dict[str, Any]:
        """Routes of table main, as each source has them, against `ip route`."""
        kernel = set()
        for family in ("-4", "-6"):
            command = ["ip", "-j", "-N", family, "route", "show", "table", "main"]
            said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
            for r in json.loads(said.stdout or "[]"):
                dst = {"default": "0.0.0.0/0" if family == "-4" else "::/0"}.get(r["dst"], r["dst"])
                network, metric = str(ip_network(dst)), r.get("metric", 0)
                kernel.add((network, int(r["protocol"]), metric, r.get("nhid", 0)))
        wrong: list[str] = []
        mine: dict[str, set[tuple[Any, ...]]] = {"kernel": set(), "fpm": set()}
        for number, prefix, r in self.table.routes():
            if number == MAIN:
                row = (prefix_text(prefix), r.protocol, r.metric, r.next_hop_id)
                mine[r.source].add(row)
        wrong += [f"kernel alone {r}" for r in sorted(kernel - mine["kernel"])]
        wrong += [f"ours alone {r}" for r in sorted(mine["kernel"] - kernel)]
        if self.fpm is not None:
            # FRR's numbers of next hops are the kernel's.
            bgp = {r for r in kernel if r[1] == 186}
            told = {r for r in mine["fpm"] if r[1] == 186}
            wrong += [f"not told by FRR {r}" for r in sorted(bgp - told)]
            wrong += [f"told by FRR alone {r}" for r in sorted(told - bgp)]
        return {"wrong": wrong[:10], "n_wrong": len(wrong), "routes": len(kernel)}

    def lookups(self, n: int, seed: int) -> dict[str, Any]:
        """Our look-ups against the kernel's, half of them of each family."""
        wrong: list[str] = []
        sorts: Counter[str] = Counter()
        for size in (4, 16):
            addresses = probes(self.table, n // 2, size, seed)
            said = self._get.get(addresses)
            groups = self.forwarding.fibs[size].lookup(addresses).tolist()
            for a, group, answer in zip(addresses, groups, said, strict=True):
                packed = a.tobytes()
                good, sort = self._judge(packed, group, answer)
                sorts[sort] += 1
                if not good:
                    wrong.append(f"{address_text(packed)}: kernel {answer}, ours {group}")
        return {"wrong": wrong[:10], "n_wrong": len(wrong), "sorts": dict(sorts)}

    def _judge(self, packed: bytes, group: int, answer: tuple[Any, ...]) -> tuple[bool, str]:
        members = self._members(group)
        if len(answer) == 1:
            return judge_refusal(-answer[0], [h.kind for h in members])
        kind, interface, gateway = answer
        if kind != RouteType.UNICAST:
            return all(h.kind is HopKind.HOST for h in members) and bool(members), "host"
        if gateway is None:
            on_link = any(h.interface == interface and h.gateway in {None, packed} for h in members)
            return on_link, "on link"
        return (interface, gateway) in {(h.interface, h.gateway) for h in members}, "via"

    def _members(self, group: int) -> list[Any]:
        return list(self.forwarding.groups.group_members(group)) if group else []


def main(source: str, plane: str = "") -> None:
    with ExitStack() as stack:
        follower = Follower(source, plane, stack)
        pending = b""
        while True:
            waits = [0] if follower.router else [0, follower.kernel.fileno()]
            ready, _, _ = select.select(waits, [], [], 0.05)
            follower.follow()
            if 0 not in ready:
                continue
            if not (data := os.read(0, 1 << 16)):
                return
            pending += data
            while b"\n" in pending:
                line, _, pending = pending.partition(b"\n")
                words = json.loads(line)
                # Not until there is nothing more: while a full table is told there always is.
                for _ in range(3):
                    follower.follow()
                print(json.dumps(follower.answer(**words)), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
