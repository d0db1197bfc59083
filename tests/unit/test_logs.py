# SPDX-License-Identifier: Apache-2.0
"""Events: stable names and fields, a line of JSON each, and silence unless somebody listens."""

from __future__ import annotations

import ast
import io
import json
import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import wirepath as wp
from wirepath import feed_log, logs, sinks
from wirepath.feed.events import EndOfSession, Gap, GapAbandoned, Reset, SessionChange
from wirepath.feed_watch import Missed, Recovered, Trouble

SOURCE = Path(__file__).parents[2] / "src" / "wirepath"
GOLDEN = json.loads((Path(__file__).parent / "data/log_events.json").read_text())
PAGE = Path(__file__).parents[2] / "docs" / "logging.md"
# What every line has, and what is there of another library's records and of exceptions.
OF_EVERY_LINE = {"time", "level", "event", "logger", "pid"}
RESERVED = OF_EVERY_LINE | {"message", "exception", "trace_id", "span_id", "exc_info"}


@pytest.fixture
def lines():
    """Events of this process as JSON; gives a function that takes those that were told so far."""
    stream = io.StringIO()
    logs.configure("json", "debug", stream=stream)

    def take():
        text = stream.getvalue()
        stream.seek(0)
        stream.truncate()
        return [json.loads(line) for line in text.splitlines()]

    yield take
    logs.quiet()


def test_names_fields_and_levels_stay_as_they_are():
    """Whoever changes this changes what others search their logs for: add, do not rename."""
    have = {
        name: {"level": logging.getLevelName(kind.level).lower(), "fields": list(kind.fields)}
        for name, kind in logs.EVENTS.items()
    }
    assert have == GOLDEN


def test_names_and_fields_are_told_apart_from_those_of_every_line():
    for name, kind in logs.EVENTS.items():
        assert re.fullmatch(r"[a-z]+\.[a-z_]+", name)
        assert not RESERVED & set(kind.fields), name
        assert len(set(kind.fields)) == len(kind.fields)
        assert kind.when


def _emitted():
    """(file:line, event, keywords or None where they are passed on) of each call in the package."""
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            told = node.func.attr == "emit" and getattr(node.func.value, "id", "") == "logs"
            if not told and node.func.attr != "_tell":
                continue
            event = node.args[0] if node.args else None
            if isinstance(event, ast.Constant) and event.value in logs.EVENTS:
                names = [k.arg for k in node.keywords]
                yield f"{path.name}:{node.lineno}", event.value, names
            elif told and isinstance(event, ast.Constant):
                yield f"{path.name}:{node.lineno}", event.value, []


def test_every_event_is_told_somewhere_and_with_its_own_fields_only():
    calls = list(_emitted())
    assert {event for _, event, _ in calls} == set(logs.EVENTS)
    for where, event, names in calls:
        unknown = {name for name in names if name} - set(logs.EVENTS[event].fields) - {"trace"}
        assert not unknown, f"{where}: {event} has no fields {unknown}"
        if None not in names:  # no ** among them
            given = set(names) | ({"worker"} if event.startswith("worker.") else set())
            assert set(logs.EVENTS[event].fields) <= given, f"{where}: {event} lacks fields"


def test_the_page_has_every_event():
    told = dict(
        re.findall(r"^\| `([a-z]+\.[a-z_]+)` \| (?:\w+) \| ([^|]*) \|", PAGE.read_text(), re.M)
    )
    assert set(told) == set(logs.EVENTS)
    for name, fields in told.items():
        assert tuple(re.findall(r"`(\w+)`", fields)) == logs.EVENTS[name].fields


