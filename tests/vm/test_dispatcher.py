# SPDX-License-Identifier: Apache-2.0
"""The chain's root behind libxdp's dispatcher, beside a program of somebody else."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import wirepath as wp
from wirepath import programs
from wirepath.programs import kernel

HOLD = """
import os, signal
from wirepath import programs
chain = programs.Chain("lo")
chain.add("user", "count")
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def foreign(tmp_path: Path) -> Iterator[int]:
    """The number of a program that xdp-loader has put on the loopback."""
    if shutil.which("xdp-loader") is None:
        pytest.skip("unsupported: there is no xdp-loader here (apt install xdp-tools)")
    if not Path("/sys/fs/bpf").is_mount():
        subprocess.run(["mount", "-t", "bpf", "bpf", "/sys/fs/bpf"], check=True)
    image = tmp_path / "count.bpf.o"
    image.write_bytes(kernel.module().builtin_object("count"))
    subprocess.run(["xdp-loader", "load", "-m", "skb", "lo", str(image)], check=True)
    there = programs.attached("lo")
    assert [each.name for each in there] == ["xdp_dispatcher", "wirepath_count"]
    assert there[1].held_by == f"dispatcher {there[0].program_id}"
    yield there[1].program_id
    subprocess.run(["xdp-loader", "unload", "lo", "--all"], check=True)
    assert programs.attached("lo") == []


def send(count: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for _ in range(count):
            sock.sendto(b"x" * 30, ("127.0.0.1", 9))


def behind() -> dict[str, int]:
    """Names and numbers of what the dispatcher runs."""
    return {a.name: a.program_id for a in programs.attached("lo") if "dispatcher" in a.held_by}


def seen(number: int) -> int:
    return sum(
        n for name, n in programs.adopt(number).counters().items() if name.startswith("verdict.")
    )


def command(*words: str) -> Any:
    done = subprocess.run(
        [sys.executable, "-m", "wirepath", "program", *words, "--json"],
        capture_output=True, text=True, check=False, timeout=220,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_chain_runs_beside_a_foreign_program_and_leaves_it_alone(foreign: int) -> None:
    with programs.Chain("lo") as chain:
        assert chain.mode == "generic"
        ours = chain.add("user", "count")
        assert set(behind()) == {"wirepath_count", "wirepath_root"}
        before = seen(foreign), seen(ours.id)
        send(50)
        assert seen(foreign) - before[0] >= 50
        assert seen(ours.id) - before[1] >= 50
        second = chain.load("user", "count", share=dict.fromkeys(ours.maps, ours))
        chain.put(second)
        assert [slot.program_id for slot in chain.slots()] == [second.id]
        with pytest.raises(wp.Unsupported, match=r"dispatcher.*cannot be pinned"):
            chain.pin()
    assert behind() == {"wirepath_count": foreign}
    before_end = seen(foreign)
    send(5)
    assert seen(foreign) >= before_end + 5


def test_a_chain_that_a_killed_process_left_does_nothing_and_goes(foreign: int) -> None:
    done = subprocess.run([sys.executable, "-c", HOLD], timeout=220, check=False)
    assert done.returncode == -signal.SIGKILL
    assert set(behind()) == {"wirepath_count", "wirepath_root"}
    send(5)  # through an empty chain
    listed = command("list", "lo")
    assert "wirepath_root" in json.dumps(listed)
    with programs.Chain("lo") as chain:
        assert chain.slots() == []
    assert behind() == {"wirepath_count": foreign}


def test_looking_on_takes_no_chain_from_under_another(foreign: int) -> None:
    with programs.Chain("lo") as chain:
        command("list", "lo")  # it opens the chain and closes it, and nobody is in a slot yet
        ours = chain.add("user", "count")
        send(5)
        assert seen(ours.id) >= 5
    assert behind() == {"wirepath_count": foreign}


def test_another_mode_than_the_dispatchers_is_refused(foreign: int) -> None:
    with pytest.raises(wp.DeviceBusy, match="dispatcher in mode generic, and mode native"):
        programs.Chain("lo", "native")
    assert behind() == {"wirepath_count": foreign}
