"""A capture through both builds of a filter."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from .. import _core
from ..errors import WirepathError
from ..ports import open as open_port
from ..programs import NativeProgram, Program
from . import cookies
from .compile import Tables
from .engine import Engine


@dataclass
class Trial:
    """What became of the frames. kernel: why the driver's build could not be asked, or empty.
    differ: frames of which the two builds did not say the same. ns: mean of the driver's build."""

    packets: int = 0
    dropped: int = 0
    differ: int = 0
    kernel: str = ""
    ns: float | None = None
    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    counters: dict[str, int] = field(default_factory=dict)


def try_out(tables: Tables, capture: str | Path) -> Trial:
    """Runs a capture through fresh instances. Raises what opening the capture raises, and
    ConfigError where a rule asks the host's sockets (action syncookie): a capture has none."""
    cookies.refuse_native(tables)
    return run(tables, _frames(capture))


def run(tables: Tables, frames: Iterable[tuple[int, bytes]]) -> Trial:
    """The same of (time in ns, frame) pairs."""
    out = Trial()
    native, kernel = Engine.native(tables, test=True), None
    judge = cast(NativeProgram, native.program)
    try:
        kernel = Engine.kernel(tables, test=True)
    except (WirepathError, OSError) as error:
        out.kernel = str(error)
    total_ns = 0
    for time, frame in frames:
        verdict = judge.run(frame, time=time).verdict
        out.packets += 1
        out.dropped += verdict == "drop"
        if kernel is None:
            continue
        driver = cast(Program, kernel.program)
        driver.set_time(time)
        answer = driver.run(frame)
        total_ns += answer.ns or 0
        # In the kernel the end of the chain is PASS.
        passed = "pass" if verdict == "next" else verdict
        out.differ += (answer.verdict, answer.frame) != (passed, frame)
    if kernel is not None:
        out.ns = total_ns / out.packets if out.packets else 0.0
        out.differ += native.counts() != kernel.counts()
    out.counts, out.counters = native.counts(), native.counters()
    return out


def _frames(capture: str | Path) -> Iterator[tuple[int, bytes]]:
    with open_port(f"pcap:{capture}", steer=_core.everything()) as port:
        for batch in port:
            times = batch.timestamps
            for i in range(len(batch)):
                yield int(times[i]), bytes(batch[i])
