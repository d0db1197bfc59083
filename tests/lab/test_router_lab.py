"""A router in XDP between two hosts: what it forwards is whole, what it does not is the host's."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess

import pytest
from route_lab import NOTHING, WIREPATH, RouterLab, wait_until, write_pcap

from wirepath import programs
from wirepath.errors import ConfigError
from wirepath.programs import kernel

WHY_NOT = kernel.unavailable_reason()
pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(WHY_NOT is not None, reason=f"unsupported: {WHY_NOT}"),
]
PLANES = ("xdp", "xdp-kernel-fib")
WAYS = [(plane, attach) for plane in PLANES for attach in ("generic", "native")]


@pytest.fixture
def routers(lab_name):
    with RouterLab(lab_name) as made:
        yield made


@pytest.mark.parametrize(("plane", "attach"), WAYS)
def test_hosts_talk_through_it_and_the_kernel_answers_for_it(routers, plane, attach) -> None:
    routers.start(plane=plane, attach=attach)
    for family, echo_reply in ((4, 0), (6, 129)):
        assert routers.ping(family)[:2] == (echo_reply, 0)
        assert routers.datagrams(20, family) == 20
        assert routers.stream(200_000, family) == 200_000
    before = routers.counters()["counters"]
    assert before["forwarded4"] > 40
    assert before["forwarded6"] > 40
    # Time exceeded, and no route: from the router's own address.
    assert routers.ping(4, hops=1) == (11, 0, "10.77.0.2")
    assert routers.ping(6, hops=1)[:2] == (3, 0)
    routers.run("a", "ip", "route", "add", "203.0.113.0/24", "via", "10.77.0.2")
    assert routers.ping(to="203.0.113.1") == (3, 0, "10.77.0.2")
    # The router itself is the kernel's.
    assert routers.ping(to="10.77.0.2")[:2] == (0, 0)
    after = routers.counters()
    assert after["counters"]["to_host_ttl"] >= before["to_host_ttl"] + 2
    for row in after["interfaces"].values():
        assert row["packets"] == row["forwarded"] + row["to_host"] + row["dropped"]
    assert after["interfaces"]["wp1"]["sent_packets"] > 0
    said = routers.stop()
    assert said["plane"] == plane
    assert said["modes"] == {"wp0": attach, "wp1": attach}
    # Without it the kernel forwards by itself, and nothing is attached any more.
    assert routers.ping()[:2] == (0, 0)
    assert "xdp" not in routers.run("r", "ip", "link", "show", "wp0")


def test_kinds_of_routes(routers) -> None:
    for kind, prefix in (("blackhole", 1), ("unreachable", 2), ("prohibit", 3)):
        routers.run("r", "ip", "route", "add", kind, f"198.51.{prefix}.0/24")
    routers.run("a", "ip", "route", "add", "198.51.0.0/16", "via", "10.77.0.2")
    routers.start()
    assert routers.ping(to="198.51.2.1") == (3, 1, "10.77.0.2")  # host unreachable
    assert routers.ping(to="198.51.3.1") == (3, 13, "10.77.0.2")  # administratively prohibited
    with routers.socket("a", 4, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"x", ("198.51.1.1", 9))
    wait_until(
        lambda: routers.counters()["counters"]["drop_blackhole"] == 1, "the blackhole counts one"
    )
    counters = routers.counters()["counters"]
    assert (counters["to_host_unreachable"], counters["to_host_prohibit"]) == (1, 1)


@pytest.mark.parametrize("plane", PLANES)
def test_what_does_not_fit_is_told(routers, plane) -> None:
    """RFC 1191: fragmentation needed, from the kernel, as the route out has a smaller MTU."""
    routers.run("r", "ip", "link", "set", "wp1", "mtu", "1300")
    routers.start(plane=plane)
    assert routers.ping(size=1400) == (3, 4, "10.77.0.2")
    assert routers.counters()["counters"]["to_host_mtu"] >= 1
    assert routers.ping(size=1200)[:2] == (0, 0)


def test_routes_links_and_neighbours_are_followed(routers) -> None:
    routers.start()
    routers.run("b", "ip", "address", "add", "192.0.2.7/32", "dev", "wp0")
    routers.run("a", "ip", "route", "add", "192.0.2.0/24", "via", "10.77.0.2")
    assert routers.ping(to="192.0.2.7") == (3, 0, "10.77.0.2")
    routers.run("r", "ip", "route", "add", "192.0.2.0/24", "via", "10.77.1.2")
    wait_until(lambda: routers.ping(to="192.0.2.7", seconds=0.5)[:2] == (0, 0), "the new route")
    # A neighbour with another address: frames go there at once.
    station = "02:57:50:00:77:77"
    routers.run("b", "ip", "link", "set", "wp0", "address", station)
    routers.run("r", "ip", "neighbour", "replace", "10.77.1.2", "lladdr", station, "dev", "wp1")
    wait_until(lambda: routers.ping(to="192.0.2.7", seconds=0.5)[:2] == (0, 0), "the new neighbour")
    sent = routers.counters()["next_hops"]
    assert any(row["destination_mac"] == station for row in sent)
    # A link that goes down takes its routes along.
    routers.run("r", "ip", "link", "set", "wp1", "down")
    wait_until(
        lambda: routers.ping(to="192.0.2.7", seconds=0.5)[0] == 3, "unreachable, from the kernel"
    )


def test_an_interface_that_the_kernel_does_not_forward_from(routers) -> None:
    routers.start()
    assert routers.datagrams(5) == 5
    routers.run("r", "sysctl", "-w", "net.ipv4.conf.wp0.forwarding=0")

    def left() -> bool:
        before = routers.counters()["counters"]["to_host_off"]
        return routers.ping(seconds=0.5) == NOTHING and (
            routers.counters()["counters"]["to_host_off"] > before
        )

    wait_until(left, "the kernel's, which forwards none")
    routers.run("r", "sysctl", "-w", "net.ipv4.conf.wp0.forwarding=1")
    wait_until(lambda: routers.ping(seconds=0.5)[:2] == (0, 0), "an answer")


def test_every_forwarded_packet_is_valid(routers, tmp_path) -> None:
    if shutil.which("tshark") is None:
        pytest.skip("tshark is not installed (apt install tshark)")
    routers.start()
    heard = routers.sniffer("b")
    for family in (4, 6):
        assert routers.datagrams(30, family, 300) == 30
        assert routers.stream(100_000, family) == 100_000
        assert routers.ping(family) != NOTHING
    frames = heard.frames()
    heard.close()
    write_pcap(tmp_path / "b.pcap", frames)
    checks = [f"{name}.check_checksum:TRUE" for name in ("ip", "udp", "tcp")]
    fields = ["ip.ttl", "ipv6.hlim", "ip.checksum.status", "udp.checksum.status"]
    fields += ["tcp.checksum.status", "icmp.checksum.status", "_ws.malformed"]
    done = subprocess.run(
        [
            *("tshark", "-n", "-r", str(tmp_path / "b.pcap"), "-T", "fields"),
            *(part for check in checks for part in ("-o", check)),
            *(part for field in fields for part in ("-e", field)),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert len(rows) == len(frames)
    forwarded = [r for r in rows if "63" in (r[0], r[1])]
    assert len(forwarded) > 2 * (30 + 60)
    good = {"", "1", "Good"}
    assert [r for r in forwarded if r[6] or not set(r[2:6]) <= good] == []


def test_it_forwards_on_when_it_is_killed_and_the_next_takes_over(routers) -> None:
    routers.start_command("--pin")
    assert routers.datagrams(5) == 5
    routers.kill()
    before = routers.counters()["counters"]["forwarded4"]
    assert before == 10
    assert routers.datagrams(5) == 5
    assert routers.counters()["counters"]["forwarded4"] == before + 10
    routers.start(pin=True)
    assert routers.datagrams(5) == 5
    assert routers.counters()["counters"]["forwarded4"] == before + 20
    routers.stop()
    assert routers.datagrams(5) == 5
    assert routers.counters()["counters"]["forwarded4"] == before + 30
    routers.run("r", *WIREPATH, "route", "stop", *routers.ports)
    assert "xdp" not in routers.run("r", "ip", "link", "show", "wp0")
    with pytest.raises(ConfigError, match="there is no router on wp0"):
        routers.counters()


def test_the_command_says_what_it_did_and_ends_with_its_process(routers) -> None:
    routers.start_command()
    assert routers.datagrams(5) == 5
    said = json.loads(routers.run("r", *WIREPATH, "route", "counters", "wp1", "--json"))
    scraped = routers.run("r", *WIREPATH, "metrics", "--router", "wp0")
    for line in (
        'wirepath_router_outcome_total{outcome="forwarded4",router="wp0"} 10.0',
        'wirepath_router_interface_forwarded_total{interface="wp1",router="wp0"} 5.0',
    ):
        assert line in scraped.splitlines()
    assert said["counters"]["forwarded4"] == 10
    assert said["interfaces"]["wp0"]["forwarded"] == 5
    assert {row["interface"] for row in said["next_hops"]} == set(routers.ports)
    assert routers.stop_command()["counters"]["forwarded4"] == 10
    routers.start_command()
    routers.kill()
    wait_until(
        lambda: "xdp" not in routers.run("r", "ip", "link", "show", "wp0"), "nothing is attached"
    )
    assert routers.ping()[:2] == (0, 0)


def test_a_start_that_fails_leaves_nothing_pinned(routers) -> None:
    """The place on the second interface is another process's."""
    with routers.lab["r"].enter():
        theirs = programs.Chain("wp1", "generic")
        theirs.add("router", "count")
    try:
        command = [*WIREPATH, "route", "run", *routers.ports, "--pin", "--max-seconds", "60"]
        done = routers.lab["r"].run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode != 0
        assert "slot" in done.stderr
        assert "Traceback" not in done.stderr
        assert "xdp" not in routers.run("r", "ip", "link", "show", "wp0")
        assert routers.ping()[:2] == (0, 0)
    finally:
        with routers.lab["r"].enter():
            theirs.close()
