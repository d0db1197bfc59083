"""From routes to groups and next hops, over FRR's FPM and without any source."""

from __future__ import annotations

import socket
import struct
import time
import weakref
from collections.abc import Callable

import numpy as np
import pytest

from wirepath import ConfigError, PortError, _core
from wirepath.dtypes import ROUTE_EVENT
from wirepath.route import Fib, Forwarding, FpmServer, FpmSession, HopKind, RouteTable, trace
from wirepath.route.model import Kind, RouteType

UP = 0x10043


def address(text: str) -> bytes:
    """16 bytes of an event's field."""
    family = socket.AF_INET6 if ":" in text else socket.AF_INET
    return socket.inet_pton(family, text).ljust(16, b"\0")


def event(kind: Kind, **fields: object) -> np.ndarray:
    """One event."""
    out = np.zeros(1, ROUTE_EVENT)
    out["kind"] = kind
    out["family"] = socket.AF_INET
    for name, value in fields.items():
        out[name] = np.void(value) if out.dtype[name].kind == "V" else value
    return out


def link(index: int, *, up: bool = True, name: str = "") -> np.ndarray:
    """An Ethernet link."""
    text = (name or f"e{index}").encode()
    mac = bytes([2, 0, 0, 0, 0, index])
    return event(
        Kind.LINK, interface=index, flags=UP if up else 0x1002, mtu=1500, mac=mac, name=text
    )


def neighbour(text: str, index: int, last: int, state: int = 2) -> np.ndarray:
    """What ARP knows."""
    mac = bytes([2, 1, 0, 0, 0, last])
    return event(Kind.NEIGHBOUR, interface=index, address=address(text), mac=mac, state=state)


def route(prefix: str, gateway: str = "", index: int = 0, **more: object) -> np.ndarray:
    """A route of table main."""
    first, _, length = prefix.partition("/")
    more = {"table": 254, "type": RouteType.UNICAST, **more}
    if gateway:
        more |= {"gateway": address(gateway), "gateway_family": socket.AF_INET}
    return event(
        Kind.ROUTE, address=address(first), prefix_length=int(length), interface=index, **more
    )


def object_of(number: int, gateway: str, index: int) -> np.ndarray:
    """A next hop object."""
    return event(
        Kind.NEXT_HOP,
        next_hop_id=number,
        gateway=address(gateway),
        gateway_family=socket.AF_INET,
        interface=index,
        type=RouteType.UNICAST,
    )


def group(number: int, *members: int) -> np.ndarray:
    """A group of next hop objects."""
    head = event(Kind.NEXT_HOP, next_hop_id=number, members=len(members), bits=8)
    return np.concatenate([head, *[event(Kind.MEMBER, next_hop_id=m, weight=1) for m in members]])


@pytest.fixture
def table() -> RouteTable:
    """Two links with two neighbours, and a group of both as next hop object 10."""
    table = RouteTable()
    for index in (1, 2):
        table.apply(link(index))
        table.apply(neighbour(f"10.{index}.0.2", index, index))
        table.apply(object_of(index, f"10.{index}.0.2", index))
    table.apply(group(10, 1, 2))
    return table


def spread(forwarding: Forwarding, text: str) -> list[int]:
    """Interfaces by bucket."""
    number = forwarding.group_of(socket.inet_aton(text))
    native = forwarding.groups.native
    return [native.get(hop)[1] for hop in native.buckets(number)]


def test_a_table_that_no_rule_names_any_more_forwards_nothing(table: RouteTable) -> None:
    rules = [event(Kind.RULE, metric=m, type=1, table=t) for m, t in ((100, 100), (32766, 254))]
    for rule in rules:
        table.apply(rule)
    for number, prefix in ((254, "20.1.0.0/16"), (100, "20.2.0.0/16")):
        table.apply(route(prefix, next_hop_id=10, table=number))
    forwarding = Forwarding(table)
    forwarding.refresh()
    assert forwarding.group_of(socket.inet_aton("20.1.0.1"))
    rules[1]["removed"] = 1
    table.apply(rules[1])
    forwarding.refresh()
    assert not forwarding.group_of(socket.inet_aton("20.1.0.1"))
    assert forwarding.group_of(socket.inet_aton("20.2.0.1"))
    rules[1]["removed"] = 0
    table.apply(rules[1])
    forwarding.refresh()
    assert forwarding.group_of(socket.inet_aton("20.1.0.1"))


