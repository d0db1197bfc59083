"""Opening, asking and waiting: what a port refuses, and what it says of itself."""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading

import pytest

import wirepath as wp
from wirepath import frames

GROUP = ("239.255.77.2", 47002)


@pytest.mark.parametrize(
    ("spec", "arguments", "parts"),
    [
        ("null:", {}, ["no steering", "wp.everything()"]),
        ("nosuch:eth0", {"steer": wp.everything()}, ["nosuch", "null"]),
        ("", {"steer": wp.everything()}, ["af_xdp:eth0"]),
        ("null:", {"steer": wp.everything(), "batch_size": 0}, ["batch_size = 0", "4096"]),
        ("null:", {"steer": wp.everything(), "batch_size": "8"}, ["batch_size", "whole number"]),
        ("null:", {"steer": wp.everything(), "idle": "nap"}, ["idle", "spin"]),
        ("null:", {"steer": wp.everything(), "queues": 99}, ["queues = 99", "64"]),
        ("null:,frame_size=4", {"steer": wp.everything()}, ["frame_size = 4", "60"]),
        ("null:", {"steer": wp.everything(), "nosuch": 1}, ['"nosuch"', "frame_size"]),
        ("null:", {"steer": wp.everything(), "frame_size": {}}, ["frame_size", "text"]),
        ("pcap:/nonexistent.pcap", {"steer": wp.everything()}, ["/nonexistent.pcap"]),
        ("pcap:/nonexistent.pcap.gz", {"steer": wp.everything()}, ["/nonexistent.pcap.gz"]),
        ("socket:lo", {"steer": wp.everything()}, ["everything"]),
        ("socket:lo", {"steer": wp.tcp("127.0.0.1", 80)}, ["udp"]),
        ("socket:nosuch0", {"steer": wp.udp(*GROUP)}, ["nosuch0"]),
        ("socket:lo,queues=2", {"steer": wp.udp(*GROUP)}, ["queues = 2"]),
        ("socket:lo,rx_ring_size=100", {"steer": wp.udp(*GROUP)}, ["rx_ring_size", "power"]),
    ],
)
def test_opening_wrongly_says_what_and_how_to_mend_it(spec, arguments, parts):
    with pytest.raises(wp.WirepathError) as caught:
        wp.open(spec, **arguments)
    for part in parts:
        assert part.lower() in str(caught.value).lower()


@pytest.mark.parametrize(
    ("make", "parts"),
    [
        (lambda: wp.udp(), ["wp.everything()"]),
        (lambda: wp.udp("1.2.3", 5), ["address", "1.2.3"]),
        (lambda: wp.udp("1.2.3.4", 70000), ["port = 70000"]),
        (lambda: wp.udp("1.2.3.4", -1), ["port = -1"]),
    ],
)
def test_steering_that_makes_no_sense(make, parts):
    with pytest.raises(wp.ConfigError) as caught:
        make()
    for part in parts:
        assert part in str(caught.value)


def test_steering_joins():
    both = wp.udp("239.1.1.1", 9001) | wp.tcp("2001:db8::1", 80)
    assert both.flows == [("udp", "239.1.1.1", 9001), ("tcp", "2001:db8::1", 80)]
    assert str(both) == "udp 239.1.1.1:9001, tcp [2001:db8::1]:80"
    assert (both | wp.everything()).is_everything


def test_info_has_what_the_architecture_demands():
    with (
        wp.open("null:", steer=wp.everything()) as null,
        wp.open("socket:lo", steer=wp.udp(*GROUP)) as socket,
    ):
        for port in (null, socket):
            info = port.info()
            for key in (
                "backend",
                "device",
                "driver",
                "mode",
                "queues",
                "wakeup",
                "timestamp_source",
                "tuning",
                "steering",
            ):
                assert key in info, (port, key)
        assert socket.info()["groups"] == [f"{GROUP[0]} on lo"]


def test_received_equals_delivered_plus_drops_on_a_capture(tmp_path):
    path, empty = tmp_path / "mixed.pcap", tmp_path / "empty.pcap"
    empty.write_bytes(bytes.fromhex("4d3cb2a1020004000000000000000000ffff000001000000"))
    with wp.open(f"pcap:{empty}", steer=wp.everything(), write=path) as out:
        out.send([frames.udp(b"m", dst=GROUP) for _ in range(30)])
        out.send([frames.udp(b"o", dst=("239.9.9.9", GROUP[1])) for _ in range(12)])
        out.send([frames.udp(b"6", dst=("ff02::77", GROUP[1])) for _ in range(3)])
    with wp.open(f"pcap:{path}", steer=wp.udp(*GROUP)) as port:
        delivered = sum(len(b) for b in port)
        stats = port.stats()
    drops = sum(v for k, v in stats.items() if k.startswith("drop."))
    assert delivered == stats["rx_packets"] == 30
    assert stats["drop.filtered"] == 15
    assert delivered + drops == 45


