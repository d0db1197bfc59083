"""What a session or an arbiter says of the datagrams that it was given.

``unit``: the independent sequence within the channel that an event is of, where a venue has
several; else 0.
"""

from __future__ import annotations

from typing import NamedTuple


class Message(NamedTuple):
    """One message of the stream. ``late``: it came after a higher sequence number.
    ``retransmitted``: its packet says that it repeats what was sent before. ``seq`` 0: it is in
    no sequence."""

    seq: int
    data: bytes
    recv_time: int
    late: bool
    unit: int = 0
    retransmitted: bool = False


class Gap(NamedTuple):
    """Messages ``first`` to ``last`` (both inclusive) exist and have not arrived."""

    first: int
    last: int
    unit: int = 0


class Heartbeat(NamedTuple):
    """The line is alive; ``next`` is the sequence number that the next message will have, 0 where
    that is not told."""

    next: int
    unit: int = 0


class EndOfSession(NamedTuple):
    """No more messages will be sent; ``next`` is one past the last."""

    next: int
    unit: int = 0


class SessionChange(NamedTuple):
    """Packets carry another session identifier now; sequence state began anew."""

    old: str
    new: str


class Delivered(NamedTuple):
    """One message out of an arbiter.

    seq: 64 bits wide, whatever the venue sends, and never rolling over; 0: outside the sequence.
    line: the one that brought it first. flags: :class:`wirepath.RecordFlag` LATE and RECOVERED.
    send_time: the venue's, of the packet, ns since the Unix epoch; 0: not told.
    """

    seq: int
    data: bytes
    recv_time: int
    line: int
    flags: int
    unit: int
    send_time: int


class GapAbandoned(NamedTuple):
    """Messages ``first`` to ``last`` (both inclusive) will not be delivered any more.

    reason: "timeout", "buffer full", "too many gaps", "session change", "reset", or recovery's
    "attempts", "deadline", "refused"; "snapshot" where one has them.
    """

    first: int
    last: int
    reason: str
    unit: int = 0


class Reset(NamedTuple):
    """The sequence began anew at ``next``: books are void.

    cause: "announced" by the venue, or told by a "heartbeat" or "data" that went back.
    """

    next: int
    cause: str
    unit: int = 0


class Request(NamedTuple):
    """``messages`` messages from ``first`` on, to ask for: ``packet`` is to be sent to the venue's
    server. attempt: from 1."""

    first: int
    messages: int
    attempt: int
    unit: int
    packet: bytes
