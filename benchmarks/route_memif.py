# SPDX-License-Identifier: Apache-2.0
"""The router in user space in and out of DPDK memif, against dpdk-testpmd on the same two ports.

The peer is a testpmd with the first processor that makes packets of 1,024 flows (flowgen), sends
them into both links and counts what comes back; its counters give the figures. Between its ports
stands, on the second processor, the router with the full table, or a testpmd that looks at no
packet and sends what comes from one port out of the other (io).
"""

from __future__ import annotations

import re
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from . import process
from .harness import Contestant, Group, Line, Refused, Sample, Settings, Unavailable, two_processors
from .route_user_run import PREFIXES
from .testpmd import Testpmd, command

_BATCH = 64
_WARM_UP = 0.3
_LINK_SECONDS = 20
_RECEIVED = re.compile(r"RX-packets: *(\d+)")

# Forwards between two devices, given with their arguments; tells at its end.
Forwarder = Callable[[list[str]], AbstractContextManager[Callable[[], Mapping[str, Any]]]]


def _command(name: str, devices: list[str], mode: str, cpu: int) -> list[str]:
    words = command(name, devices[0], mode, cpu, _BATCH)
    words.insert(words.index(f"--vdev={devices[0]}") + 1, f"--vdev={devices[1]}")
    words[words.index("--port-topology=loop")] = "--port-topology=paired"
    return words


def _received(program: Testpmd) -> tuple[int, float]:
    """By both ports, and when."""
    counts = [int(n) for n in _RECEIVED.findall(program.ask("show port stats all"))]
    if len(counts) != 2:
        raise Refused(f"testpmd has counters of {len(counts)} ports, not of two")
    return sum(counts), time.monotonic()


@contextmanager
def _io(settings: Settings, devices: list[str]) -> Iterator[Callable[[], Mapping[str, Any]]]:
    with Testpmd(_command("wpbench-b", devices, "io", settings.cpus[1])) as program:
        program.ask("start")
        yield dict


@contextmanager
def _router(settings: Settings, devices: list[str]) -> Iterator[Callable[[], Mapping[str, Any]]]:
    specs = [f"dpdk:{device}" for device in devices]
    child = subprocess.Popen(
        process.module("route_memif_run", *specs, "--cpu", str(settings.cpus[1])),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=process.ROOT,
        env=process.ENVIRONMENT,
    )

    def end() -> Mapping[str, Any]:
        out, err = child.communicate(timeout=30)
        return process.parse("wirepath", child.returncode, out, err)

    try:
        assert child.stderr is not None
        if child.stderr.readline().strip() != "ready":
            end()
        yield end
    finally:
        if child.poll() is None:
            child.kill()
            child.communicate()


def _check(told: Mapping[str, Any]) -> None:
    """That every packet was forwarded by the program, which saw nothing else."""
    if not told:
        return
    counters = {n: c for n, c in told["counters"].items() if n != "verdict.redirect"}
    if set(counters) != {"forwarded4"}:
        raise Refused(f"not all was forwarded: {counters}")


def _wait_for_links(peer: Testpmd) -> None:
    end = time.monotonic() + _LINK_SECONDS
    while peer.ask("show port info all").count("Link status: up") != 2:
        if time.monotonic() > end:
            raise Refused("the memif links do not come up")
        time.sleep(0.05)


def _measure(settings: Settings, forwarder: Forwarder) -> Sample:
    with tempfile.TemporaryDirectory(prefix="wpbench") as folder:
        links = [
            f"socket={Path(folder) / f'{n}.sock'},socket-abstract=no,id={n},rsize=10"
            for n in range(2)
        ]
        ours, theirs = (
            [f"net_memif{n},role={role},{link}" for n, link in enumerate(links)]
            for role in ("server", "client")
        )
        peer_words = _command("wpbench-a", theirs, "flowgen", settings.cpus[0])
        with forwarder(ours) as end, Testpmd(peer_words) as peer:
            _wait_for_links(peer)
            peer.ask("start")
            time.sleep(_WARM_UP)
            first, began = _received(peer)
            time.sleep(settings.seconds)
            last, ended = _received(peer)
            peer.ask("stop")
            told = end()
    _check(told)
    if last == first:
        raise Refused("nothing came back")
    return Sample({"rate": (last - first) / (ended - began)}, told.get("port", {}))


@contextmanager
def _open(settings: Settings) -> Iterator[Mapping[str, Contestant | Unavailable]]:
    import wirepath as wp  # noqa: PLC0415 -- --list and --help need no built package

    two_processors(settings)
    status = next(b for b in wp.backends() if b.name == "dpdk")
    if not status.available:
        raise Unavailable(f"dpdk: {status.reason} ({status.mend})")
    command("wpbench", "net_null0", "io", 0, _BATCH)  # whether there is a testpmd
    if not PREFIXES.exists():
        raise Unavailable(
            f"no table of prefixes at {PREFIXES} (a file with one prefix a line, gzip, in "
            "WIREPATH_BENCH_PREFIXES)"
        )
    yield {
        "testpmd io": partial(_measure, settings, partial(_io, settings)),
        "router": partial(_measure, settings, partial(_router, settings)),
    }


ROUTE_MEMIF = Group(
    "router over memif",
    (
        Line(
            "route_memif",
            "plane user with the full table, in and out of two DPDK memif ports, against "
            "dpdk-testpmd io on such two",
            "packets/s",
            "router",
            "testpmd io",
            note="1,024 flows of testpmd's flowgen, which makes and counts them on one processor; "
            "io looks at no packet and changes none",
        ),
    ),
    _open,
)
