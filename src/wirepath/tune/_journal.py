# SPDX-License-Identifier: Apache-2.0
"""What was there before, written down and on the disk before anything is changed.

One file a network namespace, ``tune-<namespace>.jsonl``, mode 0600, one JSON object a line. The
first line says where and when; then, for each change, ``set`` with the value that was there comes
before the change and ``done`` with the value read back after it. ``keep`` is a value that another
change takes along, as a queue that is switched off takes its mask. A last line cut short by a
crash is of a change that had not begun.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from ..errors import StateError
from ._knobs import KINDS, Knob
from ._links import Identity
from ._machine import Machine

VERSION: Final = 1
_MARK: Final = "wirepath_tune"


@dataclass(slots=True)
class Entry:
    """One knob as written down: ``before`` all tuning, and every value that tuning gave it."""

    knob: Knob
    identity: Identity | None
    before: str
    ours: list[str] = field(default_factory=list)
    kept: bool = False
    restoring: bool = False


@dataclass(frozen=True, slots=True)
class Written:
    """A journal as read back: one entry a knob, in the order of the first changes."""

    path: Path
    boot: str
    namespace: str
    first_namespace: bool
    profile: str
    entries: tuple[Entry, ...]


def path_of(directory: Path, machine: Machine) -> Path:
    """The journal of a machine's network namespace."""
    return directory / f"tune-{machine.journal_name}.jsonl"


def all_paths(directory: Path) -> list[Path]:
    """Every journal there is."""
    return sorted(directory.glob("tune-*.jsonl"))


def remove_dead(directory: Path, machine: Machine) -> None:
    """Removes the journals of network namespaces that ended with an earlier boot, and their
    settings with them. The machine's own namespace is never one of them."""
    for path in all_paths(directory):
        try:
            written = read(path)
        except StateError:
            continue  # told to whom it belongs
        if written is not None and not written.first_namespace and written.boot != machine.boot:
            path.unlink(missing_ok=True)


