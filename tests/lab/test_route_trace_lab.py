"""`wirepath route trace --interface`: what the running router says of itself is what it does."""

from __future__ import annotations

import json
import socket
from typing import Any

import pytest
from route_lab import WIREPATH, RouterLab, wait_until

from wirepath.programs import kernel
from wirepath.route.probe import Probe

WHY_NOT = kernel.unavailable_reason()
pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(WHY_NOT is not None, reason=f"unsupported: {WHY_NOT}"),
]
OTHER = "02:57:50:00:77:03"


@pytest.fixture
def routers(lab_name: str):
    with RouterLab(lab_name) as made:
        yield made


def traced(routers: RouterLab, *words: object) -> list[dict[str, Any]]:
    said = routers.run("r", *WIREPATH, "route", "trace", *words, "--interface", "wp0", "--json")
    found = json.loads(said)["traces"]
    assert isinstance(found, list)
    return found


def mac(routers: RouterLab, host: str, interface: str) -> str:
    (link,) = json.loads(routers.run(host, "ip", "-json", "link", "show", interface))
    return str(link["address"])


def decided(routers: RouterLab) -> dict[str, Any]:
    """Counters that no packet of the hosts' own accord (multicast, as interfaces come up) is in."""
    found = routers.counters()
    names = [n for n in found["counters"] if n.startswith(("forwarded", "drop_"))]
    names += ["to_host_unresolved", "to_host_unreachable", "to_host_prohibit"]
    return {"next_hops": found["next_hops"], **{n: found["counters"][n] for n in names}}


@pytest.mark.parametrize("plane", ["xdp", "xdp-kernel-fib"])
def test_every_fate_with_its_counter(routers: RouterLab, plane: str) -> None:
    for kind, third in (("blackhole", 1), ("unreachable", 2), ("prohibit", 3)):
        routers.run("r", "ip", "route", "add", kind, f"198.51.{third}.0/24")
    routers.run("r", "ip", "route", "add", "192.0.2.0/24", "via", "10.77.1.99")
    routers.start(plane=plane)
    v6 = routers.address("b", 6)
    before = decided(routers)
    wanted = {
        "10.77.1.2": ("forwarded", "forwarded4"),
        v6: ("forwarded", "forwarded6"),
        "10.77.0.2": ("to the host", "to_host_local"),
        "192.0.2.1": ("to the host", "to_host_unresolved"),
        "198.51.1.1": ("dropped", "drop_blackhole"),
        "198.51.2.1": ("to the host", "to_host_unreachable"),
        "198.51.3.1": ("to the host", "to_host_prohibit"),
        "224.0.0.5": ("to the host", "to_host_special"),
        "203.0.113.1": (
            "to the host",
            "to_host_no_route" if plane == "xdp" else "to_host_local",
        ),
    }
    for found in traced(routers, *wanted):
        ran = found["running"]
        assert (ran["fate"], ran["counter"]) == wanted[found["address"]], found
        assert ran["differs"] is None, found
        if ran["fate"] != "forwarded":
            assert ran["out_of"] is None
            continue
        assert ran["out_of"] == "wp1"
        assert ran["destination_mac"] == mac(routers, "b", "wp0")
        assert ran["source_mac"] == mac(routers, "r", "wp1")
        assert (ran["ttl"], ran["vlan"]) == (63, None)
        assert (ran["next_hop"] is not None) == (plane == "xdp")
    # Nobody's packets: the counters of the router stay as they are.
    assert decided(routers) == before
    (large,) = traced(routers, "10.77.1.2", "--size", 1501)
    assert large["running"]["counter"] == "to_host_mtu"
    text = routers.run("r", *WIREPATH, "route", "trace", "10.77.1.2", "--interface", "wp0")
    assert "the running router" in text
    assert mac(routers, "b", "wp0") in text.rpartition("the running router")[2]


