"""What happens to a router: one thing after the other in the lab of `bgp_lab`, each until
wirepath's tables are the kernel's again, with packets flowing meanwhile.

    python tests/bgp_events.py kernel|fpm PREFIXES [xdp|xdp-kernel-fib]

prints one JSON object an event. With a data plane wirepath forwards meanwhile (see `happen`). The
full table is bgp_full.py's.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from bgp_lab import BgpLab, addresses_in, split, usable, wait_for
from bgp_processes import Follower, Traffic
from shared_data import SHARED

from wirepath.route import read_prefixes
from wirepath.route.model import prefix_text

NEW_MAC = "02:57:50:00:01:99"
OLD_MAC = "02:57:50:00:01:02"
# Seconds, fewer than a test has: what is waited for is told, and not that the test took too long.
ALL_ROUTES = 240
SETTLED = 200


def real_prefixes(n: int) -> list[str]:
    """About n prefixes of a real table, four of five of them IPv4; 0 = all."""
    every = [prefix_text(p) for p in read_prefixes(SHARED / "rib" / "bart-prefixes.txt.gz")]
    four = [p for p in every if ":" not in p]
    six = [p for p in every if ":" in p]
    if n:
        four = four[:: max(1, len(four) * 5 // (n * 4))]
        six = six[:: max(1, len(six) * 5 // n)]
    return usable(four + six)


class Router:
    """The lab with all announced, and wirepath following; events as methods."""

    def __init__(self, lab: BgpLab, source: str, plane: str = "") -> None:
        self.lab = lab
        self.source, self.plane = source, plane
        self.one, self.two = split(lab.prefixes)
        self.shared = [p for p in self.one if p in set(self.two)]
        self.follower = Follower(lab, source, plane)
        self.destinations = addresses_in(self.shared)

    def close(self) -> None:
        self.follower.close()

    def start(self) -> dict[str, Any]:
        """Everything announced for the first time; until all of it would be forwarded."""
        self.lab.start_p1(self.one)
        self.lab.start_p2(self.two)
        start = time.monotonic()
        self.lab.start_router()
        kernel = self.wait_routes(len(self.lab.prefixes)) - start
        self.settled()
        # Both paths are in the groups of what both announce.
        ways = wait_for("two ways", lambda: self.ways() if len(self.ways()) == 2 else None)
        return {"kernel_has_all": kernel, "wirepath_too": time.monotonic() - start, "ways": ways}

    def wait_routes(self, n: int) -> float:
        """When the kernel had this many routes of BGP's."""

        def there() -> bool:
            return self.lab.bgp_routes() + self.lab.bgp_routes("-6") == n

        wait_for(f"{n} routes in the kernel", there, ALL_ROUTES, every=0.2)
        return time.monotonic()

    def settled(self) -> dict[str, Any]:
        """Waits until the tables are the kernel's and FRR has told all."""
        said = self.follower.wait_equal(SETTLED)
        if self.source == "fpm":
            wait_for("the sweep", lambda: not self.follower.ask("state")["syncing"])
            said = self.follower.wait_equal(60)
        return said

    def looked(self, n: int, seed: int) -> dict[str, Any]:
        """Look-ups against the kernel's, once FRR changes nothing any more."""
        wait_for("rest", lambda: self.follower.ask("state")["idle"] > 2, every=0.2)
        self.settled()
        return self.follower.ask("lookups", n=n, seed=seed)

    def ways(self) -> list[Any]:
        ways: list[Any] = self.follower.ask("ways", address=self.destinations[0])["ways"]
        return ways

    def out_of(self) -> set[str]:
        """The interfaces that packets to what both announce go out of."""
        return {name for kind, name, _ in self.ways() if kind == "FORWARD"}

    @contextmanager
    def flowing(self, said: dict[str, Any]) -> Iterator[None]:
        """Packets meanwhile; how many were lost is put into `said`."""
        traffic = Traffic(self.lab, self.destinations)
        time.sleep(0.3)
        try:
            yield
        finally:
            said |= traffic.stop()

    def until(self, what: str, check: Callable[[], Any], act: Callable[[], Any]) -> dict[str, Any]:
        """Does something with packets flowing; how long until the check holds, what was lost."""
        said: dict[str, Any] = {}
        with self.flowing(said):
            start = time.monotonic()
            act()
            wait_for(what, check)
            said["seconds"] = time.monotonic() - start
            self.settled()
        return said

    # --- events ----------------------------------------------------------------------------------
    def withdraw(self) -> dict[str, Any]:
        """p2 takes back half of what both announce, and what it announces alone."""
        left = self.shared[::2]
        gone = len(self.two) - len(self.shared)
        return self.until(
            "the withdrawal",
            lambda: (
                self.lab.bgp_routes() + self.lab.bgp_routes("-6") == len(self.lab.prefixes) - gone
            ),
            lambda: self.lab.announce_p2(left),
        )

    def announce(self) -> dict[str, Any]:
        """p2 announces everything again."""
        said = self.until(
            "all routes",
            lambda: self.lab.bgp_routes() + self.lab.bgp_routes("-6") == len(self.lab.prefixes),
            lambda: self.lab.announce_p2(self.two),
        )
        wait_for("two ways", lambda: self.out_of() == {"wp1", "wp2"})
        return said

    def link_down(self) -> dict[str, Any]:
        """The carrier of the link to p2 is lost."""
        said = self.until(
            "the other link alone",
            lambda: self.out_of() == {"wp1"},
            lambda: self.lab.run("p2", "ip", "link", "set", "wp0", "down"),
        )
        self.wait_routes(len(self.one))
        self.settled()
        return said

    def link_up(self) -> dict[str, Any]:
        """It comes back, and so does what p2 announces."""

        def up() -> None:
            self.lab.run("p2", "ip", "link", "set", "wp0", "up")
            # With the link its addresses of IPv6 went.
            address = "fd57:6972:6570:2::2/64"
            self.lab.run("p2", "ip", "addr", "replace", address, "dev", "wp0", "nodad")

        # What FRR 8.4 puts back into the kernel is its own affair: into groups that lost a next hop
        # with its link it puts none, and of routes it may leave some out. What is compared is what
        # the kernel has.
        return self.until("p2's sessions", self._heard_all_of_p2, up)

    def _heard_all_of_p2(self) -> bool:
        """Whether bgpd has all that p2 announces."""
        heard = 0
        for family in ("ipv4", "ipv6"):
            summary = json.loads(self.lab.vtysh("r", f"show bgp {family} unicast summary json"))
            for address, peer in summary.get("peers", {}).items():
                if address in {"10.77.2.2", "fd57:6972:6570:2::2"}:
                    heard += peer["pfxRcd"] if peer["state"] == "Established" else 0
        return heard == len(self.two)

    def set_mac(self, mac: str) -> None:
        """p1 has this Ethernet address, and the router's kernel knows it."""
        self.lab.run("p1", "ip", "link", "set", "wp0", "address", mac)
        known = json.loads(self.lab.run("r", "ip", "-j", "-6", "neigh", "show", "dev", "wp1"))
        local = [n["dst"] for n in known if n["dst"].startswith("fe80")]  # BGP's next hops of IPv6
        for address in ("10.77.1.2", "fd57:6972:6570:1::2", *local):
            words = ("ip", "neigh", "replace", address, "lladdr", mac, "dev", "wp1")
            self.lab.run("r", *words, "nud", "permanent")

    def has_mac(self, mac: str) -> bool:
        """Whether packets through p1 are given this address."""
        return mac in {w[2] for w in self.ways()}

    def neighbour(self) -> dict[str, Any]:
        """p1 has another Ethernet address."""
        return self.until(
            "the new address", lambda: self.has_mac(NEW_MAC), lambda: self.set_mac(NEW_MAC)
        )

    def next_hop_lost(self) -> dict[str, Any]:
        """p2 ends its sessions: what it announced alone is gone, the rest has one way."""
        return self.until(
            "one way",
            lambda: self.out_of() == {"wp1"},
            lambda: [self.lab.birdc("disable", p) for p in ("r4", "r6")],
        )

    def next_hop_back(self) -> dict[str, Any]:
        """And takes them up again."""
        said = self.until(
            "two ways",
            lambda: self.out_of() == {"wp1", "wp2"},
            lambda: [self.lab.birdc("enable", p) for p in ("r4", "r6")],
        )
        self.wait_routes(len(self.lab.prefixes))
        self.settled()
        return said

    def frr_restarted(self) -> dict[str, Any]:
        """zebra and bgpd are killed and started again; what they had told stays in force."""
        before = self.follower.ask("watch")["now"]
        connections = self.follower.ask("state").get("fpm", {}).get("connections", 0)
        said: dict[str, Any] = {}
        with self.flowing(said):
            self.lab.kill_frr("r")
            start = time.monotonic()
            self.lab.start_router()
            wait_for("bgpd's routes", self._told_again, ALL_ROUTES)
            if self.source == "fpm":
                wait_for(
                    "the connection",
                    lambda: self.follower.ask("state")["fpm"]["connections"] > connections,
                )
            self.settled()
            said["seconds"] = time.monotonic() - start
        state = self.follower.ask("state")
        return said | {"before": before, "least": state["least4"], "after": state["fib4"]}

    def _told_again(self) -> bool:
        """Whether zebra has all routes from bgpd again, and the kernel as many."""
        total = 0
        for family in ("ip", "ipv6"):
            summary = json.loads(self.lab.vtysh("r", f"show {family} route summary json"))
            total += sum(
                r["rib"] for r in summary.get("routes", []) if r["type"] in {"ebgp", "bgp"}
            )
        return total == len(self.lab.prefixes)

    def restarted(self) -> dict[str, Any]:
        """wirepath itself ends and starts again."""
        said: dict[str, Any] = {}
        with self.flowing(said):
            self.follower.close()
            start = time.monotonic()
            self.follower = Follower(self.lab, self.source, self.plane)
            self.settled()
            said["seconds"] = time.monotonic() - start
        return said

    def run_restarted(self) -> dict[str, Any]:
        """`wirepath route run --pin` is ended by SIGTERM, and started again."""
        return self._run_again(signal.SIGTERM)

    def run_killed(self) -> dict[str, Any]:
        """And by SIGKILL."""
        return self._run_again(signal.SIGKILL)

    def _run_again(self, how: signal.Signals) -> dict[str, Any]:
        """Until the new one has its tables and forwards by them."""
        said: dict[str, Any] = {}
        with self.flowing(said):
            start = time.monotonic()
            self.lab.end_forwarding(how)
            said["ended"] = time.monotonic() - start
            # What is pinned goes on meanwhile, by the tables as they are.
            start = time.monotonic()
            self.lab.start_forwarding("--plane", "xdp", "--pin")
            said["seconds"] = time.monotonic() - start
            self.settled()
        return said


