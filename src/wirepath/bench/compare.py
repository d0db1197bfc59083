"""Two results side by side: every figure with its interval, and a verdict with its reasons."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from .. import logs, traces
from .._core import Histogram
from ..errors import ConfigError
from ..plain import duration
from . import nic
from .metrics import METRICS, Metric, figure
from .result import Distribution, Result

_RESAMPLES = 2000
_FEWEST = 3  # repeats on either side without which nothing is said
_CONFIDENCE = 0.95
_WORTH = 0.10  # a difference under this share is not worth a change of path

Interval = tuple[float, float]
Setting = tuple[str, str, str]  # name, of A, of B
Answer = Literal["stay", "move", "undecided"]


@dataclass(frozen=True)
class Row:
    """A figure of both results. ``ratio`` is B over A; intervals are None where there are too few
    repeats, or a value is missing or zero."""

    metric: Metric
    a: float | None
    b: float | None
    a_interval: Interval | None
    b_interval: Interval | None
    ratio: float | None
    ratio_interval: Interval | None

    @property
    def sign(self) -> Literal["better", "worse", "same", "unknown"]:
        """What B is, beyond chance and by a share that is worth it."""
        if self.metric.better is None or self.ratio is None or self.ratio_interval is None:
            return "unknown"
        low, high = self.ratio_interval
        if self.metric.better == "higher":
            low, high = 1 / high if high else np.inf, 1 / low if low else np.inf
        if high < 1 and self._change >= _WORTH:
            return "better"
        if low > 1 and self._change >= _WORTH:
            return "worse"
        return "same"

    @property
    def _change(self) -> float:
        """By how much, as a share of the smaller of the two, so that twice and half are alike."""
        assert self.ratio is not None
        return max(self.ratio, 1 / self.ratio) - 1 if self.ratio > 0 else np.inf

    def to_dict(self) -> dict[str, Any]:
        return {
            "figure": self.metric.key,
            "unit": self.metric.unit,
            "a": self.a,
            "b": self.b,
            "a_interval": self.a_interval,
            "b_interval": self.b_interval,
            "ratio": self.ratio,
            "ratio_interval": self.ratio_interval,
            "sign": self.sign,
        }


@dataclass(frozen=True)
class Verdict:
    """``answer`` in one word, ``text`` in one sentence, ``reasons`` one each."""

    answer: Answer
    text: str
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Comparison:
    """What :func:`compare` makes."""

    a: Result
    b: Result
    rows: tuple[Row, ...]
    verdict: Verdict
    notes: tuple[str, ...] = field(default_factory=tuple)
    nics: tuple[Setting, ...] = ()
    """Settings of the interfaces that differ."""

    def row(self, key: str) -> Row:
        """The row of a figure."""
        return next(row for row in self.rows if row.metric.key == key)

    def to_dict(self) -> dict[str, Any]:
        return {
            "a": {"name": self.a.name, "kind": self.a.kind, "created": self.a.created},
            "b": {"name": self.b.name, "kind": self.b.kind, "created": self.b.created},
            "verdict": {
                "answer": self.verdict.answer,
                "text": self.verdict.text,
                "reasons": list(self.verdict.reasons),
            },
            "confidence": _CONFIDENCE,
            "rows": [row.to_dict() for row in self.rows],
            "notes": list(self.notes),
            "nics": [{"setting": name, "a": a, "b": b} for name, a, b in self.nics],
        }


def compare(a: Result, b: Result, *, anyway: bool = False, seed: int = 1) -> Comparison:
    """Put B beside A; A is what is used today.

    Intervals are 95 % bootstrap intervals: repeats are drawn with replacement, quantiles are those
    of the samples of the repeats drawn. Raises :class:`ConfigError` where the traffic differs,
    unless ``anyway``; then there is no verdict. Nor is there one across machines, or with fewer
    than three repeats on a side.
    """
    with traces.span("bench.compare", a=a.name, b=b.name) as span:
        both = _compare(a, b, anyway=anyway, seed=seed)
        traces.note(span, answer=both.verdict.answer)
    logs.emit("bench.compared", a=a.name, b=b.name, answer=both.verdict.answer)
    return both


def _compare(a: Result, b: Result, *, anyway: bool, seed: int) -> Comparison:
    notes = []
    different = _shape_differences(a, b)
    if different and not anyway:
        raise ConfigError(
            "these results are of different traffic, so their figures say nothing of the paths: "
            + "; ".join(different)
            + " (measure both with the same shape; --anyway shows them without a verdict)"
        )
    notes += [f"different traffic: {each}" for each in different]
    machines = _machine_differences(a, b)
    notes += [f"different machines: {each}" for each in machines]
    notes += _setting_differences(a, b)
    for name, result in (("A", a), ("B", b)):
        notes += [f"{name}: {note}" for note in result.notes]
    rows = tuple(_row(metric, a, b, np.random.default_rng(seed)) for metric in METRICS)
    why = []
    if different:
        why.append("the traffic differs")
    if machines:
        why.append("the machines differ")
    for name, result in (("A", a), ("B", b)):
        if len(result.repeats) < _FEWEST:
            why.append(
                f"{name} has {len(result.repeats)} repeats, and chance cannot be told from a "
                f"difference with fewer than {_FEWEST}"
            )
        if any(r.stalled_ns for r in result.repeats):
            why.append(f"the receiver of {name} was stalled on purpose")
        if not result.latency.total:
            why.append(f"{name} received nothing")
    verdict = (
        Verdict("undecided", "No verdict: the results cannot decide it.", tuple(why))
        if why
        else _verdict(a, b, {row.metric.key: row for row in rows})
    )
    return Comparison(a, b, rows, verdict, tuple(notes), tuple(_nic_differences(a, b)))


# --- whether they can be compared ----------------------------------------------------------------
def _shape_differences(a: Result, b: Result) -> list[str]:
    out = []
    if a.shape["digest"] != b.shape["digest"]:
        out.append(f"A is {a.shape['describe']}, B is {b.shape['describe']}")
        if a.shape["describe"] == b.shape["describe"]:
            names = [k for k in a.shape if k != "digest" and a.shape[k] != b.shape.get(k)]
            out[-1] += f" ({', '.join(names) or 'other frames of the capture'} differ)"
    if a.seconds != b.seconds:
        out.append(f"a repeat of A takes {a.seconds:g} s, one of B {b.seconds:g} s")
    if a.where != b.where:
        out.append(f"A was measured in another place: {a.where}; B: {b.where}")
    return out


def _machine_differences(a: Result, b: Result) -> list[str]:
    if a.machine["digest"] == b.machine["digest"]:
        return []
    keys = ("cpu", "cores", "memory_bytes", "virtual_machine", "kernel", "id")
    return [
        f"{k} is {a.machine.get(k)} and {b.machine.get(k)}"
        for k in keys
        if a.machine.get(k) != b.machine.get(k)
    ]


def _setting_differences(a: Result, b: Result) -> list[str]:
    names = sorted({*a.settings, *b.settings})
    out = [
        f"setting {n} was {a.settings.get(n)} for A and {b.settings.get(n)} for B"
        for n in names
        if a.settings.get(n) != b.settings.get(n)
    ]
    for name in ("idle", "cpu_core", "batch_size"):
        if a.receiver.get(name) != b.receiver.get(name):
            out.append(f"receiver's {name}: {a.receiver.get(name)} and {b.receiver.get(name)}")
    if a.software["wirepath"] != b.software["wirepath"]:
        out.append(f"wirepath {a.software['wirepath']} and {b.software['wirepath']}")
    if a.sender.get("via") != b.sender.get("via"):
        out.append(f"sent via {a.sender.get('via')} and {b.sender.get('via')}")
    return out


def _nic_differences(a: Result, b: Result) -> list[Setting]:
    return [
        (f"{end}'s {name}", left, right)
        for end, one, other in (
            ("receiver", a.receiver, b.receiver),
            ("sender", a.sender, b.sender),
        )
        for name, (left, right) in nic.differences(one.get("nic"), other.get("nic")).items()
    ]


# --- intervals -----------------------------------------------------------------------------------
def _draws(repeats: int, random: np.random.Generator) -> NDArray[np.int64]:
    """How often each repeat is in each resample: (resamples, repeats)."""
    drawn = random.integers(0, repeats, (_RESAMPLES, repeats))
    out = np.zeros((_RESAMPLES, repeats), np.int64)
    np.add.at(out, (np.arange(_RESAMPLES)[:, None], drawn), 1)
    return out


def _middles() -> NDArray[np.float64]:
    lows: NDArray[np.float64] = Histogram.bucket_lows().astype(np.float64)
    widths: NDArray[np.float64] = np.append(np.diff(lows), lows[-1] - lows[-2])
    middles: NDArray[np.float64] = lows + widths // 2
    return middles


def _quantiles(
    parts: list[Distribution], q: float, draws: NDArray[np.int64]
) -> NDArray[np.float64]:
    counts = np.array([part.counts for part in parts]).astype(np.float64)
    used = counts.any(axis=0)
    values, counts = _middles()[used], counts[:, used]
    below = np.cumsum(draws @ counts, axis=1)
    rank = np.maximum(np.ceil(q * below[:, -1:]), 1)
    found: NDArray[np.float64] = values[np.argmax(below >= rank, axis=1)]
    lowest, highest = min(p.min for p in parts), max(p.max for p in parts)
    return np.minimum(np.maximum(found, lowest), highest)


def _resampled(
    metric: Metric, result: Result, random: np.random.Generator
) -> NDArray[np.float64] | None:
    """The figure of each resample; None where it cannot be had of every repeat."""
    draws = _draws(len(result.repeats), random)
    if metric.of is not None and metric.quantile is not None:
        parts = [getattr(repeat, metric.of) for repeat in result.repeats]
        if any(part is None or not part.total for part in parts):
            return None
        if metric.quantile == 1.0:
            highest = np.array([part.max for part in parts], np.float64)
            tops: NDArray[np.float64] = np.where(draws > 0, highest, -np.inf).max(axis=1)
            return tops
        return _quantiles(parts, metric.quantile, draws)
    assert metric.value is not None
    values = [metric.value(repeat) for repeat in result.repeats]
    if any(v is None for v in values):
        return None
    means: NDArray[np.float64] = draws @ np.array(values, np.float64) / len(values)
    return means


def _interval(values: NDArray[np.float64]) -> Interval:
    tail = (1 - _CONFIDENCE) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)


def _row(metric: Metric, a: Result, b: Result, random: np.random.Generator) -> Row:
    values = figure(a, metric), figure(b, metric)
    draws = [_resampled(metric, result, random) for result in (a, b)]
    enough = [len(result.repeats) >= _FEWEST for result in (a, b)]
    intervals = [
        _interval(d) if d is not None and ok else None for d, ok in zip(draws, enough, strict=True)
    ]
    ratio = ratio_interval = None
    if values[0] and values[1] is not None:
        ratio = values[1] / values[0]
        if draws[0] is not None and draws[1] is not None and all(enough) and draws[0].min() > 0:
            ratio_interval = _interval(draws[1] / draws[0])
    return Row(metric, values[0], values[1], intervals[0], intervals[1], ratio, ratio_interval)


# --- the verdict ---------------------------------------------------------------------------------
def path_name(result: Result) -> str:
    """How a verdict calls a result's path."""
    return "the kernel path" if result.kind == "baseline" else result.name


