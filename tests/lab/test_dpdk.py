"""DPDK ports: memif between processes, drivers on a veth pair, and what goes wrong."""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import textwrap
import threading
import time
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from shared_data import shared

import wirepath as wp
from wirepath import frames
from wirepath.lab import Lab
from wirepath.measure import measure
from wirepath.publish import PublishConfig

pytestmark = pytest.mark.skipif(
    not {b.name: b for b in wp.backends()}["dpdk"].available,
    reason="the dpdk backend is not available here: see `wirepath backends`",
)

GROUP = ("239.255.89.1", 48101)
HUGE_PAGES = Path("/proc/sys/vm/nr_hugepages")
_devices = count()


@pytest.fixture
def device():
    """Names of devices that no other test of this process has used."""
    return lambda driver: f"{driver}{next(_devices)}"


@pytest.fixture
def memif(tmp_path, device):
    """Specs of the two sides of a link."""
    link = f",socket={tmp_path}/memif.sock,socket-abstract=no"
    return (
        f"dpdk:{device('net_memif')},role=server{link}",
        f"dpdk:{device('net_memif')},role=client{link}",
    )


@pytest.fixture
def lab(lab_name):
    with Lab(lab_name) as made:
        yield made


def frame(number, dst=GROUP, size=4, **changes):
    return frames.udp(number.to_bytes(4, "big").ljust(size, b"\0"), dst=dst, **changes)


def collect(port, wanted, timeout=10.0):
    """The first `wanted` numbers at the front of the payloads that arrive."""
    out = []
    end = time.monotonic() + timeout
    while len(out) < wanted and time.monotonic() < end:
        batch = port.poll(0.2)
        if batch is not None:
            with batch:
                out += batch.column(0, ">u4", of="payload").tolist()
    return out


def wait_for(condition, timeout=10.0):
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.02)


def noticed(port):
    """That the link is up, by the thread of the port that watches it: it counts when it goes."""
    wait_for(lambda: "the link is down" not in port.info()["notes"])


def worked(worker, counter, more):
    """That a worker has counted more than `more` from now on."""
    before = worker.stats()[counter]
    wait_for(lambda: worker.stats()[counter] > before + more)


def drops(stats):
    return {k: v for k, v in stats.items() if k.startswith("drop.") and v}


def script(text):
    return [sys.executable, "-c", textwrap.dedent(text)]


