"""Random changes of the routes of a network namespace, and whether wirepath's tables say what the
kernel's do. Prints one JSON object.

    unshare --net python route_churn.py SEED CHANGES PROBES
"""

from __future__ import annotations

import errno
import json
import random
import subprocess
import sys
import time
from collections import Counter
from ipaddress import ip_address, ip_network
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from wirepath.route import Forwarding, HopKind, KernelSource, RouteTable, RouteType
from wirepath.route.model import address_text, prefix_text

GATEWAYS = {
    4: {"a0": ["10.1.0.2", "10.1.0.3"], "b0": ["10.2.0.2", "10.2.0.3"]},
    6: {"a0": ["2001:db8:1::2", "2001:db8:1::3"], "b0": ["2001:db8:2::2"]},
}
UNREACHED = {
    errno.EINVAL: HopKind.BLACKHOLE,
    errno.EHOSTUNREACH: HopKind.UNREACHABLE,
    errno.EACCES: HopKind.PROHIBIT,
}


def ip(*words: str, check: bool = True) -> str:
    """`ip` with these words."""
    command = ["ip", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    if check and done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr}")
    return done.stdout


def batch(lines: list[str]) -> None:
    """Many commands; those that make no sense now fail, as they should."""
    subprocess.run(
        ["ip", "-force", "-batch", "-"],
        input="\n".join(lines),
        text=True,
        capture_output=True,
        check=False,
        timeout=60,
    )


def set_up() -> None:
    """Two Ethernet links, each to a peer in the same namespace, and next hop objects."""
    ip("link", "set", "lo", "up")
    for n, name in ((1, "a"), (2, "b")):
        ip("link", "add", f"{name}0", "type", "veth", "peer", "name", f"{name}1")
        # No link-local addresses: theirs come in their own time, between two listings.
        for end in "01":
            ip("link", "set", f"{name}{end}", "addrgenmode", "none")
        ip("link", "set", f"{name}0", "up")
        ip("link", "set", f"{name}1", "up")
        ip("addr", "add", f"10.{n}.0.1/24", "dev", f"{name}0")
        ip("addr", "add", f"2001:db8:{n}::1/64", "dev", f"{name}0", "nodad")
    neighbours()


def neighbours() -> None:
    """Fixed neighbours, and the next hop objects, which go with their link."""
    lines = []
    for family in (4, 6):
        for dev, gateways in GATEWAYS[family].items():
            for i, gateway in enumerate(gateways):
                mac = f"02:00:00:00:0{family}:{i + (16 if dev == 'b0' else 0):02x}"
                lines.append(f"neigh replace {gateway} lladdr {mac} dev {dev} nud permanent")
    lines += [
        "nexthop replace id 1 via 10.1.0.2 dev a0",
        "nexthop replace id 2 via 10.2.0.2 dev b0",
        "nexthop replace id 3 blackhole",
        "nexthop replace id 4 via 2001:db8:1::2 dev a0",
        "nexthop replace id 5 via 2001:db8:2::2 dev b0",
        "nexthop replace id 10 group 1,3/2",
        "nexthop replace id 11 group 4/5,2",
    ]
    batch(lines)


def a_prefix(rng: random.Random, family: int) -> str:
    """Some prefix of few, so that they nest and meet again."""
    if family == 4:
        length = rng.choice([8, 12, 16, 20, 24, 25, 30, 32])
        value = (20 << 24) | (rng.getrandbits(24) & 0x330F07)
        return str(ip_network((value, length), strict=False))
    length = rng.choice([20, 32, 48, 56, 64, 127, 128])
    value = (0x2A00 << 112) | (rng.getrandbits(112) & (0x0F03_0003 << 80 | 3))
    return str(ip_network((value, length), strict=False))


