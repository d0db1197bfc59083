# SPDX-License-Identifier: Apache-2.0
"""Runs the checks and ranks what they find."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from .. import logs, traces
from ..errors import ConfigError
from ..machine import Link, Machine, Nic, Unseen
from ..registry import BackendStatus
from ..registry import backends as all_backends
from . import (
    backends,
    cloud,
    cpu,
    irqs,
    kernel,
    memory,
    nic,
    numa,
    privileges,
    services,
    sysctls,
)
from ._model import Case, Check, Finding, Severity

# Groups in the order of what they usually decide; within one severity the list keeps it.
CHECKS: tuple[Check, ...] = (
    *backends.CHECKS,
    *kernel.CHECKS,
    *privileges.CHECKS,
    *nic.CHECKS,
    *cloud.CHECKS,
    *irqs.CHECKS,
    *numa.CHECKS,
    *services.CHECKS,
    *memory.CHECKS,
    *cpu.CHECKS,
    *sysctls.CHECKS,
)


@dataclass(frozen=True, slots=True)
class Interface:
    """An examined interface: what the kernel says of it, its map of interrupts, and the backends
    that will work on it."""

    nic: Nic
    node: int | None
    queue_map: list[irqs.MapLine]
    ways: list[backends.Way]


@dataclass(frozen=True, slots=True)
class Report:
    """What `examine` found. ``findings`` are ranked, the gravest first, quiet checks last."""

    kernel: str
    interfaces: list[Interface]
    findings: list[Finding]

    def of(self, *severities: Severity) -> list[Finding]:
        """The findings of these severities, ranked."""
        return [each for each in self.findings if each.severity in severities]

    @property
    def worst(self) -> Severity:
        """The gravest severity found."""
        return min((each.severity for each in self.findings), key=lambda s: s.rank)


def examine(
    interface: str | None = None,
    *,
    machine: Machine | None = None,
    backends: Sequence[BackendStatus] | None = None,
) -> Report:
    """Judges this machine and one interface of it, or all that stand for hardware and are up.

    Reads only: nothing is changed, and no privilege is needed. What cannot be seen from here is a
    finding of severity ``unseen``.

    Args:
        interface: a name in the calling thread's network namespace.
        machine: another reader of /proc, /sys and interfaces, for tests.
        backends: the state of the backends; default that of this process.

    Raises:
        ConfigError: there is no such interface.
    """
    with traces.span("doctor.examine", interface=interface) as span:
        report = _examine(interface, machine or Machine(), backends)
        traces.note(span, worst=report.worst)
    if logs.wanted("doctor.examined"):
        grave = Counter(str(each.severity) for each in report.findings)
        names = [each.nic.name for each in report.interfaces]
        logs.emit("doctor.examined", interfaces=names, worst=str(report.worst), findings=grave)
    return report


def _examine(
    interface: str | None, machine: Machine, backends: Sequence[BackendStatus] | None
) -> Report:
    known = all_backends() if backends is None else backends
    whole = Case(machine, known)
    nics = [machine.links.nic(link) for link in _chosen(machine, interface)]
    cases = [Case(machine, known, each) for each in nics]
    findings = [
        check.run(case)
        for check in CHECKS
        for case in ([whole] if check.subject == "machine" else cases)
    ]
    findings.sort(key=lambda each: each.severity.rank)  # stable: the order of CHECKS stays
    return Report(machine.release, [_interface(case) for case in cases], findings)


def _interface(case: Case) -> Interface:
    try:
        node, lines = case.machine.node(case.nic), irqs.queue_map(case)
    except Unseen:  # the checks of both say so
        node, lines = None, []
    return Interface(case.nic, node, lines, backends.ways(case))


def _chosen(machine: Machine, name: str | None) -> list[Link]:
    links = machine.links.links()
    if name is not None:
        found = [link for link in links if link.name == name]
        if not found:
            have = ", ".join(sorted(link.name for link in links))
            raise ConfigError(
                f'there is no network interface "{name}" (the interfaces here are: {have})'
            )
        return found
    return [link for link in links if link.up and not link.kind and not link.loopback]
