"""The balancer's state machine: health, drains, weights, slow start, reload, adoption."""

from __future__ import annotations

import numpy as np
import pytest

from wirepath.balancer.config import BalancerConfig
from wirepath.balancer.controller import (
    Announce,
    Change,
    Controller,
    RemoveVip,
    SetReal,
    SetTable,
    Told,
)
from wirepath.balancer.state import Kept, RealState, Room
from wirepath.balancer.tables import shares
from wirepath.errors import ConfigError

SIZE = 1021


def config(servers: int = 4, **values: object) -> BalancerConfig:
    vip = {"name": "web", "address": "192.0.2.10", "port": 80, "rise": 2, "fall": 3}
    vip |= values.pop("vip", {})  # type: ignore[arg-type]
    return BalancerConfig(
        interface="wp0",
        table_size=SIZE,
        vip=[vip],
        server=[{"name": f"s{i}", "address": f"10.0.0.{i + 1}"} for i in range(servers)],
        **values,
    )


class Plane:
    """Applies changes as a data path would, and checks what may be asked of their order."""

    def __init__(self) -> None:
        self.reals: dict[int, SetReal] = {}
        self.tables: dict[int, SetTable] = {}
        self.announced: set[str] = set()
        self.told: list[str] = []

    def apply(self, changes: list[Change]) -> list[Change]:
        for change in changes:
            match change:
                case SetReal():
                    self.reals[change.number] = change
                case SetTable():
                    before = self.tables.get(change.number)
                    assert before is None or before.half != change.half
                    self.tables[change.number] = change
                case RemoveVip():
                    self.tables.pop(change.number, None)
                case Announce(vip, wanted):
                    (self.announced.add if wanted else self.announced.discard)(vip.name)
                case Told(text):
                    self.told.append(text)
            for table in self.tables.values():
                for number in shares(table.table):
                    assert self.reals[number].state is RealState.UP, change
        return changes

    def shares(self, vip: int = 0) -> dict[str, float]:
        of_number = shares(self.tables[vip].table)
        return {self.reals[n].server.name: share for n, share in of_number.items()}


def started(servers: int = 4, **values: object) -> tuple[Controller, Plane]:
    controller, plane = Controller(config(servers, **values)), Plane()
    plane.apply(controller.start(0.0))
    for i in range(servers):
        plane.apply(controller.checked("web", f"s{i}", True, 0.0))
    return controller, plane


def test_no_server_is_used_before_its_first_check_and_the_vip_not_announced() -> None:
    controller, plane = Controller(config()), Plane()
    plane.apply(controller.start(0.0))
    assert plane.shares() == {}
    assert plane.announced == set()
    plane.apply(controller.checked("web", "s1", True, 0.1))
    assert plane.shares() == {"s1": 1.0}
    assert plane.announced == {"web"}


def test_a_dead_server_goes_after_three_checks_and_only_its_flows_move() -> None:
    controller, plane = started()
    before = plane.tables[0].table.copy()
    number = controller.vips["web"].reals["s2"].number
    assert plane.apply(controller.checked("web", "s2", False, 1.0, "refused")) == []
    assert plane.apply(controller.checked("web", "s2", False, 2.0, "refused")) == []
    plane.apply(controller.checked("web", "s2", False, 3.0, "refused"))
    assert plane.told[-1] == "web/s2: down: refused"
    assert plane.reals[number].state is RealState.DOWN
    assert "s2" not in plane.shares()
    change = plane.tables[0]
    others = before != number
    assert np.mean((before != change.table) & others) == pytest.approx(change.moved.needless)
    assert change.moved.needless < 0.1
    plane.apply(controller.checked("web", "s2", True, 4.0))
    assert "s2" not in plane.shares()  # rise is 2
    plane.apply(controller.checked("web", "s2", True, 5.0))
    assert np.array_equal(plane.tables[0].table, before)


def test_withdrawn_where_too_few_servers_are_up() -> None:
    controller, plane = started(3, vip={"min_servers": 2, "fall": 1})
    plane.apply(controller.checked("web", "s0", False, 1.0))
    assert plane.announced == {"web"}
    plane.apply(controller.checked("web", "s1", False, 1.0))
    assert plane.announced == set()
    assert plane.shares() == {"s2": 1.0}  # whoever still gets here is served


def test_drain_ends_when_no_packets_come_any_more() -> None:
    controller, plane = started(drain_idle=10.0)
    number = controller.vips["web"].reals["s1"].number
    plane.apply(controller.drain("s1", 100.0))
    assert plane.reals[number].state is RealState.DRAINING
    assert "s1" not in plane.shares()
    plane.apply(controller.tick(105.0, {number: 7}))
    plane.apply(controller.tick(112.0, {number: 7}))
    assert plane.reals[number].state is RealState.DRAINING
    assert controller.next_tick(112.0) == pytest.approx(115.0)
    plane.apply(controller.tick(115.0, {number: 7}))
    assert plane.reals[number].state is RealState.DOWN
    assert plane.told[-1] == "web/s1: drained, no packets any more"
    plane.apply(controller.undrain("s1", 120.0))
    assert "s1" in plane.shares()


