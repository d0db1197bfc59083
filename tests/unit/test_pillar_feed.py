# SPDX-License-Identifier: Apache-2.0
"""A channel of NYSE Pillar: two lines, the Request Server, and rows of declared messages."""

from __future__ import annotations

import json
import random
import socket
import struct
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import feed_peer as peer
import numpy as np
import pytest
from venue_reference import pillar_packet

import wirepath as wp
from wirepath.cli import main
from wirepath.dtypes import NO_PRICE

RECOVERED = int(wp.RecordFlag.RECOVERED)
ADD, TRADE, OTHER = 100, 220, 34
SENT = 1_706_711_400_000_000_123
DECLARED = (
    {
        "type": ADD,
        "name": "add",
        "dtype": "time:<u4,symbol:<u4,number:<u4,order:<u8,price:<u4,volume:<u4,side:S1",
        "instrument": "symbol",
    },
    {"type": TRADE, "dtype": "time:<u4,symbol:<u4,price:<u4", "instrument": "symbol"},
)


def add(n: int) -> bytes:
    """An order with what a newer version has behind it."""
    body = struct.pack("<IIIQIIc", n, n % 5 + 1, n, 1000 + n, 2 * n, 100, b"BS"[n % 2 : n % 2 + 1])
    return struct.pack("<HH", 4 + len(body) + 6, ADD) + body + b"MORE.."


def trade(n: int) -> bytes:
    return struct.pack("<HHIII", 16, TRADE, n, n % 5 + 1, 3 * n)


def other(n: int) -> bytes:
    return struct.pack("<HHI", 8, OTHER, n)


def day(count: int) -> list[bytes]:
    """Two orders, a trade and a message that nobody declares, over and over."""
    kinds = (add, add, trade, other)
    return [kinds[n % 4](n) for n in range(1, count + 1)]


@contextmanager
def multicast():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1"))
        yield sock


class RequestServer(peer.StreamService):
    """Answers on the connection, and with the messages on a multicast group; what is in `refused`
    it has not."""

    def __init__(self, messages, group, refused=()):
        super().__init__()
        self.messages, self.group, self.refused = messages, group, set(refused)
        self.asked: list[tuple[int, int]] = []
        self.heartbeats = 0

    def talk(self):
        left = yield pillar_packet(1, 0)
        with multicast() as sock:
            while True:
                out = b""
                while len(left) >= 16 and len(left) >= (size := left[0] | left[1] << 8):
                    (kind,) = struct.unpack_from("<H", left, 18)
                    if kind == 12:
                        assert left[20:30] == b"WIRE" + bytes(6)
                        self.heartbeats += 1
                    else:
                        assert kind == 10
                        out += self.answer(sock, left[20:40])
                    left = left[size:]
                left += yield out

    def answer(self, sock, request: bytes) -> bytes:
        begin, end, source, product, channel = struct.unpack("<II10sBB", request)
        assert (source, product, channel) == (b"WIRE" + bytes(6), 3, 9)
        self.asked.append((begin, end))
        status = b"3" if self.refused & set(range(begin, end + 1)) else b"0"
        if status == b"0":
            for first in range(begin, end + 1, 8):
                some = self.messages[first - 1 : min(first + 7, end)]
                sock.sendto(pillar_packet(15, first, *some, sent=SENT), self.group)
        head = struct.pack("<HHIII", 29, 11, len(self.asked), begin, end)
        return pillar_packet(11, 0, head + struct.pack("<10sBBc", source, product, channel, status))


def lossy(messages, seed: int, loss: float):
    """Packets of a line with the numbers of their messages, and the messages that are lost. The
    first and the last packets are whole, so that what is missing is known while the feed runs."""
    rng, packets, lost, at = random.Random(seed), [], set(), 1
    while at <= len(messages):
        some = messages[at - 1 : at - 1 + rng.randint(1, 6)]
        if rng.random() < loss and 1 < at < len(messages) - 12:
            lost |= set(range(at, at + len(some)))
        else:
            packets.append((at, pillar_packet(11, at, *some, sent=SENT)))
        at += len(some)
    return packets, lost


