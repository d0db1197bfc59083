"""Random changes of a router's routes, for as long as one likes, with packets flowing.

python tests/route_soak.py SECONDS PREFIXES [xdp]      prints one JSON object
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from collections.abc import Callable
from typing import Any

from bgp_events import NEW_MAC, OLD_MAC, Router, real_prefixes
from bgp_lab import BgpLab, wait_for
from route_account import Account, Moved

_CHECK_EVERY = 25  # changes
_BATCH = 200  # static routes changed at once
_LOOKUPS = 20_000  # compared at once
_AGAIN = 5


class Soak:
    """A router's lab, changed at random; from time to time all is compared."""

    def __init__(self, router: Router, seed: int) -> None:
        self.router = router
        self.lab = router.lab
        self.rng = random.Random(seed)
        self.changes: dict[str, int] = {}
        self.checks = self.looked = self.looked_driver = 0
        self.resident: dict[str, list[int]] = {}
        self._away = False
        self._account: Account | None = None  # of packets, where wirepath forwards them

    def announce(self) -> None:
        """p2 announces some of its prefixes, and no others."""
        share = self.rng.choice([0.3, 0.7, 1.0])
        self.lab.announce_p2([p for p in self.router.two if self.rng.random() < share])

    def statics(self) -> None:
        """Static routes come, change and go, many at once."""
        lines = []
        for _ in range(_BATCH):
            prefix = f"20.0.{self.rng.randrange(250)}.{self.rng.randrange(4) * 64}/26"
            if self.rng.random() < 0.35:
                lines.append(f"route del {prefix} proto static")
            elif self.rng.random() < 0.2:
                both = "nexthop via 10.77.1.2 nexthop via 10.77.2.2"
                lines.append(f"route replace {prefix} proto static {both}")
            else:
                via = self.rng.choice(["10.77.1.2", "10.77.2.2"])
                lines.append(f"route replace {prefix} proto static via {via}")
        path = self.lab.folder / "statics"
        path.write_text("\n".join(lines) + "\n")
        # Some take out what is not there, as they should.
        self.lab.run("r", "ip", "-force", "-batch", str(path), check=False)

    def neighbour(self) -> None:
        """p1 gets the other of its Ethernet addresses."""
        old, mac = (OLD_MAC, NEW_MAC) if self.router.has_mac(OLD_MAC) else (NEW_MAC, OLD_MAC)
        begun = time.monotonic_ns()
        self.router.set_mac(mac)
        known = time.monotonic_ns()
        wait_for("the new address", lambda: self.router.has_mac(mac))
        if self._account is not None:
            ask, there = self._account.ask, self.router.destinations
            wait_for("it in the driver", lambda: old not in ask("macs", addresses=there)["macs"])
            self._account.moves.append(Moved(begun, known, time.monotonic_ns(), mac))

    def sessions(self) -> None:
        """p2's sessions end, or begin again."""
        for name in ("r4", "r6"):
            self.lab.birdc("enable" if self._away else "disable", name)
        self._away = not self._away

    def check(self) -> None:
        """Waits for rest and compares all; raises at the first difference."""
        self._at_rest()
        if self._account is None:
            self._compare()
        else:
            self._driver_right(self._account)
            self._account.rest(self._compare)
        self.checks += 1

    def _at_rest(self) -> None:
        """The kernel's tables change no more, and the follower has them."""
        wait_for("rest", lambda: self.router.follower.ask("state")["idle"] > 2, every=0.2)
        self.router.settled()

    def _driver_right(self, account: Account) -> None:
        """The driver's tables are those that the kernel has by now."""
        there = self.router.destinations
        wait_for("the driver", lambda: account.ask("ways", addresses=there)["differ"] == 0)
        words = {"n": _LOOKUPS, "seed": self.rng.randrange(1 << 30)}
        looked = account.ask("lookups", **words)
        for _ in range(_AGAIN):
            if not looked["n_wrong"]:
                break
            # A session came back while the kernel and the driver's tables were read, one after
            # the other.
            self._at_rest()
            looked = account.ask("lookups", **words)
        assert looked["n_wrong"] == 0, looked
        self.looked_driver += sum(looked["sorts"].values())

    def _compare(self) -> int:
        """The follower's look-ups against the kernel's; when it last heard of a change, in ns."""
        looked = self.router.looked(_LOOKUPS, self.rng.randrange(1 << 30))
        assert looked["n_wrong"] == 0, looked
        self.looked += sum(looked["sorts"].values())
        state = self.router.follower.ask("state")
        self._remember("follower", state["resident"])
        if (router := self.lab.forwarding_resident()) is not None:
            self._remember("router", router)
        return time.monotonic_ns() - int(state["idle"] * 1e9)

    def _remember(self, who: str, resident: int) -> None:
        self.resident.setdefault(who, []).append(resident)

    def run(self, seconds: float) -> dict[str, Any]:
        """Changes and checks until the time is over, then all back and a last check."""
        said: dict[str, Any] = {}
        if self.lab.forwarding_resident() is None:
            with self.router.flowing(said):
                self._churn(seconds)
        else:
            with Account(self.lab, self.router.destinations) as account:
                self._account = account
                self._churn(seconds)
                said = account.close()
                self._account = None
        return said | {
            "changes": self.changes,
            "checks": self.checks,
            "looked": self.looked,
            "looked_driver": self.looked_driver,
            "resident": self.resident,
            "state": self.router.follower.ask("state"),
        }

    def _churn(self, seconds: float) -> None:
        kinds = [self.announce] * 4 + [self.statics] * 12 + [self.neighbour, self.sessions]
        self.check()
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for _ in range(_CHECK_EVERY):
                self._do(self.rng.choice(kinds))
            self.check()
        if self._away:
            self._do(self.sessions)
        self.lab.announce_p2(self.router.two)
        self.router.wait_routes(len(self.lab.prefixes))
        for _ in range(_AGAIN):  # from now on nothing comes back by itself any more
            self.check()
            if self._account is None or self._account.rested:
                break

    def _do(self, kind: Callable[[], None]) -> None:
        if self._account is not None:
            self._account.event(kind.__name__)
        kind()
        self.changes[kind.__name__] = self.changes.get(kind.__name__, 0) + 1


def soak(name: str, seconds: float, n: int, plane: str = "") -> dict[str, Any]:
    """A lab, everything announced, and changes for so long; with a data plane of wirepath's, or
    the kernel's forwarding."""
    with BgpLab(name, real_prefixes(n)) as lab:
        router = Router(lab, "kernel")
        try:
            router.start()
            if plane:
                lab.start_forwarding("--plane", plane)
            said = Soak(router, seed=1).run(seconds)
            return said | {"report": lab.stop_forwarding()}
        finally:
            router.close()


if __name__ == "__main__":
    name = f"soak{os.getpid() % 10000}"
    print(json.dumps(soak(name, float(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:])))
