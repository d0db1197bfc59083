"""The forwarding program by the kernel's own table (``plane = "xdp-kernel-fib"``), which is given
the routes of a model, against that model."""

from __future__ import annotations

import socket
import subprocess
from collections import Counter
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from route_naive import BLACKHOLE, FORWARD, HOST, OURS, PROHIBIT, UNREACHABLE, Did, Hop, Model
from route_try import FLAGS, GROUPS, PORTS, PREFIXES, SEED, SIZES

from wirepath import programs
from wirepath.route.program import counters_of, hop_counters, interface_counters

#: Of the numbers of interfaces their links. 5 is the VLAN 7 of port 1; "wpx" is none of the
#: router's.
LINKS = {1: "wp1", 2: "wp2", 3: "wp3", 4: "wp4", 5: "wp5"}
ELSEWHERE = "wpx"
MTU = {"wp3": 1300}
MACS = {name: bytes([2, 0, 0, 0, 1, k]) for k, name in enumerate([*LINKS.values(), ELSEWHERE])}
MACS["wp1"] = OURS
_OWN = "77"  # the protocol of routes of ours


def hop(number: int, out: str, port: int, interface: int, vlan: int = 0) -> Hop:
    """One whose neighbour the kernel knows; its interface's number in `index` is not compared."""
    destination = bytes([2, 0, 0, 0, 0, number])
    mtu = MTU.get(out, 1500)
    return Hop(FORWARD, 10 + interface, destination, MACS[out], mtu, vlan, port, interface)


#: As those of route_try, with the addresses and sizes that the links have.
HOPS = {
    1: hop(1, "wp2", 2, 2),
    2: hop(2, "wp3", 3, 3),
    3: hop(3, "wp5", 1, 5, 7),
    4: hop(4, ELSEWHERE, 0, 0),
    5: Hop(HOST),
    6: Hop(HOST, 11, out=1),
    7: Hop(BLACKHOLE),
    8: Hop(UNREACHABLE),
    9: Hop(PROHIBIT),
    10: hop(10, "wp4", 4, 4),
}
_OUT = {1: "wp2", 2: "wp3", 3: "wp5", 4: ELSEWHERE, 6: "wp1", 10: "wp4"}
_REJECT = {7: "blackhole", 8: "unreachable", 9: "prohibit"}
#: A group without members is nothing that the kernel has.
ROUTES = {prefix: group for prefix, group in PREFIXES.items() if group != 13}


