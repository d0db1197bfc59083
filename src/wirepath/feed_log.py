# SPDX-License-Identifier: Apache-2.0
"""Happenings of a channel as events of the log."""

from __future__ import annotations

from . import logs
from .feed.events import EndOfSession, Gap, GapAbandoned, Reset, SessionChange
from .feed_watch import Happening, Missed, Recovered, Trouble


def tell(channel: str, happening: Happening) -> None:
    """Log one happening of a channel."""
    match happening:
        case GapAbandoned(first, last, reason, unit):
            logs.emit(
                "feed.gap_abandoned",
                channel=channel,
                first=first,
                last=last,
                reason=reason,
                unit=unit,
            )
        case Gap(first, last, unit):
            logs.emit("feed.gap", channel=channel, first=first, last=last, unit=unit)
        case Recovered(messages):
            logs.emit("feed.recovered", channel=channel, messages=messages)
        case Reset():
            logs.emit("feed.reset", channel=channel, next_sequence=happening.next)
        case SessionChange(before, after):
            logs.emit("feed.session_changed", channel=channel, before=before, after=after)
        case EndOfSession():
            logs.emit(
                "feed.session_ended",
                channel=channel,
                last=happening.next - 1,
                unit=happening.unit,
            )
        case Missed(kind, events):
            logs.emit("feed.events_missed", channel=channel, kind=kind, events=events)
        case Trouble(server, ""):
            logs.emit("recovery.server_answers", channel=channel, server=server)
        case Trouble(server, text):
            logs.emit("recovery.server_failed", channel=channel, server=server, error=text)
