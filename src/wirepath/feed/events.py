"""What a session says of the datagrams that it was given.

``unit`` is the independent sequence within the line that an event belongs to: Cboe has several,
the others none (0).
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


class Reset(NamedTuple):
    """The sequence began anew at ``next``, in the same session: books are void.

    cause: "announced" by the venue, or told by a "heartbeat" that went back.
    """

    next: int
    cause: str
    unit: int = 0


class SessionChange(NamedTuple):
    """Packets carry another session identifier now; sequence state began anew."""

    old: str
    new: str
