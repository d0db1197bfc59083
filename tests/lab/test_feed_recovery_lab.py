# SPDX-License-Identifier: Apache-2.0
"""Two lossy lines over real ports: with recovery nothing is missing, without it what both lost."""

from __future__ import annotations

import subprocess
import sys
import time

import numpy as np
import pytest
from test_feed_lab import answer, backend_or_skip, wait_until_open

from wirepath.lab import Lab

pytestmark = pytest.mark.lab

LINES = ("239.255.98.1:49101", "239.255.98.2:49101")
IMPAIRED = "loss=0.01,burst_loss=0.0005,burst_packets=50,reorder=0.001,duplicate=0.001"
MESSAGES = 60_000
COMMAND = [sys.executable, "-m", "wirepath"]
TEXTS = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}


def publish(lab, *more):
    lines = [f"--line={to},{IMPAIRED},seed={seed}" for seed, to in enumerate(LINES, 3)]
    command = [*COMMAND, "publish", "--messages", str(MESSAGES), "--rate", "30000", *lines]
    command += ["--via", f"socket:{lab['a'].interface.name}", "--json", *more]
    return lab["a"].popen(command, **TEXTS)


def feed(lab, backend, folder, *more):
    """Starts `wirepath feed` on b, and waits until its port is open."""
    out = folder / "records.npy"
    command = [*COMMAND, "feed", f"{backend}:{lab['b'].interface.name}", *LINES, "--json"]
    command += ["--out", str(out), "--max-seconds", "40", "--next-sequence", "1", *more]
    process = lab["b"].popen([*command, "--rx-ring-size", "4096"], **TEXTS)
    wait_until_open(process)
    return process, out


def both(lab, backend, folder, served, asked):
    """What the feed and the publisher say, and the records."""
    backend_or_skip(backend)
    process, out = feed(lab, backend, folder, *asked)
    try:
        sender = publish(lab, *served)
        try:
            published = answer(sender)
        finally:
            sender.kill()
            sender.communicate()
        return answer(process), published, np.load(out)
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("backend", ["socket", "af_xdp"])
def test_with_a_retransmission_server_nothing_is_missing(lab_name, tmp_path, backend):
    with Lab(lab_name) as lab:
        server = f"{lab['a'].interface.ipv4}:9100"
        summary, published, records = both(
            lab, backend, tmp_path, ["--retransmit", server], ["--recovery", server]
        )
    assert published["lost_everywhere"]["messages"] > 0
    assert np.array_equal(records["seq"], np.arange(1, MESSAGES + 1, dtype=np.uint64))
    (channel,) = summary["channels"]
    assert summary["missing"] == 0
    assert channel["abandoned"] == []
    assert channel["counters"]["recovered"] >= published["lost_everywhere"]["messages"]
    for line, sent in zip(channel["lines"], published["lines"], strict=False):
        assert line["missing"] == sent["lost"]["messages"]


@pytest.mark.parametrize("backend", ["socket", "af_xdp"])
def test_without_recovery_what_both_lines_lost_is_told(lab_name, tmp_path, backend):
    path = tmp_path / "feed.toml"
    with Lab(lab_name) as lab:
        groups = [to.rpartition(":") for to in LINES]
        path.write_text(
            f'[feed]\nbackend = "{backend}"\ninterface_name = "{lab["b"].interface.name}"\n'
            'rx_ring_size = 4096\n[[channel]]\nname = "c"\nnext_sequence = 1\n'
            "arbiter = { hold_ns = 100_000_000 }\n"
            + "".join(f'[[channel.line]]\ngroup = "{g}"\nport = {p}\n' for g, _, p in groups)
        )
        backend_or_skip(backend)
        command = [*COMMAND, "feed", "--config", str(path), "--json", "--max-seconds", "40"]
        process = lab["b"].popen(command, **TEXTS)
        try:
            wait_until_open(process)
            sender = publish(lab)
            published = answer(sender)
            (channel,) = answer(process)["channels"]
        finally:
            process.kill()
            process.communicate()
    lost = published["lost_everywhere"]
    assert lost["messages"] > 0
    assert numbers(gap[:2] for gap in channel["abandoned"]) == numbers(
        (first, last) for _, first, last in lost["listed"]
    )
    assert channel["missing"] == lost["messages"]


def numbers(ranges):
    return {n for first, last in ranges for n in range(first, last + 1)}


def test_a_server_that_never_answers_is_given_up_in_bounded_time(lab_name, tmp_path):
    with Lab(lab_name) as lab:
        server = f"{lab['a'].interface.ipv4}:9100"
        began = time.monotonic()
        summary, published, records = both(
            lab,
            "af_xdp",
            tmp_path,
            ["--retransmit", server, "--retransmit-silent"],
            ["--recovery", server],
        )
    assert time.monotonic() - began < 30
    lost = published["lost_everywhere"]["messages"]
    assert summary["missing"] == lost > 0
    assert len(records) == MESSAGES - lost
    (channel,) = summary["channels"]
    assert {gap[2] for gap in channel["abandoned"]} <= {"attempts", "deadline", "buffer full"}
    assert channel["servers"]["requests"]["requests"] > 0
    assert channel["servers"]["requests"]["replies"] == 0
