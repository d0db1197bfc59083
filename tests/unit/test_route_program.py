"""The forwarding program's native build does what the naive model says."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from route_naive import FORWARD, OURS, PEER, Hop, Model, checksum, frames
from route_try import SEED, Tried, models

PHASES = [Phase.explicit, Phase.reuse, Phase.generate]


@given(models(), st.lists(frames(), min_size=20, max_size=80))
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), phases=PHASES)
def test_it_agrees_with_the_model(model: Model, cases: list[bytes]) -> None:
    tried = Tried(model, native=True)
    for frame in cases:
        tried.agree(frame)
    tried.totals(cases)


def packet(source: int, destination: int, ports: tuple[int, int], ttl: int = 64) -> bytes:
    """UDP over IPv4, of no bytes."""
    head = bytes([0x45, 0, 0, 28, 0, 1, 0x40, 0, ttl, 17])
    after = source.to_bytes(4, "big") + destination.to_bytes(4, "big")
    total = checksum(head + b"\0\0" + after).to_bytes(2, "big")
    transport = ports[0].to_bytes(2, "big") + ports[1].to_bytes(2, "big") + b"\0\x08\0\0"
    return OURS + PEER + b"\x08\x00" + head + total + after + transport


def balanced(members: int) -> Tried:
    """A default route over so many next hops of equal weight."""
    hops = {
        n: Hop(FORWARD, 10, bytes([2, 0, 0, 0, 0, n]), bytes(6), 0, 0, 1, 1)
        for n in range(1, members + 1)
    }
    model = Model(SEED, {"0.0.0.0/0": 20}, {}, hops, {1: (OURS, {"up"})})
    return Tried(model, native=True, groups={20: dict.fromkeys(hops, 1)})


def chosen(tried: Tried, flows: list[tuple[int, int, tuple[int, int]]]) -> list[int]:
    return [tried.program.run(packet(*flow)).frame[5] for flow in flows]


def flows(count: int, seed: int) -> list[tuple[int, int, tuple[int, int]]]:
    rng = np.random.default_rng(seed)
    rows = rng.integers(0, 1 << 16, (count, 4)).tolist()
    return [(10 << 24 | a, 20 << 24 | b, (c, d)) for a, b, c, d in rows]


@pytest.mark.parametrize("members", [2, 4, 8])
def test_flows_spread_evenly(members: int) -> None:
    """Chi-square of 4,000 flows at 99.9 %; also of flows that differ by little."""
    limit = {2: 10.83, 4: 16.27, 8: 24.32}[members]
    tried = balanced(members)
    near = [(10 << 24 | i, 20 << 24 | 7, (1000, 53)) for i in range(4000)]
    ports = [(10 << 24 | 5, 20 << 24 | 7, (1024 + i, 53)) for i in range(4000)]
    for case in (flows(4000, 1), near, ports):
        counts = Counter(chosen(tried, case))
        share = len(case) / members
        assert sum((counts[n] - share) ** 2 / share for n in range(1, members + 1)) < limit


def test_a_flow_and_its_answers_go_one_way_and_stay_there() -> None:
    tried = balanced(4)
    case = flows(500, 2)
    there = chosen(tried, case)
    back = chosen(tried, [(d, s, (ports[1], ports[0])) for s, d, ports in case])
    assert there == back
    assert there == chosen(tried, case)
    # One member less: only its own flows move, and to the others.
    tried.tables.next_hops.set_group(20, [(1, 1), (2, 1), (4, 1)])
    after = chosen(tried, case)
    assert all(a == b for a, b in zip(there, after, strict=True) if a != 3)
    assert 3 not in after
    assert len({b for a, b in zip(there, after, strict=True) if a == 3}) == 3


@pytest.mark.parametrize("vlan", [0, 5])
@pytest.mark.parametrize("tag", [b"", b"\x81\0\0\0"])
def test_a_header_alone_is_a_packet(vlan: int, tag: bytes) -> None:
    hop = Hop(FORWARD, 10, bytes([2, 0, 0, 0, 0, 1]), bytes(6), 0, vlan, 1, 1)
    model = Model(SEED, {"0.0.0.0/0": 20}, {}, {1: hop}, {1: (OURS, {"up"})})
    tried = Tried(model, native=True, groups={20: {1: 1}})
    whole = packet(10 << 24, 20 << 24, (1, 2))
    head = whole[14:24] + b"\0\0" + whole[26:34]
    head = head[:2] + b"\0\x14" + head[4:]
    head = head[:10] + checksum(head).to_bytes(2, "big") + head[12:]
    frame = OURS + PEER + tag + b"\x08\0" + head
    assert model.run(frame, 1).verdict == "forward"
    tried.agree(frame)


def test_every_ttl_has_its_checksum() -> None:
    tried = balanced(1)
    for ttl in range(2, 256):
        for low in (0, 1, 0xFEFF, 0xFFFF):
            out = tried.program.run(packet(10 << 24, 20 << 24 | low, (1, 2), ttl)).frame
            ip = out[14:34]
            assert ip[8] == ttl - 1
            assert checksum(ip[:10] + b"\0\0" + ip[12:]) == int.from_bytes(ip[10:12], "big")
