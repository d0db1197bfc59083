# SPDX-License-Identifier: Apache-2.0
"""Spans of control operations, by the SDK's exporter in memory; nothing where nobody traces."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from bench_results import repeats, result

import wirepath as wp
from wirepath import bench, doctor, logs, traces
from wirepath.recovery import Control, Recovering

sdk = pytest.importorskip("opentelemetry.sdk.trace", reason="unsupported: no opentelemetry-sdk")


@pytest.fixture(scope="module")
def exporter():
    from opentelemetry import trace
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    out = InMemorySpanExporter()
    provider = sdk.TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(out))
    trace.set_tracer_provider(provider)
    return out


@pytest.fixture
def spans(exporter):
    """Gives a function that takes the spans that ended: name to span."""
    exporter.clear()

    def take():
        found = exporter.get_finished_spans()
        exporter.clear()
        return {span.name: span for span in found}

    return take


def test_opening_a_port(spans):
    with wp.open("null:,frames=1", steer=wp.everything()):
        pass
    span = spans()["wirepath.port.open"]
    have = dict(span.attributes)
    assert have["wirepath.spec"] == "null:,frames=1"
    assert (have["wirepath.backend"], have["wirepath.mode"]) == ("null", "memory")
    assert have["wirepath.queues"] == 1
    assert span.status.is_ok
    assert span.instrumentation_scope.name == "wirepath"
    assert span.instrumentation_scope.version == wp.__version__


def test_what_fails_is_an_error_of_the_span(spans):
    with pytest.raises(wp.ConfigError):
        wp.open("socket:no-such-if", steer=wp.udp("239.1.1.1", 1))
    span = spans()["wirepath.port.open"]
    assert not span.status.is_ok
    assert "no-such-if" in span.status.description
    (event,) = span.events
    assert event.attributes["exception.type"].endswith("ConfigError")


def test_a_conversion(spans, tmp_path):
    done = wp.convert(tmp_path / "none.pcap", out=str(tmp_path / "out"), to="npy")
    assert not done.ok
    have = spans()["wirepath.convert"].attributes
    assert (have["wirepath.captures"], have["wirepath.ok"], have["wirepath.rows"]) == (1, False, 0)


def test_steps_of_the_adoption_path(spans, tmp_path):
    a, b = (result(repeats(median), name=name) for name, median in (("a", 1000), ("b", 500)))
    bench.compare(a, b)
    have = spans()["wirepath.bench.compare"].attributes
    assert (have["wirepath.a"], have["wirepath.b"]) == ("a", "b")
    assert have["wirepath.answer"] in ("stay", "move", "undecided")


def test_the_doctor(spans):
    report = doctor.examine("lo")
    have = spans()["wirepath.doctor.examine"].attributes
    assert (have["wirepath.interface"], have["wirepath.worst"]) == ("lo", str(report.worst))


def test_a_measurement_and_its_parent(spans):
    from opentelemetry import trace

    setup = bench.Setup("socket:lo", via="socket:lo,tx_only=true")
    load = bench.Load(bench.Shape.of(100, rate=500.0), seconds=0.2, repeats=1, warmup=0)
    with trace.get_tracer("test").start_as_current_span("mine"):
        bench.baseline(setup, load)
    found = spans()
    span = found["wirepath.bench.baseline"]
    assert span.parent.span_id == found["mine"].context.span_id
    assert span.attributes["wirepath.planned"] == 100
    assert span.attributes["wirepath.received"] == 100
    assert span.attributes["wirepath.p50_ns"] > 0


def test_requests_of_recovery(spans):
    from wirepath.feed.events import Request

    class Server:
        asked = []

        def request(self, request, now):
            self.asked.append(request)

        def on_time(self, now):
            pass

    class Channel:
        def requests(self, max=64):
            return [Request(7, 3, 1, 0, b"x")]

    control = Control([Recovering("c", Channel(), Server())])
    control.step(1, wait=0)
    assert len(Server.asked) == 1
    have = spans()["wirepath.recovery.request"].attributes
    assert have == {"wirepath.channel": "c", "wirepath.first": 7, "wirepath.messages": 3}


def test_events_name_the_span_they_happened_in(spans):
    stream = io.StringIO()
    logs.configure("json", "info", stream=stream)
    try:
        with traces.span("test"):
            logs.emit("lab.removed", lab="x")
        logs.emit("lab.removed", lab="y")
    finally:
        logs.quiet()
    inside, outside = map(json.loads, stream.getvalue().splitlines())
    context = spans()["wirepath.test"].context
    assert (int(inside["trace_id"], 16), int(inside["span_id"], 16)) == (
        context.trace_id, context.span_id)  # fmt: skip
    assert "trace_id" not in outside


def test_attributes_are_what_opentelemetry_takes(spans):
    with traces.span("test", none=None, path=os.devnull, many=("a", 1), other={"x": 1}):
        pass
    assert dict(spans()["wirepath.test"].attributes) == {
        "wirepath.path": os.devnull, "wirepath.many": ("a", "1"), "wirepath.other": "{'x': 1}",
    }  # fmt: skip


_WITHOUT = """
import sys
import wirepath as wp
from wirepath import traces
with wp.open("null:,frames=1", steer=wp.everything()) as port:
    pass