def answer(text, timeout=60):
    """The JSON that a script prints, in a process with a DPDK of its own."""
    done = subprocess.run(
        script(text), capture_output=True, text=True, timeout=timeout, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


# --- the process ---------------------------------------------------------------------------------


def test_dpdk_leaves_the_process_as_it_was():
    told = answer(
        """
        import json, os, subprocess
        import wirepath as wp
        def state():
            lines = open("/proc/thread-self/status").read().splitlines()
            shared = [n for n in sorted(os.listdir("/dev/shm")) if "rte" in n or "dpdk" in n]
            signals = [line for line in lines if line.startswith("Sig")]
            return [signals, sorted(os.sched_getaffinity(0)), shared]
        # What starts with the package itself is not DPDK's.
        wp.open("null:", steer=wp.everything()).close()
        before = state()
        core = min(os.sched_getaffinity(0))
        port = wp.open("dpdk:net_null0", steer=wp.everything(), eal_cores=core)
        tasks = {}
        for task in os.listdir("/proc/self/task"):
            name = open(f"/proc/self/task/{task}/comm").read().strip()
            tasks[name] = sorted(os.sched_getaffinity(int(task)))
        prefix = f"/var/run/dpdk/wirepath{os.getpid()}"
        mine = {os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")
                if os.path.islink(f"/proc/self/fd/{fd}")}
        lines = [line.split() for line in open("/proc/self/net/unix")][1:]
        sockets = sum("dpdk" in line[-1] and f"socket:[{line[6]}]" in mine for line in lines)
        print(json.dumps({"same": state() == before, "info": port.info(), "tasks": tasks,
                          "core": core, "run": os.path.exists(prefix), "sockets": sockets}))
        """
    )
    assert told["same"]
    assert not told["run"], "a run directory was left"
    assert told["sockets"] == 0, "a telemetry or multi-process socket is open"
    assert told["tasks"]["eal-intr-thread"] == [told["core"]]
    assert told["info"]["eal_cores"] == [told["core"]]


def test_what_eal_was_started_with_stays(device):
    with wp.open(f"dpdk:{device('net_null')}", steer=wp.everything()) as port:
        huge = "no hugepages" not in port.info()["mode"]
        for late in ({"hugepages": "no" if huge else "yes"}, {"eal_memory": 77}):
            with pytest.raises(wp.ConfigError, match=r"too late.*first dpdk port"):
                wp.open(f"dpdk:{device('net_null')}", steer=wp.everything(), **late)


def test_a_later_port_may_name_what_is_the_case(device):
    told = answer(
        """
        import json, os
        import wirepath as wp
        listed = ",".join(map(str, sorted(os.sched_getaffinity(0))))
        with wp.open("dpdk:net_null0", steer=wp.everything(), hugepages="no"):
            wp.open("dpdk:net_null1", steer=wp.everything(), eal_memory=512, hugepages="no",
                    eal_cores=listed).close()
            try:
                wp.open("dpdk:net_null2", steer=wp.everything(), eal_memory=513)
            except wp.ConfigError as error:
                print(json.dumps(str(error)))
        """
    )
    assert "eal_memory = 513 comes too late" in told
    assert "with 512 MiB" in told


def test_without_hugepages_it_runs_and_says_so(device):
    told = answer(
        """
        import json
        import wirepath as wp
        with wp.open("dpdk:net_null0", steer=wp.everything(), hugepages="no") as port:
            with port.poll(1) as batch:
                print(json.dumps({"frames": len(batch), "info": port.info()}))
        """
    )
    assert told["frames"] > 0
    assert told["info"]["mode"] == "poll-mode driver, no hugepages"
    assert "--no-huge" in told["info"]["eal_memory"]
    assert any("nr_hugepages" in note for note in told["info"]["notes"])


@pytest.fixture
def huge_pages():
    """Sets the number of hugepages; puts back what was."""
    before = HUGE_PAGES.read_text()

    def reserve(number):
        try:
            HUGE_PAGES.write_text(str(number))
        except OSError as error:
            pytest.skip(f"vm.nr_hugepages cannot be set here: {error}")
        if int(HUGE_PAGES.read_text()) < number:
            pytest.skip(f"the kernel does not find {number} hugepages")

    yield reserve
    if HUGE_PAGES.read_text() != before:
        HUGE_PAGES.write_text(before)


@pytest.mark.parametrize(("pages", "megabytes"), [(0, 64), (8, 64), (40, 101)])
def test_too_few_hugepages_are_an_error_with_the_mend(huge_pages, pages, megabytes):
    huge_pages(pages)
    memory = {} if megabytes == 64 else {"eal_memory": megabytes}
    said = answer(
        f"""
        import json
        import wirepath as wp
        try:
            wp.open("dpdk:net_null0", steer=wp.everything(), hugepages="yes", **{memory})
        except wp.BackendUnavailable as error:
            refused = str(error)
        # Nothing was started: doing without them works in the same process, and is said.
        with wp.open("dpdk:net_null0", steer=wp.everything(), hugepages="auto", **{memory}) as port:
            print(json.dumps([refused, port.info()["mode"], port.info()["notes"]]))
        """
    )
    assert f"{pages * 2} MiB of hugepages are free and {megabytes} are needed" in said[0]
    assert f"sysctl -w vm.nr_hugepages={(megabytes + 1) // 2} " in said[0]
    assert said[1].endswith("no hugepages")
    assert any("--no-huge" in note for note in said[2])


def test_hugepages_are_used_and_running_out_of_them_is_an_error(huge_pages):
    huge_pages(48)
    refused, mode, notes = answer(
        """
        import json
        import wirepath as wp
        with wp.open("dpdk:net_null0", steer=wp.everything()) as port:
            try:
                wp.open("dpdk:net_null1", steer=wp.everything(), max_held=100000)
            except wp.PortError as error:
                refused = str(error)
            # The one that is open goes on.
            with port.poll(1) as batch:
                assert len(batch)
            print(json.dumps([refused, port.info()["mode"], port.info()["notes"]]))
        """
    )
    assert mode == "poll-mode driver, hugepages"
    assert "no memory left" in refused
    assert "vm.nr_hugepages=" in refused
    assert not any("no-huge" in note for note in notes)
    assert "HugePages_Free:       48" in Path("/proc/meminfo").read_text(), "pages were left behind"


# --- refusals ------------------------------------------------------------------------------------


def test_a_pci_address_that_does_not_exist():
    with pytest.raises(wp.ConfigError, match=r"no PCI device 0000:fe:1f\.7.*lspci -D"):
        wp.open("dpdk:0000:fe:1f.7", steer=wp.everything())


def test_a_device_that_the_kernel_drives_is_left_alone():
    kernel = {
        path.parent.name: path.resolve().name
        for path in Path("/sys/bus/pci/devices").glob("*/driver")
        if path.resolve().name not in ("vfio-pci", "uio_pci_generic", "igb_uio", "mlx5_core")
    }
    if not kernel:
        pytest.skip("unsupported: this machine has no PCI device with a kernel driver")
    for address, driver in kernel.items():
        with pytest.raises(wp.DeviceBusy, match=f"driver {driver}.*dpdk-devbind.*{address}"):
            wp.open(f"dpdk:{address}", steer=wp.everything())
        assert (Path("/sys/bus/pci/devices") / address / "driver").resolve().name == driver


def test_a_device_without_a_driver_names_the_command_that_binds_it():
    bare = [p.name for p in Path("/sys/bus/pci/devices").glob("*") if not (p / "driver").exists()]
    if not bare:
        pytest.skip("unsupported: every PCI device of this machine has a driver")
    with pytest.raises(wp.DeviceBusy, match=f"bound to no driver.*dpdk-devbind.*{bare[0]}"):
        wp.open(f"dpdk:{bare[0]}", steer=wp.everything())
    assert not (Path("/sys/bus/pci/devices") / bare[0] / "driver").exists()


def test_more_queues_than_the_device_has(device):
    with pytest.raises(wp.ConfigError, match=r"asks for 20 receive queues.*has 16"):
        wp.open(f"dpdk:{device('net_ring')}", steer=wp.everything(), queues="0-19")


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ("dpdk:net_nonsense0", "name begins with its driver's"),
        ("dpdk:net_af_packet90", "iface"),
        ("dpdk:net_af_xdp90,iface=wp-none", 'no interface "wp-none"'),
        ("dpdk:net_memif90,rol=client", 'has an option "rol"'),
        ("dpdk:net_null90,bogus=1", "arguments"),
        ("dpdk:net_null90,queues=1", "without a gap"),
        ("dpdk:net_memif90,rx_ring_size=32768", "rx_ring_size = 32768.*at most 16384"),
    ],
)
def test_what_cannot_be_opened_says_why(spec, why):
    with pytest.raises(wp.WirepathError, match=why):
        wp.open(spec, steer=wp.everything())


