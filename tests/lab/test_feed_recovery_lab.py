# SPDX-License-Identifier: Apache-2.0
"""Two lossy lines over real ports: with recovery nothing is missing, without it what both lost."""

from __future__ import annotations

import subprocess
import sys
import time

import numpy as np
import pytest
from test_feed_lab import answer, backend_or_skip, wait_until_open

import wirepath as wp
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


@pytest.mark.parametrize("backend", ["socket", "af_xdp"])
@pytest.mark.parametrize("change", ["reset by data", "reset by heartbeat", "rollover"])
def test_across_a_change_of_numbers_every_message_comes_once_and_in_order(
    lab_name, tmp_path, backend, change
):
    """What both lines lost at the end of the old numbers is asked for in the changeover."""
    at = MESSAGES // 2 + 1
    anew = {
        "reset by data": ["--reset-at", at],
        "reset by heartbeat": ["--reset-at", at, "--reset-by", "heartbeat"],
        "rollover": ["--rollover-at", at, "--next-session", "TOMORROW"],
    }[change]
    with Lab(lab_name) as lab:
        server = f"{lab['a'].interface.ipv4}:9100"
        served = [*anew, "--changeover", 1, "--heartbeat", 0.1, "--end-of-session-interval", 0.05]
        summary, published, records = both(
            lab,
            backend,
            tmp_path,
            [*map(str, served), "--retransmit", server],
            ["--recovery", server],
        )
    assert published["lost_everywhere"]["messages"] > 0
    assert [s["at"] for s in published["sessions"]] == [0, at - 1]
    half = np.arange(1, at, dtype=np.uint64)
    assert np.array_equal(records["seq"], np.concatenate([half, half]))
    # And they are the messages that these numbers had then.
    day = generated(tmp_path)
    for name in ("type", "order_id", "instrument", "qty", "price", "event_time"):
        assert np.array_equal(records[name], day[name])
    (channel,) = summary["channels"]
    assert (summary["missing"], channel["abandoned"]) == (0, [])
    counters = channel["counters"]
    assert (counters["resets"], counters["session_changes"]) == (
        (0, 1) if change == "rollover" else (1, 0)
    )
    assert counters["recovered"] >= published["lost_everywhere"]["messages"]


@pytest.mark.parametrize("backend", ["socket", "af_xdp"])
def test_a_new_session_begins_with_a_snapshot(lab_name, tmp_path, backend):
    """Of the books that the publisher has then; what is lost behind it is asked for."""
    at = MESSAGES // 3 + 1
    path, out = tmp_path / "feed.toml", tmp_path / "records.npy"
    with Lab(lab_name) as lab:
        host = lab["a"].interface.ipv4
        groups = [to.rpartition(":") for to in LINES]
        path.write_text(
            f'[feed]\nbackend = "{backend}"\ninterface_name = "{lab["b"].interface.name}"\n'
            'rx_ring_size = 4096\n[[channel]]\nname = "c"\nnext_sequence = 1\n'
            + "".join(f'[[channel.line]]\ngroup = "{g}"\nport = {p}\n' for g, _, p in groups)
            + f'[[channel.recovery]]\nkind = "mold_udp64"\nserver = "{host}:9100"\n'
            + f'[[channel.recovery]]\nkind = "glimpse"\nserver = "{host}:9200"\n'
        )
        backend_or_skip(backend)
        command = [*COMMAND, "feed", "--config", str(path), "--json", "--max-seconds", "40"]
        process = lab["b"].popen([*command, "--out", str(out)], **TEXTS)
        try:
            wait_until_open(process)
            sender = publish(
                lab, "--rollover-at", str(at), "--next-session", "TOMORROW", "--changeover", "1",
                "--retransmit", f"{host}:9100", "--glimpse", f"{host}:9200",
            )  # fmt: skip
            published = answer(sender)
            summary = answer(process)
        finally:
            process.kill()
            process.communicate()
    records = np.load(out)
    assert published["lost_everywhere"]["messages"] > 0
    (channel,) = summary["channels"]
    told = channel["servers"]["snapshot"]
    assert (told["begun"], told["done"], told["given_up"]) == (1, 1, 0)
    assert summary["missing"] == 0
    old, snapshot = at - 1, int((records["seq"] == 0).sum())
    assert told["injected"] >= snapshot > 0
    assert np.array_equal(records["seq"][:old], np.arange(1, at, dtype=np.uint64))
    assert not records["seq"][old : old + snapshot].any()
    live = records[old + snapshot :]
    first = int(live["seq"][0])
    assert np.array_equal(live["seq"], np.arange(first, MESSAGES - old + 1, dtype=np.uint64))
    day = generated(tmp_path)
    assert np.array_equal(live["order_id"], day["order_id"][old + first - 1 :])
    # The snapshot and what follows make the books of the whole day.
    spliced, whole = wp.feed.Books(), wp.feed.Books()
    spliced.apply(records[old:])
    whole.apply(day)
    assert spliced.counters["unknown_order"] == spliced.counters["duplicate_order"] == 0
    assert spliced.instruments() == whole.instruments()
    for instrument in whole.instruments():
        for side in "BS":
            ours, all_day = (b.orders(instrument, side) for b in (spliced, whole))
            assert ours.tobytes() == all_day.tobytes()


def generated(folder):
    """Records of the day that is published."""
    path = folder / "day.itch"
    wp.feed.generate(path, messages=MESSAGES)
    return wp.feed.Itch50().decode_file(path.read_bytes())


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
