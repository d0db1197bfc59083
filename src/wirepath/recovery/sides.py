"""What the protocols of recovery stand between: a channel of the feed, and a connection."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from ..errors import DeviceBusy
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

    def hold(self, until: int) -> None:
        """A snapshot is under way: what is missing is neither asked for nor given up before that
        time; 0: it is over."""

    def inject(self, message: bytes, seq: int, recv_time: int) -> bool:
        """A message of a snapshot; False: no room for it now."""

    def skip_to(self, next_sequence: int, unit: int = 0) -> None:
        """A snapshot has everything before that number."""

    def snapshot(self) -> dict[str, Any]:
        """Counters and state."""


class Notes:
    """What a channel is to be told, in order; kept while its mailbox has no room.

    Of more than ``most`` the oldest are dropped, and counted in ``dropped``: recovery then asks
    again, and gives up in its own time.
    """

    def __init__(self, channel: Channel, most: int = 1024) -> None:
        self._channel = channel
        self._most = most
        self._kept: deque[Callable[[], None]] = deque()
        self.dropped = 0

    def refuse(self, first: int, last: int, unit: int = 0) -> None:
        """As :meth:`Channel.refuse`."""
        self._add(lambda: self._channel.refuse(first, last, unit))

    def pause(self, until: int) -> None:
        """As :meth:`Channel.pause`."""
        self._add(lambda: self._channel.pause(until))

    def _add(self, tell: Callable[[], None]) -> None:
        if len(self._kept) == self._most:
            self._kept.popleft()
            self.dropped += 1
        self._kept.append(tell)
        self.flush()

    def flush(self) -> None:
        """Tell as much as there is room for."""
        while self._kept:
            try:
                self._kept[0]()
            except DeviceBusy:
                return  # at the next look
            self._kept.popleft()

    def __len__(self) -> int:
        return len(self._kept)


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