def test_a_device_that_is_no_network_device_is_not_kept(device):
    name = device("baseband_null")
    for _ in range(2):
        with pytest.raises(wp.ConfigError, match="no network device"):
            wp.open(f"dpdk:{name}", steer=wp.everything())


def test_hardware_steering_is_refused_where_there_is_none(device):
    with pytest.raises(wp.WirepathError, match=r"flow = hardware.*flow=auto"):
        wp.open(f"dpdk:{device('net_ring')}", steer=wp.udp(*GROUP), flow="hardware")


# --- one process ---------------------------------------------------------------------------------


def test_null_receives_and_counts_what_it_sends(device):
    with wp.open(f"dpdk:{device('net_null')}", steer=wp.everything(), batch_size=32) as port:
        received = 0
        for _ in range(100):
            with port.poll(1) as batch:
                received += len(batch)
        assert port.send([frame(1)] * 50) == 50
        stats = port.stats()
        assert stats["rx_packets"] == stats["xstat.rx_good_packets"] == received
        assert stats["tx_packets"] == 50
        assert stats["held"] == 0
        assert drops(stats) == {}


def test_ring_keeps_order_and_software_steering_counts_the_rest(device):
    with wp.open(f"dpdk:{device('net_ring')}", steer=wp.udp(*GROUP)) as port:
        info = port.info()
        assert info["steering_mode"].startswith("software (net_ring: ")
        assert info["timestamp_source"] == "poll loop (the driver has no timestamps)"
        before = time.time_ns()
        wanted = [frame(n) for n in range(300)]
        other = [frame(9, dst=("239.255.89.1", 9))] * 100
        tagged = [frame(n, vlan=7) for n in range(300, 310)]
        assert port.send([*wanted, *other, *tagged]) == 410
        out, stamps = [], []
        while len(out) < 310 and (batch := port.poll(1)) is not None:
            with batch:
                out += batch.column(0, ">u4", of="payload").tolist()
                stamps += batch.timestamps.tolist()
        assert out == list(range(310))
        assert stamps == sorted(stamps)
        assert before <= stamps[0] <= stamps[-1] <= time.time_ns()
        stats = port.stats()
        assert stats["rx_packets"] == 310
        assert drops(stats) == {"drop.filtered": 100}


def test_a_frame_of_our_own_goes_out_without_a_copy(device):
    """The ring hands back the very buffer: what is written into it comes round again."""
    with wp.open(f"dpdk:{device('net_ring')}", steer=wp.everything()) as port:
        port.send([frame(n) for n in range(8)])
        for turn in range(200):
            with port.poll(1) as batch:
                assert len(batch) == 8
                for i in range(8):
                    assert bytes(batch[i][42:46]) == (turn * 8 + i).to_bytes(4, "big")
                    batch[i][42:46] = ((turn + 1) * 8 + i).to_bytes(4, "big")
                batch.verdicts = wp.TX
                assert port.tx(batch) == 8
        stats = port.stats()
        assert stats["tx_packets"] == 8 + 200 * 8
        assert drops(stats) == {}
        assert stats["held"] == 0


