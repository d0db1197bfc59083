# SPDX-License-Identifier: Apache-2.0
"""Running contestants that are programs which print one line of JSON."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from .harness import Refused, Unavailable

ROOT = Path(__file__).resolve().parent.parent
# NumPy's linear algebra starts threads that spin for a while: on the receiver's processor, say.
ENVIRONMENT = os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


def parse(who: str, code: int, out: str, err: str) -> dict[str, Any]:
    """The line of JSON of a program that ended.

    Raises:
        Refused: it failed.
    """
    if code:
        lines = err.strip().splitlines()
        raise Refused(f"{who} failed ({code}): {lines[-1] if lines else 'it said nothing'}")
    result: dict[str, Any] = json.loads(out)
    return result


def run(command: Sequence[str], timeout: float = 60) -> dict[str, Any]:
    """Runs a program to its end."""
    who = Path(command[0]).name
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            cwd=ROOT,
            env=ENVIRONMENT,
        )
    except subprocess.TimeoutExpired:
        raise Refused(f"{who} did not end within {timeout:g} s") from None
    except OSError as error:
        raise Unavailable(f"{command[0]}: {error}") from None
    return parse(who, done.returncode, done.stdout, done.stderr)


@contextmanager
def running(child: subprocess.Popen[str]) -> Iterator[subprocess.Popen[str]]:
    """Kills the program at the end of the block, if it has not ended."""
    with child:
        try:
            yield child
        finally:
            if child.poll() is None:
                child.kill()


def wait_ready(who: str, child: subprocess.Popen[str], seconds: float) -> None:
    """Waits until a program says `ready` on stderr, a pipe, and reads nothing behind that.

    Raises:
        Refused: it has not within so long, or ended.
    """
    assert child.stderr is not None
    descriptor = child.stderr.fileno()
    end = time.monotonic() + seconds
    said = b""
    while said.split(b"\n")[-2:] != [b"ready", b""]:
        left = end - time.monotonic()
        if left <= 0 or not select.select([descriptor], [], [], left)[0]:
            raise Refused(f"{who} was not ready within {seconds:g} s")
        byte = os.read(descriptor, 1)
        if not byte:
            lines = said.decode(errors="replace").strip().splitlines()
            raise Refused(f"{who} ended early: {lines[-1] if lines else 'it said nothing'}")
        said += byte


def finish(who: str, child: subprocess.Popen[str], seconds: float) -> dict[str, Any]:
    """Closes a program's standard input, waits for its end, and gives its line of JSON.

    Raises:
        Refused: it failed, or has not ended within so long.
    """
    try:
        out, err = child.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        raise Refused(f"{who} did not end within {seconds:g} s") from None
    return parse(who, child.returncode, out, err)


def processor_seconds(pid: int) -> float:
    """That the threads of a process have had which have not ended."""
    used = 0
    for path in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        with suppress(OSError):  # a thread that ends meanwhile
            used += int(path.read_text().split()[0])
    return used / 1e9


def module(name: str, *words: str) -> list[str]:
    """The command of a module of this package, in a Python of its own."""
    return [sys.executable, "-m", f"benchmarks.{name}", *words]
