# SPDX-License-Identifier: Apache-2.0
"""The router in user space in and out of DPDK memif, against dpdk-testpmd on the same two ports.

The peer is a testpmd with the first processor that makes packets of 1,024 flows (flowgen), sends
them into both links and counts what comes back; its counters give the figures. Between its ports
stands, on the second processor, the router with the full table, or a testpmd that looks at no
packet and sends what comes from one port out of the other (io).

Whoever of the two is slower sets the rate. The peer tells which it is: where the forwarder is, its
links are full at times, and testpmd counts the packets that it could not send.
"""

from __future__ import annotations

import itertools
import re
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
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
_READY_SECONDS = 120  # with the full table
_END_SECONDS = 60
_SPELLS = 5  # of one run, whose median counts: either processor may be somebody else's for a while
_HARDLY = 0.01  # share of packets refused, under which the peer was the slower one
_RECEIVED = re.compile(r"RX-packets: *(\d+)")
_SENT = re.compile(r"TX-packets: *(\d+) +TX-dropped: *(\d+)")


@dataclass(frozen=True)
class _Forwarding:
    """processor: seconds of it that who forwards has had. end: ends it, and gives what it tells."""

    processor: Callable[[], float]
    end: Callable[[], Mapping[str, Any]]


# Forwards between two devices, given with their arguments.
Forwarder = Callable[[list[str]], AbstractContextManager[_Forwarding]]


@dataclass(frozen=True)
class _Counts:
    """At a time. received, sent, refused: by the peer. processor: seconds, of the forwarder's."""

    at: float
    received: int
    sent: int
    refused: int
    processor: float


def _command(name: str, devices: list[str], mode: str, cpu: int) -> list[str]:
    words = command(name, devices[0], mode, cpu, _BATCH)
    words.insert(words.index(f"--vdev={devices[0]}") + 1, f"--vdev={devices[1]}")
    words[words.index("--port-topology=loop")] = "--port-topology=paired"
    return words


def _counts(peer: Testpmd, forwarding: _Forwarding) -> _Counts:
    """Of both ports of the peer, and of the forwarder."""
    told = peer.ask("show fwd stats all").partition("Accumulated")[2]
    tries = _SENT.search(told)
    received = [int(n) for n in _RECEIVED.findall(peer.ask("show port stats all"))]
    at = time.monotonic()
    if len(received) != 2 or tries is None:
        raise Refused("testpmd does not tell what its two ports sent and received")
    return _Counts(at, sum(received), int(tries[1]), int(tries[2]), forwarding.processor())


@contextmanager
def _io(settings: Settings, devices: list[str]) -> Iterator[_Forwarding]:
    with Testpmd(_command("wpbench-b", devices, "io", settings.cpus[1])) as program:
        program.ask("start")
        yield _Forwarding(program.processor_seconds, dict)


@contextmanager
def _router(settings: Settings, devices: list[str]) -> Iterator[_Forwarding]:
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
    with process.running(child):
        process.wait_ready("wirepath", child, _READY_SECONDS)
        yield _Forwarding(
            partial(process.processor_seconds, child.pid),
            partial(process.finish, "wirepath", child, _END_SECONDS),
        )


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


def _sample(who: str, counts: list[_Counts], port: Mapping[str, Any]) -> Sample:
    """The median rate of the spells between the counts; of the processor's time all of them."""
    first, last = counts[0], counts[-1]
    if last.received == first.received or last.sent == first.sent:
        raise Refused(f"{who}: nothing came back")
    spells = itertools.pairwise(counts)
    rate = statistics.median((b.received - a.received) / (b.at - a.at) for a, b in spells)
    core = (last.received - first.received) / (last.processor - first.processor)
    refused = last.refused - first.refused
    share = refused / (last.sent - first.sent + refused)
    note = f"{who}: its links had no room for {share:.0%} of the peer's packets"
    if share < _HARDLY:
        note = f"{who}: its links had room at all times, so that the peer is the slower one"
    gone = 1 - (last.received - first.received) / (last.sent - first.sent)
    if gone > _HARDLY:  # more than are under way when counters are read
        note += f", and {gone:.0%} of what they took did not come back"
    return Sample({"rate": rate, "core": core}, port, note)


def _measure(settings: Settings, who: str, forwarder: Forwarder) -> Sample:
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
        with forwarder(ours) as forwarding, Testpmd(peer_words) as peer:
            _wait_for_links(peer)
            peer.ask("start")
            time.sleep(_WARM_UP)
            counts = [_counts(peer, forwarding)]
            for _ in range(_SPELLS):
                time.sleep(settings.seconds)
                counts.append(_counts(peer, forwarding))
            peer.ask("stop")
            told = forwarding.end()
    _check(told)
    return _sample(who, counts, told.get("port", {}))


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
        name: partial(_measure, settings, name, partial(who, settings))
        for name, who in (("testpmd io", _io), ("router", _router))
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
            "io looks at no packet and changes none; needs both processors undisturbed; median of "
            "five spells of --seconds",
        ),
        Line(
            "route_memif_core",
            "the same per second of the forwarder's processor time, in which it also waits where "
            "the peer is the slower one",
            "packets/s",
            "router",
            "testpmd io",
            "core",
            note="hardly moves when others want the forwarder's processor",
        ),
    ),
    _open,
)