def send(lines, flows, following: int):
    """Lines side by side, in step by sequence number, then heartbeats."""
    queue = sorted((at, k, p) for k, (packets, _) in enumerate(lines) for at, p in packets)
    with multicast() as sock:
        for i, (_, k, p) in enumerate(queue):
            sock.sendto(p, flows[k])
            if i % 20 == 0:
                time.sleep(0.002)
        for _ in range(5):
            time.sleep(0.05)
            for flow in flows:
                sock.sendto(pillar_packet(1, following, sent=SENT + 1), flow)


def flows_of(flow):
    return [(flow[0], flow[1] + i) for i in range(3)]


def configured(flows, *, feed=(), recovery=(), message=DECLARED, **channel):
    return wp.FeedConfig(
        feed={"interface_name": "lo", "options": {"rx_buffer_bytes": 8 << 20}, **dict(feed)},
        channel=[
            {
                "name": "nyse",
                "protocol": "pillar",
                "number": 7,
                "next_sequence": 1,
                "line": [{"group": g, "port": p} for g, p in flows],
                "recovery": list(recovery),
                "message": list(message),
                **channel,
            }
        ],
    )


def asking(server, group, **more):
    return {
        "kind": "nyse",
        "server": server.text,
        "source_id": "WIRE",
        "product_id": 3,
        "channel_id": 9,
        "backoff": 0.05,
        "line": [{"group": group[0], "port": group[1]}],
        **more,
    }


def run(config, sender, messages: int, **limits):
    """Records, rows by name, and the summary of a run."""
    records, rows = [], {}

    def take(channel, some):
        assert channel == "nyse"
        for name, each in some.items():
            rows.setdefault(name, []).append(each)

    with wp.FeedClient(config) as client:
        client.start_ingestion(stats=wp.IngestionStats())
        thread = threading.Thread(target=sender)
        thread.start()
        client.run(
            max_seconds=limits.pop("max_seconds", 30),
            max_messages=messages,
            on_records=records.append,
            on_rows=take,
        )
        thread.join()
    found = {name: np.concatenate(parts) for name, parts in rows.items()}
    whole = np.concatenate(records) if records else np.empty(0, wp.RECORD)
    return whole, found, client.summary()["channels"][0]


