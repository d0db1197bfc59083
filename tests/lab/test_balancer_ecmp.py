"""Two balancers behind ECMP, announced over BGP by FRR: one dies, and the flows go on."""

from __future__ import annotations

import signal
from contextlib import ExitStack
from pathlib import Path

import pytest
from balancer_frr import Frr, missing, speaker
from balancer_lab import SERVERS, VIP, BalancerLab, wait_for

pytestmark = [pytest.mark.lab, pytest.mark.timeout(900)]


@pytest.fixture(autouse=True)
def _frr_or_skip() -> None:
    if (why := missing()) is not None:
        pytest.skip(why)


def test_a_balancer_dies_and_its_flows_go_on_over_the_other(lab_name: str, tmp_path: Path) -> None:
    with BalancerLab(lab_name, tmp_path, "ipip", balancers=2) as lab, ExitStack() as stack:
        ours = {lab.address(host): 65001 for host in lab.balancers}
        router = speaker(65000, "10.77.0.1", ours)
        stack.enter_context(Frr(lab.lab["router"], f"{lab_name}r", router))
        speakers = {}
        for host in lab.balancers:
            interface = lab.lab[host].interface
            config = speaker(65001, interface.ipv4, {interface.peer.ipv4: 65000})
            frr = Frr(lab.lab[host], f"{lab_name}{host}", config)
            speakers[host] = stack.enter_context(frr)
            shell = {
                "announce": "frr",
                "announce_as": 65001,
                "announce_vtysh": f"vtysh -N {frr.space}",
            }
            lab.balance(host, lab.config(**shell))

        def hops() -> int:
            return lab.run("router", "ip", "route", "show", VIP).count("via")

        wait_for(lambda: hops() == 2, 30, f"the VIP is not announced twice: {lab.log()}")
        clients = lab.connect(600)
        before = clients.round(2000)
        assert before["dead"] == {}
        taken = [lab.ask(host, "show")["vips"][0]["new_flows"] for host in lab.balancers]
        assert sum(taken) == 600
        assert min(taken) > 150  # the router spread them

        lab.run("lb2", "ip", "link", "set", "wp0", "down")
        lab.kill("lb2")
        speakers["lb2"].stop()
        wait_for(lambda: hops() == 1, 20, "the dead balancer's route stays")
        after = clients.round(20_000, 60)
        assert after["dead"] == {}, lab.log()
        assert after["alive"] == before["alive"]
        clients.close()

        fresh = lab.connect(200)
        assert fresh.first["dead"] == {}
        assert set(fresh.first["alive"]) == set(SERVERS)
        fresh.close()
        lab.running["lb1"].send_signal(signal.SIGINT)
        assert lab.running["lb1"].wait(30) == 130
        wait_for(lambda: hops() == 0, 20, "the VIP is not withdrawn at the end")


def test_withdrawn_while_too_few_servers_are_up(lab_name: str, tmp_path: Path) -> None:
    with BalancerLab(lab_name, tmp_path, "ipip") as lab, ExitStack() as stack:
        router = speaker(65000, "10.77.0.1", {lab.address("lb1"): 65001})
        stack.enter_context(Frr(lab.lab["router"], f"{lab_name}r", router))
        interface = lab.lab["lb1"].interface
        config = speaker(65001, interface.ipv4, {interface.peer.ipv4: 65000})
        frr = stack.enter_context(Frr(lab.lab["lb1"], f"{lab_name}lb1", config))
        lab.run("router", "ip", "route", "del", VIP)
        shell = {"announce": "frr", "announce_as": 65001, "announce_vtysh": f"vtysh -N {frr.space}"}
        lab.balance("lb1", lab.config(**shell))

        def announced() -> bool:
            return "proto bgp" in lab.run("router", "ip", "route", "show", VIP)

        wait_for(announced, 30, f"the VIP is not announced: {lab.log()}")
        for server in SERVERS:
            lab.ask("lb1", "drain", server)
        wait_for(lambda: not announced(), 20, "the VIP is not withdrawn")
        lab.ask("lb1", "undrain", "s1")
        wait_for(announced, 20, "the VIP is not announced again")
