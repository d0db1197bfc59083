"""Taps in the driver: the frames of an interface before and after the XDP programs on it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from .. import _core
from ..errors import DeviceBusy
from ..programs import Chain, Program
from ._source import Source

#: Longest piece of a frame that the taps copy, bytes (TAP_MAX_COPY of tap_shared.h).
MAX_COPY = 9216
# What a filter is given to look at, also where less is kept: headers, tunnels among them.
_FOR_THE_FILTER = 512

_IN_THE_WAY = (
    "{error}\nAn interface can be tapped where its XDP programs stand in a wirepath chain. Where a "
    "port of a wirepath process holds it, capture that port: wirepath capture PID; where another "
    "program does, its own tools show what it sees (xdpdump attaches to a program, not beside it)"
)


@contextmanager
def taps_of(
    interface: str,
    mode: str,
    *,
    where: str,
    snap_length: int,
    ring_bytes: int,
    program: bytes,
) -> Iterator[list[Source]]:
    """Taps on ``interface`` for the length of a block, as sources. where: ``"before"``,
    ``"after"`` the other programs of its chain, or ``"both"``. program: classic BPF, b"" = all.

    Raises :class:`~wirepath.errors.DeviceBusy` where a program that is in no chain of ours has the
    interface, or another process captures it.
    """
    copy = min(max(snap_length, _FOR_THE_FILTER) if program else snap_length, MAX_COPY)
    try:
        chain = Chain(interface, mode)
    except DeviceBusy as error:
        raise DeviceBusy(_IN_THE_WAY.format(error=error)) from None
    with chain:
        options = {"config": {"copy": copy}, "entries": {"tap_frames": ring_bytes}}
        taps: list[tuple[str, Program]] = []
        if where in ("after", "both"):
            _refuse_a_second(chain, "exit.drop")
            taps.append(("after", chain.add_exit_tap("tap_exit", **options)[0]))
        if where in ("before", "both"):
            _refuse_a_second(chain, "tap")
            taps.insert(0, ("before", chain.add("tap", "tap", **options)))
        sources = []
        for at, tap in taps:
            native = _core.RingBufferSource(
                tap.native.map_fd("tap_frames"), ring_bytes, snap_length, program
            )
            sources.append(_source(native, tap, chain, at))
        yield sources


def _refuse_a_second(chain: Chain, name: str) -> None:
    there = next((slot for slot in chain.slots() if slot.slot == name), None)
    if there is not None:
        raise DeviceBusy(
            f"{chain.interface} is captured by process {there.pid} already (end that one first)"
        )


def _source(native: _core.RingBufferSource, tap: Program, chain: Chain, at: str) -> Source:
    return Source(
        native,
        f"{chain.interface}:{at}",
        f"XDP tap {at} the other programs of {chain.interface}, {chain.mode} mode",
        partial(_counts, tap),
        lambda: native.set_lost(tap.counters()["lost"]),
    )


def _counts(tap: Program) -> tuple[int | None, int | None, str]:
    """What came to the tap; what the NIC lost before is not known here."""
    return tap.counters()["seen"], None, ""
