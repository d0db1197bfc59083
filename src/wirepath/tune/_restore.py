# SPDX-License-Identifier: Apache-2.0
"""Putting back what was there, from the journal."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from ..errors import PermissionDenied
from . import _journal
from ._apply import Phase, Progress, Step
from ._journal import Entry, Written
from ._knobs import Gone, Knob, Refused, Unreadable
from ._links import Identity
from ._machine import Machine, this_machine
from ._state import locked, state_directory

Result = Literal["restored", "as before", "reset", "gone", "changed", "still tuned", "refused"]

#: With these the journal keeps the value, for ``--force`` or another try.
_LEFT: tuple[Result, ...] = ("changed", "still tuned", "refused")


@dataclass(frozen=True, slots=True)
class Restored:
    """One knob after restoring.

    ``result`` is ``restored``; ``as before`` (nothing to do); ``reset`` (a reboot reset it; it was
    not written); ``gone`` (the interface or queue has gone, and the value with it); or it was left
    alone and stays in the journal: ``changed`` (somebody else has set it since), ``still tuned``
    (after a reboot it has the tuned value again: something sets it), ``refused`` by the kernel.
    """

    knob: Knob
    before: str
    tuned: str | None
    now: str | None
    result: Result
    message: str = ""


@dataclass(frozen=True, slots=True)
class Restoration:
    """What :func:`wirepath.tune.restore` did. ``ok``: nothing is left to restore.

    ``rebooted`` says that the machine was started anew since it was tuned. ``others`` are journals
    of other network namespaces, which only a process there can restore.
    """

    journal: Path | None
    rebooted: bool
    knobs: tuple[Restored, ...]
    others: tuple[Path, ...]

    @property
    def ok(self) -> bool:
        """Every value is as it was, or has gone."""
        return not any(each.result in _LEFT for each in self.knobs)


def restore(
    *,
    force: bool = False,
    state_dir: Path | None = None,
    machine: Machine | None = None,
    progress: Progress | None = None,
) -> Restoration:
    """Put every value back that tuning changed in this network namespace.

    Works from the journal alone: after ``apply``, after ``kill -9`` in the middle of it or of
    another restore, any number of times. A value that somebody else has changed since is left and
    told. After a reboot, which resets these values, nothing is written. Interfaces are known by
    name, MAC address and index: one that has gone, or came anew under the same name, is told and
    not touched; one that was renamed is found.

    Args:
        force: put back even what somebody else has changed, or set again after the reboot.
        state_dir, machine, progress: as for :func:`wirepath.tune.apply`.

    Raises:
        DeviceBusy: another tune is at work.
        PermissionDenied: not root.
        StateError: the journal is damaged.
    """
    with this_machine() if machine is None else nullcontext(machine) as here:
        directory = state_dir or state_directory()
        with locked(directory):
            path = _journal.path_of(directory, here)
            others = tuple(p for p in _journal.all_paths(directory) if p != path)
            others = tuple(p for p in others if not _died_with_its_boot(p, here))
            written = _journal.read(path)
            if (
                written is not None
                and written.namespace != here.namespace
                and (written.boot == here.boot)
            ):
                others, written = (*others, path), None
            if written is None:
                return Restoration(None, False, (), others)
            if lacking := here.missing_privileges():
                raise PermissionDenied(
                    f"restoring needs {lacking}: run it as root (sudo wirepath tune --restore)"
                )
            run = _Run(written, here, force=force, progress=progress)
            knobs = run.all()
            left = [entry for entry, done in zip(run.order, knobs, strict=True) if _stays(done)]
            # In the order of the changes again, for the next time.
            _journal.rewrite(written, [e for e in written.entries if any(e is x for x in left)])
            return Restoration(path, run.rebooted, tuple(knobs), others)


def pending(*, state_dir: Path | None = None) -> list[Written]:
    """The journals of tunes that were not restored, of every network namespace and boot.

    Raises :class:`~wirepath.errors.StateError` where one is damaged.
    """
    directory = state_dir or state_directory()
    found = [_journal.read(path) for path in _journal.all_paths(directory)]
    return [each for each in found if each is not None]


def _died_with_its_boot(path: Path, machine: Machine) -> bool:
    """Removes a journal of a namespace other than the machine's own that a reboot ended."""
    written = _journal.read(path)
    if written is None or written.first_namespace or written.boot == machine.boot:
        return False
    path.unlink(missing_ok=True)
    return True


def _stays(done: Restored) -> bool:
    return done.result in _LEFT


