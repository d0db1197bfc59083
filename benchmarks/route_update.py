# SPDX-License-Identifier: Apache-2.0
"""The router in user space while its tables change at full speed: what a packet costs then, how
many updates there are, and that no packet is lost or goes astray."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from . import build, process
from .harness import Contestant, Group, Line, Sample, Settings, Unavailable, two_processors
from .route_user_run import PREFIXES

_SECONDS = 180


@contextmanager
def _open(settings: Settings) -> Iterator[Mapping[str, Contestant | Unavailable]]:
    two_processors(settings)
    if not PREFIXES.exists():
        raise Unavailable(
            f"no table of prefixes at {PREFIXES} (a file with one prefix a line, gzip, in "
            "WIREPATH_BENCH_PREFIXES)"
        )
    given = ["--stage", build.native("route_frames.so"), "--seconds", str(settings.seconds)]
    given += ["--cpu", str(settings.cpus[1]), "--writer-cpu", str(settings.cpus[0])]

    def runs(*words: str) -> Contestant:
        line = process.module("route_update_run", *given, *words)

        def run() -> Sample:
            got = process.run(line, timeout=_SECONDS)
            return Sample({name: got[name] for name in ("cost", "updates") if name in got})

        return run

    yield {"still": runs(), "updated": runs("--writer"), "writer": runs("--alone")}


ROUTE_UPDATE = Group(
    "router in user space, updated",
    (
        Line(
            "route_null_updated",
            "processor time a packet on null ports while a writer changes prefixes at full speed, "
            "against without it",
            "ns/packet",
            "updated",
            "still",
            "cost",
            better="lower",
            note="12 million packets a round; refused if one is lost or goes to a next hop that is "
            "none of its own",
        ),
        Line(
            "route_null_updates",
            "that writer's updates while packets are forwarded, against without them",
            "updates/s",
            "updated",
            "writer",
            "updates",
            note="prefixes replaced, taken out and added in the tables that the program reads",
        ),
    ),
    _open,
)