class CBatch(ctypes.Structure):
    """struct wp_batch, as far as it is used here."""

    _fields_ = (
        ("abi", ctypes.c_uint32),
        ("capacity", ctypes.c_uint32),
        ("count", ctypes.c_uint32),
        ("port", ctypes.c_uint16),
        ("queue", ctypes.c_uint16),
        ("data", ctypes.POINTER(ctypes.c_uint64)),
        ("length", ctypes.POINTER(ctypes.c_uint32)),
        ("timestamp", ctypes.POINTER(ctypes.c_int64)),
        ("hash", ctypes.POINTER(ctypes.c_uint32)),
        ("verdict", ctypes.POINTER(ctypes.c_uint8)),
    )


@pytest.mark.parametrize("change", ["none", "shorter", "later", "fewer"])
def test_what_a_stage_made_of_a_burst_goes_out(device, change):
    """A whole burst sent back as it came, and bursts of which a stage changed something."""
    sent = [frame(n) for n in range(8)]
    seen = []

    @ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(CBatch), ctypes.c_void_p)
    def stage(pointer, _):
        batch = pointer[0]
        first = not seen
        for i in range(batch.count):
            seen.append(ctypes.string_at(batch.data[i], batch.length[i]))
            if first and change == "shorter" and i == 5:
                batch.length[i] -= 2
            if first and change == "later" and i == 6:
                batch.data[i] += 3
                batch.length[i] -= 3
            if first and not (change == "fewer" and i == 2):
                batch.verdict[i] = wp.TX
        return 0

    with wp.open(f"dpdk:{device('net_ring')}", steer=wp.everything()) as port:
        port.send(sent)
        worker = wp.Worker()
        worker.add_port(port)
        worker.add_stage(wp._core.CStage("change", ctypes.cast(stage, ctypes.c_void_p).value))
        again = list(sent)
        if change == "shorter":
            again[5] = again[5][:-2]
        elif change == "later":
            again[6] = again[6][3:]
        elif change == "fewer":
            del again[2]
        with worker:
            wait_for(lambda: len(seen) >= len(sent) + len(again))
        assert seen == sent + again
        stats = port.stats()
        assert stats["tx_packets"] == len(sent) + len(again)
        assert stats["tx_bytes"] == sum(map(len, sent + again))
        assert stats["held"] == 0
        assert drops(stats) == {}


@pytest.mark.parametrize("source", ["dpdk:{}", "null:", "pcap"])
def test_frames_of_another_port_go_out_as_copies(device, source, tmp_path):
    """Handles of other ports are any numbers: of another pool, small ones, none."""
    if source == "pcap":
        path, empty = tmp_path / "sixteen.pcapng", tmp_path / "empty.pcap"
        empty.write_bytes(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1))
        with wp.open(f"pcap:{empty},write={path}", steer=wp.everything()) as port:
            port.send([frame(n) for n in range(16)])
        source = f"pcap:{path}"
    with (
        wp.open(source.format(device("net_null")), steer=wp.everything(), batch_size=16) as other,
        wp.open(f"dpdk:{device('net_ring')}", steer=wp.everything()) as port,
    ):
        with other.poll(1) as batch:
            expected = [bytes(batch[i]) for i in range(len(batch))]
            batch.verdicts = wp.TX
            assert port.tx(batch) == 16
            # They are still the other port's.
            assert [bytes(batch[i]) for i in range(len(batch))] == expected
        with port.poll(1) as batch:
            assert [bytes(batch[i]) for i in range(len(batch))] == expected
        assert [p.stats()["held"] for p in (other, port) if "held" in p.stats()][-1] == 0
        assert drops(port.stats()) == {}


def test_frames_of_our_own_that_found_no_room_are_not_lost(device):
    """More of them than the pool has: each is sent or stays the batch's, never neither."""
    spec = f"dpdk:{device('net_ring')}"
    with wp.open(spec, steer=wp.everything(), batch_size=64) as port:
        while port.send([frame(1)] * 64) == 64:  # until the ring is full
            pass
        before, refused = port.stats(), 0
        for _ in range(300):
            batch = port.poll(1)
            port.send([frame(2)] * (64 - 10))  # room for ten is left
            batch.verdicts = wp.TX
            assert port.tx(batch) == 10
            refused += 54
            batch.release()
            while port.send([frame(3)]) == 1:
                pass
            refused += 1
        stats = port.stats()
        assert refused * 3 > port.info()["frames"]
        assert stats["drop.tx_ring_full"] - before["drop.tx_ring_full"] == refused
        assert stats["held"] == 0
        assert set(drops(stats)) == {"drop.tx_ring_full"}
        assert port.poll(1) is not None


