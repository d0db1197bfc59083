# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C while the command line is still being imported: a word and an exit code, no traceback.

Where wirepath is imported by another program nothing is done.
"""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType
from typing import Final

_INTERRUPTED: Final = 130


def is_command() -> bool:
    """Whether this process is ``wirepath`` or ``python -m wirepath``."""
    if sys.argv[:1] == ["-m"]:  # as it stands while the package of -m is imported
        words = sys.orig_argv
        return words[words.index("-m") + 1 : words.index("-m") + 2] == ["wirepath"]
    return bool(sys.argv) and os.path.basename(sys.argv[0]) == "wirepath"  # noqa: PTH119 -- cheap


def _end(number: int, frame: FrameType | None) -> None:
    # No exception: whatever is half imported would have to pass it on.
    os.write(2, b"wirepath: interrupted\n")
    os._exit(_INTERRUPTED)


def catch() -> None:
    """From now on, until :func:`ready`; not where the signal is ignored or somebody else's."""
    if is_command() and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)


def ready() -> None:
    """The command line can handle KeyboardInterrupt itself."""
    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, signal.default_int_handler)
