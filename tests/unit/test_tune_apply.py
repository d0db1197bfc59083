# SPDX-License-Identifier: Apache-2.0
"""Applying and restoring, on machines made of files: crashes, reboots, and other hands."""

from __future__ import annotations

import errno
import fcntl
import itertools
import json
import multiprocessing
import os
import signal
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tune_fakes import NIC, FakeMachine, fake_machine, journal_folder

from wirepath import tune
from wirepath.errors import ConfigError, DeviceBusy, StateError
from wirepath.tune import Knob
from wirepath.tune._state import locked

RX_GRO = Knob("feature", "rx-gro", "eth1")
AUTOCORKING = Knob("sysctl", "net.ipv4.tcp_autocorking")


@pytest.fixture
def machine(tmp_path: Path) -> FakeMachine:
    return fake_machine(tmp_path / "root")


@pytest.fixture
def state() -> Iterator[Path]:
    with journal_folder() as folder:
        yield folder


def tuned(machine: FakeMachine, state: Path, profile: Any = "latency") -> tune.Outcome:
    plan = tune.plan(profile, "eth1", machine=machine)
    return tune.apply(plan, machine=machine, state_dir=state)


def restored(machine: FakeMachine, state: Path, **options: Any) -> tune.Restoration:
    return tune.restore(machine=machine, state_dir=state, **options)


def result_of(done: tune.Restoration, knob: Knob) -> tune.Restored:
    (found,) = [each for each in done.knobs if each.knob == knob]
    return found


def journal(state: Path) -> Path:
    return state / "tune-machine.jsonl"


def test_apply_makes_the_plan_true_and_restore_undoes_it(machine: FakeMachine, state: Path) -> None:
    before = bare(machine.snapshot())
    outcome = tuned(machine, state)
    assert outcome.ok, [a for a in outcome.settings if a.message]
    applied = [a for a in outcome.settings if a.result == "applied"]
    assert len(applied) > 20
    for each in applied:
        assert machine.read(each.setting.knob) == each.setting.wanted == each.now
        assert each.before != each.now
    again = tune.plan("latency", "eth1", machine=machine)
    # What is left are interrupts of the queue that the channels brought: none in this tree.
    assert [str(s.knob) for s in again.changes] == []
    done = restored(machine, state)
    assert done.ok
    assert {k.result for k in done.knobs} <= {"restored", "as before"}
    assert bare(machine.snapshot()) == before
    assert not journal(state).exists()
    assert restored(machine, state).journal is None


def test_the_value_is_on_disk_before_it_is_changed(machine: FakeMachine, state: Path) -> None:
    plan = tune.plan("latency", "eth1", machine=machine)
    seen = []

    def watch(step: tune.Step) -> None:
        if step.phase != "journalled":
            return
        last = json.loads(journal(state).read_text().splitlines()[-1])
        assert (last["op"], last["name"]) == ("set", step.knob.name)
        assert last["before"] == machine.read(step.knob)
        if step.knob.interface:
            assert last["identity"] == {"name": "eth1", "mac": NIC.mac, "ifindex": NIC.ifindex}
        seen.append(step.knob)

    tune.apply(plan, machine=machine, state_dir=state, progress=watch)
    # All but the mask of a queue that the channels bring, which comes as it is wanted.
    (born,) = {s.knob for s in plan.changes} - set(seen)
    assert (len(seen), born.name) == (len(plan.changes) - 1, "queues/rx-1/rps_cpus")
    head = json.loads(journal(state).read_text().splitlines()[0])
    assert (head["boot"], head["namespace"]) == ("boot-1", "netns-1")
    assert stat.S_IMODE(journal(state).stat().st_mode) == 0o600
    assert stat.S_IMODE(state.stat().st_mode) == 0o700


