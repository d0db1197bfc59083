"""Workers and queues: who has which queue, where they run, and what is said about it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import wirepath as wp
from wirepath import frames, numa, placement

CORES = numa.allowed_cores()
two_cores = pytest.mark.skipif(len(CORES) < 2, reason="needs two cores")


@wp.stage
def by_queue(batch, state):
    state[batch.queue] += batch.count


@pytest.mark.parametrize(
    ("queues", "count", "expected"),
    [
        (4, None, [[0], [1], [2], [3]]),
        (4, 2, [[0, 2], [1, 3]]),
        (5, 2, [[0, 2, 4], [1, 3]]),
        (3, 1, [[0, 1, 2]]),
    ],
)
def test_every_queue_has_one_worker(queues, count, expected):
    states = np.zeros((len(expected), queues), np.int64)
    with wp.open(f"null:,queues={queues},frames=777", steer=wp.everything()) as port:
        group = wp.workers(port, count=count, stages=lambda k: [by_queue.bind(states[k])])
        assert [[q for _, q in w.info()["queues"]] for w in group] == expected
        group.start()
        group.join()
        assert group.stats()["frames"] == 777 * queues == port.stats()["rx_packets"]
    for k, mine in enumerate(expected):
        assert [states[k][q] for q in range(queues)] == [777 * (q in mine) for q in range(queues)]


@two_cores
def test_cores_are_read_back():
    with (
        wp.open("null:,queues=2", steer=wp.everything()) as port,
        wp.workers(port, CORES[:2], name="pinned") as group,
    ):
        while any(w.affinity is None for w in group):
            time.sleep(0.001)
        assert [w.affinity for w in group] == CORES[:2]
        infos = group.info()
        assert [i["name"] for i in infos] == ["pinned-0", "pinned-1"]
        assert [i["shares_core_with"] for i in infos] == [[], []]
        # What the kernel has, not what was asked for.
        threads = {
            name: os.sched_getaffinity(int(task.name))
            for task in Path("/proc/self/task").iterdir()
            if (name := (task / "comm").read_text().strip()).startswith("pinned-")
        }
        assert threads == {"pinned-0": {CORES[0]}, "pinned-1": {CORES[1]}}


def test_sharing_a_core_is_said():
    with wp.open("null:,queues=3", steer=wp.everything()) as port:
        cores = [CORES[0], CORES[0], CORES[-1]]
        with wp.workers(port, cores, name="crowd", poll_timeout_us=1000) as group:
            while any(w.affinity is None for w in group):
                time.sleep(0.001)
            first, second, third = group.info()
        assert "crowd-1" in first["shares_core_with"]
        assert "crowd-0" in second["shares_core_with"]
        assert any(f"shares core {CORES[0]} with crowd-1" in n for n in first["notes"])
        if len(CORES) > 1:
            assert third["shares_core_with"] == []
        # Ended, it shares with nobody.
        assert group[0].info()["shares_core_with"] == []


def test_nodes_of_memory_are_told():
    with wp.open("null:", steer=wp.everything()) as port:
        worker = wp.Worker("nodes", cpu_core=CORES[0])
        worker.add_port(port)
        with worker:
            while not worker.stats()["frames"]:
                time.sleep(0.001)
            numbers = worker.info()["numa"]
    assert numbers["nodes"] == len(numa.nodes())
    assert numbers["core"] == numa.node_of_core(CORES[0])
    probe = np.ones(8192)
    if placement.node_of_address(probe.ctypes.data) is not None:  # else the kernel tells nobody
        assert numbers["arrays"] in numa.nodes()
        assert numbers["frames"] in numa.nodes()


def test_a_page_that_is_not_there_has_no_node():
    assert placement.node_of_address(0) is None
    assert placement.node_of_address(1 << 12) is None


@pytest.fixture
def machine(tmp_path):
    """A /sys and /proc with a NIC on node 1 whose interrupts 40 and 41 go to cores 0 and 2-3."""
    device = tmp_path / "sys/bus/pci/devices/0000:3b:00.0"
    (device / "msi_irqs").mkdir(parents=True)
    (device / "numa_node").write_text("1\n")
    for number, cores in ((40, "0\n"), (41, "2-3\n"), (42, "\n")):
        (device / "msi_irqs" / str(number)).write_text("msix\n")
        folder = tmp_path / "proc/irq" / str(number)
        folder.mkdir(parents=True)
        (folder / "effective_affinity_list").write_text(cores)
    (tmp_path / "proc/irq/42/smp_affinity_list").write_text("0-1,5\n")
    net = tmp_path / "sys/class/net/eth9"
    net.mkdir(parents=True)
    (net / "device").symlink_to(device)
    (tmp_path / "sys/class/net/veth9").mkdir()
    return tmp_path


def test_interrupts_and_node_of_a_nic(machine):
    for name in ("eth9", "0000:3b:00.0"):
        assert placement.interrupts_of_device(name, machine) == {40: [0], 41: [2, 3], 42: [0, 1, 5]}
        assert placement.node_of_device(name, machine) == 1
    for name in ("veth9", "lo", "", "/dev/null"):
        assert placement.interrupts_of_device(name, machine) == {}
        assert placement.node_of_device(name, machine) is None


def test_a_worker_on_the_core_of_an_interrupt_says_so(machine, monkeypatch):
    of_device = placement.interrupts_of_device
    with wp.open("null:", steer=wp.everything()) as port:
        monkeypatch.setattr(port, "info", lambda: {"device": "eth9"})
        worker = wp.Worker("interrupted", cpu_core=CORES[0])
        worker.add_port(port)
        with worker:
            while worker.affinity is None:
                time.sleep(0.001)
            monkeypatch.setattr(
                placement,
                "interrupts_of_device",
                lambda name: {n: [CORES[0]] if n == 40 else [] for n in of_device(name, machine)},
            )
            monkeypatch.setattr(placement, "node_of_device", lambda name: 7)
            info = worker.info()
    assert info["nic_interrupts"] == [{"device": "eth9", "interrupt": 40}]
    assert any(f"core {CORES[0]} takes interrupts 40 of eth9" in note for note in info["notes"])
    if numa.node_of_core(CORES[0]) is not None:
        assert any("the NIC eth9 on node 7" in note for note in info["notes"])


def test_more_workers_than_queues():
    with wp.open("null:,queues=2", steer=wp.everything()) as port:
        for wrong in ({"count": 3}, {"count": 0}, {"cores": [0, 0, 0]}, {"cores": []}):
            with pytest.raises(wp.ConfigError, match="must be 1 to 2"):
                wp.workers(port, **wrong)
        with pytest.raises(wp.ConfigError, match="leave it out"):
            wp.workers(port, [0, 0], count=1)


def test_a_group_starts_as_a_whole_or_not_at_all():
    with wp.open("null:,queues=2", steer=wp.everything()) as port:
        group = wp.workers(port, [CORES[0], 1023])
        with pytest.raises(wp.ConfigError, match="cpu_core"):
            group.start()
        assert not group.running


def test_errors_of_a_group():
    @wp.stage(compile="never")
    def fail(batch, state):
        raise ValueError(int(state[0]))

    with wp.open("null:,queues=3", steer=wp.everything()) as port:
        group = wp.workers(port, stages=lambda k: [fail.bind(np.array([k]))] if k else [])
        group.start()
        while group[1].running or group[2].running:
            time.sleep(0.001)
        group.stop()
        with pytest.raises(ExceptionGroup) as caught:
            group.join()
    assert [str(e) for e in caught.value.exceptions] == ["1", "2"]


# --- one driver of a queue ----------------------------------------------------------------------

FRAME = bytes(60)


def test_sending_by_a_queue_that_a_worker_drives_is_refused():
    with wp.open("null:,queues=2", steer=wp.everything()) as port:
        worker = wp.Worker("driving")
        worker.add_port(port, [1])
        with worker:
            assert port.send([FRAME], queue=0) == 1
            with pytest.raises(wp.DeviceBusy, match="queue 1 of null:"):
                port.send([FRAME], queue=1)
            with pytest.raises(wp.DeviceBusy, match="stop it first"):
                port.poll(0)
        assert port.send([FRAME], queue=1) == 1
        with port.poll(0) as batch:
            assert len(batch) > 0


def test_a_worker_does_not_start_on_a_queue_that_a_loop_polls(flow):
    with wp.open("socket:lo", steer=wp.udp(*flow)) as port:
        polling = threading.Thread(target=lambda: port.poll(1.0))
        worker = wp.Worker("late")
        worker.add_port(port)
        polling.start()
        time.sleep(0.2)
        assert polling.is_alive()
        with pytest.raises(wp.DeviceBusy, match="queue 0"):
            worker.start()
        polling.join()
        with worker:  # what was refused can be tried again
            assert worker.running


def test_what_python_held_when_a_worker_started_goes_back(flow):
    """The batch is released, and an array of another goes, while the worker drives the queue."""
    with (
        wp.open("socket:lo", steer=wp.udp(*flow), rx_ring_size=64) as port,
        wp.open("socket:lo", steer=wp.udp(*flow), tx_only=True) as out,
    ):

        def send(count):
            assert out.send([frames.udp(b"." * 300, dst=flow)] * count) == count

        send(2)
        batch = port.poll(5)
        array = np.frombuffer(batch[0], np.uint8)
        state = np.zeros(1, np.int64)
        worker = wp.Worker("driving")
        worker.add_port(port)
        worker.add_stage(by_queue, state)
        with worker:
            batch.release()
            assert port.held == 1
            del array
            assert port.held == 0
            for k in range(1, 21):  # several times round the 64 buffers
                send(16)
                end = time.monotonic() + 5
                while state[0] < 16 * k and time.monotonic() < end:
                    time.sleep(0.001)
        assert state[0] == 320
        assert {k: v for k, v in port.stats().items() if k.startswith("drop.") and v} == {}


def test_join_can_be_interrupted():
    """Ctrl-C reaches a main thread that waits for a worker without an end."""
    code = """
