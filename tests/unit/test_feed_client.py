# SPDX-License-Identifier: Apache-2.0
"""Feeds of several lines and channels over loopback: what is lost, recovered, given up."""

from __future__ import annotations

import json
import random
import socket
import struct
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import feed_peer as peer
import numpy as np
import pytest

import wirepath as wp
from wirepath import feed_state
from wirepath.feed.events import EndOfSession, Gap, GapAbandoned
from wirepath.feed_watch import Recovered, Trouble

RECOVERED = int(wp.RecordFlag.RECOVERED)


def groups(flow):
    """Two lines' groups of this test's own."""
    a = flow[0].rsplit(".", 1)
    return [(f"{a[0]}.{int(a[1])}", flow[1]), (f"{a[0]}.{int(a[1])}", flow[1] + 1)]


def config(flows, *, feed=(), recovery=(), **channel):
    return wp.FeedConfig(
        feed={"interface_name": "lo", "options": {"rx_buffer_bytes": 8 << 20}, **dict(feed)},
        channel=[
            {
                "name": "nasdaq",
                "next_sequence": 1,
                "line": [{"group": g, "port": p} for g, p in flows],
                "recovery": list(recovery),
                **channel,
            }
        ],
    )


def run(client, send, **limits):
    """Records of a run while `send` sends from a thread."""
    parts = []
    client.start_ingestion(stats=wp.IngestionStats())
    sender = threading.Thread(target=send)
    sender.start()
    client.run(max_seconds=limits.pop("max_seconds", 40), on_records=parts.append, **limits)
    sender.join()
    return np.concatenate(parts) if parts else np.empty(0, wp.RECORD)


def sending(flows, lines, following, **how):
    return lambda: peer.send_lines(list(zip(flows, lines, strict=True)), following, **how)


MESSAGES = 30_000
LOSSY = {"loss": 0.01, "reorder": 0.001, "duplicate": 0.002}


@pytest.mark.parametrize(("burst", "loss"), [(1, 0.01), (50, 0.2)])
def test_with_recovery_every_message_comes_once_and_in_order(flow, burst, loss):
    messages, flows = peer.itch(MESSAGES), groups(flow)
    lines = peer.lossy_pair(messages, 7, **LOSSY | {"loss": loss}, burst=burst)
    both = lines[0].lost & lines[1].lost
    assert both  # or there is nothing to recover
    with peer.MoldServer(messages) as server:
        how = [{"kind": "mold_udp64", "server": server.text}]
        with wp.FeedClient(config(flows, recovery=how)) as client:
            records = run(client, sending(flows, lines, len(messages) + 1))
            events = client.events()
        summary = client.summary()
    assert peer.whole(records, len(messages))
    (channel,) = summary["channels"]
    assert channel["missing"] == 0
    assert channel["abandoned"] == []
    recovered = records["seq"][records["flags"] & RECOVERED != 0]
    assert set(recovered.tolist()) >= both
    assert channel["counters"]["recovered"] == len(recovered)
    assert channel["recovery"]["requests"] == channel["servers"]["requests"]["requests"]
    assert {e.channel for e in events} == {"nasdaq"}
    told = sum(e.event.messages for e in events if isinstance(e.event, Recovered))
    assert told == len(recovered)
    assert any(isinstance(e.event, EndOfSession) for e in events)
    for line, sent in zip(channel["lines"][:2], lines, strict=True):
        assert line["packets"] == len(sent.packets) + 13  # with heartbeats and ends
        assert line["missing"] == len(sent.lost)


def test_without_recovery_the_gaps_told_are_those_injected(flow):
    messages, flows = peer.itch(MESSAGES), groups(flow)
    lines = peer.lossy_pair(messages, 11, **LOSSY | {"loss": 0.2}, burst=50)
    both = lines[0].lost & lines[1].lost
    assert both
    cfg = config(flows, arbiter={"hold_ns": 200_000_000})
    with wp.FeedClient(cfg) as client:
        records = run(client, sending(flows, lines, len(messages) + 1))
        events = [e.event for e in client.events()]
    (channel,) = client.summary()["channels"]
    given_up = [gap[:2] for gap in channel["abandoned"]]
    assert peer.ranges(n for a, b in given_up for n in range(a, b + 1)) == peer.ranges(both)
    assert channel["missing"] == len(both)
    assert set(records["seq"].tolist()) == set(range(1, len(messages) + 1)) - both
    assert bool(np.all(np.diff(records["seq"].astype(np.int64)) > 0))
    abandoned = [e for e in events if isinstance(e, GapAbandoned)]
    assert [[e.first, e.last] for e in abandoned] == given_up
    assert any(isinstance(e, Gap) for e in events)


