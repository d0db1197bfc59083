# SPDX-License-Identifier: Apache-2.0
"""Receive benchmarks: socket and AF_XDP ports against recvmmsg and libxdp loops.

Two figures each. `rate`: packets a second received while more are offered than can be taken, both
sides spinning. `core`: packets per second of the receiving process's own processor time, both sides
sleeping when there is nothing; on a veth the driver's work is on the *source's* processor, so this
is where a slow receive loop shows even when the driver is the bottleneck.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from . import build, process
from .harness import Contestant, Group, Line, Sample, Settings, Unavailable
from .lab import FIELD_OFFSET, GROUP, PORT, Bench, lab

_RATE = "packets/s"
_CORE = "packets/cpu-s"
_BATCH = 64


def _sample(got: dict[str, Any]) -> Sample:
    figures = {"rate": got["rate"], "core": got["packets"] / got["cpu_seconds"]}
    return Sample(figures, got.get("port", {}))


def _contestants(bench: Bench, backend: str, yardstick: str) -> Mapping[str, Contestant]:
    settings = bench.settings
    flow = ["--group", GROUP, "--port", str(PORT)]
    # The bound is for a source that fails; all end when nothing came for a while.
    rest = ["--cpu", str(settings.cpus[1]), "--batch", str(_BATCH)]
    rest += ["--seconds", str(settings.seconds + 20), "--idle-ms", "500"]

    def ours(how: str, *, busy: bool) -> Contestant:
        command = process.module("receiver", how, f"{backend}:wp0", *flow, *rest)
        command += ["--stage", build.native("bench_stage.so"), "--offset", str(FIELD_OFFSET)]
        command += ["--delay-ns", str(settings.delay_ns), *(["--busy"] if busy else [])]
        return lambda: _sample(bench.receive(command))

    def theirs(*, busy: bool) -> Contestant:
        command = [build.reference(yardstick), "--ifname", "wp0", *flow, *rest, "--timestamps"]
        if busy:
            command.append("--busy")
        elif yardstick == "xsk_rx":
            command.append("--poll")
        return lambda: _sample(bench.receive(command))

    return {
        "yardstick": theirs(busy=True),
        "native": ours("native", busy=True),
        "python": ours("python", busy=True),
        "yardstick, sleeping": theirs(busy=False),
        "native, sleeping": ours("native", busy=False),
        "python, sleeping": ours("python", busy=False),
    }


@contextmanager
def _open(
    settings: Settings, backend: str, yardstick: str
) -> Iterator[Mapping[str, Contestant | Unavailable]]:
    import wirepath as wp  # noqa: PLC0415

    status = next(b for b in wp.backends() if b.name == backend)
    if not status.available:
        raise Unavailable(f"{backend}: {status.reason} ({status.mend})")
    with lab(settings) as bench:
        yield _contestants(bench, backend, yardstick)


def _lines(prefix: str, against: str, python_goal: float | None) -> tuple[Line, ...]:
    worker = "worker with a C stage that reads one field of every packet"
    loop = "Python `for batch in port`, one column of every batch"
    return (
        Line(
            f"{prefix}_rx",
            f"{worker}, against {against}",
            _RATE,
            "native",
            "yardstick",
            goal=0.95,
        ),
        Line(
            f"{prefix}_rx_core",
            f"the same by processor time, sleeping when idle, against {against}",
            _CORE,
            "native, sleeping",
            "yardstick, sleeping",
            "core",
            goal=0.95,
        ),
        Line(
            f"{prefix}_rx_python",
            f"{loop}, against {against}",
            _RATE,
            "python",
            "yardstick",
            goal=python_goal,
        ),
        Line(
            f"{prefix}_rx_python_core",
            f"the same by processor time, sleeping when idle, against {against}",
            _CORE,
            "python, sleeping",
            "yardstick, sleeping",
            "core",
        ),
    )


SOCKET = Group(
    "socket receive",
    _lines("socket", "recvmmsg_rx", None),
    lambda settings: _open(settings, "socket", "recvmmsg_rx"),
)
AF_XDP = Group(
    "AF_XDP receive",
    _lines("af_xdp", "xsk_rx", 0.85),
    lambda settings: _open(settings, "af_xdp", "xsk_rx"),
)