def test_a_link_that_goes_moves_only_its_flows_and_touches_no_prefix(table: RouteTable) -> None:
    for i in range(50):
        table.apply(route(f"20.{i}.0.0/16", next_hop_id=10))
    forwarding = Forwarding(table)
    assert forwarding.refresh() >= 50
    assert forwarding.groups.counts() == {"groups": 1, "next_hops": 2}
    before = spread(forwarding, "20.7.1.1")
    assert before.count(1) == before.count(2) == 64
    assert table.apply(link(2, up=False))  # the kernel's other routes have to be read again
    assert forwarding.refresh() == 0
    assert spread(forwarding, "20.7.1.1") == [1] * 128
    table.apply(link(2))
    assert forwarding.refresh() == 0
    after = spread(forwarding, "20.7.1.1")
    assert after.count(2) == 64
    # Objects change in place too.
    table.apply(group(10, 2))
    assert forwarding.refresh() == 0
    assert spread(forwarding, "20.7.1.1") == [2] * 128


def test_a_neighbour_that_changes_is_rewritten_in_place(table: RouteTable) -> None:
    table.apply(route("20.0.0.0/8", "10.1.0.2", 1))
    forwarding = Forwarding(table)
    forwarding.refresh()
    said = trace(forwarding, "20.1.1.1")
    assert said.fate == "forwarded"
    assert said.member is not None
    assert said.member["destination_mac"] == "02:01:00:00:00:01"
    table.apply(neighbour("10.1.0.2", 1, 0x77))
    assert forwarding.refresh() <= 1  # its own host prefix at most
    said = trace(forwarding, "20.1.1.1")
    assert said.member is not None
    assert said.member["destination_mac"] == "02:01:00:00:00:77"
    native = forwarding.groups.native
    hop = native.select(forwarding.group_of(socket.inet_aton("20.1.1.1")), 0)
    assert native.get(hop)[:6] == (
        HopKind.FORWARD,
        1,
        bytes.fromhex("020100000077"),
        bytes.fromhex("020000000001"),
        1500,
        0,
    )
    table.apply(neighbour("10.1.0.2", 1, 0, state=0x20))  # NUD_FAILED
    forwarding.refresh()
    assert trace(forwarding, "20.1.1.1").why == "the neighbour is not resolved"


def test_the_local_table_goes_before_longer_prefixes_of_main(table: RouteTable) -> None:
    table.apply(route("20.1.0.0/16", "10.1.0.2", 1))
    forwarding = Forwarding(table)
    forwarding.refresh()
    assert trace(forwarding, "20.1.1.1").fate == "forwarded"
    table.apply(route("20.0.0.0/8", table=255, type=RouteType.LOCAL))
    forwarding.refresh()
    assert trace(forwarding, "20.1.1.1").why == "an address of this host"
    assert trace(forwarding, "20.1.1.1").prefix == "20.0.0.0/8"
    table.apply(route("20.0.0.0/8", table=255, type=RouteType.LOCAL, removed=1))
    forwarding.refresh()
    assert trace(forwarding, "20.1.1.1").prefix == "20.1.0.0/16"
    assert list(forwarding.fibs[4].items()) == ["20.1.0.0/16"]


def test_groups_that_nobody_uses_are_given_back(table: RouteTable) -> None:
    forwarding = Forwarding(table, next_hops=_core.NextHops(8, 8, 4))
    for i in range(50):
        table.apply(route("20.0.0.0/8", f"10.1.{i}.9", 1))
        forwarding.refresh()
    assert forwarding.groups.counts() == {"groups": 1, "next_hops": 1}
    for i in range(9):
        table.apply(route(f"{30 + i}.0.0.0/8", f"10.1.{i}.9", 1))
    forwarding.refresh()
    assert forwarding.counters["not_installed"] >= 1
    assert any("max_groups = 8" in why for why in forwarding.refused.values())


