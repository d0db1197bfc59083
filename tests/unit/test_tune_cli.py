# SPDX-License-Identifier: Apache-2.0
"""The command's mistakes and refusals, on this machine, of which nothing is changed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., Any]  # the answer of a command, see conftest.py


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--apply", "--restore"], "--apply and --restore cannot go together"),
        (["--status", "--emit", "script"], "--status and --emit cannot go together"),
        (["--force"], "--force = True is not usable: it must be left out, or given with --restore"),
        (["--yes-this-one"], "it must be left out, or given with --apply"),
        (["lo", "--restore"], 'IFACE = "lo" is not usable: it must be left out with --restore'),
        (["lo", "--emit", "ini"], 'emit = "ini" is not usable: it must be one of script, sysctl'),
        (["--emit", "udev"], "a udev rule is of an interface: name one"),
        (["--profile", "fast"], 'profile = "fast" is not usable: it must be one of latency'),
        (["--profile", "/no/such.toml"], "/no/such.toml cannot be read: No such file"),
        (["nosuch0"], 'there is no network interface "nosuch0"'),
    ],
)
def test_mistakes_are_told_in_a_sentence(wirepath: Run, words: list[str], said: str) -> None:
    answer = wirepath("tune", *words)
    assert answer.code == 2
    assert said in answer.err
    assert "Traceback" not in answer.err


def test_a_plan_of_this_machine(wirepath: Run) -> None:
    answer = wirepath("tune", "lo", "--json")
    assert (answer.code, answer.err) == (0, "")
    plan = answer.json["plan"]
    assert answer.json["applied"] is False
    assert plan["interface"]["name"] == "lo"
    for setting in plan["settings"]:
        assert setting["why"]
        assert (setting["state"] == "impossible") == (setting["obstacle"] is not None)


def test_emitted_text_is_all_that_is_printed(wirepath: Run) -> None:
    answer = wirepath("tune", "--profile", "kafka", "--emit", "script")
    assert answer.out.startswith("#!/bin/sh\n")
    told = wirepath("tune", "--profile", "kafka", "--emit", "script", "--json").json
    assert told == {"format": "script", "text": answer.out}


@pytest.fixture
def home() -> Iterator[Path]:
    """A folder that other users reach, as they do not reach pytest's."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def test_without_privilege_planning_works_and_applying_says_what_is_missing(home: Path) -> None:
    if os.geteuid() == 0:
        os.chown(home, 65534, 65534)
    nobody = {"user": 65534, "group": 65534, "extra_groups": []} if os.geteuid() == 0 else {}

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "wirepath", "tune", *words],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            cwd="/",
            env=os.environ | {"XDG_STATE_HOME": str(home), "HOME": str(home)},
            **nobody,
        )

    if run("--help").returncode != 0:
        pytest.skip("unsupported: another user cannot run this checkout's Python")
    planned = run("lo", "--json")
    assert planned.returncode == 0, planned.stderr
    assert json.loads(planned.stdout)["plan"]["settings"]
    applied = run("lo", "--apply")
    assert applied.returncode == 4
    assert "CAP_NET_ADMIN" in applied.stderr
    assert list(home.rglob("*.jsonl")) == []
    nothing = run("--restore")
    assert nothing.returncode == 0
    assert "nothing to restore" in nothing.stdout
    assert "what root tuned, root restores" in nothing.stdout