def _told(row: Row, instead: str = "") -> str:
    """A figure as a reason; ``instead`` of how it was judged."""
    metric = row.metric
    assert row.ratio is not None
    text = f"{metric.label}: {metric.text(row.a)} → {metric.text(row.b)}"
    if row.ratio_interval is not None:
        low, high = row.ratio_interval
        text += f" (×{row.ratio:.3g}, 95 % of it within ×{low:.3g} to ×{high:.3g})"
    words = {"better": "better", "worse": "worse", "same": "no difference beyond chance"}
    return f"{text}: {instead or words.get(row.sign, 'not judged')}"


def _loss_sign(a: Result, b: Result) -> tuple[Literal["better", "worse", "same"], str]:
    text = f"lost: {a.lost:,} of {a.planned:,} → {b.lost:,} of {b.planned:,} packets"
    shares = [
        np.array([r.lost / r.planned for r in result.repeats], np.float64) for result in (a, b)
    ]
    random = np.random.default_rng(1)
    means = [_draws(len(s), random) @ s / len(s) for s in shares]
    low, high = _interval(means[1] - means[0])
    if low > 0:
        return "worse", f"{text}: more, in repeat after repeat"
    if high < 0:
        return "better", f"{text}: fewer, in repeat after repeat"
    return "same", f"{text}: no difference beyond chance"


