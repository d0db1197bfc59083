"""A GLIMPSE snapshot over SoupBinTCP, put into the feed at the number that it ends with.

Source: Nasdaq GLIMPSE 5.0. The server sends the state as ordinary ITCH messages and then ``G`` with
the number from which the live feed goes on. Nothing is injected before the snapshot is complete, so
that one whose connection breaks leaves no half behind; meanwhile the channel holds what is live.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from .._core import SoupBinTCP
from ..errors import DeviceBusy
from ..feed.events import (
    ConnectionLost,
    EndOfSession,
    LoginAccepted,
    LoginRejected,
    Message,
    Request,
)
from .sides import SECOND, Channel, Counters

# No more messages than that between two looks at the sockets.
_BURST = 4096
# How long the live feed may take to come to where a snapshot ends: a heartbeat tells at the latest.
_PATIENCE = 3 * SECOND
_MOST_BYTES = 1 << 30


class Glimpse:
    """Snapshots of one channel, when they are asked for (:meth:`begin`).

    session: makes the SoupBinTCP session of one attempt. deadline: ns after which the channel is
    left alone with what it has, unless the snapshot is complete by then.
    """

    def __init__(
        self, channel: Channel, session: Callable[[], SoupBinTCP], *, deadline: int = 60 * SECOND
    ) -> None:
        self._channel, self._session = channel, session
        self._deadline = deadline
        self._soup: SoupBinTCP | None = None
        self._held = bytearray()  # messages, each behind its length of two bytes
        self._at = 0  # of the next one to inject
        self._next = 0  # the number that the live feed goes on from; 0: not told yet
        self._until = 0
        self._held_until = 0  # what the channel was told, 0: nothing
        self._complete = 0  # when it was
        self._highest: Callable[[], int] | None = None
        self._failed = ""
        self.under_way = False
        self.next_sequence = 0
        self.counters: Counters = dict.fromkeys(
            (
                "begun",
                "done",
                "broken",
                "outdated",
                "given_up",
                "injected",
                "rejected_logins",
                "too_large",
            ),
            0,
        )

    def begin(self, now: int, highest: Callable[[], int] | None = None) -> None:
        """A snapshot is wanted; one under way is begun anew.

        highest: of a feed that began anew, one past the highest number that it has come to. A
        snapshot that ends above that is of what was before (``outdated``), and taken again.
        """
        self.under_way = True
        self._highest = highest
        self._until = now + self._deadline
        self.counters["begun"] += 1
        self._forget()
        self._held_until = -1  # what it was told for one before does not count for this
        self._hold()
        if self._soup is not None:
            self._failed = "a newer snapshot is wanted"

    def _hold(self) -> None:
        """The channel waits as long as a snapshot is under way. It is told once: to go on waiting
        must not depend on when this thread gets its next turn."""
        until = self._until if self.under_way else 0
        if until != self._held_until:
            with contextlib.suppress(DeviceBusy):  # no room in its mailbox: at the next look
                self._channel.hold(until)
                self._held_until = until

    def _forget(self) -> None:
        self._held.clear()
        self._at = self._next = self._complete = 0

    # --- the connection --------------------------------------------------------------------
    @property
    def wanted(self) -> bool:
        return self.under_way and self._next == 0

    @property
    def reading(self) -> bool:
        return True

    @property
    def failed(self) -> str:
        return self._failed

    @property
    def ready(self) -> bool:
        """Logged in."""
        return self._soup is not None and self._soup.state == "open"

    def connected(self, now: int) -> None:
        self._failed = ""
        self._forget()
        self._soup = self._session()
        self._soup.connected(now)

    def disconnected(self) -> None:
        self._soup = None
        self._failed = ""
        if self.under_way and self._next == 0:
            self.counters["broken"] += 1
            self._forget()

    def output(self) -> bytes:
        return self._soup.output() if self._soup is not None else b""

    def request(self, request: Request) -> bool:
        """A snapshot server knows no requests."""
        del request
        return False

    def on_bytes(self, data: bytes, now: int) -> None:
        if self._soup is None or self._next:
            return
        for event in self._soup.on_bytes(data, now):
            if isinstance(event, Message):
                self._message(event.data)
                if self._next:
                    self._soup.logout(now)
                    return
            else:
                self._told(event)

    def _message(self, data: bytes) -> None:
        if data[:1] == b"G" and len(data) == 21:
            digits = data[1:].strip(b" ")
            number = int(digits) if digits.isdigit() else 0
            if not 0 < number < 1 << 64:
                self._failed = "its last message has no sequence number"
                return
            self._next = number
        elif len(self._held) + len(data) > _MOST_BYTES:
            self.counters["too_large"] += 1
            self._failed = "the snapshot is too large"
        else:
            self._held += len(data).to_bytes(2, "big") + data

    def _told(self, event: object) -> None:
        match event:
            case LoginRejected(reason):
                self.counters["rejected_logins"] += 1
                self._failed = f"login rejected ({reason})"
            case EndOfSession():
                self._failed = "the session ended before the snapshot did"
            case ConnectionLost(reason):
                self._failed = f"the server is gone ({reason})"
            case LoginAccepted() | _:
                pass

    def on_time(self, now: int) -> None:
        if self._soup is not None:
            for event in self._soup.on_time(now):
                self._told(event)
        if self.under_way:
            if self._next and self._is_of_this(now):
                self._go_on(now)
                self._inject(now)
            elif now >= self._until:
                self.under_way = False
                self.counters["given_up"] += 1
                self._forget()
                self._failed = "the snapshot took too long"
        self._hold()

    def _go_on(self, now: int) -> None:
        """Once complete, a snapshot is injected as fast as the ring is emptied, and until then
        nothing that is live may come between."""
        if now >= self._until - self._deadline // 2:
            self._until = now + self._deadline
        self._hold()

    def _is_of_this(self, now: int) -> bool:
        """The feed has come to where the snapshot ends."""
        if self._at != 0 or self._highest is None or self._next <= self._highest():
            return True
        self._complete = self._complete or now
        if now - self._complete >= _PATIENCE:
            self.counters["outdated"] += 1
            self._forget()
        return False

    def _inject(self, now: int) -> None:
        if self._held_until != self._until:
            return  # the channel is not told yet to take it
        held, at = self._held, self._at
        for _ in range(_BURST):
            if at == len(held):
                break
            size = int.from_bytes(held[at : at + 2], "big")
            if not self._channel.inject(bytes(held[at + 2 : at + 2 + size]), 0, now):
                break  # the data path takes them as the ring has room
            self.counters["injected"] += 1
            at += 2 + size
        self._at = at
        if at == len(held):
            try:
                self._channel.skip_to(self._next)
            except DeviceBusy:
                return  # no room in its mailbox: at the next look
            self.next_sequence = self._next
            self.under_way = False
            self.counters["done"] += 1
            self._forget()
