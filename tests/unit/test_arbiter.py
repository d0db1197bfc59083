# SPDX-License-Identifier: Apache-2.0
"""The arbiter and recovery from Python: a state machine that drives them against a dictionary of
everything seen, and the rules that a user meets first."""

from __future__ import annotations

import struct

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

import wirepath as wp
from wirepath.feed import (
    Arbiter,
    Delivered,
    EndOfSession,
    Gap,
    GapAbandoned,
    Heartbeat,
    Recovery,
    Request,
    Reset,
    SessionChange,
)

SESSION = b"SESSION__A"
LATE, RECOVERED = int(wp.RecordFlag.LATE), int(wp.RecordFlag.RECOVERED)


def packet(first: int, messages: list[bytes], session: bytes = SESSION) -> bytes:
    """A MoldUDP64 downstream packet."""
    blocks = b"".join(struct.pack(">H", len(m)) + m for m in messages)
    return session + struct.pack(">QH", first, len(messages)) + blocks


def control(following: int, count: int = 0, session: bytes = SESSION) -> bytes:
    """A heartbeat, or with 0xFFFF the end of the session."""
    return session + struct.pack(">QH", following, count)


def delivered(events: list) -> list[int]:
    return [e.seq for e in events if isinstance(e, Delivered)]


class Reference:
    """In-order arbitration in a few dictionaries: number -> what is known of it."""

    def __init__(self, hold_ns: int) -> None:
        self.hold_ns = hold_ns
        self.reset()
        self.counts = {"won": {}, "duplicates": {}, "too_late": {}}
        self.abandoned_total = self.superseded = 0

    def reset(self) -> None:
        self.data: dict[int, bytes] = {}
        self.missing: dict[int, int] = {}  # number -> found missing at
        self.given_up: set[int] = set()
        self.dropped: set[int] = set()
        self.next = 0
        self.handed = 0  # everything below was delivered, given up, or in a snapshot

    def count(self, what: str, line: int) -> None:
        self.counts[what][line] = self.counts[what].get(line, 0) + 1

    def deliver(self, out: list) -> None:
        while self.handed < self.next and self.handed not in self.missing:
            if self.handed not in self.given_up and self.handed not in self.dropped:
                out.append(("message", self.handed, self.data[self.handed]))
            self.handed += 1

    def runs(self) -> list[tuple[int, int]]:
        """Missing numbers as ranges that were found missing together."""
        found: list[list[int]] = []
        for seq in sorted(self.missing):
            touching = found and found[-1][1] + 1 == seq
            if touching and self.missing[seq] == self.missing[seq - 1]:
                found[-1][1] = seq
            else:
                found.append([seq, seq])
        return [(first, last) for first, last in found]

    def give_up(self, first: int, last: int, out: list) -> None:
        for seq in range(first, last + 1):
            del self.missing[seq]
            self.given_up.add(seq)
        self.abandoned_total += last - first + 1
        out.append(("abandoned", first, last))
        self.deliver(out)

    def on_time(self, now: int, out: list) -> None:
        while self.missing and self.missing[min(self.missing)] + self.hold_ns <= now:
            self.give_up(*self.runs()[0], out)

    def reveal(self, upto: int, now: int, out: list) -> None:
        if upto > self.next:
            out.append(("gap", self.next, upto - 1))
            self.missing |= dict.fromkeys(range(self.next, upto), now)
            self.next = upto

    def skip_to(self, to: int, now: int, out: list) -> None:
        """What is held below `to` goes without a word."""
        for seq in range(self.handed, min(to, self.next)):
            if seq not in self.missing and seq not in self.given_up:
                self.superseded += 1
                self.dropped.add(seq)
        self.reveal(to, now, out)
        while self.missing and min(self.missing) < to:
            first, last = self.runs()[0]
            self.give_up(first, min(last, to - 1), out)
        self.deliver(out)

    def on_data(self, line: int, first: int, messages: list[bytes], now: int) -> list:
        out: list = []
        self.on_time(now, out)
        if self.next == 0:
            self.next = self.handed = first
        self.reveal(first, now, out)
        for seq, data in enumerate(messages, first):
            if seq in self.given_up:
                self.count("too_late", line)
            elif seq in self.data or (seq < self.next and seq not in self.missing):
                self.count("duplicates", line)
            else:
                self.count("won", line)
                self.data[seq] = data
                self.missing.pop(seq, None)
                self.next = max(self.next, seq + 1)
                self.deliver(out)
        return out

    def on_control(self, following: int, now: int, what: str) -> list:
        out: list = []
        self.on_time(now, out)
        if self.next == 0:
            self.next = self.handed = following
        self.reveal(following, now, out)
        return [*out, (what, following)] if what else out


