"""Several lines of one channel as one sequence of messages, and what none of them brought."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .. import _core
from .events import (
    Delivered,
    EndOfSession,
    Gap,
    GapAbandoned,
    Heartbeat,
    Request,
    Reset,
    SessionChange,
)

Buffer: TypeAlias = bytes | bytearray | memoryview | NDArray[np.uint8]
Event: TypeAlias = Delivered | Gap | GapAbandoned | Heartbeat | EndOfSession | SessionChange | Reset


class Arbiter:
    """Lines that carry the same messages, put together message by message; without I/O.

    Lines may pack messages differently and lose, repeat and reorder packets; the first arrival of
    each message wins. Times are ns on one clock of the caller's. Memory is bounded and allocated
    here.

    framer: the session layer, ``"mold_udp64"``, ``"iex_tp"``, ``"pitch"``, ``"pillar"`` or
    ``"cme"``, whose messages are whole packets, for CME numbers these.
    lines, recovery_lines: how many carry the feed live (numbered from 0), and on how many more
    retransmissions come, whose messages are flagged RECOVERED and prove nothing.
    units: independent sequences within the channel, adopted as they come.
    in_order: hold messages beyond a gap until it is filled, or abandoned because ``hold_ns`` ran
    out or ``hold_messages`` or ``hold_bytes`` are in use; otherwise deliver as they come, with the
    LATE flag out of a gap. max_gaps: open at a time, one more abandons the oldest.
    session, next_sequence: as :attr:`state` gave them before a restart, or empty and 0: the first
    packet's. pin_session: drop packets of other sessions instead of following them.
    resumed: ``next_sequence`` is of an earlier run: a line that begins far below it is believed to
    be in a sequence that began anew meanwhile, as those that go back are; without, what is below is
    skipped.
    session_begin: the first number of a session that follows another, and of a sequence that
    begins anew without a word; what no line brought of its start is a gap then. 0: such a one
    begins with the first packet that comes, and so it does with a number further than
    ``max_jump`` from there. await_snapshot: such a session or sequence is held as a whole, behind
    the number before ``session_begin``, until :meth:`skip_to`, as long as a gap is.
    reorder_messages, reorder_ns, restart_packets: a heartbeat that goes back by more messages, or
    after a longer silence of its line, is a restart of the sender; so are that many packets of data
    in a row that go back by more messages (0: never). max_jump: a number further ahead is not
    believed until as many packets in a row say so.
    skew_packets: how many packets are remembered to measure how far lines are behind each other.

    Raises :class:`wirepath.ConfigError` naming the option.
    """

    def __init__(
        self,
        framer: str,
        *,
        lines: int = 2,
        recovery_lines: int = 0,
        units: int = 1,
        in_order: bool = True,
        hold_ns: int = 10_000_000,
        hold_messages: int = 65_536,
        hold_bytes: int = 8 << 20,
        max_gaps: int = 1024,
        session: bytes = b"",
        pin_session: bool = False,
        next_sequence: int = 0,
        session_begin: int = 0,
        resumed: bool = False,
        await_snapshot: bool = False,
        reorder_messages: int = 4096,
        reorder_ns: int = 100_000_000,
        restart_packets: int = 3,
        max_jump: int = 1 << 24,
        skew_packets: int = 512,
    ) -> None:
        self._native = _core.Arbiter.make(
            framer,
            lines=lines,
            recovery_lines=recovery_lines,
            units=units,
            in_order=in_order,
            hold_ns=hold_ns,
            hold_messages=hold_messages,
            hold_bytes=hold_bytes,
            max_gaps=max_gaps,
            session=session,
            pin_session=pin_session,
            next_sequence=next_sequence,
            session_begin=session_begin,
            resumed=resumed,
            await_snapshot=await_snapshot,
            reorder_messages=reorder_messages,
            reorder_ns=reorder_ns,
            restart_packets=restart_packets,
            max_jump=max_jump,
            skew_packets=skew_packets,
        )

    def on_packet(self, line: int, packet: Buffer, recv_time: int = 0) -> list[Event]:
        """One datagram's payload from a line; the events that it caused, in order."""
        return self._native.on_packet(line, packet, recv_time)

    def on_time(self, now: int) -> list[Event]:
        """Lets the hold timers run when no packet comes."""
        return self._native.on_time(now)

    def skip_to(self, next_sequence: int, now: int, unit: int = 0) -> list[Event]:
        """A snapshot has everything before ``next_sequence`` (as on the wire): what is missing of
        that is given up as "snapshot", what is held of it dropped (``superseded``), and the
        sequence goes on from there."""
        return self._native.skip_to(next_sequence, now, unit)

    @property
    def deadline(self) -> int | None:
        """When :meth:`on_time` will have something to do; None: not until a packet comes."""
        return self._native.deadline

    @property
    def state(self) -> list[dict[str, Any]]:
        """By unit: ``unit``, ``session``, ``next_sequence`` (the first number not delivered; what
        a restart goes on with), ``next_on_wire``, ``highest`` (one past the highest known),
        ``ended``, ``gaps`` (open, as (first, last)) and ``counters``."""
        return self._native.units

    @property
    def counters(self) -> dict[str, int]:
        """Over all units. delivered + empty + held + superseded + gap_open + abandoned is every
        number from the first expected; gap_messages = gap_filled + gap_open + abandoned."""
        return self._native.counters

    @property
    def lines(self) -> list[dict[str, int]]:
        """By line, live ones first: what became of its packets and messages, and what it lost
        itself (``missing`` of ``expected``)."""
        return self._native.lines

    def behind(self, line: int) -> _core.Histogram:
        """ns by which the line's packets came after another's that brought the same."""
        return self._native.behind(line)

    def skew(self, a: int = 0, b: int = 1, q: float = 0.5) -> int:
        """How far ``b`` is behind ``a``, ns, at quantile ``q`` over the packets of both; negative:
        ahead. For two lines."""
        return self._native.skew(a, b, q)


