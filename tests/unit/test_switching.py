# SPDX-License-Identifier: Apache-2.0
"""What a switch decides: its configuration, its judgement of counters, its state machine."""

from __future__ import annotations

import dataclasses
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import wirepath as wp
from wirepath.switching import Health, Judge, Kind, Machine, Phase, Reading, SwitchConfig, Way
from wirepath.switching.config import ALL_FLOWS
from wirepath.switching.machine import Divert, Open

SECOND = 1_000_000_000
FIT, UNFIT, UNKNOWN = Health(True), Health(False, "broken"), Health(None)


# --- configuration ------------------------------------------------------------------------------
def test_config_from_text_and_lists():
    config = SwitchConfig(policy="af_xdp/generic, socket", flows=["239.1.1.1:9001"])
    assert config.bypass == ["af_xdp/generic"]
    assert config.kernel == "socket"
    assert config.wanted == ALL_FLOWS
    assert SwitchConfig(share=12.5).wanted == ALL_FLOWS // 8
    assert Way.of("dpdk:0000:3b:00.0").device == "0000:3b:00.0"
    assert Way.of("af_xdp/native:eth7") == Way("af_xdp/native:eth7", "af_xdp", "native", "eth7")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"policy": "af_xpd,socket"}, "did you mean af_xdp"),
        ({"policy": "socket,af_xdp"}, "the last"),
        ({"policy": "socket/native"}, "af_xdp/native"),
        ({"policy": "af_xdp,af_xdp"}, "named once"),
        ({"policy": ""}, "policy"),
        ({"policy": "auto"}, "policy"),
        ({"share": 101}, "0 to 100"),
        ({"share": "ten"}, "0 to 100"),
        ({"flows": "239.1.1.1"}, "GROUP:PORT"),
        ({"flows": "*:9001"}, "not \\*"),
        ({"hold_down": 20.0, "max_hold_down": 10.0}, "at least hold_down"),
        ({"interval": 0}, "0.02 to 10"),
        ({"holddown": 1}, "did you mean hold_down"),
    ],
)
def test_config_errors_name_field_and_range(values, words):
    with pytest.raises(wp.ConfigError, match=words):
        SwitchConfig(**values)


def test_config_reads_back_from_toml(tmp_path):
    file = tmp_path / "switch.toml"
    file.write_text(
        '[switch]\npolicy = ["af_xdp", "socket"]\nshare = 30\nflows = ["[ff15::1]:9001"]\n'
    )
    config = SwitchConfig.from_toml(file)
    assert (config.share, config.policy) == (30, ("af_xdp", "socket"))
    assert "ff15::1" in str(config.named)


# --- judgement ----------------------------------------------------------------------------------
def readings(changes, *, count=12, step=0.1, kernel=None, **fixed):
    """A second and more of readings whose counters rise by `changes` each."""
    out = []
    for i in range(count):
        way = {"rx_packets": 0, "steer.matched": 0, "steer.passed": 0, "nic.rx_packets": 0}
        way |= {name: n * i for name, n in changes.items()}
        values = {"polls": i * 100, **fixed}
        behind = {name: n * i for name, n in (kernel or {}).items()}
        out.append(Reading(round(i * step * SECOND), way, behind, **values))
    return out


def verdict(them, **config):
    judge = Judge(SwitchConfig(**config))
    found = [judge.look(reading) for reading in them]
    return next((h for h in found if h.fit is False), found[-1])


GOOD = {"rx_packets": 50, "steer.matched": 50, "nic.rx_packets": 50}


def test_judge_a_way_that_works_and_one_without_traffic_are_fit():
    assert verdict(readings(GOOD)).fit is True
    assert verdict(readings({})).fit is True
    # Others' traffic, which the program lets pass.
    assert verdict(readings({"steer.passed": 50, "nic.rx_packets": 50})).fit is True


@pytest.mark.parametrize(
    ("changes", "fixed", "word"),
    [
        ({"nic.rx_packets": 50}, {}, "bypassed"),
        ({"nic.rx_packets": 50, "steer.matched": 50}, {}, "stuck"),
        ({"steer.passed": 5, "nic.rx_packets": 5}, {"kernel": {"rx_packets": 5}}, "silent"),
        (GOOD | {"drop.rx_ring_full": 5}, {}, "lossy.*rx_ring_full"),
        (GOOD | {"nic.rx_errors": 5}, {}, "errors"),
        (GOOD, {"polls": 7}, "stalled"),
        (GOOD, {"finished": True}, "interface is gone"),
    ],
)
def test_judge_names_what_is_wrong(changes, fixed, word):
    kernel = fixed.pop("kernel", None)
    health = verdict(readings(changes, count=40, kernel=kernel, **fixed))
    assert health.fit is False
    assert re.search(word, health.reason)


