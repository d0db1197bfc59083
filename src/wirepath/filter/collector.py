"""Counts of filters for Prometheus."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from .control import Filter


class FilterCollector(Collector):
    """A collector for any prometheus_client registry: filters by the name that their series
    carry, such as the interface. Another thread than theirs may scrape only while they are not
    reloaded."""

    def __init__(self, filters: Mapping[str, Filter]) -> None:
        self._filters = dict(filters)

    def describe(self) -> Iterable[Metric]:
        return ()  # rules change with a reload

    def collect(self) -> Iterator[Metric]:
        by_rule = ("filter", "rule")
        rows = {
            name: CounterMetricFamily(f"wirepath_filter_{name}", text, labels=by_rule)
            for name, text in (
                ("packets", "packets that a rule fitted"),
                ("bytes", "bytes of them"),
                ("dropped_packets", "of these packets: dropped, or in a dry run: would have been"),
                ("dropped_bytes", "bytes of them"),
            )
        }
        reasons = CounterMetricFamily(
            "wirepath_filter_outcome", "what became of packets", labels=("filter", "outcome")
        )
        for name, one in self._filters.items():
            one.refresh()
            for rule, counts in one.counts().items():
                for field, value in counts.items():
                    rows[field].add_metric((name, rule), value)
            for reason, value in one.counters().items():
                reasons.add_metric((name, reason), value)
        yield from (*rows.values(), reasons)