def test_what_finds_no_room_is_the_hosts_until_there_is_some(table: RouteTable) -> None:
    table.neighbours.clear()  # whose own prefixes would take numbers too
    forwarding = Forwarding(table, next_hops=_core.NextHops(9, 5, 4))  # four groups but one
    for i in range(4):
        table.apply(route(f"{30 + i}.0.0.0/8", f"10.1.{i}.9", 1))
    forwarding.refresh()
    assert not forwarding.refused

    def gateway(text: str) -> bytes | None:
        key = forwarding.next_hop_of(socket.inet_aton(text), 0)
        assert key is not None
        assert key.gateway is not None or key.why == "the forwarding tables are full"
        return key.gateway

    # A prefix within another: not as what covers it says.
    table.apply(route("31.1.0.0/16", "10.1.8.9", 1))
    forwarding.refresh()
    assert gateway("31.1.1.1") is None
    assert gateway("31.2.1.1") == socket.inet_aton("10.1.1.9")
    # Another way for one: not as before. Who waited longer takes the group that it leaves.
    table.apply(route("30.0.0.0/8", "10.1.7.9", 1))
    forwarding.refresh()
    assert gateway("30.1.1.1") is None
    assert gateway("31.1.1.1") == socket.inet_aton("10.1.8.9")
    table.apply(route("32.0.0.0/8", "10.1.2.9", 1, removed=1))
    forwarding.refresh()
    assert not forwarding.refused
    assert gateway("30.1.1.1") == socket.inet_aton("10.1.7.9")
    assert forwarding.groups.counts() == {"groups": 4, "next_hops": 4}
    # Gone while it is refused: no trace of it is left.
    table.apply(route("34.0.0.0/8", "10.1.6.9", 1))
    forwarding.refresh()
    assert len(forwarding.refused) == 1
    table.apply(route("34.0.0.0/8", "10.1.6.9", 1, removed=1))
    forwarding.refresh()
    assert not forwarding.refused
    assert forwarding.group_of(socket.inet_aton("34.1.1.1")) == 0


def test_a_full_table_of_prefixes_leaks_no_groups(table: RouteTable) -> None:
    table.neighbours.clear()
    fib = Fib(4, max_prefixes=2)
    forwarding = Forwarding(table, fib4=fib)
    for i in range(4):
        table.apply(route(f"{30 + i}.0.0.0/8", f"10.1.{i}.9", 1))
    forwarding.refresh()
    assert len(forwarding.refused) == len(fib) == 2
    assert forwarding.groups.counts() == {"groups": 2, "next_hops": 2}
    for prefix in list(fib.items()):
        table.apply(route(str(prefix), f"10.1.{int(str(prefix)[:2]) - 30}.9", 1, removed=1))
    forwarding.refresh()
    assert not forwarding.refused
    assert len(fib) == 2
    assert forwarding.groups.counts() == {"groups": 2, "next_hops": 2}


def test_a_vrf_has_tables_of_its_own(table: RouteTable) -> None:
    vrf = link(9, name="red")
    vrf["link_kind"], vrf["table"] = b"vrf", 77
    table.apply(vrf)
    table.apply(route("20.0.0.0/8", "10.1.0.2", 1))
    table.apply(route("20.0.0.0/8", "10.2.0.2", 2, table=77))
    table.apply(route("20.1.0.0/16", "10.1.0.2", 1))
    red, plain = Forwarding(table, vrf="red"), Forwarding(table)
    for forwarding in (red, plain):
        forwarding.refresh()
    # A match in the VRF's table goes before a longer one in main.
    assert trace(red, "20.1.1.1").prefix == "20.0.0.0/8"
    assert trace(red, "20.1.1.1").table == "77"
    assert trace(plain, "20.1.1.1").prefix == "20.1.0.0/16"
    table.apply(route("20.0.0.0/8", table=77, type=RouteType.THROW))
    red.refresh()
    assert trace(red, "20.1.1.1").table == "main"
    assert trace(red, "20.2.1.1").prefix == "20.0.0.0/8"


def test_what_a_source_should_not_say_is_counted_or_goes_to_the_host(table: RouteTable) -> None:
    table.apply(route("20.0.0.0/8", "10.1.0.2", 1, type=77), "fpm")
    assert table.counters["unknown_types"] == 1
    table.apply(route("20.1.2.3/8", "10.1.0.2", 1), "fpm")  # bits beyond its length
    forwarding = Forwarding(table, next_hops=_core.NextHops(7, 7, 2))
    forwarding.refresh()
    assert trace(forwarding, "20.1.1.1").prefix == "20.0.0.0/8"
    table.apply(route("21.0.0.0/8", next_hop_id=10))
    forwarding.refresh()
    assert trace(forwarding, "21.1.1.1").fate == "forwarded"
    table.apply(object_of(3, "10.1.0.9", 1))
    table.apply(group(10, 1, 2, 3))
    forwarding.refresh()
    assert trace(forwarding, "21.1.1.1").why == "more paths than a group has buckets"


