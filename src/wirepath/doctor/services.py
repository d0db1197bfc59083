# SPDX-License-Identifier: Apache-2.0
"""Programs that change settings behind one's back."""

from __future__ import annotations

from ..machine import Unseen
from ._model import Case, Outcome, advice, machine_check, ok, warning


@machine_check(
    "services.irqbalance",
    reads="/proc/*/comm, /proc/*/environ",
    why="irqbalance moves interrupts from core to core by load, and undoes what was set by hand.",
)
def irqbalance(case: Case) -> Outcome:
    found = case.machine.running("irqbalance")
    if not found:
        return ok("irqbalance does not run" + _hidden(case))
    mend = "systemctl disable --now irqbalance; or IRQBALANCE_BANNED_CPULIST=<the workers' cores> "
    mend += "in /etc/default/irqbalance"
    if len(case.machine.cores) < 2:
        return ok(f"irqbalance runs (process {found[0]}), and there is one core")
    if "IRQBALANCE_BANNED_CPU" in _environment(case, found[0]):
        return advice(f"irqbalance runs (process {found[0]}), with some cores banned", mend)
    return warning(f"irqbalance runs (process {found[0]})", mend)


def _environment(case: Case, pid: int) -> str:
    try:
        return case.machine.text(f"proc/{pid}/environ") or ""
    except Unseen:
        return ""


def _hidden(case: Case) -> str:
    # A container, or /proc mounted with hidepid, shows some processes only.
    first = case.machine.text("proc/1/comm")
    return "" if first is not None else ", as far as /proc shows processes here"


CHECKS = (irqbalance,)