def test_a_server_that_is_down_costs_messages_and_not_the_feed(flow):
    messages, flows = peer.itch(MESSAGES), groups(flow)
    lines = peer.lossy_pair(messages, 11, **LOSSY | {"loss": 0.2}, burst=50)
    both = lines[0].lost & lines[1].lost
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as nobody:
        nobody.bind(("127.0.0.1", 0))
        server = f"127.0.0.1:{nobody.getsockname()[1]}"
    how = [{"kind": "mold_udp64", "server": server, "retry_ns": 5_000_000, "max_attempts": 3}]
    began = time.monotonic()
    with wp.FeedClient(config(flows, recovery=how)) as client:
        records = run(client, sending(flows, lines, len(messages) + 1))
        events = [e.event for e in client.events()]
    (channel,) = client.summary()["channels"]
    assert time.monotonic() - began < 20
    assert set(records["seq"].tolist()) == set(range(1, len(messages) + 1)) - both
    assert {gap[2] for gap in channel["abandoned"]} == {"attempts"}
    assert channel["missing"] == len(both)
    assert channel["servers"]["requests"]["unreachable"] > 0
    troubles = [e for e in events if isinstance(e, Trouble)]
    assert "Connection refused" in troubles[0].text
    assert client.control_errors == 0


def test_a_server_that_loses_answers_is_asked_again(flow):
    messages, flows = peer.itch(5000), groups(flow)
    lines = peer.lossy_pair(messages, 3, loss=0.1, burst=4)
    both = lines[0].lost & lines[1].lost
    assert both
    # What one line lost is asked for too while the other is late, and then comes without an answer.
    with peer.MoldServer(messages, lose=both) as server:
        how = [{"kind": "mold_udp64", "server": server.text, "max_attempts": 12}]
        with wp.FeedClient(config(flows, recovery=how)) as client:
            records = run(client, sending(flows, lines, len(messages) + 1))
    assert peer.whole(records, len(messages))
    assert server.lose == set()
    times = dict.fromkeys(both, 0)
    for first, count in server.requests:
        for n in both & set(range(first, first + count)):
            times[n] += 1
    assert min(times.values()) >= 2
    told = client.summary()["channels"][0]["recovery"]
    assert told["retries"] + told["continued"] > 0


# --- snapshots ---------------------------------------------------------------------------------
def glimpse(server, **more):
    return {
        "kind": "glimpse",
        "server": server.text,
        "username": "me",
        "password": "secret",
        "backoff": 0.05,
        **more,
    }


@pytest.mark.parametrize("broken", [0, 2])
def test_a_snapshot_and_the_live_feed_are_spliced(flow, broken):
    """The feed is joined at 2001, the snapshot has all before 3001."""
    messages, flows = peer.itch(6000), groups(flow)
    state = peer.itch(800, seed=9)
    line = peer.impair(messages[2000:], random.Random(1), first=2001)
    with peer.GlimpseServer(state, 3001, broken=broken) as server:
        cfg = config(flows, recovery=[glimpse(server)], next_sequence=0)
        with wp.FeedClient(cfg) as client:
            records = run(client, sending(flows, [line, line], len(messages) + 1, pace=10_000))
        summary = client.summary()
    snapshot, live = records[: len(state)], records[len(state) :]
    assert set(snapshot["seq"].tolist()) == {0}
    assert bool(np.all(snapshot["flags"] & RECOVERED))
    assert [chr(t) for t in snapshot["type"]] == [chr(m[0]) for m in state]
    assert peer.whole(live, 3000, first=3001)
    (channel,) = summary["channels"]
    assert channel["missing"] == 0
    assert channel["covered_by_snapshots"] == 2000
    server_told = channel["servers"]["snapshot"]
    assert server_told["done"] == 1
    assert server_told["broken"] == broken
    assert server_told["injected"] == len(state)
    assert server.logins[-1][2:9] == b"Lme    "


