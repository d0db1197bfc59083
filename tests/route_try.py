"""The forwarding program with the tables of a model, one frame at a time, against the model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from hypothesis import strategies as st
from route_naive import BLACKHOLE, FORWARD, HOST, OURS, PROHIBIT, UNREACHABLE, Hop, Model

from wirepath import programs
from wirepath.route.program import (
    ForwardingTables,
    counters_of,
    entries,
    hop_counters,
    interface_counters,
)

SIZES = entries(groups4=64, groups6=256, next_hops=63)
FLAGS = {"up": 1, "strict": 2 | 8, "loose": 4 | 16, "no4": 32, "no6": 64}
SEED = 0x1234_5678_9ABC_DEF0
PORTS = 4
HOPS = {
    1: Hop(FORWARD, 12, b"\x02\0\0\0\0\x01", b"\x02\0\0\0\x01\x01", 1500, 0, 2, 2),
    2: Hop(FORWARD, 13, b"\x02\0\0\0\0\x02", b"\x02\0\0\0\x01\x02", 600, 0, 3, 3),
    3: Hop(FORWARD, 13, b"\x02\0\0\0\0\x03", b"\x02\0\0\0\x01\x03", 0, 7, 1, 5),
    4: Hop(FORWARD, 99, b"\x02\0\0\0\0\x04", b"\x02\0\0\0\x01\x04", 1500, 0, 0, 0),
    5: Hop(HOST),
    6: Hop(HOST, 11, out=1),
    7: Hop(BLACKHOLE),
    8: Hop(UNREACHABLE),
    9: Hop(PROHIBIT),
    10: Hop(FORWARD, 14, b"\x02\0\0\0\0\x0a", b"\x02\0\0\0\x01\x0a", 1500, 4094, 4, 4),
}
GROUPS = {**{n: {n: 1} for n in HOPS}, 11: {1: 1, 2: 1, 3: 2}, 12: {1: 3, 10: 1}, 13: {}}
PREFIXES = {
    "10.0.0.0/8": 1, "10.1.2.0/24": 11, "10.1.2.128/25": 2, "10.200.0.0/16": 3,
    "10.201.0.0/16": 4, "10.202.0.0/27": 12, "172.16.0.1/32": 5, "192.0.2.0/24": 6,
    "198.51.100.0/24": 7, "203.0.113.0/24": 8, "203.0.113.128/25": 9, "0.0.0.0/0": 10,
    "2001:db8::/32": 1, "2001:db8:1::/48": 11, "2001:db8:2:3::/64": 3, "2001:db8:ffff::/48": 13,
    "2001:db8:1:2:3:4:5:6/128": 12, "fd00::/8": 9,
}  # fmt: skip


@st.composite
def models(draw) -> Model:
    """The tables above, with or without some routes, and interfaces of all kinds."""
    chosen = draw(st.sets(st.sampled_from(sorted(PREFIXES)), min_size=8))
    rpf = draw(st.sampled_from([set(), set(), {"strict"}, {"loose"}]))
    off = draw(st.sampled_from([set()] * 4 + [{"no4"}, {"no6"}]))
    flags = {"up"} | rpf | off
    interfaces = dict.fromkeys(range(1, 6), (OURS, flags))
    if draw(st.integers(0, 9)) == 0:
        interfaces[1] = (OURS, flags - {"up"})
    return Model(
        SEED, {p: PREFIXES[p] for p in sorted(chosen)}, {}, dict(HOPS), interfaces, {(1, 7): 5}
    )


class Tried:
    """The program with the model's tables, as eBPF or native."""

    def __init__(
        self,
        model: Model,
        *,
        native: bool,
        groups: Mapping[int, dict[int, int]] = MappingProxyType(GROUPS),
    ) -> None:
        self.model = model
        self.native = native
        config = {"seed": model.seed, "port": 0 if native else 1}
        self.program: Any
        if native:
            self.program = programs.native("route", config=config, entries=SIZES, slots=1)
        else:
            self.program = programs.load("route", config=config, entries=SIZES)
        self.tables = ForwardingTables(self.program)
        for number, hop in model.hops.items():
            self.tables.next_hops.set(
                number, hop.kind, hop.index, hop.destination, hop.source, hop.mtu, hop.vlan,
                hop.port, hop.out,
            )  # fmt: skip
        for number, members in groups.items():
            self.tables.next_hops.set_group(number, list(members.items()))
            model.buckets[number] = self.tables.next_hops.buckets(number)
            assert set(self.tables.next_hops.reach(number)) == model.reach(number)
        for prefix, group in model.prefixes.items():
            (self.tables.fib6 if ":" in prefix else self.tables.fib4).add(prefix, group)
        for number, (mac, flags) in model.interfaces.items():
            value = sum(FLAGS[f] for f in flags)
            self.program.maps["interfaces"][number] = (10 + number, list(mac), value)
        for (port, vlan), number in model.vlans.items():
            self.program.maps["vlans"][port, vlan] = number
        for port in range(1, PORTS + 1):
            # Natively the port's number within the worker; a device that is there in the kernel.
            self.program.maps["ports"][port] = port if native else 1
        self.whys: Counter[str] = Counter()

    def agree(self, frame: bytes) -> None:
        """One frame of port 1; raises where the program does not what the model says."""
        wanted = self.model.run(frame, 1)
        did = self.program.run(frame)
        verdicts = {"forward": "redirect", "host": "next" if self.native else "pass"}
        context = (wanted, did, frame.hex())
        assert did.verdict == verdicts.get(wanted.verdict, "drop"), context
        assert did.frame == wanted.frame, context
        if self.native and wanted.verdict == "forward":
            assert did.target == wanted.port - 1, context
        self.whys[wanted.why] += 1
        self._account(frame, wanted, context)

    def _account(self, frame: bytes, wanted: Any, context: object) -> None:
        counters = counters_of(self.program)
        assert {n: c for n, c in counters.items() if c} == dict(self.whys), context

    def totals(self, frames: list[bytes]) -> None:
        """After all frames: what interfaces and next hops count is what the model says."""
        ways = [(frame, self.model.run(frame, 1)) for frame in frames]
        rows = interface_counters(self.program)
        assert sum(r["packets"] for r in rows.values()) == len(frames)
        assert sum(r["bytes"] for r in rows.values()) == sum(map(len, frames))
        for row in rows.values():
            assert row["packets"] == row["forwarded"] + row["to_host"] + row["dropped"]
        sent = [did for _, did in ways if did.verdict == "forward"]
        assert sum(r["sent_packets"] for r in rows.values()) == len(sent)
        by_hop = hop_counters(self.program)
        assert sum(r["packets"] for r in by_hop.values()) == len(sent)
        assert sum(r["bytes"] for r in by_hop.values()) == sum(len(d.frame) for d in sent)
