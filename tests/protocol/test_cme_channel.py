"""CME channels over loopback: lines that lose, snapshot feeds, books as the publisher has them."""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Callable

import pytest
from sbe_naive import Naive
from shared_data import shared

import wirepath as wp
from wirepath.feed import Books, SbeSchema, make_channel
from wirepath.feed.events import GapAbandoned

V13 = "cme/Cme.Futures.Mdp3.Sbe.v1.13.xml"
INSTRUMENTS = 5
DEPTH = 3
END = 0x80


class Publisher:
    """Three levels a side and some orders of each instrument, as dictionaries."""

    def __init__(self, schema: bytes, seed: int) -> None:
        self._naive, self._rng = Naive(schema), random.Random(seed)
        self.sent = 0
        self.levels: dict[tuple[int, int], list[tuple[int, int]]] = {}
        self.orders: dict[int, dict[int, tuple[int, int, int]]] = {}
        self._rpt_seq: dict[int, int] = {}
        self._order_ids = 0
        for instrument in range(1, INSTRUMENTS + 1):
            self._rpt_seq[instrument] = 0
            self.orders[instrument] = {}

    def _packet(self, number: int, template: int, root: dict, entries: list[dict]) -> bytes:
        message = self._naive.encode(template, 13, root, {"NoMDEntries": entries})
        size = (len(message) + 2).to_bytes(2, "little")
        return number.to_bytes(4, "little") + bytes(8) + size + message

    def next(self) -> bytes:
        """A packet of the incremental feed."""
        self.sent += 1
        instrument = self._rng.randint(1, INSTRUMENTS)
        root = {"TransactTime": self.sent, "MatchEventIndicator": END}
        if self._rng.random() < 0.3:
            return self._packet(self.sent, 47, root, [self._order(instrument)])
        self._rpt_seq[instrument] += 1
        side = self._rng.randint(0, 1)
        rows = self.levels.setdefault((instrument, side), [])
        at = self._rng.randint(0, min(len(rows), DEPTH - 1))
        price, qty = self._rng.randint(1, 999) * 10, self._rng.randint(1, 99)
        rows[at : at + 1] = [(price, qty)]
        entry = {"MDEntryPx": price, "MDEntrySize": qty, "SecurityID": instrument,
                 "RptSeq": self._rpt_seq[instrument], "MDPriceLevel": at + 1, "MDUpdateAction": 5,
                 "MDEntryType": b"01"[side : side + 1]}  # fmt: skip
        return self._packet(self.sent, 46, root, [entry])

    def last(self) -> bytes:
        self.sent += 1
        root = {"TransactTime": self.sent, "MatchEventIndicator": END}
        return self._packet(self.sent, 46, root, [])

    def _order(self, instrument: int) -> dict:
        resting = self.orders[instrument]
        action = 0 if len(resting) < 2 else self._rng.randint(0, 2)
        side, price, qty = self._rng.randint(0, 1), self._rng.randint(1, 99), 7
        if action == 0:
            self._order_ids += 1
            order = self._order_ids
            resting[order] = (side, price, qty)
        else:
            order = self._rng.choice(sorted(resting))
            side = resting[order][0]
            if action == 1:
                resting[order] = (side, price, qty)
            else:
                _, price, qty = resting.pop(order)
        return {"OrderID": order, "MDOrderPriority": order, "MDEntryPx": price, "MDDisplayQty": qty,
                "SecurityID": instrument, "MDUpdateAction": action,
                "MDEntryType": b"01"[side : side + 1]}  # fmt: skip

    def loop(self, template: int) -> list[bytes]:
        """The snapshot feed of levels (52) or of orders (53) as it stands."""
        out = []
        for number, instrument in enumerate(self.orders, 1):
            root = {"LastMsgSeqNumProcessed": self.sent, "TotNumReports": INSTRUMENTS,
                    "SecurityID": instrument, "TransactTime": self.sent}  # fmt: skip
            if template == 52:
                root["RptSeq"] = self._rpt_seq[instrument]
                entries = [
                    {"MDEntryPx": price, "MDEntrySize": qty, "MDPriceLevel": at,
                     "MDEntryType": b"01"[side : side + 1]}
                    for side in (0, 1)
                    for at, (price, qty) in enumerate(self.levels.get((instrument, side), []), 1)
                ]  # fmt: skip
            else:
                root |= {"NoChunks": 1, "CurrentChunk": 1}
                entries = [
                    {"OrderID": order, "MDOrderPriority": order, "MDEntryPx": price,
                     "MDDisplayQty": qty, "MDEntryType": b"01"[side : side + 1]}
                    for order, (side, price, qty) in self.orders[instrument].items()
                ]  # fmt: skip
            out.append(self._packet(number, template, root, entries))
        return out


@pytest.fixture(scope="module")
def schema_file():
    return shared(V13)


