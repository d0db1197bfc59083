"""Real IEX and Cboe frames: the feed against what is known of the captures and against struct."""

from __future__ import annotations

import gzip
import shutil
import struct
import subprocess
from collections import Counter

import numpy as np
import pytest
from shared_data import missing, shared
from venue_reference import PitchTimes, Symbols, iex_records, pitch_records

import wirepath as wp
from wirepath.feed import Gap, Iex, IexColumns, IexTp, Message, Pitch, PitchColumns, PitchUnits, iex

TOPS = {
    "Q": 27_217, "H": 7_803, "P": 7_802, "O": 7_801, "T": 6_390, "A": 642, "D": 10, "S": 6, "B": 3,
}  # fmt: skip


@pytest.fixture
def tops():
    """The TOPS capture; packed, ports unpack it."""
    return shared("iex/tops16.pcapng.gz")


def payloads(path):
    """(time, destination address, UDP payload) of each frame."""
    with wp.open(f"pcap:{path}", steer=wp.everything()) as port:
        for batch in port:
            headers = batch.headers()
            for i in range(len(batch)):
                start, length = headers["payload_offset"][i], headers["payload_length"][i]
                group = ".".join(map(str, headers["ip_dst"][i][:4]))
                frame = bytes(batch[i])
                yield int(batch.timestamps[i]), group, frame[start : start + length]


def records_of(reader, path):
    with wp.open(f"pcap:{path}", steer=wp.everything()) as port:
        return np.concatenate([reader.on_batch(batch) for batch in port])


def test_tops_by_type_and_without_a_break(tops):
    reader = Iex(channel=4)
    records = records_of(reader, tops)
    told = reader.message_counters
    assert told["messages"] == 57_674
    assert told["by_type"] == TOPS
    assert told["unknown"] == told["malformed"] == 0
    line = reader.counters
    assert line["packets"] == 13_022
    assert line["heartbeats"] == 237
    assert line["data"] == 13_022 - 237
    assert line["gaps"] == line["duplicates"] == line["malformed"] == line["restarts"] == 0
    assert line["session_changes"] == 0
    assert line["messages"] == 57_674
    assert reader.session.startswith("0x8003/1/")
    # One record a message, two a quote.
    assert len(records) == told["records"] == 57_674 + TOPS["Q"]
    assert np.unique(records["seq"]).size == 57_674
    assert set(records["venue"]) == {2}
    assert len(reader.symbols) == np.unique(records["instrument"]).size - 1  # 0: S has none
    quotes = records[records["type"] == ord("Q")]
    assert quotes["side"].tobytes() == b"BS" * TOPS["Q"]


def test_every_tops_record_holds_what_struct_reads(tops):
    reader, session, symbols = Iex(), IexTp(), Symbols()
    times = []
    for time, _, payload in payloads(tops):
        got = reader.on_packet(payload, time)
        want = []
        for event in session.on_packet(payload, time):
            if isinstance(event, Message):
                times.append(event.recv_time)
                for record in iex_records(event.data, symbols):
                    want.append(record | {"seq": event.seq, "recv_time": time})
        assert len(got) == len(want)
        for name in wp.RECORD.names:
            if want and name in want[0]:
                expected = np.array([w[name] for w in want], got.dtype[name])
                assert np.array_equal(got[name], expected), name
    assert len(times) == 57_674
    assert reader.symbols.symbols == [s.decode().rstrip() for s in symbols.numbers]


def test_segments_carry_on_the_stream_and_hold_at_most_52_messages(tops):
    offset = following = most = None
    for _, _, payload in payloads(tops):
        header = iex.segment_header(payload)
        if offset is not None:
            assert (header.stream_offset, header.first) == (offset, following)
        offset = header.stream_offset + header.payload_length
        following = header.first + header.message_count
        most = max(most or 0, header.message_count)
    assert most == 52


def test_raw_columns_of_tops_trades(tops):
    columns = IexColumns("TB")
    with wp.open(f"pcap:{tops}", steer=wp.everything()) as port:
        for batch in port:
            columns.on_batch(batch)
    assert columns.message_counters["messages"] == 57_674
    trades, broken = columns.take("T"), columns.take("B")
    assert (len(trades), len(broken)) == (6_390, 3)
    assert np.all(trades["price"] > 0)
    assert np.all(trades["size"] > 0)
    assert np.all(np.diff(trades["seq"].astype(np.int64)) > 0)
    # The venue sends what has happened: 2017-07-10, in New York.
    assert np.all(trades["send_time"] >= trades["timestamp"])
    day = np.unique(trades["timestamp"].astype("datetime64[ns]").astype("datetime64[D]"))
    assert day.astype(str).tolist() == ["2017-07-10"]