def test_a_port_and_a_worker(lines):
    with wp.open("null:,frames=1000", steer=wp.everything()) as port:
        worker = wp.Worker("logged")
        worker.add_port(port)
        with worker:
            while worker.running:
                pass
        worker.join()  # a second time: told once
    opened, started, stopped, closed = lines()
    for each in (opened, started, stopped, closed):
        assert each.keys() >= OF_EVERY_LINE
        assert each["pid"] == os.getpid()
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", each["time"])
        assert each.keys() - OF_EVERY_LINE == set(logs.EVENTS[each["event"]].fields)
    assert (opened["event"], opened["logger"], opened["level"]) == (
        "port.opened", "wirepath.port", "info")  # fmt: skip
    assert (opened["backend"], opened["mode"], opened["queues"]) == ("null", "memory", 1)
    assert (started["event"], started["worker"], started["cpu_core"]) == (
        "worker.started", "logged", None)  # fmt: skip
    assert (stopped["event"], stopped["frames"], stopped["drops"]) == ("worker.stopped", 1000, 0)
    assert (closed["event"], closed["rx_packets"]) == ("port.closed", 1000)


def test_a_port_that_cannot_be_opened(lines):
    with pytest.raises(wp.ConfigError):
        wp.open("socket:no-such-if", steer=wp.udp("239.1.1.1", 1))
    (told,) = lines()
    assert (told["event"], told["level"]) == ("port.open_failed", "warning")
    assert "no-such-if" in told["error"]


def test_an_error_that_stops_a_worker(lines):
    def broken(batch, state):
        raise RuntimeError("on purpose")

    with wp.open("null:,frames=100", steer=wp.everything()) as port:
        worker = wp.Worker("broken")
        worker.add_port(port)
        worker.add_stage(wp.stage(broken, compile="never"), np.zeros(1))
        worker.start()
        with pytest.raises(RuntimeError, match="on purpose"):
            worker.join()
    failed = [each for each in lines() if each["event"] == "worker.failed"]
    assert [(each["worker"], each["error"]) for each in failed] == [("broken", "on purpose")]


@pytest.mark.parametrize(
    ("happening", "event", "fields"),
    [
        (Gap(5, 7, 2), "feed.gap", {"first": 5, "last": 7, "unit": 2}),
        (GapAbandoned(5, 7, "deadline", 2), "feed.gap_abandoned",
         {"first": 5, "last": 7, "unit": 2, "reason": "deadline"}),
        (Recovered(3), "feed.recovered", {"messages": 3}),
        (Reset(1, "announced"), "feed.reset", {"next_sequence": 1}),
        (SessionChange("A", "B"), "feed.session_changed", {"before": "A", "after": "B"}),
        (EndOfSession(101, 1), "feed.session_ended", {"last": 100, "unit": 1}),
        (Missed("reset", 4), "feed.events_missed", {"kind": "reset", "events": 4}),
        (Trouble("requests h:1", "no answer"), "recovery.server_failed",
         {"server": "requests h:1", "error": "no answer"}),
        (Trouble("requests h:1", ""), "recovery.server_answers", {"server": "requests h:1"}),
    ],
)  # fmt: skip
def test_what_happens_in_a_channel(lines, happening, event, fields):
    feed_log.tell("itch", happening)
    (told,) = lines()
    assert told["event"] == event
    assert {name: told[name] for name in logs.EVENTS[event].fields} == {"channel": "itch"} | fields


def test_sinks_tell_what_they_lose(lines, monkeypatch):
    from wirepath.sinks import fanout

    monkeypatch.setattr(fanout, "_IDLE_SECONDS", 0.01)

    class Broken(sinks.Sink):
        def write(self, records):
            raise RuntimeError("on purpose")

    sink = Broken("s", policy="drop_newest", queue_records=64)
    with sinks.Fanout([sink]) as out:
        for _ in range(3):
            out.write(np.zeros(10, wp.RECORD))
    told = lines()
    by_name = {each["event"]: each for each in told}
    assert by_name["sink.opened"]["policy"] == "drop_newest"
    assert (by_name["sink.failed"]["level"], by_name["sink.failed"]["error"]) == (
        "error", "on purpose")  # fmt: skip
    assert sum(each["dropped"] for each in told if each["event"] == "sink.dropped") == 30
    assert (by_name["sink.closed"]["written"], by_name["sink.closed"]["dropped"]) == (0, 30)


