# SPDX-License-Identifier: Apache-2.0
"""Protocols of recovery servers without I/O, and over sockets with small servers."""

from __future__ import annotations

import struct
import threading
import time

import feed_peer as peer
import pytest

import wirepath as wp
from wirepath import feed_state
from wirepath.feed.events import Request
from wirepath.feed_watch import ChannelWatch
from wirepath.recovery import (
    Control,
    GapRequestProxy,
    Glimpse,
    Recovering,
    RequestServer,
    StreamServer,
    UdpServer,
)

SECOND = 1_000_000_000


class Channel:
    """Remembers what it was told."""

    def __init__(self, wanted=(), room=1 << 30):
        self.wanted, self.room, self.told = list(wanted), room, []

    def requests(self, max=64):
        out, self.wanted = self.wanted[:max], self.wanted[max:]
        return out

    def reply(self, packet, recv_time):
        self.told.append(("reply", packet))
        return True

    def refuse(self, first, last, unit=0):
        self.told.append(("refuse", first, last, unit))

    def pause(self, until):
        self.told.append(("pause", until))

    def hold(self, until):
        self.told.append(("hold", until))

    def inject(self, message, seq, recv_time):
        if self.room == 0:
            return False
        self.room -= 1
        self.told.append(("inject", message))
        return True

    def skip_to(self, next_sequence, unit=0):
        self.told.append(("skip", next_sequence, unit))

    def snapshot(self):
        return {}


# --- Cboe's Gap Request Proxy --------------------------------------------------------------------
def unit(*messages):
    body = b"".join(messages)
    return struct.pack("<HBBI", 8 + len(body), len(messages), 0, 0) + body


LOGIN_ACCEPTED = unit(b"\x03\x02A")


def gap_request(first, count, number=1):
    wire = first & 0xFFFFFFFF
    packet = unit(struct.pack("<BBBIH", 9, 3, number, wire, count))
    return Request(first, count, 1, number, packet)


def gap_response(number, sequence, count, status):
    return unit(struct.pack("<BBBIHc", 10, 4, number, sequence, count, status))


def proxy(channel, **more):
    out = GapRequestProxy(channel, session="0001", username="FIRM", password="pw", **more)
    out.connected(0)
    return out


def test_the_login_of_a_gap_request_proxy():
    made = proxy(Channel())
    assert made.output() == struct.pack("<HBBI", 30, 1, 0, 0) + b"\x16\x010001FIRM  pw        "
    assert not made.request(gap_request(1, 1))
    made.on_bytes(LOGIN_ACCEPTED, 1)
    assert made.ready
    asked = gap_request(77, 3)
    assert made.request(asked)
    assert made.output() == asked.packet


def test_a_login_that_is_rejected():
    made = proxy(Channel())
    made.on_bytes(unit(b"\x03\x02N"), 1)
    assert made.failed == "login rejected (N)"
    assert made.counters["rejected_logins"] == 1


@pytest.mark.parametrize("cut", [1, 3, 7, 1000])
def test_responses_cut_anywhere(cut):
    channel = Channel()
    made = proxy(channel)
    made.on_bytes(LOGIN_ACCEPTED, 1)
    first = (5 << 32) + 100  # 64 bits wide here, 32 on the wire
    for request in (gap_request(first, 7, 2), gap_request(10, 1), gap_request(20, 2)):
        assert made.request(request)
    stream = (
        gap_response(1, 10, 1, b"A")
        + unit()
        + gap_response(2, 100, 7, b"O")
        + gap_response(1, 20, 2, b"M")
        + unit(b"\x02\x99")
    )
    for at in range(0, len(stream), cut):
        made.on_bytes(stream[at : at + cut], 9)
    assert channel.told == [("refuse", first, first + 6, 2), ("pause", 9 + 60 * SECOND)]
    counts = {name: n for name, n in made.counters.items() if n}
    assert counts == {
        "requests": 3,
        "accepted": 1,
        "refused": 1,
        "over_quota": 1,
        "heartbeats": 1,
        "unknown": 1,
    }