def check(books: Books, publisher: Publisher) -> None:
    """The books are the publisher's. CME's prices are in 1e-9, as records have them."""
    for instrument in publisher.orders:
        for side, letter in enumerate("BS"):
            rows = books.depth(instrument, letter)[["price", "qty"]].tolist()
            assert rows == publisher.levels.get((instrument, side), [])
            have = {
                int(o["order_id"]): (side, int(o["price"]), int(o["qty"]))
                for o in books.orders(instrument, letter)
            }
            assert have == {
                order: row for order, row in publisher.orders[instrument].items() if row[0] == side
            }
        assert books.consistent(instrument)


def _publish(
    publisher: Publisher, rng: random.Random, send: Callable[[int, bytes], None]
) -> list[int]:
    """3,000 packets on lines 0 and 1, each losing some and both a burst, with loops on 2 and 3;
    the packets that neither line has."""
    lost = []
    loops: dict[int, list[bytes]] = {52: [], 53: []}
    for i in range(3000):
        packet = publisher.next()
        burst = 1000 <= i < 1040
        lines = [line for line in (0, 1) if not burst and (i == 0 or rng.random() >= 0.06)]
        for line in lines:
            send(line, packet)
        lost += [publisher.sent] * (not lines)
        if i % 10 == 9:
            for template, line in ((52, 2), (53, 3)):
                loops[template] = loops[template] or publisher.loop(template)
                part = loops[template].pop(0)
                if rng.random() >= 0.05:
                    send(line, part)
        if i % 8 == 7:
            time.sleep(0.002)
    return lost


def test_books_over_lossy_lines_and_snapshot_feeds_are_the_publishers(flow, schema_file, tmp_path):
    group, port = flow
    path = tmp_path / "feed.toml"
    path.write_text(
        f"""
[feed]
interface_name = "lo"
options = {{ rx_buffer_bytes = 8388608 }}
[[channel]]
name = "es"
protocol = "cme"
number = 310
schema_file = "{schema_file}"
line = [{{ group = "{group}", port = {port} }}, {{ group = "{group}", port = {port + 1} }}]
[channel.arbiter]
hold_ns = 200_000_000
[channel.recovery]
kind = "cme_snapshot"
held_records = 4096
line = [{{ group = "{group}", port = {port + 2} }}, {{ group = "{group}", port = {port + 3} }}]
"""
    )
    publisher = Publisher(schema_file.read_bytes(), 5)
    sent = [0, 0, 0, 0]
    ring = wp.RingBuffer(1 << 17)
    with (
        wp.FeedClient(wp.FeedConfig.from_toml(path)) as client,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock,
    ):
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1"))
        client.start_ingestion(ring)

        def send(line: int, packet: bytes) -> None:
            sock.sendto(packet, (group, port + line))
            sent[line] += 1

        lost = _publish(publisher, random.Random(6), send)
        assert len(lost) > 41
        last = publisher.last()
        send(0, last)
        send(1, last)
        deadline = time.monotonic() + 40
        while True:
            for template, line in ((52, 2), (53, 3)):
                for part in publisher.loop(template):
                    send(line, part)
            time.sleep(0.1)
            (channel,) = client.snapshot()["channels"]
            heard = [line["packets"] for line in channel["lines"]]
            if not channel["snapshot_loop"]["wanting"] and heard == sent:
                break
            assert time.monotonic() < deadline, channel
        client.stop_ingestion()
        events = [e.event for e in client.events()]
        (channel,) = client.summary()["channels"]
    told = [e for e in events if isinstance(e, GapAbandoned)]
    given_up = [n for e in told for n in range(e.first, e.last + 1)]
    assert set(lost) <= set(given_up)  # more where the machine kept the worker waiting
    assert channel["counters"]["abandoned"] == len(given_up)
    loop = channel["snapshot_loop"]
    assert loop["lost_packets"] == len(given_up)
    assert loop["recovered"] > INSTRUMENTS
    assert loop["stale_instruments"] == []
    assert loop["stale_books"] == loop["held_now"] == 0
    assert [line["label"] for line in channel["lines"]] == ["A", "B", "recovery 1", "recovery 2"]
    books, records = Books(), ring.pop_batch(1 << 17)
    assert len(records) == channel["delivered"]
    books.apply(records)
    check(books, publisher)
    assert books.counters["unknown_order"] == books.counters["unknown_level"] == 0


def test_what_does_not_go_with_the_snapshot_feeds(schema_file):
    how = {"name": "x", "lines": [wp.udp("239.1.1.1", 9000)], "recovery": "cme_snapshot"}
    lines = {"recovery_lines": [wp.udp("239.1.1.1", 9001)]}
    schema = {"schema": SbeSchema.load(schema_file)}
    for more, told in (
        (schema, "recovery_lines"),
        (schema | lines | {"types": [46]}, "types"),
        (schema | lines | {"arbiter": {"in_order": False}}, "in_order"),
        (schema | lines | {"recovery_options": {"held": 1}}, "held_records and instruments"),
        (schema | lines | {"recovery_options": {"held_records": 0}}, "held_records = 0"),
        (schema | lines | {"recovery_options": {"held_records": "x"}}, "held_records = 'x'"),
    ):
        with pytest.raises(wp.ConfigError, match=told):
            make_channel("cme", **how, **more)
    with pytest.raises(wp.ConfigError, match='protocol "cme"'):
        make_channel("itch", **how, **lines)