def plain(events: list) -> list:
    """The arbiter's events in the reference's words."""
    out: list = []
    for e in events:
        match e:
            case Delivered():
                out.append(("message", e.seq, e.data))
            case Gap():
                out.append(("gap", e.first, e.last))
            case GapAbandoned():
                out.append(("abandoned", e.first, e.last))
            case Heartbeat():
                out.append(("heartbeat", e.next))
            case EndOfSession():
                out.append(("end", e.next))
            case SessionChange():
                out.append(("session", e.old, e.new))
            case Reset():
                out.append(("reset", e.next))
    return out


class Lines(RuleBasedStateMachine):
    """A sender, two lines that lose and reorder, a server of retransmissions, a clock."""

    HOLD = 1000
    FRAMER, VENUE = "mold_udp64", "mold_udp64"
    SESSIONS, END = True, True  # what the session layer has

    def wire(self, first: int, messages: list[bytes], session: bytes) -> bytes:
        return packet(first, messages, session)

    def control(self, following: int, count: int = 0) -> bytes:
        return control(following, count, self.session)

    def name(self, number: int) -> bytes:
        return b"SESSION_%02d" % (number % 100) if number else SESSION

    def asked(self, request: Request) -> bytes:
        return self.session + struct.pack(">QH", request.first, request.messages)

    @initialize(start=st.integers(1, 50), session_begin=st.sampled_from([0, 1]))
    def begin(self, start: int, session_begin: int) -> None:
        self.arbiter = Arbiter(
            self.FRAMER,
            recovery_lines=1,
            hold_ns=self.HOLD,
            max_gaps=500,
            reorder_ns=10**6,
            session_begin=session_begin,
        )
        self.session_begin = session_begin
        self.recovery = Recovery(self.VENUE, hold_ns=100, retry_ns=200, deadline_ns=10**9)
        self.reference = Reference(self.HOLD)
        self.session = self.name(0)
        self.sent = start  # the sender's next number
        self.now = 0
        self.latest = 0
        self.ended = False
        self.line_at = [0, 0]  # one past the highest number that each line has told of
        self.packets = 0
        self.old_sessions = 0

    def message(self, seq: int) -> bytes:
        return b"%d of %d" % (seq, self.old_sessions)

    def check(self, events: list, expected: list) -> None:
        assert plain(events) == expected
        for seq in delivered(events):
            assert seq > self.latest
            self.latest = seq

    def arrive(self, line: int, first: int, count: int) -> None:
        messages = [self.message(seq) for seq in range(first, first + count)]
        expected = self.reference.on_data(line, first, messages, self.now)
        events = self.arbiter.on_packet(line, self.wire(first, messages, self.session), self.now)
        self.packets += 1
        self.check(events, expected)
        if line < 2:
            self.line_at[line] = max(self.line_at[line], first + count)
        for e in events:
            if isinstance(e, Delivered):
                assert bool(e.flags & RECOVERED) == (e.line == 2)
                assert not e.flags & LATE

    @rule(line=st.integers(0, 1), skip=st.integers(0, 6), count=st.integers(1, 6))
    def new_packet(self, line: int, skip: int, count: int) -> None:
        """What was sent next comes, after `skip` messages were lost on the way."""
        self.arrive(line, self.sent + skip, count)
        self.sent += skip + count

    @rule(line=st.integers(0, 1), back=st.integers(0, 40), count=st.integers(1, 12))
    def old_packet(self, line: int, back: int, count: int) -> None:
        """A copy, late or packed otherwise."""
        first = max(1, self.sent - back - count)
        if first + count <= self.sent:
            self.arrive(line, first, count)

    @rule(line=st.integers(0, 1), ahead=st.integers(0, 5))
    def heartbeat(self, line: int, ahead: int) -> None:
        self.sent += ahead
        expected = self.reference.on_control(self.sent, self.now, "heartbeat")
        events = self.arbiter.on_packet(line, self.control(self.sent), self.now)
        self.packets += 1
        self.line_at[line] = self.sent
        self.check(events, expected)

    @rule(line=st.integers(0, 1))
    def end(self, line: int) -> None:
        if not self.END:
            return
        expected = self.reference.on_control(self.sent, self.now, "" if self.ended else "end")
        wire = self.control(self.sent, 0xFFFF)
        self.check(self.arbiter.on_packet(line, wire, self.now), expected)
        self.packets += 1
        self.line_at[line] = self.sent
        self.ended = True

    @rule(passed=st.integers(1, 700))
    def time(self, passed: int) -> None:
        self.now += passed
        out: list = []
        self.reference.on_time(self.now, out)
        self.check(self.arbiter.on_time(self.now), out)

    @rule(ahead=st.integers(-20, 5))
    def snapshot(self, ahead: int) -> None:
        """A snapshot covers all before a number: what waits below it is not delivered any more."""
        to = self.sent + ahead
        if self.reference.next == 0 or to < 1:
            return
        out: list = []
        self.reference.skip_to(to, self.now, out)
        self.check(self.arbiter.skip_to(to, self.now), out)
        self.sent = max(self.sent, to)

    @rule(answered=st.integers(0, 3))
    def recover(self, answered: int) -> None:
        """Requests are for missing messages only; the server answers `answered` of each."""
        requests, events = self.recovery.poll(self.arbiter, self.now)
        assert plain(events) == []  # the hold time is shorter than recovery's deadline
        for r in requests:
            assert r.packet == self.asked(r)
            assert r.first in self.reference.missing
            assert r.first + r.messages - 1 in self.reference.missing
            if answered:
                self.arrive(2, r.first, min(r.messages, answered))

    def begin_anew(self, heard: int) -> None:
        """The number that a sequence goes on from of which `heard` is the first one told."""
        self.reference.reset()
        self.reference.next = self.reference.handed = self.session_begin or heard
        self.latest = 0
        self.old_sessions += 1
        self.ended = False

    @rule(line=st.integers(0, 1), lost=st.sampled_from([0, 0, 1, 3]))
    def restart(self, line: int, lost: int) -> None:
        """The sender begins at 1 again, in the same session: a heartbeat after a silence tells,
        behind messages that no line brought.

        The other line is dead: what it has of the old sequence is stale."""
        heard = 1 + lost
        if self.line_at[line] <= heard or not self.packets:
            return
        self.now += 10**7
        out: list = []
        self.reference.on_time(self.now, out)
        self.begin_anew(heard)
        out.append(("reset", self.reference.next))
        out += self.reference.on_control(heard, self.now, "heartbeat")
        events = self.arbiter.on_packet(line, self.control(heard), self.now)
        self.packets += 1
        assert plain(events) == out
        self.sent = heard
        stale = self.arbiter.lines[1 - line]["stale"]
        # Nearer to its own numbers than to the new ones.
        if self.line_at[1 - line] > heard:
            late = self.wire(self.line_at[1 - line], [self.message(0)], self.session)
            assert self.arbiter.on_packet(1 - line, late, self.now) == []
            assert self.arbiter.lines[1 - line]["stale"] == stale + 1
            self.packets += 1
        # Then it follows.
        events = self.arbiter.on_packet(1 - line, self.control(heard), self.now)
        self.packets += 1
        self.check(events, [("heartbeat", heard)])
        self.line_at = [heard, heard]

    @rule(line=st.integers(0, 1), lost=st.sampled_from([0, 0, 1, 3, 40]))
    def roll_over(self, line: int, lost: int) -> None:
        """Another session begins: what was open of the old one is given up, and what no line
        brought of the new one's start is missing."""
        if not self.packets or not self.SESSIONS:
            return
        first = 1 + lost
        old, self.session = self.session, self.name(self.old_sessions + 1)
        out: list = []
        self.reference.on_time(self.now, out)
        while self.reference.missing:
            self.reference.give_up(*self.reference.runs()[0], out)
        self.begin_anew(first)
        out.append(("session", old.decode("latin-1"), self.session.decode("latin-1")))
        out += self.reference.on_data(line, first, [self.message(first)], self.now)
        wire = self.wire(first, [self.message(first)], self.session)
        events = self.arbiter.on_packet(line, wire, self.now)
        self.packets += 1
        assert plain(events) == out
        # What was held of the old one comes before the news.
        began = [isinstance(e, SessionChange) for e in events].index(True)
        self.latest, self.sent = max(delivered(events[began:]), default=0), first + 1
        self.line_at = [0, 0]
        self.line_at[line] = first + 1
        # The other line's last words are not a change back.
        stale = self.arbiter.on_packet(1 - line, self.wire(900, [self.message(0)], old), self.now)
        self.packets += 1
        assert stale == []

    @invariant()
    def sums(self) -> None:
        if not hasattr(self, "arbiter"):
            return
        counters, lines = self.arbiter.counters, self.arbiter.lines
        assert counters["superseded"] == self.reference.superseded
        kept = {k: counters[k] for k in ("gap_filled", "gap_open", "abandoned")}
        assert counters["gap_messages"] == sum(kept.values())
        assert counters["gap_open"] == len(self.reference.missing)
        assert sum(line["packets"] for line in lines) == self.packets
        for number, line in enumerate(lines):
            for what, counts in self.reference.counts.items():
                assert line[what] == counts.get(number, 0), what
        for unit in self.arbiter.state:
            assert unit["gaps"] == self.reference.runs()
            assert unit["highest"] == self.reference.next
            assert unit["next_sequence"] == self.reference.handed
            assert unit["session"] == (self.session if self.SESSIONS else b"")