def test_poll_times_out_and_batches_end_when_idle():
    with wp.open("socket:lo", steer=wp.udp(*GROUP)) as port:
        assert port.poll(0) is None
        assert port.poll(0.05) is None
        assert list(port.batches(idle_timeout=0.05)) == []


def test_one_loop_per_port():
    with wp.open("socket:lo", steer=wp.udp(*GROUP)) as port:
        started, ended = threading.Event(), threading.Event()

        def poll():
            started.set()
            port.poll(1.0)
            ended.set()

        thread = threading.Thread(target=poll)
        thread.start()
        started.wait()
        refused = 0
        while not ended.is_set() and not refused:
            try:
                port.poll(0)
            except wp.DeviceBusy:
                refused += 1
        thread.join()
        assert refused == 1


def test_ctrl_c_ends_a_wait():
    with wp.open("socket:lo", steer=wp.udp(*GROUP)) as port:
        timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            port.poll(30)
        timer.join()


def test_asyncio_iterates_a_socket_without_blocking_the_loop():
    async def run():
        ticks, seen = 0, []

        async def tick():
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0.001)

        with (
            wp.open("socket:lo", steer=wp.udp(*GROUP)) as rx,
            wp.open("socket:lo", steer=wp.udp(*GROUP), tx_only=True) as tx,
        ):
            ticker = asyncio.create_task(tick())

            async def send():
                for n in range(10):
                    tx.send([frames.udp(bytes([n]) * 4, dst=GROUP)])
                    await asyncio.sleep(0.002)

            sender = asyncio.create_task(send())
            async for batch in rx:
                seen += batch.column(0, "u1", of="payload").tolist()
                if len(seen) == 10:
                    break
            await sender
            ticker.cancel()
        return ticks, seen

    ticks, seen = asyncio.run(run())
    assert seen == list(range(10))
    assert ticks > 3


def test_closing_a_port_ends_the_task_that_waits_on_it():
    async def main():
        port = wp.open("socket:lo", steer=wp.udp(*GROUP))

        async def receive():
            return [len(batch) async for batch in port]

        task = asyncio.create_task(receive())
        await asyncio.sleep(0.05)
        port.close()
        return await asyncio.wait_for(task, 20)

    assert asyncio.run(main()) == []


def test_asyncio_iterates_a_capture_to_its_end(tmp_path):
    path, empty = tmp_path / "some.pcap", tmp_path / "empty.pcap"
    empty.write_bytes(bytes.fromhex("4d3cb2a1020004000000000000000000ffff000001000000"))
    with wp.open(f"pcap:{empty}", steer=wp.everything(), write=path) as out:
        out.send([frames.udp(b"m", dst=GROUP) for _ in range(100)])

    async def run():
        with wp.open(f"pcap:{path}", steer=wp.everything()) as port:
            return sum([len(batch) async for batch in port])

    assert asyncio.run(run()) == 100


def test_fileno_is_refused_where_there_is_none():
    with (
        wp.open("null:", steer=wp.everything()) as port,
        pytest.raises(wp.Unsupported, match="null"),
    ):
        port.fileno()


def test_sending_from_a_port_that_cannot(tmp_path):
    path = tmp_path / "empty.pcap"
    path.write_bytes(bytes.fromhex("4d3cb2a1020004000000000000000000ffff000001000000"))
    with wp.open(f"pcap:{path}", steer=wp.everything()) as port:
        assert port.capabilities["tx"] is False
        with pytest.raises(wp.Unsupported, match="transmit"):
            port.send([b"\0" * 60])


def test_sending_what_is_no_frame():
    with (
        wp.open("null:", steer=wp.everything()) as port,
        pytest.raises(wp.ConfigError, match=r"frames\[1\]"),
    ):
        port.send([b"\0" * 60, b"short"])


def test_gzipped_captures_open_and_leave_no_file_behind(tmp_path, monkeypatch):
    import gzip
    import tempfile

    unpacked = tmp_path / "unpacked"
    unpacked.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(unpacked))
    plain = bytes.fromhex("4d3cb2a1020004000000000000000000ffff000001000000")
    frame = frames.udp(b"z", dst=GROUP)
    record = (1).to_bytes(4, "little") + (5).to_bytes(4, "little")
    record += len(frame).to_bytes(4, "little") * 2 + frame
    path = tmp_path / "day.pcap.gz"
    path.write_bytes(gzip.compress(plain + record))
    with wp.open(f"pcap:{path}", steer=wp.everything()) as port:
        assert [b.timestamps.tolist() for b in port] == [[1_000_000_005]]
    assert list(unpacked.iterdir()) == []
    whole = gzip.compress(plain + record * 100)
    for damaged in (b"\x1f\x8b not gzip", whole[:-20], whole[:10] + b"\xff" * 40):
        path.write_bytes(damaged)
        with pytest.raises(wp.ConfigError, match="unpacked"):
            wp.open(f"pcap:{path}", steer=wp.everything())
        assert list(unpacked.iterdir()) == []