def run(*lines: str, family: int = 4) -> None:
    """Lines of ``ip``, all of which must succeed."""
    done = subprocess.run(
        ["ip", f"-{family}", "-batch", "-"],
        input="\n".join(lines) + "\n",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, (lines, done.stderr)


def make_links() -> None:
    """Of this network namespace, once: links with neighbours that are known."""
    for name in ("net/ipv4/conf/{}/forwarding", "net/ipv6/conf/{}/forwarding"):
        for which in ("all", "default"):
            (Path("/proc/sys") / name.format(which)).write_text("1")
    for name in (*LINKS.values(), ELSEWHERE):
        run(
            f"link add name {name} type veth peer name {name}e",
            f"link set dev {name} address {MACS[name].hex(':')} mtu {MTU.get(name, 1500)} up",
            f"link set dev {name}e up",
        )
    for number, out in _OUT.items():
        if number == 6:
            continue  # nobody knows this one
        mac = HOPS[number].destination.hex(":")
        for family, gateway in ((4, f"198.18.0.{number}"), (6, f"fe80::{number}")):
            line = f"neighbour replace {gateway} lladdr {mac} dev {out} nud permanent"
            run(line, family=family)


def write_routes(prefixes: Mapping[str, int]) -> None:
    """These and no others of ours."""
    for family in (4, 6):
        run(
            f"route flush proto {_OWN}",
            f"route flush table local proto {_OWN}",
            *(
                f"route add {_route(prefix, group)}"
                for prefix, group in prefixes.items()
                if (":" in prefix) == (family == 6)
            ),
            family=family,
        )


def _route(prefix: str, group: int) -> str:
    members = GROUPS[group]
    first = next(iter(members))
    if first in _REJECT:
        return f"{_REJECT[first]} {prefix} proto {_OWN}"
    if first == 5:
        return f"local {prefix} dev lo proto {_OWN}"
    ways = []
    for number, weight in members.items():
        gateway = f"fe80::{number}" if ":" in prefix else f"198.18.0.{number}"
        onlink = "" if ":" in prefix else " onlink"
        share = f" weight {weight}" if len(members) > 1 else ""
        ways.append(f"nexthop via {gateway} dev {_OUT[number]}{share}{onlink}")
    if len(ways) == 1:
        return f"{prefix} proto {_OWN} {ways[0].removeprefix('nexthop ')}"
    return f"{prefix} proto {_OWN} {' '.join(ways)}"


@st.composite
def kernel_models(draw) -> Model:
    """Tables that the kernel can have as well, with the filter of sources that is chosen."""
    chosen = draw(st.sets(st.sampled_from(sorted(ROUTES)), min_size=8))
    rpf = draw(st.sampled_from([set(), set(), {"strict"}, {"loose"}]))
    off = draw(st.sampled_from([set()] * 4 + [{"no4"}, {"no6"}]))
    return model({p: ROUTES[p] for p in sorted(chosen)}, {"up"} | rpf | off)


def model(prefixes: Mapping[str, int], flags: set[str]) -> Model:
    """One whose interfaces are :data:`LINKS`."""
    interfaces = {number: (MACS[name], flags) for number, name in LINKS.items()}
    interfaces[5] = (OURS, flags)  # frames of the model's all go to one address
    return Model(SEED, dict(prefixes), {}, dict(HOPS), interfaces, {(1, 7): 5})


class KernelTried:
    """The program that asks the kernel, which has the routes of ``model``.

    ``differences`` counts, by name, what is promised to differ from wirepath's tables:

    - ``no route``: the kernel does not tell it from an address of its own
    - ``path``: the kernel chooses among paths by a hash of its own
    - ``rpf to host``: what does not fit is left to the kernel's own filter, and not dropped
    - ``rpf by one path``: of a source with several paths the kernel looks at one
    - ``mtu before rpf``: the kernel looks at the size first
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        write_routes(model.prefixes)
        config = {"seed": model.seed, "port": 1, "kernel_fib": 1}
        self.program: Any = programs.load("route", config=config, entries=SIZES)
        index = {number: socket.if_nametoindex(name) for number, name in LINKS.items()}
        for number, (mac, flags) in model.interfaces.items():
            value = sum(FLAGS[f] for f in flags)
            self.program.maps["interfaces"][number] = (index[number], list(mac), value)
            port, vlan = next(((p, v) for (p, v), n in model.vlans.items() if n == number), (0, 0))
            self.program.maps["outs"][index[number]] = (port or number, number, vlan, 0)
        for (port, vlan), number in model.vlans.items():
            self.program.maps["vlans"][port, vlan] = number
        for port in range(1, PORTS + 1):
            self.program.maps["ports"][port] = 1  # a device that is there
        self.whys: Counter[str] = Counter()
        self.differences: Counter[str] = Counter()

    def agree(self, frame: bytes) -> str:
        """One frame of port 1; raises where what becomes of it is neither what the tables of the
        model say, nor a difference that is promised. Gives the counter that it is in."""
        did = self.program.run(frame)
        counters = {n: c for n, c in counters_of(self.program).items() if c}
        (why,) = Counter(counters) - self.whys
        self.whys[why] += 1
        assert counters == dict(self.whys), (counters, self.whys, frame.hex())
        verdict = {"redirect": "forward", "pass": "host"}.get(did.verdict, did.verdict)
        got = Did(verdict, did.frame, why)
        wanted = self.model.run(frame, 1)
        if self._same(got, wanted):
            return why
        name = self._promised(got, self.model.all_ways(frame, 1), frame)
        assert name, (wanted, got, frame.hex())
        self.differences[name] += 1
        return why

    @staticmethod
    def _same(got: Did, wanted: Did) -> bool:
        return got == Did(wanted.verdict, wanted.frame, wanted.why)

    def _promised(self, got: Did, ways: list[Did], frame: bytes) -> str:
        """The name of the difference, "" where there should be none."""
        whys = {way.why for way in ways}
        left = got.verdict == "host" and got.frame == frame
        if whys == {"to_host_no_route"} and left and got.why == "to_host_local":
            return "no route"
        if any(self._same(got, way) for way in ways):
            return "path"
        if "drop_rpf" in whys and left and got.why == "to_host_rpf":
            return "rpf to host"
        if "drop_rpf" in whys and left and got.why == "to_host_mtu":
            return "mtu before rpf"
        if left and got.why == "to_host_rpf" and self._several_paths_back(frame):
            return "rpf by one path"
        return ""

    def _several_paths_back(self, frame: bytes) -> bool:
        """Whether there is more than one to the source; of frames that are forwarded else."""
        at = 18 if frame[12:14] == b"\x81\x00" else 14
        four = frame[at] >> 4 == 4
        packed = frame[at + 12 : at + 16] if four else frame[at + 8 : at + 24]
        row = self.model.buckets.get(self.model.group(ip_address(packed)), [])
        return len(set(row)) > 1

    def totals(self, frames: list[bytes]) -> None:
        """After all frames: each is in one counter of an interface; the kernel's next hops have no
        numbers, and no counters."""
        rows = interface_counters(self.program)
        assert sum(r["packets"] for r in rows.values()) == len(frames)
        for row in rows.values():
            assert row["packets"] == row["forwarded"] + row["to_host"] + row["dropped"]
        sent = self.whys["forwarded4"] + self.whys["forwarded6"]
        assert sum(r["sent_packets"] for r in rows.values()) == sent
        assert hop_counters(self.program) == {}