class IexLines(Lines):
    """IEX-TP segments; no end of session."""

    FRAMER, VENUE, END = "iex_tp", "iex", False

    def wire(self, first: int, messages: list[bytes], session: bytes) -> bytes:
        blocks = b"".join(struct.pack("<H", len(m)) + m for m in messages)
        sizes = struct.pack("<HHqqq", len(blocks), len(messages), 0, first, 0)
        return b"\1\0" + session + sizes + blocks

    def control(self, following: int, count: int = 0) -> bytes:
        return self.wire(following, [], self.session)

    def name(self, number: int) -> bytes:
        return struct.pack("<HII", 0x8003, 1, 1 << 24 | number)

    def asked(self, request: Request) -> bytes:
        last = request.first + request.messages - 1
        return b"\1\1" + self.session + struct.pack("<Iqq", 1, request.first, last)


class PitchLines(Lines):
    """Sequenced units; neither sessions nor an end."""

    FRAMER, VENUE, SESSIONS, END = "pitch", "pitch", False, False

    def message(self, seq: int) -> bytes:
        text = super().message(seq)
        return bytes([2 + len(text), 0x7F]) + text

    def wire(self, first: int, messages: list[bytes], session: bytes) -> bytes:
        body = b"".join(messages)
        return struct.pack("<HBBI", 8 + len(body), len(messages), 0, first) + body

    def control(self, following: int, count: int = 0) -> bytes:
        return self.wire(following, [], b"")

    def asked(self, request: Request) -> bytes:
        ask = struct.pack("<BBBIH", 9, 3, 0, request.first, request.messages)
        return struct.pack("<HBBI", 17, 1, 0, 0) + ask


