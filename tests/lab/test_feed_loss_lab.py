# SPDX-License-Identifier: Apache-2.0
"""Two lines that lose, reorder and repeat, over real ports, as many messages as are asked for.

WIREPATH_LOSS_MESSAGES: how many (default 60,000), WIREPATH_LOSS_RATE: messages a second (default
30,000). `pytest -s` prints the figures.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest
from test_feed_lab import backend_or_skip, wait_until_open

import wirepath as wp
from wirepath.lab import Lab

MESSAGES = int(os.environ.get("WIREPATH_LOSS_MESSAGES", "60000"))
RATE = int(os.environ.get("WIREPATH_LOSS_RATE", "30000"))
# Seconds: a busy machine does not keep the rate, and lower ones are tried where it loses.
PATIENCE = 120 + 8 * 4 * MESSAGES / RATE

pytestmark = [pytest.mark.lab, pytest.mark.timeout(6 * PATIENCE)]

LINES = ("239.255.97.1:49102", "239.255.97.2:49102")
IMPAIRED = "loss=0.01,burst_loss=0.0005,burst_packets=50,reorder=0.001,duplicate=0.001"
# What the process may grow by when a fifth of the messages has come. Buffers are allocated at the
# start, and their pages come with their use; the messages themselves are many times this.
GROWTH = 48 << 20
HOLD_MESSAGES = 1 << 18  # of a channel with recovery
RECEIVER = Path(__file__).with_name("lossy_receiver.py")
TEXTS = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}


def answer(process: subprocess.Popen[str]) -> dict:
    out, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, errors
    return json.loads(out.splitlines()[-1])


def run(lab_name: str, backend: str, server: str = "", stall: float = 0.0) -> tuple[dict, dict]:
    """What the feed and the publisher say, at the first rate that the machine carries. server: "",
    "answering" or "silent". stall: seconds for which the feed's process stands still meanwhile.

    Whatever the rate, each packet that was sent is received or in a counter of its own.
    """
    backend_or_skip(backend)
    for part in (1, 2, 4):
        fed, published = run_at(RATE // part, lab_name, backend, server, stall)
        lost = overload(fed, published)
        unexplained = published["port_stats"]["tx_packets"] - fed["port"]["rx_packets"]
        assert unexplained == sum(lost.values()), (lost, fed["port"], published["port_stats"])
        if not any(lost.values()):
            return fed, published
        print(f"\n{backend}: the machine does not carry {RATE // part:,} messages a second: {lost}")
    pytest.fail(
        f"{backend}: the machine does not carry {RATE // 4:,} messages a second: set "
        f"WIREPATH_LOSS_RATE lower. Lost beside what was injected: {lost}"
    )


def wait_for_packets(receiver: subprocess.Popen[str], count: int) -> None:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        assert receiver.poll() is None, receiver.communicate()[1]
        found = wp.attach(receiver.pid).counters
        if any(
            n.startswith("port/") and n.endswith("/rx_packets") and v >= count
            for n, v in found.items()
        ):
            return
        time.sleep(0.01)
    raise AssertionError(f"the feed has not had {count} packets")


def overload(fed: dict, published: dict) -> dict[str, int]:
    """Packets that left the publisher and did not reach the feed, by counter."""
    port = fed["port"]
    lost = {n: v for n, v in port.items() if n.startswith("drop.") and not n.startswith("drop.tx_")}
    if "steer.no_socket" in port:
        lost["steer.no_socket"] = port["steer.no_socket"]
    # A veth pair whose other end is full drops where it sends.
    return lost | {"sender nic.tx_dropped": published["port_stats"]["nic.tx_dropped"]}


def run_at(rate: int, lab_name: str, backend: str, server: str, stall: float) -> tuple[dict, dict]:
    """One run at so many messages a second."""
    with Lab(lab_name) as lab:
        address = f"{lab['a'].interface.ipv4}:9100"
        spec = f"{backend}:{lab['b'].interface.name}"
        command = [sys.executable, str(RECEIVER), spec, address if server else "-", *LINES]
        lines = [f"--line={to},{IMPAIRED},seed={seed}" for seed, to in enumerate(LINES, 3)]
        publish = [sys.executable, "-m", "wirepath", "publish", *lines, "--json", "--quiet"]
        publish += ["--messages", str(MESSAGES), "--rate", str(rate)]
        publish += ["--via", f"socket:{lab['a'].interface.name}"]
        publish += ["--retransmit", address] if server else []
        publish += ["--retransmit-silent"] if server == "silent" else []
        receiver = lab["b"].popen(command, **TEXTS)
        try:
            wait_until_open(receiver)
            sender = lab["a"].popen(publish, **TEXTS)
            try:
                if stall:
                    wait_for_packets(receiver, 1000)
                    receiver.send_signal(signal.SIGSTOP)
                    time.sleep(stall)
                    receiver.send_signal(signal.SIGCONT)
                published = answer(sender)
            finally:
                sender.kill()
                sender.communicate()
            fed = answer(receiver)
        finally:
            receiver.kill()
            receiver.communicate()
    tell(backend, server, rate, fed, published)
    return fed, published


def grown(fed: dict) -> tuple[int, int]:
    """Bytes when a fifth of the messages has come, and by how many it grew at most from there."""
    later = [size for count, size in fed["memory"] if count >= MESSAGES // 5]
    assert later
    return later[0], max(later) - later[0]


def tell(backend: str, server: str, rate: int, fed: dict, published: dict) -> None:
    begin, growth = grown(fed)
    lost = published["lost_everywhere"]
    losses = ", ".join(format(line["loss"], ".3%") for line in fed["lines"][:2])
    print(
        f"\n{backend}, server {server or 'none'}: {MESSAGES:,} messages at {rate:,}/s, "
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
def test_a_feed_that_stood_still_gives_nothing_up_that_waited_in_its_queues(lab_name, backend):
    """For longer than hold_ns, with lines that are each behind a socket of their own."""
    fed, published = run(lab_name, backend, stall=0.6)
    assert_sound(fed, published)
    assert_gaps_are_those_injected(fed, published)


@pytest.mark.parametrize("backend", ["socket", "af_xdp"])
def test_a_silent_server_costs_bounded_time_and_memory(lab_name, backend):
    fed, published = run(lab_name, backend, "silent")
    assert_sound(fed, published)
    assert_gaps_are_those_injected(fed, published)
    # Where a message a microsecond comes, the hold buffer is what bounds the wait.
    full = {"buffer full"} if fed["counters"]["held_peak"] == HOLD_MESSAGES else set()
    assert {reason for _, _, reason in fed["given_up"]} <= {"attempts", "deadline"} | full
    assert fed["recovery"]["requests"] > 0
    assert fed["seconds"] < published["seconds"] + 30
