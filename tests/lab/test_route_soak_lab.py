"""Random changes of a router's routes; WIREPATH_SOAK_SECONDS says for how long."""

from __future__ import annotations

import os

import pytest
from bgp_lab import tools_missing
from route_soak import soak

from wirepath.programs import kernel

pytestmark = pytest.mark.lab


def test_random_changes_leave_nothing_behind(lab_name: str) -> None:
    if missing := tools_missing():
        pytest.skip(f"unsupported: {missing}")
    # Each check in between compares all tables, and 20,000 look-ups with the kernel's.
    plane = "" if kernel.unavailable_reason() else "xdp"
    said = soak(lab_name, float(os.environ.get("WIREPATH_SOAK_SECONDS", "5")), 2000, plane)
    if plane:  # the kernel has those whose neighbour is being asked for
        assert said["router"]["counters"]["forwarded4"] >= 0.9 * said["received"]
    assert said["checks"] >= 3
    assert said["changes"]["statics"] > 0
    assert said["received"] > 0
    assert said["state"]["refused"] == 0
    # The table is never larger than at the first check but for a thousand static routes.
    assert max(said["resident"]) < said["resident"][0] + (24 << 20), said["resident"]
