"""Conversion: formats, filters, broken captures, what is refused, and memory."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import time
from collections import Counter
from datetime import date

import numpy as np
import pytest
from venue_reference import unit_of

import wirepath as wp
from wirepath import frames
from wirepath.cli import Exit
from wirepath.conversion.folder import recover
from wirepath.conversion.options import name_of
from wirepath.feed import Itch50, Itch50Columns, LineReader, generate, midnight_ns

A, B = ("239.1.2.3", 5000), ("239.1.2.4", 5000)
HEADER = bytes.fromhex("4d3cb2a1020004000000000000000000ffff000001000000")


def packets(data, first=1, most=20, session=b"DAY       "):
    """MoldUDP64 payloads of length-prefixed messages."""
    at, seq, out = 0, first, []
    while at < len(data):
        begin, n = at, 0
        while at < len(data) and n < most:
            at += 2 + int.from_bytes(data[at : at + 2], "big")
            n += 1
        out.append(session + seq.to_bytes(8, "big") + n.to_bytes(2, "big") + data[begin:at])
        seq += n
    return out


def capture_of(path, sent):
    """A capture of (time, payload, destination)."""
    with path.open("wb") as file:
        file.write(HEADER)
        for when, payload, to in sorted(sent, key=lambda each: each[0]):
            frame = frames.udp(payload, dst=to)
            seconds, ns = divmod(when, 1_000_000_000)
            file.write(
                b"".join(n.to_bytes(4, "little") for n in (seconds, ns, len(frame), len(frame)))
            )
            file.write(frame)
    return path


@pytest.fixture(scope="module")
def day(tmp_path_factory):
    path = tmp_path_factory.mktemp("day") / "day.itch"
    generate(path, messages=30_000, seed=5, symbols=40)
    return path


@pytest.fixture(scope="module")
def records(day):
    return Itch50(date(2020, 1, 30)).decode_file(day.read_bytes())


def load(folder):
    """Every record of npy files."""
    parts = [np.load(path) for path in sorted(folder.rglob("*.npy"))]
    out = np.concatenate(parts) if parts else np.empty(0, wp.RECORD)
    return out[np.argsort(out["seq"], kind="stable")]


# --- day files ---------------------------------------------------------------------------------
@pytest.mark.parametrize("packed", [False, True])
def test_a_day_file_as_records(day, records, tmp_path, packed):
    source = day
    if packed:
        source = tmp_path / "day.itch.gz"
        source.write_bytes(gzip.compress(day.read_bytes()))
    done = wp.convert(source, out=str(tmp_path / "out"), to="npy", session_date=date(2020, 1, 30))
    assert done.ok
    assert done.rows == 30_000
    assert done.rows_by_type == Counter(map(chr, sorted(records["type"])))
    assert np.array_equal(load(tmp_path / "out" / "day"), records)
    types = {path.name for path in (tmp_path / "out" / "day").iterdir()}
    assert types == {f"type={chr(t)}" for t in records["type"]}
    hours = {path.stem for path in (tmp_path / "out").rglob("*.npy")}
    assert all(hour.startswith("2020-01-30T") or hour.startswith("2020-01-31T") for hour in hours)


def test_parquet_together_keeps_the_order(day, records, tmp_path):
    pq = pytest.importorskip("pyarrow.parquet")
    done = wp.convert(day, out=str(tmp_path), by_type=False, period="none")
    assert done.ok
    table = pq.read_table(tmp_path / "day" / "records.parquet")
    assert table["seq"].to_pylist() == records["seq"].tolist()
    assert table["order_id"].to_pylist() == records["order_id"].tolist()
    assert table["type"].to_pylist() == [chr(t) for t in records["type"]]


def test_raw_rows_hold_every_field(day, tmp_path):
    ds = pytest.importorskip("pyarrow.dataset")
    done = wp.convert(day, out=str(tmp_path), raw=True, session_date=date(2020, 1, 30))
    assert done.ok
    columns = Itch50Columns()
    columns.append_file(day.read_bytes())
    for letter in "AUDR":
        rows = columns.take(letter)
        table = ds.dataset(tmp_path / "day" / f"type={letter}").to_table().sort_by("seq")
        assert table.num_rows == len(rows)
        assert table.column_names == list(rows.dtype.names)
        for name in rows.dtype.names:
            kind = rows.dtype[name].kind
            if name == "recv_time":
                assert table[name].null_count == len(rows)
            elif kind == "S":
                want = [v.decode().rstrip() for v in rows[name].tolist()]
                assert table[name].to_pylist() == want, name
            else:
                assert table[name].to_pylist() == rows[name].tolist(), name
    assert table.schema.field("round_lot_size").metadata[b"unit"] == b"shares"


def test_types_and_instruments_are_kept_by_number_and_by_symbol(day, records, tmp_path):
    directory = records[records["type"] == ord("R")]
    name = directory["aux"][3:4].astype("<u8").view("S8")[0].decode().rstrip()
    numbers = [int(directory["instrument"][3]), int(directory["instrument"][7])]
    given = (name, str(numbers[1]))
    wp.convert(day, out=str(tmp_path / "a"), to="npy", instruments=given, types=("A", "D"),
               session_date=date(2020, 1, 30))  # fmt: skip
    wanted = records[np.isin(records["instrument"], numbers) & np.isin(records["type"], [65, 68])]
    assert len(wanted) > 100
    assert np.array_equal(load(tmp_path / "a"), wanted)
    done = wp.convert(day, out=str(tmp_path / "b"), to="npy", instruments=given, types=("A", "D"),
                      raw=True)  # fmt: skip
    assert done.rows_by_type == Counter(map(chr, sorted(wanted["type"])))
    assert {p.name for p in (tmp_path / "b" / "day").iterdir()} == {"type=A", "type=D"}


# --- captures ----------------------------------------------------------------------------------
def two_lines(path, day, lost_a=(), lost_b=(), most_b=13):
    """A and B of a day, differently packed; B comes 20 µs later."""
    data, sent = day.read_bytes(), []
    base = 1_580_400_000_000_000_000
    each_a, each_b = packets(data, most=20), packets(data, most=most_b)
    for i, payload in enumerate(each_a):
        if i not in lost_a:
            sent.append((base + i * 20_000, payload, A))
    for i, payload in enumerate(each_b):
        if i not in lost_b:
            sent.append((base + i * most_b * 1000 + 20_000, payload, B))
    return capture_of(path, sent)


def test_two_lines_of_which_each_loses_become_one_whole_channel(day, records, tmp_path):
    source = two_lines(tmp_path / "ab.pcap", day, lost_a=range(50, 60), lost_b=range(500, 520))
    done = wp.convert(source, out=str(tmp_path / "o"), to="npy", session_date=date(2020, 1, 30))
    (told,) = done.captures
    assert done.ok
    assert (told["messages"], told["gaps"] >= 1, told["missing"]) == (30_000, True, 0)
    got = load(tmp_path / "o")
    same = [name for name in wp.RECORD.names if name not in ("recv_time",)]
    assert np.array_equal(got[same], records[same])
    assert np.all(got["recv_time"] > 0)
    lines = {line["line"]: line for line in told["lines"]}
    assert lines["239.1.2.3:5000"]["missing"] == 200
    assert lines["239.1.2.4:5000"]["missing"] == 260
    assert sum(line["won"] for line in told["lines"]) == 30_000


def test_what_both_lines_lose_is_told_as_a_gap(day, tmp_path):
    source = two_lines(tmp_path / "ab.pcap", day, lost_a=[50, 51], lost_b=[50, 51], most_b=20)
    (told,) = wp.convert(source, out=str(tmp_path / "o"), to="npy").captures
    assert (told["messages"], told["missing"]) == (30_000 - 40, 40)
    assert [each[:4] for each in told["abandoned"]] == [[0, 0, 1001, 1040]]


def test_one_line_can_be_chosen_and_sessions_are_channels(day, records, tmp_path):
    data = day.read_bytes()
    other = packets(data[:4000], session=b"OTHER     ")
    sent = [(10**18 + i, p, A) for i, p in enumerate(packets(data))]
    sent += [(10**18 + i, p, B) for i, p in enumerate(other)]
    source = capture_of(tmp_path / "two.pcap", sent)
    (told,) = wp.convert(source, out=str(tmp_path / "o"), to="npy").captures
    assert told["sessions"] == 2
    assert told["missing"] == 0
    got = load(tmp_path / "o")
    assert set(got["channel"]) == {0, 1}
    assert (got["channel"] == 0).sum() == 30_000
    one = wp.convert(source, out=str(tmp_path / "p"), to="npy", flows=("239.1.2.3:5000",))
    assert one.rows == 30_000
    assert one.captures[0]["frames_not_taken"]["filtered"] == len(other)


def test_rows_of_a_layout_of_ones_own(tmp_path):
    sent = [
        (10**18 + i, bytes([1]) + (2 * i).to_bytes(4, "little") + bytes(range(12)), A)
        for i in (0, 1, 1, 3)
    ]
    source = capture_of(tmp_path / "mine.pcap", sent)
    done = wp.convert(
        source, out=str(tmp_path / "o"), to="npy", protocol="raw", dtype="price:<u4,size:<u2",
        header="version:u1,seq:<u4", sequence="seq",
    )  # fmt: skip
    (told,) = done.captures
    assert (done.rows, told["gaps"], told["missing"]) == (6, 1, 2)
    rows = np.load(tmp_path / "o" / "mine" / "records.npy")
    assert rows.dtype.names == ("price", "size")
    assert rows["price"].tolist() == [0x03020100, 0x09080706] * 3


@pytest.mark.parametrize("kind", ["u1", ">i8", "<f2", "f8", "?", "S4", "V3", "M8[ns]", "m8[us]"])
@pytest.mark.parametrize("to", ["parquet", "arrow", "csv"])
def test_types_of_a_layout_of_ones_own_can_be_written(tmp_path, kind, to):
    pytest.importorskip("pyarrow", reason="pyarrow is not installed (extra parquet)")
    size = np.dtype(kind).itemsize
    source = capture_of(tmp_path / "mine.pcap", [(10**18, bytes(3 * size), A)])
    done = wp.convert(source, out=str(tmp_path / "o"), to=to, protocol="raw", dtype=f"a:{kind}")
    assert (done.ok, done.rows) == (True, 3)


# --- several captures, some of them broken -----------------------------------------------------
def test_broken_captures_lose_only_themselves_and_are_named(day, tmp_path, wirepath):
    whole = two_lines(tmp_path / "good.pcap", day)
    cut = tmp_path / "cut.pcap"
    cut.write_bytes(whole.read_bytes()[:-700])
    other = tmp_path / "short.itch"
    other.write_bytes(day.read_bytes()[:-3])
    packed = tmp_path / "packed.itch.gz"
    packed.write_bytes(gzip.compress(day.read_bytes())[:-5000])
    garbage = tmp_path / "garbage.pcap"
    garbage.write_bytes(os.urandom(5000))
    nothing = tmp_path / "empty.itch"
    nothing.write_bytes(b"")
    broken = [cut, other, packed, garbage, nothing, tmp_path / "nowhere.pcap"]
    out = tmp_path / "out"
    answer = wirepath("convert", whole, day, *broken, "--out", out, "--to", "npy", "--json")
    assert answer.code == Exit.FAILED
    told = answer.json
    assert told["ok"] is False
    assert told["failed"] == [str(path) for path in broken]
    assert told["rows"] == 60_000
    assert sorted(path.name for path in out.iterdir()) == ["day", "good"]
    said = {each["capture"]: each["error"] for each in told["captures"]}
    assert "ends within a frame" in said[str(cut)]
    assert "ends within a message" in said[str(other)]
    assert "cannot be read to its end" in said[str(packed)]
    assert "neither a capture" in said[str(garbage)]
    assert "is empty" in said[str(nothing)]
    assert "is no file" in said[str(tmp_path / "nowhere.pcap")]


def test_what_could_be_read_is_kept_when_asked_for(day, tmp_path):
    short = tmp_path / "short.itch"
    short.write_bytes(day.read_bytes()[:-3])
    done = wp.convert(short, out=str(tmp_path / "o"), to="npy", partial=True)
    assert not done.ok
    assert done.rows == len(load(tmp_path / "o")) == 29_999


def test_what_is_refused_replaces_nothing(day, tmp_path):
    source = two_lines(tmp_path / "day.pcap", day)
    out = tmp_path / "o"
    assert wp.convert(source, out=str(out), to="npy").rows == 30_000
    again = {"out": str(out), "to": "npy", "partial": True, "force": True}
    other = wp.convert(source, protocol="iex", **again)
    assert "no packet of iex" in other.captures[0]["error"]
    assert (other.captures[0]["out"], other.rows) == ("", 0)
    assert len(load(out)) == 30_000
    source.write_bytes(source.read_bytes()[:30])  # the file's header, and nothing whole behind it
    assert not wp.convert(source, **again).ok
    assert len(load(out)) == 30_000


def test_a_process_that_dies_takes_no_other_with_it(day, tmp_path, monkeypatch):
    from wirepath.conversion import child, run

    source = tmp_path / "child.py"
    source.write_text(
        "import sys, os, signal, json\n"
        "given = sys.stdin.read()\n"
        "if 'dies' in json.loads(given)['capture']: os.kill(os.getpid(), signal.SIGKILL)\n"
        "import io; sys.stdin = io.StringIO(given)\n"
        "from wirepath.conversion.child import main; sys.exit(main())\n"
    )
    real = subprocess.Popen
    monkeypatch.setattr(
        run.subprocess, "Popen",
        lambda words, **more: real([words[0], str(source)], **more),
    )  # fmt: skip
    assert child.__name__ == "wirepath.conversion.child"
    dies = tmp_path / "dies.itch"
    shutil.copy(day, dies)
    done = wp.convert([dies, day], out=str(tmp_path / "o"), to="npy", jobs=2)
    assert [each["ok"] for each in done.captures] == [False, True]
    assert "signal 9" in done.captures[0]["error"]
    assert done.rows == 30_000


def test_as_many_jobs_as_wanted_make_the_same(day, tmp_path):
    paths = []
    for i in range(4):
        paths.append(tmp_path / f"d{i}.itch")
        generate(paths[-1], messages=3000, seed=i)
    seen = Counter()
    one = wp.convert(paths, out=str(tmp_path / "a"), to="npy", jobs=1,
                     on_progress=lambda capture, rows: seen.update([capture]))  # fmt: skip
    two = wp.convert(paths, out=str(tmp_path / "b"), to="npy", jobs=3)
    assert one.rows == two.rows == 12_000
    for i in range(4):
        a, b = load(tmp_path / "a" / f"d{i}"), load(tmp_path / "b" / f"d{i}")
        assert np.array_equal(a, b)
        assert len(a) == 3000


# --- times that make no sense ------------------------------------------------------------------
@pytest.mark.parametrize("by_type", [True, False])
def test_damaged_times_do_not_make_a_file_of_each_message(tmp_path, by_type):
    rng = np.random.default_rng(3)
    seconds = rng.integers(0, 1 << 32, 4000).tolist()
    sent = []
    for i, second in enumerate(seconds):
        time_of = struct.pack("<BBI", 6, 0x20, second)
        delete = struct.pack("<BBIQ", 14, 0x29, i, i + 1)
        sent.append((10**18 + i, unit_of(1 + 2 * i, time_of, delete), A))
    source = capture_of(tmp_path / "hostile.pcap", sent)
    done = wp.convert(source, out=str(tmp_path / "o"), to="npy", protocol="pitch", by_type=by_type)
    (told,) = done.captures
    assert done.ok
    rows = load(tmp_path / "o")
    assert len(rows) == done.rows >= 4000
    assert told["files"] <= 1024 + done.rows // 100
    assert told["files"] == len(list((tmp_path / "o").rglob("*.npy")))
    elsewhere = [np.load(path) for path in (tmp_path / "o").rglob("other.npy")]
    assert sum(map(len, elsewhere)) == told["rows_out_of_time"] > 1000
    assert not list((tmp_path / "o").rglob("other-*.npy"))


def test_a_day_by_the_minute_is_as_it_is_wanted(day, tmp_path):
    done = wp.convert(day, out=str(tmp_path), to="npy", period="minute", by_type=False)
    assert done.captures[0]["rows_out_of_time"] == 0
    assert len(load(tmp_path)) == 30_000


@pytest.mark.parametrize("to", ["parquet", "arrow", "csv"])
def test_values_that_a_format_cannot_hold_are_told(tmp_path, wirepath, to):
    pytest.importorskip("pyarrow", reason="pyarrow is not installed (extra parquet)")
    far = struct.pack("<q", 2**62)
    source = capture_of(tmp_path / "far.pcap", [(10**18, far, A)])
    answer = wirepath(
        "convert", source, "--out", tmp_path / "o", "--to", to, "--json",
        "--protocol", "raw", "--dtype", "when:M8[s]",
    )  # fmt: skip
    (told,) = answer.json["captures"]
    assert answer.code == (0 if told["ok"] else Exit.FAILED)
    assert "Traceback" not in answer.err
    if not told["ok"]:
        assert f"far.pcap holds values that {to} cannot hold" in told["error"]
        assert list((tmp_path / "o").iterdir()) == []
    elif to != "csv":
        assert len(list((tmp_path / "o" / "far").iterdir())) == 1


def test_an_error_of_arrow_is_the_captures_own(day, tmp_path, monkeypatch):
    pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed (extra parquet)")
    from wirepath.tables import Layout

    def refused(self, rows):
        raise pa.ArrowInvalid("no such value\nand more")

    monkeypatch.setattr(Layout, "batch", refused)
    done = wp.convert(day, out=str(tmp_path / "o"))
    (told,) = done.captures
    assert not done.ok
    assert told["error"] == (
        f"{day} holds values that parquet cannot hold: no such value (--to npy keeps them as they "
        "are)"
    )
    assert (done.rows, told["files"], told["out"]) == (0, 0, "")
    assert list((tmp_path / "o").iterdir()) == []


# --- names, and what killed runs leave ---------------------------------------------------------
@pytest.mark.parametrize(
    ("capture", "name"),
    [
        ("...pcap", "...pcap"),
        ("..gz", "..gz"),
        (".pcap", ".pcap"),
        ("..pcap.gz", "..pcap"),
        ("a..pcap", "a."),
        ("x/day.itch.gz", "day"),
        ("day.2020", "day.2020"),
    ],
)
def test_odd_names_stay_within_the_folder(capture, name):
    assert name_of(capture) == name


@pytest.mark.parametrize("capture", ["..", "/", "", "a/..", "."])
def test_what_names_no_file_is_refused(capture, tmp_path):
    with pytest.raises(wp.ConfigError, match="it must be the path of a file"):
        wp.convert([capture], out=str(tmp_path / "o"), to="npy", force=True)
    assert not (tmp_path / "o").exists() or list((tmp_path / "o").iterdir()) == []


def test_a_capture_of_dots_replaces_nothing_but_its_own(day, tmp_path):
    source, out = tmp_path / "...itch", tmp_path / "o"
    shutil.copy(day, source)
    out.mkdir()
    (out / "mine").write_text("x")
    for _ in range(2):
        done = wp.convert(source, out=str(out), to="npy", force=True)
        assert done.ok, done.captures[0]["error"]
    assert sorted(path.name for path in out.iterdir()) == ["...itch", "mine"]
    assert (tmp_path / "...itch").is_file()


def test_what_a_killed_run_left_is_removed_by_the_next(tmp_path):
    source, out = tmp_path / "d.itch", tmp_path / "o"
    generate(source, messages=1_500_000, seed=1)
    words = [sys.executable, "-m", "wirepath", "convert", source, "--out", out, "--to", "csv"]
    child = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not list(out.glob(".d.part-*/type=A/.*")) and time.monotonic() < deadline:
        time.sleep(0.02)
    # While it is at work its folder is left alone.
    recover(out / "d")
    assert len(list(out.glob(".d.part-*"))) == 1
    child.kill()
    child.wait()
    assert len(list(out.glob(".d.part-*"))) == 1
    generate(source, messages=3000, seed=1)
    assert wp.convert(source, out=str(out), to="npy").rows == 3000
    assert [path.name for path in out.iterdir()] == ["d"]


def test_results_that_a_killed_run_was_replacing_come_back(day, tmp_path):
    assert wp.convert(day, out=str(tmp_path), to="npy").ok
    (tmp_path / "day").rename(tmp_path / ".day.old-gone")  # between the two names
    with pytest.raises(wp.ConfigError, match="there already"):
        wp.convert(day, out=str(tmp_path), to="npy")
    assert len(load(tmp_path / "day")) == 30_000
    shutil.copytree(tmp_path / "day", tmp_path / ".day.old-gone")  # after them
    assert wp.convert(day, out=str(tmp_path), to="npy", force=True).ok
    assert [path.name for path in tmp_path.iterdir()] == ["day"]


# --- what is refused ---------------------------------------------------------------------------
def test_results_that_are_there_are_kept_unless_forced(day, tmp_path, wirepath):
    out = tmp_path / "o"
    assert wirepath("convert", day, "--out", out, "--to", "npy", "-q").code == 0
    (out / "day" / "mine").write_text("x")
    again = wirepath("convert", day, "--out", out, "--to", "npy", "--types", "A")
    assert again.code == Exit.USAGE
    assert "--force" in again.err
    assert (out / "day" / "mine").exists()
    forced = wirepath("convert", day, "--out", out, "--to", "npy", "--types", "A", "--force")
    assert forced.code == 0
    assert [path.name for path in (out / "day").iterdir()] == ["type=A"]
    assert [path.name for path in out.iterdir()] == ["day"]


MISTAKES = [
    (("--protocol", "fix"), 'protocol = "fix"'),
    (("--protocol", "cme"), "schema_file is missing"),
    (("--schema", "x.xml"), "with cme only"),
    (("--types", "A,7"), 'types = "7"'),
    (("--flow", "239.1.1.1"), "GROUP:PORT"),
    (("--flow", "239.1.1.1:5000"), "only a capture holds several flows"),
    (("--protocol", "iex"), "only ITCH has day files"),
    (("--raw", "--together"), "by_type = False"),
    (("--protocol", "raw"), "dtype is missing"),
    (("--protocol", "raw", "--dtype", "price:u3"), 'dtype = "price:u3"'),
    (("--protocol", "raw", "--dtype", "name:U4"), 'dtype = "name:U4"'),
    (("--protocol", "raw", "--dtype", "a:u4,b:c16"), "(b)"),
    (("--protocol", "raw", "--dtype", "a:g"), 'dtype = "a:g"'),
    (("--protocol", "raw", "--dtype", "a:O"), 'dtype = "a:O"'),
    (("--protocol", "raw", "--dtype", "a:M8[D]"), 'dtype = "a:M8[D]"'),
    (("--protocol", "raw", "--dtype", "a:u4", "--header", "a:O"), 'header = "a:O"'),
    (("--protocol", "raw", "--dtype", "a:u4", "--header", "65508"), "at most 65507"),
    (("--protocol", "raw", "--dtype", "a:u4", "--header", "99999999999"), "at most 65507"),
    (("--to", "orc"), 'to = "orc"'),
    (("--session-date", "yesterday"), "session_date"),
    (("--jobs", 0), "jobs = 0"),
    (("--ray", "nowhere"), "ray"),
]


@pytest.mark.parametrize(("options", "said"), MISTAKES)
def test_mistakes_are_said_and_leave_nothing(day, tmp_path, wirepath, options, said):
    if "--ray" in options:
        pytest.importorskip("ray", reason="ray is not installed (extra ray)")
    answer = wirepath("convert", day, "--out", tmp_path / "o", *options)
    assert answer.code in (Exit.USAGE, Exit.FAILED)
    assert said in " ".join(answer.err.split())
    assert "Traceback" not in answer.err
    assert not list((tmp_path / "o").rglob("*"))


def test_two_captures_of_one_name_are_refused(day, tmp_path):
    twin = tmp_path / "day.itch"
    shutil.copy(day, twin)
    with pytest.raises(wp.ConfigError, match="would both become"):
        wp.convert([day, twin], out=str(tmp_path / "o"), to="npy")


def test_missing_packages_are_named(day, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "pyarrow", None)
        with pytest.raises(wp.ExtraMissing, match="pip install pyarrow"):
            wp.convert(day, out=str(tmp_path / "o"))
        assert wp.convert(day, out=str(tmp_path / "n"), to="npy").ok  # needs none
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(wp.ExtraMissing, match=r"leave --ray out"):
        wp.convert(day, out=str(tmp_path / "o"), to="npy", ray="auto")


def test_another_protocol_is_told(day, tmp_path):
    source = two_lines(tmp_path / "ab.pcap", day)
    done = wp.convert(source, out=str(tmp_path / "o"), to="npy", protocol="iex")
    assert not done.ok
    assert "holds no packet of iex" in done.captures[0]["error"]


# --- ends --------------------------------------------------------------------------------------
def test_an_interrupt_leaves_nothing_half_done(tmp_path):
    days = []
    for i in range(2):
        days.append(tmp_path / f"d{i}.itch")
        generate(days[-1], messages=1_500_000, seed=i)
    out = tmp_path / "o"
    child = subprocess.Popen(
        [sys.executable, "-m", "wirepath", "convert", *days, "--out", out, "--to", "csv", "--jobs",
         "2"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 20
    while len(list(out.glob(".*part-*/type=A/.*"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    child.send_signal(signal.SIGINT)
    _, errors = child.communicate(timeout=30)
    assert child.returncode == Exit.INTERRUPTED, errors
    assert list(out.iterdir()) == []


def test_a_full_disk_is_told_and_leaves_nothing(day, tmp_path, wirepath):
    script = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000));"
        "from wirepath.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, "convert", str(day), "--out", str(tmp_path / "o"),
         "--to", "npy", "--json"], capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == Exit.FAILED, done.stderr
    assert "File too large" in json.loads(done.stdout)["captures"][0]["error"]
    assert list((tmp_path / "o").iterdir()) == []


def test_memory_does_not_grow_with_the_file(tmp_path):
    peaks = []
    for messages in (400_000, 2_400_000):
        day = tmp_path / f"{messages}.itch"
        generate(day, messages=messages)
        done = subprocess.run(
            [sys.executable, "-m", "wirepath", "convert", day, "--out", tmp_path / "o",
             "--to", "npy", "--json"], capture_output=True, text=True, check=True, timeout=120,
        )  # fmt: skip
        told = json.loads(done.stdout)["captures"][0]
        assert told["rows"] == messages
        peaks.append(told["peak_rss_bytes"])
    # 2 million records more are 128 MB.
    assert peaks[1] - peaks[0] < 64e6, peaks


def test_on_a_ray_cluster(day, tmp_path):
    pytest.importorskip("ray", reason="ray is not installed (extra ray)")
    short = tmp_path / "short.itch"
    short.write_bytes(day.read_bytes()[:-3])
    script = (
        "import sys, json, wirepath as wp\n"
        "done = wp.convert(sys.argv[2:], out=sys.argv[1], to='npy', ray='local')\n"
        "print(json.dumps(done.as_dict()))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "o", day, short],
        capture_output=True, text=True, check=False, timeout=150,
        env=os.environ | {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["failed"] == [str(short)]
    assert told["rows"] == len(load(tmp_path / "o")) == 30_000


# --- the reader --------------------------------------------------------------------------------
def test_every_payload_of_a_capture_is_in_one_counter(day, tmp_path):
    sent = [(10**18 + i, p, A) for i, p in enumerate(packets(day.read_bytes()[:20_000]))]
    sent += [(2 * 10**18 + i, b"short", B) for i in range(3)]
    sent += [(2 * 10**18 + i, sent[0][1], ("239.9.9.9", 1000 + i)) for i in range(40)]
    source = capture_of(tmp_path / "x.pcap", sent)
    reader = LineReader("itch")
    with wp.open(f"pcap:{source}", steer=wp.everything()) as port:
        for batch in port:
            reader.on_batch(batch)
    reader.flush()
    told = reader.counters
    assert told["frames"] == told["payloads"] + told["not_udp"] == len(sent)
    lines = sum(line["packets"] for line in reader.lines)
    assert told["payloads"] == lines + sum(
        told[name] for name in ("foreign", "other_line", "other_channel", "no_session")
    )
    assert (len(reader.lines), told["other_line"], told["foreign"]) == (16, 25, 3)
    done = wp.convert(source, out=str(tmp_path / "o"), to="npy")
    assert "more than 16 lines" in done.captures[0]["error"]
    assert wp.convert(source, out=str(tmp_path / "o"), to="npy", flows=("239.1.2.3:5000",)).ok


def test_a_line_reader_refuses_what_makes_no_sense():
    for options, said in (
        ({"protocol": "fix"}, "itch, iex, pitch, cme"),
        ({"protocol": "cme"}, "a schema with cme"),
        ({"protocol": "itch", "columns": True, "types": ["?"]}, "type = '\\?'"),
        ({"protocol": "itch", "channel": 70_000}, "channel = 70000"),
        ({"protocol": "itch", "hold_ns": -1}, "hold_ns"),
    ):
        with pytest.raises(wp.ConfigError, match=said):
            LineReader(**options)
    assert midnight_ns(date(2020, 1, 30)) > 0
