# SPDX-License-Identifier: Apache-2.0
"""Putting back what was there, from the journal."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from .. import logs, traces
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
    with (
        traces.span("tune.restore", force=force) as span,
        this_machine() if machine is None else nullcontext(machine) as here,
    ):
        directory = state_dir or state_directory()
        with locked(directory):
            path = _journal.path_of(directory, here)
            _journal.remove_dead(directory, here)
            others = tuple(p for p in _journal.all_paths(directory) if p != path)
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
            done = Restoration(path, run.rebooted, tuple(knobs), others)
        traces.note(span, ok=done.ok, values=len(done.knobs))
        _tell(done)
        return done


def _tell(done: Restoration) -> None:
    for each in done.knobs:
        logs.emit(
            "tune.value_restored",
            setting=str(each.knob),
            before=each.before,
            tuned=each.tuned,
            now=each.now,
            result=each.result,
        )
    logs.emit(
        "tune.restored",
        journal=done.journal,
        ok=done.ok,
        rebooted=done.rebooted,
        values=len(done.knobs),
    )


def pending(*, state_dir: Path | None = None) -> list[Written]:
    """The journals of tunes that were not restored, of every network namespace and boot.

    Raises :class:`~wirepath.errors.StateError` where one is damaged.
    """
    directory = state_dir or state_directory()
    found = [_journal.read(path) for path in _journal.all_paths(directory)]
    return [each for each in found if each is not None]


def _stays(done: Restored) -> bool:
    return done.result in _LEFT


def _of_queue(knob: Knob) -> bool:
    return knob.kind == "irq" or knob.name.startswith("queues/")


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
        self.todo = list(self.order)
        self.looked_at: set[str] = set()
        self.channels_left: set[str] = set()

    def all(self) -> list[Restored]:
        out = []
        for entry in self.order:
            self.todo.remove(entry)
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
            if _of_queue(knob) and knob.interface in self.channels_left:
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
        if not self.rebooted and (entry.restoring or (now == "0" and self._was_off(entry))):
            return None  # the kernel's doing, when we changed the channels
        ours = now in entry.ours
        if self.rebooted:
            if ours:
                return "still tuned", "something sets it again at boot (sysctl.d, tuned, udev?)"
            return "reset", f"the reboot reset it to {now}; before the tuning it was {entry.before}"
        if ours:
            return None
        tuned = f" since it was tuned to {entry.ours[-1]}" if entry.ours else ""
        return "changed", f"somebody else made it {now}{tuned}; it was {entry.before}"

    def _was_off(self, entry: Entry) -> bool:
        """A mask of a queue that tuning had switched off; the kernel starts it at nothing."""
        found = re.match(r"queues/(rx|tx)-(\d+)/", entry.knob.name)
        if found is None or not entry.knob.is_mask:
            return False
        return any(
            int(found[2]) >= int(count)
            for each in self.order
            if each.knob.kind == "channels" and each.knob.interface == entry.knob.interface
            if each.knob.name in (found[1], "combined")
            for count in each.ours
        )

    def _before_channels(self, knob: Knob) -> None:
        """Which masks and interrupts may be written when the channels are back, whatever changing
        the channels makes of them: those that are ours or as before now, or not there.

        On disk, so that a restore that is killed in between is finished by the next.
        """
        if knob.interface in self.looked_at:
            return
        self.looked_at.add(knob.interface)
        for entry in self.todo:
            found, _ = self._find(entry)
            if found is None or found.interface != knob.interface or not _of_queue(found):
                continue
            try:
                now = self.machine.read(found)
            except Gone:
                entry.restoring = True
            except Unreadable:
                entry.restoring = False
            else:
                ours = now == entry.before or now in entry.ours
                entry.restoring = ours or (now == "0" and self._was_off(entry))
        _journal.rewrite(self.written, list(self.written.entries))

    def _write(self, entry: Entry, done: Restored, knob: Knob) -> Restored:
        if knob.kind == "channels":
            self._before_channels(knob)
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