def test_backends_are_listed_with_reasons():
    status = {b.name: b for b in wp.backends()}
    assert set(status) >= {"null", "pcap", "socket", "af_xdp"}
    assert status["null"].available
    names = [b.name for b in wp.backends()]
    assert names.index("af_xdp") < names.index("socket")
    for b in status.values():
        assert b.available or (b.reason and b.mend)


def test_batches_may_be_given_back_and_frames_sent_while_another_thread_polls():
    rounds, batch_size = 3000, 4
    with (
        wp.open("socket:lo", steer=wp.udp(*GROUP), batch_size=batch_size, rx_ring_size=64) as port,
        wp.open("socket:lo", steer=wp.udp(*GROUP), tx_only=True) as out,
    ):
        waiting: queue.Queue[wp.Batch | None] = queue.Queue(maxsize=8)
        wrong = []

        def give_back():
            while (batch := waiting.get()) is not None:
                rows = batch.column(0, "(4,)u4", of="payload")
                if not (rows == rows[:, :1]).all():
                    wrong.append(rows)
                batch.release()

        thread = threading.Thread(target=give_back)
        thread.start()
        sent = seen = 0
        for n in range(rounds):
            sent += out.send([frames.udp(n.to_bytes(4, "big") * 4, dst=GROUP)])
            while (batch := port.poll(0)) is not None:
                seen += len(batch)
                waiting.put(batch)
        while (batch := port.poll(0.2)) is not None:
            seen += len(batch)
            waiting.put(batch)
        waiting.put(None)
        thread.join()
        stats = port.stats()
        assert not wrong
        assert stats["held"] == 0
        assert seen == stats["rx_packets"]
        assert seen + stats["drop.socket_buffer"] == sent


def test_closing_while_another_thread_sends_a_copied_batch():
    for _ in range(20):
        with wp.open("null:", steer=wp.everything(), batch_size=64) as source:
            batch = source.poll(0).copy()
        batch.verdicts = wp.TX
        port = wp.open("null:,frame_size=64", steer=wp.everything())
        started = threading.Event()

        def send(port=port, batch=batch, started=started):
            with contextlib.suppress(wp.ReleasedError):
                while True:
                    port.tx(batch)
                    started.set()

        thread = threading.Thread(target=send)
        thread.start()
        started.wait()
        port.close()
        thread.join()


def test_a_timeout_beyond_the_calendar_waits():
    with wp.open("socket:lo", steer=wp.udp(*GROUP)) as port:
        timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            port.poll(9e12)
        timer.join()


def test_a_worker_whose_stage_calls_python_may_be_dropped_while_it_runs():
    program = (
        "import ctypes, threading, wirepath as wp\n"
        "called = threading.Event()\n"
        "stage = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)(\n"
        "    lambda batch, state: called.set() or 0)\n"
        "port = wp.open('null:', steer=wp.everything())\n"
        "for _ in range(20):\n"
        "    worker = wp.Worker()\n"
        "    worker.add_port(port)\n"
        "    worker.add_stage(wp._core.CStage('py', ctypes.cast(stage, ctypes.c_void_p).value))\n"
        "    called.clear()\n"
        "    worker.start()\n"
        "    assert called.wait(10)\n"
        "    del worker\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=20, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_port_that_a_worker_polls_is_not_polled_by_python():
    with wp.open("null:", steer=wp.everything()) as port:
        worker = wp.Worker()
        worker.add_port(port)
        with worker, pytest.raises(wp.DeviceBusy, match="worker"):
            port.poll(0)
        with port.poll(0) as batch:
            assert len(batch) == 64


def test_closing_a_port_ends_the_loop_of_another_thread():
    port = wp.open("socket:lo", steer=wp.udp(*GROUP))
    started, ended = threading.Event(), threading.Event()

    def loop():
        started.set()
        for _ in port:
            pass
        ended.set()

    thread = threading.Thread(target=loop)
    thread.start()
    started.wait()
    port.close()
    assert ended.wait(20)
    thread.join()
    with wp.open("socket:lo", steer=wp.udp(*GROUP)):
        pass


@pytest.mark.parametrize(
    "waiting",
    [
        "list(wp.open('socket:lo', steer=wp.udp('239.255.77.3', 47003)))",
        "wp.Ring(8).pop_batch(1, timeout=1e9)",
    ],
)
def test_a_daemon_thread_that_waits_does_not_take_the_exit_down(waiting):
    program = (
        "import threading, time, wirepath as wp\n"
        f"threading.Thread(target=lambda: {waiting}, daemon=True).start()\n"
        "time.sleep(0.3)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