@pytest.mark.parametrize("venue", ["cboe", "nyse"])
def test_a_channel_without_room_is_told_later_in_order_and_not_without_end(venue):
    channel = Full()
    if venue == "cboe":
        made = proxy(channel)
        made.on_bytes(LOGIN_ACCEPTED, 1)
        refusals = [gap_response(1, n, 1, b"O") for n in range(1, 1031)]
        over, wait = gap_response(1, 2000, 1, b"S"), SECOND
    else:
        made = RequestServer(channel, source_id="me")
        made.connected(0)
        refusals = [nyse_response(n, n, b"1") for n in range(1, 1031)]
        over, wait = nyse_response(2000, 2000, b"5"), 86_400 * SECOND
    made.on_bytes(b"".join(refusals[:10]) + over, 5)
    made.on_time(6)
    assert channel.told == []
    channel.full = False
    made.on_time(7)
    expected = [("refuse", n, n, 1 if venue == "cboe" else 0) for n in range(1, 11)]
    assert channel.told == [*expected, ("pause", 5 + wait)]
    made.on_time(8)
    assert len(channel.told) == 11
    channel.full = True
    made.on_bytes(b"".join(refusals), 9)
    channel.full = False
    made.on_time(10)
    assert made.counters["untold"] == 6
    assert [t[1] for t in channel.told[11:]] == list(range(7, 1031))


def test_a_proxy_that_is_silent_or_talks_nonsense():
    made = proxy(Channel(), timeout=2.0)
    made.output()
    made.on_time(SECOND)
    assert made.output() == unit()  # our heartbeat
    made.on_time(2 * SECOND)
    assert made.failed == "no answer to the login"
    made.connected(3 * SECOND)
    made.on_bytes(b"\x01\x00" + bytes(6), 3 * SECOND)
    assert made.failed == "its packets make no sense"
    made.connected(4 * SECOND)
    made.on_bytes(struct.pack("<HBBI", 9, 1, 0, 0) + b"\x05", 4 * SECOND)
    assert made.counters["malformed"] == 2


# --- NYSE's Request Server -----------------------------------------------------------------------
def pillar(*messages, flag=11):
    body = b"".join(messages)
    return struct.pack("<HBBIII", 16 + len(body), flag, len(messages), 0, 0, 0) + body


def nyse_response(begin, end, status):
    return pillar(struct.pack("<HHIII10sBBc", 29, 11, 1, begin, end, b"WIRE", 1, 2, status))


def nyse_request(first, count):
    message = struct.pack("<HHII10sBB", 24, 10, first, first + count - 1, b"WIRE", 1, 2)
    return Request(first, count, 1, 0, pillar(message))


def test_a_request_server():
    channel = Channel()
    made = RequestServer(channel, source_id="WIRE")
    made.connected(0)
    for request in (nyse_request(5, 10), nyse_request(50, 1), nyse_request(60, 1)):
        assert made.request(request)
        assert made.output() == request.packet
    made.on_bytes(pillar(flag=1), 1)
    assert made.output() == pillar(struct.pack("<HH10s", 14, 12, b"WIRE"))
    made.on_bytes(
        nyse_response(5, 14, b"0") + nyse_response(50, 50, b"3") + nyse_response(60, 60, b"5"), 2
    )
    assert channel.told == [("refuse", 50, 50, 0), ("pause", 2 + 86_400 * SECOND)]
    assert made.counters["accepted"] == made.counters["refused"] == 1


# --- GLIMPSE -------------------------------------------------------------------------------------
def session():
    return wp.feed.SoupBinTCP("me", "secret", "", next_sequence=1, timeout_ns=9 * SECOND)


