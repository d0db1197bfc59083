"""Real captures converted: the counts that are known of them, and tshark's view of the same."""

from __future__ import annotations

import shutil
import subprocess
from collections import Counter
from datetime import date

import numpy as np
import pytest
from shared_data import SHARED, missing, shared

import wirepath as wp
from wirepath.feed import Iex, IexColumns, Mdp3, SbeSchema

ds = pytest.importorskip("pyarrow.dataset", reason="pyarrow is not installed (extra parquet)")

TOPS = {
    "Q": 27_217, "H": 7_803, "P": 7_802, "O": 7_801, "T": 6_390, "A": 642, "D": 10, "S": 6, "B": 3,
}  # fmt: skip
PITCH = {"0x20": 19, "0x21": 4, "0x22": 3, "0x23": 3, "0x26": 2, "0x27": 1, "0x28": 1, "0x29": 4,
         "0x2A": 2, "0x2B": 1}  # fmt: skip
CME = {32: 9_569, 35: 307, 37: 194, 42: 194, 12: 9}


def table(folder):
    return ds.dataset(folder, partitioning="hive").to_table()


def fields(path, *names):
    """tshark's values of fields, a list a packet."""
    tshark = shutil.which("tshark")
    if tshark is None:
        missing("tshark, the second opinion on captures, is not installed (apt install tshark)")
    done = subprocess.run(
        [tshark, "-n", "-r", path, "-d", "udp.port==26477,moldudp64", "-T", "fields"]
        + [word for name in names for word in ("-e", name)]
        + ["-E", "occurrence=a", "-E", "aggregator=;"],
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    return [[v.split(";") for v in line.split("\t")] for line in done.stdout.splitlines()]


def test_tops_raw_rows_by_type(tmp_path):
    path = shared("iex/tops16.pcapng.gz")
    done = wp.convert(path, out=str(tmp_path), protocol="iex", raw=True)
    (told,) = done.captures
    assert done.ok
    assert done.rows_by_type == dict(sorted(TOPS.items()))
    assert done.rows == told["messages"] == 57_674
    assert told["frames"] == 13_022
    assert told["gaps"] == told["missing"] == told["malformed"] == told["unknown"] == 0
    assert told["lines"][0]["heartbeats"] == 237
    for letter, count in TOPS.items():
        assert table(tmp_path / "tops16" / f"type={letter}").num_rows == count
    columns = IexColumns("T")
    with wp.open(f"pcap:{path}", steer=wp.everything()) as port:
        for batch in port:
            columns.on_batch(batch)
    trades = columns.take("T")
    got = table(tmp_path / "tops16" / "type=T").sort_by("seq")
    assert got["trade_id"].to_pylist() == trades["trade_id"].tolist()
    assert got["price"].to_pylist() == trades["price"].tolist()
    assert got["symbol"].to_pylist() == [s.decode().rstrip() for s in trades["symbol"]]
    hours = {p.stem for p in (tmp_path / "tops16").rglob("*.parquet")}
    assert all(hour.startswith("2017-07-10T") for hour in hours)


def test_tops_records_are_those_of_the_reader(tmp_path):
    path = shared("iex/tops16.pcapng.gz")
    done = wp.convert(path, out=str(tmp_path), protocol="iex", to="npy", by_type=False,
                      period="none")  # fmt: skip
    reader = Iex()
    with wp.open(f"pcap:{path}", steer=wp.everything()) as port:
        expected = np.concatenate([reader.on_batch(batch) for batch in port])
    assert done.rows == len(expected) == 57_674 + TOPS["Q"]
    assert np.array_equal(np.load(tmp_path / "tops16" / "records.npy"), expected)


def test_pitch_messages_and_the_break(tmp_path):
    path = shared("pitch/realtime_ab.pcap")
    for raw in (True, False):
        done = wp.convert(path, out=str(tmp_path / str(raw)), protocol="pitch", raw=raw)
        (told,) = done.captures
        assert done.ok
        assert done.rows_by_type == PITCH
        assert (told["messages"], told["gaps"], told["missing"]) == (40, 1, 2)
        assert told["abandoned"] == [[0, 1, 1, 2, "timeout"]]
        beats = sum(line["heartbeats"] + line["unsequenced"] for line in told["lines"])
        assert beats == 720
        assert table(tmp_path / str(raw) / "realtime_ab").num_rows == 40 if not raw else True
    adds = table(tmp_path / "True" / "realtime_ab" / "type=0x21")
    assert adds.num_rows == 4
    assert adds["event_time"].null_count == 0


@pytest.fixture(scope="module")
def schema():
    return shared("cme/Cme.Futures.Mdp3.Sbe.v1.6.xml")


def test_both_lines_of_cme_become_one(schema, tmp_path):
    path = shared("cme/mdp3_v6_lines_ab.pcapng")
    done = wp.convert(path, out=str(tmp_path), protocol="cme", schema_file=str(schema))
    (told,) = done.captures
    assert done.ok
    assert told["frames"] == 10_000
    assert {int(t): n for t, n in told["by_type"].items()} == CME
    assert told["messages"] == sum(CME.values()) == 10_273
    assert [line["packets"] for line in told["lines"]] == [5000, 5000]
    assert [line["missing"] for line in told["lines"]] == [0, 0]
    assert sum(line["won"] for line in told["lines"]) == 5000
    assert sum(line["duplicates"] for line in told["lines"]) == 5000
    assert told["gaps"] == 0
    # One line alone makes the same records.
    one = Mdp3(SbeSchema.load(schema))
    group, number = told["lines"][0]["line"].split(":")
    with wp.open(f"pcap:{path}", steer=wp.udp(group, int(number))) as port:
        expected = np.concatenate([one.batch(batch) for batch in port])
    got = table(tmp_path / "mdp3_v6_lines_ab")
    assert got.num_rows == len(expected) == done.rows
    assert Counter(map(int, got["type"].to_pylist())) == Counter(expected["type"].tolist())
    assert sum(v or 0 for v in got["qty"].to_pylist()) == int(expected["qty"].astype("u8").sum())


def test_cme_raw_tables_have_a_row_for_each_message_and_entry(schema, tmp_path):
    path = shared("cme/mdp3_v6_lines_ab.pcapng")
    done = wp.convert(path, out=str(tmp_path), protocol="cme", schema_file=str(schema), raw=True)
    rows = done.rows_by_type
    assert rows["MDIncrementalRefreshBook32"] == CME[32]
    assert rows["MDIncrementalRefreshTradeSummary42"] == CME[42]
    folder = tmp_path / "mdp3_v6_lines_ab"
    book = table(folder / "type=MDIncrementalRefreshBook32")
    entries = table(folder / "type=MDIncrementalRefreshBook32.NoMDEntries")
    assert book.num_rows == CME[32]
    assert entries.num_rows == rows["MDIncrementalRefreshBook32.NoMDEntries"]
    # Every entry belongs to a message that is there.
    assert set(entries["message"].to_pylist()) <= set(book["message"].to_pylist())
    assert len(set(book["message"].to_pylist())) == book.num_rows
    assert min(book["seq"].to_pylist()) >= 5615
    assert max(book["seq"].to_pylist()) <= 10_614


CAPTURES = sorted(p.name for p in (SHARED / "mold/itch50_2023").glob("*.pcap")) or ["(none)"]


@pytest.mark.parametrize("name", CAPTURES)
def test_mold_captures_hold_what_tshark_sees(name, tmp_path):
    path = shared(f"mold/itch50_2023/{name}")
    done = wp.convert(path, out=str(tmp_path), raw=True, session_date=date(2023, 8, 22))
    expected = [
        (int(number), bytes.fromhex(data.replace(":", "")))
        for numbers, bodies in fields(path, "moldudp64.msgseq", "moldudp64.msgdata")
        for number, data in zip(numbers, bodies, strict=True)
    ]
    assert done.ok
    assert done.rows == len(expected)
    assert done.rows_by_type == Counter(chr(data[0]) for _, data in sorted(expected))
    got = {}
    (folder,) = tmp_path.iterdir()
    for each in folder.iterdir():
        some = ds.dataset(each).to_table()
        for row in some.select(["seq", "stock_locate", "timestamp"]).to_pylist():
            got[row["seq"]] = (row["stock_locate"], row["timestamp"])
    assert got == {
        seq: (int.from_bytes(data[1:3], "big"), int.from_bytes(data[5:11], "big"))
        for seq, data in expected
    }


def test_the_two_mold_packets_and_the_gap_between_them(tmp_path):
    path = shared("mold/itch50_2023/Multiple.Packets.pcap")
    done = wp.convert(path, out=str(tmp_path), session_date=date(2023, 8, 22))
    (told,) = done.captures
    assert done.rows_by_type == {"A": 36, "D": 1, "F": 2}
    assert told["abandoned"] == [[0, 0, 14764497, 19009116, "timeout"]]


def test_the_first_thousand_messages_of_a_real_day(tmp_path):
    path = shared("itch/nasdaq_itch50_first1000.itch")
    done = wp.convert(path, out=str(tmp_path), session_date=date(2019, 12, 30))
    assert done.rows_by_type == {"H": 3, "R": 993, "S": 1, "Y": 3}
    assert table(tmp_path / "nasdaq_itch50_first1000").num_rows == 1000