with traces.span("nothing", a=1) as span:
    assert span is None
assert not [name for name in sys.modules if name.startswith("opentelemetry")]
"""


def test_where_nobody_traces_nothing_is_imported():
    done = subprocess.run(
        [sys.executable, "-c", _WITHOUT], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")


# --- the command line and the standard variables -------------------------------------------------
def command(*words, **variables):
    env = {k: v for k, v in os.environ.items() if not k.startswith(("OTEL_", "WIREPATH_LOG"))}
    return subprocess.run(
        [sys.executable, "-m", "wirepath", *words],
        env=env | variables,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("variables", "exporter"),
    [
        ({}, None),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://h:4318"}, "otlp"),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://h:4318/v1/traces"}, "otlp"),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, "otlp"),
        ({"OTEL_TRACES_EXPORTER": "console"}, "console"),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://h:4318"}, None),
        ({"OTEL_SDK_DISABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://h:4318"}, None),
    ],
)
def test_what_the_variables_ask_for(variables, exporter):
    assert traces.wanted(variables) == exporter


def test_a_command_traces_to_the_console():
    done = command("doctor", "lo", "--json", OTEL_TRACES_EXPORTER="console")
    assert done.returncode == 0
    json.loads(done.stdout)
    assert '"wirepath.command": "doctor"' in done.stderr
    assert '"name": "wirepath.doctor.examine"' in done.stderr
    assert '"service.name": "wirepath"' in done.stderr


def test_a_command_exports_by_otlp():
    pytest.importorskip(
        "opentelemetry.exporter.otlp.proto.http", reason="unsupported: no OTLP exporter"
    )
    got = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self):
            got.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *args):
            pass

    with HTTPServer(("127.0.0.1", 0), Collector) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            done = command(
                "doctor", "lo", "--json",
                OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{server.server_port}",
                OTEL_EXPORTER_OTLP_COMPRESSION="none",
                OTEL_SERVICE_NAME="my-feed",
            )  # fmt: skip
        finally:
            server.shutdown()
            thread.join()
    assert done.returncode == 0, done.stderr
    assert [path for path, _ in got] == ["/v1/traces"]
    body = got[0][1]
    for text in (b"wirepath.command", b"wirepath.doctor.examine", b"my-feed"):
        assert text in body


def test_a_collector_that_is_not_there_costs_no_more_than_time():
    done = command("backends", OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9",
                   OTEL_EXPORTER_OTLP_TIMEOUT="1")  # fmt: skip
    assert done.returncode == 0
    assert "Traceback" not in done.stderr


def test_a_missing_exporter_is_told():
    hide = (
        "import sys; sys.modules['opentelemetry.sdk.trace'] = None; from wirepath.cli import main; "
    )
    done = subprocess.run(
        [sys.executable, "-c", hide + "sys.exit(main(['backends', '--log-format=json']))"],
        env=os.environ | {"OTEL_TRACES_EXPORTER": "console"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0
    events = [json.loads(line) for line in done.stderr.splitlines()]
    (told,) = [each for each in events if each["event"] == "traces.unavailable"]
    assert "wirepath[otel]" in told["reason"]


def test_tuning_and_restoring(spans, tmp_path):
    from tune_fakes import fake_machine, journal_folder

    from wirepath import tune

    machine = fake_machine(tmp_path / "root")
    with journal_folder() as state:
        plan = tune.plan("latency", "eth1", machine=machine)
        tune.apply(plan, machine=machine, state_dir=state)
        tune.restore(machine=machine, state_dir=state)
    found = spans()
    have = found["wirepath.tune.apply"].attributes
    assert (have["wirepath.interface"], have["wirepath.profile"]) == ("eth1", "latency")
    assert have["wirepath.ok"] is True
    assert have["wirepath.changed"] > 20
    assert found["wirepath.tune.restore"].attributes["wirepath.ok"] is True


def test_an_ingestion_connects_its_ports_within_one_span(spans):
    config = wp.IngestionConfig(backend="null", host="239.1.1.1", port=9001)
    with wp.IngestionClient(config):
        pass
    found = spans()
    connect = found["wirepath.feed.connect"]
    assert found["wirepath.port.open"].parent.span_id == connect.context.span_id
    assert connect.attributes["wirepath.ports"] == 1
