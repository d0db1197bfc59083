"""What the protocols of recovery stand between: a channel of the feed, and a connection."""

from __future__ import annotations

from typing import Any, Protocol

from ..feed.events import Request

Counters = dict[str, int]

SECOND = 1_000_000_000
DAY = 86_400 * SECOND


class Channel(Protocol):
    """The control thread's side of a channel, as :class:`wirepath.feed.FeedChannel` has it.

    Times are ns on the clock of the frames' receive timestamps.
    """

    def requests(self, max: int = 64) -> list[Request]:
        """What recovery wants to be sent now."""

    def reply(self, packet: bytes, recv_time: int) -> bool:
        """A datagram from the venue's server; False: no room for it now."""

    def refuse(self, first: int, last: int, unit: int = 0) -> None:
        """The server will not send these messages."""

    def pause(self, until: int) -> None:
        """No requests before that time, and what is missing waits; 0: requests again."""

    def inject(self, message: bytes, seq: int, recv_time: int) -> bool:
        """A message of a snapshot; False: no room for it now."""

    def skip_to(self, next_sequence: int, unit: int = 0) -> None:
        """A snapshot has everything before that number."""

    def snapshot(self) -> dict[str, Any]:
        """Counters and state."""


class Stream(Protocol):
    """A protocol over one TCP connection after another, without I/O."""

    counters: Counters

    def connected(self, now: int) -> None:
        """A connection stands."""

    def disconnected(self) -> None:
        """It ended, by either side."""

    def on_bytes(self, data: bytes, now: int) -> None:
        """What was read of it, cut anywhere."""

    def on_time(self, now: int) -> None:
        """Lets heartbeats, silences and deadlines be."""

    def request(self, request: Request) -> bool:
        """Ask for messages; False: not logged in."""

    def output(self) -> bytes:
        """Takes the bytes that are to be written now."""

    @property
    def wanted(self) -> bool:
        """A connection is wanted."""

    @property
    def ready(self) -> bool:
        """Logged in."""

    @property
    def reading(self) -> bool:
        """What comes can be taken now."""

    @property
    def failed(self) -> str:
        """Why the connection is to be closed; empty: it is not."""
