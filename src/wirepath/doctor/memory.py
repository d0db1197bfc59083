# SPDX-License-Identifier: Apache-2.0
"""Hugepages, locked memory, transparent hugepages."""

from __future__ import annotations

from ._model import Case, Outcome, advice, blocker, machine_check, ok, warning
from .privileges import CAP_IPC_LOCK

_MIB = 1 << 20
# What one AF_XDP queue wants with the default rings: receive, transmit, and bursts with stages.
QUEUE_BYTES = (2048 + 2048 + 256) * 2048


@machine_check(
    "memory.hugepages",
    reads="/sys/kernel/mm/hugepages/*/nr_hugepages, free_hugepages",
    why="DPDK wants hugepages for its packet buffers; with them the CPU's address cache misses "
    "less.",
)
def hugepages(case: Case) -> Outcome:
    machine = case.machine
    base = "sys/kernel/mm/hugepages"
    sizes = machine.names(base)
    if not sizes:
        return advice("this kernel has no hugepages", "a kernel with CONFIG_HUGETLBFS=y")
    have = {
        size.removeprefix("hugepages-"): (
            machine.number(f"{base}/{size}/nr_hugepages") or 0,
            machine.number(f"{base}/{size}/free_hugepages") or 0,
        )
        for size in sizes
    }
    told = ", ".join(f"{n} of {size} ({free} free)" for size, (n, free) in have.items())
    if not any(n for n, _ in have.values()):
        return advice(
            f"none: {told}",
            "sysctl -w vm.nr_hugepages=512 (1 GiB); for boot: default_hugepagesz=1G hugepagesz=1G "
            "hugepages=2",
        )
    if not any(free for _, free in have.values()):
        return warning(f"all in use: {told}", "more of them: sysctl -w vm.nr_hugepages=N")
    return ok(told)


@machine_check(
    "memory.memlock",
    reads="/proc/self/limits, /proc/thread-self/status: CapEff; uid_map",
    why="AF_XDP locks the packet buffers of every queue in memory, within this limit.",
)
def memlock(case: Case) -> Outcome:
    limit = case.machine.memlock
    if case.machine.capabilities >> CAP_IPC_LOCK & 1 and not case.machine.in_user_namespace:
        return ok("CAP_IPC_LOCK lifts the limit")
    if limit is None:
        return ok("unlimited")
    queues = limit // QUEUE_BYTES
    evidence = (
        f"{limit / _MIB:g} MiB may be locked; an AF_XDP queue wants {QUEUE_BYTES / _MIB:g} MiB"
    )
    mend = "ulimit -l unlimited (for good: memlock in /etc/security/limits.d/, LimitMEMLOCK= of a "
    mend += "systemd unit), or CAP_IPC_LOCK"
    if queues < 1:
        return blocker(evidence, mend)
    if queues < 4:
        return warning(f"{evidence}: enough for {queues}", mend)
    return ok(evidence)


@machine_check(
    "memory.thp",
    reads="/sys/kernel/mm/transparent_hugepage/enabled",
    why="With `always` the kernel compacts and moves memory behind running processes; a worker "
    "stalls while its pages are moved.",
)
def thp(case: Case) -> Outcome:
    text = case.machine.text("sys/kernel/mm/transparent_hugepage/enabled")
    if text is None:
        return ok("no transparent hugepages in this kernel")
    if "[always]" in text:
        return warning(
            f"transparent hugepages: {text}",
            "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled "
            "(for boot: transparent_hugepage=madvise)",
        )
    return ok(text)


CHECKS = (memlock, thp, hugepages)
