"""Many routes at a time: the tables are those of the same routes one at a time."""

from __future__ import annotations

import numpy as np
import pytest

from wirepath.dtypes import ROUTE_EVENT
from wirepath.route import Fib, Forwarding, RouteTable, decide_many, plain_rows
from wirepath.route.model import APPEND, REPLACE, Kind, RouteType

_LINK_UP = 0x10043
_INET = {4: 2, 16: 10}


def events_of(n: int) -> np.ndarray:
    """So many rows of nothing."""
    return np.zeros(n, ROUTE_EVENT)


def beginnings(rng: np.random.Generator) -> np.ndarray:
    """Links, neighbours and next hop objects."""
    out = events_of(3 + 6 + 4)
    out["kind"][:3] = Kind.LINK
    out["interface"][:3] = (1, 2, 3)
    out["flags"][:3] = _LINK_UP
    out["name"][:3] = (b"e1", b"e2", b"e3")
    out["mac"][:3] = [np.void(bytes([2, 0, 0, 0, 0, n])) for n in (1, 2, 3)]
    out["mtu"][:3] = 1500
    known = out[3:9]
    known["kind"], known["family"], known["state"] = Kind.NEIGHBOUR, 2, 2
    known["interface"] = (1, 1, 2, 2, 3, 3)
    known["address"] = [np.void(bytes([20, 0, 0, n]).ljust(16, b"\0")) for n in range(6)]
    known["mac"] = [np.void(bytes([2, 1, 0, 0, 0, n])) for n in range(6)]
    objects = out[9:]
    objects["kind"], objects["type"] = Kind.NEXT_HOP, RouteType.UNICAST
    objects["family"] = objects["gateway_family"] = 2
    objects["next_hop_id"] = (10, 11, 12, 13)
    objects["interface"] = rng.integers(1, 4, 4)
    objects["gateway"] = [np.void(bytes([20, 0, 0, n]).ljust(16, b"\0")) for n in range(4)]
    return out


