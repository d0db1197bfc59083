"""Holds a build of the filter against the naive model, frame by frame and in its counts."""

from __future__ import annotations

import ipaddress
import random
import struct
from collections.abc import Callable, Iterable
from pathlib import Path

from filter_naive import Naive

from wirepath.filter import FilterConfig, Rule, Set
from wirepath.filter.engine import Engine
from wirepath.frames import udp

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


def large(folder: Path, count: int = 140_000) -> tuple[FilterConfig, list[tuple[bytes, bool]]]:
    """A filter of so many prefixes that IPv4 is looked up over its first 24 bits, and frames, each
    with whether a prefix holds its source."""
    rng = random.Random(count)
    nets = {rng.randrange(11 << 16, 200 << 16) for _ in range(count)}
    hosts = {rng.randrange(200 << 24, 220 << 24) for _ in range(1000)}
    addresses = [f"{ipaddress.ip_address(net << 8)}/24" for net in nets]
    addresses += [str(ipaddress.ip_address(host)) for host in hosts]
    (folder / "large.txt").write_text("\n".join(addresses))
    sets = (Set(name="large", file="large.txt"),)
    asked = [rng.choice(list(nets)) << 8 | rng.randrange(256) for _ in range(50)]
    asked += [*list(hosts)[:50], *(host ^ 1 for host in list(hosts)[:50])]
    asked += [rng.randrange(11 << 24, 223 << 24) for _ in range(50)]
    frames = []
    for number in asked:
        source = str(ipaddress.ip_address(number))
        frame = udp(b"", dst=("10.9.9.9", 9), src=(source, 9), dst_mac="02:00:00:00:00:02")
        frames.append((frame, number >> 8 in nets or number in hosts))
    return FilterConfig(rules=(Rule(source="@large"),), sets=sets), frames


def write_pcap(path: Path, frames: Iterable[bytes]) -> Path:
    """A capture of whole frames, a microsecond apart."""
    out = [struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)]
    for i, frame in enumerate(frames):
        out.append(struct.pack("<IIII", 1_700_000_000, i, len(frame), len(frame)) + frame)
    path.write_bytes(b"".join(out))
    return path