def test_a_snapshot_with_a_request_server_loses_nothing_after_the_splice(flow):
    messages, flows = peer.itch(6000), groups(flow)
    state = peer.itch(300, seed=9)
    lines = [
        peer.impair(messages[1000:], random.Random(s), first=1001, loss=0.3, burst=5)
        for s in (1, 2)
    ]
    missing = {n for n in lines[0].lost & lines[1].lost if n >= 2001}
    assert missing
    with peer.GlimpseServer(state, 2001) as server, peer.MoldServer(messages) as mold:
        how = [glimpse(server), {"kind": "mold_udp64", "server": mold.text}]
        with wp.FeedClient(config(flows, recovery=how, next_sequence=0)) as client:
            records = run(client, sending(flows, lines, len(messages) + 1, pace=10_000))
    assert peer.whole(records[len(state) :], 4000, first=2001)
    # What the snapshot has was not asked for.
    assert all(first + count > 2001 for first, count in mold.requests)


@pytest.mark.parametrize("joined", [1, 1001])
@pytest.mark.parametrize("session", [b"SESSION__B", peer.SESSION])
def test_what_begins_anew_waits_for_a_snapshot(flow, joined, session):
    """Another session, or a restart that nothing announces; its first messages lost or not. The
    server gives what was before first, as one does that has not got there yet."""
    messages, flows = peer.itch(7000), groups(flow)
    old = peer.impair(messages[:6000], random.Random(1))
    new = peer.impair(
        messages[joined - 1 :], random.Random(2), first=joined, session=session, pack=(8, 8)
    )
    state = peer.itch(300, seed=9)

    class Server(peer.GlimpseServer):
        def talk(self):
            self.following = 1_000_000 if self.connections == 1 else 2001
            yield from super().talk()

    def send():
        lines = [old, old]
        peer.send_lines(list(zip(flows, lines, strict=True)), 6001, pace=30_000, ends=0)
        time.sleep(0.3)  # a restart is told by heartbeats after a silence
        lines = [new, new]
        following = len(messages) + 1
        peer.send_lines(
            list(zip(flows, lines, strict=True)), following, pace=5_000, ends=0, session=session
        )
        # The end is not told before the snapshot that is outdated was found so.
        time.sleep(4)
        rest = [peer.Impaired(), peer.Impaired()]
        peer.send_lines(list(zip(flows, rest, strict=True)), following, session=session)

    with Server(state, 2001) as server, peer.MoldServer(messages) as mold:
        how = [glimpse(server), {"kind": "mold_udp64", "server": mold.text}]
        with wp.FeedClient(config(flows, recovery=how)) as client:
            records = run(client, send)
        servers = client.summary()["channels"][0]["servers"]
    assert peer.whole(records[:6000], 6000)
    assert set(records[6000:6300]["seq"].tolist()) == {0}
    assert peer.whole(records[6300:], 5000, first=2001)
    assert servers["snapshot"]["done"] == 1
    assert servers["snapshot"]["outdated"] == 1
    assert mold.requests == []


def test_a_snapshot_that_takes_longer_than_gaps_may_is_not_mixed_with_what_is_live(flow):
    """A gap's own deadline is for what a server is asked for."""
    messages, flows = peer.itch(4000), groups(flow)
    live = peer.impair(messages[1000:], random.Random(1), first=1001)
    state = peer.itch(300, seed=9)

    class Slow(peer.GlimpseServer):
        def talk(self):
            talk = super().talk()
            out = next(talk)
            while True:
                came = yield out
                if len(out) > 1000:
                    time.sleep(0.8)  # between its halves, and before its end
                out = talk.send(came)

    with Slow(state, 2001) as server, peer.MoldServer(messages) as mold:
        how = [
            glimpse(server),
            {"kind": "mold_udp64", "server": mold.text, "deadline_ns": 200_000_000},
        ]
        # Joined late: it does not know where to begin.
        cfg = config(flows, recovery=how, next_sequence=0)
        with wp.FeedClient(cfg) as client:
            records = run(client, sending(flows, [live, live], len(messages) + 1, pace=2000))
        (channel,) = client.summary()["channels"]
    assert set(records[:300]["seq"].tolist()) == {0}
    assert peer.whole(records[300:], 2000, first=2001)
    assert {gap[2] for gap in channel["abandoned"]} == {"snapshot"}


