"""The balancer's state machine over the maps of the native program, on a clock of the test."""

from __future__ import annotations

import numpy as np
import pytest

from wirepath import programs
from wirepath.balancer import layout
from wirepath.balancer.config import BalancerConfig
from wirepath.balancer.controller import Change, Controller, RemoveVip, SetReal, SetTable
from wirepath.balancer.maps import ProgramMaps
from wirepath.balancer.plane import Plane, entries
from wirepath.balancer.state import RAMP_STEPS, Kept

SIZE, SLOW = 1021, 100.0
MAC = bytes.fromhex("020000000001")


def config(**values: object) -> BalancerConfig:
    servers = [{"name": f"s{i}", "address": f"10.0.0.{i + 1}"} for i in range(4)]
    vip = {"name": "web", "address": "192.0.2.10", "port": 80, "rise": 1, "fall": 1}
    values = {"source4": "10.0.0.100", "vip": [vip], "server": servers} | values
    return BalancerConfig(interface="wp0", table_size=SIZE, **values)


class Running:
    """A controller whose changes are carried into the maps of a native program."""

    def __init__(self, given: BalancerConfig) -> None:
        packed = layout.program_config(given, {4: "10.0.0.100"}).tobytes()
        self.program = programs.native("maglev", config=packed, entries=entries(given))
        self.plane = Plane(ProgramMaps(self.program), given, lambda _: MAC)
        self.controller = Controller(given, room=self.plane.room)
        self.apply(self.controller.start(0.0))
        for server in given.server:
            self.apply(self.controller.checked("web", server.name, True, 0.0))

    def apply(self, changes: list[Change]) -> None:
        for change in changes:
            match change:
                case SetReal():
                    self.plane.real(change)
                case SetTable():
                    self.plane.table(change)
                case RemoveVip():
                    self.plane.remove(change)

    def reload(self, given: BalancerConfig, now: float) -> None:
        self.plane.check(given)
        changes = self.controller.reload(given, now)
        self.plane.configure(given)
        self.apply(changes)

    def number(self, server: str) -> int:
        return self.controller.vips["web"].reals[server].number

    def share(self, server: str) -> float:
        """Of the slots that packets are looked up in, those of a server."""
        _, vips = self.program.maps["vips"].arrays()
        service = next(v for v in vips if v["size"])
        _, rings = self.program.maps["rings"].arrays()
        table = rings[int(service["ring"]) :][: int(service["size"])]
        return float(np.mean(table == self.number(server)))

    def record(self, server: str) -> np.void:
        _, records = self.program.maps["servers"].arrays()
        row: np.void = records[self.number(server)]
        return row


def test_a_slow_start_is_seen_in_the_table_as_time_goes_by() -> None:
    running = Running(config(slow_start=SLOW))
    controller = running.controller
    assert running.share("s3") == pytest.approx(1 / 4, abs=1 / SIZE)
    running.apply(controller.checked("web", "s3", False, 10.0))
    assert running.share("s3") == 0
    running.apply(controller.checked("web", "s3", True, 50.0))
    for second in range(121):
        running.apply(controller.tick(50.0 + second))
        weight = min(RAMP_STEPS, 1 + int(second / SLOW * RAMP_STEPS)) / RAMP_STEPS
        assert running.share("s3") == pytest.approx(weight / (3 + weight), abs=2 / SIZE), second
    assert controller.next_tick(200.0) is None


def test_how_servers_are_reached_changes_while_running() -> None:
    running = Running(config(gue_port=6080))
    assert running.record("s1")["mode"] == layout.MODES["ipip"]
    given = config(mode="gue", gue_port=6081)
    running.reload(given, 1.0)
    for server in given.server:
        record = running.record(server.name)
        assert record["mode"] == layout.MODES["gue"]
        assert record["gue_port"] == layout.port(6081)
        assert record["state"] == 1


def test_echo_is_switched_off_and_on_while_running() -> None:
    running = Running(config())
    keys, _ = running.program.maps["vips"].arrays()
    assert sorted(keys["protocol"].tolist()) == [1, 6]
    running.reload(config(echo=False), 1.0)
    assert len(running.program.maps["vips"]) == 1
    running.reload(config(), 2.0)
    assert len(running.program.maps["vips"]) == 2


def test_a_server_that_moves_keeps_its_quic_id() -> None:
    servers = [{"name": f"s{i}", "address": f"10.0.0.{i + 1}", "quic_id": i + 7} for i in range(4)]
    vip = [{"name": "web", "address": "192.0.2.10", "port": 443, "protocol": "udp", "quic": True}]
    vip[0] |= {"check": "none"}
    running = Running(config(server=servers, vip=vip))
    before = running.number("s2")
    servers[2]["address"] = "10.0.9.9"
    running.reload(config(server=servers, vip=vip), 1.0)
    running.apply(running.controller.checked("web", "s2", True, 2.0))
    after = running.number("s2")
    assert after != before
    keys, numbers = running.program.maps["quic_servers"].arrays()
    named = {int(k) & 0xFFFF: int(n) for k, n in zip(keys, numbers, strict=True)}
    assert named[9] == after


def test_a_server_with_a_number_that_another_had_begins_its_counters_anew() -> None:
    running = Running(config())
    counted = running.program.maps["server_counters"]

    def packets(server: str) -> int:
        return int(running.plane.server_counters()["packets"][running.number(server)])

    for server in ("s1", "s2"):
        counted[running.number(server)] = (7, 700, 1)
    old, seen = running.number("s1"), packets("s1")
    assert seen >= 7  # of every slot of a per-CPU map
    running.apply(running.controller.checked("web", "s1", False, 1.0))
    running.apply(running.controller.checked("web", "s1", True, 2.0))
    assert packets("s1") == seen  # another state is no other server
    servers = [{"name": f"s{i}", "address": f"10.0.0.{i + 1}"} for i in range(4)]
    servers[1]["address"] = "10.0.9.9"
    running.reload(config(server=servers), 3.0)
    assert packets("s1") == 0
    running.reload(config(server=[*servers, {"name": "s4", "address": "10.0.0.5"}]), 4.0)
    assert running.number("s4") == old
    assert packets("s4") == 0
    assert packets("s2") == seen

    # The process that takes the maps over counts on.
    kept = Kept.of(running.controller.kept().plain())
    again = Plane(ProgramMaps(running.program), running.controller.config, lambda _: MAC)
    again.adopt(running.plane.groups)
    for change in Controller(running.controller.config, kept).start(5.0):
        if isinstance(change, SetReal):
            again.real(change)
    assert int(again.server_counters()["packets"][running.number("s2")]) == seen
