# SPDX-License-Identifier: Apache-2.0
"""Where journals are kept, and that one tune runs at a time."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import DeviceBusy, PermissionDenied, StateError


def state_directory() -> Path:
    """/var/lib/wirepath for root, else wirepath below $XDG_STATE_HOME (~/.local/state)."""
    if os.geteuid() == 0:
        return Path("/var/lib/wirepath")
    home = os.environ.get("XDG_STATE_HOME") or ""
    base = Path(home) if home.startswith("/") else Path.home() / ".local/state"
    return base / "wirepath"


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Hold the directory, made if need be, for one tune; a killed one's hold ends with it.

    Raises DeviceBusy while another one runs, StateError where the directory is not safe to use.
    """
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = directory.stat()
    except PermissionError as error:
        raise PermissionDenied(
            f"{directory} cannot be made or used ({error.strerror}): run it as root"
        ) from None
    except OSError as error:
        raise StateError(
            f"{directory} cannot be used ({error.strerror}): name another with --state-dir"
        ) from None
    if found.st_uid != os.geteuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise StateError(
            f"{directory} belongs to another user or others may write to it: what was there "
            f"before tuning must not be forged (chown root {directory}; chmod 700 {directory})"
        )
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        descriptor = os.open(directory / "tune.lock", flags, 0o600)
    except OSError as error:
        raise StateError(f"{directory}/tune.lock cannot be opened ({error.strerror})") from None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise
            holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
            raise DeviceBusy(
                f"another wirepath tune is at work (process {holder}): wait for its end"
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)