def test_frames_that_cannot_be_sent_are_counted_by_reason(device):
    with wp.open(f"dpdk:{device('net_ring')}", steer=wp.everything()) as port:
        assert port.send([b"\0" * 1600, frame(1)]) == 1
        sent = sum(port.send([frame(n)] * 64) for n in range(64))
        stats = port.stats()
        assert stats["drop.tx_too_long"] == 1
        assert stats["drop.tx_ring_full"] == 64 * 64 - sent > 0
        assert stats["tx_packets"] == sent + 1
        # What was queued is all there.
        got = 0
        while (batch := port.poll(0.1)) is not None:
            with batch:
                got += len(batch)
        assert got == sent + 1


def test_held_frames_are_bounded_and_the_rest_flows_on(device):
    spec = f"dpdk:{device('net_null')}"
    with wp.open(spec, steer=wp.everything(), max_held=64, batch_size=32) as port:
        kept = [port.poll(1), port.poll(1)]
        assert [len(batch) for batch in kept] == [32, 32]
        assert port.poll(0.05) is None
        stats = port.stats()
        assert stats["held_stalls"] > 0
        kept.pop().release()
        batch = port.poll(1)
        assert batch is not None
        batch.release()
        kept.pop().release()
        with port.poll(1) as batch:
            assert len(batch) == 32
        assert port.stats()["held"] == 0
        assert port.stats()["rx_no_buffer"] == 0


def test_handed_over_frames_come_back_from_another_thread(memif):
    """What a consumer may hold is less than the port puts off receiving for; short ones flow on."""
    server, client = memif
    with (
        wp.open(server, steer=wp.everything(), max_held=256, link_wait_ms=0) as port,
        wp.open(client, steer=wp.everything()) as peer,
    ):
        spare = port.capabilities["pool_frames"] * 3 // 4
        assert spare == 192
        with pytest.raises(wp.ConfigError, match="at most 192, three quarters of the buffers"):
            handing(port, wp.HandOff(max_held=193)).start()
        hand_off = wp.HandOff(zero_copy_threshold=256)
        worker = handing(port, hand_off)
        sent = 0

        def send(number, size):
            nonlocal sent
            assert peer.send([frame(n, size=size) for n in range(number)]) == number
            sent += number
            wait_for(lambda: worker.stats()["frames"] == sent)

        with worker:
            assert hand_off.max_held == spare
            for _ in range(40):  # several times the pool
                send(spare + 60, size=400)
                kept = hand_off.pop_batch(1024)
                assert [int.from_bytes(f.view[42:46], "big") for f in kept] == list(range(spare))
                assert port.stats()["held"] == spare
                # Not a single one is given back, and receiving goes on.
                send(50, size=4)
                short = hand_off.pop_batch(1024)
                assert [f.by_reference for f in short] == [False] * 50
                threads = [
                    threading.Thread(target=lambda k=k: [f.release() for f in kept[k::3]])  # noqa: B023
                    for k in range(3)
                ]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
                for one in short:
                    one.release()
                wait_for(lambda: port.stats()["held"] == 0)
        counted = hand_off.stats()
        assert counted["drop.held_full"] == 40 * 60
        assert counted["frames"] == 40 * (spare + 110)
        stats = port.stats()
        assert stats["rx_packets"] == sent
        assert stats["held_stalls"] == stats["rx_no_buffer"] == 0
        assert drops(stats) == {}


def handing(port, hand_off):
    worker = wp.Worker("handing")
    worker.add_port(port)
    worker.add_stage(hand_off)
    return worker


def test_frames_held_when_port_and_worker_are_gone(device):
    port = wp.open(f"dpdk:{device('net_ring')}", steer=wp.everything())
    port.send([frame(n, size=400) for n in range(20)])
    hand_off = wp.HandOff()
    with handing(port, hand_off):
        kept = []
        while len(kept) < 20:
            kept += hand_off.pop_batch(timeout=5)
    name = port.info()["device"]
    port.close()
    # The buffers, and so the device, stay until the last frame is back.
    with pytest.raises(wp.DeviceBusy):
        wp.open(f"dpdk:{name}", steer=wp.everything())
    assert [int.from_bytes(f.view[42:46], "big") for f in kept] == list(range(20))
    thread = threading.Thread(target=lambda: [f.release() for f in kept])
    thread.start()
    thread.join()
    wp.open(f"dpdk:{name}", steer=wp.everything()).close()


