# SPDX-License-Identifier: Apache-2.0
"""Clearing up at the end of the process, also when that end is SIGTERM or SIGHUP.

SIGINT already unwinds the stack as KeyboardInterrupt. The other two would end Python with neither
`with` nor atexit run, so while a lab is open, and where the program has left them at their
default, they unwind too (as SystemExit, with the shell's 128 + signal as the status). SIGKILL
cannot be handled: what it leaves is removed by the next lab, or by `down`.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
from types import FrameType
from typing import Final, Protocol


class Closable(Protocol):
    """What is closed at exit."""

    def close(self) -> None:
        """Clears up; does nothing the second time."""


_SIGNALS: Final = (signal.SIGTERM, signal.SIGHUP)
_open: list[tuple[int, Closable]] = []  # with the process that opened it: a fork owns nothing
_handled: list[signal.Signals] = []


def _unwind(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)


def opened(lab: Closable) -> None:
    """Has `lab` closed at exit, whatever the exit."""
    _open.append((os.getpid(), lab))
    if threading.current_thread() is not threading.main_thread():
        return  # only the main thread may set handlers
    for number in _SIGNALS:
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _unwind)
            _handled.append(number)


def closed(lab: Closable) -> None:
    """Forgets `lab`; with the last one the signals' defaults come back."""
    _open[:] = [(pid, other) for pid, other in _open if other is not lab]
    if _open or threading.current_thread() is not threading.main_thread():
        return
    for number in _handled:
        if signal.getsignal(number) is _unwind:
            signal.signal(number, signal.SIG_DFL)
    _handled.clear()


@atexit.register
def _at_exit() -> None:
    for pid, lab in list(_open):
        if pid == os.getpid():
            lab.close()
