"""Books of real captures against books kept by hand in Python."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sbe_naive import Naive
from shared_data import shared

import wirepath as wp
from wirepath.dtypes import Action, RecordFlag
from wirepath.feed import Books, CmeRecovery, Mdp3, SbeSchema, entry_aux

CME = "cme/mdp3_v6_lines_ab.pcapng"
V6 = "cme/Cme.Futures.Mdp3.Sbe.v1.6.xml"
V13 = "cme/Cme.Futures.Mdp3.Sbe.v1.13.xml"


def payloads(name):
    """(UDP payload, destination) of every frame."""
    out = []
    with wp.open(f"pcap:{shared(name)}", steer=wp.everything()) as port:
        for batch in port:
            headers = batch.headers()
            for i in range(len(batch)):
                start, length = headers["payload_offset"][i], headers["payload_length"][i]
                ends = (bytes(headers["ip_dst"][i][:4]), int(headers["dst_port"][i]))
                out.append((bytes(batch[i][start : start + length]), ends))
    return out


@pytest.fixture(scope="module")
def line_a():
    """One line's packets: the other's are the same."""
    packets = payloads(CME)
    return [p for p, ends in packets if ends == packets[0][1]]


class Levels:
    """Numbered levels as a list of ten (price, quantity), None where it was never told."""

    def __init__(self, depth):
        self.rows = [None] * depth

    def apply(self, update, level, row):
        depth = len(self.rows)
        if update == 0:
            self.rows.insert(level - 1, row)
        elif update == 2:
            del self.rows[level - 1]
        elif update == 3:
            del self.rows[:level]
        elif update == 4:
            del self.rows[level - 1 :]
        else:
            self.rows[level - 1] = row
        self.rows = (self.rows + [None] * depth)[:depth]

    def told(self):
        out = []
        for row in self.rows:
            if row is None:
                break
            out.append(row)
        return out


def test_cme_books_at_every_end_of_an_event_are_those_kept_by_hand(line_a):
    decoder, books = Mdp3(SbeSchema.load(shared(V6))), Books()
    kept: dict[tuple[int, str], Levels] = {}
    ends = looked = 0
    touched: set[int] = set()
    for payload in line_a:
        records = decoder.packet(payload)
        told = books.apply(records)
        for r, aux in zip(records, entry_aux(records), strict=True):
            kind = aux["entry_type"].decode()
            if r["type"] == 32 and kind in "01EF":
                level, update = int(aux["level"]), int(aux["update_action"])
                side = kept.setdefault(
                    (int(r["instrument"]), kind), Levels(10 if kind in "01" else 2)
                )
                side.apply(update, level, (int(r["price"]), int(r["qty"])))
                touched.add(int(r["instrument"]))
            ends += bool(r["flags"] & RecordFlag.END_OF_EVENT)
        if not (len(records) and records[-1]["flags"] & RecordFlag.END_OF_EVENT):
            continue
        for instrument in touched:
            assert books.consistent(instrument)
            for kind, side in (("0", "B"), ("1", "S"), ("E", "B"), ("F", "S")):
                expected = kept[instrument, kind].told() if (instrument, kind) in kept else []
                have = books.depth if kind in "01" else lambda i, s: books.implied(i, s)
                rows = have(instrument, side)[["price", "qty"]].tolist()
                assert rows == expected
                looked += len(rows)
        for row in told:
            for name, kind in (("bid", "0"), ("ask", "1")):
                best = kept.get((int(row["instrument"]), kind), Levels(10)).told()
                assert (row[name], row[name + "_qty"]) == (best[0] if best else (0, 0))
        touched.clear()
    assert ends > 3_000
    assert looked > 100_000
    counters = books.counters
    assert counters["crossed"] == counters["locked"] == counters["negative_size"] == 0
    assert counters["bbo_changes"] > 1_000


def test_tops_quotes_are_the_best_prices():
    decoder, books, table = wp.feed.Iex(), Books(), {}
    for payload, _ in payloads("iex/tops16.pcapng.gz"):
        records = decoder.on_packet(payload)
        books.apply(records)
        for r in records[records["type"] == ord("Q")]:
            key = (int(r["instrument"]), chr(r["side"]))
            table[key] = (int(r["price"]), int(r["qty"])) if r["qty"] else (0, 0)
    assert len(table) > 1_000
    for (instrument, side), best in table.items():
        row = books.best(instrument)
        name = "bid" if side == "B" else "ask"
        assert (row[name], row[name + "_qty"]) == best
        assert books.consistent(instrument)
    assert books.counters["events"] == 27_217
    assert books.checks.counts["unknown_order"] == 0


def test_pitch_orders_are_those_kept_by_hand():
    decoder, books, orders = wp.feed.Pitch(), Books(), {}
    unknown = 0
    for payload, ends in payloads("pitch/realtime_ab.pcap"):
        if ends[0] != bytes([239, 39, 62, 190]):
            continue
        records = decoder.on_packet(payload)
        books.apply(records)
        for r in records:
            at = int(r["order_id"])
            if r["action"] == Action.ADD:
                orders[at] = [chr(r["side"]), int(r["price"]), int(r["qty"])]
            elif r["action"] in (Action.EXECUTE, Action.CANCEL, Action.DELETE, Action.MODIFY):
                if at not in orders:
                    unknown += 1
                elif r["action"] == Action.MODIFY:
                    orders[at][1:] = [int(r["price"]), int(r["qty"])]
                elif r["action"] == Action.DELETE or orders[at][2] <= r["qty"]:
                    del orders[at]
                else:
                    orders[at][2] -= int(r["qty"])
    have = {
        int(o["order_id"]): [side, int(o["price"]), int(o["qty"])]
        for instrument in books.instruments()
        for side in "BS"
        for o in books.orders(instrument, side)
    }
    assert have == orders
    assert books.counters["applied"] > 10
    assert books.counters["unknown_order"] == unknown


def test_a_real_line_joined_late_with_losses_and_snapshots(line_a):
    """Snapshots made from the books of the whole line; the line itself loses packets."""
    naive, schema = Naive(shared(V6).read_bytes()), SbeSchema.load(shared(V6))
    decoder, truth, rpt_seq = Mdp3(schema), Books(), {}
    recovery, books = CmeRecovery(schema), Books()
    rng = np.random.default_rng(4)
    lost = 0

    def loop(covers):
        instruments = sorted(rpt_seq)
        for number, instrument in enumerate(instruments, 1):
            entries = [
                {
                    "MDEntryPx": price // 100,
                    "MDEntrySize": qty,
                    "MDPriceLevel": at,
                    "MDEntryType": t,
                }
                for t, view, side in (
                    (b"0", truth.depth, "B"),
                    (b"1", truth.depth, "S"),
                    (b"E", truth.implied, "B"),
                    (b"F", truth.implied, "S"),
                )
                for at, (price, qty) in enumerate(
                    view(instrument, side)[["price", "qty"]].tolist(), 1
                )
            ]
            root = {
                "LastMsgSeqNumProcessed": covers,
                "TotNumReports": len(instruments),
                "SecurityID": instrument,
                "RptSeq": rpt_seq[instrument],
                "TransactTime": 1,
                "LastUpdateTime": 1,
            }
            message = naive.encode(38, 6, root, {"NoMDEntries": entries})
            size = (len(message) + 2).to_bytes(2, "little")
            packet = number.to_bytes(4, "little") + bytes(8) + size + message
            books.apply(recovery.snapshot(packet))

    for i, payload in enumerate(line_a):
        records = decoder.packet(payload)
        truth.apply(records)
        for r in records[(records["order_id"] == 0) & (records["instrument"] != 0)]:
            rpt_seq[int(r["instrument"])] = int(r["aux"]) & 0xFFFFFFFF
        if rng.random() < 0.01 and i < 4_900:
            lost += 1
            continue
        books.apply(recovery.packet(payload))
        if i % 500 == 499 and books.consistent(
            int(records["instrument"][0]) if len(records) else 0
        ):
            loop(int.from_bytes(payload[:4], "little"))
    assert lost > 20
    loop(int.from_bytes(line_a[-1][:4], "little"))
    loop(int.from_bytes(line_a[-1][:4], "little"))
    assert not recovery.wanting
    assert recovery.stale == []
    counters = recovery.counters
    assert counters["lost_packets"] == lost
    assert counters["recovered"] > 20
    assert counters["records"] == counters["passed"] + counters["held"] + counters["superseded"]
    followed = 0
    for instrument in rpt_seq:
        for side in "BS":
            expected = truth.depth(instrument, side).tolist()
            assert books.depth(instrument, side).tolist() == expected
            assert (
                books.implied(instrument, side).tolist() == truth.implied(instrument, side).tolist()
            )
            followed += len(expected)
    assert followed > 100


_EVENTS = st.lists(
    st.tuples(st.integers(1, 3), st.integers(0, 1), st.booleans(), st.integers(0, 5)), max_size=60
)


@pytest.fixture(scope="module")
def v13():
    return Naive(shared(V13).read_bytes()), SbeSchema.load(shared(V13))


@settings(deadline=None, max_examples=60)
@given(events=_EVENTS)
def test_whatever_is_lost_a_loop_brings_back(v13, events):
    """One level a side, of three instruments; (instrument, side, lost, loop step)."""
    naive, schema = v13
    recovery, books = CmeRecovery(schema, held_records=8), Books()
    rpt_seq, best = dict.fromkeys((1, 2, 3), 0), {}

    def packed(number, message):
        size = (len(message) + 2).to_bytes(2, "little")
        return number.to_bytes(4, "little") + bytes(8) + size + message

    def loop(covers):
        for number, instrument in enumerate(rpt_seq, 1):
            entries = [
                {"MDEntryPx": best[instrument, side], "MDEntrySize": 1, "MDPriceLevel": 1,
                 "MDEntryType": b"01"[side : side + 1]}
                for side in (0, 1)
                if (instrument, side) in best
            ]  # fmt: skip
            root = {"LastMsgSeqNumProcessed": covers, "TotNumReports": 3, "SecurityID": instrument,
                    "RptSeq": rpt_seq[instrument], "TransactTime": 1}  # fmt: skip
            message = naive.encode(52, 13, root, {"NoMDEntries": entries})
            books.apply(recovery.snapshot(packed(number, message)))

    for number, (instrument, side, lost, step) in enumerate(events, 1):
        rpt_seq[instrument] += 1
        price = best[instrument, side] = (100 + number) * 10
        entry = {"MDEntryPx": price, "MDEntrySize": 1, "SecurityID": instrument,
                 "RptSeq": rpt_seq[instrument], "MDPriceLevel": 1, "MDUpdateAction": 5,
                 "MDEntryType": b"01"[side : side + 1]}  # fmt: skip
        values = {"TransactTime": 1, "MatchEventIndicator": 0x80}
        message = naive.encode(46, 13, values, {"NoMDEntries": [entry]})
        if not lost:
            books.apply(recovery.packet(packed(number, message)))
        if step == 0:
            loop(number)
    end = naive.encode(46, 13, {"TransactTime": 1, "MatchEventIndicator": 0x80}, {})
    books.apply(recovery.packet(packed(len(events) + 1, end)))
    loop(len(events) + 1)
    assert not recovery.wanting
    assert recovery.counters["held_now"] == 0
    for (instrument, side), price in best.items():
        rows = books.depth(instrument, "BS"[side])
        assert rows["price"].tolist() == [price]
        assert books.consistent(instrument)
        assert recovery.state(instrument) == "live"


def test_options_that_are_not_usable(v13):
    for options in ({"channel": -1}, {"held_records": 0}, {"instruments": 0}):
        with pytest.raises(wp.ConfigError, match=next(iter(options))):
            CmeRecovery(v13[1], **options)
    with pytest.raises(wp.ConfigError, match="of ="):
        CmeRecovery(v13[1]).state(1, "quotes")
    recovery = CmeRecovery(v13[1])
    assert len(recovery.packet(b"short")) == 0
    assert recovery.counters["malformed_packets"] == 1