class Recovery:
    """Says what to request of a venue's server for an arbiter's gaps, and when to give up.

    venue: ``"mold_udp64"``, ``"iex"``, ``"pitch"`` or ``"nyse"`` (which needs source_id, product_id
    and channel_id). Options, all of them named; those not given are the venue's or the defaults:
    ``hold_ns`` (age of a gap before the first request), ``retry_ns``, ``max_retry_ns`` (wait for an
    answer, doubled each time), ``max_attempts`` (in a row that brought nothing), ``deadline_ns``
    (age at which a gap is given up), ``max_per_request``, ``coalesce`` (received messages asked for
    again to save a request), ``max_in_flight``, ``continue_at_once``, ``per_second``,
    ``per_minute``, ``per_day`` (requests; 0: no limit).

    The arbiter's hold_ns should be longer than deadline_ns, or it gives up first.
    """

    def __init__(
        self,
        venue: str,
        *,
        source_id: str = "",
        product_id: int = 0,
        channel_id: int = 0,
        **options: int,
    ) -> None:
        self._native = _core.Recovery(venue, source_id, product_id, channel_id, options)

    def poll(self, arbiter: Arbiter, now: int) -> tuple[list[Request], list[Event]]:
        """Requests to send now, and the arbiter's events for what was given up. To be called
        after packets and when :attr:`deadline` is reached."""
        return self._native.poll(arbiter._native, now)

    def refuse(self, first: int, last: int, unit: int = 0) -> None:
        """The server will not send these: given up at the next poll."""
        self._native.refuse(first, last, unit)

    def pause(self, until: int) -> None:
        """The server counts too many requests: none before ``until``."""
        self._native.pause(until)

    def resume(self, requests_in_day: int, now: int) -> None:
        """After a restart: how many requests :meth:`requests_in_day` had counted."""
        self._native.resume(requests_in_day, now)

    def requests_in_day(self, now: int) -> int:
        """Requests of the last 24 hours, where the venue limits them."""
        return self._native.requests_in_day(now)

    @property
    def deadline(self) -> int | None:
        """When :meth:`poll` will have something to do without a packet; None: never."""
        return self._native.deadline

    @property
    def counters(self) -> dict[str, int]:
        """``requests``, ``requested`` (messages), ``retries``, ``continued``, ``refused``,
        ``abandoned`` (messages), ``ranges_abandoned``, ``waited``."""
        return self._native.counters