def test_an_exception_is_one_line(lines):
    try:
        raise ValueError("first\nsecond")
    except ValueError as error:
        logs.emit("recovery.control_failed", trace=True, error=str(error))
    (told,) = lines()
    assert told["error"] == "first\nsecond"
    assert "ValueError: first" in told["exception"]


def test_records_of_a_library_that_has_one_of_our_loggers(lines):
    logging.getLogger("wirepath.sink").warning("broker %s is down", "b1")
    (told,) = lines()
    assert (told["event"], told["message"], told["level"]) == (
        "log",
        "broker b1 is down",
        "warning",
    )


def test_values_of_any_kind_become_json(lines):
    logs.emit("report.written", files=[Path("a"), np.int64(3), b"x", {1, 2}])
    assert lines()[0]["files"] == ["a", 3, "x", [1, 2]]


def test_levels():
    stream = io.StringIO()
    logs.configure("json", "warning", stream=stream)
    try:
        assert not logs.wanted("port.opened")
        assert logs.wanted("port.mode_fallback")
        logs.emit("metrics.listening", address="a")
        assert stream.getvalue() == ""
    finally:
        logs.quiet()


def test_console_lines_name_event_and_fields():
    stream = io.StringIO()
    logs.configure("console", "info", stream=stream)
    try:
        logs.emit("lab.removed", lab="x")
    finally:
        logs.quiet()
    assert re.search(r"info.*lab\.removed.*lab=x", stream.getvalue())
    assert "\x1b" not in stream.getvalue()


def test_handlers_of_the_program_get_text_and_fields(caplog):
    with caplog.at_level("INFO", "wirepath"):
        logs.emit("lab.removed", lab="x")
    (record,) = caplog.records
    assert record.getMessage() == "lab.removed lab='x'"
    assert (record.event, record.fields, record.name) == (
        "lab.removed",
        {"lab": "x"},
        "wirepath.lab",
    )
    assert record.filename == "test_logs.py"


_LIBRARY = """
import sys
import wirepath as wp
from wirepath import logs
assert "structlog" not in sys.modules
logs.emit("sink.stuck", sink="s", seconds=1, queued=2)
with wp.open("null:,frames=1", steer=wp.everything()):
    pass
assert "structlog" not in sys.modules
"""