class PillarLines(Lines):
    """NYSE's packets; neither sessions nor an end."""

    FRAMER, VENUE, SESSIONS, END = "pillar", "pitch", False, False

    def message(self, seq: int) -> bytes:
        text = super().message(seq)
        return struct.pack("<HH", 4 + len(text), 100) + text

    def wire(self, first: int, messages: list[bytes], session: bytes) -> bytes:
        body = b"".join(messages)
        return struct.pack("<HBBIII", 16 + len(body), 11, len(messages), first, 0, 0) + body

    def control(self, following: int, count: int = 0) -> bytes:
        return struct.pack("<HBBIII", 16, 1, 0, following, 0, 0)

    asked = PitchLines.asked


for machine in (Lines, IexLines, PitchLines, PillarLines):
    machine.TestCase.settings = settings(
        max_examples=60 if machine is Lines else 30, stateful_step_count=50, deadline=None
    )
TestLines = Lines.TestCase
TestIexLines = IexLines.TestCase
TestPitchLines = PitchLines.TestCase
TestPillarLines = PillarLines.TestCase


def test_first_arrival_wins_however_the_lines_pack():
    arbiter = Arbiter("mold_udp64")
    assert delivered(arbiter.on_packet(0, packet(1, [b"a", b"b"]), 100)) == [1, 2]
    events = arbiter.on_packet(1, packet(1, [b"a", b"b", b"c"]), 130)
    assert events == [Delivered(3, b"c", 130, 1, 0, 0, 0)]
    assert arbiter.on_packet(0, packet(3, [b"c"]), 135) == []
    assert [line["won"] for line in arbiter.lines] == [2, 1]
    assert arbiter.skew(q=1.0) == 30
    assert arbiter.skew(q=0.0) == -5
    assert arbiter.behind(1).total == 1


