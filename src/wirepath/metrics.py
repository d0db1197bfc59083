"""Counters and histograms for Prometheus, of this process or of others, off the data path.

::

    from wirepath import metrics

    metrics.serve("127.0.0.1:9464")               # of every wirepath process of this user
    print(metrics.text([os.getpid()]))             # OpenMetrics, once

Reading a segment costs the process that writes it nothing but the cache lines that are read.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from threading import Thread
from typing import Any
from wsgiref.simple_server import WSGIServer

import numpy as np
from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.openmetrics.exposition import generate_latest
from prometheus_client.registry import Collector

from ._core import Histogram
from .activity import NAME, core_seconds, threads
from .errors import PortError
from .flows import flow_of
from .series import processes, read, series, split
from .telemetry import Snapshot

CONTENT_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8"

#: Upper bounds of the exported histograms, ns: powers of two, which the native buckets share.
BOUNDS = tuple(1 << k for k in range(8, 34))
_LOWS = np.asarray(Histogram.bucket_lows())


def buckets(histogram: Histogram) -> list[tuple[str, float]]:
    """Cumulative (upper bound in seconds, samples) as Prometheus has them."""
    counts = np.asarray(histogram.counts())
    below = np.concatenate(([0], np.cumsum(counts)))
    ends = np.searchsorted(_LOWS, BOUNDS)
    out = [(repr(bound / 1e9), float(below[end])) for bound, end in zip(BOUNDS, ends, strict=True)]
    return [*out, ("+Inf", float(below[-1]))]


class WirepathCollector(Collector):
    """A collector for any prometheus_client registry. ``pids``: gives the processes to read, at
    every scrape; default: all of this user, this one among them."""

    def __init__(self, pids: Callable[[], Iterable[int]] = processes) -> None:
        self._pids = pids

    def describe(self) -> Iterable[Metric]:
        return ()  # what there is changes with the ports that are open

    def collect(self) -> Iterator[Metric]:
        families: dict[str, Any] = {}
        for pid, snapshot in read(self._pids()).items():
            process = ("pid", str(pid))
            for each in series(snapshot):
                names, values = zip(*each.labels, process, strict=True)
                name = f"wirepath_{each.kind}_{each.name}"
                if name not in families:
                    family = GaugeMetricFamily if each.gauge else CounterMetricFamily
                    text = f"{each.name.replace('_', ' ')} of a {each.kind.replace('_', ' ')}"
                    families[name] = family(name, text, labels=names)
                families[name].add_metric(values, each.value)
            for cell, histogram in snapshot.histograms.items():
                kind, what, labels = split(cell)
                names, values = zip(*labels, process, strict=True)
                name = f"wirepath_{kind}_{what.removesuffix('_ns')}_seconds"
                if name not in families:
                    families[name] = HistogramMetricFamily(
                        name, what.removesuffix("_ns").replace("_", " "), labels=names
                    )
                seconds = histogram.mean * histogram.total / 1e9
                families[name].add_metric(values, buckets(histogram), seconds)
            _add_workers(families, pid, snapshot)
        for core, modes in core_seconds().items():
            name = "wirepath_core_seconds"
            text = "time of a core, all processes: its softirq share is that of mode softirq"
            if name not in families:
                families[name] = CounterMetricFamily(name, text, labels=("core", "mode"))
            for mode, seconds in modes.items():
                families[name].add_metric((str(core), mode), seconds)
        yield from families.values()


def _add_workers(families: dict[str, Any], pid: int, snapshot: Snapshot) -> None:
    """Processor time of workers' threads: frames over it are packets/s per core."""
    names = {e.label("worker") for e in series(snapshot) if e.kind == "worker"}
    by_name = {thread.name: thread for thread in threads(pid).values()} if names else {}
    name = "wirepath_worker_cpu_seconds"
    for worker in sorted(names):
        thread = by_name.get(worker[:NAME])
        if thread is None:
            continue
        if name not in families:
            labels = ("worker", "mode", "pid")
            families[name] = CounterMetricFamily(name, "processor time of a worker", labels=labels)
        for mode, seconds in (("user", thread.user), ("system", thread.system)):
            families[name].add_metric((worker, mode, str(pid)), seconds)


def registry(
    pids: Iterable[int] | None = None, more: Iterable[Collector] = ()
) -> CollectorRegistry:
    """A registry of its own with the collector in it, and `more`, such as filters'."""
    out = CollectorRegistry()
    for each in more:
        out.register(each)
    wanted = None if pids is None else list(pids)
    out.register(WirepathCollector(processes if wanted is None else lambda: wanted))
    return out


def text(pids: Iterable[int] | None = None, more: Iterable[Collector] = ()) -> str:
    """OpenMetrics text, of all processes of this user or of those named."""
    out: bytes = generate_latest(registry(pids, more))  # type: ignore[no-untyped-call]
    return out.decode()


def serve(
    listen: str = "127.0.0.1:9464",
    pids: Iterable[int] | None = None,
    more: Iterable[Collector] = (),
) -> tuple[WSGIServer, Thread]:
    """An HTTP endpoint on a thread of its own; ``server.shutdown()`` ends it.

    Raises :class:`~wirepath.errors.ConfigError` for an address that is none, and
    :class:`~wirepath.errors.PortError` for one that cannot be listened on.
    """
    host, port = flow_of(listen, "--listen", "HOST:PORT")
    try:
        return start_http_server(port, "0.0.0.0" if host == "*" else host, registry(pids, more))
    except OSError as error:
        raise PortError(
            f"cannot listen on {listen}: {error.strerror or os.strerror(error.errno or 0)} "
            "(name another HOST:PORT)"
        ) from error


__all__ = ["BOUNDS", "CONTENT_TYPE", "WirepathCollector", "buckets", "registry", "serve", "text"]