def test_the_path_that_it_says_is_the_one_that_packets_take(routers: RouterLab) -> None:
    """Two gateways; the seed of the flow hash is the running router's alone."""
    routers.run("r", "ip", "neighbour", "replace", "10.77.1.3", "lladdr", OTHER, "dev", "wp1")
    routers.run("a", "ip", "route", "add", "192.0.2.0/24", "via", "10.77.0.2")
    ways = ("nexthop", "via", "10.77.1.2", "nexthop", "via", "10.77.1.3")
    routers.run("r", "ip", "route", "add", "192.0.2.0/24", *ways)
    routers.start()
    me = routers.address("a")
    heard = routers.sniffer("b")
    paths: dict[int, str] = {}
    with routers.lab["r"].enter():
        probe = Probe("wp0")
    for port in range(5001, 5025):
        ran = probe.run("192.0.2.7", source=me, source_port=port, port=7000)
        assert (ran.fate, ran.counter) == ("forwarded", "forwarded4"), ran
        assert ran.destination_mac is not None
        paths[port] = ran.destination_mac
        with routers.socket("a", 4, socket.SOCK_DGRAM) as sender:
            sender.bind((me, port))
            sender.sendto(b"x", ("192.0.2.7", 7000))
    taken: dict[int, str] = {}

    def all_came() -> bool:
        for frame in heard.frames():
            if frame[12:14] == b"\x08\x00" and frame[23] == 17 and frame[36:38] == b"\x1b\x58":
                taken[int.from_bytes(frame[34:36], "big")] = frame[:6].hex(":")
        return len(taken) == len(paths)

    wait_until(all_came, "not all datagrams came")
    heard.close()
    assert taken == paths
    assert set(paths.values()) <= {OTHER, mac(routers, "b", "wp0")}


def test_the_reverse_path_filter_looks_at_the_source(routers: RouterLab) -> None:
    routers.run("r", "ip", "route", "add", "192.0.2.0/24", "via", "10.77.1.2")
    routers.start(rpf="strict")
    (good,) = traced(routers, "10.77.1.2")
    assert good["running"]["fate"] == "forwarded"
    (spoofed,) = traced(routers, "10.77.1.2", "--source", "192.0.2.9")
    assert spoofed["running"]["counter"] == "drop_rpf"
    assert spoofed["running"]["differs"] is None  # the tables know no sources


def test_of_one_left_behind_it_says_what_the_kernel_no_longer_does(routers: RouterLab) -> None:
    routers.start_command("--pin")
    routers.kill()
    (found,) = traced(routers, "10.77.1.2")
    assert (found["running"]["fate"], found["running"]["differs"]) == ("forwarded", None)
    routers.run("r", "ip", "route", "add", "blackhole", "10.77.1.2/32")
    (found,) = traced(routers, "10.77.1.2")
    assert found["fate"] == "dropped: blackhole"
    assert found["running"]["fate"] == "forwarded"
    assert found["running"]["differs"] == (
        "the tables say dropped: blackhole, the running router forwarded (forwarded4)"
    )
    routers.run("r", *WIREPATH, "route", "stop", *routers.ports)
    done = routers.lab["r"].run(
        [*WIREPATH, "route", "trace", "10.77.1.2", "--interface", "wp0"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert "there is no router on wp0" in done.stderr


REFUSED = (
    (("--interface", "nowhere"), "--interface"),
    (("--interface", "wp0", "--source", "here"), "--source"),
    (("--interface", "wp0", "--source", "2001:db8::1"), "IPv4, as 10.77.1.2"),
    (("--interface", "wp0", "--port", "70000"), "--port = 70000"),
    (("--interface", "wp0", "--size", "27"), "--size = 27"),
    (("--size", "100"), "--interface is missing: it must be given with --size"),
    (("--size", "0", "--source", "10.77.0.1"), "given with --source, --size"),
    (("--source-port", "1024"), "--interface is missing"),
    (("--port", "33434"), "--interface is missing"),
    (("--interface", "wp0", "--fpm-dump", "none"), "given without --fpm-dump"),
)


def test_what_cannot_be_asked_is_told(routers: RouterLab) -> None:
    routers.start()
    for words, said in REFUSED:
        done = routers.lab["r"].run(
            [*WIREPATH, "route", "trace", "10.77.1.2", *words],
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 2, (words, done.stderr)
        assert said in done.stderr
        assert "Traceback" not in done.stderr