EVENTS = (
    "start",
    "withdraw",
    "announce",
    "neighbour",
    "next_hop_lost",
    "next_hop_back",
    "link_down",
    "link_up",
    "frr_restarted",
    "restarted",
)
#: What happens to `wirepath route run` beside the one that is asked.
RUN_EVENTS = ("run_restarted", "run_killed")


def happen(lab: BgpLab, source: str, plane: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each event with what it said, then look-ups ("looked"), state ("state") and what was
    forwarded ("forwarded": before wirepath was "restarted" where it is the one that is asked; and
    "forwarded_since").

    By the kernel's tables `wirepath route run` forwards, beside the one that is asked. From FRR,
    which tells one of them alone, it is the one that is asked that forwards.
    """
    asked, beside = bool(plane) and source == "fpm", bool(plane) and source == "kernel"
    router = Router(lab, source, plane if asked else "")
    lab.no_offloads()
    try:
        for name in EVENTS:
            if name == "restarted" and asked:
                yield "forwarded", router.follower.ask("counters")
            yield name, getattr(router, name)()
            if name == "start" and beside:
                lab.start_forwarding("--plane", plane, *(["--pin"] if plane == "xdp" else []))
        for name in RUN_EVENTS if beside and plane == "xdp" else ():
            yield name, getattr(router, name)()
        yield "looked", router.looked(100_000, seed=1)
        yield "state", router.follower.ask("state") | {"bgp": router.follower.ask("sources")}
        if asked:
            yield "forwarded_since", router.follower.ask("counters")
        else:
            yield "forwarded", lab.stop_forwarding().get("counters", {})
    finally:
        lab.unpin()
        router.close()


def main(source: str, n: int, plane: str = "") -> None:
    prefixes = real_prefixes(n)
    with BgpLab(f"bgp{os.getpid() % 10000}", prefixes) as lab:
        for name, said in happen(lab, source, plane):
            print(json.dumps({"event": name, "prefixes": len(prefixes)} | said), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), *sys.argv[3:])
