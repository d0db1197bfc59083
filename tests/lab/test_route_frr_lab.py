"""A router that FRR runs, with peers that announce real prefixes: wirepath's tables are the
kernel's, after each thing that happens to a router."""

from __future__ import annotations

import os

import pytest
from bgp_events import EVENTS, RUN_EVENTS, happen, real_prefixes
from bgp_lab import BgpLab, need_tools

from wirepath.programs import kernel

pytestmark = pytest.mark.lab
PREFIXES = int(os.environ.get("WIREPATH_LAB_PREFIXES", "3000"))
ADDRESSES = 100_000


@pytest.mark.parametrize("source", ["kernel", "fpm"])
def test_everything_that_happens_to_a_router(source: str, lab_name: str) -> None:
    need_tools()
    plane = "" if kernel.unavailable_reason() else "xdp"
    prefixes = real_prefixes(PREFIXES)
    with BgpLab(lab_name, prefixes) as lab:
        # Each event waits until routes, groups and next hops are what it makes them.
        said = dict(happen(lab, source, plane))
    events = [said[name] for name in (*EVENTS[1:], *RUN_EVENTS) if name in said]
    if plane:  # the kernel has those whose neighbour is being asked for
        since = [said["restarted"]] if source == "fpm" else []
        counted = [event for event in events if event not in since]
        six = sum(event["received6"] for event in counted)
        four = sum(event["received"] for event in counted) - six
        assert said["forwarded"]["forwarded4"] >= 0.9 * four
        assert said["forwarded"]["forwarded6"] >= 0.9 * six
        if source == "fpm":  # the kernel has forwarded until there was another
            assert said["forwarded_since"]["forwarded6"] > 0
        assert ("run_killed" in said) == (source == "kernel")
    looked, state = said["looked"], said["state"]
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
    for event in events:
        assert event["received"] > event["received6"] > 0, event