def read(path: Path) -> Written | None:
    """A journal; None where there is none, or nothing had begun. Raises StateError."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StateError(f"{path} cannot be read ({error.strerror})") from None
    with os.fdopen(descriptor, "rb") as file:
        lines = file.read().split(b"\n")[:-1]  # what follows the last line's end was cut short
    if not lines:
        return None
    at = 1
    try:
        head = json.loads(lines[0])
        if head[_MARK] != VERSION:
            raise ValueError(f"version {head[_MARK]}, this wirepath writes {VERSION}")
        fold = _Fold()
        for line in lines[1:]:
            at += 1
            fold.take(json.loads(line))
        at = 1
        return Written(
            path,
            str(head["boot"]),
            str(head["namespace"]),
            bool(head["first_namespace"]),
            str(head["profile"]),
            tuple(fold.entries.values()),
        )
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise StateError(
            f"{path} is damaged or foreign (line {at}: {error}): see what it says was there, "
            f"set that by hand, and remove it with rm {path}"
        ) from None


class _Fold:
    """Lines to entries."""

    def __init__(self) -> None:
        self.entries: dict[tuple[Knob, Identity | None, bool], Entry] = {}
        self._numbers: dict[int, Entry] = {}

    def take(self, line: dict[str, Any]) -> None:
        match line["op"]:
            case "set" | "keep":
                self._set(line)
            case "done":
                entry = self._numbers[line["n"]]
                if line["now"] not in entry.ours:
                    entry.ours.append(str(line["now"]))
            case "restoring":
                self._numbers[line["n"]].restoring = True
            case other:
                raise ValueError(f"unknown line {other}")

    def _set(self, line: dict[str, Any]) -> None:
        if line["kind"] not in KINDS:
            raise ValueError(f"unknown kind {line['kind']}")
        knob = Knob(line["kind"], str(line["name"]), str(line["interface"]))
        identity = Identity(**line["identity"]) if line["identity"] else None
        kept = line["op"] == "keep"
        before = str(line["before"])
        if kept and (knob, identity, False) in self.entries:
            # Tuned before it was taken along: what was there before that is known.
            self._numbers[line["n"]] = self.entries[knob, identity, False]
            return
        entry = self.entries.get((knob, identity, kept))
        if entry is None:
            entry = self.entries[knob, identity, kept] = Entry(knob, identity, before, kept=kept)
        elif not kept and before not in entry.ours:
            entry.before = before  # somebody else set it between two runs: that is what was there
        self._numbers[line["n"]] = entry
        for ours in line.get("ours", [line["wanted"]] if "wanted" in line else []):
            if ours not in entry.ours:
                entry.ours.append(str(ours))


class Journal:
    """A journal being written. Every method returns when the line is on the disk."""

    def __init__(self, path: Path, machine: Machine, profile: str) -> None:
        """Begin one, or go on with the one that is there.

        Raises StateError where that is of another boot: it must be restored first.
        """
        there = read(path)
        if there is not None and there.boot != machine.boot:
            raise StateError(
                f"{path} is from before the last reboot: wirepath tune --restore says what became "
                "of those settings and clears it; then tune again"
            )
        if there is not None and there.namespace != machine.namespace:
            raise StateError(
                f"{path} is of another network namespace ({there.namespace}, this is "
                f"{machine.namespace}): restore it there, or remove it with rm {path}"
            )
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            self._file = os.open(path, flags, 0o600)
        except OSError as error:
            raise StateError(f"{path} cannot be written ({error.strerror})") from None
        data = b""
        while block := os.read(self._file, 1 << 20):
            data += block
        whole = data.rfind(b"\n") + 1
        os.ftruncate(self._file, whole)
        os.lseek(self._file, whole, os.SEEK_SET)
        self._path = path
        self._next = data[:whole].count(b"\n")
        self._head = {
            _MARK: VERSION,
            "boot": machine.boot,
            "namespace": machine.namespace,
            "first_namespace": machine.first_namespace,
            "profile": profile,
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self._file)
        if self._next == 0:  # nothing was changed
            self._path.unlink(missing_ok=True)

    def change(self, knob: Knob, identity: Identity | None, before: str, wanted: str) -> int:
        """Before a change; gives its number."""
        return self._entry("set", knob, identity, before, wanted=wanted)

    def keep(self, knob: Knob, identity: Identity | None, before: str) -> None:
        """Before a change of another knob that may take this one's value along."""
        self._entry("keep", knob, identity, before)

    def done(self, number: int, now: str) -> None:
        """After a change, with what was read back."""
        self._line({"op": "done", "n": number, "now": now})

    def _entry(
        self, op: str, knob: Knob, identity: Identity | None, before: str, **more: str
    ) -> int:
        if self._next == 0:
            _sync_directory(self._path.parent)
            self._line(self._head)
        number = self._next
        who = None if identity is None else asdict(identity)
        self._line(
            {"op": op, "n": number, **asdict(knob), "identity": who, "before": before, **more}
        )
        return number

    def _line(self, document: dict[str, Any]) -> None:
        data = json.dumps(document).encode() + b"\n"
        try:
            while data:
                data = data[os.write(self._file, data) :]
            os.fsync(self._file)
        except OSError as error:
            raise StateError(
                f"{self._path} cannot be written ({error.strerror}), and nothing is changed that "
                "is not written down: make room, then wirepath tune --restore undoes the rest"
            ) from None
        self._next += 1


def rewrite(written: Written, entries: list[Entry]) -> None:
    """The journal with these entries alone, whole or not at all; none: it is removed."""
    path = written.path
    if not entries:
        path.unlink(missing_ok=True)
        _sync_directory(path.parent)
        return
    lines: list[dict[str, Any]] = [
        {
            _MARK: VERSION,
            "boot": written.boot,
            "namespace": written.namespace,
            "first_namespace": written.first_namespace,
            "profile": written.profile,
        }
    ]
    for number, entry in enumerate(entries, 1):
        who = None if entry.identity is None else asdict(entry.identity)
        lines.append(
            {
                "op": "keep" if entry.kept else "set",
                "n": number,
                **asdict(entry.knob),
                "identity": who,
                "before": entry.before,
                "ours": entry.ours,
            }
        )
    for number, entry in enumerate(entries, 1):
        if entry.restoring:
            lines.append({"op": "restoring", "n": number})
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)
        file.flush()
        os.fsync(file.fileno())
    fresh.rename(path)
    _sync_directory(path.parent)


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
