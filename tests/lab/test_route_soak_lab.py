"""Random changes of a router's routes; WIREPATH_SOAK_SECONDS says for how long."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest
from bgp_lab import need_tools
from route_soak import soak

from wirepath.programs import kernel

pytestmark = pytest.mark.lab
SECONDS = float(os.environ.get("WIREPATH_SOAK_SECONDS", "5"))


@pytest.mark.timeout(SECONDS + 900)
def test_random_changes_leave_nothing_behind(lab_name: str) -> None:
    need_tools()
    # Each check in between compares all tables, and 20,000 look-ups with the kernel's.
    plane = "" if kernel.unavailable_reason() else "xdp"
    said = soak(lab_name, SECONDS, 2000, plane)
    print(json.dumps(said))
    if plane:
        _every_packet_is_accounted_for(said)
        _nothing_went_to_a_stale_next_hop(said["stale"])
        assert said["looked_driver"] > 0
    assert said["checks"] >= 3
    assert said["changes"]["statics"] > 0
    assert said["received"] > 0
    assert said["state"]["refused"] == 0
    # The tables are never larger than at the first check but for a thousand static routes.
    for resident in said["resident"].values():
        assert max(resident) < resident[0] + (24 << 20), said["resident"]


def _every_packet_is_accounted_for(said: dict[str, Any]) -> None:
    account = said["account"]
    lost = ("lost_before_peers", "lost_other_station", "lost_behind_peers")
    known = account["arrived"] + account["refused_by_sender"]
    assert account["sent"] == known + sum(account[name] for name in lost), account
    assert account["unexplained"] == 0, said
    assert all(tap["missed"] == 0 for tap in said["taps"].values()), said["taps"]
    # A peer's kernel drops frames for an address that it had until a moment ago, and no others.
    assert set(account["lost_after"].get("lost_other_station", {})) <= {"neighbour"}, account
    router = said["router"]
    assert router["forwarded4"] + router["forwarded6"] >= 0.9 * account["sent"], router
    assert min(router["forwarded4"], router["forwarded6"]) >= 0.4 * account["sent"], router
    entered = said["report"]["interfaces"]["wp0"]
    assert entered["packets"] == entered["forwarded"] + entered["to_host"] + entered["dropped"]


def _nothing_went_to_a_stale_next_hop(stale: dict[str, Any]) -> None:
    """Where packets went while nothing changed, and once the driver had a neighbour's address."""
    assert stale["rests"] >= 1, stale
    assert stale["judged"] > 0, stale
    assert stale["wrong"] == 0, stale
    assert stale["old_followed"] == 0, stale
