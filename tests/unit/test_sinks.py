"""Sinks: policies of slow ones, the account of every record, failing disks, files after a crash."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

import wirepath as wp
from wirepath import sinks
from wirepath.sinks import Fanout, Queue, Sink, newest, open_sink, sink_config

HOUR = 3600 * 1_000_000_000
DAY = 1_577_664_000 * 1_000_000_000  # 2019-12-30, UTC


def records(n, first=1, instruments=4, kind="A", start=DAY):
    out = np.zeros(n, wp.RECORD)
    out["seq"] = np.arange(first, first + n)
    out["event_time"] = start + np.arange(n)
    out["instrument"] = np.arange(n) % instruments + 1
    out["type"] = ord(kind)
    out["venue"] = 1
    return out


def balanced(counters):
    return counters["offered"] == (
        counters["written"]
        + counters["dropped"]
        + counters["conflated"]
        + counters["refused_after_disconnect"]
        + counters["queued"]
    )


class Gate(Sink):
    """Takes nothing until it is opened."""

    def __init__(self, name="gate", **options):
        super().__init__(name, **options)
        self.gate = threading.Event()
        self.entered = threading.Event()
        self.got = []

    def write(self, records):
        self.entered.set()
        assert self.gate.wait(20)
        self.got.append(records)


def started(policy, capacity):
    """A sink that holds its first record and waits, and the fan-out."""
    sink = Gate(policy=policy, queue_records=capacity)
    out = Fanout([sink])
    out.write(records(1))
    assert sink.entered.wait(20)
    return sink, out


# --- policies ----------------------------------------------------------------------------------
def test_drop_newest_keeps_what_came_first():
    sink, out = started("drop_newest", 10)
    out.write(records(7, 2))
    out.write(records(7, 9))
    counters = out.counters["gate"]
    assert (counters["waiting"], counters["dropped"], counters["held"]) == (10, 4, 1)
    assert balanced(counters)
    sink.gate.set()
    assert out.close()
    assert np.concatenate(sink.got)["seq"].tolist() == list(range(1, 12))
    counters = out.counters["gate"]
    assert (counters["written"], counters["dropped"], counters["queued"]) == (11, 4, 0)
    assert balanced(counters)


def test_conflate_keeps_the_newest_of_each_instrument_in_order():
    sink, out = started("conflate", 8)
    out.write(records(8, 2))
    out.write(records(6, 10))  # instruments 1 2 3 4 1 2
    counters = out.counters["gate"]
    assert (counters["waiting"], counters["conflated"], counters["dropped"]) == (4, 10, 0)
    sink.gate.set()
    assert out.close()
    rest = np.concatenate(sink.got[1:])
    assert rest["seq"].tolist() == [12, 13, 14, 15]
    assert rest["instrument"].tolist() == [3, 4, 1, 2]
    assert balanced(out.counters["gate"])


def test_conflate_is_bounded_also_with_more_instruments_than_room():
    sink, out = started("conflate", 8)
    out.write(records(20, 2, instruments=20))
    counters = out.counters["gate"]
    assert (counters["waiting"], counters["conflated"], counters["dropped"]) == (8, 0, 12)
    sink.gate.set()
    assert out.close()
    assert np.concatenate(sink.got[1:])["seq"].tolist() == list(range(14, 22))
    assert balanced(out.counters["gate"])


def test_newest_tells_venue_channel_type_and_side_apart():
    some = records(6, instruments=1)
    some["venue"] = [1, 2, 1, 1, 1, 1]
    some["channel"] = [0, 0, 1, 0, 0, 0]
    some["type"] = [65, 65, 65, 66, 65, 65]
    some["side"] = [0, 0, 0, 0, ord("B"), 0]
    assert newest(some)["seq"].tolist() == [2, 3, 4, 5, 6]


def test_disconnect_ends_the_sink_and_refuses_the_rest():
    sink, out = started("disconnect", 10)
    out.write(records(10, 2))
    out.write(records(5, 12))  # no room: that is the end
    out.write(records(5, 17))
    counters = out.counters["gate"]
    assert counters["disconnected"]
    assert (counters["refused_after_disconnect"], counters["waiting"]) == (10, 10)
    assert balanced(counters)
    sink.gate.set()
    assert out.close()
    assert np.concatenate(sink.got)["seq"].tolist() == list(range(1, 12))
    assert out.counters["gate"]["written"] == 11
    assert balanced(out.counters["gate"])


def test_block_waits_and_loses_nothing():
    sink, out = started("block", 10)
    writer = threading.Thread(target=lambda: out.write(records(1000, 2)))
    writer.start()
    time.sleep(0.1)
    assert writer.is_alive()
    counters = out.counters["gate"]
    assert counters["waiting"] == 10
    assert counters["blocked"] >= 1
    assert balanced(counters)
    sink.gate.set()
    writer.join(20)
    assert not writer.is_alive()
    assert out.close()
    assert np.concatenate(sink.got)["seq"].tolist() == list(range(1, 1002))
    assert out.counters["gate"]["written"] == out.counters["gate"]["offered"] == 1001


def test_a_slow_sink_that_may_lose_keeps_no_other_waiting():
    slow, got = Gate("slow", policy="drop_newest", queue_records=100), []
    fast = open_sink(sinks.CallbackConfig(name="fast", function=got.append))
    out = Fanout([slow, fast])
    begin = time.monotonic()
    for i in range(100):
        out.write(records(100, 1 + 100 * i))
    assert time.monotonic() - begin < 5
    slow.gate.set()
    assert out.close()
    assert np.concatenate(got)["seq"].tolist() == list(range(1, 10_001))
    counters = out.counters
    assert counters["fast"]["written"] == 10_000
    assert 100 <= counters["slow"]["written"] < 10_000
    assert all(balanced(each) for each in counters.values())


def test_a_sink_that_never_returns_is_left_to_itself():
    sink, out = started("drop_newest", 10)
    out.write(records(10, 2))
    assert out.close(timeout=0.2) is False
    counters = out.counters["gate"]
    assert (counters["queued"], counters["errors"]) == (11, 1)
    assert "did not end" in counters["last_error"]
    assert balanced(counters)
    sink.gate.set()


# --- the account, whatever happens -------------------------------------------------------------
class Account(RuleBasedStateMachine):
    """A queue against a list of everything that it was given."""

    def __init__(self):
        super().__init__()
        self.policy = None
        self.next = 1
        self.offered = 0
        self.given = []
        self.waiting = []
        self.holding = 0
        self.lost = {"dropped": 0, "conflated": 0, "refused": 0}
        self.disconnected = self.closed = False

    @rule(
        policy=st.sampled_from(["drop_newest", "conflate", "disconnect"]),
        capacity=st.integers(1, 12),
    )
    def begin(self, policy, capacity):
        if self.policy is None:
            self.policy, self.capacity = policy, capacity
            self.queue = Queue(policy, capacity)

    @rule(n=st.integers(0, 20), instruments=st.integers(1, 6))
    def offer(self, n, instruments):
        if self.policy is None:
            return
        some = records(n, self.next, instruments)
        self.next += n
        self.offered += n
        self.queue.offer(some)
        new = [(int(r["seq"]), int(r["instrument"])) for r in some]
        if self.disconnected or self.closed:
            self.lost["refused"] += n
        elif len(self.waiting) + n <= self.capacity:
            self.waiting += new
        elif self.policy == "drop_newest":
            room = self.capacity - len(self.waiting)
            self.waiting += new[:room]
            self.lost["dropped"] += n - room
        elif self.policy == "disconnect":
            self.disconnected = True
            self.lost["refused"] += n
        else:
            every = self.waiting + new
            latest = {instrument: seq for seq, instrument in every}
            kept = [(s, i) for s, i in every if latest[i] == s]
            self.lost["conflated"] += len(every) - len(kept)
            beyond = max(len(kept) - self.capacity, 0)
            self.lost["dropped"] += beyond
            self.waiting = kept[beyond:]

    @rule()
    def take(self):
        if self.policy is None:
            return
        piece = self.queue.take(0)
        if piece is None:
            assert not self.waiting
            assert self.disconnected or self.closed
        elif len(piece):
            n = len(piece)
            assert piece["seq"].tolist() == [seq for seq, _ in self.waiting[:n]]
            self.waiting = self.waiting[n:]
            self.holding += n
        else:
            assert not self.waiting

    @rule(share=st.floats(0, 1), good=st.booleans())
    def settle(self, share, good):
        if self.policy is None:
            return
        n = int(share * self.holding)
        (self.queue.wrote if good else self.queue.failed)(n)
        self.holding -= n
        if not good:
            self.lost["dropped"] += n

    @rule()
    def close(self):
        if self.policy is not None and self.next > 60:
            self.queue.close()
            self.closed = True

    @invariant()
    def every_record_is_in_one_counter(self):
        if self.policy is None:
            return
        counters = self.queue.counters
        assert balanced(counters)
        assert counters["offered"] == self.offered
        assert counters["waiting"] == len(self.waiting) <= self.capacity
        assert counters["held"] == self.holding
        assert counters["dropped"] == self.lost["dropped"]
        assert counters["conflated"] == self.lost["conflated"]
        assert counters["refused_after_disconnect"] == self.lost["refused"]


TestAccount = Account.TestCase
TestAccount.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


@pytest.mark.parametrize("policy", ["block", "drop_newest", "conflate", "disconnect"])
def test_the_account_holds_while_threads_run(policy):
    got, seen = [], []
    sink = open_sink(
        sinks.CallbackConfig(
            name="x", function=lambda r: (got.append(r), time.sleep(0.0005)),
            policy=policy, queue_records=2000,
        )
    )  # fmt: skip
    out = Fanout([sink])
    stop = threading.Event()

    def look():
        while not stop.is_set():
            seen.append(out.counters["x"])

    looker = threading.Thread(target=look)
    looker.start()
    for i in range(300):
        out.write(records(500, 1 + 500 * i, instruments=50))
    assert out.close()
    stop.set()
    looker.join()
    assert len(seen) > 10
    assert all(balanced(each) for each in seen)
    counters = out.counters["x"]
    written = np.concatenate(got)["seq"].astype(np.int64)
    assert counters["written"] == len(written)
    assert counters["queued"] == 0
    assert balanced(counters)
    if policy == "block":
        assert written.tolist() == list(range(1, 150_001))
    else:
        assert len(np.unique(written)) == len(written)
        assert counters["offered"] == 150_000
    if policy != "conflate":
        assert np.all(np.diff(written) > 0)


# --- errors ------------------------------------------------------------------------------------
def test_a_sink_that_raises_is_counted_and_goes_on():
    def sometimes(some):
        if some["seq"][0] % 2:
            raise RuntimeError("no")
        got.append(some)

    got = []
    sink = open_sink(sinks.CallbackConfig(name="x", function=sometimes))
    with Fanout([sink]) as out:
        for i in range(1, 11):
            out.write(records(1, i))
    counters = out.counters["x"]
    assert (counters["written"], counters["failed"], counters["dropped"]) == (5, 5, 5)
    assert (counters["errors"], counters["last_error"]) == (5, "no")
    assert balanced(counters)


@pytest.mark.parametrize("policy", ["block", "drop_newest"])
def test_a_function_that_wants_to_exit_keeps_nobody_waiting(policy):
    sink = open_sink(
        sinks.CallbackConfig(
            name="x", function=lambda some: sys.exit(3), policy=policy, queue_records=10
        )
    )
    out = Fanout([sink])
    writer = threading.Thread(
        target=lambda: [out.write(records(10, i)) for i in range(1, 6)], daemon=True
    )
    writer.start()
    writer.join(20)
    assert not writer.is_alive()
    assert out.close(20)
    counters = out.counters["x"]
    assert (counters["offered"], counters["dropped"], counters["queued"]) == (50, 50, 0)
    assert "SystemExit" in counters["last_error"]


def test_mistakes_are_refused():
    with pytest.raises(wp.ConfigError, match='name = "a"'):
        Fanout([Gate("a"), Gate("a")])
    out = Fanout([])
    with pytest.raises(wp.ConfigError, match=r"must be wirepath\.RECORD"):
        out.write(np.zeros(3))
    out.close()
    with pytest.raises(wp.errors.StateError):
        out.write(records(1))


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({}, "kind is missing"),
        ({"kind": "parqet"}, "did you mean parquet?"),
        ({"kind": "parquet"}, "folder is missing"),
        ({"kind": "parquet", "folder": "x", "policy": "drop"}, 'policy = "drop"'),
        ({"kind": "csv", "folder": "x", "period": "week"}, 'period = "week"'),
        ({"kind": "npy", "folder": "x", "queue_records": 0}, "queue_records = 0"),
        ({"kind": "kafka", "brokers": "a:1", "topic": "a b"}, 'topic = "a b"'),
        ({"kind": "ring", "ring": "x", "capacity": 1000}, "capacity = 1000"),
        ({"kind": "callback"}, "function is missing"),
        ({"kind": "parquet", "folder": "x", "dir": 1}, "there is no option dir"),
    ],
)
def test_what_a_wrong_table_says(table, said):
    with pytest.raises(wp.ConfigError, match=said.replace("?", r"\?")):
        sink_config(table)


# --- files -------------------------------------------------------------------------------------
def write_files(folder, some, step=1000, **options):
    config = sink_config({"kind": "parquet", "name": "f", "folder": str(folder)} | options)
    with Fanout([open_sink(config)]) as out:
        for at in range(0, len(some), step):
            out.write(some[at : at + step])
    return out.counters["f"]


def mixed(n):
    """Adds, deletes and trades over three hours."""
    some = records(n)
    some["type"] = np.frombuffer(b"ADDP", np.uint8)[np.arange(n) % 4]
    some["event_time"] = DAY + np.arange(n) * (3 * HOUR // n)
    some["action"] = np.arange(n) % 10
    some["side"] = np.frombuffer(b"BS\0", np.uint8)[np.arange(n) % 3]
    some["price"] = np.arange(n) * 100
    return some


def names(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def test_parquet_files_by_type_and_hour_hold_every_record(tmp_path):
    pytest.importorskip("pyarrow")
    import pyarrow as pa
    import pyarrow.dataset as ds

    some = mixed(12_000)
    counters = write_files(tmp_path, some)
    assert counters["written"] == counters["offered"] == 12_000
    assert counters["files"] == 9
    assert names(tmp_path) == [
        f"type={t}/2019-12-30T0{h}.parquet" for t in "ADP" for h in (0, 1, 2)
    ]
    table = ds.dataset(tmp_path, partitioning="hive").to_table().sort_by("seq")
    assert table["seq"].to_pylist() == some["seq"].tolist()
    assert table["type"].to_pylist() == [chr(t) for t in some["type"]]
    assert table["action"].to_pylist() == [wp.Action(a).name.lower() for a in some["action"]]
    assert table["side"].to_pylist() == [{66: "B", 83: "S", 0: None}[s] for s in some["side"]]
    assert table["event_time"].type == pa.timestamp("ns", tz="UTC")
    assert table["event_time"].cast(pa.int64()).to_pylist() == some["event_time"].tolist()
    assert table["recv_time"].null_count == 12_000
    assert table["price"].to_pylist() == some["price"].tolist()
    assert pa.types.is_dictionary(table["action"].type)
    assert set(table["venue"].to_pylist()) == {"nasdaq"}


@pytest.mark.parametrize("kind", ["parquet", "arrow", "csv", "npy"])
def test_every_format_in_one_file_keeps_the_order(tmp_path, kind):
    if kind != "npy":
        pytest.importorskip("pyarrow")
    some = mixed(5000)
    counters = write_files(tmp_path, some, kind=kind, by_type=False, period="none")
    assert counters["written"] == 5000
    (path,) = tmp_path.iterdir()
    assert path.name == f"records.{kind}"
    if kind == "npy":
        assert np.array_equal(np.load(path), some)
        return
    if kind == "csv":
        lines = path.read_text().splitlines()
        assert len(lines) == 5001
        head = [word.strip('"') for word in lines[0].split(",")]
        first = dict(zip(head, lines[2].split(","), strict=True))
        assert first["seq"] == "2"
        assert first["event_time"] == str(some["event_time"][1])
        assert first["type"].strip('"') == "D"
        assert first["recv_time"] == ""
        return
    import pyarrow.parquet as pq
    from pyarrow import feather

    table = pq.read_table(path) if kind == "parquet" else feather.read_table(path)
    assert table["seq"].to_pylist() == some["seq"].tolist()
    assert table["type"].to_pylist() == [chr(t) for t in some["type"]]
    assert table.schema.field("price").metadata[b"unit"] == b"1e-9"


def test_row_groups_are_bounded(tmp_path):
    pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    write_files(tmp_path, records(10_000), group_rows=3000, by_type=False, step=700)
    data = pq.ParquetFile(tmp_path / "2019-12-30T00.parquet").metadata
    assert [data.row_group(i).num_rows for i in range(data.num_row_groups)] == [
        3000, 3000, 3000, 1000,
    ]  # fmt: skip


def test_types_of_other_venues_and_their_names(tmp_path):
    pytest.importorskip("pyarrow")
    some = records(4)
    some["venue"] = [2, 3, 4, 1]
    some["type"] = [ord("Q"), 32, 0x21, ord("h")]
    assert write_files(tmp_path, some, period="day")["written"] == 4
    assert names(tmp_path) == [f"type={t}/2019-12-30.parquet" for t in ("0x21", "32", "Q", "h")]


def test_a_second_run_writes_beside_the_first(tmp_path):
    pytest.importorskip("pyarrow")
    write_files(tmp_path, records(10))
    write_files(tmp_path, records(10, 11))
    assert names(tmp_path) == [
        "type=A/2019-12-30T00-1.parquet", "type=A/2019-12-30T00.parquet",
    ]  # fmt: skip


def test_few_files_are_open_at_a_time(tmp_path):
    some = mixed(3000)
    counters = write_files(tmp_path, some, kind="npy", max_open=2, step=100)
    assert counters["written"] == 3000
    got = np.concatenate([np.load(p) for p in tmp_path.rglob("*.npy")])
    assert np.array_equal(np.sort(got["seq"]), some["seq"])


def test_files_rotate_by_age_while_nothing_comes(tmp_path):
    config = sinks.FileConfig(name="f", folder=str(tmp_path), kind="npy", rotate_seconds=1)
    with Fanout([open_sink(config)]) as out:
        out.write(records(5))
        deadline = time.monotonic() + 20
        while out.counters["f"]["written"] < 5 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert names(tmp_path) == ["type=A/2019-12-30T00.npy"]


CRASH = """
import sys, time, numpy as np
sys.path.insert(0, {tests!r})
from test_sinks import records, HOUR, DAY
from wirepath import sinks
config = sinks.FileConfig(name="f", folder={folder!r}, max_open=1, group_rows=100)
out = sinks.Fanout([sinks.open_sink(config)])
for hour in range(4):
    out.write(records(1000, 1 + 1000 * hour, start=DAY + hour * HOUR))