def test_drain_ends_when_its_time_is_up() -> None:
    controller, plane = started(drain_seconds=30.0, drain_idle=10.0)
    number = controller.vips["web"].reals["s1"].number
    plane.apply(controller.drain("s1", 0.0))
    for second in range(1, 31):
        plane.apply(controller.tick(float(second), {number: second}))
    assert plane.reals[number].state is RealState.DOWN
    assert plane.told[-1] == "web/s1: drained, its time was up"


def test_slow_start_raises_the_share_step_by_step() -> None:
    controller, plane = started(slow_start=100.0)
    for _ in range(3):
        plane.apply(controller.checked("web", "s3", False, 10.0))
    for _ in range(2):
        plane.apply(controller.checked("web", "s3", True, 50.0))
    seen = [plane.shares()["s3"]]
    now = 50.0
    while (step := controller.next_tick(now)) is not None:
        assert now < step <= 151.0
        now = step
        plane.apply(controller.tick(now))
        seen.append(plane.shares()["s3"])
    assert len(seen) == 10
    assert seen == sorted(seen)
    assert seen[0] == pytest.approx(0.1 / 3.1, abs=0.003)
    assert seen[-1] == pytest.approx(0.25, abs=0.002)


def test_weights_change_shares_and_say_what_they_moved() -> None:
    controller, plane = started()
    plane.apply(controller.weigh("s0", 5, 1.0))
    assert plane.shares()["s0"] == pytest.approx(5 / 8, abs=0.002)
    assert plane.tables[0].moved.share >= 5 / 8 - 1 / 4 - 0.01
    plane.apply(controller.weigh("s0", 0, 2.0))
    assert "s0" not in plane.shares()
    number = controller.vips["web"].reals["s0"].number
    assert plane.reals[number].state is RealState.UP  # keeps what it has
    with pytest.raises(ConfigError, match="weight = 10001"):
        controller.weigh("s0", 10_001, 3.0)


def test_unknown_names_are_told_with_what_was_meant() -> None:
    controller, _ = started()
    with pytest.raises(ConfigError, match=r'server = "ss1" .*did you mean s1'):
        controller.drain("ss1", 1.0)
    with pytest.raises(ConfigError, match=r'vip = "wep" .*did you mean web'):
        controller.drain("s1", 1.0, "wep")
    assert controller.checked("web", "gone", True, 1.0) == []


def test_reload_drains_those_who_leave_and_numbers_are_not_shared() -> None:
    controller, plane = started(4, drain_idle=5.0)
    leaving = controller.vips["web"].reals["s3"]
    smaller = config(3, drain_idle=5.0)
    plane.apply(controller.reload(smaller, 10.0))
    assert plane.reals[leaving.number].state is RealState.DRAINING
    assert "s3" not in plane.shares()
    plane.apply(controller.tick(15.1, {}))
    assert "s3" not in controller.vips["web"].reals
    assert plane.reals[leaving.number].state is RealState.DOWN
    again = config(5, drain_idle=5.0)
    plane.apply(controller.reload(again, 20.0))
    taken = [real.number for real in controller.vips["web"].reals.values()]
    assert len(set(taken)) == 5
    back = controller.vips["web"].reals["s3"]
    assert back.generation > leaving.generation
    with pytest.raises(ConfigError, match=r"table_size = 251 .* restart"):
        controller.reload(again.replace(table_size=251), 21.0)


def test_a_reload_without_room_for_it_changes_nothing() -> None:
    controller = Controller(config(), room=Room(vips=2, reals=6))
    plane = Plane()
    plane.apply(controller.start(0.0))
    for i in range(4):
        plane.apply(controller.checked("web", f"s{i}", True, 0.0))
    before, states = controller.kept(), dict(plane.reals)
    others = BalancerConfig(
        interface="wp0",
        table_size=SIZE,
        vip=[v.replace(servers=("t0", "t1", "t2")) for v in config().vip],
        server=[{"name": f"t{i}", "address": f"10.0.1.{i + 1}"} for i in range(3)],
    )
    with pytest.raises(ConfigError, match=r"3 servers .* new, beside 4 .* room for 6"):
        controller.reload(others, 1.0)
    assert controller.kept() == before
    assert controller.config == config()
    assert controller.tick(2.0, {}) == []
    assert plane.reals == states
    # With room for it again it goes: two leave, and three come once these are drained.
    smaller = config(2, drain_idle=5.0)
    plane.apply(controller.reload(smaller, 10.0))
    plane.apply(controller.tick(15.1, {}))
    plane.apply(controller.reload(others, 16.0))
    numbers = [r.number for r in controller.vips["web"].reals.values()]
    assert len(set(numbers)) == 5
    assert max(numbers) <= 6
    three_vips = [{"name": f"v{i}", "address": f"192.0.2.{i}", "port": 1} for i in range(3)]
    with pytest.raises(ConfigError, match=r"vip = 3 is not usable: .*at most 2"):
        controller.reload(others.replace(vip=three_vips), 17.0)


