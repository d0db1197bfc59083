"""What ./dev installs by itself, and what it leaves to whoever owns the machine."""

from __future__ import annotations

import importlib
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """tools.dev.system on a machine with an apt that only notes what it is told."""
    monkeypatch.syspath_prepend(str(ROOT))
    found: Any = importlib.import_module("tools.dev.system")
    found.asked = []
    monkeypatch.setattr(found, "_apt", lambda: ["env", "X=1", "apt-get", "-y"])
    monkeypatch.setattr(found, "_known", lambda _: True)
    monkeypatch.setattr(found, "_installed", lambda _: False)

    def logged(_: str, words: list[str], **__: object) -> tuple[int, str]:
        found.asked.append(words)
        return 0, ""

    monkeypatch.setattr(found, "logged", logged)
    yield found
    del found.asked


def needs(system: Any) -> tuple[Any, ...]:
    return (
        system.Need("a tool", ("tool",), lambda: False, "a test"),
        system.Need("a daemon", ("daemon",), lambda: False, "a lab", services=True),
    )


def test_daemons_come_on_a_machine_of_ci_alone(
    system: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(system, "CI", False)
    lacking = system.provide(needs(system))
    assert [need.what for need in lacking] == ["a tool", "a daemon"]  # and so it is told
    assert system.asked == [["env", "X=1", "apt-get", "-y", "install", "tool"]]


def test_ci_installs_daemons_and_starts_none(system: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system, "CI", True)
    system.provide(needs(system))
    first, second = system.asked
    assert first[-2:] == ["install", "tool"]
    assert second[:4] == ["env", "X=1", "sh", "-c"]
    assert second[-4:] == ["apt-get", "-y", "install", "daemon"]


@pytest.mark.parametrize("there", [False, True])
def test_the_policy_is_there_for_as_long_as_apt_runs(
    system: Any, tmp_path: Path, there: bool
) -> None:
    policy = tmp_path / "policy"
    if there:
        policy.write_text("#!/bin/sh\nexit 7\n")
        policy.chmod(0o755)
    script = system._NO_SERVICES.replace("/usr/sbin/policy-rc.d", str(policy))
    ran = ["sh", "-c", f'"{policy}"; echo $?; exit 5']
    done = subprocess.run(
        ["sh", "-c", script, "sh", *ran], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 5, done.stderr
    assert done.stdout == ("7\n" if there else "101\n")
    assert policy.exists() == there