def test_a_queue_has_one_driver(device):
    """A batch that is released under a worker goes through the worker's hands."""
    with wp.open(f"dpdk:{device('net_null')}", steer=wp.everything(), queues="0-1") as port:
        for _ in range(20):
            batches = [port.poll(1) for _ in range(8)]
            worker = wp.Worker("driver", idle="spin")
            worker.add_port(port, queues=[0])
            with worker:
                worked(worker, "bursts", 0)
                for batch in batches:
                    batch.release()
                with pytest.raises(wp.DeviceBusy, match=r"queue 0 .*driven by a worker"):
                    port.send([frame(1)])
                assert port.send([frame(1)], queue=1) == 1
                worked(worker, "bursts", 2)
            with port.poll(1):
                pass
            assert port.stats()["held"] == 0
        assert drops(port.stats()) == {}


def test_a_worker_with_idle_queues_sleeps(device):
    with wp.open(f"dpdk:{device('net_ring')}", steer=wp.everything(), queues="0-1") as port:
        worker = wp.Worker("idle")
        worker.add_port(port)
        with worker:
            before = time.process_time()
            time.sleep(0.5)
            assert time.process_time() - before < 0.25


def test_queues_each_with_their_worker(device):
    """Threads that DPDK does not know take a number, and give it back when they end."""
    with wp.open(f"dpdk:{device('net_null')}", steer=wp.everything(), queues="0-1") as port:
        assert port.queues == 2
        for _ in range(100):  # more threads than DPDK has numbers at a time
            workers = [wp.Worker(name=f"q{q}", idle="spin") for q in range(2)]
            for q, worker in enumerate(workers):
                worker.add_port(port, queues=[q])
                worker.start()
            time.sleep(0.002)
            for worker in workers:
                worker.stop()
            for worker in workers:
                worker.join()
        stats = port.stats()
        assert stats["rx_packets"] > 0
        assert stats["threads_without_lcore"] == 0


# --- memif ---------------------------------------------------------------------------------------


def test_memif_queues(memif):
    server, client = memif
    with (
        wp.open(server, steer=wp.everything(), queues="0-1", link_wait_ms=0) as right,
        wp.open(client, steer=wp.everything(), queues="0-1") as left,
    ):
        for n in range(100):
            assert left.send([frame(n)], queue=n % 2) == 1
        assert sorted(collect(right, 100)) == list(range(100))
        assert any("side's choice" in note for note in right.info()["notes"])


def test_where_no_interface_is_reports_of_ours_join(memif):
    server, client = memif
    steer = wp.udp(*GROUP) | wp.udp("ff15::89", 48101)
    with (
        wp.open(server, steer=steer, link_wait_ms=0, join_source="192.0.2.9") as right,
        wp.open(client, steer=wp.everything()) as left,
    ):
        assert right.info()["join"].startswith("IGMP and MLD reports of ours")
        assert right.info()["joined"] == [GROUP[0], "ff15::89"]
        heard = []
        end = time.monotonic() + 10
        while len(heard) < 2 and time.monotonic() < end:
            right.poll(0.05)  # reports go out by the thread that drives the queue
            batch = left.poll(0.05)
            if batch is not None:
                with batch:
                    heard += [bytes(batch[i]) for i in range(len(batch))]
        igmp, mld = heard
        assert igmp[:6].hex(":") == "01:00:5e:7f:59:01"
        assert igmp[23] == 2
        assert igmp[38] == 0x16
        assert socket.inet_ntoa(igmp[26:30]) == "192.0.2.9"
        assert socket.inet_ntoa(igmp[42:46]) == GROUP[0]
        assert mld[:6].hex(":") == "33:33:00:00:00:89"
        assert mld[62] == 131
        # What is on its way when a memif closes is lost, so that somebody is to take it meanwhile.
        closing = threading.Thread(target=right.close)
        closing.start()
        with left.poll(5) as batch:
            assert bytes(batch[0])[38] == 0x17
        closing.join()


def test_a_client_without_a_server_is_an_error(memif):
    with pytest.raises(wp.PortError, match=r"Failed to connect socket.*role=server"):
        wp.open(memif[1], steer=wp.everything(), link_wait_ms=100)


SENDER = """
    import sys, time
    import wirepath as wp
    from wirepath import frames
    port = wp.open({spec!r}, steer=wp.everything(), tx_only=True, link_wait_ms=10000)
    print("open", flush=True)
    number = 0
    while True:
        batch = [frames.udp((number + i).to_bytes(4, "big"), dst={group!r}) for i in range(32)]
        number += port.send(batch)
"""


def start(text):
    process = subprocess.Popen(script(text), stdout=subprocess.PIPE, text=True)
    assert select.select([process.stdout], [], [], 30)[0], "it does not start"
    assert process.stdout.readline() == "open\n"
    return process


