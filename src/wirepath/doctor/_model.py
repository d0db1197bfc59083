# SPDX-License-Identifier: Apache-2.0
"""What a check is, and what it finds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from ..machine import Machine, Nic, Unseen
from ..machine._nic import UNSUPPORTED
from ..registry import BackendStatus


class Severity(StrEnum):
    """From the gravest to none."""

    BLOCKER = "blocker"
    """Something that was asked for cannot work until this is mended."""
    WARNING = "warning"
    """It works, and costs frames or the tail of the latency."""
    ADVICE = "advice"
    """Worth doing on a machine that is there for this."""
    UNSEEN = "unseen"
    """Could not be looked at from here."""
    OK = "ok"
    """In order, or nothing to do with this machine."""

    @property
    def rank(self) -> int:
        """0 for the gravest."""
        return list(Severity).index(self)


@dataclass(frozen=True, slots=True)
class Case:
    """What a check looks at."""

    machine: Machine
    backends: Sequence[BackendStatus] = ()
    examined: Nic | None = None

    @property
    def nic(self) -> Nic:
        """The interface, in a check of interfaces."""
        assert self.examined is not None, "a check of the machine asked for an interface"
        return self.examined

    def backend(self, name: str) -> BackendStatus | None:
        """A backend's state in this process."""
        return next((each for each in self.backends if each.name == name), None)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one check found: ``evidence`` as read, ``mend`` as something to type."""

    severity: Severity
    evidence: str
    mend: str = ""


def ok(evidence: str) -> Outcome:
    """All is well, or there is nothing of the kind here."""
    return Outcome(Severity.OK, evidence)


def advice(evidence: str, mend: str) -> Outcome:
    """Could be better."""
    return Outcome(Severity.ADVICE, evidence, mend)


def warning(evidence: str, mend: str) -> Outcome:
    """Costs frames or latency."""
    return Outcome(Severity.WARNING, evidence, mend)


def blocker(evidence: str, mend: str) -> Outcome:
    """Cannot work."""
    return Outcome(Severity.BLOCKER, evidence, mend)


@dataclass(frozen=True, slots=True)
class Check:
    """One question to a machine, or to each interface of it."""

    name: str
    subject: Literal["machine", "interface"]
    reads: str
    why: str
    judge: Callable[[Case], Outcome]

    def run(self, case: Case) -> Finding:
        """Its finding; what cannot be seen is a finding as well."""
        nic = case.examined.name if case.examined is not None else ""
        subject = nic if self.subject == "interface" else "machine"
        try:
            found = self.judge(case)
        except Unseen as reason:
            found = Outcome(Severity.UNSEEN, str(reason))
        return Finding(
            self.name, subject, found.severity, found.evidence, self.why, found.mend, self.reads
        )


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor's list. ``subject`` is "machine" or an interface."""

    check: str
    subject: str
    severity: Severity
    evidence: str
    why: str
    mend: str
    reads: str


Judge = Callable[[Case], Outcome]


def machine_check(name: str, *, reads: str, why: str) -> Callable[[Judge], Check]:
    """Makes a check of the whole machine out of a function."""
    return lambda judge: Check(name, "machine", reads, why, judge)


def interface_check(name: str, *, reads: str, why: str) -> Callable[[Judge], Check]:
    """Makes a check of each interface out of a function."""
    return lambda judge: Check(name, "interface", reads, why, judge)


def not_told(nic: Nic, field: str, what: str) -> Outcome:
    """For a reading that is None: the driver has none, or the kernel did not tell (`Unseen`)."""
    reason = nic.refused.get(field, UNSUPPORTED)
    if reason == UNSUPPORTED:
        return ok(f"{_driver(nic)} has no {what}")
    raise Unseen(f"{what} of {nic.name}: {reason}")


def _driver(nic: Nic) -> str:
    return f"the driver {nic.driver}" if nic.driver else f"{nic.name}, which has no driver,"


def listing(numbers: Sequence[int]) -> str:
    """Numbers in the kernel's list format, 0-3,8."""
    runs: list[list[int]] = []
    for number in sorted(set(numbers)):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(f"{a}-{b}" if a != b else str(a) for a, b in runs)
