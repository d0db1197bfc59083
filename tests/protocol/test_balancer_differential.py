"""The balancer as eBPF, natively, and as a naive model: the same verdicts, bytes and counters."""

from __future__ import annotations

import os
import struct
from collections import Counter
from collections.abc import Iterator
from ipaddress import ip_address

import pytest
from balancer_naive import covers_itself, headers
from balancer_packets import (
    CLIENTS4,
    CLIENTS6,
    damaged,
    ethernet,
    frames,
    ip4,
    ip6,
    packets_of,
    tcp,
    udp,
)
from balancer_three import DESTINATIONS, Three, configuration
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from shared_data import shared

from wirepath.balancer.config import BalancerConfig


@pytest.fixture(autouse=True, scope="module")
def _one_cpu() -> Iterator[None]:
    """What the program has of each CPU is of one, as in the native instance that a test runs."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    yield
    os.sched_setaffinity(0, before)


@pytest.fixture(scope="module", params=["4 and 6", "dsr", "gue"])
def three(request: pytest.FixtureRequest) -> Three:
    kinds: dict[str, BalancerConfig] = {
        "4 and 6": configuration(("ipip", "gue", "dsr"), (4,), mtu=1480),
        "dsr": configuration(("dsr", "ipip"), (6,), mtu=1400),
        "gue": configuration(("gue",), (6, 4), mtu=1500),
    }
    try:
        return Three(kinds[request.param])
    except PermissionError as error:
        pytest.skip(f"unsupported: {error}")


ROUNDS = settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck))


@ROUNDS
@given(data=st.lists(frames(DESTINATIONS), min_size=1, max_size=8), step=st.integers(0, 3))
def test_whole_frames(three: Three, data: list[bytes], step: int) -> None:
    """Tunnels, direct return, QUIC, errors, echoes, too large ones, with time between them."""
    for frame in data:
        three.now += step * 40_000_000_000 // 3
        three.same(frame, three.now)


@ROUNDS
@given(frame=damaged(DESTINATIONS))
def test_damaged_frames(three: Three, frame: bytes) -> None:
    """Frames that end early or contradict themselves. The outer UDP checksum in IPv6 follows from
    the inner one; where that is wrong so is the other, and the model, which sums, differs."""
    if covers_itself(frame):
        three.same(frame, three.now)


@ROUNDS
@given(
    data=st.lists(frames(DESTINATIONS), min_size=1, max_size=6),
    server=st.integers(0, 11),
    what=st.sampled_from(["down", "drain", "up", "weight"]),
)
def test_changes_of_servers(three: Three, data: list[bytes], server: int, what: str) -> None:
    """Flows of a server that dies move, those of one that drains stay, and all three agree."""
    controller, config = three.controller, three.controller.config
    name = config.server[server % len(config.server)].name
    now = three.now / 1e9
    for frame in data:
        three.same(frame, three.now)
    for vip in list(controller.vips):
        if what in ("down", "up"):
            for _ in range(3):
                three.apply(controller.checked(vip, name, what == "up", now))
    if what == "drain":
        three.apply(controller.drain(name, now))
    elif what == "up":
        three.apply(controller.undrain(name, now))
    elif what == "weight":
        three.apply(controller.weigh(name, server, now))
    three.states()
    for frame in data:
        three.same(frame, three.now)


@pytest.mark.parametrize("bound", [0, 3])
def test_a_flood_of_new_flows_leaves_the_table_alone(bound: int) -> None:
    config = configuration(("ipip",), (4,), new_flows_per_second=bound)
    three = Three(config)
    held = ethernet(ip4("198.51.100.1", "192.0.2.10", 6, tcp(1, 80, 0x02)))
    three.same(held, three.now)
    for second in range(3):
        for i in range(20):
            frame = ethernet(ip4(f"198.18.{second}.{i}", "192.0.2.10", 6, tcp(i, 80, 0x02)))
            assert three.same(frame, three.now) == "tx"
        three.now += 10**9
    three.same(held, three.now)
    counters = three.native.counters()
    assert counters["unentered"] == 61 - 3 * bound if bound else counters["unentered"] == 62
    three.tables_are_same()
    assert len(three.kernel.maps["flows"]) == 3 * bound


@pytest.mark.parametrize("payload", [b"", b"odd", bytes(100)])
def test_no_outer_checksum_from_an_inner_one_that_is_not_there(payload: bytes) -> None:
    """UDP over IPv6 may come without one (RFC 6935), as tunnels send it."""
    three = Three(configuration(("gue",), (6,), mtu=1500))
    datagrams = [
        (address, ip6("2001:db8:9::1", address, 17, udp(4000, port, payload)))
        for address in DESTINATIONS
        if ":" in address
        for port in (53, 80, 443)
    ]
    sent = [
        three.same(ethernet(packet[:46] + bytes(2) + packet[48:]), 1) for _, packet in datagrams
    ]
    assert "tx" in sent


@pytest.mark.parametrize("family", [4, 6])
def test_a_quotation_ends_with_the_error_that_quotes_it(family: int) -> None:
    """What stands behind an ICMP error, as padding or a trailer, sends it to no server."""
    three = Three(configuration(("ipip",), (4,), mtu=1480))
    if family == 4:
        client, vip, make, kind = CLIENTS4[0], "192.0.2.10", ip4, (1, 3)
    else:
        client, vip, make, kind = CLIENTS6[0], "2001:db8:1::10", ip6, (58, 1)
    port = 80 if family == 4 else 443
    about = make(vip, client, 6, tcp(port, 2000, 0x10))
    head = 20 if family == 4 else 40
    for quoted in (head - 1, head, head + 7, head + 8, len(about)):
        body = struct.pack(">BBHI", kind[1], 4, 0, 0) + about[:quoted]
        error = make("203.0.113.1" if family == 4 else CLIENTS6[1], vip, kind[0], body)
        said = three.same(ethernet(error) + about[quoted:], three.now)
        assert said == ("tx" if quoted >= head + 8 else "next"), quoted
    assert three.native.counters()["icmp_forwarded"] == 2


CAPTURES = [
    "attack/pkt.TCP.synflood.spoofed.pcap",
    "attack/amp.UDP.snmp.src161.pcapng",
    "attack/amp.TCP.syn.optionallyACK.optionallysamePort.pcapng",
    "attack/ndpi-synscan.pcap",
    "attack/ndpi-memcached.cap",
]


@pytest.mark.parametrize("name", CAPTURES)
def test_captures(name: str) -> None:
    """Real frames; the services are the addresses that most of them are for."""
    found = packets_of(shared(name))
    assert found
    busiest = Counter(h.destination for h in map(headers, found) if h.family).most_common(4)
    vips = [
        {"name": f"v{i}", "address": str(ip_address(a)), "protocol": "any", "check": "none"}
        for i, (a, _) in enumerate(busiest)
    ]
    servers = [
        {"name": f"s{i}", "address": f"10.0.1.{i + 1}", "mac": f"02:00:00:00:00:{i + 1:02x}"}
        for i in range(5)
    ]
    config = BalancerConfig(
        interface="x", table_size=1021, connections=1 << 18, vip=vips, server=servers,
        new_flows_per_second=1 << 20,
    )  # fmt: skip
    three = Three(config)
    verdicts = Counter(three.same(frame, three.now) for frame in found if len(frame) <= 3520)
    assert verdicts["tx"] > len(found) // 2, verdicts
    three.tables_are_same()