def test_a_client_killed_in_the_middle_and_its_successor(memif):
    server, client = memif
    with wp.open(server, steer=wp.udp(*GROUP), join="no", link_wait_ms=0) as port:
        for round_ in range(1, 4):
            process = start(SENDER.format(spec=client, group=GROUP))
            try:
                noticed(port)
                # Frames are numbered from 0 in each life: nothing of the last one comes again.
                got = collect(port, 500)
                assert got == list(range(len(got)))
                assert len(got) >= 500
            finally:
                process.send_signal(signal.SIGKILL)
                process.wait(10)
                process.stdout.close()
            wait_for(lambda n=round_: port.stats()["link_downs"] == n)
            assert port.info()["link"] == "down"
            assert "the link is down" in port.info()["notes"]
            assert port.poll(0.1) is None
        assert drops(port.stats()) == {}


SERVER = """
    import wirepath as wp
    port = wp.open({spec!r}, steer=wp.everything(), link_wait_ms=0)
    print("open", flush=True)
    while True:
        with port.poll(None) as batch:
            batch.verdicts = wp.TX
            port.tx(batch)
"""


def test_a_server_killed_and_started_again_is_connected_to_again(memif):
    server, client = memif
    process = start(SERVER.format(spec=server))
    port = wp.open(client, steer=wp.everything(), link_wait_ms=10000)
    try:
        for round_ in range(1, 3):
            noticed(port)
            assert port.poll(0.1) is None  # makes room for the answers
            assert port.send([frame(n) for n in range(50)]) == 50
            assert collect(port, 50) == list(range(50))
            process.send_signal(signal.SIGKILL)
            process.wait(10)
            process.stdout.close()
            wait_for(lambda n=round_: port.stats()["link_downs"] == n)
            assert port.send([frame(1)]) == 0
            assert port.stats()["drop.tx_link_down"] == round_
            # It takes the place of the socket that the killed one left.
            process = start(SERVER.format(spec=server))
    finally:
        process.kill()
        process.wait(10)
        process.stdout.close()
        port.close()


BUSY_CLIENT = """
    import wirepath as wp
    from wirepath import frames
    port = wp.open({spec!r}, steer=wp.everything(), link_wait_ms=10000)
    print("open", flush=True)
    load = [frames.udp(b"load" * 100, dst={group!r})] * 32
    while True:
        port.send(load)
        answers = port.poll(0)
        if answers is not None:
            answers.release()
"""


@wp.stage(compile="never")
def send_back(batch, state):
    batch.verdict[:] = wp.TX
    state[0] += batch.count


@pytest.mark.parametrize("killed", ["client", "server"])
def test_a_peer_killed_under_a_worker_that_polls_and_sends(memif, killed):
    """The driver takes the rings away in a thread of its own, whatever the worker is doing."""
    server, client = memif
    if killed == "client":
        ours, program = server, BUSY_CLIENT.format(spec=client, group=GROUP)
    else:
        ours, program = client, SERVER.format(spec=server)
    state = np.zeros(1, np.int64)
    sent = 0
    process = start(program) if killed == "server" else None
    wait_ms = 10000 if killed == "server" else 0
    with wp.open(ours, steer=wp.everything(), link_wait_ms=wait_ms, join="no") as port:
        for turn in range(1, 6):
            if process is None:
                process = start(program)
            try:
                noticed(port)
                if killed == "server":  # 32 frames go round between the two
                    assert port.poll(0.1) is None
                    sent += port.send([frame(n, size=400) for n in range(32)])
                worker = wp.Worker("goes-on", idle="spin")
                worker.add_port(port)
                worker.add_stage(send_back, state)
                with worker:
                    worked(worker, "frames", 1000)
                    process.kill()
                    wait_for(lambda n=turn: port.stats()["link_downs"] == n)
                    time.sleep(0.1)  # and polls on where nobody is
            finally:
                process.kill()
                process.wait(10)
                process.stdout.close()
            process = None
        stats = port.stats()
    back = stats["tx_packets"] - sent + stats["drop.tx_ring_full"] + stats["drop.tx_link_down"]
    assert stats["rx_packets"] == state[0] == back
    assert stats["held"] == 0
    assert set(drops(stats)) <= {"drop.tx_ring_full", "drop.tx_link_down"}


