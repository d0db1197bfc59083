# SPDX-License-Identifier: Apache-2.0
"""The processes inside a lab's namespaces: finding them and ending them, nobody else's."""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

from ._errors import LabError

NamespaceId = tuple[int, int]  # st_dev, st_ino of the nsfs file

_GRACE_SECONDS: Final = 2.0
_KILL_SECONDS: Final = 5.0


def namespace_id(path: Path) -> NamespaceId:
    """What identifies a namespace, whichever of its names is asked."""
    found = path.stat()
    return found.st_dev, found.st_ino


def processes_in(namespaces: Iterable[NamespaceId]) -> list[int]:
    """Processes whose main thread is in one of the namespaces.

    A thread that only visits through `enter()` does not make its process one of them.
    """
    wanted = set(namespaces)
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return [pid for pid in pids if _is_in(pid, wanted)]


def _is_in(pid: int, wanted: set[NamespaceId]) -> bool:
    try:
        return namespace_id(Path(f"/proc/{pid}/ns/net")) in wanted
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return False  # ended, a zombie, or not ours to look at


def _own_line() -> set[int]:
    # This process and those that started it: `lab down` typed in a shell inside the lab must not
    # kill that shell.
    line = set()
    pid = os.getpid()
    while pid > 0 and pid not in line:
        line.add(pid)
        try:
            text = Path(f"/proc/{pid}/stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            break
        pid = int(text[text.rindex(")") + 2 :].split()[1])
    return line


def terminate(namespaces: Iterable[NamespaceId], grace: float = _GRACE_SECONDS) -> int:
    """Ends all processes in the namespaces: SIGTERM, `grace` seconds, SIGKILL.

    This process and its ancestors are left alone. Returns how many were ended.

    Raises:
        LabError: some process is still there, seconds after SIGKILL.
    """
    wanted = set(namespaces)
    spared = _own_line()
    ended: set[int] = set()
    deadline = time.monotonic() + grace + _KILL_SECONDS
    sign, patience = signal.SIGTERM, grace
    while targets := [pid for pid in processes_in(wanted) if pid not in spared]:
        if time.monotonic() > deadline:
            raise LabError(f"processes {targets} do not end even on SIGKILL: see ps -o stat,wchan")
        ended.update(_signal_and_wait(targets, wanted, sign, patience))
        # What is there on a later round ignored the signal or was forked meanwhile.
        sign, patience = signal.SIGKILL, 1.0
    return len(ended)


def _signal_and_wait(
    targets: list[int], wanted: set[NamespaceId], sign: signal.Signals, patience: float
) -> list[int]:
    handles: dict[int, int] = {}
    try:
        for pid in targets:
            try:
                handle = os.pidfd_open(pid)
            except ProcessLookupError:
                continue
            handles[handle] = pid
            # Looked at again through the handle's lifetime: the number may have been reused.
            if _is_in(pid, wanted):
                with suppress(ProcessLookupError):
                    signal.pidfd_send_signal(handle, sign)
        poller = select.poll()
        for handle in handles:
            poller.register(handle, select.POLLIN)
        waiting = set(handles)
        deadline = time.monotonic() + patience
        while waiting and (left := deadline - time.monotonic()) > 0:
            for handle, _ in poller.poll(left * 1000):
                poller.unregister(handle)
                waiting.discard(handle)
        return list(handles.values())
    finally:
        for handle in handles:
            os.close(handle)