class _Run:
    def __init__(
        self, written: Written, machine: Machine, *, force: bool, progress: Progress | None
    ) -> None:
        self.written = written
        self.machine = machine
        self.force = force
        self.progress = progress
        self.rebooted = written.boot != machine.boot
        changed: Sequence[Entry] = [e for e in written.entries if not e.kept]
        kept: Sequence[Entry] = [e for e in written.entries if e.kept]
        # Backwards; what the channels took along comes last, when its queues are there again.
        self.order = [*reversed(changed), *kept]
        self.channels_restored = {
            e.knob.interface for e in changed if e.knob.kind == "channels" and e.restoring
        }

        self.channels_left: set[str] = set()

    def all(self) -> list[Restored]:
        out = []
        for entry in self.order:
            out.append(self._one(entry))
            if entry.knob.kind == "channels" and _stays(out[-1]):
                self.channels_left.add(out[-1].knob.interface)
        return out

    def _one(self, entry: Entry) -> Restored:  # noqa: PLR0911  # one a result
        tuned = entry.ours[-1] if entry.ours else None
        done = Restored(entry.knob, entry.before, tuned, None, "gone")
        knob, why = self._find(entry)
        if knob is None:
            return replace(done, message=why)
        done = replace(done, knob=knob)
        try:
            now = self.machine.read(knob)
        except Gone as gone:
            if entry.kept and knob.interface in self.channels_left:
                why = "its queue comes back with the channels, which were left alone"
                return replace(done, result="changed", message=why)
            return replace(done, message=str(gone))
        except Unreadable as error:
            return replace(done, result="refused", message=str(error))
        done = replace(done, now=now)
        if now == entry.before:
            return replace(done, result="as before")
        if not self.force and (result := self._leave(entry, now)) is not None:
            return replace(done, result=result[0], message=result[1])
        return self._write(entry, done, knob)

    def _find(self, entry: Entry) -> tuple[Knob | None, str]:
        """The knob under its present name, or why it is gone."""
        was = entry.identity
        if was is None:
            return entry.knob, ""
        now = self._present(was)
        if isinstance(now, str):
            return None, now
        return replace(entry.knob, interface=now.name), ""

    def _present(self, was: Identity) -> Identity | str:
        here = self.machine.links.interfaces()
        if self.rebooted:  # indices are given out anew
            same = [each for each in here if (each.name, each.mac) == (was.name, was.mac)]
        else:
            same = [each for each in here if (each.ifindex, each.mac) == (was.ifindex, was.mac)]
        if same:
            return same[0]
        named = next((each for each in here if each.name == was.name), None)
        if named is None:
            return f"{was} has gone from this network namespace, and its settings with it"
        return f"{was} has gone: {named.name} is another interface now ({named}), not touched"

    def _leave(self, entry: Entry, now: str) -> tuple[Result, str] | None:
        """What to say where the value must not be written."""
        if entry.kept and not self.rebooted:
            # Its queue was switched off and on again by us; the kernel starts it at nothing.
            if now == "0" or entry.knob.interface in self.channels_restored:
                return None
            return "changed", f"somebody else made it {now} since; it was {entry.before}"
        ours = now in entry.ours
        if self.rebooted:
            if ours:
                return "still tuned", "something sets it again at boot (sysctl.d, tuned, udev?)"
            return "reset", f"the reboot reset it to {now}; before the tuning it was {entry.before}"
        if ours:
            return None
        tuned = entry.ours[-1] if entry.ours else "?"
        return (
            "changed",
            f"somebody else made it {now} since it was tuned to {tuned}; it was {entry.before}",
        )

    def _write(self, entry: Entry, done: Restored, knob: Knob) -> Restored:
        if knob.kind == "channels" and not entry.kept:
            # On disk first: its queues' masks may then be written, also by the next restore.
            entry.restoring = True
            self.channels_restored.add(entry.knob.interface)
            _journal.rewrite(self.written, list(self.written.entries))
        self._tell(knob, "journalled")
        message = ""
        try:
            self.machine.write(knob, entry.before)
        except Refused as error:
            message = str(error)
        self._tell(knob, "written")
        try:
            now = self.machine.read(knob)
        except Unreadable as error:
            return replace(done, result="refused", now=None, message=message or str(error))
        self._tell(knob, "verified")
        if now == entry.before:
            return replace(done, result="restored", now=now)
        message = message or f"{knob} = {entry.before}: the kernel kept {now}"
        return replace(done, result="refused", now=now, message=message)

    def _tell(self, knob: Knob, phase: Phase) -> None:
        if self.progress is not None:
            self.progress(Step(knob, phase))