def test_another_parser_reads_the_same_tops_messages(tops, tmp_path):
    parser = pytest.importorskip("iex_parser", reason="iex_parser is not installed (extra test)")
    unpacked = tmp_path / "tops16.pcapng"
    unpacked.write_bytes(gzip.decompress(tops.read_bytes()))
    with parser.Parser(str(unpacked), parser.TOPS_1_6) as reader:
        seen = list(reader)
    assert len(seen) == 57_674
    theirs = [m for m in seen if m["type"] == "trade_report"]
    columns = IexColumns("T")
    with wp.open(f"pcap:{tops}", steer=wp.everything()) as port:
        for batch in port:
            columns.on_batch(batch)
    ours = columns.take("T")
    assert [m["trade_id"] for m in theirs] == ours["trade_id"].tolist()
    assert [m["size"] for m in theirs] == ours["size"].tolist()
    assert [round(m["price"] * 10_000) for m in theirs] == ours["price"].tolist()
    assert [m["symbol"].rstrip(b" ") for m in theirs] == [s.rstrip() for s in ours["symbol"]]


PITCH_TYPES = {0x20: 19, 0x21: 4, 0x22: 3, 0x23: 3, 0x26: 2, 0x27: 1, 0x28: 1, 0x29: 4}
PITCH_TYPES |= {0x2A: 2, 0x2B: 1}


def test_pitch_messages_heartbeats_and_the_break():
    path = shared("pitch/realtime_ab.pcap")
    lines: dict[str, PitchUnits] = {}
    events = []
    for time, group, payload in payloads(path):
        events += lines.setdefault(group, PitchUnits()).on_packet(payload, time)
    assert sorted(lines) == ["239.39.62.190", "239.39.62.191"]
    both = Counter()
    for line in lines.values():
        both.update(line.counters)
    assert both["packets"] == 739
    assert both["heartbeats"] == 720
    assert both["messages"] == 40
    assert both["malformed"] == both["duplicates"] == 0
    assert [e for e in events if isinstance(e, Gap)] == [Gap(1, 2, 1)]
    types = Counter(e.data[1] for e in events if isinstance(e, Message))
    assert types == PITCH_TYPES
    # The other line only ever says that it is alive: sequence 0.
    assert lines["239.39.62.191"].next_sequence(1) == 0
    assert lines["239.39.62.190"].next_sequence(1) == 43


def test_every_pitch_record_holds_what_struct_reads():
    path = shared("pitch/realtime_ab.pcap")
    reader, columns, times, symbols = Pitch(), PitchColumns(), PitchTimes(), Symbols()
    count = 0
    for time, group, payload in payloads(path):
        if group != "239.39.62.190":
            continue
        got = reader.on_packet(payload, time)
        columns.on_packet(payload, time)
        at, want = 8, []
        while at < len(payload):
            message = payload[at : at + payload[at]]
            want += pitch_records(message, payload[3], times, symbols)
            at += payload[at]
        first = struct.unpack_from("<I", payload, 4)[0]
        assert got["seq"].tolist() == list(range(first, first + len(want)))
        for record, expected in zip(got, want, strict=True):
            for name, value in expected.items():
                assert record[name] == value, name
        count += len(want)
    assert count == 40
    assert reader.message_counters["by_type"] == PITCH_TYPES
    assert reader.message_counters["untimed"] == 0
    assert {number: columns.rows(number) for number in PITCH_TYPES} == PITCH_TYPES
    adds = columns.take(0x21)
    assert np.all(adds["event_time"] % 1_000_000_000 == adds["time_offset"])


def test_tshark_sees_the_same_payloads(tops):
    """tshark has no dissector of IEX-TP: it checks that our payloads are UDP's, all of them."""
    tshark = shutil.which("tshark")
    if tshark is None:
        missing("tshark, the second opinion on captures, is not installed (apt install tshark)")
    done = subprocess.run(
        [tshark, "-n", "-r", tops, "-T", "fields", "-e", "udp.payload"],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    theirs = [bytes.fromhex(line) for line in done.stdout.split()]
    assert theirs == [payload for _, _, payload in payloads(tops)]
    # An independent count of blocks, straight from tshark's bytes.
    assert sum(struct.unpack_from("<H", p, 14)[0] for p in theirs) == 57_674
