"""The result file: what was sent, over what, on which machine, and what came of it.

JSON of one object, versioned. Histograms are whole, as HdrHistogram's compressed V2 encoding in
base64, so that any percentile can be had from the file later.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from .. import hdr
from .._core import Histogram
from ..errors import ConfigError
from ..stats import percentiles

FORMAT = "wirepath-bench"
VERSION = 1


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", ignored_types=(cached_property,))


class Distribution(_Model):
    """A histogram of ns: ``percentiles`` as read from it, ``hdr`` all of it."""

    total: int
    min: int
    max: int
    mean: float
    negative: int = 0
    overflow: int = 0
    percentiles: dict[str, int]
    hdr: str

    @classmethod
    def of(cls, histogram: Histogram) -> Distribution:
        return cls(
            total=histogram.total,
            min=histogram.min,
            max=histogram.max,
            mean=histogram.mean,
            negative=histogram.negative,
            overflow=histogram.overflow,
            percentiles=percentiles(histogram),
            hdr=base64.b64encode(hdr.encode_compressed(histogram)).decode(),
        )

    @property
    def counts(self) -> NDArray[np.uint64]:
        """Samples in each bucket, as :meth:`wirepath.Histogram.counts`; not to be written to."""
        counts = _counts(self.hdr)
        if int(counts.sum()) != self.total:
            raise ConfigError(
                f"a histogram of the result has {int(counts.sum())} samples and says {self.total}"
            )
        return counts


@lru_cache(maxsize=512)
def _counts(text: str) -> NDArray[np.uint64]:
    try:
        packed = base64.b64decode(text, validate=True)
    except binascii.Error:
        raise ConfigError("a histogram of the result is no base64") from None
    counts = hdr.decode_compressed(packed).counts()
    counts.setflags(write=False)
    return counts


class Merged:
    """Distributions of several repeats as one."""

    def __init__(self, parts: Iterable[Distribution]) -> None:
        kept = [part for part in parts if part.total]
        self.total = sum(part.total for part in kept)
        self.min = min((part.min for part in kept), default=0)
        self.max = max((part.max for part in kept), default=0)
        self.negative = sum(part.negative for part in kept)
        self.counts = np.zeros(len(Histogram.bucket_lows()), np.uint64)
        for part in kept:
            self.counts += part.counts

    def quantile(self, q: float) -> int | None:
        """ns at quantile q, 0 to 1, as :meth:`wirepath.Histogram.quantile`; None when empty."""
        if not self.total:
            return None
        rank = min(max(int(np.ceil(q * self.total)), 1), self.total)
        index = int(np.searchsorted(np.cumsum(self.counts), rank))
        lows = Histogram.bucket_lows()
        following = int(lows[index + 1]) if index + 1 < len(lows) else 1 << 34
        middle = int(lows[index]) + (following - int(lows[index])) // 2
        return min(max(middle, self.min), self.max)


class Layer(_Model):
    """One place where packets were lost: the counter that kept it."""

    layer: str
    count: int
    why: str


class Account(_Model):
    """``planned = received + Σ layers + residual``; the residual is what no counter explains."""

    planned: int
    received: int
    layers: list[Layer]
    residual: int

    @property
    def lost(self) -> int:
        return self.planned - self.received

    def equation(self) -> str:
        """With its figures."""
        terms = [f"{self.received:,} received"]
        terms += [f"{each.count:,} {each.layer}" for each in self.layers if each.count]
        if self.residual:
            terms.append(f"{self.residual:,} unexplained")
        return f"{self.planned:,} planned = {' + '.join(terms)}"


class Timeline(_Model):
    """By intended send time: bins of ``bin_ns``. None where a bin received nothing."""

    bin_ns: int
    planned: list[int]
    received: list[int]
    p50: list[int | None]
    p99: list[int | None]
    max: list[int | None]


class Repeat(_Model):
    """One measured run of the load."""

    seconds: float
    planned: int
    sent: int
    refused: int
    unsent: int
    received: int
    duplicates: int
    reordered: int
    other: dict[str, int]
    account: Account
    latency: Distribution
    jitter: Distribution
    from_stamp: Distribution | None
    sender_lateness: Distribution
    timeline: Timeline
    cpu: dict[str, Any]
    worker_cpu_seconds: float
    sender_cpu_seconds: float
    perf: dict[str, dict[str, Any]]
    counters: dict[str, int]
    stalled_ns: int = 0
    clock_step_ns: int = 0

    @property
    def lost(self) -> int:
        return self.account.lost


class Trial(_Model):
    """One step of a zero-loss search."""

    rate: float
    planned: int
    lost: int
    sender_late: bool
    passed: bool


class ZeroLoss(_Model):
    """The highest rate that lost nothing. ``limit``: what stopped the search from going higher."""

    rate: float | None
    resolution: float
    seconds: float
    limit: Literal["receiver", "sender", "highest"]
    trials: list[Trial]


class Result(_Model):
    """A result file. Made by :func:`wirepath.bench.baseline` and :func:`wirepath.bench.run`."""

    format: Literal["wirepath-bench"] = "wirepath-bench"
    version: Literal[1] = 1
    kind: Literal["baseline", "run"]
    name: str
    created: str
    software: dict[str, Any]
    machine: dict[str, Any]
    settings: dict[str, Any]
    shape: dict[str, Any]
    where: str
    receiver: dict[str, Any]
    sender: dict[str, Any]
    seconds: float
    repeats: list[Repeat]
    zero_loss: ZeroLoss | None = None
    notes: list[str] = []
    summary: dict[str, float | None] = {}

    @cached_property
    def latency(self) -> Merged:
        return Merged(repeat.latency for repeat in self.repeats)

    @cached_property
    def jitter(self) -> Merged:
        return Merged(repeat.jitter for repeat in self.repeats)

    @cached_property
    def from_stamp(self) -> Merged:
        return Merged(r.from_stamp for r in self.repeats if r.from_stamp is not None)

    @cached_property
    def sender_lateness(self) -> Merged:
        return Merged(repeat.sender_lateness for repeat in self.repeats)

    @property
    def lost(self) -> int:
        return sum(repeat.lost for repeat in self.repeats)

    @property
    def planned(self) -> int:
        return sum(repeat.planned for repeat in self.repeats)

    def save(self, path: str | Path) -> Path:
        """Write the file. Raises :class:`ConfigError` where that cannot be done."""
        path = Path(path)
        hdr.check_path(path)
        path.write_text(self.model_dump_json(indent=1) + "\n", encoding="utf-8")
        return path

    @classmethod
    def load(cls, path: str | Path) -> Result:
        """Read a file. Raises :class:`ConfigError` for what is no result, naming the field."""
        path = Path(path)
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
        except ValueError as error:
            raise ConfigError(f"{path} is no result file: no JSON ({error})") from None
        if not isinstance(values, dict) or values.get("format") != FORMAT:
            raise ConfigError(
                f'{path} is no result of `wirepath bench baseline` or `run`: its "format" is not '
                f'"{FORMAT}"'
            )
        if values.get("version") != VERSION:
            raise ConfigError(
                f"{path}: version = {values.get('version')!r} is not usable: this wirepath reads "
                f"version {VERSION} (measure again, or use the wirepath that wrote it)"
            )
        try:
            out = cls.model_validate(values)
            for repeat in out.repeats:
                for each in (repeat.latency, repeat.jitter, repeat.sender_lateness):
                    _ = each.counts
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            raise ConfigError(
                f"{path} is damaged: field {where}: {first['msg']} (measure again)"
            ) from None
        except ConfigError as error:
            raise ConfigError(f"{path} is damaged: {error}") from None
        if not out.repeats:
            raise ConfigError(f"{path} is damaged: field repeats: empty (measure again)")
        return out
