"""Fixtures for every test."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

import pytest

from wirepath import lab

_numbers = count()

# A shell that runs the tests in the background has SIGINT ignored, and the tests' children would
# be deaf to it as well.
signal.signal(signal.SIGINT, signal.default_int_handler)


@dataclass
class Answer:
    """What a command said."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """The one object on standard output."""
        lines = self.out.splitlines()
        assert len(lines) == 1, self.out + self.err
        return json.loads(lines[0])


@pytest.fixture
def wirepath() -> Callable[..., Answer]:
    """Runs ``wirepath`` with arguments in a process of its own."""

    def run(*arguments: object, timeout: float = 60) -> Answer:
        done = subprocess.run(
            [sys.executable, "-m", "wirepath", *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        return Answer(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture
def flow() -> tuple[str, int]:
    """A multicast group and a UDP port that no other test of this run uses."""
    number = next(_numbers)
    return f"239.255.{os.getpid() % 250 + 1}.{number % 250 + 1}", 40_000 + os.getpid() % 10_000


@pytest.fixture(scope="session")
def lab_refusal() -> str | None:
    """Why no lab can be made here, or None."""
    return lab.unavailable_reason()


@pytest.fixture(autouse=True)
def _lab_or_skip(request: pytest.FixtureRequest, lab_refusal: str | None) -> None:
    if request.node.get_closest_marker("lab") and lab_refusal is not None:
        pytest.skip(f"lab: {lab_refusal}")


@pytest.fixture
def lab_name() -> Iterator[str]:
    """A name of this test's own; whatever the test leaves under it is removed."""
    name = f"wpt{os.getpid()}x{next(_numbers)}"
    yield name
    if lab.unavailable_reason() is None:
        lab.down(name, force=True)