def test_every_line_is_synced_before_the_change(
    machine: FakeMachine, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    real_sync, real_write = os.fsync, machine.write

    def sync(descriptor: int) -> None:
        if Path(f"/proc/self/fd/{descriptor}").readlink().suffix == ".jsonl":
            events.append("sync")
        real_sync(descriptor)

    def write(knob: Knob, value: str) -> None:
        events.append("change")
        real_write(knob, value)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(machine, "write", write)
    tuned(machine, state)
    for i, event in enumerate(events):
        if event == "change":
            assert events[i - 1] == "sync"
            assert events[i + 1] == "sync"
    assert events.count("change") > 20


def test_a_full_disk_ends_the_tune_before_the_change(
    machine: FakeMachine, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = bare(machine.snapshot())
    real = os.write
    left = 12

    def write(descriptor: int, data: bytes) -> int:
        nonlocal left
        if Path(f"/proc/self/fd/{descriptor}").readlink().suffix != ".jsonl":
            return real(descriptor, data)
        left -= 1
        if left < 0:
            real(descriptor, data[:9])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(descriptor, data)

    monkeypatch.setattr(os, "write", write)
    with pytest.raises(StateError, match=r"No space left on device\), and nothing is changed"):
        tuned(machine, state)
    monkeypatch.undo()
    assert bare(machine.snapshot()) != before
    assert restored(machine, state).ok
    assert bare(machine.snapshot()) == before


def _die_at(root: Path, state: Path, number: int, *, undo: bool) -> None:
    machine = FakeMachine(root)
    left = number

    def progress(step: tune.Step) -> None:
        nonlocal left
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1

    if undo:
        tune.restore(machine=machine, state_dir=state, progress=progress)
    else:
        plan = tune.plan("latency", "eth1", machine=machine)
        tune.apply(plan, machine=machine, state_dir=state, progress=progress)


def killed_at(root: Path, state: Path, number: int, *, undo: bool = False) -> bool:
    """True if the process was killed, False if it came to its end before that step."""
    child = multiprocessing.get_context("fork").Process(
        target=_die_at, args=(root, state, number), kwargs={"undo": undo}
    )
    child.start()
    child.join(60)
    assert child.exitcode in (0, -signal.SIGKILL)
    return child.exitcode != 0


def bare(snapshot: dict[str, str]) -> dict[str, str]:
    """A snapshot with what tuning spells otherwise in its spelling."""
    out = {name: text.replace("\t", " ") for name, text in snapshot.items()}
    place = "sys/kernel/mm/transparent_hugepage/enabled"
    return out | {place: snapshot[place].replace("always [madvise] never", "madvise")}


def test_kill_9_at_every_step_is_restored(machine: FakeMachine, state: Path) -> None:
    # Masks on the one queue there is, so that channels that change take something along.
    machine.put("sys/class/net/eth1/queues/tx-0/xps_cpus", "3")
    before = bare(machine.snapshot())
    steps = 0
    while killed_at(machine.root, state, steps):
        assert restored(machine, state).ok
        assert bare(machine.snapshot()) == before, f"killed at step {steps}"
        assert not journal(state).exists()
        steps += 1
    changes = len(tune.plan("latency", "eth1", machine=machine).settings)
    assert 60 < steps < 3 * changes
    assert restored(machine, state).ok
    assert bare(machine.snapshot()) == before


def test_kill_9_at_every_step_of_a_restore(machine: FakeMachine, state: Path) -> None:
    before = bare(machine.snapshot())
    steps = 0
    while True:
        tuned(machine, state)
        if not killed_at(machine.root, state, steps, undo=True):
            break
        assert restored(machine, state).ok
        assert bare(machine.snapshot()) == before, f"killed at step {steps}"
        steps += 1
    assert steps > 60
    assert bare(machine.snapshot()) == before


def test_queues_that_were_switched_off_get_their_masks_back(
    machine: FakeMachine, state: Path
) -> None:
    machine.device.write(Knob("channels", "combined", "eth1"), "4")
    for number, cpus in enumerate("1248"):
        machine.put(f"sys/class/net/eth1/queues/tx-{number}/xps_cpus", cpus)
    before = machine.snapshot()
    profile = tune.Profile(channels=2, xps="off")
    for step in itertools.count():
        assert tuned(machine, state, profile).ok
        assert machine.queues("eth1", "tx") == [0, 1]
        killed = killed_at(machine.root, state, step, undo=True)
        assert restored(machine, state).ok
        assert machine.snapshot() == before, f"killed at step {step}"
        assert not journal(state).exists()
        if not killed:
            break
    assert step == 3 * 5  # two masks, the channels, and the two masks that went with their queues


def test_a_line_cut_short_by_the_crash_is_of_no_change(machine: FakeMachine, state: Path) -> None:
    before = machine.snapshot()
    first = tune.Profile(features={"rx-gro": False})
    tuned(machine, state, first)
    whole = journal(state).read_bytes()
    line = (
        whole.splitlines(keepends=True)[1]
        .replace(b"rx-gro", b"rx-lro")
        .replace(b'"n": 1', b'"n": 3')
    )
    for length in range(len(line)):
        tuned(machine, state, first)
        journal(state).write_bytes(whole + line[:length])
        if length % 2:  # going on with it takes the piece away
            tuned(machine, state, tune.Profile(rx_ring=64))
        assert restored(machine, state).ok
        assert machine.snapshot() == before


def test_a_journal_with_only_the_beginning_of_its_first_line(
    machine: FakeMachine, state: Path
) -> None:
    state.mkdir(mode=0o700)
    journal(state).write_text('{"wirepath_tune": 1, "bo')
    assert restored(machine, state).journal is None
    assert tuned(machine, state).ok
    assert restored(machine, state).ok


@pytest.mark.parametrize(
    "line",
    [
        "not JSON",
        "[]",
        '{"op": "set"}',
        '{"op": "burn", "n": 1}',
        '{"op": "done", "n": 99, "now": "1"}',
        '{"op": "set", "n": 1, "kind": "eval", "name": "x", "interface": "", "identity": null, '
        '"before": "1", "wanted": "2"}',
    ],
)
def test_a_damaged_journal_is_told_and_kept(machine: FakeMachine, state: Path, line: str) -> None:
    tuned(machine, state)
    text = journal(state).read_text() + line + "\n"
    journal(state).write_text(text)
    now = machine.snapshot()
    with pytest.raises(StateError, match=r"tune-machine\.jsonl is damaged or foreign \(line \d+:"):
        restored(machine, state)
    with pytest.raises(StateError, match="damaged"):
        tuned(machine, state)
    assert machine.snapshot() == now
    assert journal(state).read_text() == text


def xps(number: int) -> Knob:
    return Knob("netdev", f"queues/tx-{number}/xps_cpus", "eth1")


def with_queues(machine: FakeMachine, masks: str) -> None:
    machine.device.write(Knob("channels", "combined", "eth1"), str(len(masks)))
    for number, cpus in enumerate(masks):
        machine.put(f"sys/class/net/eth1/queues/tx-{number}/xps_cpus", cpus)


def test_a_mask_that_somebody_changed_is_left_though_the_channels_are_restored(
    machine: FakeMachine, state: Path
) -> None:
    with_queues(machine, "1248")
    tuned(machine, state, tune.Profile(channels=2, xps="off", cores="0"))
    machine.put("sys/class/net/eth1/queues/tx-0/xps_cpus", "7")
    done = restored(machine, state)
    assert not done.ok
    assert [machine.read(xps(n)) for n in range(4)] == ["7", "2", "4", "8"]
    told = {(k.knob, k.result) for k in done.knobs if k.knob == xps(0)}
    assert told == {(xps(0), "changed")}
    assert restored(machine, state, force=True).ok
    assert [machine.read(xps(n)) for n in range(4)] == ["1", "2", "4", "8"]


def test_masks_that_a_first_tune_set_and_a_second_took_along(
    machine: FakeMachine, state: Path
) -> None:
    with_queues(machine, "0248")
    before = machine.snapshot()
    for step in itertools.count():
        tuned(machine, state, tune.Profile(xps="spread", cores="0"))
        assert machine.read(xps(3)) == "1"
        tuned(machine, state, tune.Profile(channels=2))
        killed = killed_at(machine.root, state, step, undo=True)
        assert restored(machine, state).ok
        assert machine.snapshot() == before, f"killed at step {step}"
        if not killed:
            break
    assert step > 9


def test_masks_wait_in_the_journal_while_the_channels_are_somebody_elses(
    machine: FakeMachine, state: Path
) -> None:
    with_queues(machine, "1248")
    before = machine.snapshot()
    tuned(machine, state, tune.Profile(channels=2))
    machine.device.write(Knob("channels", "combined", "eth1"), "1")
    done = restored(machine, state)
    assert not done.ok
    assert machine.read(Knob("channels", "combined", "eth1")) == "1"
    assert restored(machine, state, force=True).ok
    assert machine.snapshot() == before


# Other hands.


def test_what_somebody_else_changed_is_left_and_told(machine: FakeMachine, state: Path) -> None:
    tuned(machine, state)
    machine.put("proc/sys/net/ipv4/tcp_autocorking", "7")
    done = restored(machine, state)
    assert not done.ok
    found = result_of(done, AUTOCORKING)
    assert (found.result, found.before, found.tuned, found.now) == ("changed", "1", "0", "7")
    assert "somebody else made it 7" in found.message
    assert machine.read(AUTOCORKING) == "7"
    assert machine.read(RX_GRO) == "on"  # the others are back
    # It stays in the journal, alone, until it is said what to do with it.
    (left,) = tune.pending(state_dir=state)
    assert [e.knob for e in left.entries] == [AUTOCORKING]
    assert not restored(machine, state).ok
    assert machine.read(AUTOCORKING) == "7"
    assert restored(machine, state, force=True).ok
    assert machine.read(AUTOCORKING) == "1"
    assert not journal(state).exists()


def test_what_somebody_else_put_back_needs_nothing(machine: FakeMachine, state: Path) -> None:
    tuned(machine, state)
    machine.put("proc/sys/net/ipv4/tcp_autocorking", "1")
    done = restored(machine, state)
    assert done.ok
    assert result_of(done, AUTOCORKING).result == "as before"


def test_tuning_twice_restores_what_was_before_the_first(machine: FakeMachine, state: Path) -> None:
    before = bare(machine.snapshot())
    tuned(machine, state, "latency")
    tuned(machine, state, "throughput")
    assert machine.read(RX_GRO) == "on"
    assert machine.read(Knob("ring", "rx", "eth1")) == "4096"
    assert restored(machine, state).ok
    assert bare(machine.snapshot()) == before


def test_a_change_between_two_tunes_is_what_is_restored(machine: FakeMachine, state: Path) -> None:
    profile = tune.Profile(sysctls={AUTOCORKING.name: 0})
    tuned(machine, state, profile)
    machine.put("proc/sys/net/ipv4/tcp_autocorking", "7")
    tuned(machine, state, profile)
    assert machine.read(AUTOCORKING) == "0"
    assert restored(machine, state).ok
    assert machine.read(AUTOCORKING) == "7"


def test_a_tune_that_changes_nothing_leaves_no_journal(machine: FakeMachine, state: Path) -> None:
    tuned(machine, state, tune.Profile(features={"rx-gro": True}))
    assert not journal(state).exists()


# What the kernel does not do.


def test_a_refusal_is_told_and_the_rest_is_done(machine: FakeMachine, state: Path) -> None:
    before = bare(machine.snapshot())
    machine.device.change(stuck={"eth1 ring rx": "refused", "eth1 coalesce rx-frames": "2"})
    outcome = tuned(machine, state)
    assert not outcome.ok
    told = {str(a.setting.knob): a for a in outcome.settings}
    assert told["eth1 ring rx"].result == "refused"
    assert "Invalid argument" in told["eth1 ring rx"].message
    assert told["eth1 coalesce rx-frames"].result == "differs"
    assert "made 2 of it" in told["eth1 coalesce rx-frames"].message
    assert told["eth1 feature rx-gro"].result == "applied"
    machine.device.change(stuck={})
    assert restored(machine, state).ok  # also the value that the driver rounded
    assert bare(machine.snapshot()) == before


def test_a_setting_that_a_later_one_disturbs_is_told(
    machine: FakeMachine, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = machine.write

    def write(knob: Knob, value: str) -> None:
        real(knob, value)
        if knob == AUTOCORKING:
            machine.device.write(RX_GRO, "on")

    monkeypatch.setattr(machine, "write", write)
    outcome = tuned(machine, state)
    told = {str(a.setting.knob): a for a in outcome.settings}
    assert told["eth1 feature rx-gro"].result == "differs"
    assert "a later setting" in told["eth1 feature rx-gro"].message


def test_a_restore_that_the_kernel_refuses_stays_in_the_journal(
    machine: FakeMachine, state: Path
) -> None:
    tuned(machine, state)
    machine.device.change(stuck={"eth1 ring rx": "refused"})
    done = restored(machine, state)
    assert not done.ok
    assert result_of(done, Knob("ring", "rx", "eth1")).result == "refused"
    machine.device.change(stuck={})
    assert restored(machine, state).ok
    assert machine.read(Knob("ring", "rx", "eth1")) == "512"


# Reboots, interfaces that go, namespaces.


def test_after_a_reboot_nothing_is_written_blindly(machine: FakeMachine, state: Path) -> None:
    tuned(machine, state)
    later = fake_machine(machine.root)  # volatile values are those of the boot again
    later.boot = "boot-2"
    later.put("proc/sys/net/ipv4/tcp_autocorking", "0")  # as by a sysctl.d file
    later.put("proc/sys/kernel/numa_balancing", "5")
    now = later.snapshot()
    done = restored(later, state)
    assert done.rebooted
    assert not done.ok
    assert later.snapshot() == now
    assert result_of(done, AUTOCORKING).result == "still tuned"
    assert result_of(done, Knob("sysctl", "kernel.numa_balancing")).result == "reset"
    assert result_of(done, RX_GRO).result == "as before"
    (left,) = tune.pending(state_dir=state)
    assert [e.knob for e in left.entries] == [AUTOCORKING]
    with pytest.raises(StateError, match="from before the last reboot"):
        tuned(later, state)
    assert restored(later, state, force=True).ok
    assert later.read(AUTOCORKING) == "1"
    assert tuned(later, state).ok


def test_after_a_reboot_masks_of_queues_are_not_written(machine: FakeMachine, state: Path) -> None:
    machine.put("sys/class/net/eth1/queues/tx-0/xps_cpus", "3")
    tuned(machine, state)
    later = fake_machine(machine.root)
    later.boot = "boot-2"
    now = later.snapshot()
    done = restored(later, state)
    assert done.ok
    assert later.snapshot() == now


def test_an_interface_that_vanished_is_told(machine: FakeMachine, state: Path) -> None:
    tuned(machine, state)
    machine.device.change(interfaces=[["lo", "", 1]])
    done = restored(machine, state)
    assert done.ok
    found = result_of(done, RX_GRO)
    assert found.result == "gone"
    assert "eth1 (index 7, 02:00:00:00:00:01) has gone" in found.message
    assert result_of(done, AUTOCORKING).result == "restored"
    assert machine.read(AUTOCORKING) == "1"


@pytest.mark.parametrize(
    "other", [["eth1", NIC.mac, 12], ["eth1", "02:00:00:00:00:99", NIC.ifindex]]
)
def test_another_interface_of_the_same_name_is_not_touched(
    machine: FakeMachine, state: Path, other: list[Any]
) -> None:
    tuned(machine, state)
    machine.device.change(interfaces=[other])
    now = machine.device.load()["values"]
    done = restored(machine, state, force=True)
    assert result_of(done, RX_GRO).result == "gone"
    assert "another interface now" in result_of(done, RX_GRO).message
    assert machine.device.load()["values"] == now


def test_a_renamed_interface_is_found(machine: FakeMachine, state: Path) -> None:
    tuned(machine, state, tune.Profile(features={"rx-gro": False}, napi_defer_hard_irqs=2))
    machine.device.change(interfaces=[["wan0", NIC.mac, NIC.ifindex]])
    place = machine.root / "sys/class/net"
    (place / "eth1").rename(place / "wan0")
    done = restored(machine, state)
    assert done.ok
    assert {k.knob.interface for k in done.knobs} == {"wan0"}
    assert {k.result for k in done.knobs} == {"restored"}
    assert (place / "wan0/napi_defer_hard_irqs").read_text() == "0\n"


def test_another_namespace_has_its_own_journal(machine: FakeMachine, state: Path) -> None:
    (machine.root / "proc/sys/net/core/netdev_max_backlog").unlink()
    tuned(machine, state)
    assert (state / "tune-netns-1.jsonl").exists()
    there = FakeMachine(machine.root, namespace="netns-2")
    done = restored(there, state)
    assert done.journal is None
    assert done.others == (state / "tune-netns-1.jsonl",)
    assert there.read(RX_GRO) == "off"
    # A namespace does not outlive a reboot: what was written down of it has no meaning then.
    later = FakeMachine(machine.root, namespace="netns-2", boot="boot-2")
    assert restored(later, state).others == ()
    assert not (state / "tune-netns-1.jsonl").exists()


def test_a_namespace_of_an_earlier_boot_is_not_taken_for_this_one(
    machine: FakeMachine, state: Path
) -> None:
    (machine.root / "proc/sys/net/core/netdev_max_backlog").unlink()
    tuned(machine, state)
    later = FakeMachine(machine.root, boot="boot-2")  # by chance with the same number
    now = later.snapshot()
    assert restored(later, state).journal is None
    assert later.snapshot() == now
    assert tuned(later, state).ok


def test_a_damaged_journal_of_another_namespace_is_not_in_the_way(
    machine: FakeMachine, state: Path
) -> None:
    tuned(machine, state)
    other = state / "tune-netns-9.jsonl"
    other.write_text("damaged\n")
    done = restored(machine, state)
    assert done.ok
    assert done.others == (other,)
    with pytest.raises(StateError, match=r"tune-netns-9\.jsonl is damaged"):
        tune.pending(state_dir=state)


def test_a_plan_is_refused_where_it_was_not_made(machine: FakeMachine, state: Path) -> None:
    plan = tune.plan("latency", "eth1", machine=machine)
    elsewhere = FakeMachine(machine.root, namespace="netns-2")
    with pytest.raises(StateError, match="another network namespace"):
        tune.apply(plan, machine=elsewhere, state_dir=state)
    machine.device.change(interfaces=[["eth1", NIC.mac, 9]])
    with pytest.raises(StateError, match="since the plan was made"):
        tune.apply(plan, machine=machine, state_dir=state)
    assert not journal(state).exists()


# Who may not.


def test_the_default_route_is_not_touched_without_a_word(machine: FakeMachine, state: Path) -> None:
    plan = tune.plan("latency", "eth1", machine=machine)
    machine.device.change(default_routes=["eth1"])  # it came after the plan
    before = machine.snapshot()
    with pytest.raises(ConfigError, match="--yes-this-one"):
        tune.apply(plan, machine=machine, state_dir=state)
    assert machine.snapshot() == before
    assert tune.apply(plan, machine=machine, state_dir=state, yes_this_one=True).ok


def test_two_tunes_at_once_are_refused(machine: FakeMachine, state: Path) -> None:
    plan = tune.plan("latency", "eth1", machine=machine)
    refused = []

    def progress(step: tune.Step) -> None:
        if refused:
            return
        for call in (
            lambda: tune.apply(plan, machine=machine, state_dir=state),
            lambda: tune.restore(machine=machine, state_dir=state),
        ):
            with pytest.raises(DeviceBusy, match=f"process {os.getpid()}") as error:
                call()
            refused.append(error)

    assert tune.apply(plan, machine=machine, state_dir=state, progress=progress).ok
    assert len(refused) == 2
    assert restored(machine, state).ok


def test_the_state_directory_must_be_ours(machine: FakeMachine, state: Path) -> None:
    state.mkdir()
    state.chmod(0o777)
    with pytest.raises(StateError, match="others may write to it"):
        tuned(machine, state)
    state.chmod(0o700)
    (state / "tune-machine.jsonl").symlink_to("/dev/null")
    with pytest.raises(StateError, match="cannot be read"):
        tuned(machine, state)
    (state / "file").touch()
    with pytest.raises(StateError, match="cannot be used"):
        tune.restore(machine=machine, state_dir=state / "file")


def test_the_lock_goes_with_its_holder(state: Path) -> None:
    with locked(state):
        pass
    descriptor = os.open(state / "tune.lock", os.O_RDWR)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    with pytest.raises(DeviceBusy), locked(state):
        pass
    os.close(descriptor)
    with locked(state):
        assert stat.S_IMODE((state / "tune.lock").stat().st_mode) == 0o600