def test_a_wrong_password_is_told_and_the_feed_goes_on(flow):
    messages, flows = peer.itch(3000), groups(flow)
    line = peer.impair(messages[1000:], random.Random(1), first=1001)
    with peer.GlimpseServer([], 2001) as server:
        how = [glimpse(server, password="wrong", snapshot_deadline=0.5)]
        with wp.FeedClient(config(flows, recovery=how, next_sequence=0)) as client:
            records = run(client, sending(flows, [line, line], len(messages) + 1))
            events = [e.event for e in client.events()]
    assert peer.whole(records, 2000, first=1001)
    told = client.summary()["channels"][0]["servers"]["snapshot"]
    assert told["rejected_logins"] >= 1
    assert told["given_up"] == 1
    assert any("login rejected (A)" in e.text for e in events if isinstance(e, Trouble))


# --- the state file ------------------------------------------------------------------------------
def test_a_restart_goes_on_and_asks_for_what_it_missed(flow, tmp_path):
    messages, flows = peer.itch(9000), groups(flow)
    rng = random.Random(4)
    path = tmp_path / "feed.state"
    parts = [peer.impair(messages[a:b], rng, first=a + 1) for a, b in ((0, 3000), (6000, 9000))]
    seen = []
    with peer.MoldServer(messages) as server:
        how = [{"kind": "mold_udp64", "server": server.text}]
        for part, following, ends in zip(parts, (3001, 9001), (0, 10), strict=True):
            cfg = config(flows, recovery=how, next_sequence=0, feed={"state": str(path)})
            with wp.FeedClient(cfg) as client:
                seen.append(
                    run(
                        client,
                        sending(flows, [part, part], following, ends=ends),
                        max_messages=3000 if ends == 0 else None,
                    )
                )
            if ends == 0:
                saved = feed_state.read(path)["nasdaq"]
                assert saved.units[0].next_sequence == 3001
                assert saved.units[0].session == peer.SESSION
    assert peer.whole(np.concatenate(seen), 9000)
    assert path.stat().st_mode & 0o777 == 0o600


def test_an_old_state_and_one_of_another_session_are_left_alone(flow, tmp_path):
    messages, flows = peer.itch(500), groups(flow)
    line = peer.impair(messages, random.Random(1))
    path = tmp_path / "feed.state"
    unit = feed_state.UnitState(0, peer.SESSION, 400, 400)
    feed_state.write(path, {"nasdaq": feed_state.ChannelState("itch", (unit,), 1)})
    cfg = config(flows, next_sequence=0, feed={"state": str(path)})
    with wp.FeedClient(cfg) as client:
        records = run(client, sending(flows, [line, line], 501))
    assert peer.whole(records, 500)


@pytest.mark.parametrize("text", ["", "[]", '{"wirepath_feed_state": 9}', "\xff"])
def test_a_file_that_is_no_state(tmp_path, text):
    path = tmp_path / "feed.state"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(wp.ConfigError, match="state"):
        feed_state.read(path)


def test_a_state_that_cannot_be_written(tmp_path):
    cfg = config([("239.1.1.1", 9001)], feed={"state": str(tmp_path / "no" / "state")})
    with pytest.raises(wp.ConfigError, match="can be written"):
        wp.FeedClient(cfg).initialize()