def test_a_group_that_finds_no_number_for_a_next_hop_stays_as_it_was(table: RouteTable) -> None:
    table.apply(route("21.0.0.0/8", next_hop_id=10))
    forwarding = Forwarding(table, next_hops=_core.NextHops(3, 7, 4))
    table.neighbours.clear()  # whose own prefixes would take numbers too
    forwarding.refresh()
    table.apply(object_of(2, "10.2.0.9", 2))
    forwarding.refresh()
    assert forwarding.groups.not_updated == 1
    said = {m["neighbour"] for m in trace(forwarding, "21.1.1.1").members}
    assert said == {"10.1.0.2", "10.2.0.2"}


def test_an_unknown_vrf_is_named(table: RouteTable) -> None:
    with pytest.raises(ConfigError, match='vrf = "red"'):
        Forwarding(table, vrf="red")


def test_fpm_sweeps_once_it_is_quiet() -> None:
    table = RouteTable()
    session = FpmSession(table, quiet=2)
    session.connected(0)
    session.events(route("20.0.0.0/8", "10.1.0.2", 1), 0)
    session.events(route("21.0.0.0/8", "10.1.0.2", 1), 1)
    assert not session.tick(2.9)
    assert session.tick(3.0)
    assert not session.tick(99)
    session.disconnected(100)
    assert not session.tick(200, connected=False)
    assert len(table.tables[254]) == 2
    session.connected(200)
    session.events(route("21.0.0.0/8", "10.1.0.2", 1), 201)
    assert len(table.tables[254]) == 2  # nothing pauses
    assert session.tick(203)
    assert len(table.tables[254]) == 1
    assert session.counters["swept"] == 1


def _frame(length: int, first: int) -> bytes:
    """An FPM frame with one RTM_NEWROUTE."""
    attributes = struct.pack("=HH4B", 8, 1, first, 0, 0, 0)
    attributes += struct.pack("=HHI", 8, 4, 1) + struct.pack("=HH4B", 8, 5, 10, 1, 0, 2)
    body = struct.pack("=8BI", 2, length, 0, 0, 254, 186, 0, 1, 0) + attributes
    message = struct.pack("=IHHII", 16 + len(body), 24, 0x501, 0, 0) + body
    return struct.pack(">BBH", 1, 1, 4 + len(message)) + message


def _until(server: FpmServer, true: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end
        server.poll(0.1)


def test_fpm_server_over_two_connections_and_a_broken_one() -> None:
    table = RouteTable()
    with FpmServer(table, port=0, quiet=0.3) as server:
        with socket.create_connection(server.address) as zebra:
            zebra.sendall(_frame(8, 20) + _frame(8, 21))
            _until(server, lambda: len(table.tables.get(254, ())) == 2)
        _until(server, lambda: server.session.counters["disconnections"] == 1)
        assert len(table.tables[254]) == 2
        with socket.create_connection(server.address) as zebra:
            zebra.sendall(_frame(8, 21))
            _until(server, lambda: server.session.counters["swept"] == 1)
            assert len(table.tables[254]) == 1
            zebra.sendall(b"\x07" * 64)
            _until(server, lambda: server.session.counters["disconnections"] == 2)
        assert server.stream_counters["broken"] == 1
        assert server.stream_counters["events"] == 3
        with pytest.raises(PortError, match=r"in use \(another port: --fpm-port"):
            FpmServer(table, port=server.address[1])
    with pytest.raises(PortError, match=r"\(an address of this machine: fpm_host"):
        FpmServer(table, "192.0.2.1", 0)
    with FpmServer(table, "::1", 0) as server:
        assert server.address[0] == "::1"
    with pytest.raises(ConfigError, match="quiet"):
        FpmSession(table, quiet=0)


def test_who_looks_no_more_keeps_no_changes(table: RouteTable) -> None:
    first, second = table.observe(), table.observe()
    table.apply(route("20.1.0.0/16", next_hop_id=10))
    assert len(first.routes[254]) == len(second.routes[254]) == 1
    gone = weakref.ref(first)
    del first
    assert gone() is None
    table.apply(route("20.2.0.0/16", next_hop_id=10))
    third = table.observe()
    table.apply(route("20.3.0.0/16", next_hop_id=10))
    assert len(second.routes[254]) == len(third.routes[254]) == 3