def _senders_part(row: Row, a: Result, b: Result) -> str:
    """Why a quantile is not judged: the sender's own lateness makes up most of it, so that it says
    little of the paths. Empty: it does not."""
    q = row.metric.quantile
    assert q is not None
    for name, result, value in (("A", a, row.a), ("B", b, row.b)):
        late = result.sender_lateness.quantile(q) or 0
        if value is not None and late > value / 2:
            return f"not judged, as the sender of {name} was late by {duration(late)} itself"
    return ""


def _verdict(a: Result, b: Result, rows: dict[str, Row]) -> Verdict:
    stay, there = path_name(a), path_name(b)
    loss, loss_text = _loss_sign(a, b)
    reasons = [loss_text]
    tails: list[Row] = []
    unjudged: list[Row] = []
    for key in ("latency_p50", "latency_p99", "latency_p99.9"):
        why_not = _senders_part(rows[key], a, b)
        (unjudged if why_not else tails).append(rows[key])
        reasons.append(_told(rows[key], why_not))
    cost = rows["packets_per_second_per_core"]
    if cost.ratio is not None:
        reasons.append(_told(cost))
    signs = [row.sign for row in tails]
    answer: Answer
    if loss == "worse":
        answer, text = "stay", f"Stay on {stay}: {there} loses more packets."
    elif "worse" in signs:
        worse = tails[signs.index("worse")].metric.label
        better = [t.metric.label for t, s in zip(tails, signs, strict=True) if s == "better"]
        verb = "is" if len(better) == 1 else "are"
        although = f", although {' and '.join(better)} {verb} better" if better else ""
        answer, text = "stay", f"Stay on {stay}: {worse} is worse on {there}{although}."
    elif "better" in signs:
        gains = [t.metric.label for t, s in zip(tails, signs, strict=True) if s == "better"]
        verb = "is" if len(gains) == 1 else "are"
        answer, text = "move", f"Move to {there}: {' and '.join(gains)} {verb} better."
        if cost.sign == "worse":
            text += " It takes more CPU per packet: weigh that."
    elif not tails:
        answer, text = "undecided", "No verdict: the sender was too late for any latency to count."
        reasons.append("give the sender a core of its own, or send less")
    elif loss == "better":
        answer, text = "move", f"Move to {there}: it loses fewer packets, at the same latency."
    elif cost.sign == "better":
        answer, text = (
            "move",
            f"Move to {there}: the same latency for less CPU per packet.",
        )
    else:
        answer, text = (
            "stay",
            f"Stay on {stay}: no difference that is beyond chance and worth "
            f"{_WORTH * 100:.0f} % speaks for {there}.",
        )
    if a.zero_loss is not None and b.zero_loss is not None:
        shown = [
            f"{z.rate:,.0f}/s" if z.rate is not None else "none" for z in (a.zero_loss, b.zero_loss)
        ]
        limits = [z.limit for z in (a.zero_loss, b.zero_loss)]
        reasons.append(
            f"zero-loss rate: {shown[0]} (limit: {limits[0]}) → {shown[1]} (limit: {limits[1]})"
        )
    if unjudged and answer != "undecided":
        text += f" Not judged: {' and '.join(row.metric.label for row in unjudged)}."
    return Verdict(answer, text, tuple(reasons))