def test_what_both_lines_lose_comes_from_the_request_server_once_and_in_order(flow):
    messages, (a, b, again) = day(6000), flows_of(flow)
    lines = [lossy(messages, seed, 0.1) for seed in (1, 2)]
    both = lines[0][1] & lines[1][1]
    assert both
    with RequestServer(messages, again) as server:

        def sender():
            time.sleep(0.3)  # the connection
            send(lines, (a, b), len(messages) + 1)

        config = configured((a, b), recovery=[asking(server, again)])
        records, rows, channel = run(config, sender, len(messages))
    numbers = np.arange(1, len(messages) + 1)
    assert np.array_equal(records["seq"], numbers)
    assert records["type"].tolist() == [(ADD, ADD, TRADE, OTHER)[n % 4] for n in numbers]
    assert set(records["venue"].tolist()) == {5}
    assert set(records["channel"].tolist()) == {7}
    assert set(records["event_time"].tolist()) == {SENT}
    assert set(records["price"].tolist()) == {NO_PRICE}
    wanted = [0 if n % 4 == 3 else n % 5 + 1 for n in numbers.tolist()]
    assert records["instrument"].tolist() == wanted
    recovered = records["seq"][records["flags"] & RECOVERED != 0]
    assert set(recovered.tolist()) >= both
    # Every field of the declared messages, and what a newer version has behind them left out.
    adds, trades = rows["add"], rows[str(TRADE)]
    n = adds["seq"].astype(np.int64)
    assert n.tolist() == [x for x in numbers.tolist() if x % 4 in (0, 1)]
    assert np.array_equal(adds["order"], 1000 + n)
    assert np.array_equal(adds["price"], 2 * n)
    assert np.array_equal(adds["symbol"], n % 5 + 1)
    assert adds["side"].tolist() == [b"BS"[x % 2 : x % 2 + 1] for x in n.tolist()]
    assert set(adds["send_time"].tolist()) == {SENT}
    assert np.array_equal(trades["price"], 3 * trades["seq"])
    assert set(trades["seq"][trades["flags"] & RECOVERED != 0].tolist()) >= {
        x for x in both if x % 4 == 2
    }
    assert channel["missing"] == 0
    assert channel["rows"] == {"stored": len(adds) + len(trades), "lost": 0}
    assert channel["by_type"] == {ADD: len(adds), TRADE: len(trades), OTHER: len(messages) // 4}
    told = channel["servers"]["requests"]
    assert told["accepted"] == told["requests"] == len(server.asked)
    assert server.heartbeats > 0
    assert max(end - begin for begin, end in server.asked) < 1000
    for line, (_, lost) in zip(channel["lines"], lines, strict=False):
        assert line["missing"] == len(lost)


def test_what_the_server_has_not_is_given_up_and_the_rest_comes(flow):
    messages, (a, b, again) = day(2000), flows_of(flow)
    lines = [lossy(messages, seed, 0.15) for seed in (3, 4)]
    both = lines[0][1] & lines[1][1]
    gone = peer.ranges(both)[0]
    with RequestServer(messages, again, refused=range(gone[0], gone[1] + 1)) as server:

        def sender():
            time.sleep(0.3)
            send(lines, (a, b), len(messages) + 1)

        config = configured((a, b), recovery=[asking(server, again)])
        records, _, channel = run(config, sender, 10**9, max_seconds=4)
    missing = set(range(1, len(messages) + 1)) - set(records["seq"].tolist())
    assert missing >= set(range(gone[0], gone[1] + 1))
    assert missing <= both
    assert channel["missing"] == len(missing)
    assert {gap[2] for gap in channel["abandoned"]} == {"refused"}
    assert channel["servers"]["requests"]["refused"] > 0


def test_the_requests_of_a_day_count_after_a_restart_too(flow, tmp_path):
    """Also those of which no sink has a record yet, and those of a run that was not the last."""
    messages, (a, b, again) = day(3000), flows_of(flow)
    asked = []

    def feed(first: int, last: int) -> dict:
        packets, end = lossy(messages[:last], 7, 0.3)[0], last + 1
        line = [(at, packet) for at, packet in packets if at >= first]
        with RequestServer(messages, again) as server:

            def sender():
                time.sleep(0.3)
                send([(line, set()), (line, set())], (a, b), end)

            quota = {"per_day": 4, "max_per_request": 3, "deadline_ns": 400_000_000}
            state = {"state": str(tmp_path / "feed.state")}
            config = configured((a, b), feed=state, recovery=[asking(server, again, **quota)])
            _, _, channel = run(config, sender, 10**9, max_seconds=2.5)
            asked.append(len(server.asked))
        return channel["recovery"]

    first = feed(1, 1000)
    assert (first["requests"], first["requests_in_day"], asked[0]) == (4, 4, 4)
    assert first["waited"] > 0
    for at in (1001, 2001):
        told = feed(at, at + 999)
        assert told["abandoned"] > 0  # it had something to ask for
        assert (told["requests"], told["requests_in_day"], asked[-1]) == (0, 4, 0)


def test_without_a_server_the_gaps_told_are_what_both_lost(flow):
    messages, (a, b, _) = day(3000), flows_of(flow)
    lines = [lossy(messages, seed, 0.1) for seed in (5, 6)]
    both = lines[0][1] & lines[1][1]
    config = configured((a, b), arbiter={"hold_ns": 200_000_000})
    records, _, channel = run(
        config, lambda: send(lines, (a, b), len(messages) + 1), len(messages) - len(both)
    )
    assert set(records["seq"].tolist()) == set(range(1, len(messages) + 1)) - both
    given_up = {n for first, last, *_ in channel["abandoned"] for n in range(first, last + 1)}
    assert given_up == both
    assert channel["missing"] == len(both)


def test_types_and_instruments_choose_and_short_messages_are_malformed(flow):
    a = flows_of(flow)[0]
    short = struct.pack("<HHI", 8, TRADE, 1)
    packet = pillar_packet(11, 1, *day(8), short, other(9), sent=SENT)

    def sender():
        with multicast() as sock:
            sock.sendto(packet, a)

    records, rows, channel = run(
        configured([a], instruments=[3], types=[ADD, TRADE]), sender, 10**9, max_seconds=1
    )
    # Of 1 to 8: n % 5 + 1 == 3 are 2 (a trade) and 7 (of no declared type).
    assert records["seq"].tolist() == [2]
    assert [(name, r["seq"].tolist()) for name, r in rows.items()] == [(str(TRADE), [2])]
    assert (channel["messages"], channel["malformed"], channel["filtered"]) == (1, 1, 8)


def test_a_reset_begins_the_sequence_anew(flow):
    a = flows_of(flow)[0]
    reset = struct.pack("<HHIBB", 10, 1, 0, 3, 9)

    def sender():
        with multicast() as sock:
            sock.sendto(pillar_packet(11, 1, *day(4)), a)
            sock.sendto(pillar_packet(12, 1, reset), a)
            sock.sendto(pillar_packet(11, 2, other(2), other(3)), a)

    records, _, channel = run(configured([a]), sender, 7, max_seconds=5)
    assert records["seq"].tolist() == [1, 2, 3, 4, 1, 2, 3]
    assert channel["counters"]["resets"] == 1


def test_rows_that_nobody_takes_are_bounded_and_counted(flow):
    a = flows_of(flow)[0]
    messages = [trade(n) for n in range(1, 12_001)]
    config = configured([a], message_bytes=1 << 18)

    def sender():
        send([lossy(messages, 1, 0.0)], [a], len(messages) + 1)

    with wp.FeedClient(config) as client:
        client.start_ingestion()
        thread = threading.Thread(target=sender)
        thread.start()
        client.run(max_seconds=30, max_messages=len(messages))
        thread.join()
        told = client.summary()["channels"][0]["rows"]
        (rows,) = client.rows("nyse").values()
        assert client.rows("nyse") == {}
        with pytest.raises(wp.ConfigError, match=r"channel = .x. .* nyse"):
            client.rows("x")
    assert told["stored"] + told["lost"] == len(messages)
    assert told["lost"] > 0
    assert len(rows) == told["stored"]
    assert np.array_equal(rows["seq"], np.arange(1, len(rows) + 1))  # the newest are dropped


def test_the_command_writes_records_and_rows(flow, tmp_path):
    a, b, _ = flows_of(flow)
    messages = day(400)
    path = tmp_path / "nyse.toml"
    fields = DECLARED[0]["dtype"]
    path.write_text(
        f"""
        [feed]
        interface_name = "lo"
        [[channel]]
        name = "nyse"
        protocol = "pillar"
        next_sequence = 1
        line = [{{ group = "{a[0]}", port = {a[1]} }}, {{ group = "{b[0]}", port = {b[1]} }}]
        [[channel.message]]
        type = {ADD}
        name = "add"
        dtype = "{fields}"
        """
    )
    lines = [lossy(messages, 1, 0.0)] * 2
    command = [sys.executable, "-m", "wirepath", "feed", "--config", str(path), "--json"]
    command += ["--out", str(tmp_path / "all.npy"), "--rows", str(tmp_path / "rows")]
    command += ["--max-messages", "400", "--max-seconds", "60"]
    texts = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **texts) as process:
        try:
            assert "listening" in process.stderr.readline()
            send(lines, (a, b), 401)
            out, errors = process.communicate(timeout=90)
        finally:
            process.kill()
    assert process.returncode == 0, errors
    told = json.loads(out.splitlines()[-1])
    assert len(np.load(tmp_path / "all.npy")) == 400 == told["channels"][0]["messages"]
    rows = np.load(tmp_path / "rows/nyse/type=add/add.npy")
    assert rows["seq"].tolist() == [n for n in range(1, 401) if n % 4 in (0, 1)]
    assert np.array_equal(rows["order"], 1000 + rows["seq"])


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"message": [{"type": 1}]}, r"channel\[0\].message\[0\].dtype is missing"),
        (
            {"message": [{"type": 1, "dtype": "a:zz"}]},
            r'message\[0\].dtype = "a:zz" is not usable: it must be NAME:TYPE',
        ),
        ({"message": [{"type": 1, "dtype": "12"}]}, r'dtype = "12" is not usable'),
        ({"message": [{"type": 1, "dtype": "seq:<u4"}]}, "without a field seq, which every row"),
        ({"message": [{"type": 1, "dtype": "a:S2000"}]}, "at most 1400 bytes, not 2000"),
        (
            {"message": [{"type": 1, "dtype": "a:<u8,b:<u4", "instrument": "a"}]},
            r'instrument = "a" is not usable: it must be one of the fields of type <u4: b',
        ),
        (
            {"message": [{"type": 1, "dtype": "a:<u4"}, {"type": 1, "dtype": "a:<u4"}]},
            r"message\[1\].type = 1 is not usable: it must be another one",
        ),
        ({"message": [], "instruments": [1]}, r"instruments = \[1\] .* which field is its"),
        ({"symbols": ["IBM"]}, "symbols = .* name instruments"),
        ({"message_bytes": 5}, "message_bytes = 5 is not usable: it must be a whole number"),
        ({"session": "X"}, 'session = "X" is not usable: it must be left out with protocol pillar'),
        ({"protocol": "iex"}, r"message = .* left out with protocol iex, whose messages are known"),
    ],
)
def test_what_is_not_usable_is_told_with_its_path(changes, told):
    with pytest.raises(wp.ConfigError, match=told):
        configured([("239.1.1.1", 9001)], **changes)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"source_id": ""}, "source_id is missing: it must be 1 to 10 ASCII characters"),
        ({"product_id": 256}, "product_id = 256 is not usable"),
        ({"username": "me"}, 'username = "me" is not usable: it must be left out with kind nyse'),
        ({"line": []}, "line is missing: it must be the group on which nyse's retransmissions"),
        (
            {"kind": "pitch"},
            'source_id = "WIRE" is not usable: it must be left out with kind pitch',
        ),
        ({"kind": "mold_udp64"}, "mold_udp64 is not usable|nyse with protocol pillar|kind"),
    ],
)
def test_a_request_server_that_is_not_usable(changes, told):
    how = {
        "kind": "nyse",
        "server": "127.0.0.1:9",
        "source_id": "WIRE",
        "line": [{"group": "239.1.1.2", "port": 9002}],
        **changes,
    }
    with pytest.raises(wp.ConfigError, match=told):
        configured([("239.1.1.1", 9001)], recovery=[how])


def test_rows_without_declared_messages_are_refused(tmp_path, capsys):
    path = tmp_path / "feed.toml"
    path.write_text(
        '[feed]\ninterface_name = "lo"\n[[channel]]\nname = "n"\nprotocol = "pillar"\n'
        'line = [{ group = "239.1.1.1", port = 9001 }]\n'
    )
    assert main(["feed", "--config", str(path), "--rows", str(tmp_path / "rows")]) == 2
    assert "no channel declares messages" in capsys.readouterr().err
