"""Holds a build of the filter against the naive model, frame by frame and in its counts."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from pathlib import Path

from filter_naive import Naive

from wirepath.filter import FilterConfig
from wirepath.filter.engine import Engine

START = 10**15

#: Runs one frame at a time of ns: (verdict, frame afterwards).
Run = Callable[[bytes, int], tuple[int, bytes]]


def agree(
    config: FilterConfig,
    engine: Engine,
    run: Run,
    frames: Iterable[bytes],
    *,
    folder: Path = Path(),
    gap: int = 1_000_000,
) -> Naive:
    """Asserts that verdict, bytes, per-rule counts and counters are those of the model."""
    naive = Naive(config, folder)
    seen = 0
    for i, frame in enumerate(frames):
        now = START + i * gap
        verdict, after = run(frame, now)
        expected = naive.judge(frame, now)
        assert verdict == expected, f"{frame.hex()}: {verdict}, not {expected}"
        assert after == frame
        seen += 1
    counts = {
        name: list(row.values()) for name, row in engine.counts().items() if any(row.values())
    }
    assert counts == {name: row for name, row in naive.counts.items() if any(row)}
    counters = engine.counters()
    assert counters.pop("packets") == seen
    dropped = sum(n for name, n in counters.items() if name.startswith("drop."))
    assert counters.pop("passed") == seen - dropped
    found = {name.removeprefix("drop."): n for name, n in counters.items() if n}
    assert found == {name: n for name, n in naive.reasons.items() if n}
    return naive


def write_pcap(path: Path, frames: Iterable[bytes]) -> Path:
    """A capture of whole frames, a microsecond apart."""
    out = [struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)]
    for i, frame in enumerate(frames):
        out.append(struct.pack("<IIII", 1_700_000_000, i, len(frame), len(frame)) + frame)
    path.write_bytes(b"".join(out))
    return path
