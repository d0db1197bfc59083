"""Real frames: the feed against what is known of them and against tshark's dissection."""

from __future__ import annotations

import shutil
import subprocess
from collections import Counter
from datetime import date

import numpy as np
import pytest
from shared_data import SHARED, missing, shared

import wirepath as wp
from wirepath.feed import Itch50, Message, MoldUDP64, midnight_ns

CAPTURES = sorted(p.name for p in (SHARED / "mold/itch50_2023").glob("*.pcap")) or ["(none)"]
MIDNIGHT = midnight_ns(date(2023, 8, 22))


@pytest.fixture(params=CAPTURES)
def capture(request):
    return shared(f"mold/itch50_2023/{request.param}")


def dissected(path):
    """tshark's view: (sequence, message) of every block, and the session of every packet."""
    tshark = shutil.which("tshark")
    if tshark is None:
        missing("tshark, the second opinion on captures, is not installed (apt install tshark)")
    fields = ["moldudp64.session", "moldudp64.msgseq", "moldudp64.msgdata"]
    done = subprocess.run(
        [tshark, "-n", "-r", path, "-d", "udp.port==26477,moldudp64", "-T", "fields"]
        + [word for field in fields for word in ("-e", field)]
        + ["-E", "occurrence=a", "-E", "aggregator=;"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    sessions, messages = [], []
    for line in done.stdout.splitlines():
        session, sequences, data = line.split("\t")
        sessions.append(session)
        numbers = [int(n) for n in sequences.split(";")]
        bodies = [bytes.fromhex(d.replace(":", "")) for d in data.split(";")]
        messages += zip(numbers, bodies, strict=True)
    return sessions, messages


def test_the_counts_that_are_known_of_the_capture_with_two_packets(wirepath):
    path = shared("mold/itch50_2023/Multiple.Packets.pcap")
    answer = wirepath("feed", f"pcap:{path}", "--json")
    assert answer.code == 0, answer.err
    told = answer.json
    assert told["packets"] == 2
    assert told["messages"] == 39
    assert told["by_type"] == {"D": 1, "A": 36, "F": 2}
    assert told["session"] == "000010059B"
    assert told["gaps"] == [[14764497, 19009116]]
    assert told["next_sequence"] == 19009117 + 38
    assert told["duplicates"] == told["unknown"] == told["malformed"] == 0
    assert told["port"]["backend"] == "pcap"
    assert told["port"]["timestamp_source"] == "capture (nanosecond)"
    lost = {layer: n for layer, n in told["dropped"].items() if n}
    assert lost == {"line.missing": 19009116 - 14764497 + 1}


def test_the_group_of_the_capture_is_taken_and_another_is_not(wirepath):
    path = shared("mold/itch50_2023/Multiple.Packets.pcap")
    wanted = wirepath("feed", f"pcap:{path}", "233.54.12.111:26477", "--json").json
    assert (wanted["packets"], wanted["messages"]) == (2, 39)
    other = wirepath("feed", f"pcap:{path}", "233.54.12.112:26477", "--json").json
    assert (other["packets"], other["messages"]) == (0, 0)
    assert other["dropped"]["port.filtered"] == 2


def test_every_message_is_the_one_that_tshark_sees(capture):
    sessions, expected = dissected(capture)
    assert expected, "tshark found no message"
    session, seen = MoldUDP64(), []
    with wp.open(f"pcap:{capture}", steer=wp.everything()) as port:
        for batch in port:
            headers = batch.headers()
            for i in range(len(batch)):
                start, length = headers["payload_offset"][i], headers["payload_length"][i]
                events = session.on_packet(batch[i][start : start + length])
                seen += [(e.seq, e.data) for e in events if isinstance(e, Message)]
    assert seen == expected
    assert set(sessions) == {session.session}


def test_the_command_counts_what_tshark_counts(wirepath, capture):
    _, expected = dissected(capture)
    told = wirepath("feed", f"pcap:{capture}", "--json").json
    assert told["messages"] == told["delivered"] == len(expected)
    assert told["by_type"] == Counter(chr(data[0]) for _, data in expected)
    assert told["unknown"] == told["malformed"] == told["duplicates"] == 0


def test_every_record_holds_what_tshark_shows_of_its_message(wirepath, capture, tmp_path):
    _, expected = dissected(capture)
    out = tmp_path / "records.npy"
    options = ("--session-date", "2023-08-22", "--channel", 7, "--out", out, "--json")
    answer = wirepath("feed", f"pcap:{capture}", *options)
    assert answer.code == 0, answer.err
    records = np.load(out)
    assert records.dtype == wp.RECORD
    assert len(records) == len(expected)
    for record, (seq, data) in zip(records, expected, strict=True):
        assert record["seq"] == seq
        assert record["type"] == data[0]
        assert record["instrument"] == int.from_bytes(data[1:3], "big")
        assert record["event_time"] == MIDNIGHT + int.from_bytes(data[5:11], "big")
        assert (record["venue"], record["channel"]) == (1, 7)
        kind = chr(data[0])
        if kind in "AFDEU":
            assert record["order_id"] == int.from_bytes(data[11:19], "big") or kind == "U"
        if kind in "AF":
            assert record["side"] == data[19]
            assert record["qty"] == int.from_bytes(data[20:24], "big")
            assert record["price"] == int.from_bytes(data[32:36], "big") * 100_000
        if kind == "U":
            assert record["aux"] == int.from_bytes(data[11:19], "big")
            assert record["order_id"] == int.from_bytes(data[19:27], "big")


def test_receive_times_are_those_of_the_capture(wirepath, tmp_path):
    path, out = shared("mold/itch50_2023/Multiple.Packets.pcap"), tmp_path / "r.csv"
    assert wirepath("feed", f"pcap:{path}", "--out", out, "--json").code == 0
    lines = out.read_text().splitlines()
    assert lines[0].split(",")[:3] == ["seq", "event_time", "recv_time"]
    assert lines[1].split(",")[2] == "1692711000007661955"
    assert {line.split(",")[2] for line in lines[2:]} == {"1692711038952561782"}


def test_the_first_thousand_messages_of_a_real_day():
    data = shared("itch/nasdaq_itch50_first1000.itch").read_bytes()
    decoder = Itch50(session_date=date(2019, 12, 30))
    records = decoder.decode_file(data)
    assert len(records) == 1000
    assert Counter(map(chr, records["type"])) == {"R": 993, "H": 3, "Y": 3, "S": 1}
    assert decoder.counters["unknown"] == decoder.counters["malformed"] == 0
    assert decoder.end == "clean"


def test_a_real_day_published_over_loopback_arrives_as_it_is_in_the_file(flow):
    path = shared("itch/nasdaq_itch50_first1000.itch")
    expected = Itch50().decode_file(path.read_bytes())
    group, port = flow
    config = wp.IngestionConfig(
        backend="socket", interface_name="lo", host=group, port=port, next_sequence=1
    )
    from wirepath.publish import PublishConfig, Publisher

    ring = wp.RingBuffer(4096)
    with wp.IngestionClient(config) as client:
        client.start_ingestion(ring)
        publisher = Publisher(
            PublishConfig(
                source=str(path),
                host=group,
                port=port,
                via="socket:lo",
                rate=50_000,
                end_of_session_interval=0.02,
            )
        )
        with publisher:
            got = np.concatenate(list(client.batches()))
    same = [name for name in wp.RECORD.names if name != "recv_time"]
    assert np.array_equal(got[same], expected[same])
