# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C and SIGTERM while a feed runs: a question that the run asks, not an exception anywhere."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def stop_asked() -> Iterator[Callable[[], bool]]:
    """Whether SIGINT or SIGTERM has come since the block began.

    An exception could come between taking records out of the ring and handing them on, or before
    anybody waits for it, and lose records or the report. A second signal is one: who presses
    Ctrl-C twice does not want to wait for an end in good order.
    """
    asked = False

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True

    before = {}
    if threading.current_thread() is threading.main_thread():
        heard = [n for n in _SIGNALS if signal.getsignal(n) is not signal.SIG_IGN]  # nohup, &
        before = {number: signal.signal(number, note) for number in heard}
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