while out.counters["f"]["written"] < 3000:
    time.sleep(0.01)
print("ready", flush=True)
time.sleep(60)
"""


def test_after_kill_9_every_file_with_a_name_is_whole(tmp_path):
    pytest.importorskip("pyarrow")
    import pyarrow.dataset as ds

    code = CRASH.format(tests=os.path.dirname(__file__), folder=str(tmp_path))  # noqa: PTH120
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout.readline() == "ready\n"
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
    hidden = [name for name in names(tmp_path) if "/." in name]
    assert len(hidden) == 1  # of the hour that was being written
    assert ds.dataset(tmp_path, partitioning="hive").count_rows() == 3000
    # The next run is not disturbed by it.
    assert write_files(tmp_path, records(10, start=DAY + 3 * HOUR))["written"] == 10
    assert ds.dataset(tmp_path, partitioning="hive").count_rows() == 3010


@pytest.mark.parametrize("kind", ["parquet", "arrow", "csv", "npy"])
def test_a_disk_that_fails_costs_the_unfinished_files_only(tmp_path, kind):
    if kind != "npy":
        pytest.importorskip("pyarrow")
    config = sink_config(
        {"kind": kind, "name": "f", "folder": str(tmp_path), "by_type": False,
         "group_rows": 1000, "compression": "none"} if kind == "parquet" else
        {"kind": kind, "name": "f", "folder": str(tmp_path), "by_type": False, "group_rows": 1000}
    )  # fmt: skip
    random = np.random.default_rng(1)
    big = records(20_000, start=DAY + HOUR)
    for name in ("order_id", "aux"):
        big[name] = random.integers(0, 1 << 63, len(big))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    got = []
    other = open_sink(sinks.CallbackConfig(name="other", function=got.append))
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, before[1]))  # then writes fail (EFBIG)
    try:
        with Fanout([open_sink(config), other]) as out:
            for some in (records(1000), big, records(1000, 30_001, start=DAY + 2 * HOUR)):
                out.write(some)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    counters = out.counters["f"]
    assert balanced(counters)
    assert counters["queued"] == 0
    assert counters["errors"] >= 1
    assert counters["last_error"]
    assert counters["failed"] >= 1000
    assert counters["written"] >= 2000
    assert counters["written"] + counters["failed"] == 22_000
    assert sum(map(len, got)) == 22_000  # the other sink has everything
    assert not [name for name in names(tmp_path) if name.startswith(".")]
    assert {"2019-12-30T00", "2019-12-30T02"} <= {name.split(".")[0] for name in names(tmp_path)}


FULL = """
import sys, os
sys.path.insert(0, {tests!r})
from test_sinks import write_files, records, balanced, names
from pathlib import Path
folder = Path({folder!r})
os.makedirs(folder)
import subprocess
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "none", str(folder)], check=True)
counters = write_files(folder, records(200_000), kind="npy", step=20_000)
assert balanced(counters), counters
assert counters["failed"] >= 1000 and counters["queued"] == 0, counters
assert "space" in counters["last_error"], counters
again = write_files(folder, records(500), kind="npy")
assert again["written"] == 500, again
print("held")
"""


def test_a_full_disk_is_counted_and_then_written_to_again(tmp_path):
    code = FULL.format(tests=os.path.dirname(__file__), folder=str(tmp_path / "full"))  # noqa: PTH120
    done = subprocess.run(
        ["unshare", "-m", sys.executable, "-c", code],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    if done.returncode and ("unshare" in done.stderr or "mount" in done.stderr):
        pytest.skip(f"mounts need CAP_SYS_ADMIN: {done.stderr.strip().splitlines()[-1]}")
    assert done.stdout == "held\n", done.stderr


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    config = sinks.FileConfig(name="f", kind="npy", folder=str(tmp_path / "file" / "x"))
    with pytest.raises(wp.ConfigError, match="folder = "):
        Fanout([open_sink(config)])


def test_without_pyarrow_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    config = sinks.FileConfig(name="f", folder=str(tmp_path))
    with pytest.raises(wp.ExtraMissing, match=r"pip install 'wirepath\[parquet\]'"):
        Fanout([open_sink(config)])


# --- a ring ------------------------------------------------------------------------------------
def test_a_ring_as_a_sink_is_read_by_its_name():
    name = f"wpsink{os.getpid()}"
    config = sinks.RingConfig(name="r", ring=name, capacity=256)
    out = Fanout([open_sink(config)])
    ring = wp.Ring.attach(name)
    out.write(records(1000))
    got = []
    while sum(map(len, got)) < 1000:
        got.append(ring.pop_batch(100, timeout=10))
        assert len(got[-1])
    assert np.concatenate(got)["seq"].tolist() == list(range(1, 1001))
    assert out.close()
    counters = out.counters["r"]
    assert counters["written"] == 1000
    assert ring.closed
    assert balanced(counters)


def test_a_ring_that_nobody_reads_does_not_hold_the_end_up():
    config = sinks.RingConfig(name="r", ring=f"wpsinkx{os.getpid()}", capacity=256)
    out = Fanout([open_sink(config)])
    out.write(records(1000))
    assert out.close(timeout=20)
    counters = out.counters["r"]
    assert (counters["written"], counters["failed"]) == (256, 744)
    assert "nobody takes" in counters["last_error"]
    assert balanced(counters)
