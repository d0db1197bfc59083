# SPDX-License-Identifier: Apache-2.0
"""The table of layers of a process under more load than it takes: its rows add up to what the
publisher sent, seen from another process."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest

from wirepath import lab

pytestmark = pytest.mark.lab

FLOW = "239.87.80.9:9701"
# Slow on purpose before the feed, a small receive ring, a small ring that nobody empties in time.
_RECEIVER = """
import sys, time
import wirepath as wp
from wirepath import feed

steer = wp.udp("239.87.80.9", 9701)
port = wp.open(sys.argv[1], steer=steer)
ring = wp.RingBuffer(4096, "drop")

@wp.stage(compile="never")
def slow(batch, state):
    time.sleep(0.05)

channel = feed.make_channel(
    "itch", name="c", lines=[steer], arbiter={"next_sequence": 1, "in_order": False}
)
worker = wp.Worker("slow")
worker.add_port(port)
worker.add_stage(slow)
worker.add_stage(feed.make_stage(ring, [channel], name="overload"))
worker.start()
print("ready", flush=True)
sys.stdin.readline()
print(len(ring.pop_batch(1000)), flush=True)
sys.stdin.readline()
worker.stop()
worker.join()
port.close()
"""


def _layers(pid):
    done = subprocess.run(
        [sys.executable, "-m", "wirepath", "top", str(pid), "--json", "-n", "1", "-i", "0.6"],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    (process,) = json.loads(done.stdout)["processes"]
    return {each["layer"]: each for each in process["layers"]}


@pytest.mark.parametrize(
    ("spec", "cause"),
    [
        ("af_xdp:wp0,rx_ring_size=64", ("rx_ring_full", "fill_ring_empty")),
        ("socket:wp0,rx_buffer_bytes=16384", ("socket_buffer",)),
    ],
)
def test_rows_add_up_under_overload(lab_name, spec, cause):
    with lab.Lab(lab_name) as made:
        child = made["b"].popen(
            [sys.executable, "-c", _RECEIVER, spec],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert child.stdout.readline() == "ready\n"
            sent = made["a"].run(
                [sys.executable, "-m", "wirepath", "publish", "--to", FLOW, "--via", "socket:wp0",
                 "--messages", "40000", "--rate", "100000", "--end-of-session", "20", "--quiet",
                 "--json"],
                capture_output=True, text=True, check=True, timeout=120,
            )  # fmt: skip
            report = json.loads(sent.stdout)
            child.stdin.write("\n")
            child.stdin.flush()
            popped = int(child.stdout.readline())
            assert popped == 1000
            end = time.monotonic() + 30
            found = _layers(child.pid)
            while time.monotonic() < end and any(each["unexplained"] for each in found.values()):
                found = _layers(child.pid)  # the last frames are on their way
        finally:
            child.communicate("\n", timeout=60)
    assert child.returncode == 0
    for each in found.values():
        gone = sum(each["lost"].values()) + sum(each["left"].values()) + each["waiting"]
        assert each["entered"] == each["passed"] + gone, each
        assert each["unexplained"] == 0
    first = f"port {spec.partition(',')[0]}"
    names = [first, "worker slow", "feed overload", "channel c", "lines of c", "decoder of c",
             "ring of overload", "consumer of overload"]  # fmt: skip
    assert list(found) == names
    port, worker, stage, channel, lines, decoder, ring, consumer = found.values()
    # Frames: what left the publisher is what came, and every layer takes what the last one passed.
    refused = report["port_stats"].get("drop.tx_refused", 0)
    refused += report["port_stats"].get("nic.tx_dropped", 0)
    assert report["packets"] - refused == port["entered"]
    assert sum(port["lost"].get(name, 0) for name in cause) > 0
    assert port["passed"] == worker["entered"]
    assert worker["passed"] == stage["entered"]
    assert stage["passed"] == channel["entered"]
    # Messages, then records: all that was published is in one place each.
    assert lines["entered"] == report["published"] == 40000
    assert lines["lost"]["missing"] > 0
    assert lines["passed"] == decoder["entered"]
    assert decoder["passed"] == ring["entered"]
    assert ring["passed"] == consumer["entered"]
    assert consumer["passed"] == popped
    everything = consumer["passed"] + consumer["waiting"] + ring["lost"].get("ring_full", 0)
    assert everything + lines["lost"]["missing"] == report["published"]
