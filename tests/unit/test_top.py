"""Counters as series: what top and metrics make of them, from inside and from outside."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

import wirepath as wp
from wirepath import _core, activity, feed, metrics, series
from wirepath.telemetry import Snapshot

DASHBOARD = Path(__file__).parents[2] / "docs" / "grafana.json"


@pytest.fixture
def running():
    """A process with a worker over two queues of null; gives its number."""
    program = (
        "import sys, wirepath as wp\n"
        "with wp.open('null:,queues=2', steer=wp.everything()) as port:\n"
        "    worker = wp.Worker('observed-worker-of-a-long-name')\n"
        "    worker.add_port(port)\n"
        "    with worker:\n"
        "        print('running', flush=True)\n"
        "        sys.stdin.read()\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout.readline() == "running\n"
    yield child.pid
    child.communicate("")


def wirepath(*words, timeout=30):
    return subprocess.run(
        [sys.executable, "-m", "wirepath", *words],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("port/null:/q0/rx_packets", ("rx_packets", {"port": "null:", "queue": "0"})),
        (
            "port/pcap:/tmp/a/b.pcap/q12/drop.link_type",
            ("drops", {"port": "pcap:/tmp/a/b.pcap", "queue": "12", "cause": "link_type"}),
        ),
        ("port/af_xdp:eth0/rx_other", ("rx_other", {"port": "af_xdp:eth0", "queue": ""})),
        ("worker/w/verdict.tx", ("verdicts", {"worker": "w", "verdict": "tx"})),
        (
            "feed/af_xdp:eth0/wire_to_ring_ns",
            ("wire_to_ring_ns", {"feed": "af_xdp:eth0"}),
        ),
        (
            "feed/af_xdp:eth0/wire_to_ring_ns#11",  # ten more clients of the same port
            ("wire_to_ring_ns", {"feed": "af_xdp:eth0#11"}),
        ),
        ("hand_off/h/drop.queue_full", ("drops", {"hand_off": "h", "cause": "queue_full"})),
    ],
)
def test_names_of_cells(cell, expected):
    kind, name, labels = series.split(cell)
    assert (name, dict(labels)) == expected
    assert kind == cell.partition("/")[0]


def test_every_cell_of_a_worker_is_one_sample_with_its_value():
    with wp.open("null:,queues=2,frames=1000", steer=wp.everything()) as port:
        worker = wp.Worker("metrics-worker")
        worker.add_port(port)
        worker.start()
        worker.join()
        families = list(text_string_to_metric_families(metrics.text([os.getpid()])))
        samples = {
            (s.name, *sorted(s.labels.items())): s.value for f in families for s in f.samples
        }
        pid = ("pid", str(os.getpid()))
        for queue in "01":
            key = ("wirepath_port_rx_packets_total", pid, ("port", "null:"), ("queue", queue))
            assert samples[key] == 1000
        mine = ("worker", "metrics-worker")
        assert samples["wirepath_worker_frames_total", pid, mine] == 2000
        assert samples["wirepath_worker_verdicts_total", pid, ("verdict", "drop"), mine] == 2000
        scalars = [s for f in families if f.type != "histogram" for s in f.samples]
        scalars = [s for s in scalars if "mode" not in s.labels]  # of /proc, not of the segment
        assert len(scalars) == len(wp.counters().counters)
        # A family has one set of labels.
        for family in families:
            assert (
                len({tuple(sorted(s.labels)) for s in family.samples if "le" not in s.labels}) <= 1
            )


def test_buckets_hold_the_samples_below_their_bounds():
    histogram = _core.Histogram()
    values = np.random.default_rng(3).integers(1, 20_000_000_000, 20_000)
    for value in values.tolist():
        histogram.record(value)
    found = metrics.buckets(histogram)
    assert found[-1] == ("+Inf", 20_000)
    for (text, count), bound in zip(found[:-1], metrics.BOUNDS, strict=True):
        assert float(text) == bound / 1e9
        assert count == np.count_nonzero(values < bound)


def shot(counters, *recorded):
    histogram = _core.Histogram()
    for value in recorded:
        histogram.record(value)
    return Snapshot(counters, {"feed/f/wire_to_ring_ns": histogram})


def test_rates_are_differences_and_a_new_object_of_an_old_name_starts_at_zero(monkeypatch):
    cells = (
        "port/p/q0/rx_packets",
        "port/p/q1/rx_packets",
        "port/p/q0/drop.full",
        "port/p/q0/held",
    )
    readings = iter(
        [
            shot(dict(zip(cells, (100, 10, 5, 7), strict=True)), 1000),
            shot(dict(zip(cells, (300, 30, 9, 3), strict=True)), 1000, 5000, 5000, 9000),
            shot(dict(zip(cells, (40, 30, 0, 1), strict=True)), 64),
        ]
    )
    clock = iter([10.0, 12.0, 13.0])
    monkeypatch.setattr(activity, "read", lambda pids: {pid: next(readings) for pid in pids})
    seen = activity.Activity(lambda: [os.getpid()], lambda: next(clock))
    (first,) = seen.step()
    (port,) = first.items
    assert (port.kind, port.name, first.seconds) == ("port", "p", 2.0)
    assert port.totals == {"rx_packets": 330, "drops": 9, "held": 3}
    assert port.rates == {"rx_packets": 110.0, "drops": 2.0}
    assert port.drops == {"full": (4, 9)}
    (latency,) = first.latencies
    assert latency.samples == 3  # the sample of before is not counted again
    assert latency.quantiles["p50"] == pytest.approx(5000, rel=0.01)
    assert latency.quantiles["p99"] == latency.quantiles["max"] == pytest.approx(9000, rel=0.01)
    (second,) = seen.step()
    assert second.items[0].rates == {"rx_packets": 40.0, "drops": 0.0}
    assert second.latencies[0].quantiles["max"] == 64


def test_top_sees_another_process_and_the_core_it_burns(running, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    done = wirepath("top", str(running), "--count", "2", "--interval", "0.3", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    for line in done.stdout.splitlines():
        (process,) = json.loads(line)["processes"]
        assert process["pid"] == running
        items = {(i["kind"], i["name"]): i for i in process["items"]}
        port = items["port", "null:"]
        worker = items["worker", "observed-worker-of-a-long-name"]
        assert worker["rates"]["frames"] > 0
        assert port["totals"]["rx_packets"] > 0
        assert worker["rates"]["verdict.drop"] > 0
        thread = process["threads"]["observed-worker"]
        assert thread["user"] + thread["system"] > 0
        per_core = process["packets_per_second_per_core"]["observed-worker-of-a-long-name"]
        assert per_core == pytest.approx(
            worker["rates"]["frames"] / (thread["user"] + thread["system"])
        )
        assert set(map(int, process["softirq_share"])) >= {int(thread["core"])}
        assert all(0 <= share <= 1 for share in process["softirq_share"].values())
    assert len(done.stdout.splitlines()) == 2
    shown = wirepath("top", str(running), "--count", "1", "--interval", "0.1").stdout
    assert re.search(r"^null: +[\d.]+ [kMG]", shown, re.MULTILINE)
    assert "observed-worker-of-a-long-name" in shown
    assert "packets/s per core" in shown
    assert "softirq share" in shown


def test_metrics_by_name(running):
    """What packets/s per core and softirq share are made of, scraped."""
    families: dict = {}
    end = time.monotonic() + 20
    # The worker's thread takes its name when it first runs.
    while "wirepath_worker_cpu_seconds" not in families and time.monotonic() < end:
        text = metrics.text([running])
        families = {f.name: f for f in text_string_to_metric_families(text)}
    spent = {s.labels["mode"]: s.value for s in families["wirepath_worker_cpu_seconds"].samples}
    assert set(spent) == {"user", "system"}
    cores = {s.labels["core"] for s in families["wirepath_core_seconds"].samples}
    modes = {s.labels["mode"] for s in families["wirepath_core_seconds"].samples}
    assert cores == {str(core) for core in activity.core_seconds()}
    assert modes == {"user", "system", "irq", "softirq", "idle"}


def test_packets_per_core_and_softirq_share(tmp_path):
    assert activity.packets_per_core(1000.0, {"user": 0.25, "system": 0.25, "core": 1}) == 2000.0
    assert activity.packets_per_core(1000.0, {"user": 0.0, "system": 0.0, "core": 1}) is None
    assert activity.packets_per_core(1000.0, None) is None
    stat = tmp_path / "stat"
    stat.write_text("cpu  1 2 3 4 5 6 7 8\ncpu0 100 100 100 300 100 100 200 0 0 0\nintr 5\n")
    tick = os.sysconf("SC_CLK_TCK")
    (core,) = activity.core_seconds(stat).values()
    assert core == {"user": 200 / tick, "system": 100 / tick, "irq": 100 / tick,
                    "softirq": 200 / tick, "idle": 400 / tick}  # fmt: skip


def test_a_process_with_nothing_to_show_is_left_out(running):
    idle = subprocess.Popen(
        [sys.executable, "-c",
         "import sys, wirepath as wp; wp.counters(); print('up', flush=True); sys.stdin.read()"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert idle.stdout.readline() == "up\n"
        assert idle.pid in series.processes()
        all_of_them = wirepath("top", "--count", "1", "--interval", "0.1", "--json").stdout
        pids = [process["pid"] for process in json.loads(all_of_them)["processes"]]
        assert running in pids
        assert idle.pid not in pids
        named = wirepath("top", str(idle.pid), "--count", "1", "--interval", "0.1", "--json").stdout
        assert [process["pid"] for process in json.loads(named)["processes"]] == [idle.pid]
    finally:
        idle.communicate("")


def test_metrics_are_served_until_told_to_stop(running):
    server, thread = metrics.serve("127.0.0.1:48217", [running])
    try:
        with urllib.request.urlopen("http://127.0.0.1:48217/metrics", timeout=10) as answer:
            text = answer.read().decode()
        assert f'pid="{running}"' in text
        with pytest.raises(wp.PortError, match=r"48217.*name another"):
            metrics.serve("127.0.0.1:48217")
    finally:
        server.shutdown()
        server.server_close()
    thread.join(10)
    assert not thread.is_alive()


def test_a_process_that_has_ended_is_left_out(running):
    assert running in series.processes()
    assert series.read([running, 4194305]).keys() == {running}
    assert series.command_of(4194305) == ""


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["top", "1"], "process 1 has no counters"),
        (["top", "--interval", "0"], "--interval = 0.0 is not usable"),
        (["top", "--count", "0"], "--count = 0 is not usable"),
        (["metrics", "4194305"], "process 4194305 has no counters"),
        (["metrics", "--listen", "here"], '--listen = "here" is not usable: it must be HOST:PORT'),
    ],
)
def test_mistakes_are_told(words, told):
    done = wirepath(*words)
    assert done.returncode == 2
    assert told in done.stderr
    assert "Traceback" not in done.stderr


def test_the_dashboard_asks_for_series_that_exist():
    dashboard = json.loads(DASHBOARD.read_text())
    asked = set()
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            asked |= set(re.findall(r"wirepath_\w+", target["expr"]))
    with wp.open("null:,frames=10", steer=wp.everything()) as port:
        worker, ring = wp.Worker("dashboard"), wp.RingBuffer(64)
        channel = feed.make_channel("itch", name="a", lines=[wp.everything()])
        stage = feed.make_stage(ring, [channel], name="dashboard")
        worker.add_port(port)
        worker.add_stage(stage)
        worker.start()
        worker.join()
        families = text_string_to_metric_families(metrics.text([os.getpid()]))
        have = {sample.name for family in families for sample in family.samples}
    assert asked
    assert asked <= have
