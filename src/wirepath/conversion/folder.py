"""The folder of a capture's results: hidden while it is written, there when it is complete.

A run that was killed leaves a hidden folder behind; the next one into the same place removes it
and gives results back that were being replaced. Who is at work holds a lock on the folder, which
the kernel takes back with the process.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from pathlib import Path
from types import TracebackType

_ATTEMPTS = 16


def _lock(folder: Path) -> int | None:
    """A descriptor that holds the folder's lock; None: somebody else does, or it is gone."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def _hidden(target: Path, kind: str) -> list[Path]:
    prefix = f".{target.name}.{kind}-"
    try:
        return [path for path in target.parent.iterdir() if path.name.startswith(prefix)]
    except OSError:
        return []


def recover(target: Path) -> None:
    """What killed runs left of a capture's results: parts go, and results whose replacement did not
    come back are put back. Runs that are at work are left alone."""
    busy = False
    for part in _hidden(target, "part"):
        held = _lock(part)
        if held is None:
            busy = True
            continue
        try:
            shutil.rmtree(part, ignore_errors=True)
        finally:
            os.close(held)
    if busy:
        return
    for old in _hidden(target, "old"):
        if target.exists():
            shutil.rmtree(old, ignore_errors=True)
        else:
            old.rename(target)


class ResultFolder:
    """The hidden folder ``path`` beside ``target``; leaving it without :meth:`publish` removes it.

    Raises OSError.
    """

    def __init__(self, target: Path) -> None:
        self.target = target
        target.parent.mkdir(parents=True, exist_ok=True)
        recover(target)
        for _ in range(_ATTEMPTS):
            made = tempfile.mkdtemp(prefix=f".{target.name}.part-", dir=target.parent)
            self.path = Path(made)
            held = _lock(self.path)
            if held is not None:
                break  # else another run took it for a leftover
        else:
            raise OSError(f"{target.parent}: other runs remove what this one makes")
        self._held = held
        self.path.chmod(0o777 & ~_umask())  # mkdtemp makes it the owner's alone

    def publish(self, *, force: bool) -> None:
        """Give the complete folder its name, in the place of another one only by force."""
        if not self.target.exists():
            self.path.rename(self.target)
            return
        if not force:
            raise FileExistsError(f"{self.target} appeared in the meantime: nothing was replaced")
        old = self.path.with_name(self.path.name.replace(".part-", ".old-"))
        self.target.rename(old)
        self.path.rename(self.target)
        shutil.rmtree(old)

    def __enter__(self) -> ResultFolder:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._held)


def _umask() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("Umask:"):
            return int(line.split()[1], 8)
    return 0o022