def test_a_library_is_silent_unless_told_otherwise():
    done = subprocess.run(
        [sys.executable, "-c", _LIBRARY], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("text", ["xml", "json:loud", "info:json:info", "json:json", ":"])
def test_a_variable_that_means_nothing(text):
    with pytest.raises(wp.ConfigError, match=r"WIREPATH_LOG = .* is not usable: it must be FORMAT"):
        logs.configure(environ={"WIREPATH_LOG": text}, stream=io.StringIO())


@pytest.mark.parametrize(
    ("text", "means"),
    [("json", ("json", None)), ("debug", (None, "debug")), ("Error:JSON", ("json", "error"))],
)
def test_what_the_variable_may_say(text, means):
    assert logs.parse(text) == means


# --- the command line ----------------------------------------------------------------------------
def command(*words, variable=None):
    env = {k: v for k, v in os.environ.items() if k != "WIREPATH_LOG" and not k.startswith("OTEL")}
    return subprocess.run(
        [sys.executable, "-m", "wirepath", *map(str, words)],
        env=env | ({} if variable is None else {"WIREPATH_LOG": variable}),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_command_in_json(tmp_path):
    day = tmp_path / "day.pcapng"
    words = ("publish", "--messages", 5000, "--fast", "--via", f"pcap:,write={day}", "--json")
    done = command(*words, "--log-format", "json")
    assert done.returncode == 0
    json.loads(done.stdout)  # logs do not come between
    told = [json.loads(line) for line in done.stderr.splitlines()]
    events = [each["event"] for each in told]
    assert events == [
        "port.opened", "publish.started", "port.closed", "publish.ended", "command.ended",
    ]  # fmt: skip
    assert told[-2]["messages"] == 5000
    ended = told[-1]
    assert (ended["command"], ended["exit_code"], ended["error"]) == ("publish", 0, None)
    assert 0 < ended["seconds"] < 60


@pytest.mark.parametrize(
    ("words", "variable"),
    [
        (("--log-level", "info", "--log-format=json", "info", "no-such-if"), None),
        (("info", "no-such-if", "--log-format=json", "--log-level=info"), "console:error"),
        (("info", "no-such-if"), "json:info"),
        (("info", "no-such-if"), "json"),
    ],
)
def test_where_the_options_may_stand(words, variable):
    done = command(*words, variable=variable)
    told = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    assert told[-1]["event"] == "command.ended"
    assert (told[-1]["command"], told[-1]["exit_code"]) == ("info", done.returncode)
    assert done.returncode != 0
    assert told[-1]["error"] in done.stderr


def test_without_being_asked_a_command_tells_only_its_answer():
    done = command("backends")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("words", "variable", "says"),
    [
        (("--log-format", "xml", "backends"), None, 'log_format = "xml" is not usable'),
        (("backends", "--log-level=loud"), None, 'level = "loud" is not usable'),
        (("backends",), "loud", 'WIREPATH_LOG = "loud" is not usable'),
    ],
)
def test_mistakes_are_told(words, variable, says):
    done = command(*words, variable=variable)
    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_options_behind_another_programs_name_are_that_programs():
    from wirepath.cli import log_options

    words = ["lab", "exec", "b", "--", "prog", "--log-level", "x"]
    assert log_options.taken(["--log-level", "info", *words]) == ({"level": "info"}, words)
    words = ["lab", "exec", "b", "prog", "--log-level", "x"]
    assert log_options.taken(words) == ({}, words)


def test_tuning_and_restoring(lines, tmp_path):
    from tune_fakes import fake_machine, journal_folder

    from wirepath import tune

    machine = fake_machine(tmp_path / "root")
    with journal_folder() as state:
        outcome = tune.apply(
            tune.plan("latency", "eth1", machine=machine), machine=machine, state_dir=state
        )
        told = lines()
        changed = [each for each in told if each["event"] == "tune.changed"]
        applied = [each for each in outcome.settings if each.result == "applied"]
        assert [(e["setting"], e["before"], e["wanted"], e["now"]) for e in changed] == [
            (str(a.setting.knob), a.before, a.setting.wanted, a.now) for a in applied
        ]
        last = told[-1]
        assert (last["event"], last["interface"], last["profile"], last["ok"]) == (
            "tune.applied", "eth1", "latency", True)  # fmt: skip
        assert last["changed"] == len(applied) > 20
        assert last["journal"] == str(outcome.journal)
        done = tune.restore(machine=machine, state_dir=state)
        told = lines()
        back = [each for each in told if each["event"] == "tune.value_restored"]
        assert [each["result"] for each in back] == [each.result for each in done.knobs]
        assert (told[-1]["event"], told[-1]["ok"], told[-1]["values"]) == (
            "tune.restored", True, len(done.knobs))  # fmt: skip


def test_an_ingestion(lines, tmp_path):
    from wirepath.publish import PublishConfig, Publisher

    path = tmp_path / "day.pcapng"
    Publisher(PublishConfig(via=f"pcap:,write={path}", messages=5000, fast=True)).run()
    lines()
    config = wp.IngestionConfig.fields_of_spec(f"pcap:{path}")
    ring = wp.RingBuffer(8192)
    with wp.IngestionClient(wp.IngestionConfig(**config)) as client:
        client.start_ingestion(ring)
        taken = sum(len(records) for records in client.batches())
    assert taken == 5000
    told = {each["event"]: each for each in lines()}
    assert told["feed.started"]["channels"] == ["itch"]
    stopped = told["feed.stopped"]
    assert (stopped["messages"], stopped["missing"]) == (5000, 0)
    assert stopped["packets"] == told["worker.stopped"]["frames"] > 0
