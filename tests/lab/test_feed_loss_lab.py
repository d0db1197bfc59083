# SPDX-License-Identifier: Apache-2.0
"""Two lines that lose, reorder and repeat, over real ports, as many messages as are asked for.

WIREPATH_LOSS_MESSAGES: how many (default 60,000), WIREPATH_LOSS_RATE: messages a second (default
30,000). `pytest -s` prints the figures.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from test_feed_lab import backend_or_skip, wait_until_open

from wirepath.lab import Lab

MESSAGES = int(os.environ.get("WIREPATH_LOSS_MESSAGES", "60000"))
RATE = int(os.environ.get("WIREPATH_LOSS_RATE", "30000"))
PATIENCE = 120 + 8 * MESSAGES / RATE  # seconds: a busy machine does not keep the rate

pytestmark = [pytest.mark.lab, pytest.mark.timeout(2 * PATIENCE)]

LINES = ("239.255.97.1:49102", "239.255.97.2:49102")
IMPAIRED = "loss=0.01,burst_loss=0.0005,burst_packets=50,reorder=0.001,duplicate=0.001"
# What the process may grow by when a fifth of the messages has come. Buffers are allocated at the
# start, and their pages come with their use; the messages themselves are many times this.
GROWTH = 48 << 20
RECEIVER = Path(__file__).with_name("lossy_receiver.py")
TEXTS = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}


def answer(process: subprocess.Popen[str]) -> dict:
    out, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, errors
    return json.loads(out.splitlines()[-1])


def run(lab_name: str, backend: str, server: str = "") -> tuple[dict, dict]:
    """What the feed and the publisher say. server: "", "answering" or "silent"."""
    backend_or_skip(backend)
    with Lab(lab_name) as lab:
        address = f"{lab['a'].interface.ipv4}:9100"
        spec = f"{backend}:{lab['b'].interface.name}"
        command = [sys.executable, str(RECEIVER), spec, address if server else "-", *LINES]
        lines = [f"--line={to},{IMPAIRED},seed={seed}" for seed, to in enumerate(LINES, 3)]
        publish = [sys.executable, "-m", "wirepath", "publish", *lines, "--json", "--quiet"]
        publish += ["--messages", str(MESSAGES), "--rate", str(RATE)]
        publish += ["--via", f"socket:{lab['a'].interface.name}"]
        publish += ["--retransmit", address] if server else []
        publish += ["--retransmit-silent"] if server == "silent" else []
        receiver = lab["b"].popen(command, **TEXTS)
        try:
            wait_until_open(receiver)
            sender = lab["a"].popen(publish, **TEXTS)
            try:
                published = answer(sender)
            finally:
                sender.kill()
                sender.communicate()
            fed = answer(receiver)
        finally:
            receiver.kill()
            receiver.communicate()
    tell(backend, server, fed, published)
    return fed, published


def grown(fed: dict) -> tuple[int, int]:
    """Bytes when a fifth of the messages has come, and by how many it grew at most from there."""
    later = [size for count, size in fed["memory"] if count >= MESSAGES // 5]
    assert later
    return later[0], max(later) - later[0]


def tell(backend: str, server: str, fed: dict, published: dict) -> None:
    begin, growth = grown(fed)
    lost = published["lost_everywhere"]
    losses = ", ".join(format(line["loss"], ".3%") for line in fed["lines"][:2])
    print(
        f"\n{backend}, server {server or 'none'}: {MESSAGES:,} messages at {RATE:,}/s, "
        f"{fed['records']:,} delivered in {fed['seconds']:.1f} s, {fed['packets']:,} packets; "
        f"line losses {losses}; both lost "
        f"{lost['messages']:,} in {lost['ranges']:,} ranges; recovered {fed['recovered']:,} "
        f"with {fed['recovery']['requests']:,} requests; given up {fed['missing_told']:,}; "
        f"memory {begin / 1e6:.1f} MB + {growth / 1e6:.1f} MB; "
        f"most held {fed['counters']['held_peak']:,}"
    )


def assert_sound(fed: dict, published: dict) -> None:
    """What holds with and without recovery."""
    assert published["lost_everywhere"]["messages"] > 0
    assert fed["backwards"] == 0
    assert fed["ring_full"] == 0
    assert fed["last"] == MESSAGES
    for line, sent in zip(fed["lines"], published["lines"], strict=False):
        assert line["missing"] == sent["lost"]["messages"]
    assert grown(fed)[1] < GROWTH, fed["memory"]


def merged(ranges) -> list[list[int]]:
    out: list[list[int]] = []
    for first, last in sorted(ranges):
        if out and first <= out[-1][1] + 1:
            out[-1][1] = max(out[-1][1], last)
        else:
            out.append([first, last])
    return out


def assert_gaps_are_those_injected(fed: dict, published: dict) -> None:
    """What is missing, what the feed says that it gave up, and what the publisher lost on both."""
    lost = published["lost_everywhere"]
    assert lost["ranges"] == len(lost["listed"]), "more ranges than are listed: fewer messages"
    injected = merged((first, last) for _, first, last in lost["listed"])
    assert merged(fed["missing"]) == injected
    assert fed["untold_events"] == 0
    assert merged((first, last) for first, last, _ in fed["given_up"]) == injected
    told = sorted((first, last) for first, last, _ in fed["given_up"])
    assert all(a[1] < b[0] for a, b in pairwise(told)), "a message was given up twice"
    assert fed["missing_told"] == lost["messages"] == MESSAGES - fed["records"]


@pytest.mark.parametrize("backend", ["socket", "af_xdp"])
def test_with_recovery_every_message_comes_once_and_in_order(lab_name, backend):
    fed, published = run(lab_name, backend, "answering")
    assert_sound(fed, published)
    assert fed["missing"] == []
    assert fed["records"] == MESSAGES
    assert fed["missing_told"] == 0
    assert fed["given_up"] == []
    assert fed["recovered"] >= published["lost_everywhere"]["messages"]


@pytest.mark.parametrize("backend", ["socket", "af_xdp"])
def test_without_recovery_the_gaps_are_what_both_lines_lost(lab_name, backend):
    fed, published = run(lab_name, backend)
    assert_sound(fed, published)
    assert_gaps_are_those_injected(fed, published)


@pytest.mark.parametrize("backend", ["socket", "af_xdp"])
def test_a_silent_server_costs_bounded_time_and_memory(lab_name, backend):
    fed, published = run(lab_name, backend, "silent")
    assert_sound(fed, published)
    assert_gaps_are_those_injected(fed, published)
    assert {reason for _, _, reason in fed["given_up"]} <= {"attempts", "deadline"}
    assert fed["recovery"]["requests"] > 0
    assert fed["seconds"] < published["seconds"] + 30