def a_change(rng: random.Random) -> str:
    """One line for `ip -batch`."""
    family = rng.choice([4, 4, 6])
    prefix = a_prefix(rng, family)
    ways = GATEWAYS[family]
    dev = rng.choice(["a0", "b0"])
    via = f"via {rng.choice(ways[dev])} dev {dev}"
    metric = rng.choice(["", "metric 50", "metric 700"])
    nhids = ["1", "2", "10"] if family == 4 else ["4", "5", "11"]
    kind = rng.random()
    if kind < 0.28:
        what = f"{rng.choice(['add', 'replace', 'append'])} {prefix} {via} {metric}"
    elif kind < 0.36:
        hops = " ".join(
            f"nexthop via {g[0]} dev {d} weight {rng.randint(1, 4)}" for d, g in ways.items()
        )
        what = f"replace {prefix} {metric} {hops}"
    elif kind < 0.46:
        what = f"replace {prefix} nhid {rng.choice(nhids)} {metric}"
    elif kind < 0.56:
        what = f"replace {rng.choice(['blackhole', 'unreachable', 'prohibit'])} {prefix} {metric}"
    elif kind < 0.60:
        what = f"replace {prefix} dev {dev} {metric}"
    elif kind < 0.9:
        what = f"del {prefix} {rng.choice(['', metric, via])}"
    else:
        return {
            0: f"neigh replace 10.1.0.9 lladdr 02:00:00:00:00:{rng.randint(16, 99)} dev a0",
            1: "neigh del 10.1.0.9 dev a0",
            2: f"nexthop replace id 1 via {rng.choice(ways['a0'])} dev a0" if family == 4 else "",
            3: f"nexthop replace id 10 group {rng.choice(['1', '2', '1,5/2', '1/2'])}",
            4: "addr add 10.3.0.1/24 dev a0",
            5: "addr del 10.3.0.1/24 dev a0",
        }[rng.randrange(6)]
    return f"route {what}"


def kernel_routes() -> set[tuple[Any, ...]]:
    """What `ip -j route` lists of table main and local."""
    out = set()
    for family in ("-4", "-6"):
        for table in ("main", "local"):
            for r in json.loads(ip("-j", "-N", family, "route", "show", "table", table) or "[]"):
                dst = {"default": "0.0.0.0/0" if family == "-4" else "::/0"}.get(r["dst"], r["dst"])
                kind = RouteType(int(r.get("type", 1))).name
                out.add((table, str(ip_network(dst)), kind, r.get("metric", 0), r.get("nhid", 0)))
    return out


def our_routes(table: RouteTable) -> set[tuple[Any, ...]]:
    """The same of ours."""
    names = {254: "main", 255: "local"}
    return {
        (names[t], prefix_text(p), RouteType(r.type).name, r.metric, r.next_hop_id)
        for t, p, r in table.routes()
        if t in names
    }


def refused(error: NetlinkError, group: int, kinds: set[HopKind]) -> tuple[bool, str]:
    """Whether no answer of the kernel's is what our tables say, and which sort of address it is."""
    expected = UNREACHED.get(error.code)
    if expected in kinds:
        return True, expected.name.lower()
    # IPv6 has a route of its own that says unreachable where there is none.
    return group == 0 and error.code in {errno.EHOSTUNREACH, errno.ENETUNREACH}, "none"


