# SPDX-License-Identifier: Apache-2.0
"""State files: what was made is written down first, so that a killed owner leaves no trace.

One file a lab, /run/wirepath/lab-<name>.json, mode 0600, replaced atomically. It is written before
the first namespace is made and removed after the last one is gone.
"""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ._errors import LabError
from ._plan import LabSpec, check_name

RUN_DIR: Final = Path("/run/wirepath")
_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Owner:
    """A process, told apart from a later one with the same number by its start time."""

    pid: int
    start: int  # clock ticks since boot: field 22 of /proc/<pid>/stat

    @classmethod
    def this_process(cls) -> Owner:
        """The calling process."""
        pid = os.getpid()
        start = _start_time(pid)
        if start is None:
            raise LabError("/proc/self/stat cannot be read: is /proc mounted?")
        return cls(pid, start)

    def alive(self) -> bool:
        """False once the process has ended, also while it waits for its parent as a zombie."""
        return _start_time(self.pid) == self.start


def _start_time(pid: int) -> int | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The second field is the command in parentheses and may contain anything.
    fields = text[text.rindex(")") + 2 :].split()
    return None if fields[0] in "ZX" else int(fields[19])


@dataclass(frozen=True, slots=True)
class Record:
    """One lab as written down. A persistent lab has no owner."""

    spec: LabSpec
    owner: Owner | None

    @property
    def stale(self) -> bool:
        """True if the owner died without clearing up."""
        return self.owner is not None and not self.owner.alive()


@contextmanager
def locked() -> Iterator[None]:
    """Holds the lock over everything that makes or removes labs on this machine."""
    RUN_DIR.mkdir(mode=0o755, exist_ok=True)
    fd = os.open(RUN_DIR / "lab.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _path(name: str) -> Path:
    return RUN_DIR / f"lab-{check_name(name)}.json"


def write(record: Record) -> None:
    """Writes the state file, whole or not at all."""
    path = _path(record.spec.name)
    data = {
        "version": _VERSION,
        "owner": dataclasses.asdict(record.owner) if record.owner else None,
        "spec": dataclasses.asdict(record.spec),
    }
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "w", encoding="utf-8") as file:
        json.dump(data, file, indent=1)
    fresh.rename(path)


def read(name: str) -> Record | None:
    """Reads a lab's state file; None if there is none.

    Raises:
        LabError: the file is damaged; says how to clear up by hand.
    """
    path = _path(name)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    try:
        data = json.loads(text)
        if data["version"] != _VERSION:
            raise ValueError(f"version {data['version']}, this wirepath writes {_VERSION}")
        owner = Owner(**data["owner"]) if data["owner"] else None
        spec = LabSpec.from_json(data["spec"])
        if spec.name != name:
            raise ValueError(f"it describes the lab {spec.name!r}")
    except (ValueError, KeyError, TypeError) as error:
        raise LabError(
            f"{path} is damaged or foreign ({error}): remove it with `sudo rm {path}`, and what "
            f"`ip netns list` still shows of {name}-* with `sudo ip netns delete`"
        ) from error
    return Record(spec, owner)


def read_all() -> dict[str, Record | LabError]:
    """All labs written down, by name; for a damaged file, what is wrong with it."""
    found: dict[str, Record | LabError] = {}
    for name in names():
        try:
            record = read(name)
        except LabError as error:
            found[name] = error
        else:
            if record is not None:
                found[name] = record
    return found


def forget(name: str) -> None:
    """Removes the state file."""
    _path(name).unlink(missing_ok=True)


def names() -> list[str]:
    """The names of all labs written down, sorted."""
    found = RUN_DIR.glob("lab-*.json")
    return sorted(path.stem.removeprefix("lab-") for path in found)
