"""The balancer between real hosts: every mode, a server that dies, drains, a killed process."""

from __future__ import annotations

import signal
from contextlib import ExitStack
from pathlib import Path

import pytest
from balancer_lab import SERVERS, BalancerLab, wait_for

from wirepath import programs

pytestmark = [pytest.mark.lab, pytest.mark.timeout(900)]
CONNECTIONS = 1000


@pytest.mark.parametrize(
    ("mode", "attach"),
    [("ipip", "auto"), ("gue", "auto"), ("dsr", "auto"), ("ipip", "native")],
)
def test_a_thousand_connections_byte_for_byte(
    mode: str, attach: str, lab_name: str, tmp_path: Path
) -> None:
    with BalancerLab(lab_name, tmp_path, mode) as lab, ExitStack() as stack:
        if attach == "native":  # a veth takes what XDP sends where its other end has a program too
            with lab.lab["router"].enter():
                stack.enter_context(programs.attach(programs.load("count"), "wp1"))
        lab.balance("lb1", lab.config(attach=attach))
        clients = lab.connect(CONNECTIONS)
        assert clients.first["dead"] == {}
        for size in (1, 100, 20_000):
            done = clients.round(size, 60)
            assert done["dead"] == {}, lab.log()
            assert done["alive"] == clients.first["alive"]
        assert set(done["alive"]) == set(SERVERS)
        assert min(done["alive"].values()) > CONNECTIONS / len(SERVERS) * 0.7
        shown = lab.ask("lb1", "show")
        counted = {s["name"]: s["new_flows"] for s in shown["vips"][0]["servers"]}
        assert counted == done["alive"]
        assert not any(n for name, n in shown["counters"].items() if name.startswith("drop"))
        clients.close()


def test_a_server_dies_and_only_its_flows_move(lab_name: str, tmp_path: Path) -> None:
    with BalancerLab(lab_name, tmp_path, "ipip") as lab:
        lab.balance("lb1", lab.config())
        clients = lab.connect(400)
        before = clients.round(1000)
        assert before["dead"] == {}
        lab.run("s2", "ip", "link", "set", "wp0", "down")
        wait_for(lambda: lab.states("lb1")["s2"] == "down", 20, "s2 is not seen to be down")
        after = clients.round(1000, 30)
        others = {name: n for name, n in before["alive"].items() if name != "s2"}
        assert after["alive"] == others
        assert sum(after["dead"].values()) == before["alive"]["s2"]
        assert all(why.startswith("s2 ") for why in after["dead"])
        fresh = lab.connect(200)
        assert fresh.first["dead"] == {}
        assert set(fresh.first["alive"]) == {"s1", "s3", "s4"}
        fresh.close()
        clients.close()


def test_a_drain_ends_without_a_reset(lab_name: str, tmp_path: Path) -> None:
    with BalancerLab(lab_name, tmp_path, "ipip") as lab:
        # Not before all that is looked at meanwhile has been looked at, however long that takes.
        lab.balance("lb1", lab.config(drain_idle=3600.0))
        clients = lab.connect(400)
        before = clients.round(1000)
        lab.ask("lb1", "drain", "s3")
        assert lab.states("lb1")["s3"] == "draining"
        fresh = lab.connect(200)
        assert fresh.first["dead"] == {}
        assert "s3" not in fresh.first["alive"]
        for _ in range(3):
            during = clients.round(5000)
            assert during["dead"] == {}
            assert during["alive"] == before["alive"]
        assert lab.states("lb1")["s3"] == "draining"
        clients.close()
        lab.ask("lb1", "reload", str(lab.config(drain_idle=1.0)))
        wait_for(lambda: lab.states("lb1")["s3"] == "down", 30, "the drain does not end")
        assert fresh.round(1000)["dead"] == {}
        lab.ask("lb1", "undrain", "s3")
        wait_for(lambda: lab.states("lb1")["s3"] == "up", 10, "s3 does not come back")
        again = lab.connect(200)
        assert "s3" in again.first["alive"]
        again.close()
        fresh.close()


def test_killed_while_pinned_packets_keep_flowing_and_the_next_adopts(
    lab_name: str, tmp_path: Path
) -> None:
    with BalancerLab(lab_name, tmp_path, "ipip") as lab:
        config = lab.config(pin=True)
        lab.balance("lb1", config)
        try:
            clients = lab.connect(300)
            before = clients.round(1000)
            assert before["dead"] == {}
            lab.kill("lb1")
            assert clients.round(5000)["alive"] == before["alive"]
            fresh = lab.connect(100)
            assert fresh.first["dead"] == {}
            assert set(fresh.first["alive"]) == set(SERVERS)
            second = lab.balance("lb1", config)
            shown = lab.ask("lb1", "show")["vips"][0]
            assert shown["new_flows"] >= 400  # the counters went on
            assert clients.round(5000)["alive"] == before["alive"]
            # Flows of before are known to it: a drain leaves them where they are.
            lab.ask("lb1", "drain", "s1")
            assert clients.round(5000)["alive"] == before["alive"]
            fresh.close()
            clients.close()
            second.send_signal(signal.SIGINT)
            assert second.wait(80) == 130
        finally:
            assert lab.ask("lb1", "unpin", "wp0")["unpinned"] is True
        assert "xdp" not in lab.run("lb1", "ip", "link", "show", "wp0")


def test_a_hangup_reads_the_file_again_and_a_mistake_in_it_changes_nothing(
    lab_name: str, tmp_path: Path
) -> None:
    with BalancerLab(lab_name, tmp_path, "ipip") as lab:
        path = lab.config(drain_idle=1.0)
        running = lab.balance("lb1", path)
        good = path.read_text()
        path.write_text(good.replace("port = 8000", "port = 80000"))
        running.send_signal(signal.SIGHUP)
        wait_for(lambda: "port = 80000 is not usable" in lab.log(), 10, "the mistake is not told")
        assert set(lab.states("lb1")) == set(SERVERS)
        last = good.index('[[balancer.server]]\nname = "s4"')
        path.write_text(good[:last])
        running.send_signal(signal.SIGHUP)
        wait_for(lambda: set(lab.states("lb1")) == set(SERVERS[:3]), 20, "s4 does not leave")
        clients = lab.connect(100)
        assert clients.first["dead"] == {}
        assert set(clients.first["alive"]) == set(SERVERS[:3])
        clients.close()


def test_killed_without_a_pin_nothing_stays_attached(lab_name: str, tmp_path: Path) -> None:
    with BalancerLab(lab_name, tmp_path, "ipip") as lab:
        lab.balance("lb1", lab.config())
        assert "xdp" in lab.run("lb1", "ip", "link", "show", "wp0")
        lab.kill("lb1")
        wait_for(lambda: "xdp" not in lab.run("lb1", "ip", "link", "show", "wp0"), 10, "XDP stays")
        assert "wplb" not in lab.run("lb1", "ip", "link")
        lab.balance("lb1", lab.config())  # what the killed one left does not stand in the way
