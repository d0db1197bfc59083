"""``wirepath program load | list | detach`` on a veth pair."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from wirepath.lab import Lab
from wirepath.programs import kernel

EXAMPLE = Path(__file__).parents[2] / "examples" / "programs" / "drop_port.c"

pytestmark = [
    pytest.mark.lab,
    pytest.mark.timeout(900),
    pytest.mark.skipif(
        kernel.unavailable_reason() is not None,
        reason=f"unsupported: {kernel.unavailable_reason()}",
    ),
]


@pytest.fixture
def host(lab_name):
    with Lab(lab_name) as made:
        yield made["b"]


def command(*words):
    return [sys.executable, "-m", "wirepath", "program", *map(str, words)]


def run(host, *words):
    return host.run(command(*words), capture_output=True, text=True, check=False, timeout=240)


def programs_on(host):
    return json.loads(run(host, "list", host.interface.name, "--json").stdout)["programs"]


def test_load_pin_list_replace_detach(host):
    name = host.interface.name
    loaded = run(
        host, "load", EXAMPLE, "-i", name, "--slot", "filter", "--put", "blocked:53=1",
        "--entries", "senders=100", "--config", "answer=1", "--pin", "--json",
    )  # fmt: skip
    assert loaded.returncode == 0, loaded.stderr
    answer = json.loads(loaded.stdout)
    assert answer["program"]["maps"]["senders"]["max_entries"] == 100
    [root] = programs_on(host)
    assert root["name"] == "wirepath_root" and root["pinned"]
    [slot] = root["slots"]
    assert (slot["slot"], slot["name"], slot["pid"]) == ("filter", "drop_port", None)
    again = run(host, "load", "count", "-i", name, "--slot", "filter", "--pin")
    assert again.returncode == 0, again.stderr
    [root] = programs_on(host)
    assert [s["name"] for s in root["slots"]] == ["count"]
    table = run(host, "list", name)
    assert "count" in table.stdout and "wirepath_root" in table.stdout
    gone = run(host, "detach", name, "--json")
    assert [s["name"] for s in json.loads(gone.stdout)["taken_out"]] == ["count"]
    end = time.monotonic() + 120
    while programs_on(host) and time.monotonic() < end:
        time.sleep(0.05)
    assert programs_on(host) == []
    nothing = run(host, "detach", name)
    assert nothing.returncode == 2 and "no chain of wirepath" in nothing.stderr


def test_without_a_pin_it_is_there_as_long_as_the_command(host):
    name = host.interface.name
    process = host.popen(
        command("load", "count", "-i", name, "--json"), stdout=subprocess.PIPE, text=True
    )
    end = time.monotonic() + 120
    while not programs_on(host) and time.monotonic() < end:
        time.sleep(0.05)
    [root] = programs_on(host)
    assert [s["pid"] for s in root["slots"]] == [process.pid]
    busy = run(host, "detach", name)
    assert busy.returncode == 3 and f"process {process.pid}'s" in busy.stderr
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=120)
    assert json.loads(out)["program"]["name"] == "count"
    assert programs_on(host) == []


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (["load", "nothing", "-i", "lo"], 2, "must be one of count"),
        (["load", "count", "-i", "nosuch"], 2, "interface = "),
        (["load", "count", "-i", "lo", "--slot", "front"], 2, "must be one of tap"),
        (["load", "count", "-i", "lo", "--config", "port"], 2, "NAME=VALUE"),
        (["load", "count", "-i", "lo", "--config", "port=1"], 2, "has no configuration"),
        (["load", "count", "-i", "lo", "--entries", "a=b"], 2, "whole number"),
        (["load", "count", "-i", "lo", "--put", "nothing:1=1"], 2, "one of counters, by_protocol"),
        (["load", "count", "-i", "lo", "--max-seconds", "-1"], 2, "above 0"),
        (["list", "nosuch"], 2, "interface = "),
        (["detach", "lo"], 2, "no chain of wirepath"),
        (["test", "count", "--capture", "/nosuch.pcap"], 2, "nosuch.pcap"),
    ],
)
def test_mistakes_end_in_one_message(host, words, code, text):
    answer = run(host, *words)
    assert text in answer.stderr
    assert answer.returncode == code, answer.stderr
    assert "Traceback" not in answer.stderr
    assert programs_on(host) == []