def test_a_snapshot_waits_for_room_and_is_whole_or_nothing():
    channel = Channel(room=3)
    made = Glimpse(channel, session)
    assert not made.wanted
    made.begin(0)
    assert made.wanted
    made.connected(0)
    made.on_bytes(peer.soup(b"A", b"GLIMPSE   " + b"%20d" % 1), 1)
    made.on_bytes(peer.soup(b"S", b"R-half"), 1)
    made.disconnected()
    assert made.counters["broken"] == 1
    made.connected(2)
    stream = peer.soup(b"A", b"GLIMPSE   " + b"%20d" % 1)
    stream += b"".join(peer.soup(b"S", b"A%d" % i) for i in range(5))
    stream += peer.soup(b"S", b"G" + b"%-20d" % 42)
    for byte in stream:
        made.on_bytes(bytes([byte]), 3)
    assert [t for t in channel.told if t[0] == "inject"] == []
    made.on_time(4)
    assert [t for t in channel.told if t[0] == "inject"] == [
        ("inject", b"A%d" % i) for i in (0, 1, 2)
    ]
    assert made.under_way
    channel.room = 10
    made.on_time(5)
    assert channel.told[-2:] == [("skip", 42, 0), ("hold", 0)]
    assert [t[1] for t in channel.told if t[0] == "inject"] == [b"A%d" % i for i in range(5)]
    assert not made.under_way
    assert not made.wanted
    assert made.counters["injected"] == 5


class Full(Channel):
    """Its mailbox has no room, until it has."""

    full = True

    def _check(self):
        if self.full:
            raise wp.DeviceBusy("the mailbox is full")

    def refuse(self, first, last, unit=0):
        self._check()
        super().refuse(first, last, unit)

    def pause(self, until):
        self._check()
        super().pause(until)

    def hold(self, until):
        self._check()
        super().hold(until)

    def skip_to(self, next_sequence, unit=0):
        self._check()
        super().skip_to(next_sequence, unit)


def test_the_channel_waits_for_a_snapshot_without_being_told_again():
    channel = Full()
    made = Glimpse(channel, session, deadline=10 * SECOND)
    made.begin(SECOND)
    assert channel.told == []
    channel.full = False
    for now in range(1, 10):  # as seldom as a busy machine may run this thread
        made.on_time(now * SECOND)
    assert channel.told == [("hold", 11 * SECOND)]
    made.connected(10 * SECOND)
    stream = peer.soup(b"A", b"GLIMPSE   " + b"%20d" % 1) + peer.soup(b"S", b"A")
    made.on_bytes(stream + peer.soup(b"S", b"G" + b"%-20d" % 42), 10 * SECOND)
    channel.full = True
    made.on_time(10 * SECOND)
    assert made.under_way
    assert made.counters["done"] == 0
    channel.full = False
    made.on_time(10 * SECOND + 1)
    # Complete, it does not end with the deadline.
    assert channel.told[1:] == [
        ("hold", 20 * SECOND),
        ("inject", b"A"),
        ("skip", 42, 0),
        ("hold", 0),
    ]
    assert made.counters["done"] == 1


def test_a_snapshot_that_the_ring_takes_slowly_is_never_mixed_with_what_is_live():
    channel = Channel(room=2)
    made = Glimpse(channel, session, deadline=10 * SECOND)
    made.begin(0)
    made.connected(0)
    stream = peer.soup(b"A", b"GLIMPSE   " + b"%20d" % 1) + peer.soup(b"S", b"A") * 5
    made.on_bytes(stream + peer.soup(b"S", b"G" + b"%-20d" % 42), SECOND)
    for now in range(1, 60):  # long after the deadline nobody has emptied the ring
        made.on_time(now * SECOND)
        held = [t[1] for t in channel.told if t[0] == "hold"]
        assert held[-1] > now * SECOND
    assert made.under_way
    channel.room = 10
    made.on_time(60 * SECOND)
    assert [t[0] for t in channel.told if t[0] != "hold"] == ["inject"] * 5 + ["skip"]
    assert channel.told[-1] == ("hold", 0)
    assert made.counters["given_up"] == 0


