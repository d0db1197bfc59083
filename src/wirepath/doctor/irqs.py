# SPDX-License-Identifier: Apache-2.0
"""Queues, the interrupts that serve them, and the cores that these go to."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..machine import Interrupt, Unseen
from ._model import Case, Outcome, advice, interface_check, listing, not_told, ok, warning

# Interrupts of a NIC that carry no packets: configuration, events, management.
_NOT_DATA = re.compile(r"config|event|async|mgmn?t|admin|misc|ptp|control|cmd|pages", re.IGNORECASE)
# What names a queue, whatever else an interface's name may look like.
_DATA = re.compile(r"txrx|[-_.](rx|tx)|input|output|comp\d", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class MapLine:
    """One line of the map: queue (None: the driver does not say which), interrupt, cores."""

    queue: int | None
    interrupt: int
    name: str
    cores: tuple[int, ...]
    count: int


def queue_map(case: Case) -> list[MapLine]:
    """Queue to interrupt to core, by netdev-genl; the names in /proc/interrupts stand beside."""
    queues = {v.interrupt: v.queue for v in case.nic.vectors if v.interrupt is not None}
    return [
        MapLine(queues.get(each.number), each.number, each.name, each.cores, each.count)
        for each in case.machine.interrupts(case.nic)
        if each.number in queues or _is_data(each)
    ]


def _data_interrupts(case: Case) -> list[Interrupt] | None:
    """None for virtual interfaces. Raises `Unseen` where the device has some and none is seen."""
    if case.machine.device(case.nic) is None:
        if case.nic.link.kind == "" and not case.nic.link.loopback and case.nic.bus:
            raise Unseen(f"interrupts of {case.nic.name}: /sys shows no device {case.nic.bus}")
        return None
    found = case.machine.interrupts(case.nic)
    return [each for each in found if _is_data(each)]


def _is_data(each: Interrupt) -> bool:
    return bool(_DATA.search(each.name)) or not _NOT_DATA.search(each.name)


@interface_check(
    "irqs.spread",
    reads="/proc/interrupts, /proc/irq/*/effective_affinity_list, netdev-genl queue-get, napi-get",
    why="All queues of an interface that interrupt one core share that core: more queues then "
    "bring nothing, and the ring overflows sooner.",
)
def spread(case: Case) -> Outcome:
    found = _data_interrupts(case)
    if not found:
        return ok(f"{case.nic.name} has no interrupts of its own")
    cores = sorted({core for each in found for core in each.cores})
    where = ", ".join(f"{each.name} → {listing(each.cores) or '?'}" for each in found[:8])
    if len(found) > 8:
        where += f", and {len(found) - 8} more"
    if case.nic.receiving > 1 and len(cores) == 1 and len(case.machine.cores) > 1:
        numbers = " ".join(str(each.number) for each in found)
        return warning(
            f"all {len(found)} interrupts go to core {cores[0]}: {where}",
            f"one core each: c=0; for i in {numbers}; do echo $c > "
            "/proc/irq/$i/smp_affinity_list; c=$((c+1)); done (with irqbalance stopped)",
        )
    return ok(where)


@interface_check(
    "irqs.isolated",
    reads="/proc/irq/*/effective_affinity_list, /sys/devices/system/cpu/isolated",
    why="An interrupt on an isolated core stops the worker that was given the core for itself.",
)
def isolated(case: Case) -> Outcome:
    found, isolated_cores = _data_interrupts(case), set(case.machine.isolated)
    if not found or not isolated_cores:
        return ok("no isolated cores, or no interrupts of its own")
    hit = [each for each in found if isolated_cores.intersection(each.cores)]
    if not hit:
        return ok(f"no interrupt of {case.nic.name} goes to an isolated core")
    rest = listing(sorted(set(case.machine.cores) - isolated_cores))
    names = ", ".join(f"{each.name} (irq {each.number})" for each in hit)
    return advice(
        f"{names} on isolated cores {listing(sorted(isolated_cores))}",
        "; ".join(f"echo {rest} > /proc/irq/{each.number}/smp_affinity_list" for each in hit),
    )


@interface_check(
    "irqs.queues",
    reads="ethtool netlink: channels, /sys/devices/system/cpu/online",
    why="Each receive queue can have a worker of its own; with one queue one core takes it all.",
)
def queues(case: Case) -> Outcome:
    nic, channels = case.nic, case.nic.channels
    if channels is None:
        return not_told(nic, "channels", "number of queues to set")
    cores = len(case.machine.cores)
    evidence = f"{channels.receiving} of {channels.receiving_max} receive queues, {cores} cores"
    if nic.link.kind == "veth" or channels.receiving != 1 or channels.receiving_max == 1:
        return ok(evidence)
    number = min(channels.receiving_max, cores)
    if number <= 1:
        return ok(evidence)
    which = "combined" if channels.combined_max else "rx"
    return advice(evidence, f"ethtool -L {nic.name} {which} {number}")


@interface_check(
    "irqs.rss",
    reads="ethtool netlink: rss, channels",
    why="Frames come only to the queues in the receive hash's table; the others stay idle.",
)
def rss(case: Case) -> Outcome:
    nic = case.nic
    if nic.rss is None:
        return not_told(nic, "rss", "receive hash table")
    count = nic.receiving
    used = nic.rss.queues
    if len(used) < count:
        return advice(
            f"the hash table uses queue {listing(sorted(used))} of {count} receive queues",
            f"ethtool -X {nic.name} equal {count} (unless the rest is kept for flow rules)",
        )
    return ok(f"the hash table uses all {count} receive queues")


@interface_check(
    "irqs.deferral",
    reads="/sys/class/net/*/napi_defer_hard_irqs, gro_flush_timeout",
    why="busy_poll=preferred keeps interrupts away only while both are set; else the kernel and "
    "the worker fight over the queue.",
)
def deferral(case: Case) -> Outcome:
    nic, machine = case.nic, case.machine
    defer = machine.setting(nic, "napi_defer_hard_irqs")
    flush = machine.setting(nic, "gro_flush_timeout")
    if defer is None or flush is None or nic.link.loopback:
        return ok(f"{nic.name} has no interrupts to put off")
    if defer == "0" or flush == "0":
        base = f"/sys/class/net/{nic.name}"
        return advice(
            f"napi_defer_hard_irqs {defer}, gro_flush_timeout {flush}",
            f"for busy_poll=preferred: echo 2 > {base}/napi_defer_hard_irqs; "
            f"echo 200000 > {base}/gro_flush_timeout",
        )
    return ok(f"napi_defer_hard_irqs {defer}, gro_flush_timeout {flush}")


CHECKS = (spread, queues, rss, isolated, deferral)
