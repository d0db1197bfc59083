# SPDX-License-Identifier: Apache-2.0
"""Carrying a plan out: write down, change, read back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from .. import logs, traces
from ..errors import ConfigError, PermissionDenied, StateError
from . import _journal
from ._knobs import Knob, Refused, Unreadable
from ._links import Identity
from ._machine import Machine, this_machine
from ._plan import Plan, Setting
from ._state import locked, state_directory

Phase = Literal["journalled", "written", "verified"]


@dataclass(frozen=True, slots=True)
class Step:
    """Where an apply or restore is: told after each phase of each setting."""

    knob: Knob
    phase: Phase


Progress = Callable[[Step], None]


@dataclass(frozen=True, slots=True)
class Applied:
    """One setting after its change.

    ``result`` is ``applied`` (read back as wanted), ``unchanged`` (it had the value),
    ``impossible`` (as the plan said), ``refused`` (the kernel did not take it) or ``differs``
    (the kernel made something else of it: ``now``).
    """

    setting: Setting
    result: Literal["applied", "unchanged", "impossible", "refused", "differs"]
    before: str | None
    now: str | None
    message: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What :func:`wirepath.tune.apply` did. ``ok``: everything possible has its wanted value."""

    journal: Path
    settings: tuple[Applied, ...]

    @property
    def ok(self) -> bool:
        """Nothing was refused, and everything reads back as wanted."""
        return not any(each.result in ("refused", "differs") for each in self.settings)


def apply(
    plan: Plan,
    *,
    yes_this_one: bool = False,
    state_dir: Path | None = None,
    machine: Machine | None = None,
    progress: Progress | None = None,
) -> Outcome:
    """Make the changes of a plan, each written down on disk before and read back after.

    A setting that the kernel refuses does not keep the others from being made. Whatever ends this
    process, :func:`wirepath.tune.restore` puts everything back. Tuning a second time goes on with
    the same journal: what was there before the first stays what is restored.

    Args:
        plan: of :func:`wirepath.tune.plan`, made in this network namespace and boot.
        yes_this_one: touch the interface even though it carries the default route.
        state_dir: of the journal; /var/lib/wirepath for root, else below $XDG_STATE_HOME.
        machine: as for the plan.
        progress: called after each phase of each change.

    Raises:
        ConfigError: the interface carries the default route and ``yes_this_one`` is not given.
        DeviceBusy: another tune is at work.
        PermissionDenied: not root.
        StateError: the plan is of another namespace, boot or interface; or a journal from before
            a reboot is in the way.
    """
    with (
        traces.span("tune.apply", profile=plan.profile, interface=_name(plan)) as span,
        this_machine() if machine is None else nullcontext(machine) as here,
    ):
        check(plan, here, yes_this_one=yes_this_one)
        if lacking := here.missing_privileges():
            raise PermissionDenied(
                f"changing settings needs {lacking}: run it as root (sudo wirepath tune --apply)"
            )
        directory = state_dir or state_directory()
        with locked(directory):
            _journal.remove_dead(directory, here)
            path = _journal.path_of(directory, here)
            with _journal.Journal(path, here, plan.profile) as journal:
                outcome = Outcome(path, _Run(plan, here, journal, progress).all())
        changed = sum(each.result == "applied" for each in outcome.settings)
        traces.note(span, ok=outcome.ok, changed=changed)
        _tell(plan, outcome, changed)
        return outcome


def _name(plan: Plan) -> str | None:
    return plan.interface.name if plan.interface is not None else None


def _tell(plan: Plan, outcome: Outcome, changed: int) -> None:
    for each in outcome.settings:
        setting = str(each.setting.knob)
        if each.result == "applied":
            logs.emit(
                "tune.changed",
                setting=setting,
                before=each.before,
                wanted=each.setting.wanted,
                now=each.now,
            )
        elif each.result in ("refused", "differs"):
            logs.emit("tune.refused", setting=setting, result=each.result, error=each.message)
    logs.emit(
        "tune.applied",
        interface=_name(plan),
        profile=plan.profile,
        journal=outcome.journal,
        ok=outcome.ok,
        changed=changed,
    )


