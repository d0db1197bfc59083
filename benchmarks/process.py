# SPDX-License-Identifier: Apache-2.0
"""Running contestants that are programs which print one line of JSON."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
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


def module(name: str, *words: str) -> list[str]:
    """The command of a module of this package, in a Python of its own."""
    return [sys.executable, "-m", f"benchmarks.{name}", *words]
