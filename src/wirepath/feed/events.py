"""What a session says of the datagrams that it was given."""

from __future__ import annotations

from typing import NamedTuple


class Message(NamedTuple):
    """One message of the stream. ``late``: it came after a higher sequence number."""

    seq: int
    data: bytes
    recv_time: int
    late: bool


class Gap(NamedTuple):
    """Messages ``first`` to ``last`` (both inclusive) exist and have not arrived."""

    first: int
    last: int


class Heartbeat(NamedTuple):
    """The line is alive; ``next`` is the sequence number that the next message will have."""

    next: int


class EndOfSession(NamedTuple):
    """No more messages will be sent; ``next`` is one past the last."""

    next: int


class SessionChange(NamedTuple):
    """Packets carry another session identifier now; sequence state began anew."""

    old: str
    new: str
