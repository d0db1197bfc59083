"""What happened in a channel, from looks at its counters and state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, TypeAlias

from .feed.events import EndOfSession, Gap, GapAbandoned, Reset, SessionChange

Known: TypeAlias = dict[int, list[tuple[int, int]]]


class Recovered(NamedTuple):
    """So many messages came by retransmission since the last look."""

    messages: int


class Missed(NamedTuple):
    """So many events of ``kind`` were over before they were looked at."""

    kind: str
    events: int


class Trouble(NamedTuple):
    """A server of recovery does not do what it should; ``text`` empty: it does again."""

    server: str
    text: str


Happening: TypeAlias = (
    Gap | GapAbandoned | Reset | SessionChange | EndOfSession | Recovered | Missed | Trouble
)


class FeedEvent(NamedTuple):
    """Something that happened in a channel. time: when it was seen, ns since the Unix epoch."""

    channel: str
    time: int
    event: Happening


class ChannelWatch:
    """Events of one channel out of its snapshots, in no closer order than these were taken.

    A gap that was filled between two looks is no event of its own; the counters have it.
    """

    def __init__(self) -> None:
        self._gaps: Known = {}
        self._abandoned = self._resets = self._recovered = 0
        self._sessions: dict[int, bytes] = {}
        self._ended: set[int] = set()
        self._troubles: dict[str, str] = {}
        self.covered = 0
        """Numbers given up because a snapshot had them, as far as they were seen."""

    def look(
        self, snapshot: Mapping[str, Any], servers: Mapping[str, Mapping[str, Any]] | None = None
    ) -> list[Happening]:
        """What is new in the snapshot, and in the state of the channel's servers."""
        out: list[Happening] = []
        counters = snapshot["counters"]
        for unit in snapshot["state"]:
            out += self._unit(unit)
        resets = counters["resets"] - self._resets
        if resets > 0:
            first = snapshot["state"][0] if snapshot["state"] else {"next_sequence": 0, "unit": 0}
            out += [Reset(first["next_sequence"], "")] * min(resets, 1)
            out += [Missed("reset", resets - 1)] if resets > 1 else []
        self._resets = counters["resets"]
        total = counters["gaps_abandoned"]
        if total > self._abandoned:
            new = total - self._abandoned
            told = snapshot["abandoned"][-new:]
            out += [GapAbandoned(*each) for each in told]
            self.covered += sum(b - a + 1 for a, b, reason, _ in told if reason == "snapshot")
            out += [Missed("gap abandoned", new - len(told))] if new > len(told) else []
            self._abandoned = total
        if counters["recovered"] > self._recovered:
            out.append(Recovered(counters["recovered"] - self._recovered))
            self._recovered = counters["recovered"]
        for name, status in (servers or {}).items():
            text = str(status["trouble"])
            if text != self._troubles.get(name, ""):
                self._troubles[name] = text
                out.append(Trouble(f"{name} {status['server']}", text))
        return out

    def _unit(self, unit: Mapping[str, Any]) -> list[Happening]:
        out: list[Happening] = []
        number = unit["unit"]
        before = self._sessions.get(number, b"")
        if unit["session"] != before:
            if before:
                out.append(SessionChange(_text(before), _text(unit["session"])))
            self._sessions[number] = unit["session"]
            self._gaps.pop(number, None)
        known = self._gaps.get(number, [])
        for first, last in unit["gaps"]:
            if not any(a <= first and last <= b for a, b in known):
                out.append(Gap(first, last, number))
        self._gaps[number] = list(unit["gaps"])
        if unit["ended"] and number not in self._ended:
            self._ended.add(number)
            out.append(EndOfSession(unit["highest"], number))
        elif not unit["ended"]:
            self._ended.discard(number)
        return out


def _text(session: bytes) -> str:
    return session.decode("latin-1").rstrip()