def check(plan: Plan, machine: Machine, *, yes_this_one: bool) -> None:
    """Raises where a plan must not be carried out here and now."""
    if plan.namespace != machine.namespace or plan.boot != machine.boot:
        raise StateError(
            "the plan was made in another network namespace or before a reboot: make it anew here"
        )
    if plan.interface is None:
        return
    now = machine.interface(plan.interface.name)
    if now != plan.interface:
        raise StateError(
            f"{plan.interface} is {now or 'gone'} since the plan was made: make it anew"
        )
    # Asked again: the route may have come since the plan was made.
    if machine.carries_default_route(now.name) and not yes_this_one:
        raise ConfigError(
            f"{now.name} carries the default route, and a mistake there cuts this machine off: "
            "nothing was changed. Say --yes-this-one (yes_this_one=True) if you mean it"
        )


class _Run:
    def __init__(
        self,
        plan: Plan,
        machine: Machine,
        journal: _journal.Journal,
        progress: Progress | None,
    ) -> None:
        self.plan = plan
        self.machine = machine
        self.journal = journal
        self.progress = progress
        self.numbers: dict[Knob, int] = {}

    def all(self) -> tuple[Applied, ...]:
        done = [self._one(setting) for setting in self.plan.settings]
        # Once more at the end: one setting may have disturbed another.
        return tuple(self._look_again(each) for each in done)

    def _one(self, setting: Setting) -> Applied:  # noqa: PLR0911  # one a result
        if setting.state == "impossible":
            message = setting.obstacle or ""
            return Applied(setting, "impossible", setting.current, setting.current, message)
        knob = setting.knob
        try:
            before = self.machine.read(knob)
        except Unreadable as error:
            return Applied(setting, "refused", setting.current, None, str(error))
        if before == setting.wanted:
            return Applied(setting, "unchanged", before, before)
        if knob.kind == "channels":
            for each, value in taken_along(self.machine, knob.interface):
                self.journal.keep(each, self._identity(each), value)
        number = self.journal.change(knob, self._identity(knob), before, setting.wanted)
        self.numbers[knob] = number
        self._tell(knob, "journalled")
        message = ""
        try:
            self.machine.write(knob, setting.wanted)
        except Refused as error:
            message = str(error)
        self._tell(knob, "written")
        try:
            now = self.machine.read(knob)
        except Unreadable as error:
            return Applied(setting, "differs", before, None, message or str(error))
        self.journal.done(number, now)
        self._tell(knob, "verified")
        if now == setting.wanted:
            return Applied(setting, "applied", before, now)
        if now == before:
            message = message or f"{knob} = {setting.wanted}: the kernel kept {now}"
            return Applied(setting, "refused", before, now, message)
        message = message or f"{knob} = {setting.wanted}: the kernel made {now} of it"
        return Applied(setting, "differs", before, now, message)

    def _look_again(self, done: Applied) -> Applied:
        knob = done.setting.knob
        if done.result != "applied":
            return done
        try:
            now = self.machine.read(knob)
        except Unreadable as error:
            return Applied(done.setting, "differs", done.before, None, str(error))
        if now == done.setting.wanted:
            return done
        self.journal.done(self.numbers[knob], now)
        message = f"{knob} = {done.setting.wanted}: a later setting made {now} of it"
        return Applied(done.setting, "differs", done.before, now, message)

    def _identity(self, knob: Knob) -> Identity | None:
        return self.plan.interface if knob.interface else None

    def _tell(self, knob: Knob, phase: Phase) -> None:
        if self.progress is not None:
            self.progress(Step(knob, phase))


def taken_along(machine: Machine, interface: str) -> Iterator[tuple[Knob, str]]:
    """Values that go away with queues and interrupts when channels change."""
    knobs = [
        Knob("netdev", f"queues/{direction}-{number}/{file}", interface)
        for direction, files in (("rx", ("rps_cpus", "rps_flow_cnt")), ("tx", ("xps_cpus",)))
        for number in machine.queues(interface, direction)
        for file in files
    ]
    knobs += [Knob("irq", label, interface) for label in machine.interrupts(interface)]
    for knob in knobs:
        try:
            value = machine.read(knob)
        except Unreadable:
            continue
        if value != "0":
            yield knob, value
