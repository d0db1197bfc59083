# SPDX-License-Identifier: Apache-2.0
"""``wp.feed.SoupBinTCP``: a whole life of a session, and what is refused."""

from __future__ import annotations

import struct

import pytest

import wirepath as wp
from wirepath.feed import events

SECOND = 1_000_000_000


def packet(kind: bytes, payload: bytes = b"") -> bytes:
    return struct.pack(">H", 1 + len(payload)) + kind + payload


def kinds(got: list[object]) -> list[object]:
    """With their kinds: as tuples, events are equal to events of another kind."""
    return [(type(e), e) for e in got]


def accepted(session: bytes, number: int) -> bytes:
    return packet(b"A", session.rjust(10) + str(number).encode().rjust(20))


def test_a_session_over_two_connections():
    soup = wp.feed.SoupBinTCP(username="user", password="secret", next_sequence=5)
    assert soup.state == "idle"
    soup.connected(0)
    assert soup.output() == packet(b"L", b"user  secret    " + b" " * 10 + b"5".rjust(20))
    assert soup.output() == b""
    stream = accepted(b"DAY1", 5) + packet(b"S", b"five") + packet(b"U", b"news") + packet(b"H")
    got = [e for at in range(len(stream)) for e in soup.on_bytes(stream[at : at + 1], at)]
    assert kinds(got) == kinds(
        [
            events.LoginAccepted("DAY1", 5),
            events.Message(5, b"five", 39, False),
            events.Message(0, b"news", 46, False),
            events.Heartbeat(6),
        ]
    )
    assert (soup.state, soup.session, soup.next_sequence) == ("open", "DAY1", 6)
    assert soup.deadline == SECOND
    assert soup.on_time(SECOND) == []
    assert soup.output() == packet(b"R")
    assert kinds(soup.on_time(16 * SECOND)) == kinds([events.ConnectionLost("silence")])
    soup.disconnected()

    soup.connected(20 * SECOND)
    assert soup.output()[19:] == b"DAY1".rjust(10) + b"6".rjust(20)
    stream = accepted(b"DAY1", 8) + packet(b"+", b"late start") + packet(b"Z")
    assert kinds(soup.on_bytes(stream, 20 * SECOND)) == kinds(
        [
            events.LoginAccepted("DAY1", 8),
            events.Gap(6, 7),
            events.Debug("late start"),
            events.EndOfSession(8),
        ]
    )
    soup.connected(21 * SECOND)
    assert soup.on_bytes(packet(b"J", b"A"), 21 * SECOND) == [events.LoginRejected("A")]
    assert soup.state == "rejected"
    assert soup.deadline is None
    counters = soup.counters
    assert counters["packets"] == 8 and counters["logins"] == 3 and counters["messages"] == 1


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"username": "toolong"}, "username"),
        ({"password": "x" * 11}, "password"),
        ({"session": "x" * 11}, "session"),
        ({"heartbeat_ns": 0}, "heartbeat_ns"),
        ({"timeout_ns": SECOND}, "timeout_ns"),
    ],
)
def test_options_are_refused_by_name(options, named):
    with pytest.raises(wp.ConfigError, match=named):
        wp.feed.SoupBinTCP(**options)