def some_routes(rng: np.random.Generator, n: int) -> np.ndarray:
    """Routes of both families to few prefixes, so that much happens to each; told and taken back,
    replaced and appended, of tables that overrule one another."""
    out = events_of(n)
    out["kind"] = Kind.ROUTE
    size = rng.choice([4, 16], n)
    out["family"] = np.where(size == 4, 2, 10)
    out["removed"] = rng.random(n) < 0.35
    out["table"] = rng.choice([254, 254, 254, 254, 255, 253], n)
    kinds = [RouteType.UNICAST] * 28 + [
        RouteType.BLACKHOLE,
        RouteType.THROW,
        RouteType.LOCAL,
        0,
        77,
    ]
    out["type"] = rng.choice(kinds, n)
    out["metric"] = rng.choice([0, 20, 30], n)
    out["protocol"] = rng.choice([4, 186], n)
    flags = [0, 0, 0, REPLACE, APPEND]
    out["message_flags"] = rng.choice(flags, n)
    by_object = rng.random(n) < 0.6
    out["next_hop_id"] = np.where(by_object, rng.integers(10, 15, n), 0)
    gateway = rng.integers(0, 6, n)
    out["interface"] = np.where(by_object, 0, gateway // 2 + 1)
    out["gateway_family"] = np.where(by_object | (gateway == 5), 0, 2)
    out["gateway"] = [np.void(bytes([20, 0, 0, g]).ljust(16, b"\0")) for g in gateway.tolist()]
    out["flags"] = rng.choice([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x200], n)
    out["tos"] = rng.random(n) < 0.02
    lengths = np.where(
        size == 4, rng.choice([8, 15, 22, 24, 32], n), rng.choice([8, 48, 61, 128], n)
    )
    out["prefix_length"] = lengths
    noise = rng.integers(0, 4, (n, 3))
    address = [bytes([20, a, b << 6, 0]) + bytes([c] * 12) for a, b, c in noise.tolist()]
    # With bits beyond the length: they say nothing.
    out["address"] = [np.void(a) for a in address]
    return out


def with_members(rng: np.random.Generator, events: np.ndarray) -> np.ndarray:
    """Some of the routes have several paths instead."""
    out = []
    for row in np.split(events, len(events)):
        if rng.random() < 0.05 and not row["next_hop_id"][0]:
            row["members"] = 2
            row["gateway_family"] = row["interface"] = 0
            paths = events_of(2)
            paths["kind"], paths["interface"], paths["weight"] = Kind.MEMBER, (1, 2), (1, 3)
            paths["gateway_family"] = 2
            paths["gateway"] = np.void(bytes([20, 0, 0, 1]).ljust(16, b"\0"))
            out += [row, paths]
        else:
            out.append(row)
    return np.concatenate(out)


def one_by_one(table: RouteTable, events: np.ndarray, source: str) -> None:
    """Each with its members, by itself."""
    i = 0
    while i < len(events):
        end = i + 1 + int(events[i]["members"])
        table.apply(events[i:end], source)
        i = end


def content(table: RouteTable) -> dict[object, list[object]]:
    """Of each table and prefix the routes, in their order."""
    out: dict[object, list[object]] = {}
    for number, prefix, route in table.routes():
        out.setdefault((number, prefix), []).append(route)
    return out


def installed(forwarding: Forwarding) -> dict[object, object]:
    """What each prefix leads to, whatever the numbers of groups."""
    groups = forwarding.groups
    out: dict[object, object] = {"refused": set(forwarding.refused)}
    for size, fib in forwarding.fibs.items():
        for prefix, number in fib.items().items():
            assert number
            out[size, prefix] = groups.group_members(number)
    return out


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("sources", [("kernel",), ("kernel", "fpm")])
def test_many_at_a_time_are_the_same_as_one_at_a_time(
    seed: int, sources: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(seed)
    many, single = RouteTable(), RouteTable()
    quick, slow = Forwarding(many), Forwarding(single)
    start = beginnings(rng)
    for table in (many, single):
        table.apply(start)
    for turn in range(8):
        source = str(rng.choice(sources))
        told = with_members(rng, some_routes(rng, 400))
        again = turn % 4 == 3
        if again:  # everything is told again
            many.begin(source)
            single.begin(source)
        with monkeypatch.context() as patched:  # short runs of plain routes too
            patched.setattr(plain_rows, "_FEW", int(rng.choice([1, 4, 16])))
            many.apply(told, source)
        one_by_one(single, told, source)
        if again:
            assert many.end(source) == single.end(source)
        assert content(many) == content(single)
        assert many.counters == single.counters
        assert {t: r.lengths for t, r in many.tables.items()} == {
            t: r.lengths for t, r in single.tables.items()
        }
        quick.refresh()
        with monkeypatch.context() as patched:
            patched.setattr(decide_many, "_FEW", 1 << 30)
            slow.refresh()
        assert installed(quick) == installed(slow)
        assert quick.groups.counts() == slow.groups.counts()


def test_many_that_find_no_room_are_refused_one_by_one() -> None:
    rng = np.random.default_rng(3)
    table = RouteTable()
    table.apply(beginnings(rng))
    forwarding = Forwarding(table, fib4=Fib(4, max_prefixes=100))
    events = events_of(200)
    events["kind"], events["family"], events["prefix_length"] = Kind.ROUTE, 2, 24
    events["table"], events["type"], events["next_hop_id"] = 254, RouteType.UNICAST, 10
    events["address"] = [np.void(bytes([30, 0, n, 0]).ljust(16, b"\0")) for n in range(200)]
    table.apply(events)
    forwarding.refresh()
    held = len(forwarding.fibs[4])
    assert held <= 100
    assert len(forwarding.refused) == 200 - sum(
        1 for prefix in forwarding.held if prefix not in forwarding.refused
    )
    assert len(forwarding.refused) >= 100
    # Room for all of them, once others go.
    events["removed"] = 1
    table.apply(events[:150])
    forwarding.refresh()
    forwarding.refresh()
    assert not forwarding.refused
    assert len(forwarding.fibs[4]) == 50
    assert {group for group, _ in forwarding.held.values()} == {
        forwarding.group_of(b"\x1e\0\xc0\1")
    }


def test_what_is_told_again_is_no_change() -> None:
    rng = np.random.default_rng(5)
    table = RouteTable()
    table.apply(beginnings(rng))
    events = some_routes(rng, 500)
    events["removed"] = 0
    events["message_flags"] = REPLACE
    table.apply(events)
    changes = table.observe()
    changes.routes.clear()
    known = [
        (number, prefix, route) for number, prefix, route in table.routes() if route.next_hop_id
    ]
    assert known
    again = events_of(len(known))
    again["kind"] = Kind.ROUTE
    for row, (number, (address, length), route) in zip(again, known, strict=True):
        row["family"] = 2 if len(address) == 4 else 10
        row["address"] = np.void(address.ljust(16, b"\0"))
        row["prefix_length"], row["table"], row["type"] = length, number, route.type
        row["metric"], row["protocol"] = route.metric, route.protocol
        row["next_hop_id"], row["message_flags"] = route.next_hop_id, REPLACE
    table.apply(again)
    assert changes.routes == {}
