"""Counters and histograms that another process reads while this one runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest

import wirepath as wp
from wirepath import _core


def test_dtypes_match_the_native_structs():
    assert wp.RECORD.itemsize == 64
    assert wp.HEADERS.itemsize == 64
    assert wp.RECORD.fields["price"][1] == 40
    assert wp.RECORD.fields["type"][1] == 56
    assert wp.RECORD.fields["channel"][1] == 62
    assert wp.HEADERS.fields["ip_src"][1] == 20
    assert wp.HEADERS.fields["payload_length"][1] == 62


def test_another_process_reads_the_counters_of_a_running_worker():
    with wp.open("null:", steer=wp.everything()) as port:
        worker = wp.Worker("telemetry-test")
        worker.add_port(port)
        worker.start()
        program = (
            "import json, sys, time, wirepath as wp\n"
            "name, end = 'worker/telemetry-test/frames', time.monotonic() + 20\n"
            "a = b = wp.attach(sys.argv[1]).counters\n"
            "while b[name] == a[name] and time.monotonic() < end:\n"
            "    b = wp.attach(sys.argv[1]).counters\n"
            "print(json.dumps([a, b]))\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", program, str(os.getpid())],
            capture_output=True,
            text=True,
            check=True,
        )
        worker.stop()
        worker.join()
    before, after = json.loads(done.stdout)
    name = "worker/telemetry-test/frames"
    assert 0 < before[name] < after[name] <= wp.counters().counters[name]


def test_attaching_to_a_process_without_counters():
    with pytest.raises(wp.PortError, match="4194305"):
        wp.attach(4194305)


def test_histogram_buckets_and_quantiles():
    histogram = _core.Histogram()
    values = np.random.default_rng(1).integers(1, 10_000_000_000, 5000)
    for v in values:
        histogram.record(int(v))
    assert histogram.total == 5000
    assert int(histogram.counts().sum()) == 5000
    for q in (0.5, 0.99, 0.999):
        exact = np.quantile(values, q, method="inverted_cdf")
        assert abs(histogram.quantile(q) - exact) <= 0.01 * exact
    lows = _core.Histogram.bucket_lows()
    assert np.all(np.diff(lows) > 0)


def test_the_clock_is_the_system_clock():
    import time

    _core.recalibrate_clock()
    before = time.time_ns()
    now = wp.now()
    after = time.time_ns()
    assert before - 1_000_000 <= now <= after + 1_000_000
