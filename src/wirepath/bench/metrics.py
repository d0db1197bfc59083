"""The figures of a result, each by name: one list for the command line, comparisons and reports."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from ..plain import duration
from .result import Repeat, Result

Unit = Literal["ns", "count", "per_second", "share", "number"]
Which = Literal["latency", "jitter", "from_stamp", "sender_lateness"]


@dataclass(frozen=True)
class Metric:
    """One figure. A quantile is taken of the samples of all repeats together; ``max`` is the
    highest of all repeats; another value is the mean over the repeats."""

    key: str
    label: str
    unit: Unit
    better: Literal["lower", "higher"] | None
    of: Which | None = None
    quantile: float | None = None  # 1.0: the maximum
    value: Callable[[Repeat], float | None] | None = None

    def text(self, value: float | None) -> str:
        """A value as people read it."""
        if value is None:
            return "–"
        if self.unit == "ns":
            return duration(value)
        if self.unit == "share":
            return f"{value * 100:.3g} %"
        if self.unit == "count" and value == int(value):
            return f"{int(value):,}"
        return f"{value:,.3g}" if abs(value) < 100 else f"{value:,.0f}"


def _per_second(count: Callable[[Repeat], float]) -> Callable[[Repeat], float | None]:
    return lambda r: count(r) / r.cpu["seconds"]


def _share(mode: str) -> Callable[[Repeat], float | None]:
    def value(r: Repeat) -> float | None:
        cores = r.cpu["cores"]
        return sum(c[mode] for c in cores.values()) / len(cores) if cores else None

    return value


def _per_packet(event: str) -> Callable[[Repeat], float | None]:
    def value(r: Repeat) -> float | None:
        found = r.perf.get(event, {}).get("value")
        return found / r.received if found is not None and r.received else None

    return value


def packets_per_second(r: Repeat) -> float:
    """Received, over the time in which they were planned to be sent."""
    return r.received / r.seconds


def packets_per_second_per_core(r: Repeat) -> float | None:
    """Packets per second of CPU time of the receiving process."""
    return r.received / r.worker_cpu_seconds if r.worker_cpu_seconds > 0 else None


def _switches(r: Repeat) -> float:
    process = r.cpu["process"]
    return float(process["voluntary_switches"] + process["involuntary_switches"])


def _lost_share(r: Repeat) -> float:
    return r.lost / r.planned


_Q = (("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999), ("p99.99", 0.9999), ("max", 1.0))

METRICS: tuple[Metric, ...] = (
    *(Metric(f"latency_{n}", f"latency {n}", "ns", "lower", "latency", q) for n, q in _Q),
    *(Metric(f"jitter_{n}", f"jitter {n}", "ns", "lower", "jitter", q) for n, q in _Q[:3]),
    *(
        Metric(f"from_stamp_{n}", f"NIC to application {n}", "ns", "lower", "from_stamp", q)
        for n, q in _Q[:3]
    ),
    Metric("lost_share", "lost", "share", "lower", value=_lost_share),
    Metric("reordered", "reordered, each repeat", "count", "lower", value=lambda r: r.reordered),
    Metric("packets_per_second", "packets/s", "per_second", "higher", value=packets_per_second),
    Metric(
        "packets_per_second_per_core",
        "packets/s per core of the receiver",
        "per_second",
        "higher",
        value=packets_per_second_per_core,
    ),
    Metric("cpu_user", "CPU in user, all cores", "share", None, value=_share("user")),
    Metric("cpu_system", "CPU in system, all cores", "share", None, value=_share("system")),
    Metric("cpu_softirq", "CPU in softirq, all cores", "share", None, value=_share("softirq")),
    Metric("cpu_irq", "CPU in irq, all cores", "share", None, value=_share("irq")),
    Metric("cpu_idle", "CPU idle, all cores", "share", None, value=_share("idle")),
    Metric(
        "context_switches_per_second",
        "context switches/s of the receiver",
        "per_second",
        None,
        value=_per_second(_switches),
    ),
    Metric(
        "interrupts_per_second",
        "interrupts/s, all cores",
        "per_second",
        None,
        value=_per_second(lambda r: float(sum(r.cpu["interrupts"].values()))),
    ),
    Metric(
        "cycles_per_packet",
        "cycles/packet of the receiver",
        "number",
        "lower",
        value=_per_packet("cycles"),
    ),
    Metric(
        "cache_misses_per_packet",
        "cache misses/packet of the receiver",
        "number",
        "lower",
        value=_per_packet("cache_misses"),
    ),
    *(
        Metric(
            f"sender_lateness_{n}", f"sender's own lateness {n}", "ns", None, "sender_lateness", q
        )
        for n, q in (_Q[0], _Q[2])
    ),
)
BY_KEY = {metric.key: metric for metric in METRICS}


def figure(result: Result, metric: Metric) -> float | None:
    """The value of a figure in a result; None where it could not be measured."""
    if metric.of is not None and metric.quantile is not None:
        merged = getattr(result, metric.of)
        if metric.quantile == 1.0:
            return merged.max if merged.total else None
        quantile: int | None = merged.quantile(metric.quantile)
        return quantile
    assert metric.value is not None
    values = [metric.value(repeat) for repeat in result.repeats]
    known = [v for v in values if v is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None


def summary(result: Result) -> dict[str, float | None]:
    """Every figure by its key: what the file, the command line and the report show."""
    return {metric.key: figure(result, metric) for metric in METRICS}


_EVENTS = {"cycles_per_packet": "cycles", "cache_misses_per_packet": "cache_misses"}


def unavailable(result: Result) -> dict[str, str]:
    """Why figures are missing, or lack a part, by key."""
    out = {}
    for key, event in _EVENTS.items():
        counted = [r.perf.get(event, {}) for r in result.repeats]
        reasons = sorted({str(each.get("reason", "")) for each in counted})
        if figure(result, BY_KEY[key]) is None:
            out[key] = next((reason for reason in reasons if reason), "nothing received")
        elif not all(each["with_kernel"] for each in counted):
            out[key] = "user space only, without the kernel's part (needs CAP_PERFMON)"
    if not result.from_stamp.total:
        out["from_stamp_p50"] = (
            f"the port stamps frames in its {result.receiver['info'].get('timestamp_source')}, "
            "not in the kernel or on the NIC"
        )
    return out