def test_a_snapshot_of_before_is_taken_again():
    channel, highest = Channel(), [500]
    made = Glimpse(channel, session, deadline=60 * SECOND)
    made.begin(0, lambda: highest[0])
    stream = peer.soup(b"A", b"GLIMPSE   " + b"%20d" % 1) + peer.soup(b"S", b"A")

    def take(number, now):
        made.connected(now)
        made.on_bytes(stream + peer.soup(b"S", b"G" + b"%-20d" % number), now)
        made.on_time(now)

    take(9000, SECOND)
    made.on_time(3 * SECOND)
    assert channel.told == [("hold", 60 * SECOND)]
    made.on_time(4 * SECOND)
    assert made.wanted
    assert made.counters["outdated"] == 1
    take(510, 5 * SECOND)  # the feed is a little behind its server
    assert made.under_way
    highest[0] = 510
    made.on_time(6 * SECOND)
    assert [t for t in channel.told if t[0] != "hold"] == [("inject", b"A"), ("skip", 510, 0)]


@pytest.mark.parametrize(
    ("packets", "why"),
    [
        (peer.soup(b"J", b"S"), "login rejected (S)"),
        (peer.soup(b"A", b"GLIMPSE   " + b"%20d" % 1) + peer.soup(b"Z"), "the session ended"),
        (
            peer.soup(b"A", b"GLIMPSE   " + b"%20d" % 1) + peer.soup(b"S", b"G" + b"x" * 20),
            "no sequence number",
        ),
        *(
            (
                peer.soup(b"A", b"GLIMPSE   " + b"%20d" % 1) + peer.soup(b"S", b"G" + number),
                "no sequence number",
            )
            for number in (b"%20d" % 0, b"%20d" % -5, b"%020d" % (1 << 64), b"1_0".rjust(20))
        ),
    ],
)
def test_snapshots_that_fail(packets, why):
    channel = Channel()
    made = Glimpse(channel, session, deadline=10 * SECOND)
    made.begin(0)
    made.connected(0)
    made.on_bytes(packets, 1)
    assert why in made.failed
    made.disconnected()
    made.on_time(11 * SECOND)
    assert made.counters["given_up"] == 1
    assert not made.wanted
    assert channel.told == [("hold", 10 * SECOND), ("hold", 0)]


# --- over sockets --------------------------------------------------------------------------------
def drive(control, until, seconds=10):
    end = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < end
        control.step(wp.now(), 0.01)


class Proxy(peer.StreamService):
    """A Gap Request Proxy that hangs up after its first request."""

    def talk(self):
        came = b""
        while len(came) < 30:
            came += yield b""
        came = yield LOGIN_ACCEPTED
        while len(came) < 17 or came[9] != 3:
            came = yield b""
        if self.connections == 1:
            return
        yield gap_response(came[10], int.from_bytes(came[11:15], "little"), 1, b"O")
        while True:
            yield b""


def test_a_proxy_that_hangs_up_is_connected_to_again():
    channel = Channel()
    with Proxy() as server:
        stream = GapRequestProxy(channel, session="1", username="u", password="p")
        link = StreamServer(stream, server.address, backoff=0.05)
        control = Control([Recovering("c", channel, link)])
        control.open(wp.now())
        drive(control, lambda: stream.ready)
        channel.wanted = [gap_request(9, 2)]
        drive(control, lambda: link.counters["disconnects"] == 1)
        assert "closed the connection" in link.trouble
        channel.wanted = [gap_request(9, 2)]  # while it is away
        control.step(wp.now(), 0)
        assert link.counters["unsent"] == 1
        drive(control, lambda: stream.ready)
        channel.wanted = [gap_request(9, 2)]
        drive(control, lambda: stream.counters["refused"] == 1)
        assert channel.told == [("refuse", 9, 10, 1)]
        assert link.counters["connects"] == 2
        assert link.trouble == ""
        control.close()


