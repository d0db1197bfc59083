"""Routes of the kernel in a namespace: churned at random, and compared with what the kernel says."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

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


TRACE = """
set -e
ip link add a0 type veth peer name a1
ip link set a1 addrgenmode none
ip link set lo up; ip link set a0 up; ip link set a1 up
ip addr add 10.1.0.1/24 dev a0
ip neigh add 10.1.0.2 lladdr 02:00:00:00:00:02 dev a0 nud permanent
ip link add link a0 name a0.7 type vlan id 7
ip link set a0.7 up mtu 1400
ip addr add 10.7.0.1/24 dev a0.7
ip neigh add 10.7.0.2 lladdr 02:00:00:00:07:02 dev a0.7 nud permanent
ip route add 20.0.0.0/8 via 10.1.0.2
ip route add 20.7.0.0/16 nexthop via 10.7.0.2 dev a0.7 weight 3 nexthop via 10.1.0.3 dev a0
ip route add blackhole 20.9.0.0/16
ip link add red type vrf table 77
ip link set red up
ip route add 20.0.0.0/8 via 10.7.0.2 dev a0.7 table 77
"$0" -m wirepath route trace 20.1.1.1 20.9.1.1 10.1.0.1 99.0.0.1 10.1.0.2 --json
"$0" -m wirepath route trace 20.7.1.1 --flow-hash 5 --json
"$0" -m wirepath route trace 20.1.1.1 --vrf red --json
"$0" -m wirepath route lookup 20.1.1.1 --json
"$0" -m wirepath route show --json
"""


def test_commands_explain_this_namespace() -> None:
    out = _in_namespace("sh", "-c", TRACE, sys.executable).splitlines()
    first, ecmp, red, looked, shown = (json.loads(line) for line in out)
    via, black, own, none, adjacent = first["traces"]
    assert (via["table"], via["prefix"], via["fate"]) == ("main", "20.0.0.0/8", "forwarded")
    assert via["member"]["destination_mac"] == "02:00:00:00:00:02"
    assert via["member"]["interface"] == "a0"
    assert black["fate"] == "dropped: blackhole"
    assert (own["table"], own["fate"], own["why"]) == (
        "local",
        "to the host",
        "an address of this host",
    )
    assert none["group"] is None
    assert none["why"] == "no route holds it"
    assert adjacent["fate"] == "forwarded"
    assert adjacent["member"]["neighbour"] == "10.1.0.2"
    (spread,) = ecmp["traces"]
    members = {m["neighbour"]: m for m in spread["members"]}
    assert members["10.7.0.2"]["weight"] == 3
    assert members["10.7.0.2"]["vlan"] == 7
    assert members["10.7.0.2"]["out_of"] == "a0"
    assert members["10.7.0.2"]["mtu"] == 1400
    assert members["10.1.0.3"]["why"] == "the neighbour is not resolved"
    (of_red,) = red["traces"]
    assert (of_red["table"], of_red["member"]["neighbour"]) == ("77", "10.7.0.2")
    assert looked["lookups"][0]["prefix"] == "20.0.0.0/8"
    assert {"20.0.0.0/8", "20.7.0.0/16"} <= {r["prefix"] for r in shown["routes"]}
    assert "77" not in {r["table"] for r in shown["routes"]}
