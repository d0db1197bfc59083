"""The balancer as eBPF, natively, and as a naive model: the same verdicts, bytes and counters."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.balancer_naive import NaiveBalancer, NaiveServer, NaiveVip, covers_itself, headers
from tests.balancer_packets import damaged, ethernet, frames, ip4, packets_of, tcp
from tests.shared_data import shared
from wirepath import programs
from wirepath.balancer import layout
from wirepath.balancer.config import BalancerConfig
from wirepath.balancer.controller import Controller
from wirepath.balancer.maps import ProgramMaps
from wirepath.balancer.plane import Plane, entries

SOURCES = {4: "10.0.0.1", 6: "fd00::1"}
DESTINATIONS = [
    "192.0.2.10",
    "192.0.2.11",
    "192.0.2.200",
    "192.0.2.129",
    "2001:db8:1::10",
    "2001:db8:2::77",
    "2001:db8:2:1::5",
    "203.0.113.9",
    "2001:db8:9::9",
]
MODES = ("ipip", "gue", "dsr")


def configuration(modes: tuple[str, ...], families: tuple[int, ...], **values: Any) -> BalancerConfig:  # noqa: ANN401
    """Every kind of service, over servers of these modes and families."""
    servers = [
        {
            "name": f"{mode}{family}{i}",
            "address": f"10.0.1.{i + 1}" if family == 4 else f"fd00:1::{i + 1}",
            "mode": mode,
            "mac": f"02:00:00:00:{family:02x}:{i + 1:02x}",
            "quic_id": 512 * (family == 6) + i + 1 if mode == modes[0] else None,
            "weight": i + 1,
        }
        for mode in modes
        for family in families
        for i in range(2)
    ]
    vips: list[dict[str, Any]] = [
        {"name": "web", "address": "192.0.2.10", "port": 80},
        {"name": "tls", "address": "192.0.2.10", "port": 443, "protocol": "udp", "quic": True},
        {"name": "all-tcp", "address": "192.0.2.11", "protocol": "tcp"},
        {"name": "all", "address": "192.0.2.128/25", "protocol": "any"},
        {"name": "one", "address": "192.0.2.192/26", "port": 53, "protocol": "udp"},
        {"name": "web6", "address": "2001:db8:1::10", "port": 443},
        {"name": "net6", "address": "2001:db8:2::/48", "protocol": "udp", "stateless": True},
        {"name": "deep6", "address": "2001:db8:2:1::/64", "protocol": "any"},
    ]
    vips = [vip | {"check": "none"} for vip in vips]
    values = {"interface": "x", "table_size": 251, "connections": 4096} | values
    return BalancerConfig(vip=vips, server=servers, **values)


class Three:
    """The program in the kernel, natively, and the model, with the same configuration."""

    def __init__(self, config: BalancerConfig) -> None:
        options: dict[str, Any] = {
            "config": layout.program_config(config, SOURCES).tobytes(),
            "entries": entries(config),
            "test": True,
        }
        self.kernel = programs.load("maglev", **options)
        self.native = programs.native("maglev", **options)
        self.controller = Controller(config)
        changes = self.controller.start(0.0)
        for vip in config.vip:
            for server in config.servers_of(vip):
                changes += self.controller.checked(vip.name, server.name, True, 0.0)
        self.planes = []
        for program in (self.kernel, self.native):
            macs = {s.name: bytes.fromhex((s.mac or "").replace(":", "")) for s in config.server}
            plane = Plane(ProgramMaps(program), config, lambda s, macs=macs: macs[s.name])
            self.planes.append(plane)
        self.apply(changes)
        self.model = self._model(config)
        self.now = 10**12

    def apply(self, changes: list[Any]) -> None:
        for plane in self.planes:
            for change in changes:
                kind = type(change).__name__
                act = {"SetReal": plane.real, "SetTable": plane.table, "RemoveVip": plane.remove}
                if kind in act:
                    act[kind](change)

    def _model(self, config: BalancerConfig) -> NaiveBalancer:
        vips: dict[tuple[str, int, int], NaiveVip] = {}
        servers: dict[int, NaiveServer] = {}
        quic: dict[tuple[int, int], int] = {}
        for vip in self.controller.vips.values():
            protocol = layout.PROTOCOLS[vip.config.protocol]
            assert vip.table is not None
            vips[vip.config.address, protocol, vip.config.port] = NaiveVip(
                vip.number,
                [int(n) for n in vip.table],
                quic=vip.config.quic,
                stateless=vip.config.stateless,
            )
            for real in vip.reals.values():
                servers[real.number] = NaiveServer(
                    real.server.address,
                    config.mode_of(real.server),
                    bytes.fromhex((real.server.mac or "").replace(":", "")),
                    generation=real.generation,
                )
                if vip.config.quic and real.server.quic_id is not None:
                    quic[vip.number, real.server.quic_id] = real.number
        for vip in self.controller.vips.values() if config.echo else ():
            icmp = layout.ICMP[vip.config.network.version]
            vips.setdefault((vip.config.address, icmp, 0), NaiveVip(vip.number, echo=True))
        return NaiveBalancer(
            vips,
            servers,
            SOURCES[4],
            SOURCES[6],
            config.mtu,
            quic_ids=quic,
            udp_timeout=round(config.udp_timeout * 1e9),
            flows_per_second=config.new_flows_per_second,
            errors_per_second=config.icmp_errors_per_second,
        )

    def states(self) -> None:
        """Tell the model what the controller has changed."""
        for vip in self.controller.vips.values():
            for real in vip.reals.values():
                self.model.servers[real.number].state = real.state.name.lower()
            key = (vip.config.address, layout.PROTOCOLS[vip.config.protocol], vip.config.port)
            assert vip.table is not None
            self.model.vips[key].table = [int(n) for n in vip.table]

    def same(self, frame: bytes, now: int) -> str:
        """One frame through all three. Returns the verdict."""
        self.kernel.set_time(now)
        before = self.kernel.counters(), self.native.counters()
        kernel = self.kernel.run(frame)
        native = self.native.run(frame, time=now)
        after = self.kernel.counters(), self.native.counters()
        verdict, out, count = self.model(frame, now)
        # BPF_PROG_RUN has no next program: there NEXT is PASS.
        wanted = {1: "drop", 3: "tx", 6: "next"}[verdict]
        assert native.verdict == wanted, (frame.hex(), native.verdict, wanted, count)
        assert kernel.verdict == wanted.replace("next", "pass"), (frame.hex(), count)
        if wanted != "drop":  # of a dropped frame nobody sees the bytes
            assert native.frame.hex() == out.hex(), count
            assert kernel.frame.hex() == out.hex(), count
        changes = []
        for was, now_is in zip(before, after, strict=True):
            change = {k: now_is[k] - was[k] for k in now_is if now_is[k] != was[k]}
            changes.append({k: v for k, v in change.items() if not k.startswith("verdict.")})
        assert changes[0] == changes[1] == dict(+Counter(count)), (frame.hex(), count)
        return wanted

    def tables_are_same(self) -> None:
        """What the frames left behind: flows and counters of services and servers."""
        left = []
        for program in (self.kernel, self.native):
            keys, values = program.maps["flows"].arrays()
            known = {
                k.tobytes(): (int(v["server"]), int(v["generation"]), int(v["seen"]))
                for k, v in zip(keys, values, strict=True)
            }
            maps = ProgramMaps(program)
            sums = [maps.sums(n).tolist() for n in ("vip_counters", "server_counters")]
            left.append((known, sums))
        assert left[0] == left[1]
        flows = sorted((s, g, t) for s, g, t in left[0][0].values())
        assert flows == sorted((s, g, t) for s, g, t in self.model.flows.values())


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


ROUNDS = settings(
    max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


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
