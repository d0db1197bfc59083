"""The shape of traffic: sizes and gaps of packets, from figures or from a capture."""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from .. import ports
from .._core import everything
from ..errors import ConfigError
from ..settings import problem

Arrivals = Literal["even", "poisson"]

SMALLEST_FRAME = 60
"""Bytes of the smallest Ethernet frame, without frame check sequence."""
LARGEST_FRAME = 65_535
_CYCLE = 16_384  # packets after which sizes and gaps repeat
_MOST_OF_A_CAPTURE = 1 << 20
_MOST_PACKETS = 1 << 28  # of one repeat

# The simple IMIX: 7 of 40, 4 of 576 and 1 of 1500 bytes at the IP layer.
IMIX = ((60, 7.0), (590, 4.0), (1514, 1.0))


@dataclass(frozen=True)
class Cycle:
    """Packets that are repeated: ``due`` in ns from the cycle's start, ``size`` in bytes of the
    frame, ``period`` in ns from cycle to cycle."""

    due: NDArray[np.int64]
    size: NDArray[np.uint32]
    period: int

    def count(self, seconds: float) -> int:
        """Packets that are due within ``seconds``."""
        whole, rest = divmod(round(seconds * 1e9), self.period)
        return int(whole) * len(self.due) + int(np.searchsorted(self.due, rest, side="left"))

    def packed(self) -> dict[str, Any]:
        """As JSON values, to be sent to another process."""
        return {
            "due": base64.b64encode(zlib.compress(self.due.tobytes())).decode(),
            "size": base64.b64encode(zlib.compress(self.size.tobytes())).decode(),
            "period": self.period,
        }

    @classmethod
    def unpacked(cls, values: Mapping[str, Any]) -> Cycle:
        due, size = (zlib.decompress(base64.b64decode(values[name])) for name in ("due", "size"))
        return cls(np.frombuffer(due, np.int64), np.frombuffer(size, np.uint32), values["period"])


