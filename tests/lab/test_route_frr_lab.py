"""A router that FRR runs, with peers that announce real prefixes: wirepath's tables are the
kernel's, after each thing that happens to a router."""

from __future__ import annotations

import os

import pytest
from bgp_events import EVENTS, Router, real_prefixes
from bgp_lab import BgpLab, need_tools

from wirepath.programs import kernel

pytestmark = pytest.mark.lab
PREFIXES = int(os.environ.get("WIREPATH_LAB_PREFIXES", "5000"))  # 0 = a full table
ADDRESSES = 100_000


@pytest.mark.parametrize("source", ["kernel", "fpm"])
def test_everything_that_happens_to_a_router(source: str, lab_name: str) -> None:
    need_tools()
    # By the kernel's tables: it is the follower that listens to FRR.
    plane = "" if kernel.unavailable_reason() else "xdp"
    prefixes = real_prefixes(PREFIXES)
    with BgpLab(lab_name, prefixes) as lab:
        router = Router(lab, source)
        try:
            # Each event waits until routes, groups and next hops are what it makes them.
            said = {}
            for event in EVENTS:
                said[event] = getattr(router, event)()
                if plane and event == "start":
                    lab.start_forwarding("--plane", plane)
            looked = router.looked(ADDRESSES, seed=1)
            state = router.follower.ask("state")
            forwarded = lab.stop_forwarding()
        finally:
            router.close()
    if plane:  # the kernel has those whose neighbour is being asked for
        received = sum(said[event]["received"] for event in EVENTS[1:])
        assert forwarded["counters"]["forwarded4"] >= 0.9 * received
    assert looked["wrong"] == []
    assert sum(looked["sorts"].values()) > 0.7 * ADDRESSES
    assert looked["sorts"]["via"] > 0.5 * ADDRESSES
    for sort in ("none", "on link", "host"):
        assert looked["sorts"][sort] > 0, looked
    assert state["bgp"]["kernel"] > 0.9 * len(prefixes)
    assert state["refused"] == 0
    # Nothing was taken out while FRR was away and told everything again.
    restart = said["frr_restarted"]
    assert restart["least"] == restart["before"] == restart["after"]
    if source == "fpm":
        assert state["bgp"]["fpm"] == state["bgp"]["kernel"]
        assert state["fpm"]["sweeps"] >= 1
    for event in EVENTS[1:]:
        assert said[event]["received"] > 0, event
