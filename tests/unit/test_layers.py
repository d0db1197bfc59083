# SPDX-License-Identifier: Apache-2.0
"""The table of layers: each adds up, and what one passed the next one entered."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest

import wirepath as wp
from wirepath import feed, frames, layers, series
from wirepath.publish import PublishConfig, Publisher
from wirepath.telemetry import Snapshot


def table(counters):
    return {each.name: each for each in layers.layers(Snapshot(counters, {}))}


def adds_up(found):
    for each in found:
        gone = sum(each.lost.values()) + sum(each.left.values()) + each.waiting
        assert each.entered == each.passed + gone + each.unexplained
        assert each.unexplained == 0, each


def test_what_counters_do_not_explain_is_told():
    found = table(
        {
            "port/af_xdp:wp0/steer.matched": 100,
            "port/af_xdp:wp0/steer.no_socket": 4,
            "port/af_xdp:wp0/nic.rx_missed": 3,
            "port/af_xdp:wp0/q0/rx_packets": 50,
            "port/af_xdp:wp0/q1/rx_packets": 20,
            "port/af_xdp:wp0/q0/drop.rx_ring_full": 20,
            "port/af_xdp:wp0/q1/drop.rx_ring_full": 5,
            "port/af_xdp:wp0/q0/drop.tx_ring_full": 9,  # another direction
            "worker/w/frames": 70,
            "worker/w/verdict.drop": 60,
            "worker/w/verdict.pass": 9,
            "worker/w/drop.pass_unsupported": 9,
        }
    )
    port, worker = found["port af_xdp:wp0"], found["worker w"]
    assert (port.entered, port.passed) == (107, 70)
    assert port.lost == {"rx_ring_full": 25, "nic.rx_missed": 3, "nic.rx_overruns": 0}
    assert port.left == {"steer.no_socket": 4}
    assert port.unexplained == 5
    assert (worker.entered, worker.passed, worker.unexplained) == (70, 60, 1)
    assert worker.to_dict()["lost"] == {"pass_unsupported": 9}


def test_feeds_of_one_name_are_one():
    cells = {
        "feed/p/frames": 10,
        "feed/p#2/frames": 5,
        "feed/p/a/wire_packets": 10,
        "feed/p/a#2/wire_packets": 2,
        "feed/p/b/wire_packets": 3,
    }
    found = table(cells)
    assert (found["feed p"].entered, found["feed p"].passed) == (15, 15)
    assert {"channel a", "channel b"} < set(found)


def test_a_port_that_only_sends_is_no_layer():
    assert table({"port/socket:lo/q0/tx_packets": 5, "port/socket:lo/q0/rx_packets": 0}) == {}


@pytest.fixture
def lossy(tmp_path):
    """A capture of 5,000 messages with a line that lost a tenth, and an odd datagram between."""
    path = tmp_path / "day.pcapng"
    config = PublishConfig(
        via=f"pcap:,write={path}", messages=5000, fast=True, seed=3,
        line=[{"to": "239.1.1.1:9001", "loss": 0.1, "seed": 7}],
    )  # fmt: skip
    return path, Publisher(config).run()


def test_a_process_at_rest_adds_up_to_the_last_frame(lossy):
    """A small ring that nobody empties but at the end, dropping the newest."""
    path, report = lossy
    steer = wp.udp("239.1.1.1", 9001)
    with wp.open(f"pcap:{path}", steer=steer) as port:
        ring = wp.RingBuffer(256, "drop")
        channel = feed.make_channel(
            "itch", name="c", lines=[steer], arbiter={"next_sequence": 1, "in_order": False}
        )
        stage = feed.make_stage(ring, [channel], name="rest")
        worker = wp.Worker("rest")
        worker.add_port(port)
        worker.add_stage(stage)
        with worker:
            while worker.running:
                time.sleep(0.01)
        found = {each.name: each for each in layers.layers(wp.counters())}
    mine = ["worker rest", "feed rest", "channel c", "lines of c", "decoder of c", "ring of rest",
            "consumer of rest"]  # fmt: skip
    adds_up(found[name] for name in mine)
    adds_up(each for name, each in found.items() if name.startswith("port pcap:"))
    steps = [found[name] for name in mine[:3]]
    assert steps[0].entered == steps[0].passed == steps[1].entered
    assert steps[1].passed == steps[2].entered
    lines, decoder, ring_layer, consumer = (found[name] for name in mine[3:])
    # What the publisher knows to have sent, and to have lost on purpose: counters of its own.
    assert lines.entered == report["published"] == 5000
    assert lines.lost["missing"] == report["lost_everywhere"]["messages"] > 0
    assert lines.passed == decoder.entered
    assert ring_layer.entered == decoder.passed  # ITCH: a record a message
    assert ring_layer.lost["ring_full"] > 0
    assert ring_layer.passed == consumer.entered == consumer.passed + consumer.waiting
    assert consumer.waiting == 256
    whole = consumer.passed + consumer.waiting + ring_layer.lost["ring_full"]
    assert whole + lines.lost["missing"] == 5000


def test_counters_of_the_kernel_come_without_being_asked_for(flow):
    """Nothing in the process calls stats(): another one sees what the socket lost all the same."""
    program = (
        "import sys, time, wirepath as wp\n"
        "port = wp.open('socket:lo,rx_buffer_bytes=4096', "
        "steer=wp.udp(sys.argv[1], int(sys.argv[2])))\n"
        "print('open', flush=True)\n"
        "sys.stdin.read()\n"
        "port.close()\n"
    )
    group, number = flow
    child = subprocess.Popen(
        [sys.executable, "-c", program, group, str(number)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert child.stdout.readline() == "open\n"
        with wp.open("socket:lo,tx_only=true", steer=wp.udp(group, number)) as port:
            frame = frames.udp(bytes(1000), dst=(group, number))
            for _ in range(200):
                assert port.send([frame]) == 1
        end = time.monotonic() + 15
        lost = 0
        while not lost and time.monotonic() < end:
            time.sleep(0.05)
            found = series.read([child.pid])[child.pid].counters
            lost = sum(n for name, n in found.items() if name.endswith("drop.socket_buffer"))
        assert 0 < lost < 200
        (port_layer,) = layers.layers(series.read([child.pid])[child.pid])
        assert port_layer.lost["socket_buffer"] == lost
        shown = subprocess.run(
            [sys.executable, "-m", "wirepath", "top", str(child.pid), "--drops", "-n", "1",
             "-i", "0.1"],
            capture_output=True, text=True, check=True, timeout=60,
        ).stdout  # fmt: skip
        assert "− socket_buffer" in shown
        assert f"{lost:,}" in shown
        told = subprocess.run(
            [sys.executable, "-m", "wirepath", "top", str(child.pid), "--json", "-n", "1",
             "-i", "0.1"],
            capture_output=True, text=True, check=True, timeout=60,
        ).stdout  # fmt: skip
        (layer,) = json.loads(told)["processes"][0]["layers"]
        assert layer["lost"] == {"socket_buffer": lost}
    finally:
        child.communicate("", timeout=30)
    assert child.returncode == 0