# --- several channels, sinks, the command line ---------------------------------------------------
def test_two_channels_and_a_sink(flow, tmp_path):
    flows = groups(flow)
    days = [peer.itch(4000, seed=s) for s in (1, 2)]
    lines = [peer.impair(day, random.Random(3)) for day in days]
    cfg = wp.FeedConfig(
        feed={"interface_name": "lo"},
        channel=[
            {"name": f"c{i}", "number": i, "next_sequence": 1, "line": [{"group": g, "port": p}]}
            for i, (g, p) in enumerate(flows)
        ],
        sink=[{"kind": "npy", "name": "day", "folder": str(tmp_path)}],
    )
    with wp.FeedClient(cfg) as client:
        records = run(client, sending(flows, lines, 4001))
    summary = client.summary()
    for i in range(2):
        mine = records[records["channel"] == i]
        assert peer.whole(mine, 4000)
        assert [chr(t) for t in mine["type"]] == [chr(m[0]) for m in days[i]]
        assert summary["channels"][i]["messages"] == 4000
    sink = summary["sinks"]["day"]
    assert sink["offered"] == sink["written"] == 8000
    assert summary["packets"] == sum(len(line.packets) + 13 for line in lines)


TOML = """
[feed]
backend = "socket"
interface_name = "lo"

[[channel]]
name = "nasdaq"
protocol = "itch"
next_sequence = 1

[[channel.line]]
name = "left"
group = "{a}"
port = {pa}

[[channel.line]]
name = "right"
group = "{b}"
port = {pb}

[channel.recovery]
kind = "mold_udp64"
server = "{server}"
"""


@pytest.mark.parametrize("way", ["toml", "arguments"])
def test_the_command_line(flow, tmp_path, wirepath, way):
    messages, flows = peer.itch(5000), groups(flow)
    lines = peer.lossy_pair(messages, 3, loss=0.05, burst=4)
    assert lines[0].lost & lines[1].lost
    with peer.MoldServer(messages) as server:
        if way == "toml":
            path = tmp_path / "feed.toml"
            (a, pa), (b, pb) = flows
            path.write_text(TOML.format(a=a, b=b, pa=pa, pb=pb, server=server.text))
            arguments = ["--config", path]
        else:
            texts = [f"{g}:{p}" for g, p in flows]
            arguments = ["socket:lo", *texts, "--recovery", server.text, "--next-sequence", 1]
        out = tmp_path / "records.npy"

        def send():
            wait_for_socket(flows[1])
            peer.send_lines(list(zip(flows, lines, strict=True)), 5001)

        sender = threading.Thread(target=send)
        sender.start()
        answer = wirepath("feed", *arguments, "--json", "--out", out, "--max-seconds", 30)
        sender.join()
    assert answer.code == 0, answer.err
    (channel,) = answer.json["channels"]
    names = ["left", "right", "replies"] if way == "toml" else ["A", "B", "replies"]
    assert [line["label"] for line in channel["lines"]] == names
    assert channel["missing"] == 0
    assert channel["counters"]["recovered"] > 0
    assert peer.whole(np.load(out), 5000)


def wait_for_socket(flow):
    group = bytes(map(int, flow[0].split(".")))[::-1].hex().upper()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if f"{group}:{flow[1]:04X} " in Path("/proc/net/udp").read_text():
            return
        time.sleep(0.02)
    raise AssertionError("the feed opened no socket")


def test_mistakes_on_the_command_line(wirepath, tmp_path):
    answer = wirepath("feed", "socket:lo", "239.1.1.1:9001", "--recovery", "here", "--json")
    assert answer.code == 2
    assert "--recovery" in json.loads(answer.out)["error"]
    path = tmp_path / "feed.toml"
    path.write_text(TOML.format(a="239.1.1.1", pa=1, b="239.1.1.1", pb=1, server="h:1"))
    answer = wirepath("feed", "--config", path, "--json")
    assert answer.code == 2
    assert "channel[0].line[1].port = 1" in json.loads(answer.out)["error"]
    answer = wirepath("feed", "--config", path, "--session", "X", "--json")
    assert answer.code == 2


# --- other venues --------------------------------------------------------------------------------
def pitch(first, messages, unit=1):
    body = b"".join(messages)
    return struct.pack("<HBBI", 8 + len(body), len(messages), unit, first) + body


def send_to(flow, packet, sock):
    sock.sendto(packet, flow)
    time.sleep(0.0002)


@contextmanager
def multicast():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1"))
        yield sock


