"""A program tried on frames, in the kernel (BPF_PROG_RUN) and natively: what each build decides,
what it costs, and where the two differ."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .._core import everything
from ..errors import PortError
from ..ports import open as open_port
from .maps import Map, add_up
from .program import NativeProgram, Program, load, native
from .source import Source, find

# What the kernel's test run takes.
SHORTEST, LONGEST = 14, 3520
_REPEAT = 1000
_TIMED = 256  # frames, spread over all


@dataclass(frozen=True)
class Tried:
    """One frame. number: from 1. verdict: the kernel's, ``next`` shown as ``pass``. changed: bytes
    that differ from the frame before, those added or taken off included."""

    number: int
    length: int
    verdict: str
    native: str
    new_length: int
    changed: int
    differs: str = ""


@dataclass
class Trial:
    """What a trial showed. differences: where the two builds are not alike, in words; empty = they
    agree on every verdict, byte, counter and map. ns: median over frames of the kernel's mean time,
    and what the kernel's test run costs by itself (``empty_ns``)."""

    program: str
    rows: list[Tried] = field(default_factory=list)
    verdicts: dict[str, int] = field(default_factory=dict)
    counters: dict[str, int] = field(default_factory=dict)
    differences: list[str] = field(default_factory=list)
    not_run: int = 0
    ns: float | None = None
    empty_ns: float | None = None
    why_no_native: str = ""

    @property
    def agree(self) -> bool:
        """Whether both builds were run and did the same throughout."""
        return not self.differences and not self.why_no_native


def frames_of(capture: str | Path) -> Iterator[tuple[bytes, int]]:
    """The frames of a capture and their times."""
    with open_port(f"pcap:{capture}", steer=everything()) as port:
        for batch in port:
            for i in range(len(batch)):
                yield bytes(batch[i]), int(batch.timestamp[i])


def try_out(
    source: str | Path | Source,
    frames: Iterable[tuple[bytes, int]],
    *,
    config: object = None,
    entries: Mapping[str, int] | None = None,
    fill: Mapping[str, Mapping[Any, Any]] | None = None,
    repeat: int = _REPEAT,
) -> Trial:
    """Run ``frames`` (each with its time in ns) through both builds.

    fill: entries of maps, put in before. repeat: runs of each timed frame; 0 = no timing. Time and
    random numbers are the same for both builds: the frame's.

    Raises as :func:`wirepath.programs.load`.
    """
    found = find(source)
    kernel_one = load(found, config=config, entries=entries, test=True)
    native_one = None
    if found.builtin or found.native is not None:
        native_one = native(found, config=config, entries=entries, slots=1, test=True)
    _fill([kernel_one, *([native_one] if native_one else [])], fill)
    out = Trial(found.name, why_no_native=found.why_no_native)
    kept: list[tuple[bytes, int]] = []
    for number, (frame, time) in enumerate(frames, 1):
        if not SHORTEST <= len(frame) <= LONGEST:
            out.not_run += 1
            continue
        out.rows.append(_one(number, frame, time, kernel_one, native_one, out.differences))
        kept.append((frame, time))
    out.verdicts = dict(Counter(row.verdict for row in out.rows))
    out.counters = kernel_one.counters()
    if native_one is not None:
        out.differences += _compare_maps(kernel_one, native_one)
    if repeat and kept:
        timed = load(found, config=config, entries=entries)
        _fill([timed], fill)
        step = max(1, len(kept) // _TIMED)
        out.ns = statistics.median(timed.run(f, repeat=repeat).ns or 0 for f, _ in kept[::step])
        out.empty_ns = empty_ns(kept[0][0], repeat)
    return out


def empty_ns(frame: bytes, repeat: int = _REPEAT) -> float:
    """What the kernel's test run costs with a program that only hands on: the root of an empty
    chain. Median of several."""
    from . import kernel  # noqa: PLC0415 -- only where programs are run

    module = kernel.module()
    root = module.KernelProgram(module.builtin_object("root"))
    return float(statistics.median(root.run(frame, repeat)[2] for _ in range(5)))


def _fill(programs: list[Any], fill: Mapping[str, Mapping[Any, Any]] | None) -> None:
    for program in programs:
        for name, items in (fill or {}).items():
            for key, value in items.items():
                program.map(name)[key] = value


def _one(  # noqa: PLR0917
    number: int,
    frame: bytes,
    time: int,
    kernel_one: Program,
    native_one: NativeProgram | None,
    differences: list[str],
) -> Tried:
    kernel_one.set_time(time)
    try:
        in_kernel = kernel_one.run(frame)
    except PortError as error:
        raise PortError(f"frame {number}: {error}") from None
    differs, verdict = "", ""
    if native_one is not None:
        done = native_one.run(frame, port=1, time=time)
        verdict = "pass" if done.verdict == "next" else done.verdict
        if verdict != in_kernel.verdict:
            differs = f"verdict {in_kernel.verdict} in the kernel, {verdict} natively"
        elif done.frame != in_kernel.frame:
            at = _first_difference(in_kernel.frame, done.frame)
            differs = (
                f"bytes differ from byte {at} on: {in_kernel.frame[at : at + 8].hex()} in the "
                f"kernel, {done.frame[at : at + 8].hex()} natively"
            )
    if differs:
        differences.append(f"frame {number}: {differs}")
    changed = abs(len(in_kernel.frame) - len(frame)) + sum(
        a != b for a, b in zip(frame, in_kernel.frame, strict=False)
    )
    return Tried(
        number, len(frame), in_kernel.verdict, verdict, len(in_kernel.frame), changed, differs
    )


def _first_difference(a: bytes, b: bytes) -> int:
    return next(
        (i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b))
    )


def _compare_maps(kernel_one: Program, native_one: NativeProgram) -> list[str]:
    out = []
    theirs = native_one.counters()
    for name, count in kernel_one.counters().items():
        if theirs.get(name, count) != count:
            out.append(f"counter {name}: {count} in the kernel, {theirs[name]} natively")
    for name, ours in kernel_one.maps.items():
        other = native_one.maps.get(name)
        if other is None or name == "counters" or ours.kind in ("RING", "PORTS"):
            continue
        mine, its = contents(ours), contents(other)
        if mine != its:
            unlike = [k for k in mine.keys() | its.keys() if mine.get(k) != its.get(k)]
            out.append(
                f"map {name}: {len(unlike)} of {len(mine.keys() | its.keys())} entries differ, "
                f"such as key {min(unlike).hex()}"
            )
    return out


def _key(key: bytes, of: Map) -> bytes:
    """A prefix without the bits behind its length, which the kernel keeps as they were given."""
    if of.kind != "LPM":
        return key
    length, width = int.from_bytes(key[:4], "little"), 8 * (len(key) - 4)
    address = int.from_bytes(key[4:], "big") >> (width - length) << (width - length)
    return key[:4] + address.to_bytes(width // 8, "big")


def contents(of: Map) -> dict[bytes, object]:
    """Every entry, of a per-CPU map the sums over the slots. Entries of an array that are zero are
    left out."""
    keys, found = of.arrays()
    array, percpu = of.kind.endswith("ARRAY"), of.kind.startswith(("PERCPU", "LRU_PERCPU"))
    return {
        _key(k.tobytes(), of): add_up(np.atleast_1d(v)) if percpu else v.tobytes()
        for k, v in zip(keys, found, strict=True)
        if not array or any(v.tobytes())
    }
