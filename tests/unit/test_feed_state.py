# SPDX-License-Identifier: Apache-2.0
"""What a feed goes on from after it was stopped or killed, and starts that fail."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import feed_peer as peer
import numpy as np
import pytest

import wirepath as wp
from wirepath import feed_client, feed_state
from wirepath.sinks import CallbackConfig, Fanout, FileConfig, open_sink

LINE = ("239.255.97.3", 47_213 + os.getpid() % 1000)


def config_of(line=LINE, *, feed=(), recovery=(), sink=(), **channel):
    return wp.FeedConfig(
        feed={"interface_name": "lo", "options": {"rx_buffer_bytes": 8 << 20}, **dict(feed)},
        channel=[
            {
                "name": "c",
                "line": [{"group": line[0], "port": line[1]}],
                "recovery": list(recovery),
                **channel,
            }
        ],
        sink=list(sink),
    )


@contextmanager
def sender():
    """Sends a datagram to the line, at a bounded pace."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1"))

        def send(packet, line=LINE):
            sock.sendto(packet, line)
            time.sleep(0.0005)

        yield send


def wait_for(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


# --- the saved position follows the sinks --------------------------------------------------------
def records_of(numbers, kind="A"):
    out = np.zeros(len(numbers), wp.RECORD)
    out["seq"], out["type"], out["event_time"] = numbers, ord(kind), 1
    return out


def test_a_sink_acknowledges_in_order_what_it_wrote_or_lost():
    gate = threading.Semaphore(0)
    with Fanout([open_sink(CallbackConfig(name="s", function=lambda _: gate.acquire()))]) as made:
        for first in (0, 10, 20):
            made.write(records_of(range(first, first + 10)))
        assert made.acknowledged == 0
        gate.release()
        wait_for(lambda: made.acknowledged == 10)
        gate.release(2)
        wait_for(lambda: made.acknowledged == 30)


def test_a_file_acknowledges_when_it_is_finished(tmp_path):
    settings = FileConfig(
        kind="npy", name="f", folder=str(tmp_path), rotate_seconds=1, queue_records=1000
    )
    with Fanout([open_sink(settings)]) as made:
        made.write(records_of(range(10), "A"))
        wait_for(lambda: made.counters["f"]["open_files"] == 1)
        time.sleep(0.5)
        # Of another file, which is finished later: in the way of nothing before it.
        made.write(records_of(range(10, 20), "B"))
        made.write(records_of(range(20, 30), "A"))
        assert made.acknowledged == 0
        wait_for(lambda: made.counters["f"]["written"] == 20)  # both of A, and not those between
        assert made.acknowledged == 10
        wait_for(lambda: made.acknowledged == 30)


def test_the_state_does_not_pass_what_a_sink_has(tmp_path):
    path = tmp_path / "feed.state"
    messages = peer.itch(2000)
    line = peer.impair(messages, random.Random(1), pack=(1, 4))
    done, early = [0], []

    def slow(records):
        time.sleep(len(records) * 0.002)  # slower than they come
        saved = feed_state.read(path).get("c")
        if saved is not None and saved.units[0].next_sequence > done[0] + 1:
            early.append((saved.units[0].next_sequence, done[0]))
        done[0] += len(records)

    sink = CallbackConfig(name="slow", function=slow)
    state = {"state": str(path), "state_interval": 0.05}
    with wp.FeedClient(config_of(feed=state, sink=[sink], next_sequence=1)) as client:
        client.start_ingestion()
        thread = threading.Thread(
            target=lambda: peer.send_lines([(LINE, line)], len(messages) + 1, pace=600)
        )
        thread.start()
        client.run(max_seconds=30)
        thread.join()
    assert early == []
    assert done[0] == 2000
    assert client.state_writes > 2
    assert feed_state.read(path)["c"].units[0].next_sequence == 2001


KILLED = """
import os, sys
import wirepath as wp
sys.path[:0] = {folders!r}
from test_feed_state import config_of
out = os.open({out!r}, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
def slow(records):
    import time
    time.sleep(len(records) * 0.002)
    os.write(out, records["seq"].tobytes())
from wirepath.sinks import CallbackConfig
config = config_of(
    {line!r},
    feed={{"state": {state!r}, "state_interval": 0.05}},
    sink=[CallbackConfig(name="disk", function=slow)],
    recovery=[{{"kind": "mold_udp64", "server": {server!r}}}],
    next_sequence={first},
)
with wp.FeedClient(config) as client:
    client.start_ingestion()
    print("up", flush=True)
    client.run(max_seconds=40)
"""


def test_after_a_kill_nothing_is_lost_to_the_sink(tmp_path):
    messages = peer.itch(4000)
    out, state = tmp_path / "numbers", tmp_path / "feed.state"
    out.touch()
    packets = peer.impair(messages, random.Random(2), pack=(1, 4)).packets

    def numbers():
        return np.frombuffer(out.read_bytes(), np.uint64)

    def start(first):
        script = KILLED.format(
            folders=[str(Path(__file__).parent), str(Path(peer.__file__).parent)],
            line=LINE,
            out=str(out),
            state=str(state),
            server=server.text,
            first=first,
        )
        process = subprocess.Popen(
            [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout.readline() == "up\n"
        return process

    with peer.MoldServer(messages) as server, sender() as send:
        first = start(1)
        try:
            # Until it has saved something, and in the middle of it, with the sink far behind.
            rest = iter(packets)
            for sent, (_, packet) in enumerate(rest):
                send(packet)
                if sent > 500 and sent % 50 == 0 and "c" in feed_state.read(state):
                    break
        finally:
            first.send_signal(signal.SIGKILL)
            first.wait()
        saved = feed_state.read(state)["c"].units[0].next_sequence
        assert 1 < saved <= len(numbers()) + 1
        second = start(0)
        try:
            for _, packet in rest:
                send(packet)
            for _ in range(10):
                send(peer.end(len(messages) + 1))
                time.sleep(0.02)
            assert second.wait(60) == 0
        finally:
            second.kill()
            second.wait()
    assert np.array_equal(np.unique(numbers()), np.arange(1, 4001, dtype=np.uint64))


# --- units ---------------------------------------------------------------------------------------
def pitch(first, count, unit):
    body = b"".join(struct.pack("<BBIQ", 14, 0x29, 0, n) for n in range(first, first + count))
    return struct.pack("<HBBI", 8 + len(body), count, unit, first) + body


def test_units_go_on_and_one_that_began_anew_meanwhile_is_not_kept_out(tmp_path):
    path = tmp_path / "feed.state"
    state = {"state": str(path)}

    def take(packets, count):
        with wp.FeedClient(config_of(protocol="pitch", feed=state)) as client:
            client.start_ingestion()
            with sender() as send:
                for packet in packets:
                    send(packet)
            parts = []
            client.run(max_seconds=10, max_messages=count, on_records=parts.append)
        return np.concatenate(parts), client.summary()["channels"][0]

    first = [pitch(n, 10, unit) for n in range(9001, 9101, 10) for unit in (1, 2, 3)]
    records, _ = take(first, 300)
    assert len(records) == 300
    saved = feed_state.read(path)["c"].units
    assert [(u.unit, u.next_on_wire) for u in saved] == [(1, 9101), (2, 9101), (3, 9101)]
    # Unit 1 goes on, and what it had is not had again. 2 and 3 began anew, and 3 lost its first.
    starts = [(n, unit) for n in range(1, 101, 10) for unit in (2, 3) if (n, unit) != (1, 3)]
    again = [pitch(9091, 10, 1), *(pitch(n, 10, unit) for n, unit in starts), pitch(9101, 10, 1)]
    records, told = take(again, 160)
    orders = records["order_id"].tolist()
    # Two packets of each went to prove that it did; nobody is asked for them.
    assert sorted(orders) == sorted([*range(9101, 9111), *range(21, 101), *range(31, 101)])
    assert told["counters"]["resets"] == 2
    assert told["missing"] == 20 + 30


# --- the venue's day -----------------------------------------------------------------------------
def test_requests_of_the_day_survive_a_restart_and_old_ones_do_not_count(tmp_path):
    path = tmp_path / "feed.state"
    hour = wp.now() // 3_600_000_000_000
    unit = feed_state.UnitState(0, peer.SESSION, 100, 100)

    def asked(requests, age=0):
        """How many requests a feed makes that has so many already, and may make 5 a day."""
        time_of = wp.now() - age * 3_600_000_000_000
        written = feed_state.ChannelState("itch", (unit,), time_of, requests)
        feed_state.write(path, {"c": written})
        assert feed_state.read(path)["c"] == written
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
            server.bind(("127.0.0.1", 0))
            how = {
                "kind": "mold_udp64",
                "server": f"127.0.0.1:{server.getsockname()[1]}",
                "per_day": 5,
                "hold_ns": 0,
                "retry_ns": 2_000_000,
                "max_retry_ns": 2_000_000,
                "max_attempts": 8,
                "deadline_ns": 300_000_000,
            }
            cfg = config_of(feed={"state": str(path)}, recovery=[how])
            with wp.FeedClient(cfg) as client:
                client.start_ingestion()
                with sender() as send:
                    start = 100 if age < 12 else 1
                    for n in (start, start + 5, start + 6):
                        send(peer.mold(n, [b"S" + bytes(11)]))
                    for _ in range(10):
                        send(peer.end(start + 7))
                        time.sleep(0.02)
                client.run(max_seconds=10)
            (channel,) = client.summary()["channels"]
        saved = feed_state.read(path)["c"].requests
        return channel["recovery"]["requests"], sum(saved.values())

    assert asked({}) == (5, 5)
    assert asked({hour - 1: 3}) == (2, 5)
    assert asked({hour - 30: 3, hour - 2: 1}) == (4, 5)
    # Of a state that is too old to go on from, the requests still count.
    assert asked({hour - 14: 4}, age=14) == (1, 5)


def test_requests_are_written_though_no_sink_has_a_record(tmp_path):
    path, hour = tmp_path / "feed.state", wp.now() // 3_600_000_000_000
    unit = feed_state.UnitState(0, peer.SESSION, 100, 100)
    before = feed_state.ChannelState("itch", (unit,), wp.now(), {hour - 3: 2})
    feed_state.write(path, {"c": before})
    gate = threading.Event()
    sink = CallbackConfig(name="stuck", function=lambda _: gate.wait(30))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        where = f"127.0.0.1:{server.getsockname()[1]}"
        how = {"kind": "mold_udp64", "server": where, "per_day": 5, "hold_ns": 0}
        feed = {"state": str(path), "state_interval": 0.05}
        with wp.FeedClient(config_of(feed=feed, recovery=[how], sink=[sink])) as client:
            client.start_ingestion()
            runner = threading.Thread(target=lambda: client.run(max_seconds=20))
            runner.start()
            with sender() as send:
                for n in (100, 105):
                    send(peer.mold(n, [b"S" + bytes(11)]))
                wait_for(lambda: sum(feed_state.read(path)["c"].requests.values()) > 2)
                found = feed_state.read(path)["c"]
                assert (found.units, found.time) == (before.units, before.time)
                gate.set()
                for _ in range(10):
                    send(peer.end(106))
                    time.sleep(0.02)
            runner.join()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"next_sequence": -1}, "-1 is not a whole number of 64 bits"),
        ({"next_on_wire": 1 << 64}, "is not a whole number of 64 bits"),
        ({"unit": -2}, "-2 is not a whole number of 32 bits"),
        ({"requests_by_hour": {"-4": 1}}, "-4 is not a whole number of 32 bits"),
        ({"requests_by_hour": {"4": -1}}, "-1 is not a whole number of 32 bits"),
        ({"requests_by_hour": [1]}, "is no state file of a feed"),
    ],
)
def test_a_state_file_that_was_edited_wrongly_is_told(tmp_path, changes, told):
    path = tmp_path / "feed.state"
    unit = feed_state.UnitState(0, peer.SESSION, 100, 100)
    feed_state.write(path, {"c": feed_state.ChannelState("itch", (unit,), 5, {3: 1})})
    document = json.loads(path.read_text())
    channel = document["channels"]["c"]
    for name, value in changes.items():
        (channel if name in channel else channel["units"][0])[name] = value
    path.write_text(json.dumps(document))
    client = wp.FeedClient(config_of(feed={"state": str(path)}))
    with pytest.raises(wp.ConfigError, match=told):
        client.initialize()


