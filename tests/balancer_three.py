"""The balancer's program in the kernel and natively, and the naive model, of one configuration."""

from __future__ import annotations

from collections import Counter
from typing import Any

from balancer_naive import NaiveBalancer, NaiveServer, NaiveVip

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


def configuration(
    modes: tuple[str, ...], families: tuple[int, ...], **values: Any
) -> BalancerConfig:
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
