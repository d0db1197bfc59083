"""What exit codes mean."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """Exit codes of every command."""

    OK = 0
    FAILED = 1
    USAGE = 2
    UNAVAILABLE = 3
    PERMISSION = 4
    INTERRUPTED = 130


MEANINGS = {
    Exit.OK: "done",
    Exit.FAILED: "a check or run found loss, or failed",
    Exit.USAGE: "wrong usage or configuration",
    Exit.UNAVAILABLE: "a backend or device cannot be used here now",
    Exit.PERMISSION: "a privilege is missing",
    Exit.INTERRUPTED: "interrupted (Ctrl-C, SIGTERM); what was done is reported all the same",
}