# --- starts that fail ----------------------------------------------------------------------------
@pytest.mark.parametrize("where", ["open", "launch", "thread"])
def test_a_start_that_fails_midway_leaves_nothing_running(monkeypatch, where):
    def fail(*_, **__):
        raise wp.ConfigError("no")

    def running():
        """Threads, without the one that keeps counters fresh: it ends by itself."""
        return {thread for thread in threading.enumerate() if thread.name != "wp-counters"}

    before = running()
    with wp.FeedClient(config_of()) as client:
        ring = wp.RingBuffer()
        with monkeypatch.context() as patched:
            if where == "open":
                patched.setattr(feed_client.Control, "open", fail)
            elif where == "launch":
                patched.setattr(wp.worker.Worker, "start", fail)
            else:
                patched.setattr(feed_client.Control, "start", fail)
            with pytest.raises(wp.ConfigError, match="no"):
                client.start_ingestion(ring, wp.IngestionStats())
        assert not client.is_running
        assert running() == before
        assert ring.closed == (where == "thread")
        # It may be started after all, and the ring go to another one where nothing ran on it.
        client.start_ingestion(ring if where != "thread" else None, wp.IngestionStats())
        assert client.is_running
        with sender() as send:
            send(peer.mold(1, [b"S" + bytes(11)]))
        assert len(client._ring.pop_batch(timeout=5)) == 1
    assert running() == before


def test_the_same_line_twice_is_refused(wirepath):
    line = f"{LINE[0]}:{LINE[1]}"
    answer = wirepath("feed", "socket:lo", line, line, "--max-seconds", 1)
    assert answer.code == 2
    assert "another flow" in answer.err
    assert "Traceback" not in answer.err
    published = wirepath("publish", "--line", line, "--line", f"{line},loss=0.1", "--messages", 500)
    assert published.code == 2
    assert "line 2: to" in published.err
    assert "line 1's" in published.err
    steer = wp.udp(*LINE)
    with pytest.raises(wp.ConfigError, match="another flow"):
        wp.feed.make_stage(
            wp.RingBuffer(), [wp.feed.make_channel("itch", name="twice", lines=[steer, steer])]
        )