def test_a_living_server_keeps_its_socket(memif, device):
    """And does not notice that another asked for it."""
    server, client = memif
    link = server[server.index(",") :]
    process = start(SERVER.format(spec=server))
    try:
        for _ in range(3):
            second = f"dpdk:{device('net_memif')}{link}"
            with pytest.raises(wp.DeviceBusy, match="another server listens"):
                wp.open(second, steer=wp.everything(), link_wait_ms=0)
            with pytest.raises(wp.DeviceBusy, match="another number"):
                wp.open(second, steer=wp.everything(), link_wait_ms=0)
        with wp.open(client, steer=wp.everything(), link_wait_ms=10000) as port:
            assert port.poll(0.1) is None
            assert port.send([frame(7)]) == 1
            assert collect(port, 1) == [7]
            assert process.poll() is None
            assert port.stats()["link_downs"] == 0
    finally:
        process.kill()
        process.wait(10)
        process.stdout.close()


def test_a_server_closed_and_opened_again_in_one_process(tmp_path, device):
    """The driver forgets to close the socket that it listens on."""
    for socket_abstract in ("no", "yes"):
        link = f"socket={tmp_path}/again.sock,socket-abstract={socket_abstract}"
        for _ in range(3):
            server = f"dpdk:{device('net_memif')},role=server,{link}"
            client = f"dpdk:{device('net_memif')},role=client,{link}"
            with (
                wp.open(server, steer=wp.everything(), link_wait_ms=0) as right,
                wp.open(client, steer=wp.everything()) as left,
            ):
                assert left.send([frame(5)]) == 1
                assert collect(right, 1) == [5]


# --- the feed ------------------------------------------------------------------------------------


def feed(config, publish, **hosts):
    parts = []
    done = measure(
        config,
        publish,
        ring=wp.RingBuffer(1 << 18),
        on_records=parts.append,
        max_seconds=120,
        **hosts,
    )
    return done, np.concatenate(parts) if parts else np.empty(0, wp.RECORD)


def over_memif(memif, source, **changes):
    server, client = memif
    config = wp.IngestionConfig.from_spec(
        server, host=GROUP[0], port=GROUP[1], batch_size=64, **changes
    )
    config = config.model_copy(update={"options": {**config.options, "link_wait_ms": 0}})
    publish = PublishConfig(
        host=GROUP[0], port=GROUP[1], via=client, source_host="192.0.2.1", **source
    )
    return feed(config, publish)


def assert_same_records(one, other):
    assert len(one) == len(other) > 0
    for column in wp.RECORD.names:
        if column != "recv_time":
            assert np.array_equal(one[column], other[column]), column


def test_real_frames_over_memif(memif):
    path = shared("mold/itch50_2023/Multiple.Packets.pcap")
    done, records = over_memif(memif, {"source": str(path), "fast": True})
    assert done.account.packets.residual == 0, done.account.packets.equation()
    parts = []
    measure(wp.IngestionConfig(backend="pcap", capture=str(path)), on_records=parts.append)
    assert_same_records(records, np.concatenate(parts))


def test_a_memif_that_is_too_small_loses_at_the_sender_and_counts(memif):
    """Dropped where it was offered: the account's line is the gap in the numbers."""
    server, client = memif
    source = {
        "messages": 200_000,
        "fast": True,
        "max_messages": 1,
        "on_refused": "drop",
        "burst": 512,
    }
    done, records = over_memif((server, f"{client},rx_ring_size=64"), source)
    packets, messages = done.account.packets, done.account.messages
    assert packets.residual == 0, packets.equation()
    assert messages.residual == 0, messages.equation()
    assert done.published["port_stats"]["drop.tx_ring_full"] > 0
    assert done.published["port_stats"]["tx_packets"] == done.port_stats["rx_packets"]
    assert len(records) == messages.delivered


# --- drivers on interfaces -----------------------------------------------------------------------


@pytest.mark.lab
def test_more_queues_than_an_interface_has(lab, device):
    b = lab["b"]
    with b.enter(), pytest.raises(wp.WirepathError, match="queue"):
        spec = f"dpdk:{device('net_af_xdp')},iface={b.interface.name}"
        wp.open(spec, steer=wp.udp(*GROUP), queues="0-7")


@pytest.mark.lab
def test_tap_is_an_interface_of_the_kernel(lab, device):
    b = lab["b"]
    with b.enter():
        name = f"wpt{os.getpid()}"
        port = wp.open(f"dpdk:{device('net_tap')},iface={name}", steer=wp.udp(*GROUP))
        with port:
            info = port.info()
            assert info["interface"] == name
            assert "software" in info["steering_mode"] or "rte_flow" in info["steering_mode"]
            b.run(["ip", "address", "add", "10.98.7.1/24", "dev", name])
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
                interface = socket.inet_aton("10.98.7.1")
                out.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, interface)
                for n in range(50):
                    out.sendto(n.to_bytes(4, "big"), GROUP)
            assert collect(port, 50) == list(range(50))
        assert not Path(f"/sys/class/net/{name}").exists()
