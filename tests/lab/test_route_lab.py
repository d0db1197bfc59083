"""Routes of the kernel in a namespace: churned at random, compared with what the kernel says."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from route_lab import unsupported

pytestmark = pytest.mark.lab
CHURN = Path(__file__).parent / "route_churn.py"


def _in_namespace(*command: object, timeout: float = 120) -> str:
    """Output of a command in a network namespace that ends with it."""
    done = subprocess.run(
        ["unshare", "--net", "--", *map(str, command)],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("seed", [1, 2])
def test_random_changes_end_in_the_kernels_tables(seed: int) -> None:
    said = json.loads(_in_namespace(sys.executable, CHURN, seed, 250, 600))
    assert said["wrong"] == []
    assert said["largest"] > 80
    assert sum(said["judged"].values()) > 3000
    for sort in ("via", "on link", "host", "blackhole", "unreachable", "prohibit", "none"):
        assert said["judged"].get(sort, 0) > 5, said["judged"]
    assert said["counters"]["syncs"] > 2


BASE = """
set -e
ip link add a0 type veth peer name a1
ip link set a1 addrgenmode none
ip link set lo up; ip link set a0 up; ip link set a1 up
ip addr add 10.1.0.1/24 dev a0
ip neigh add 10.1.0.2 lladdr 02:00:00:00:00:02 dev a0 nud permanent
ip route add 20.0.0.0/8 via 10.1.0.2
"""
TRACE = """
ip route add 20.7.0.0/16 nexthop via 10.1.0.2 weight 3 nexthop via 10.1.0.3
ip route add blackhole 20.9.0.0/16
"$0" -m wirepath route trace 20.1.1.1 20.9.1.1 10.1.0.1 99.0.0.1 10.1.0.2 --json
"$0" -m wirepath route trace 20.7.1.1 --flow-hash 5 --json
"$0" -m wirepath route lookup 20.1.1.1 99.0.0.1 --json
"$0" -m wirepath route show --json
"""
VLAN = """
ip link add link a0 name a0.7 type vlan id 7
ip link set a0.7 up mtu 1400
ip addr add 10.7.0.1/24 dev a0.7
ip neigh add 10.7.0.2 lladdr 02:00:00:00:07:02 dev a0.7 nud permanent
ip route add 21.0.0.0/8 via 10.7.0.2
"$0" -m wirepath route trace 21.1.1.1 --json
"""
VRF = """
ip link add red type vrf table 77
ip link set red up
ip route add 20.0.0.0/8 via 10.1.0.3 dev a0 table 77
ip route add 30.0.0.0/8 via 10.1.0.3 dev a0 table 77
"$0" -m wirepath route trace 20.1.1.1 --vrf red --json
"$0" -m wirepath route show --json
"""


def _said(script: str) -> list[dict[str, Any]]:
    lines = _in_namespace("sh", "-c", BASE + script, sys.executable).splitlines()
    return [json.loads(line) for line in lines]


def _skip_without(*kind: str) -> None:
    script = f"ip link add a0 type veth peer name a1 && ip link add {' '.join(kind)}"
    done = subprocess.run(
        ["unshare", "--net", "--", "sh", "-c", script],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    if done.returncode:
        unsupported(f"this kernel makes no such link: {done.stderr.strip()}")


def test_commands_explain_this_namespace() -> None:
    first, ecmp, looked, shown = _said(TRACE)
    via, black, own, none, adjacent = first["traces"]
    assert (via["table"], via["prefix"], via["fate"]) == ("main", "20.0.0.0/8", "forwarded")
    assert via["member"]["destination_mac"] == "02:00:00:00:00:02"
    assert via["member"]["interface"] == "a0"
    assert black["fate"] == "dropped: blackhole"
    assert (own["table"], own["fate"]) == ("local", "to the host")
    assert own["why"] == "an address of this host"
    assert none["group"] is None
    assert none["why"] == "no route holds it"
    assert adjacent["fate"] == "forwarded"
    assert adjacent["member"]["neighbour"] == "10.1.0.2"
    (spread,) = ecmp["traces"]
    members = {m["neighbour"]: m for m in spread["members"]}
    assert members["10.1.0.2"]["weight"] == 3
    assert members["10.1.0.3"]["why"] == "the neighbour is not resolved"
    assert looked["lookups"][0]["prefix"] == "20.0.0.0/8"
    assert looked["lookups"][1]["prefix"] is None
    assert {"20.0.0.0/8", "20.7.0.0/16"} <= {r["prefix"] for r in shown["routes"]}


def test_a_vlan_interface_is_its_link_and_a_tag() -> None:
    _skip_without("link", "a0", "name", "a0.7", "type", "vlan", "id", "7")
    (said,) = _said(VLAN)
    member = said["traces"][0]["member"]
    assert (member["vlan"], member["out_of"], member["mtu"]) == (7, "a0", 1400)
    assert member["destination_mac"] == "02:00:00:00:07:02"


def test_the_tables_of_a_vrf() -> None:
    _skip_without("red", "type", "vrf", "table", "77")
    traced, shown = _said(VRF)
    (red,) = traced["traces"]
    assert (red["table"], red["member"]["neighbour"]) == ("77", "10.1.0.3")
    assert "30.0.0.0/8" not in {r["prefix"] for r in shown["routes"]}
