# SPDX-License-Identifier: Apache-2.0
"""The router between three namespaces: packets a second against the kernel's own forwarding, the
highest rate without loss, and updates of the tables while it forwards.

Making, forwarding and counting a packet are the work of one processor, for whoever forwards: on a
veth the sender's softirq carries a packet to its end. The other processor is the writer's.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial

from . import route_path_lab
from .harness import Contestant, Group, Line, Refused, Sample, Settings, Unavailable, two_processors
from .route_path_lab import PathLab, Sent
from .route_writer import Writer

_PLANES = ("kernel", "xdp", "xdp-kernel-fib")
_LOWEST, _HIGHEST = 1_000.0, 6_000_000.0
_RESOLUTION = 0.03
_BEHIND = 0.05  # of a trial that a sender may be late at its end, held up by others on the machine
_TRIES = 3  # of a trial in which nothing was lost, and the sender alone was late


def _whole(sent: Sent) -> Sent:
    """What was measured, if nothing that the router took is missing, or was left to the kernel."""
    if sent.lost:
        raise Refused(f"{sent.lost:,} of {sent.packets - sent.refused:,} packets were lost")
    return _ours(sent)


def _ours(sent: Sent) -> Sent:
    """What was measured, if no packet arrived that the plane had left to the kernel."""
    if sent.by_host:
        raise Refused(f"{sent.by_host:,} of {sent.arrived:,} packets were left to the kernel")
    return sent


def _note(sent: Sent) -> str:
    return "the ring of the router's interface was full at times" if sent.refused else ""


def _rate(lab: PathLab, plane: str) -> Sample:
    with lab.on(plane):
        sent = _whole(lab.send(lab.settings.seconds))
    return Sample(sent.figures, note=_note(sent))


def _zero_loss(lab: PathLab, plane: str) -> Sample:
    """RFC 2544, section 26.1, with trials of half of the time of the other lines.

    The figure is what the sender really sent a second in the best trial, not what it was asked to.
    """
    from wirepath.bench.result import Trial  # noqa: PLC0415 -- --list needs no built package
    from wirepath.bench.zero_loss import Search, search  # noqa: PLC0415

    seconds = max(0.1, lab.settings.seconds / 2)
    tries = 0
    really: dict[float, float] = {}  # packets a second, by the rate that was asked for

    def trial(rate: float) -> Trial:
        nonlocal tries
        for _ in range(_TRIES):
            tries += 1
            sent = _ours(lab.send(seconds, rate))
            lost = sent.packets - sent.arrived
            late = sent.seconds - sent.packets / rate > _BEHIND * seconds
            really[rate] = sent.figures["rate"]
            if lost or not late:
                break
        passed = not lost and not late
        return Trial(rate=rate, planned=sent.packets, lost=lost, sender_late=late, passed=passed)

    with lab.on(plane):
        found = search(trial, Search(_LOWEST, _HIGHEST, _RESOLUTION, seconds))
    if found.rate is None:
        raise Refused(f"{plane}: packets are lost or late at {_LOWEST:g} a second")
    note = (
        f"{plane}: {really[found.rate]:,.0f} a second sent where {found.rate:,.0f} were asked for, "
        f"limit {found.limit}, {len(found.trials)} trials of {seconds:g} s in {tries} tries"
    )
    return Sample({"rate": really[found.rate]}, note=note)


def _updated(lab: PathLab, *, writes: bool, sends: bool) -> Sample:
    """Packets with the writer or without, or the writer alone (updates: a second)."""
    writer = Writer(lab.tables.fib4, lab.routes, lab.settings.cpus[1])
    with lab.on("xdp"):
        if not writes:
            return Sample(_whole(lab.send(lab.settings.seconds)).figures)
        with writer:
            if sends:
                sent = _whole(lab.send(lab.settings.seconds))
            else:
                began = time.perf_counter()
                time.sleep(lab.settings.seconds)
                ended = time.perf_counter()
    if not sends:
        return Sample({"updates": writer.rate(began, ended)})
    # Of the time in which packets were sent: the sender's start and end are not in it.
    updates = writer.rate(sent.began, sent.began + sent.seconds)
    return Sample(sent.figures | {"updates": updates}, note=_note(sent))


def _check(settings: Settings) -> None:
    from wirepath import lab  # noqa: PLC0415
    from wirepath.programs import kernel  # noqa: PLC0415

    two_processors(settings)
    if why := kernel.unavailable_reason() or lab.unavailable_reason():
        raise Unavailable(why)


@contextmanager
def _open_small(settings: Settings) -> Iterator[Mapping[str, Contestant | Unavailable]]:
    _check(settings)
    with PathLab("wpbsmall", route_path_lab.small(), settings) as lab:
        yield {plane: partial(_rate, lab, plane) for plane in _PLANES}


@contextmanager
def _open_full(settings: Settings) -> Iterator[Mapping[str, Contestant | Unavailable]]:
    _check(settings)
    with PathLab("wpbfull", route_path_lab.full(), settings) as lab:
        yield {
            **{plane: partial(_rate, lab, plane) for plane in _PLANES},
            **{f"zero loss {plane}": partial(_zero_loss, lab, plane) for plane in _PLANES},
            "still": partial(_updated, lab, writes=False, sends=True),
            "updated": partial(_updated, lab, writes=True, sends=True),
            "writer": partial(_updated, lab, writes=True, sends=False),
        }


_PATH = (
    "one processor makes, forwards and counts every packet, in both; 60 bytes, each to the next "
    "of a list of addresses"
)
_RFC2544 = (
    "trials of half of --seconds; passed: every packet arrived, and the sender was late by at most "
    "5 % of the trial at its end; it shares its processor with the router, so that one that is too "
    "slow shows in a sender that is late; the rate is what was really sent"
)


_CORE = "of processor time: hardly moves when others want the processor"


def _line(name: str, what: str, ours: str, yardstick: str, **more: object) -> Line:
    return Line(name, what, "packets/s", ours, yardstick, **more)  # type: ignore[arg-type]


def _core(name: str, ours: str, yardstick: str, goal: float | None = None) -> Line:
    what = "the same per second of the processor's time"
    return Line(name, what, "packets/s", ours, yardstick, "core", goal, note=_CORE)


ROUTE_PATH_SMALL = Group(
    "router between namespaces, small table",
    (
        _line(
            "route_path_small",
            "plane xdp with 16 prefixes, against the kernel's forwarding",
            "xdp",
            "kernel",
            goal=2.0,
            note=_PATH,
        ),
        _core("route_path_small_core", "xdp", "kernel", 2.0),
        _line(
            "route_path_small_kernel_fib",
            "plane xdp-kernel-fib likewise",
            "xdp-kernel-fib",
            "kernel",
            note=_PATH,
        ),
    ),
    _open_small,
)

ROUTE_PATH = Group(
    "router between namespaces, full table",
    (
        _line(
            "route_path",
            "plane xdp with the full IPv4 table, addresses at random within prefixes, against the "
            "kernel's forwarding with the same table",
            "xdp",
            "kernel",
            goal=2.0,
            note=_PATH,
        ),
        _core("route_path_core", "xdp", "kernel", 2.0),
        _line(
            "route_path_kernel_fib",
            "plane xdp-kernel-fib likewise",
            "xdp-kernel-fib",
            "kernel",
            note=_PATH,
        ),
        _core("route_path_kernel_fib_core", "xdp-kernel-fib", "kernel"),
        _line(
            "route_zero_loss",
            "highest rate without loss by RFC 2544's search, plane xdp, against the kernel",
            "zero loss xdp",
            "zero loss kernel",
            note=_RFC2544,
        ),
        _line(
            "route_zero_loss_kernel_fib",
            "plane xdp-kernel-fib likewise",
            "zero loss xdp-kernel-fib",
            "zero loss kernel",
            note=_RFC2544,
        ),
        _line(
            "route_path_updated",
            "plane xdp while a writer changes prefixes at full speed, against without it",
            "updated",
            "still",
            note="refused if a packet is lost or goes to a next hop that is none of its own",
        ),
        _core("route_path_updated_core", "updated", "still"),
        Line(
            "route_path_updates",
            "that writer's updates while packets are forwarded, against without them",
            "updates/s",
            "updated",
            "writer",
            "updates",
            note="prefixes replaced, taken out and added in the tables that the program reads",
        ),
    ),
    _open_full,
)
