# SPDX-License-Identifier: Apache-2.0
"""The price of the framework: a backend that costs nothing, at batches of 64."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from . import build, process
from .harness import Contestant, Group, Line, Sample, Settings, Unavailable
from .lab import FIELD_OFFSET, GROUP, PORT

_NATIVE_PACKETS = 40_000_000
_PYTHON_PACKETS = 10_000_000


@contextmanager
def _open(settings: Settings) -> Iterator[Mapping[str, Contestant | Unavailable]]:
    cpu = str(settings.cpus[1])
    flow = ["--group", GROUP, "--port", str(PORT), "--cpu", cpu, "--batch", "64", "--busy"]

    def ours(how: str, packets: int, spec: str = "null:,frames=") -> Contestant:
        command = process.module("receiver", how, f"{spec}{packets}", *flow)
        command += ["--stage", build.native("bench_stage.so"), "--offset", str(FIELD_OFFSET)]
        command += ["--seconds", "60", "--delay-ns", str(settings.delay_ns)]

        def run() -> Sample:
            got = process.run(command)
            return Sample({"cost": 1e9 / got["rate"]}, got["port"])

        return run

    def theirs() -> Sample:
        command = [build.reference("null_rx"), "--batch", "64", "--cpu", cpu, "--repeat", "1"]
        got = process.run([*command, "--packets", str(_NATIVE_PACKETS)])
        return Sample({"cost": got["ns_per_packet"]})

    build.reference("null_rx")
    yield {
        "yardstick": theirs,
        "native": ours("native", _NATIVE_PACKETS),
        "python": ours("python", _PYTHON_PACKETS),
        "switched": ours("native", _NATIVE_PACKETS, "auto:,policy=null,null_frames="),
    }


_NOTE = (
    "ratio = ours / yardstick: lower is better, and no goal; the yardstick keeps no timestamps, "
    "hashes or verdicts"
)

NULL = Group(
    "null",
    (
        Line(
            "null_native",
            "worker with a C stage that reads one field of every packet, against null_rx",
            "ns/packet",
            "native",
            "yardstick",
            "cost",
            better="lower",
            note=_NOTE,
        ),
        Line(
            "null_python",
            "Python `for batch in port`, one column of every batch, against null_rx",
            "ns/packet",
            "python",
            "yardstick",
            "cost",
            better="lower",
            note=_NOTE,
        ),
        Line(
            "null_switched",
            "the same worker and stage over `auto:` with null as its only way, against null itself",
            "ns/packet",
            "switched",
            "native",
            "cost",
            better="lower",
            note="ratio = with / without the switch in front: its price, and no goal",
        ),
    ),
    _open,
)