class PitchProxy(peer.StreamService):
    """A Gap Request Proxy that replays on a multicast group, before it answers."""

    def __init__(self, messages, group):
        super().__init__()
        self.messages, self.group, self.asked = messages, group, []

    def talk(self):
        came = b""
        while len(came) < 30:
            came += yield b""
        assert came[10:18] == b"S1  FIRM"
        left = yield pitch(0, [b"\x03\x02A"], 0)
        with multicast() as sock:
            while True:
                out = b""
                while len(left) >= 8 and len(left) >= (size := left[0] | left[1] << 8):
                    if left[2]:
                        unit, first, count = struct.unpack_from("<BIH", left, 10)
                        self.asked.append((unit, first, count))
                        for n in range(first, first + count):
                            sock.sendto(pitch(n, [self.messages[n - 1]], unit), self.group)
                        out += pitch(0, [struct.pack("<BBBIHc", 10, 4, unit, first, count, b"A")])
                    left = left[size:]
                left += yield out


def test_pitch_gaps_are_replayed_on_a_group_of_their_own(flow):
    live, replay = groups(flow)
    messages = [struct.pack("<BBIQ", 14, 0x29, n, n) for n in range(1, 2001)]
    lost = {n for n in range(1, 2000) if n % 97 in (5, 6, 7)}
    with PitchProxy(messages, replay) as proxy:
        how = [
            {
                "kind": "pitch",
                "server": proxy.text,
                "session": "S1",
                "username": "FIRM",
                "password": "pw",
                "line": [{"group": replay[0], "port": replay[1]}],
            }
        ]

        def send():
            time.sleep(0.3)  # the login
            with multicast() as sock:
                for n, message in enumerate(messages, 1):
                    if n not in lost:
                        send_to(live, pitch(n, [message]), sock)

        cfg = config([live], recovery=how, protocol="pitch", next_sequence=1)
        with wp.FeedClient(cfg) as client:
            records = run(client, send, max_messages=2000)
    assert peer.whole(records, 2000)
    assert records["order_id"].tolist() == list(range(1, 2001))
    recovered = records["seq"][records["flags"] & RECOVERED != 0]
    assert set(recovered.tolist()) == lost
    told = client.summary()["channels"][0]["servers"]["requests"]
    assert told["accepted"] == told["requests"] == len(proxy.asked)


def segment(first, messages, kind=0x8003):
    body = b"".join(struct.pack("<H", len(m)) + m for m in messages)
    return (
        struct.pack("<BxHIIHHqqq", 1, kind, 1, 7, len(body), len(messages), 0, first, first) + body
    )


class IexServer(peer.Service):
    """A gap-fill server: a segment for each message asked for."""

    def __init__(self, messages):
        super().__init__(socket.SOCK_DGRAM)
        self.messages = messages

    def serve(self):
        while not self.over.is_set():
            try:
                request, who = self.socket.recvfrom(2048)
            except TimeoutError:
                continue
            version, kind, protocol, channel, session, count = struct.unpack_from(
                "<BBHIII", request
            )
            assert (version, kind, protocol, channel, session) == (1, 1, 0x8003, 1, 7)
            for i in range(count):
                first, last = struct.unpack_from("<qq", request, 16 + 16 * i)
                for n in range(first, last + 1):
                    self.socket.sendto(segment(n, [self.messages[n - 1]]), who)


def test_iex_gaps_are_filled(flow):
    live, _ = groups(flow)
    messages = [struct.pack("<BBq", ord("S"), ord("S"), n) for n in range(1, 1001)]
    lost = {n for n in range(1, 1000) if n % 83 in (5, 6)}
    with IexServer(messages) as server:

        def send():
            with multicast() as sock:
                for n, message in enumerate(messages, 1):
                    if n not in lost:
                        send_to(live, segment(n, [message]), sock)

        how = [{"kind": "iex", "server": server.text}]
        cfg = config([live], recovery=how, protocol="iex", next_sequence=1)
        with wp.FeedClient(cfg) as client:
            records = run(client, send, max_messages=1000)
    assert peer.whole(records, 1000)
    recovered = records["seq"][records["flags"] & RECOVERED != 0]
    assert set(recovered.tolist()) == lost