def judged(ipr: IPRoute, address: str, forwarding: Forwarding) -> tuple[str, str]:
    """What is wrong with an address ('' = as the kernel says), and of which sort it is."""
    packed = ip_address(address).packed
    group = forwarding.group_of(packed)
    members = forwarding.groups.group_members(group)
    kinds = {hop.kind for hop in members}
    said = ""
    try:
        answer = ipr.route("get", dst=address)[0]
    except NetlinkError as error:
        good, sort = refused(error, group, kinds)
        said = str(error)
    else:
        gateway, out = answer.get_attr("RTA_GATEWAY"), answer.get_attr("RTA_OIF")
        if (via := answer.get_attr("RTA_VIA")) is not None:
            gateway = via["addr"]
        said = f"{RouteType(answer['type']).name} via {gateway} on {out}"
        if answer["type"] in {RouteType.BLACKHOLE, RouteType.UNREACHABLE, RouteType.PROHIBIT}:
            name = RouteType(answer["type"]).name
            good, sort = HopKind[name] in kinds, name.lower()
        elif answer["type"] != RouteType.UNICAST:
            good, sort = kinds == {HopKind.HOST}, "host"
        elif gateway is None:
            good = any(h.interface == out and h.gateway in {None, packed} for h in members)
            sort = "on link"
        else:
            ways = {(h.interface, h.gateway and address_text(h.gateway)) for h in members}
            good, sort = (out, str(ip_address(gateway))) in ways, "via"
    return ("" if good else f"{address}: {said}, ours {members}"), sort


def addresses(rng: random.Random, n: int, table: RouteTable) -> list[str]:
    """In prefixes, at their edges, and anywhere."""
    prefixes = [(p, t) for t, p, _ in table.routes() if t in (254, 255)]
    out = []
    for _ in range(n):
        (first, length), _ = rng.choice(prefixes)
        bits = len(first) * 8
        value = int.from_bytes(first, "big")
        value += rng.choice(
            [0, -1, 1 << (bits - length), rng.getrandbits(bits - length) if length < bits else 0]
        )
        value %= 1 << bits
        address = ip_address(value.to_bytes(len(first), "big"))
        # The kernel's answer for these is no matter of routes alone.
        if not (address.is_multicast or address.is_unspecified or address.is_link_local):
            out.append(str(address))
    out += [str(ip_address(rng.getrandbits(32) % 0xDF000000 + 0x01000000)) for _ in range(n // 4)]
    return out


def main(seed: int, changes: int, probes: int) -> dict[str, Any]:
    """Churn, and compare after each part."""
    rng = random.Random(seed)
    set_up()
    table = RouteTable()
    wrong: list[str] = []
    sorts: Counter[str] = Counter()
    largest = 0
    with (
        KernelSource(table, buffer_bytes=8192 if seed % 2 else 16 << 20) as source,
        IPRoute() as ipr,
    ):
        source.sync()
        forwarding = Forwarding(table)
        forwarding.refresh()
        for part in range(6):
            batch([a_change(rng) for _ in range(changes)])
            if part in (2, 4):
                link = rng.choice(["a0", "b0"])
                ip("link", "set", link, "down")
                source.poll(0.2)
                ip("link", "set", link, "up")
                time.sleep(0.3)
                neighbours()
                n = 1 if link == "a0" else 2
                ip("addr", "replace", f"2001:db8:{n}::1/64", "dev", link, "nodad")
                batch([a_change(rng) for _ in range(changes // 3)])
            source.settle(0.3)
            forwarding.refresh()
            kernel, ours = kernel_routes(), our_routes(table)
            largest = max(largest, len(kernel))
            wrong += [f"part {part}: the kernel's alone {r}" for r in sorted(kernel - ours)]
            wrong += [f"part {part}: ours alone {r}" for r in sorted(ours - kernel)]
            for address in addresses(rng, probes, table):
                text, sort = judged(ipr, address, forwarding)
                sorts[sort] += 1
                if text:
                    wrong.append(f"part {part}: {text}")
        # A forwarding table made afresh says the same as the one kept up to date.
        fresh = Forwarding(table)
        fresh.refresh()
        for size in (4, 16):
            if sorted(fresh.fibs[size].items()) != sorted(forwarding.fibs[size].items()):
                wrong.append(f"kept and fresh tables differ ({size} bytes)")
        return {
            "wrong": wrong[:20],
            "judged": dict(sorts),
            "largest": largest,
            "counters": {**source.counters, **table.counters},
        }


if __name__ == "__main__":
    print(json.dumps(main(*map(int, sys.argv[1:4]))))
