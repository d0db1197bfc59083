# SPDX-License-Identifier: Apache-2.0
"""Running commands: quietly into a log, or on the terminal; one ./dev at a time where it builds."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build"
LOGS = BUILD / "log"

Words = Sequence[str | Path]

CI = os.environ.get("CI", "").lower() not in ("", "0", "false")
_TAIL_LINES = 40


class DevError(Exception):
    """Something ./dev cannot go on without; the message says what mends it."""


def say(text: str) -> None:
    """One line of progress."""
    colour = sys.stderr.isatty()
    print(f"\033[1m==>\033[0m {text}" if colour else f"==> {text}", file=sys.stderr, flush=True)


def note(text: str) -> None:
    """Something the user should know, and that does not stop the work."""
    print(f"    {text}", file=sys.stderr, flush=True)


def capture(command: Words, cwd: Path = ROOT) -> tuple[int, str]:
    """Exit code and output (both streams) of a command; 127 when there is no such command."""
    try:
        done = subprocess.run(
            [str(word) for word in command],
            cwd=cwd,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            errors="replace",
            check=False,
        )
    except (FileNotFoundError, PermissionError) as error:
        return 127, str(error)
    return done.returncode, done.stdout


def logged(
    log: str,
    command: Words,
    env: Mapping[str, str] | None = None,
    *,
    append: bool = False,
    timeout: float | None = None,
) -> tuple[int, str]:
    """Runs a command into build/log/NAME.log; its exit code (124: out of time) and output."""
    LOGS.mkdir(parents=True, exist_ok=True)
    path = LOGS / f"{log}.log"
    words = [str(word) for word in command]
    with path.open("a" if append else "w", encoding="utf-8", errors="replace") as out:
        out.write(f"$ {shlex.join(words)}\n")
        out.flush()
        start = out.tell()
        try:
            code = subprocess.run(
                words,
                cwd=ROOT,
                stdout=out,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env={**os.environ, **(env or {})},
                check=False,
                timeout=timeout,
            ).returncode
        except (FileNotFoundError, PermissionError) as error:
            out.write(f"{error}\n")
            code = 127
        except subprocess.TimeoutExpired:
            out.write(f"stopped after {timeout:.0f} s\n")
            code = 124
    with path.open("rb") as back:
        back.seek(start)
        return code, back.read().decode("utf-8", "replace")


def show_tail(log: str, lines: int = _TAIL_LINES) -> None:
    """The lines of a log that tell of a failure: the first step that failed, else the last."""
    path = LOGS / f"{log}.log"
    text = path.read_text("utf-8", "replace").splitlines() if path.exists() else []
    # Ninja marks the step; pip indents what it runs.
    failed = next((i for i, line in enumerate(text) if line.lstrip().startswith("FAILED")), None)
    for line in text[-lines:] if failed is None else text[failed : failed + lines]:
        print(f"    | {line}", file=sys.stderr)
    print(f"    (all of it: {path.relative_to(ROOT)})", file=sys.stderr, flush=True)


def require(log: str, command: Words, why: str, *, append: bool = False) -> str:
    """As `logged`, but a failure shows the log's tail and ends ./dev with `why`."""
    code, output = logged(log, command, append=append)
    if code != 0:
        show_tail(log)
        raise DevError(why)
    return output


def on_terminal(command: Words, env: Mapping[str, str] | None = None) -> int:
    """Runs a command with our own streams; its exit code, as a shell gives it."""
    words = [str(word) for word in command]
    child = subprocess.Popen(words, cwd=ROOT, env={**os.environ, **(env or {})})
    while True:
        try:
            code = child.wait()
            return code if code >= 0 else 128 - code
        except KeyboardInterrupt:
            continue  # the child got it too and ends in its own way


@contextlib.contextmanager
def locked() -> Iterator[None]:
    """Holds build/.lock: two ./dev in one checkout do not build over each other."""
    BUILD.mkdir(exist_ok=True)
    with (BUILD / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another ./dev in this checkout")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


class Stopwatch:
    """Seconds since it was made."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    def seconds(self) -> float:
        """Elapsed time."""
        return time.monotonic() - self._start


def jobs() -> int:
    """How many compilers run at once: WIREPATH_JOBS, or the cores this process may use."""
    text = os.environ.get("WIREPATH_JOBS", "")
    if text:
        if not text.isdecimal() or int(text) == 0:
            raise DevError(f"WIREPATH_JOBS={text} is not usable: it must be a whole number from 1")
        return int(text)
    return len(os.sched_getaffinity(0))
