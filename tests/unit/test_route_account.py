"""The account that the router's soak is judged by: each fault is seen in it."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest
from bgp_lab import BgpLab
from route_account import Account, Moved, Rest

OLD, NEW = "02:00:00:00:00:01", "02:00:00:00:00:02"
SENT = np.arange(1, 11, dtype=np.int64) * 10  # ten packets, at 10, 20, … ns
SEEN = np.dtype([("number", "i8"), ("mac", "u1", 6), ("mark", "u1"), ("host", "U2")])


@pytest.fixture
def account() -> Account:
    """Everything is at rest until 45 ns, when p1 gets a new address; the driver has it at 75."""
    made = Account(cast(BgpLab, None), ["192.0.2.1", "192.0.2.2"])
    made.events = [(5, "statics"), (45, "neighbour")]
    made.rests = [Rest(1, 44, [[["FORWARD", 2, OLD]], [["FORWARD", 2, OLD]]])]
    made.moves = [Moved(45, 55, 75, NEW)]
    return made


def seen(numbers: range, macs: dict[int, str]) -> Any:
    """At p1; what is marked is for another station."""
    out = np.zeros(len(numbers), SEEN)
    out["number"] = numbers
    out["host"] = "p1"
    for row, number in zip(out, numbers, strict=True):
        mac = macs.get(number, OLD if number < 4 else NEW)
        row["mac"] = list(bytes.fromhex(mac.replace(":", "")))
        row["mark"] = 3 if number >= 4 and mac == OLD else 0
    return out


def test_packets_are_where_they_were_last_seen(account: Account) -> None:
    heard = seen(range(9), {4: OLD, 5: OLD})  # the last one never came to a peer
    arrived = np.array([True] * 4 + [False] * 2 + [True, True, False, False])
    found = account._account(SENT, arrived, heard)
    assert found["arrived"] == 6
    assert found["lost_other_station"] == 2
    assert found["lost_behind_peers"] == 1
    assert found["lost_before_peers"] == 1
    assert found["lost_after"]["lost_other_station"] == {"neighbour": 2}
    refused = SENT.copy()
    refused[9] = -refused[9]
    found = account._account(refused, arrived, heard)
    assert (found["refused_by_sender"], found["lost_before_peers"]) == (1, 0)


def test_an_address_of_before_is_told_by_when_the_packet_was_sent(account: Account) -> None:
    good = account._stale(SENT, seen(range(10), {4: OLD, 5: OLD}))
    assert (good["judged"], good["wrong"]) == (4, 0)
    assert (good["old_not_told"], good["old_known"], good["old_followed"]) == (1, 1, 0)
    assert good["longest_old_ms"] == 5e-6
    bad = account._stale(SENT, seen(range(10), {9: OLD}))
    assert bad["old_followed"] == 1


def test_a_run_in_which_no_address_changed(account: Account) -> None:
    account.moves.clear()
    assert account._stale(SENT, seen(range(4), {}))["moves"] == 0


def test_another_next_hop_at_rest_is_wrong(account: Account) -> None:
    assert account._stale(SENT, seen(range(10), {2: NEW}))["wrong"] == 1