def test_a_start_that_finds_all_numbers_kept_says_what_to_do() -> None:
    kept = Kept({"old": (0, 0)}, {f"old/s{i}": (i + 1, 1, 1, "10.0.0.1") for i in range(3)}, 3)
    with pytest.raises(ConfigError, match=r"all 3 records .* lb unpin"):
        Controller(config(), kept, Room(vips=4, reals=3)).start(0.0)


def test_another_address_is_another_record_and_the_old_one_takes_nothing() -> None:
    controller, plane = started()
    old = controller.vips["web"].reals["s1"].number
    moved = config()
    servers = [s.replace(address="10.0.9.9") if s.name == "s1" else s for s in moved.server]
    changes = plane.apply(controller.reload(moved.replace(server=tuple(servers)), 1.0))
    new = controller.vips["web"].reals["s1"].number
    assert new != old
    assert plane.reals[old].state is RealState.DOWN
    assert plane.reals[old].server.address == "10.0.0.2"
    assert plane.reals[new].server.address == "10.0.9.9"
    kinds = [(type(c).__name__, getattr(c, "number", None)) for c in changes]
    # The table lets go of the old record before that goes down.
    assert kinds.index(("SetTable", 0)) < kinds.index(("SetReal", old))
    plane.apply(controller.checked("web", "s1", True, 2.0))
    assert plane.reals[new].state is RealState.UP
    # Its number is free again.
    plane.apply(controller.reload(config(5).replace(server=(*servers, config(5).server[4])), 3.0))
    assert controller.vips["web"].reals["s4"].number == old


@pytest.mark.parametrize(
    "values", [{"mtu": 9000}, {"udp_timeout": 1.0}, {"source4": "10.9.9.9"}, {"quic_config": 3}]
)
def test_what_the_running_program_was_made_with_needs_a_restart(values: dict[str, object]) -> None:
    controller, _ = started()
    name = next(iter(values))
    with pytest.raises(ConfigError, match=rf"{name} = .* restart the balancer"):
        controller.reload(config(**values), 1.0)


def test_reload_removes_a_service() -> None:
    controller, plane = started()
    plane.apply(controller.reload(config().replace(vip=()), 1.0))
    assert plane.announced == set()
    assert plane.tables == {}
    assert all(real.state is RealState.DOWN for real in plane.reals.values())


def test_the_next_process_goes_on_with_the_same_numbers_and_flows() -> None:
    controller, plane = started()
    plane.apply(controller.checked("web", "s0", False, 1.0))
    plane.apply(controller.drain("s1", 2.0))
    kept = Kept.of(controller.kept().plain())
    half = controller.vips["web"].half
    second, other = Controller(config(), kept), Plane()
    other.apply(second.start(0.0))
    for name in ("s0", "s1", "s2", "s3"):
        ours, theirs = controller.vips["web"].reals[name], second.vips["web"].reals[name]
        assert (ours.number, ours.generation) == (theirs.number, theirs.generation)
    assert np.array_equal(other.tables[0].table, plane.tables[0].table)
    assert other.tables[0].half != half  # the one in use is not written over
    assert second.vips["web"].reals["s1"].state is RealState.DRAINING


def test_a_server_that_moved_between_two_processes_takes_no_flows_along() -> None:
    controller, _ = started()
    kept = Kept.of(controller.kept().plain())
    before = controller.vips["web"].reals["s1"]
    servers = [s.replace(address="10.0.9.9") if s.name == "s1" else s for s in config().server]
    second, plane = Controller(config().replace(server=tuple(servers)), kept), Plane()
    plane.apply(second.start(0.0))
    moved = second.vips["web"].reals["s1"]
    assert (moved.number, moved.healthy) != (before.number, True)
    assert moved.number not in {number for number, *_ in kept.reals.values()}
    assert moved.generation > before.generation
    assert plane.reals[moved.number].state is RealState.DOWN
    assert before.number not in plane.reals  # the plane empties what nobody names
    for name in ("s0", "s2", "s3"):
        ours, theirs = controller.vips["web"].reals[name], second.vips["web"].reals[name]
        assert (ours.number, ours.generation) == (theirs.number, theirs.generation)
        assert theirs.state is RealState.UP
    # The number is free again.
    plane.apply(second.reload(config(5).replace(server=(*servers, config(5).server[4])), 1.0))
    assert second.vips["web"].reals["s4"].number == before.number


def test_the_same_configuration_gives_the_same_table_whatever_the_order() -> None:
    _, plane = started()
    turned = config()
    turned = turned.replace(server=tuple(reversed(turned.server)))
    controller, other = Controller(turned), Plane()
    other.apply(controller.start(0.0))
    for i in range(4):
        other.apply(controller.checked("web", f"s{i}", True, 0.0))
    ours = [plane.reals[n].server.name for n in plane.tables[0].table]
    theirs = [other.reals[n].server.name for n in other.tables[0].table]
    assert ours == theirs