def test_judge_does_not_take_for_trouble_what_is_none():
    # A share is taken only, so frames by the kernel's way are as they should be.
    passed = {"steer.passed": 50, "nic.rx_packets": 50}
    part = readings(passed, kernel={"rx_packets": 50}, share=ALL_FLOWS // 2)
    assert verdict(part).fit is True
    # Nobody reads the port, or the link is down: nothing can be said.
    assert verdict(readings({"nic.rx_packets": 50}, polls=3, claimed=False, count=40)).fit is True
    assert verdict(readings({"nic.rx_packets": 50}, link="down")).fit is None
    # Too few frames for a ratio, and drops of sending.
    few = {"rx_packets": 1, "drop.rx_ring_full": 1, "steer.matched": 2, "nic.rx_packets": 2}
    assert verdict(readings(few)).fit is True
    assert verdict(readings(GOOD | {"drop.tx_ring_full": 50})).fit is True


def test_judge_forgets_when_the_share_changes():
    judge = Judge(SwitchConfig())
    them = readings({"nic.rx_packets": 50})
    halves = [dataclasses.replace(r, share=ALL_FLOWS // 2) if i >= 6 else r
              for i, r in enumerate(them)]  # fmt: skip
    assert [judge.look(r).fit for r in halves].count(False) == 0


# --- the state machine --------------------------------------------------------------------------
class Driver:
    """Does at once what the machine says; `refusing` has the ways that do not open."""

    def __init__(self, machine, *, splits=True):
        self.machine = machine
        self.now = 0
        self.refusing: dict[str, bool] = {}  # way -> whether that lasts
        self.splits = splits
        self.opened = 0
        self.done = []

    def run(self, seconds=0.0, health=FIT):
        end = self.now + round(seconds * SECOND)
        while True:
            self.machine.look(health, self.now)
            for _ in range(20):
                action = self.machine.step(self.now)
                if action is None:
                    break
                self.do(action)
            else:
                raise AssertionError(f"it goes round: {self.done[-6:]}")
            if self.now >= end:
                return self
            self.now += SECOND // 10

    def do(self, action):
        machine = self.machine
        assert machine.step(self.now) is None  # one at a time
        self.done.append(action)
        if isinstance(action, Open):
            self.opened += 1
            assert self.opened == 1
            if action.way in self.refusing:
                self.opened -= 1
                machine.refused(action.way, "busy", self.refusing[action.way], self.now)
            else:
                machine.opened(action.way, self.splits, self.now)
        elif isinstance(action, Divert):
            machine.diverted(action.way, action.share, action.flows, self.now)
        else:
            self.opened -= 1
            machine.closed(action.way, self.now)

    def kinds(self):
        out = [each.kind for each in self.machine.happened]
        self.machine.happened.clear()
        return out


TWO = "af_xdp/native,af_xdp/generic,socket"


def test_machine_opens_the_best_and_gives_it_its_share_at_once():
    driver = Driver(Machine(SwitchConfig(share=10))).run()
    assert driver.done == [Open("af_xdp/native"), Divert("af_xdp/native", 6554, ())]
    assert driver.kinds() == [Kind.OPENED, Kind.ACTIVE]
    assert driver.machine.phase is Phase.ACTIVE


def test_machine_takes_the_next_way_and_tries_the_best_again():
    driver = Driver(Machine(SwitchConfig(policy=TWO, hold_down=5, successes=3)))
    driver.refusing = {"af_xdp/native": False}
    driver.run(1)
    assert driver.machine.current == "af_xdp/generic"
    driver.run(10)  # tried again after 5 s, refused again, on hold for 10 s
    assert driver.machine.current == "af_xdp/generic"
    assert driver.machine.candidates["af_xdp/native"].failures == 2
    driver.refusing = {}
    driver.run(10)
    assert driver.machine.current == "af_xdp/native"
    assert driver.machine.share == ALL_FLOWS
    assert Kind.RETURN in driver.kinds()


def test_machine_does_not_try_again_what_cannot_be_had():
    driver = Driver(Machine(SwitchConfig(hold_down=1)))
    driver.refusing = {"af_xdp/native": True}
    driver.run(600)
    assert driver.done == [Open("af_xdp/native")]
    driver.refusing = {}
    driver.machine.configure(SwitchConfig(hold_down=1, share=50))
    driver.run(5)
    assert driver.machine.share == ALL_FLOWS // 2


def test_machine_falls_back_and_returns_after_hold_down_and_good_looks():
    driver = Driver(Machine(SwitchConfig(hold_down=5, successes=10))).run(1)
    driver.run(0, UNFIT)
    assert driver.machine.current is None
    failed = driver.now
    driver.run(4.8)
    assert driver.machine.current is None
    driver.run(0.3)
    assert (driver.machine.phase, driver.machine.share) == (Phase.TRIAL, 0)
    driver.run(0.5, UNKNOWN)  # nothing said is no good look
    driver.run(0.8)
    assert driver.machine.phase is Phase.TRIAL
    driver.run(0.5)
    assert (driver.machine.phase, driver.machine.share) == (Phase.ACTIVE, ALL_FLOWS)
    assert driver.now - failed > 5.9 * SECOND
    assert driver.kinds() == [
        *(Kind.OPENED, Kind.ACTIVE, Kind.FALL_BACK, Kind.CLOSED),
        *(Kind.OPENED, Kind.RETURN),
    ]


def test_machine_damps_flaps_and_forgets_them_when_stable():
    config = SwitchConfig(hold_down=1, max_hold_down=8, successes=1, stable=30)
    driver = Driver(Machine(config)).run()
    waits = []
    for _ in range(6):
        driver.run(0.2, UNFIT)
        failed = driver.now
        while driver.machine.share == 0:
            driver.run(0.1)
        waits.append((driver.now - failed) / SECOND)
    assert [round(w) for w in waits] == [1, 2, 4, 8, 8, 8]
    driver.run(31)
    assert driver.machine.candidates["af_xdp/native"].failures == 0
    driver.run(0, UNFIT)
    failed = driver.now
    while driver.machine.share == 0:
        driver.run(0.1)
    assert round((driver.now - failed) / SECOND) == 1


def test_machine_follows_its_configuration():
    driver = Driver(Machine(SwitchConfig(policy=TWO))).run()
    for share in (0, 30, 100):
        driver.machine.configure(driver.machine.config.replace(share=share))
        driver.run()
        assert driver.machine.share == round(share * ALL_FLOWS / 100)
    driver.machine.configure(driver.machine.config.replace(share=0, flows=("239.1.1.1:1",)))
    driver.run()
    assert driver.done[-1] == Divert("af_xdp/native", 0, ("239.1.1.1:1",))
    driver.machine.configure(SwitchConfig(policy="af_xdp/generic,socket"))
    driver.run()
    assert driver.machine.current == "af_xdp/generic"
    driver.machine.configure(SwitchConfig(policy="af_xdp/generic,socket", share=0, standby=False))
    driver.run()
    assert driver.machine.current is None
    driver.machine.configure(SwitchConfig(policy="socket"))
    driver.run(60)
    assert driver.machine.current is None


def test_machine_a_way_that_cannot_be_shared_is_whole_or_closed():
    driver = Driver(Machine(SwitchConfig(policy="ef_vi,socket")), splits=False).run()
    assert driver.machine.share == ALL_FLOWS
    driver.machine.configure(SwitchConfig(policy="ef_vi,socket", share=50))
    driver.run(100)
    assert driver.machine.current is None
    assert "share" in driver.machine.candidates["ef_vi"].reason
    driver.machine.configure(SwitchConfig(policy="ef_vi,socket"))
    driver.run()
    assert driver.machine.share == ALL_FLOWS


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["fit", "unfit", "unknown", "share", "policy", "refuse", "standby"]),
            st.integers(0, 100),
            st.floats(0, 20),
        ),
        max_size=40,
    ),
    st.booleans(),
)
def test_machine_whatever_happens(story, splits):
    """One way open at a time, never more than its share, no way before its hold-down, and at rest
    what was asked for is in force or its reason is told."""
    driver = Driver(
        Machine(SwitchConfig(policy=TWO, hold_down=2, max_hold_down=10, successes=2)), splits=splits
    )
    machine = driver.machine
    driver.run()
    for what, number, seconds in story:
        health = {"unfit": UNFIT, "unknown": UNKNOWN}.get(what, FIT)
        if what == "share":
            machine.configure(machine.config.replace(share=float(number)))
        elif what == "policy":
            ways = ("socket", "af_xdp/generic,socket", TWO)[number % 3]
            machine.configure(machine.config.replace(policy=ways))
        elif what == "standby":
            machine.configure(machine.config.replace(standby=number % 2 == 0))
        elif what == "refuse":
            driver.refusing = {} if number % 2 else {"af_xdp/native": number % 4 == 0}
        before = len(driver.done)
        early = {way: each.not_before for way, each in machine.candidates.items()}
        start = driver.now
        driver.run(min(seconds, 1.9), health)
        for action in driver.done[before:]:
            if isinstance(action, Open):
                assert early.get(action.way, 0) <= driver.now
            if isinstance(action, Divert):
                assert action.share == machine.config.wanted
        assert driver.opened == (machine.current is not None)
        assert machine.share in (0, machine.config.wanted, *([] if splits else [ALL_FLOWS]))
        assert driver.now >= start
    driver.refusing = {}
    driver.run(25)
    if machine.current is not None and splits:
        assert machine.share == machine.config.wanted
        assert machine.current == machine.config.bypass[0] or any(
            each.given_up for each in machine.candidates.values()
        )
    if machine.current is None and not machine.idle:
        assert all(each.reason for each in machine.candidates.values())