import os, signal, threading, wirepath as wp
with wp.open("null:", steer=wp.everything()) as port:
    worker = wp.Worker("endless")
    worker.add_port(port)
    with worker:
        threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
        try:
            worker.join()
        except KeyboardInterrupt:
            print("interrupted", worker.running)
print("ended", worker.running)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.stdout, done.stderr) == ("interrupted True\nended False\n", "")


def test_a_verdict_that_nobody_holds_is_counted(flow):
    @wp.stage
    def keep(batch, state):
        for i in range(batch.count):
            batch.verdict[i] = wp.KEEP

    with wp.open("null:,frames=1000", steer=wp.everything()) as port:
        worker = wp.Worker("keeping")
        worker.add_port(port)
        worker.add_stage(keep)
        worker.start()
        worker.join()
    assert worker.stats()["drop.keep_unsupported"] == 1000


def test_a_worker_sleeps_although_one_of_its_ports_has_ended():
    with (
        wp.open("null:,frames=3", steer=wp.everything()) as over,
        wp.open("socket:lo", steer=wp.udp("127.0.0.1", 48391)) as alive,
    ):
        worker = wp.Worker(idle="sleep", poll_timeout_us=50_000)
        worker.add_port(over)
        worker.add_port(alive)
        began = time.monotonic()
        with worker:
            while worker.stats()["idle_polls"] < 3:
                time.sleep(0.001)
        took = time.monotonic() - began
        # One that does not sleep polls some hundred thousand times a second.
        assert worker.stats()["idle_polls"] <= took / 0.05 + 3