def test_as_it_comes_flags_what_is_late():
    arbiter = Arbiter("mold_udp64", in_order=False)
    arbiter.on_packet(0, packet(1, [b"a"]))
    assert delivered(arbiter.on_packet(0, packet(3, [b"c"]))) == [3]
    (late,) = arbiter.on_packet(1, packet(2, [b"b"]))
    assert isinstance(late, Delivered)
    assert late.flags == LATE


def test_state_survives_a_restart():
    before = Arbiter("mold_udp64")
    before.on_packet(0, packet(7, [b"a", b"b"]))
    before.on_packet(0, packet(12, [b"x"]))
    (state,) = before.state
    assert (state["session"], state["next_sequence"]) == (SESSION, 9)
    after = Arbiter("mold_udp64", session=state["session"], next_sequence=state["next_sequence"])
    assert after.on_packet(0, packet(12, [b"x"])) == [Gap(9, 11)]
    assert delivered(after.on_packet(1, packet(9, [b"c", b"d", b"e"]))) == [9, 10, 11, 12]


def test_recovery_gives_up_and_the_feed_goes_on():
    arbiter = Arbiter("mold_udp64", recovery_lines=1, hold_ns=10**12)
    recovery = Recovery("mold_udp64", hold_ns=10, retry_ns=100, max_attempts=2)
    arbiter.on_packet(0, packet(1, [b"a"]), 0)
    arbiter.on_packet(0, packet(4, [b"d"]), 1000)
    assert recovery.poll(arbiter, 1000) == ([], [])
    assert recovery.deadline == 1010
    (request,), events = recovery.poll(arbiter, 1010)
    assert (request.first, request.messages, request.attempt, events) == (2, 2, 1, [])
    assert recovery.poll(arbiter, 1110)[0][0].attempt == 2
    _, events = recovery.poll(arbiter, 1310)
    assert events[0] == GapAbandoned(2, 3, "attempts")
    assert delivered(events) == [4]
    assert recovery.counters["abandoned"] == 2


def test_venues_ask_in_their_own_words():
    arbiter = Arbiter("mold_udp64")
    arbiter.on_packet(0, packet(13, [b"a"]), 0)
    arbiter.on_packet(0, packet(15, [b"c"]), 0)
    pitch, nyse = Recovery("pitch"), Recovery("nyse", source_id="ME", product_id=1, channel_id=2)
    (request,), _ = pitch.poll(arbiter, 10**9)
    assert request.packet == bytes.fromhex("1100010000000000 0903000e0000000100")
    (request,), _ = nyse.poll(arbiter, 10**9)
    assert request.packet[16:] == struct.pack("<HHII10sBB", 24, 10, 14, 14, b"ME", 1, 2)
    assert nyse.requests_in_day(10**9) == 1


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"lines": 0}, "lines"),
        ({"hold_messages": 0}, "hold_messages"),
        ({"pin_session": True}, "pin_session"),
        ({"session": b"x" * 17}, "session"),
    ],
)
def test_bad_options_are_named(options, named):
    with pytest.raises(wp.ConfigError, match=named):
        Arbiter("mold_udp64", **options)


def test_unknown_names_are_refused():
    with pytest.raises(wp.ConfigError, match="mold_udp64"):
        Arbiter("morse")
    with pytest.raises(wp.ConfigError, match="venue"):
        Recovery("morse")
    with pytest.raises(wp.ConfigError, match="hold_nz"):
        Recovery("mold_udp64", hold_nz=1)
    with pytest.raises(wp.ConfigError, match="line = 2"):
        Arbiter("mold_udp64").on_packet(2, b"")
