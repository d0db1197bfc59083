"""The full Internet table through FRR, into a router of wirepath that forwards meanwhile.

    python tests/bgp_full.py kernel|fpm [PREFIXES [xdp]]

PREFIXES: 0 (all of them, the default), or about so many. Both peers announce everything: each
prefix becomes a route by one of them, then by both. Prints one JSON object a step; all times are
seconds since FRR of the router was started.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

from bgp_events import real_prefixes
from bgp_lab import ROOT, BgpLab, addresses_in, wait_for
from bgp_processes import Asked, Follower, Traffic
from shared_data import SHARED

_HOUR = 3600.0
_RATE = 500  # packets a second
_ADDRESSES = 100_000


class Full:
    """The lab with nothing announced yet, and a router of wirepath in it."""

    def __init__(self, lab: BgpLab, source: str, plane: str) -> None:
        self.lab, self.source = lab, source
        lab.no_offloads()
        self.before = lab.prefixes_held()
        lab.start_p1(lab.prefixes)
        lab.start_p2(lab.prefixes)
        self.follower = Follower(lab, source, plane)
        self.follower.ask("watch")
        self.hearer = Asked(lab, ROOT / "tests" / "route_hear.py")
        self.heard()

    def close(self) -> None:
        self.follower.close()
        self.hearer.close()

    def heard(self) -> dict[str, float]:
        """What another process has heard of the kernel's routes."""
        return self.hearer.ask("heard")

    def announced(self) -> dict[str, Any]:
        """FRR started; until the kernel has everything and nothing changes any more."""
        wanted = {4: sum(":" not in p for p in self.lab.prefixes)}
        wanted[6] = len(self.lab.prefixes) - wanted[4]
        traffic = Traffic(self.lab, addresses_in(self.lab.prefixes), rate=_RATE)
        start = time.monotonic()
        self.lab.start_router()

        def everything() -> bool:
            held = self.lab.prefixes_held()
            return all(held[f] - self.before[f] >= n for f, n in wanted.items())

        wait_for("all routes in the kernel", everything, _HOUR, every=0.5)
        wait_for("both ways", self.quiet, _HOUR, every=0.5)
        packets = traffic.stop()
        heard, state = self.heard(), self.follower.ask("state")
        said: dict[str, Any] = {
            "prefixes": {"IPv4": wanted[4], "IPv6": wanted[6]},
            "kernel_told": heard["heard"],
            "kernel_first": heard["first"] - start,
            "kernel_last": heard["last"] - start,
            "forwarding_last": state["decided"] - start,
            "missed": state["kernel"].get("missed", 0),
            "syncs": state["kernel"]["syncs"],
            "resident": state["resident"],
            "cpu": state["cpu"],
            "load": os.getloadavg(),
        }
        if self.source == "fpm":
            said["fpm_last"] = state["told"] - start
            said["fpm"] = state["fpm"]
            counters = self.lab.vtysh("r", "show fpm counters json")
            said["zebra"] = json.loads(counters)
        return said | {"packets": packets, "forwarded": self.forwarded()}

    def quiet(self) -> bool:
        """Whether nobody says anything new, nor has anything left to do."""
        state = self.follower.ask("state")
        done = not state.get("syncing") and not state.get("fpm", {}).get("queued")
        return done and time.monotonic() - max(self.heard()["last"], state["decided"]) > 10

    def forwarded(self) -> dict[str, int]:
        """What the program did with packets, by outcome."""
        return {k: v for k, v in self.follower.ask("counters").items() if v}

    def compared(self) -> dict[str, Any]:
        """Routes, look-ups and vectors."""
        rib = SHARED / "rib"
        vectors = {"prefixes": str(rib / "bart-prefixes.txt.gz")}
        vectors["vectors"] = str(rib / "lpm-vectors-v4.csv.gz")
        return {
            "routes": self.follower.wait_equal(_HOUR),
            "lookups": self.follower.ask("lookups", n=_ADDRESSES, seed=1),
            "vectors": self.follower.ask("vectors", **vectors),
        }

    def flowing(self) -> dict[str, Any]:
        """Packets with everything in force, for some seconds."""
        before = self.forwarded()
        traffic = Traffic(self.lab, addresses_in(self.lab.prefixes), rate=2000)
        time.sleep(5)
        packets = traffic.stop()
        after = self.forwarded()
        return {"packets": packets, "forwarded": {k: after[k] - before.get(k, 0) for k in after}}


def main(source: str, prefixes: int = 0, plane: str = "xdp") -> None:
    with BgpLab(f"full{os.getpid() % 10000}", real_prefixes(prefixes), hold=180) as lab:
        full = Full(lab, source, plane)
        try:
            for step in ("announced", "compared", "flowing"):
                print(json.dumps({"step": step} | getattr(full, step)()), flush=True)
        finally:
            full.close()


if __name__ == "__main__":
    source, n, plane = [*sys.argv[1:], "0", "xdp"][:3] if len(sys.argv) < 4 else sys.argv[1:4]
    main(source, int(n), plane)
