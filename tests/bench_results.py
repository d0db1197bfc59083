"""Results of benchmarks with known contents, for tests of what reads them."""

from __future__ import annotations

from typing import Any

import numpy as np

from wirepath import Histogram, bench
from wirepath.bench import metrics


def distribution(values) -> bench.Distribution:
    histogram = Histogram()
    for value in values:
        histogram.record(int(value))
    return bench.Distribution.of(histogram)


def repeat(latency, *, lost=0, cpu=0.1, seconds=1.0, layer="port.rx_ring_full", **changes):
    planned = len(latency) + lost
    layers = [bench.Layer(layer=layer, count=lost, why="a test")] if lost else []
    values: dict[str, Any] = {
        "seconds": seconds,
        "planned": planned,
        "sent": planned,
        "refused": 0,
        "unsent": 0,
        "received": len(latency),
        "duplicates": 0,
        "reordered": 0,
        "other": {},
        "account": bench.Account(planned=planned, received=len(latency), layers=layers, residual=0),
        "latency": distribution(latency),
        "jitter": distribution(np.abs(np.diff(latency))),
        "from_stamp": distribution(np.asarray(latency) // 2),
        "sender_lateness": distribution([20] * planned),
        "timeline": bench.Timeline(
            bin_ns=333_333_334,
            planned=[planned - planned // 2, planned // 2, 0],
            received=[len(latency) - len(latency) // 2, len(latency) // 2, 0],
            p50=[int(np.median(latency)), 1000, None],
            p99=[int(max(latency)), 1000, None],
            max=[int(max(latency)), 1000, None],
        ),
        "cpu": {
            "seconds": seconds,
            "cores": {
                "0": {
                    "user": 0.2,
                    "system": 0.1,
                    "irq": 0.0,
                    "softirq": 0.1,
                    "steal": 0.0,
                    "idle": 0.6,
                },
                "1": {
                    "user": 0.4,
                    "system": 0.1,
                    "irq": 0.0,
                    "softirq": 0.3,
                    "steal": 0.0,
                    "idle": 0.2,
                },
            },
            "process": {
                "user_seconds": cpu / 2,
                "system_seconds": cpu / 2,
                "voluntary_switches": 90,
                "involuntary_switches": 10,
            },
            "interrupts": {"LOC": 150, "24 virtio0": 50},
            "softirqs": {"NET_RX": 40},
            "softnet": {"processed": 40, "dropped": 0, "time_squeeze": 0},
        },
        "worker_cpu_seconds": cpu,
        "sender_cpu_seconds": 0.2,
        "perf": {
            "cycles": {
                "value": 1000 * len(latency),
                "share": 1.0,
                "with_kernel": True,
                "reason": "",
            },
            "cache_misses": {"value": None, "share": 0.0, "with_kernel": True, "reason": "no such"},
        },
        "counters": {},
    }
    return bench.Repeat(**(values | changes))


def result(repeats, *, kind="run", name="af_xdp:wp0", rate=1000.0, **changes) -> bench.Result:
    values: dict[str, Any] = {
        "kind": kind,
        "name": name,
        "created": "2026-01-02T03:04:05+00:00",
        "software": {"wirepath": "1"},
        "machine": {"digest": "m", "cpu": "one", "virtual_machine": False},
        "settings": {"governor": "performance"},
        "shape": bench.Shape.of(128, rate=rate).to_dict(),
        "where": "lab of two hosts over veth",
        "receiver": {"spec": name, "cpu_core": 1, "info": {"mode": "native", "x": "</script>"}},
        "sender": {"via": "socket:wp0", "cpu_core": 0},
        "seconds": 1.0,
        "repeats": repeats,
    }
    made = bench.Result(**(values | changes))
    return made.model_copy(update={"summary": metrics.summary(made)})


def latencies(median: float, count: int = 1000, seed: int = 1, spread: float = 0.1):
    """Log-normal, in ns."""
    random = np.random.default_rng(seed)
    return np.maximum(random.lognormal(np.log(median), spread, count), 1).astype(np.int64)


def repeats(median: float, count: int = 5, *, seed: int = 1, **changes):
    return [repeat(latencies(median, seed=seed * 100 + i), **changes) for i in range(count)]
