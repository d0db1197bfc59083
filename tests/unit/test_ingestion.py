"""The ingestion API: its states, what it reports of the request, statistics, the ring."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import wirepath as wp
from wirepath import hdr
from wirepath.accounting import Line, Side, account, feed_totals
from wirepath.errors import StateError
from wirepath.feed import FeedChannel
from wirepath.publish import PublishConfig, Publisher
from wirepath.stats import percentiles


def null_config(**more):
    return wp.IngestionConfig(backend="null", options={"frames": 1000}, **more)


def live_config(flow, **more):
    return wp.IngestionConfig(
        backend="socket", interface_name="lo", host=flow[0], port=flow[1], next_sequence=1, **more
    )


def publisher(flow, **more):
    given = {"rate": 200_000, "messages": 4000, "end_of_session_interval": 0.02, **more}
    return Publisher(PublishConfig(host=flow[0], port=flow[1], via="socket:lo", **given))


# --- states ------------------------------------------------------------------------------------
def test_calls_out_of_order_are_refused():
    client = wp.IngestionClient(null_config())
    with pytest.raises(StateError, match="comes after initialize"):
        client.connect()
    client.initialize()
    with pytest.raises(StateError, match="comes after connect"):
        client.start_ingestion(wp.RingBuffer())
    with pytest.raises(StateError, match="once connect"):
        _ = client.backend_info
    with pytest.raises(StateError, match="comes after start_ingestion"):
        next(client.batches())
    assert not client.is_connected
    client.connect()
    assert client.is_connected
    with pytest.raises(StateError, match="connected already"):
        client.connect()
    client.start_ingestion(wp.RingBuffer())
    with pytest.raises(StateError, match="running already"):
        client.start_ingestion(wp.RingBuffer())
    client.stop_ingestion()
    client.stop_ingestion()  # nothing more happens
    client.close()
    assert not client.is_connected
    assert client.backend_info["backend"] == "null"


def test_a_ring_has_one_producer():
    ring = wp.RingBuffer()
    with (
        wp.IngestionClient(wp.IngestionConfig(backend="null")) as one,
        wp.IngestionClient(wp.IngestionConfig(backend="null")) as two,
    ):
        one.start_ingestion(ring)
        with pytest.raises(StateError, match="another client"):
            two.start_ingestion(ring)


def test_arguments_of_another_type_are_refused():
    with pytest.raises(wp.ConfigError, match="an IngestionConfig"):
        wp.IngestionClient({"backend": "null"})
    with wp.IngestionClient(null_config()) as client:
        with pytest.raises(wp.ConfigError, match=r"a wirepath\.RingBuffer"):
            client.start_ingestion([])
        with pytest.raises(wp.ConfigError, match=r"a wirepath\.IngestionStats"):
            client.start_ingestion(wp.RingBuffer(), {})


def test_a_core_that_this_process_may_not_use():
    client = wp.IngestionClient(null_config(cpu_core=1023))
    with pytest.raises(wp.ConfigError, match=r"cpu_core = 1023 .* one of the cores"):
        client.initialize()


def test_an_option_that_the_backend_does_not_have():
    config = wp.IngestionConfig(backend="null", options={"frame": 1})
    with pytest.raises(wp.ConfigError, match=r"no option frame \(did you mean frames\?\)"):
        wp.IngestionClient(config).initialize()


def test_zero_copy_required_of_a_backend_that_copies_is_refused(flow):
    config = live_config(flow, options={"zero_copy": "require"})
    with pytest.raises(wp.ConfigError, match="no option zero_copy"):
        wp.IngestionClient(config).initialize()


def test_the_worker_is_pinned():
    with wp.IngestionClient(null_config(cpu_core=0)) as client:
        client.start_ingestion(wp.RingBuffer())
        deadline = time.monotonic() + 5
        while client.backend_info["worker"]["cpu_core"] is None and time.monotonic() < deadline:
            time.sleep(0.01)
        assert client.backend_info["worker"]["cpu_core"] == 0


def test_a_client_stopped_at_once_leaves_no_thread():
    before = threading.active_count()
    with wp.IngestionClient(wp.IngestionConfig(backend="null")) as client:
        client.start_ingestion(wp.RingBuffer(), wp.IngestionStats())
    assert threading.active_count() == before
    assert not client.is_running


# --- what was made of the request --------------------------------------------------------------
def test_what_cannot_be_honoured_is_reported(flow):
    with wp.IngestionClient(live_config(flow)) as client:
        info = client.backend_info
    reasons = {each["option"]: each["reason"] for each in info["not_honoured"]}
    assert "copies" in reasons["enable_zero_copy"]
    assert "in place" in reasons["zero_copy_threshold"]
    assert "rx_ring_size" not in reasons
    assert info["rx_ring_size"] == 2048
    assert info["config"]["poll_timeout_us"] == 100
    assert set(info["numa"]) == {"nic_node", "core_node", "match", "memory_node", "nodes"}


def test_what_is_not_asked_for_is_not_reported():
    config = null_config(enable_zero_copy=False, enable_numa_awareness=False)
    with wp.IngestionClient(config) as client:
        options = [each["option"] for each in client.backend_info["not_honoured"]]
    assert options == ["rx_ring_size", "zero_copy_threshold"]


def test_a_poll_timeout_that_spinning_ignores_is_reported():
    with wp.IngestionClient(null_config(idle="spin", poll_timeout_us=50)) as client:
        assert "poll_timeout_us" in [e["option"] for e in client.backend_info["not_honoured"]]


# --- the feed ----------------------------------------------------------------------------------
def test_a_feed_over_loopback_from_first_to_last_message(flow):
    ring, stats = wp.RingBuffer(1 << 14), wp.IngestionStats()
    with wp.IngestionClient(live_config(flow)) as client:
        client.start_ingestion(ring, stats)
        with publisher(flow):
            got = np.concatenate(list(client.batches()))
        assert client.messages_received == len(got) == 4000
        assert client.cpu_seconds > 0
    assert got["seq"].tolist() == list(range(1, 4001))
    assert stats.messages == 4000
    assert stats.gaps == []
    assert stats.missing == 0
    assert stats.packets == client.packets_received > 0
    assert stats.elapsed > 0
    assert stats.rate == pytest.approx(4000 / stats.elapsed)
    assert stats.wire_to_ring.total == 4000
    assert stats.ring_to_consumer.total == 4000
    assert 0 < stats.wire_to_ring.quantile(0.5) < 5e9
    assert client.worker_stats()["frames"] == client.packets_received


def test_messages_lost_at_the_very_beginning_are_a_gap(flow):
    with wp.IngestionClient(live_config(flow)) as client:
        stats = wp.IngestionStats()
        client.start_ingestion(wp.RingBuffer(1 << 14), stats)
        with publisher(flow, first_sequence=101):
            total = sum(map(len, client.batches()))
        client.stop_ingestion()
    assert total == 4000
    assert stats.gaps == [(1, 100)]
    assert stats.missing == 100


def test_an_ingestion_can_be_started_again_with_a_new_ring(flow):
    with wp.IngestionClient(live_config(flow)) as client:
        for _ in range(2):
            ring, stats = wp.RingBuffer(1 << 14), wp.IngestionStats()
            client.start_ingestion(ring, stats)
            with publisher(flow):
                assert sum(map(len, client.batches())) == 4000
            client.stop_ingestion()
            assert stats.messages == 4000
        with pytest.raises(StateError, match="ring has been closed"):
            client.start_ingestion(ring)


def test_stopping_does_not_wait_for_a_consumer_that_has_gone_away(flow):
    ring = wp.RingBuffer(64, "block")
    with wp.IngestionClient(live_config(flow)) as client:
        client.start_ingestion(ring)
        with publisher(flow):
            deadline = time.monotonic() + 10
            while len(ring) < 64 and time.monotonic() < deadline:
                time.sleep(0.01)
        begin = time.monotonic()
        client.stop_ingestion()
        assert time.monotonic() - begin < 5
        snapshot = client.snapshot()
    assert snapshot["delivered"] == 64
    assert feed_totals(snapshot)["messages"] == 64 + snapshot["ring_full"]
    assert snapshot["ring_full"] > 0


def test_a_ring_that_drops_counts_what_it_drops(flow):
    ring = wp.RingBuffer(64, "drop")
    with wp.IngestionClient(live_config(flow)) as client:
        client.start_ingestion(ring)
        with publisher(flow) as sender:
            while sender.running:
                time.sleep(0.01)
        time.sleep(0.1)
        client.stop_ingestion()
        snapshot = client.snapshot()
    assert snapshot["delivered"] == ring.pushed == 64
    assert snapshot["ring_full"] == ring.dropped == 4000 - 64


def test_the_ring_is_read_in_another_process(flow):
    name = f"wp-test-{flow[1]}"
    ring = wp.RingBuffer(1 << 13, name=name)
    code = (
        "import sys, wirepath as wp\n"
        "ring, n, last = wp.Ring.attach(sys.argv[1]), 0, 0\n"
        "while n < 4000:\n"
        "    records = ring.pop_batch(timeout=10)\n"
        "    if not len(records): break\n"
        "    n, last = n + len(records), int(records['seq'][-1])\n"
        "print(n, last)\n"
    )
    with (
        subprocess.Popen(
            [sys.executable, "-c", code, name], stdout=subprocess.PIPE, text=True
        ) as consumer,
        wp.IngestionClient(live_config(flow)) as client,
    ):
        client.start_ingestion(ring)
        with publisher(flow) as sender:
            while sender.running:
                time.sleep(0.01)
        out, _ = consumer.communicate(timeout=30)
    assert out.split() == ["4000", "4000"]


# --- statistics --------------------------------------------------------------------------------
def test_statistics_are_flushed_while_it_runs_and_at_the_end(flow, tmp_path):
    path, seen = tmp_path / "stats.jsonl", []
    stats = wp.IngestionStats(flush_interval=0.05, on_flush=seen.append, flush_path=path)
    with wp.IngestionClient(live_config(flow)) as client:
        client.start_ingestion(wp.RingBuffer(1 << 14), stats)
        with publisher(flow, rate=10_000):
            total = sum(map(len, client.batches()))
        client.stop_ingestion()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(lines) == len(seen) == stats.flushes >= 4
    assert [line["messages"] for line in lines] == sorted(line["messages"] for line in lines)
    assert lines[-1]["messages"] == total == 4000
    assert any(0 < line["messages"] < 4000 for line in lines)
    assert max(line["recent_rate"] for line in lines) > 1000
    assert set(lines[-1]["latency_ns"]) == {"wire_to_ring", "ring_to_consumer"}


def test_an_error_of_the_flush_is_raised_at_the_stop():
    def bad(_summary):
        raise RuntimeError("disk full")

    stats = wp.IngestionStats(flush_interval=0.01, on_flush=bad)
    with wp.IngestionClient(null_config()) as client:
        client.start_ingestion(wp.RingBuffer(), stats)
        with pytest.raises(RuntimeError, match="disk full"):
            client.stop_ingestion()


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"flush_interval": 0}, "from 0.01 to 86400"),
        ({"flush_interval": -1.0}, "from 0.01 to 86400"),
        ({"flush_interval": 1.0}, "on_flush or flush_path"),
        ({"flush_path": "x"}, "flush_interval = None"),
    ],
)
def test_mistakes_in_statistics(values, said):
    with pytest.raises(wp.ConfigError, match=said):
        wp.IngestionStats(**values)


def test_statistics_belong_to_one_ingestion():
    stats = wp.IngestionStats()
    for expected in (None, wp.ConfigError):
        with wp.IngestionClient(null_config()) as client:
            if expected is None:
                client.start_ingestion(wp.RingBuffer(), stats)
            else:
                with pytest.raises(expected, match="another ingestion"):
                    client.start_ingestion(wp.RingBuffer(), stats)


def test_percentiles_are_those_of_the_samples():
    histogram = wp.Histogram()
    assert percentiles(histogram) == {}
    for value in range(1, 101):
        histogram.record(value)
    assert percentiles(histogram) == {
        "p50": 50,
        "p90": 90,
        "p99": 99,
        "p99.9": 100,
        "p99.99": 100,
        "max": 100,
    }


# --- the ring ----------------------------------------------------------------------------------
@pytest.mark.parametrize("capacity", [0, 1, 3, 1000, -2, 2.0, "64", True, 1 << 31, None])
def test_a_capacity_that_is_none(capacity):
    with pytest.raises(wp.ConfigError, match="a power of two from 2 to 1073741824"):
        wp.RingBuffer(capacity)


def test_a_policy_that_is_none():
    with pytest.raises(wp.ConfigError, match='policy = "wait"'):
        wp.RingBuffer(64, "wait")


def test_popping_one_by_one_and_in_batches():
    ring = wp.RingBuffer(16)
    assert ring.try_pop() is None
    records = np.zeros(10, wp.RECORD)
    records["seq"] = range(10)
    assert ring.push(records) == 10
    first = ring.try_pop()
    assert first is not None
    assert first["seq"] == 0
    batch = ring.pop_batch(4)
    assert batch["seq"].tolist() == [1, 2, 3, 4]
    assert ring.pop_batch()["seq"].tolist() == [5, 6, 7, 8, 9]
    assert len(ring.pop_batch()) == 0
    assert (ring.pushed, ring.popped, len(ring)) == (10, 10, 0)


def test_a_ring_measures_how_long_records_waited():
    ring, waits = wp.RingBuffer(16), wp.Histogram()
    ring.measure(waits)
    ring.push(np.zeros(5, wp.RECORD))
    time.sleep(0.02)
    ring.pop_batch(3)
    time.sleep(0.05)
    ring.try_pop()
    assert waits.total == 4
    assert 20e6 <= waits.min < 60e6
    assert waits.max >= 70e6
    ring.measure(None)
    ring.try_pop()
    assert waits.total == 4


# --- accounts and exports ----------------------------------------------------------------------
def test_an_equation_that_does_not_add_up_says_so():
    good = Side(10, 7, (Line("ring.full", 3, ""),))
    assert (good.residual, good.equation()) == (0, "10 published = 7 delivered + 3 ring.full")
    bad = Side(10, 7, (Line("ring.full", 2, ""),))
    assert bad.residual == 1
    assert "≠" in bad.equation()
    assert "residual 1" in bad.equation()


def channel_snapshot(**told):
    """Of a channel that took nothing in but what is told: counters of its unit, line or own."""
    snapshot = FeedChannel.make("itch", name="it", lines=[wp.everything()]).snapshot()
    unit = {"unit": 0, "gaps": [], "highest": told.pop("highest")}
    for name, value in told.items():
        at = next(d for d in (snapshot["counters"], snapshot["lines"][0], snapshot) if name in d)
        at[name] = value
    return snapshot | {"state": [unit]}


SNAPSHOT = {
    "delivered": 60, "ring_full": 4, "not_udp": 0, "other_flow": 2,
    "channels": [
        channel_snapshot(
            packets=9, malformed=1, stale=1, gap_open=20, abandoned=5, unknown=1, highest=91
        )
    ],
}  # fmt: skip


def test_an_account_names_every_layer_once():
    told = account(
        {
            "packets": 21, "messages": 100, "next_sequence": 101,
            "port_stats": {"nic.tx_dropped": 3, "drop.tx_ring_full": 99}, "drops": {},
        },
        {"drop.socket_buffer": 7, "drop.tx_error": 9, "nic.rx_dropped": 50, "rx_packets": 10},
        SNAPSHOT,
        driver="veth",
    )  # fmt: skip
    assert told.packets.residual == 21 - (3 + 7 + 2 + 1 + 1) - 7
    assert told.packets.residual == 0
    assert told.messages.residual == 100 - 60 - 4 - 1 - 25 - 10
    assert told.messages.residual == 0
    assert told.balanced
    by_layer = told.to_dict()["messages"]["drops"]
    assert (by_layer["line.gaps"], by_layer["line.tail"]) == (25, 10)


def test_one_frame_that_nobody_counted_unbalances_the_account():
    published = {"packets": 15, "messages": 100, "next_sequence": 101, "port_stats": {}}
    told = account(published, {}, SNAPSHOT)
    assert told.packets.residual == 15 - 7 - 2 - 1 - 1
    assert not told.balanced


def test_histograms_read_back_by_hdrhistogram(tmp_path):
    hdrh = pytest.importorskip("hdrh.histogram", reason="the hdrhistogram package")
    from hdrh.log import HistogramLogReader

    ours, theirs = wp.Histogram(), hdrh.HdrHistogram(1, (1 << 34) - 1, 2)
    random = np.random.default_rng(5)
    for value in np.clip(random.lognormal(9, 3, 5000), 1, 1e10).astype(int).tolist():
        ours.record(value)
        theirs.record_value(value)
    ours.record(77, 1 << 40)
    theirs.record_value(77, 1 << 40)
    (path,) = hdr.write(tmp_path / "x.hlog", {"wire": ours}, start=1e9, seconds=2.5)
    reader = HistogramLogReader(str(path), hdrh.HdrHistogram(1, (1 << 34) - 1, 2))
    read = reader.get_next_interval_histogram()
    assert read.get_tag() == "wire"
    assert read.get_total_count() == theirs.get_total_count()
    counts = ours.counts()
    for i in range(len(counts)):
        assert read.get_count_at_index(i) == theirs.get_count_at_index(i) == counts[i]


def test_percentile_tables_end_with_every_sample(tmp_path):
    histogram = wp.Histogram()
    for value in (1000, 2000, 3000, 90_000):
        histogram.record(value)
    files = hdr.write(
        tmp_path / "x.hgrm", {"a": histogram, "b": wp.Histogram()}, start=0, seconds=1
    )
    assert [f.name for f in files] == ["x.a.hgrm", "x.b.hgrm"]
    rows = [line.split() for line in files[0].read_text().splitlines()[2:]]
    values = [row for row in rows if not row[0].startswith("#")]
    assert values[-1][1:] == ["1.000000000000", "4"]
    assert float(values[-1][0]) == pytest.approx(90.0, rel=0.01)
    assert [float(v[1]) for v in values] == sorted(float(v[1]) for v in values)


def test_a_histogram_file_where_none_can_be(tmp_path):
    for path, said in (
        (tmp_path / "no" / "x.hlog", "there is no directory"),
        (tmp_path, "is a dir"),
    ):
        with pytest.raises(wp.ConfigError, match=said):
            hdr.write(path, {}, start=0, seconds=0)


def test_a_program_that_fails_with_a_full_ring_ends():
    program = (
        "import time, wirepath as wp, wirepath.frames\n"
        "c = wp.IngestionClient(wp.IngestionConfig(backend='socket', interface_name='lo',\n"
        "    host='239.255.77.9', port=47909))\n"
        "c.initialize(); c.connect(); ring = wp.RingBuffer(2); c.start_ingestion(ring)\n"
        "out = wp.open('socket:lo', steer=wp.udp('239.255.77.9', 47909), tx_only=True)\n"
        "day = b''.join(b'\\x00\\x0cS' + bytes(11) for _ in range(9))\n"
        "packet = b'SESSION   ' + (1).to_bytes(8, 'big') + (9).to_bytes(2, 'big') + day\n"
        "out.send([wp.frames.udp(packet, dst=('239.255.77.9', 47909))])\n"
        "end = time.monotonic() + 10\n"
        "while ring.blocked == 0 and time.monotonic() < end: time.sleep(0.01)\n"
        "assert ring.blocked, 'never full'\n"
        "raise SystemExit(7)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stderr) == (7, "")
