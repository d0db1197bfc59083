"""The command line: answers, exit codes, and what is said of mistakes."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import wirepath as wp
from wirepath.cli import Exit, exit_code_of, main
from wirepath.cli.output import text
from wirepath.feed import generate
from wirepath.lab import LabError, unavailable_reason
from wirepath.plain import duration, plain

COMMANDS = [
    ("backends",), ("info",), ("doctor",), ("publish",), ("generate",), ("feed",), ("convert",),
    ("demo",), ("top",), ("metrics",), ("tune",),
    ("bench", "ingest"), ("bench", "baseline"), ("bench", "run"), ("bench", "compare"),
    ("bench", "send"), ("report",),
    ("lab", "up"), ("lab", "status"), ("lab", "down"), ("lab", "exec"),
]  # fmt: skip


@pytest.fixture
def capture(tmp_path):
    """A capture of a generated feed: 2,500 messages, one packet of them left out."""
    day = tmp_path / "day.itch"
    generate(day, messages=2500)
    from wirepath import frames

    data, at, seq = day.read_bytes(), 0, 1
    packets = []
    while at < len(data):
        begin, n = at, 0
        while at < len(data) and n < 25:
            at += 2 + int.from_bytes(data[at : at + 2], "big")
            n += 1
        head = b"DAY       " + seq.to_bytes(8, "big") + n.to_bytes(2, "big")
        packets.append(frames.udp(head + data[begin:at], dst=("239.1.2.3", 5000)))
        seq += n
    del packets[10]  # sequence 251 to 275
    source, path = tmp_path / "empty.pcap", tmp_path / "day.pcap"
    source.write_bytes(bytes.fromhex("4d3cb2a1020004000000000000000000ffff000001000000"))
    with wp.open(f"pcap:{source}", steer=wp.everything(), write=path) as port:
        assert port.send(packets) == 99
    return path


def background(*arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "wirepath", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


# --- help, and what every command has ----------------------------------------------------------
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_has_an_example(wirepath, command):
    answer = wirepath(*command, "--help")
    assert answer.code == 0
    assert "Example:" in answer.out
    assert f"wirepath {' '.join(command)}" in " ".join(answer.out.split())


def test_exit_codes_are_in_the_help(wirepath):
    out = " ".join(wirepath("--help").out.split())
    for code in Exit:
        assert f"{code.value} " in out
    assert wirepath("--version").out.strip() == wp.__version__


def test_without_a_command_there_is_help(wirepath):
    answer = wirepath()
    assert "feed" in answer.out + answer.err
    assert "Traceback" not in answer.err


# --- mistakes ----------------------------------------------------------------------------------
MISTAKES = [
    (("nonsense",), Exit.USAGE, "nonsense"),
    (("feed", "--bogus"), Exit.USAGE, "--bogus"),
    (("feed",), Exit.USAGE, "PORT is missing"),
    (("feed",), Exit.USAGE, "--config FILE"),
    (("feed", "dpdk:", "239.1.1.1:9001"), Exit.USAGE, "it must be the device"),
    (("feed", "sokcet:lo", "239.1.1.1:9001"), Exit.USAGE, "did you mean socket?"),
    (("feed", "socket:lo", "239.1.1.1"), Exit.USAGE, "GROUP:PORT"),
    (("feed", "socket:lo"), Exit.USAGE, "port is missing"),
    (("feed", "socket:nowhere0", "239.1.1.1:9001"), Exit.USAGE, "no network interface"),
    (("feed", "pcap:/nowhere.pcap"), None, "/nowhere.pcap"),
    (("feed", "pcap:"), Exit.USAGE, "capture is missing"),
    (("feed", "null:", "--batch-size", 0), Exit.USAGE, "batch_size = 0"),
    (("feed", "null:", "--batch-size", "x"), Exit.USAGE, "--batch-size"),
    (("feed", "null:", "--rx-ring-size", 100), Exit.USAGE, "power of two"),
    (("feed", "null:", "--cpu-core", 1023), Exit.USAGE, "one of the cores"),
    (("feed", "null:", "--idle", "nap"), Exit.USAGE, 'idle = "nap"'),
    (("feed", "null:", "--session", "12345678901"), Exit.USAGE, "at most 10"),
    (("feed", "null:", "--session-date", "soon"), Exit.USAGE, "session_date"),
    (("feed", "null:", "--poll-timeout-us", 0), Exit.USAGE, "poll_timeout_us = 0"),
    (("feed", "null:", "--zero-copy-threshold", -1), Exit.USAGE, "zero_copy_threshold = -1"),
    (("feed", "null:", "--buffer-capacity", 1000), Exit.USAGE, "capacity = 1000"),
    (("feed", "null:", "--policy", "wait"), Exit.USAGE, 'policy = "wait"'),
    (("feed", "null:", "--option", "frames"), Exit.USAGE, "NAME=VALUE"),
    (("feed", "null:", "--option", "frame=1"), Exit.USAGE, "did you mean frames?"),
    (("feed", "null:,frames=-1"), Exit.USAGE, "frames"),
    (("feed", "null:", "--max-seconds", 0), Exit.USAGE, "--max-seconds"),
    (("feed", "null:", "--max-messages", 0), Exit.USAGE, "--max-messages"),
    (("feed", "null:", "--out", "x.txt"), Exit.USAGE, ".npy or .csv"),
    (("feed", "null:", "--config", "/nowhere.toml"), Exit.USAGE, "cannot be read"),
    (("info", "sokcet:lo"), Exit.USAGE, "did you mean socket?"),
    (("info", "socket:nowhere0"), Exit.USAGE, "no network interface"),
    (("info", "socket:lo", "--everything"), Exit.USAGE, "cannot take everything"),
    (("publish", "/nowhere.pcap"), Exit.USAGE, "cannot be read"),
    (("publish", "--to", "239.1.1.1"), Exit.USAGE, "GROUP:PORT"),
    (("publish", "--rate", 0), Exit.USAGE, "rate = 0"),
    (("publish", "--rate", 5, "--speed", 5), Exit.USAGE, "left out where rate is given"),
    (("publish", "--via", "lo"), Exit.USAGE, "port spec"),
    (("publish", "--messages", 5), Exit.USAGE, "messages = 5"),
    (("publish", "--on-refused", "wait"), Exit.USAGE, "on_refused"),
    (("generate", "/nowhere/day.itch", "--messages", 2500), Exit.FAILED, "/nowhere/day.itch"),
    (("generate", "day.itch", "--messages", 1), Exit.USAGE, "messages"),
    (("bench", "ingest", "--backend", "nul"), Exit.USAGE, "did you mean null?"),
    (("bench", "ingest", "--backend", "pcap"), Exit.USAGE, "capture is missing"),
    (("bench", "ingest", "--buffer-capacity", 7), Exit.USAGE, "capacity = 7"),
    (("demo", "--seconds", 0), Exit.USAGE, "--seconds"),
    (("demo", "--rate", 0), Exit.USAGE, "--rate"),
    (("demo", "--out", "/dev/null/x"), Exit.USAGE, "--out"),
    (("publish", "--max-seconds", "nan"), Exit.USAGE, "--max-seconds"),
    (("feed", "null:", "--session-date", "9999-12-31"), Exit.USAGE, "session_date"),
    (("feed", "null:", "--latency-histogram", "/"), Exit.USAGE, "cannot be written"),
    (("bench", "ingest", "--latency-histogram", "/"), Exit.USAGE, "cannot be written"),
    (("bench", "ingest", "--port", 0), Exit.USAGE, "port = 0"),
    (("lab", "up", "--name", "a/b"), None, "a/b"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "code", "said"), MISTAKES, ids=[" ".join(map(str, m[0])) for m in MISTAKES]
)
def test_a_mistake_ends_in_one_message_and_an_exit_code(capfd, arguments, code, said):
    ended = main([str(a) for a in arguments])  # a traceback would be an exception here
    out, err = capfd.readouterr()
    assert err.startswith("wirepath: ")
    assert said in err
    assert out == ""
    assert ended == (code if code is not None else ended)
    assert ended not in (0, Exit.INTERRUPTED)


def test_with_json_a_mistake_is_an_object_too(wirepath):
    for arguments in (("feed", "socket:lo"), ("publish", "--bogus"), ("info", "sokcet:")):
        answer = wirepath(*arguments, "--json")
        assert answer.json["exit_code"] == answer.code == Exit.USAGE
        assert answer.json["error"] in answer.err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (wp.ConfigError("x"), Exit.USAGE),
        (wp.Unsupported("x"), Exit.USAGE),
        (wp.BackendUnavailable("x"), Exit.UNAVAILABLE),
        (wp.DeviceBusy("x"), Exit.UNAVAILABLE),
        (wp.PermissionDenied("x"), Exit.PERMISSION),
        (wp.LabUnavailable("CAP_NET_ADMIN is missing"), Exit.PERMISSION),
        (wp.LabUnavailable("no veth in this kernel"), Exit.UNAVAILABLE),
        (wp.PortError("x"), Exit.FAILED),
        (LabError("x"), Exit.FAILED),
        (OSError("x"), Exit.FAILED),
    ],
)
def test_the_exit_code_of_an_error(error, code):
    assert exit_code_of(error) == code


@pytest.mark.parametrize(
    "arguments", [("bench", "ingest", "--backend", "af_xdp"), ("lab", "up"), ("lab", "status")]
)
def test_without_privileges_the_capability_is_named(arguments):
    command = [sys.executable, "-m", "wirepath", *arguments, "--json"]
    if os.geteuid() == 0:
        setpriv = shutil.which("setpriv")
        if setpriv is None:
            pytest.skip("root gives its privileges up with setpriv (apt install util-linux)")
        command = [setpriv, "--bounding-set=-all", "--inh-caps=-all", *command]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == Exit.PERMISSION, done.stderr
    assert "CAP_" in json.loads(done.stdout)["error"]


# --- backends, info, generate ------------------------------------------------------------------
def test_backends_are_listed_with_their_options(wirepath):
    found = {b["name"]: b for b in wirepath("backends", "--json").json["backends"]}
    assert {"socket", "pcap", "null", "af_xdp"} <= set(found)
    assert found["null"]["available"]
    assert ["frames", "0"] in [option[:2] for option in found["null"]["options"]]
    out = wirepath("backends").out
    assert "frame_size" in out
    assert "[switch]" in out  # a table of TOML, no style
    for each in found.values():
        assert each["available"] or (each["reason"] and each["mend"])


def test_info_of_a_port_that_is_opened_and_of_one_that_is_not(wirepath, flow):
    opened = wirepath("info", "socket:lo", f"{flow[0]}:{flow[1]}", "--json").json
    assert opened["opened"] is True
    assert opened["info"]["backend"] == "socket"
    assert opened["info"]["groups"] == [f"{flow[0]} on lo"]
    assert opened["capabilities"]["tx"] is True
    closed = wirepath("info", "socket:lo", "--json").json
    assert closed["opened"] is False
    assert closed["interface"]["mtu"] == 65536
    assert "groups" not in json.dumps(closed)
    assert "Not opened" in wirepath("info", "socket:lo").out
    assert wirepath("info", "null:", "--json").json["info"]["mode"] == "memory"


def test_generate_writes_a_day_and_says_what_is_in_it(wirepath, tmp_path):
    path = tmp_path / "day.itch"
    told = wirepath("generate", path, "--messages", 3000, "--seed", 5, "--json").json
    assert told["messages"] == 3000 == sum(told["by_type"].values())
    assert told["bytes"] == path.stat().st_size
    generate(tmp_path / "same.itch", messages=3000, seed=5)
    assert path.read_bytes() == (tmp_path / "same.itch").read_bytes()


# --- feed --------------------------------------------------------------------------------------
def test_feed_of_a_capture_ends_with_one_object(wirepath, capture):
    answer = wirepath("feed", f"pcap:{capture}", "--json")
    assert answer.code == 0
    told = answer.json
    keys = {"packets", "messages", "by_type", "gaps", "duplicates", "unknown", "malformed",
            "dropped", "latency_ns", "port"}  # fmt: skip
    assert keys <= set(told)
    assert (told["packets"], told["messages"]) == (99, 2475)
    assert told["gaps"] == [[251, 275]]
    assert told["missing"] == told["dropped"]["line.missing"] == 25
    assert sum(told["by_type"].values()) == 2475
    assert set(told["latency_ns"]) == {"wire_to_ring", "ring_to_consumer"}
    assert told["latency_ns"]["wire_to_ring"] == {}  # the capture's stamps are of another day
    assert "timestamps" in told["latency_note"]
    assert {"p50", "p99", "p99.9", "p99.99"} <= set(told["latency_ns"]["ring_to_consumer"])
    assert told["port"]["backend"] == "pcap"


def test_feed_can_make_loss_its_exit_code(wirepath, capture):
    assert wirepath("feed", f"pcap:{capture}", "--fail-on-loss").code == Exit.FAILED
    assert wirepath("feed", f"pcap:{capture}").code == Exit.OK


def test_feed_shows_a_table_of_the_same(wirepath, capture):
    out = wirepath("feed", f"pcap:{capture}").out
    assert "2,475" in out
    assert "251" in out
    assert "not honoured" not in out  # defaults that do not apply are no news
    asked = wirepath("feed", f"pcap:{capture}", "--zero-copy-threshold", 128).out
    assert "not honoured: zero_copy_threshold = 128" in asked
    assert "\x1b" not in out  # no colours, no live table: this is no terminal


def test_feed_writes_records(wirepath, capture, tmp_path):
    rows, array = tmp_path / "r.csv", tmp_path / "r.npy"
    assert wirepath("feed", f"pcap:{capture}", "--out", rows).code == 0
    assert wirepath("feed", f"pcap:{capture}", "--out", array).code == 0
    records = np.load(array)
    assert len(records) == 2475
    assert records["seq"].tolist() == [*range(1, 251), *range(276, 2501)]
    with rows.open() as file:
        read = list(csv.DictReader(file))
    assert [int(row["seq"]) for row in read] == records["seq"].tolist()
    assert [int(row["price"]) for row in read] == records["price"].tolist()


def test_an_empty_feed_is_an_empty_array(wirepath, capture, tmp_path):
    out = tmp_path / "none.npy"
    assert wirepath("feed", f"pcap:{capture}", "239.9.9.9:1", "--out", out).code == 0
    assert np.load(out).shape == (0,)
    assert np.load(out).dtype == wp.RECORD


def test_feed_takes_its_configuration_from_a_file_and_flags_win(wirepath, capture, tmp_path):
    path = tmp_path / "feed.toml"
    path.write_text(
        f'[ingestion]\nbackend = "pcap"\ncapture = "{capture}"\nbatch_size = 16\nchannel = 3\n'
        '[ingestion.options]\nloop = "2"\n'
    )
    told = wirepath("feed", "--config", path, "--channel", 4, "--json").json
    assert told["port"]["config"]["batch_size"] == 16
    assert told["port"]["config"]["channel"] == 4
    assert told["packets"] == 198
    assert told["duplicates"] > 0
    path.write_text("[ingestion]\nbatchsize = 16\n")
    answer = wirepath("feed", "--config", path)
    assert answer.code == Exit.USAGE
    assert "did you mean batch_size?" in answer.err


def test_a_limit_ends_a_feed_without_end(wirepath, flow):
    where = ("socket:lo", f"{flow[0]}:{flow[1]}")
    begin = time.monotonic()
    told = wirepath("feed", *where, "--max-seconds", 0.3, "--json").json
    assert told["packets"] == 0
    assert time.monotonic() - begin < 10
    with background("publish", "--to", where[1], "--via", where[0], "--rate", 20000) as sender:
        told = wirepath("feed", *where, "--max-messages", 1000, "--json").json
        sender.send_signal(signal.SIGTERM)
    assert 1000 <= told["consumed"] <= told["messages"] < 1_000_000


def test_an_interrupt_before_there_is_anything_to_tell_is_told(capfd, monkeypatch):
    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr("wirepath.cli.backends.all_backends", interrupted)
    assert main(["backends", "--json"]) == Exit.INTERRUPTED
    out, err = capfd.readouterr()
    assert json.loads(out) == {"error": "interrupted", "exit_code": 130}
    assert err.strip() == "wirepath: interrupted"


def messages_of(feed):
    """Messages that a running feed has delivered."""
    with contextlib.suppress(wp.PortError):  # its counters are not there yet
        counters = wp.attach(feed.pid).counters
        return sum(n for name, n in counters.items() if name.endswith("/delivered"))
    return 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_feed_tells_what_came_all_the_same(flow, number):
    where = f"{flow[0]}:{flow[1]}"
    with (
        background("feed", "socket:lo", where, "--json") as feed,
        background("publish", "--to", where, "--via", "socket:lo", "--rate", 5000) as sender,
    ):
        deadline = time.monotonic() + 30
        while not messages_of(feed) and time.monotonic() < deadline:
            time.sleep(0.05)
        feed.send_signal(number)
        out, errors = feed.communicate(timeout=20)
        sender.send_signal(number)
        published, _ = sender.communicate(timeout=20)
    assert feed.returncode == Exit.INTERRUPTED, errors
    told = json.loads(out)
    assert told["interrupted"] is True
    assert told["messages"] > 0
    assert sender.returncode == Exit.INTERRUPTED
    assert "published" in published


def test_publish_and_feed_find_each_other(wirepath, flow, tmp_path):
    where, log = f"{flow[0]}:{flow[1]}", tmp_path / "latency.hlog"
    options = ("--next-sequence", 1, "--latency-histogram", log, "--json", "--max-seconds", 30)
    with background("feed", "socket:lo", where, *options) as feed:
        deadline = time.monotonic() + 20
        while f":{flow[1]:04X} " not in Path("/proc/net/udp").read_text():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        sent = wirepath(
            "publish", "--to", where, "--via", "socket:lo", "--messages", 5000, "--rate", 50000,
            "--seed", 2, "--json",
        )  # fmt: skip
        out, _ = feed.communicate(timeout=30)
    told = json.loads(out)
    assert sent.code == feed.returncode == 0
    assert told["messages"] == sent.json["messages"] == 5000
    assert told["packets"] == sent.json["packets"]
    assert told["ended"] is True
    assert told["gaps"] == []
    assert told["latency_ns"]["wire_to_ring"]["p50"] > 0
    assert told["latency_note"] == ""
    tags = [line.split(",")[0] for line in log.read_text().splitlines() if line[0] == "T"]
    assert tags == ["Tag=wire_to_ring", "Tag=ring_to_consumer"]


def test_a_terminal_gets_a_live_table(capture):
    master, slave = pty.openpty()
    command = [sys.executable, "-m", "wirepath", "feed", f"pcap:{capture},loop=1000000", "--json"]
    command += ["-o", "timestamps=replay", "--max-seconds", "1.5"]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=slave,
        text=True,
        env={**os.environ, "TERM": "xterm"},
    ) as feed:
        os.close(slave)
        shown = b""
        with contextlib.suppress(OSError):  # how a terminal ends
            while chunk := os.read(master, 65536):
                shown += chunk
        out, _ = feed.communicate(timeout=30)
    os.close(master)
    assert b"messages/s" in shown
    assert json.loads(out)["packets"] > 99


@pytest.mark.parametrize(
    "arguments", [("backends",), ("backends", "--json"), ("feed", "nope", "--json")]
)
def test_a_reader_that_goes_away_is_no_traceback(arguments):
    with background(*arguments) as shown:
        shown.stdout.close()
        errors = shown.stderr.read()
    assert "Traceback" not in errors
    assert "Exception ignored" not in errors


@pytest.mark.parametrize("arguments", [("backends",), ("backends", "--json")])
def test_a_full_disk_is_no_traceback(arguments):
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "wirepath", *arguments],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == Exit.FAILED
    assert "No space left" in done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


def test_a_locale_without_the_characters_of_a_table_is_no_traceback():
    done = subprocess.run(
        [sys.executable, "-m", "wirepath", "feed", "null:,frames=10"],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "ascii:strict"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert b"packets" in done.stdout


# --- bench -------------------------------------------------------------------------------------
def test_bench_of_the_null_backend(wirepath):
    told = wirepath(
        "bench", "ingest", "--backend", "null", "-o", "frames=100000", "--batch-size", 64, "--json"
    ).json
    assert told["backend"] == "null"
    assert told["packets"] == 100_000
    assert told["feed"]["channels"][0]["lines"][0]["packets"] == 100_000
    assert told["account"] is None


def test_bench_of_a_capture_writes_its_histograms(wirepath, capture, tmp_path):
    answer = wirepath(
        "bench", "ingest", "--backend", "pcap", "--capture", capture, "--verbose",
        "--latency-histogram", tmp_path / "x.hgrm",
    )  # fmt: skip
    assert answer.code == 0
    assert "counters" in answer.out
    assert sorted(p.name for p in tmp_path.glob("*.hgrm")) == [
        "x.ring_to_consumer.hgrm",
        "x.wire_to_ring.hgrm",
    ]


def test_bench_against_its_own_publisher_adds_up(wirepath):
    answer = wirepath("bench", "ingest", "--messages", 20000, "--rate", 100000, "--json")
    assert answer.code == 0, answer.err
    told = answer.json
    assert told["messages"] == told["published"]["messages"] == 20000
    assert told["account"]["balanced"] is True
    assert told["account"]["packets"]["residual"] == 0
    assert told["packets_per_second_per_core"] > 0
    assert told["latency_ns"]["wire_to_ring"]["p50"] > 0


@pytest.mark.parametrize("seconds", [0.05, 1.2])
def test_a_bench_that_is_cut_short_adds_up(wirepath, seconds):
    answer = wirepath(
        "bench", "ingest", "--messages", 20_000_000, "--rate", 50_000, "--max-seconds", seconds,
        "--json",
    )  # fmt: skip
    assert answer.code == 0, answer.err
    assert answer.json["published"]["interrupted"] is True
    assert answer.json["account"]["balanced"] is True


# --- lab ---------------------------------------------------------------------------------------
def test_a_lab_goes_up_and_down(wirepath):
    reason = unavailable_reason()
    if reason is not None:
        pytest.skip(f"lab: {reason}")
    name = ("--name", f"wptcli{os.getpid()}")
    assert wirepath("lab", "down", *name, "--json").json["removed"] is False
    try:
        (made,) = wirepath("lab", "up", *name, "--queues", 2, "--json").json["labs"]
        assert made["queues"] == 2
        again = wirepath("lab", "up", *name)
        assert again.code == Exit.FAILED
        assert "lab down" in again.err
        shown = wirepath("lab", "status", *name).out
        assert "10.77.0.1" in shown
        assert "b:wp0" in shown
        inside = wirepath("lab", "exec", *name, "b", "--", "sh", "-c", "ls /sys/class/net; exit 7")
        assert inside.code == 7
        assert wirepath("lab", "exec", *name, "c", "true").code == Exit.FAILED
        assert wirepath("lab", "exec", *name, "b", "no-such-command").code == Exit.USAGE
        inside = wirepath(
            "lab", "exec", *name, "b", "--", sys.executable, "-m", "wirepath",
            "feed", "socket:wp0", "239.1.1.1:9001", "--max-seconds", 0.2, "--json",
        )  # fmt: skip
        assert inside.json["port"]["driver"] == "veth"
    finally:
        assert wirepath("lab", "down", *name, "--force", "--json").json["removed"] is True
    assert wirepath("lab", "exec", *name, "b", "true").code == Exit.FAILED


# --- how values are shown ----------------------------------------------------------------------
def test_times_and_cells():
    assert [duration(v) for v in (0, 999, 1500, 2_500_000, 3e9)] == [
        "0 ns", "999 ns", "1.5 µs", "2.5 ms", "3 s",
    ]  # fmt: skip
    assert text(1234567) == "1,234,567"
    assert text(None) == text([]) == text({}) == "–"
    assert text({"a": 1, "b": True}) == "a 1, b yes"


def test_plain_values():
    value = {"a": np.int64(3), "b": (np.float64(0.5), Path("x")), 1: {2}, "d": wp.Verdict.DROP}
    assert json.dumps(plain(value)) == '{"a": 3, "b": [0.5, "x"], "1": [2], "d": 1}'


def test_a_day_is_published_into_a_capture_and_read_back(wirepath, tmp_path):
    made = tmp_path / "day.pcapng"
    sent = wirepath(
        "publish", "--messages", 5000, "--fast", "--via", f"pcap:,write={made}", "--json"
    )
    assert sent.json["messages"] == 5000
    back = wirepath("feed", f"pcap:{made}", "--json").json
    assert back["messages"] == 5000
    assert back["gaps"] == []
    assert wirepath("feed", "pcap:", "--json").code == 2


def test_no_command_shows_the_help(wirepath):
    done = wirepath()
    assert done.code == 2
    assert "Commands" in done.out
    assert done.err.strip() == "wirepath: a command is missing"
