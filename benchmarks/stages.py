# SPDX-License-Identifier: Apache-2.0
"""User code at native speed: a stage compiled by numba against the same in C++, on a backend that
costs nothing; and two queues on two workers against one.

    python -m benchmarks.stages numba count_ports --cpu 1

runs one contestant and prints one line of JSON.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np

from . import build, process
from .harness import Contestant, Group, Line, Sample, Settings, Unavailable
from .lab import GROUP, PORT

_PACKETS = 30_000_000
_PYTHON_PACKETS = 50_000
_SPELL = 0.02  # seconds
_QUEUE_PACKETS = 20_000_000
_STAGES = ("count_ports", "police")
_BUCKET = [(name, np.int64) for name in ("rate", "limit", "credit", "time", "passed", "policed")]


def _state(name: str) -> np.ndarray:
    if name == "count_ports":
        return np.zeros(65536, np.int64)
    state = np.zeros(1024, _BUCKET)
    state["rate"] = 1_000_000_000
    state["limit"] = 1_000_000
    return state


def _seen(name: str, state: np.ndarray) -> int:
    if name == "count_ports":
        return int(state.sum())
    return int(state["passed"].sum() + state["policed"].sum())


def _bound(how: str, name: str, state: np.ndarray):
    import wirepath as wp  # noqa: PLC0415 -- --list needs no built package

    @wp.stage
    def count_ports(batch, state):
        for i in range(batch.count):
            frame = batch.data[i]
            if len(frame) < 42 or wp.be16(frame, 12) != 0x0800 or frame[23] != 17:
                continue
            udp = 14 + (frame[14] & 15) * 4
            if len(frame) >= udp + 8:
                state[wp.be16(frame, udp + 2)] += 1

    @wp.stage
    def police(batch, state):
        for i in range(batch.count):
            frame = batch.data[i]
            bucket = state[0]
            if len(frame) >= 34 and wp.be16(frame, 12) == 0x0800:
                bucket = state[(wp.be32(frame, 26) * 2654435761 & 0xFFFFFFFF) >> 22]
            now = batch.timestamp[i]
            if bucket["time"] == 0:
                bucket["credit"] = bucket["limit"]
            else:
                credit = bucket["credit"] + max(now - bucket["time"], 0)
                bucket["credit"] = min(credit, bucket["limit"])
            bucket["time"] = max(now, bucket["time"])
            cost = batch.length[i] * 1_000_000_000 // bucket["rate"]
            if cost > bucket["credit"]:
                bucket["policed"] += 1
                batch.verdict[i] = wp.DROP
            else:
                bucket["credit"] -= cost
                bucket["passed"] += 1
                batch.verdict[i] = wp.TX

    if how == "c++":
        return wp.load_stage(build.native("stages.so"), name, state=state)
    function = count_ports if name == "count_ports" else police
    return function.bind(state, compile="require" if how == "numba" else "never")


def _run(how: str, name: str, cpu: int, packets: int) -> dict[str, float]:
    import wirepath as wp  # noqa: PLC0415

    state = _state(name)
    stage = _bound(how, name, state)
    with wp.open(f"null:,frames={packets}", steer=wp.udp(GROUP, PORT)) as port:
        worker = wp.Worker("bench", cpu_core=cpu, idle="spin")
        worker.add_port(port)
        worker.add_stage(stage)
        # Of the processor, which only the worker uses: what others take from it does not count. The
        # median of short spells, because neighbours on the same machine take caches as well.
        began = last = time.process_time_ns(), 0
        spells = []
        worker.start()
        while worker.running:
            time.sleep(_SPELL)
            now = time.process_time_ns(), worker.stats()["frames"]
            if now[1] > last[1]:
                spells.append((now[0] - last[0]) / (now[1] - last[1]))
            last = now
        worker.join()
    if not _seen(name, state) == worker.stats()["frames"] == packets:
        raise SystemExit(f"{how} {name} saw {_seen(name, state)} of {packets} frames")
    # The first spell has the worker's start in it, the last its end.
    whole = (last[0] - began[0]) / packets
    return {"cost": statistics.median(spells[1:-1] or [whole])}


def _queues(cores: list[int], packets: int) -> dict[str, float]:
    """Two queues of `packets` each, on as many workers as cores."""
    import wirepath as wp  # noqa: PLC0415

    states = [_state("police") for _ in cores]
    with wp.open(f"null:,queues=2,frames={packets}", steer=wp.udp(GROUP, PORT)) as port:
        group = wp.workers(
            port, cores, idle="spin", stages=lambda k: [_bound("c++", "police", states[k])]
        )
        began = time.perf_counter_ns()
        group.start()
        group.join()
        elapsed = time.perf_counter_ns() - began
    if not sum(_seen("police", s) for s in states) == group.stats()["frames"] == 2 * packets:
        raise SystemExit("frames were lost between queues and workers")
    return {"rate": 2 * packets / elapsed * 1e9}


def _contestant(figure: str, *words: str) -> Contestant:
    command = process.module("stages", *words)

    def run() -> Sample:
        return Sample({figure: process.run(command)[figure]})

    return run


@contextmanager
def _open(settings: Settings) -> Iterator[Mapping[str, Contestant | Unavailable]]:
    build.native("stages.so")
    numba = importlib.util.find_spec("numba") is not None
    contestants: dict[str, Contestant | Unavailable] = {}
    for name in _STAGES:
        for how in ("c++", "numba", "python"):
            words = (how, name, "--cpu", str(settings.cpus[1]))
            contestants[f"{how} {name}"] = (
                _contestant("cost", *words)
                if numba or how != "numba"
                else Unavailable("numba is not installed (pip install 'wirepath[numba]')")
            )
    first, second = settings.cpus
    contestants["one"] = _contestant("rate", "queues", "police", "--cpu", str(second))
    contestants["two"] = (
        Unavailable("needs two processors, one for each worker")
        if first == second
        else _contestant("rate", "queues", "police", "--cpu", str(second), str(first))
    )
    yield contestants


def _lines() -> Iterator[Line]:
    for name in _STAGES:
        yield Line(
            f"stage_{name}",
            f"stage {name} compiled by numba, against the same in C++ (null backend, worker)",
            "ns/packet",
            f"numba {name}",
            f"c++ {name}",
            "cost",
            goal=1.2,
            better="lower",
            note="with Python's checks of indices and division, which C++ does without",
        )
    yield Line(
        "stage_python",
        "stage count_ports as a Python loop, taking the GIL once a batch, against C++",
        "ns/packet",
        "python count_ports",
        "c++ count_ports",
        "cost",
        better="lower",
        note="a loop over frames in Python: what compiling saves",
    )
    yield Line(
        "two_workers",
        "two queues on two workers, against both on one (null backend, C++ stage)",
        "packets/s",
        "two",
        "one",
        "rate",
        note="each worker makes its own packets, so that no generator is the limit; the second "
        "worker has the processor of everything else on the machine",
    )


STAGES = Group("stages", tuple(_lines()), _open)


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.stages", description=__doc__)
    parser.add_argument("how", choices=("c++", "numba", "python", "queues"))
    parser.add_argument("name", choices=_STAGES)
    parser.add_argument("--cpu", type=int, nargs="+", default=[1])
    args = parser.parse_args()
    if args.how == "queues":
        result = _queues(args.cpu, _QUEUE_PACKETS)
    else:
        packets = _PYTHON_PACKETS if args.how == "python" else _PACKETS
        result = _run(args.how, args.name, args.cpu[0], packets)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