@dataclass(frozen=True)
class Shape:
    """What is sent: packet sizes, mean rate, bursts, spacing. Made by :meth:`of` or
    :meth:`from_capture`; ``rate`` is in packets a second, sizes are bytes of the Ethernet frame
    without frame check sequence."""

    rate: float
    sizes: tuple[tuple[int, float], ...]
    burst: int = 1
    arrivals: Arrivals = "even"
    seed: int = 1
    capture: str | None = None
    cycle_of_capture: Cycle | None = None

    @classmethod
    def of(
        cls,
        sizes: int | str | Sequence[tuple[int, float]] = 128,
        *,
        rate: float = 10_000.0,
        burst: int = 1,
        arrivals: Arrivals = "even",
        seed: int = 1,
    ) -> Shape:
        """A shape from figures.

        sizes: bytes of every frame, ``"imix"``, ``"64:7,594:4"`` (size:weight) or pairs of size
        and weight. rate: packets a second on average, 1 to 1e8. burst: packets that are due at
        the same instant, 1 to 4096; between bursts there is a pause that keeps the rate.
        arrivals: ``"even"`` or ``"poisson"`` (random gaps between the bursts). Raises
        :class:`ConfigError` naming the field.
        """
        if not 1 <= rate <= 1e8:
            raise ConfigError(problem("rate", rate, "from 1 to 1e8 packets a second"))
        if not 1 <= burst <= 4096:
            raise ConfigError(problem("burst", burst, "from 1 to 4096 packets"))
        if arrivals not in ("even", "poisson"):
            raise ConfigError(problem("arrivals", arrivals, "even or poisson"))
        return cls(float(rate), _sizes(sizes), burst, arrivals, seed)

    @classmethod
    def from_capture(
        cls, path: str | Path, *, speed: float = 1.0, rate: float | None = None
    ) -> Shape:
        """The sizes and gaps of a capture's frames (pcap or pcapng), of any protocol.

        speed: 2 sends twice as fast as recorded. rate: packets a second on average instead; the
        gaps keep their proportions. Frames under 60 bytes are sent with 60. At most the first
        2^20 frames are read. Raises :class:`ConfigError` where that makes no shape.
        """
        if not 1e-6 <= speed <= 1e6:
            raise ConfigError(problem("speed", speed, "from 1e-6 to 1e6"))
        stamps: list[NDArray[np.int64]] = []
        lengths: list[NDArray[np.uint32]] = []
        read = 0
        with ports.open(f"pcap:{path}", steer=everything(), batch_size=1024) as port:
            for batch in port:
                stamps.append(batch.timestamps.copy())
                lengths.append(batch.lengths.copy())
                read += len(batch)
                if read >= _MOST_OF_A_CAPTURE:
                    break
        if read < 2:
            raise ConfigError(
                f"{path} has {read} frames: a shape needs at least 2, for the gaps between them"
            )
        due = np.concatenate(stamps)[:_MOST_OF_A_CAPTURE]
        due = np.maximum.accumulate(due) - due[0]
        size = np.concatenate(lengths)[:_MOST_OF_A_CAPTURE]
        size = np.clip(size, SMALLEST_FRAME, LARGEST_FRAME).astype(np.uint32)
        if due[-1] == 0:
            raise ConfigError(
                f"every frame of {path} has the same timestamp: give sizes and a rate instead"
            )
        # After the last packet comes the mean gap, then the first one again.
        period = int(due[-1]) + max(round(int(due[-1]) / (len(due) - 1)), 1)
        seen, counts = np.unique(size, return_counts=True)
        mix = tuple((int(s), float(n)) for s, n in zip(seen, counts, strict=True))
        natural = len(due) * 1e9 / period
        out = cls(natural, mix, capture=Path(path).name, cycle_of_capture=Cycle(due, size, period))
        return out.at_rate(rate if rate is not None else natural * speed)

    def at_rate(self, rate: float) -> Shape:
        """The same shape, faster or slower."""
        if not 1e-3 <= rate <= 1e8:
            raise ConfigError(problem("rate", rate, "from 0.001 to 1e8 packets a second"))
        if self.cycle_of_capture is None:
            return replace(self, rate=float(rate))
        old = self.cycle_of_capture
        factor = self.rate / rate
        due = np.round(old.due * factor).astype(np.int64)
        period = max(round(old.period * factor), int(due[-1]), 1)
        return replace(self, rate=float(rate), cycle_of_capture=Cycle(due, old.size, period))

    def cycle(self, smallest: int = SMALLEST_FRAME, largest: int = LARGEST_FRAME) -> Cycle:
        """The packets of one cycle; sizes of a capture are brought within the limits."""
        if self.cycle_of_capture is not None:
            kept = self.cycle_of_capture
            size = np.clip(kept.size, smallest, largest).astype(np.uint32)
            return Cycle(kept.due, size, kept.period)
        bursts = -(-_CYCLE // self.burst)
        count = bursts * self.burst
        random = np.random.default_rng(self.seed)
        values = np.array([s for s, _ in self.sizes], np.uint32)
        weights = np.array([w for _, w in self.sizes])
        # Shares are kept exactly, as far as whole packets can; only the order is random.
        edges = np.round(np.cumsum(weights) / weights.sum() * count).astype(int)
        size = np.repeat(values, np.diff(edges, prepend=0))
        random.shuffle(size)
        period = max(round(count * 1e9 / self.rate), 1)
        if self.arrivals == "poisson":
            gaps = random.exponential(1.0, bursts)
            starts = (np.cumsum(gaps) - gaps[0]) / gaps.sum() * period
        else:
            starts = np.arange(bursts) * (period / bursts)
        due = np.repeat(starts.astype(np.int64), self.burst)
        return Cycle(due, size, period)

    def packets(self, seconds: float) -> int:
        """Packets of ``seconds`` of this shape. Raises :class:`ConfigError` when there are none,
        or too many to be kept apart."""
        count = self.cycle().count(seconds)
        if not 1 <= count <= _MOST_PACKETS:
            raise ConfigError(
                f"{seconds} seconds of this traffic are {count:,} packets: seconds and rate must "
                f"give 1 to {_MOST_PACKETS:,}"
            )
        return count

    def describe(self) -> str:
        """In words."""
        mean = sum(s * w for s, w in self.sizes) / sum(w for _, w in self.sizes)
        if self.capture is not None and self.cycle_of_capture is not None:
            n = len(self.cycle_of_capture.due)
            return (
                f"sizes and gaps of {self.capture} ({n:,} frames, {mean:.0f} bytes on average) at "
                f"{self.rate:,.0f} packets/s"
            )
        if len(self.sizes) == 1:
            what = f"{self.sizes[0][0]} bytes"
        elif self.sizes == IMIX:
            what = f"IMIX ({mean:.0f} bytes on average)"
        else:
            what = "mix " + ", ".join(f"{s}:{w:g}" for s, w in self.sizes)
        how = f" in bursts of {self.burst}" if self.burst > 1 else ""
        how += ", Poisson arrivals" if self.arrivals == "poisson" else ""
        return f"{what}, {self.rate:,.0f} packets/s{how}"

    def to_dict(self) -> dict[str, Any]:
        """As JSON values. ``digest`` tells whether two shapes are the same."""
        frames = self.cycle_of_capture
        few = self.sizes if self.capture is None else ()
        out: dict[str, Any] = {
            "describe": self.describe(),
            "rate": self.rate,
            "sizes": [list(pair) for pair in few],
            "burst": self.burst,
            "arrivals": self.arrivals if self.capture is None else "capture",
            "seed": self.seed,
            "capture": self.capture,
            "capture_frames": len(frames.due) if frames is not None else None,
        }
        digest = hashlib.sha256(json.dumps(out, sort_keys=True).encode())
        if frames is not None:
            digest.update(frames.due.tobytes() + frames.size.tobytes())
        return out | {"digest": digest.hexdigest()[:16]}


def _sizes(given: int | str | Sequence[tuple[int, float]]) -> tuple[tuple[int, float], ...]:
    must = (
        f"bytes of a frame from {SMALLEST_FRAME} to {LARGEST_FRAME}, imix, or SIZE:WEIGHT with "
        "commas between, such as 64:7,594:4,1514:1"
    )
    if isinstance(given, int):
        given = [(given, 1.0)]
    if isinstance(given, str):
        if given.strip().lower() == "imix":
            return IMIX
        pairs = []
        for part in given.split(","):
            size, colon, weight = part.partition(":")
            try:
                pairs.append((int(size), float(weight) if colon else 1.0))
            except ValueError:
                raise ConfigError(problem("sizes", given, must)) from None
        given = pairs
    out = tuple((int(size), float(weight)) for size, weight in given)
    fit = all(SMALLEST_FRAME <= s <= LARGEST_FRAME and 0 < w < 1e9 for s, w in out)
    if not out or not fit:
        shown = ",".join(f"{s}:{w:g}" if len(out) > 1 else f"{s}" for s, w in out)
        raise ConfigError(problem("sizes", shown, must))
    return out
