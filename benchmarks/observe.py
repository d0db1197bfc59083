# SPDX-License-Identifier: Apache-2.0
"""Being looked at: a worker over null as fast as it can, alone and while `top` and Prometheus read
its counters ten times a second from the other processor."""

from __future__ import annotations

import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from . import build, process
from .harness import Contestant, Group, Line, Refused, Sample, Settings, Unavailable, two_processors
from .lab import FIELD_OFFSET, GROUP, PORT

_PACKETS = 400_000_000
_EVERY = 0.1  # seconds
_LISTEN = "127.0.0.1:48218"


@contextmanager
def _looked_at(cpu: int) -> Iterator[list[int]]:
    """Observers until the end; gives a list to which the number of scrapes goes."""
    scrapes: list[int] = []
    over = threading.Event()
    command = ["taskset", "-c", str(cpu), sys.executable, "-m", "wirepath"]
    top = subprocess.Popen(
        [*command, "top", "--json", "--interval", str(_EVERY)], stdout=subprocess.DEVNULL
    )
    server = subprocess.Popen([*command, "metrics", "--listen", _LISTEN], stderr=subprocess.DEVNULL)

    def scrape() -> None:
        while not over.wait(_EVERY):
            try:
                with urllib.request.urlopen(f"http://{_LISTEN}/metrics", timeout=5) as answer:
                    if b"wirepath_worker_frames_total" in answer.read():
                        scrapes.append(1)
            except OSError:
                continue  # it is not listening yet

    thread = threading.Thread(target=scrape)
    thread.start()
    try:
        yield scrapes
    finally:
        over.set()
        thread.join()
        for child in (top, server):
            child.terminate()
            child.wait()


@contextmanager
def _open(settings: Settings) -> Iterator[Mapping[str, Contestant | Unavailable]]:
    two_processors(settings)
    flow = ["--group", GROUP, "--port", str(PORT), "--cpu", str(settings.cpus[1])]
    command = process.module("receiver", "native", f"null:,frames={_PACKETS}", *flow)
    command += ["--batch", "64", "--busy", "--stage", build.native("bench_stage.so")]
    command += ["--offset", str(FIELD_OFFSET), "--seconds", "60"]

    def alone() -> Sample:
        got = process.run(command)
        return Sample({"rate": got["rate"]}, got["port"])

    def observed() -> Sample:
        with _looked_at(settings.cpus[0]) as scrapes:
            sample = alone()
        if not scrapes:
            raise Refused("nothing was scraped while the worker ran")
        return Sample(sample.figures, sample.info, note=f"{len(scrapes)} scrapes")

    yield {"observed": observed, "alone": alone}


OBSERVE = Group(
    "observe",
    (
        Line(
            "observe",
            "a worker over null while top and Prometheus read its counters, against the same alone",
            "packets/s",
            "observed",
            "alone",
            goal=0.99,
        ),
    ),
    _open,
)
