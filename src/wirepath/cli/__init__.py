"""The command line: ``wirepath`` and ``python -m wirepath``.

A user's mistake ends in one message and an exit code (:class:`Exit`), never in a traceback.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from types import FrameType

from .. import _start, logs, traces
from ..errors import (
    BackendUnavailable,
    ConfigError,
    DeviceBusy,
    ExtraMissing,
    LabUnavailable,
    PermissionDenied,
    StateError,
    Unsupported,
    WirepathError,
)
from . import log_options
from .app import app
from .exits import Exit

__all__ = ["Exit", "app", "main"]


def exit_code_of(error: BaseException) -> Exit:
    """The exit code that an error ends in."""
    if isinstance(error, LabUnavailable):
        return Exit.PERMISSION if "CAP_" in str(error) else Exit.UNAVAILABLE
    if isinstance(error, PermissionDenied):
        return Exit.PERMISSION
    if isinstance(error, (BackendUnavailable, DeviceBusy, ExtraMissing)):
        return Exit.UNAVAILABLE
    if isinstance(error, (ConfigError, StateError, Unsupported)):
        return Exit.USAGE
    return Exit.FAILED


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    before = signal.getsignal(signal.SIGTERM)
    with contextlib.suppress(ValueError):  # not the main thread: somebody else's business
        signal.signal(signal.SIGTERM, _interrupt)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # tables and bars in a locale that lacks them
            stream.reconfigure(errors="replace")
    try:
        _start.ready()
        chosen, words = log_options.taken(given)
        log_options.apply(**chosen)
        return _command(words)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else Exit.OK
    except BrokenPipeError:
        _silence()  # the reader of our output has gone
        return Exit.FAILED
    except (KeyboardInterrupt, Exception) as error:
        if (told := _message_of(error)) is None:
            raise
        message, exit_code = told
        return _fail(message, exit_code, as_json="--json" in given)
    finally:
        logs.quiet()  # a program that runs commands has events of its own to hear
        with contextlib.suppress(ValueError, TypeError):
            signal.signal(signal.SIGTERM, before)


def _command(words: Sequence[str]) -> int:
    """Run it; log and trace how it ended."""
    name, begun = log_options.name_of(words), time.monotonic()
    code: int = Exit.FAILED
    error: str | None = None
    end_traces = traces.export()
    try:
        with traces.span("command", command=name):
            returned = app(words, prog_name="wirepath", standalone_mode=False)
            sys.stdout.flush()  # here, where a full disk can be told, not at the exit
            if returned == Exit.INTERRUPTED and not isinstance(returned, Exit):
                raise KeyboardInterrupt  # which typer turned into a number; ours is an Exit
        code = int(returned) if isinstance(returned, int) else Exit.OK
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else Exit.OK
    except BaseException as raised:
        error, code = _message_of(raised) or (f"{type(raised).__name__}: {raised}", Exit.FAILED)
        raise
    finally:
        seconds = round(time.monotonic() - begun, 6)
        logs.emit("command.ended", command=name, exit_code=int(code), seconds=seconds, error=error)
        end_traces()
    return code


def _message_of(error: BaseException) -> tuple[str, Exit] | None:
    """What to tell the user of an error; None: it is a mistake of ours."""
    if isinstance(error, (WirepathError, OSError)):
        return str(error), exit_code_of(error)
    usage = getattr(error, "format_message", None)  # the option parser's own
    if usage is not None and type(error).__name__ == "NoArgsIsHelpError":
        return "a command is missing", Exit.USAGE  # the help has been printed
    if usage is not None:
        return f"{usage()} (wirepath --help)", Exit.USAGE
    if isinstance(error, KeyboardInterrupt) or type(error).__name__ == "Abort":
        return "interrupted", Exit.INTERRUPTED
    return None


def _interrupt(number: int, frame: FrameType | None) -> None:
    # As Ctrl-C, so that ports are closed, labs removed and summaries printed.
    raise KeyboardInterrupt


def _fail(message: str, code: Exit, *, as_json: bool) -> int:
    try:
        print(f"wirepath: {message}", file=sys.stderr)
        if as_json:
            print(json.dumps({"error": message, "exit_code": int(code)}), flush=True)
        sys.stdout.flush()
    except OSError:  # the reader has gone, or the disk is full
        _silence()
    return code


def _silence() -> None:
    """What is left unwritten is dropped: Python must not complain about it at its exit."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, OSError, ValueError):
            os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