def test_attempts_to_connect_wait_longer_each_time():
    channel = Channel()
    server = Proxy()
    server.socket.close()  # nobody listens there now
    stream = GapRequestProxy(channel)
    link = StreamServer(stream, server.address, backoff=0.05, max_backoff=0.2)
    control = Control([Recovering("c", channel, link)])
    control.open(wp.now())
    end = time.monotonic() + 1.0
    while time.monotonic() < end:
        control.step(wp.now(), 0.01)
    control.close()
    # At 0, 0.05, 0.15, 0.35, 0.55, 0.75, 0.95 s, or a little later.
    assert 3 <= link.counters["connect_failures"] <= 7
    assert "Connection refused" in link.trouble


def test_a_name_that_nobody_knows():
    with pytest.raises(wp.ConfigError, match=r"no\.\.name:9"):
        UdpServer(Channel(), ("no..name", 9))


def test_the_control_thread_may_be_stopped_from_its_own_look():
    looks = []

    def look(now):
        control.stop()
        looks.append(threading.current_thread())

    control = Control([], look=look, interval=0.001)
    control.start()
    end = time.monotonic() + 10
    while not looks:
        assert time.monotonic() < end
        time.sleep(0.001)
    looks[0].join(10)
    assert not looks[0].is_alive()
    assert len(looks) == 1
    assert control.errors == 0
    control.stop()


def test_an_error_of_a_channel_does_not_end_the_control_thread(caplog):
    channel = Channel()
    failed = []

    def requests(max=64):
        if not failed:
            failed.append(1)
            raise RuntimeError("once")
        return []

    channel.requests = requests
    looks = []
    control = Control([Recovering("c", channel)], look=looks.append, interval=0.01)
    control.start()
    end = time.monotonic() + 10
    while len(looks) < 3 and time.monotonic() < end:
        time.sleep(0.01)
    control.stop()
    assert control.errors == 1
    assert len(looks) >= 3
    (record,) = [r for r in caplog.records if r.name == "wirepath.recovery"]
    assert (record.event, record.fields) == ("recovery.control_failed", {"error": "once"})
    assert record.exc_info is not None


# --- looks and state -----------------------------------------------------------------------------
def seen(**changes):
    counters = {"resets": 0, "gaps_abandoned": 0, "recovered": 0} | changes.pop("counters", {})
    unit = {"unit": 0, "session": b"S1", "next_sequence": 5, "highest": 9, "ended": False}
    unit |= {"gaps": [], "next_on_wire": 5} | changes
    return {"counters": counters, "state": [unit], "abandoned": [], "protocol": "itch"}


def test_what_is_new_between_looks():
    watch = ChannelWatch()
    assert watch.look(seen(gaps=[(5, 8)])) == [(5, 8, 0)]
    assert watch.look(seen(gaps=[(6, 6), (8, 8)])) == []  # parts of the same
    assert [type(e).__name__ for e in watch.look(seen(session=b"S2", ended=True))] == [
        "SessionChange",
        "EndOfSession",
    ]
    after = seen(session=b"S2", ended=True, counters={"gaps_abandoned": 3, "recovered": 4})
    after["abandoned"] = [(1, 4, "snapshot", 0), (8, 8, "attempts", 0)]
    assert [type(e).__name__ for e in watch.look(after)] == [
        "GapAbandoned",
        "GapAbandoned",
        "Missed",
        "Recovered",
    ]
    assert watch.covered == 4
    assert watch.look(after) == []


def test_a_crash_while_writing_leaves_the_old_state(tmp_path, monkeypatch):
    path = tmp_path / "state"
    unit = feed_state.UnitState(0, b"\x00\xffS", 7, 7)
    feed_state.write(path, {"a": feed_state.ChannelState("iex", (unit,), 3)})
    monkeypatch.setattr(feed_state.os, "fsync", lambda _: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        feed_state.write(path, {})
    assert feed_state.read(path) == {"a": feed_state.ChannelState("iex", (unit,), 3)}
    assert [p.name for p in tmp_path.iterdir()] == ["state"]
