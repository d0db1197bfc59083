# SPDX-License-Identifier: Apache-2.0
"""Settings of /proc/sys, each with the least (or the only) value that serves."""

from __future__ import annotations

from ..machine import Unseen
from ..privileges import BITS
from ._model import Case, Check, Judge, Outcome, Severity, machine_check, ok

_BUFFER = 8 << 20  # what a socket port asks for by default


def _at_least(name: str, least: int, severity: Severity, why: str, *, better: int = 0) -> Check:
    def judge(case: Case) -> Outcome:
        value = _number(case, name)
        if value is None or value >= least:
            return _fine(name, value)
        return Outcome(severity, f"{name} = {value}", f"sysctl -w {name}={better or least}")

    return _check(name, why, judge)


def _at_most(name: str, most: int, severity: Severity, why: str) -> Check:
    def judge(case: Case) -> Outcome:
        value = _number(case, name)
        if value is None or value <= most:
            return _fine(name, value)
        return Outcome(severity, f"{name} = {value}", f"sysctl -w {name}={most}")

    return _check(name, why, judge)


def _check(name: str, why: str, judge: Judge) -> Check:
    path = "/proc/sys/" + name.replace(".", "/")
    return machine_check(f"sysctls.{name}", reads=path, why=why)(judge)


def _number(case: Case, name: str) -> int | None:
    return case.machine.number("proc/sys/" + name.replace(".", "/"))


def _fine(name: str, value: int | None) -> Outcome:
    if value is None and name.startswith("net."):
        raise Unseen(f"{name}: this network namespace, or this kernel, does not show it")
    if value is None:
        return ok(f"this kernel has no {name}")
    return ok(f"{name} = {value}")


@machine_check(
    "sysctls.net.core.rmem_max",
    reads="/proc/sys/net/core/rmem_max, /proc/thread-self/status: CapEff",
    why="A socket port asks for a receive buffer of 8 MiB; without CAP_NET_ADMIN the kernel grants "
    "no more than this, and a burst that does not fit is lost.",
)
def rmem_max(case: Case) -> Outcome:
    name = "net.core.rmem_max"
    value = _number(case, name)
    if value is None or value >= _BUFFER:
        return _fine(name, value)
    evidence, severity = f"{name} = {value}", Severity.WARNING
    if case.machine.capabilities >> BITS["CAP_NET_ADMIN"] & 1:
        evidence += ", which CAP_NET_ADMIN may exceed (SO_RCVBUFFORCE)"
        severity = Severity.ADVICE
    return Outcome(severity, evidence, f"sysctl -w {name}={_BUFFER}")


@machine_check(
    "sysctls.rp_filter",
    reads="/proc/sys/net/ipv4/conf/*/rp_filter",
    why="With the strict filter the kernel drops multicast whose source it would not answer by "
    "the same interface: the second line of a feed, most often.",
)
def rp_filter(case: Case) -> Outcome:
    # The larger of all and the interface's own counts (Documentation/networking/ip-sysctl.rst).
    base = "proc/sys/net/ipv4/conf"
    every = case.machine.number(f"{base}/all/rp_filter") or 0
    names = [name for name in case.machine.names(base) if name not in ("all", "default", "lo")]
    strict = [
        name
        for name in names
        if max(every, case.machine.number(f"{base}/{name}/rp_filter") or 0) == 1
    ]
    if not strict:
        return ok("not strict anywhere")
    return Outcome(
        Severity.ADVICE,
        f"strict (1) on {', '.join(strict)}",
        "sysctl -w net.ipv4.conf.all.rp_filter=2 (loose), where feeds come by several interfaces",
    )


CHECKS = (
    _at_least(
        "net.core.bpf_jit_enable",
        1,
        Severity.WARNING,
        "Without the compiler every XDP program is interpreted, instruction by instruction.",
    ),
    rmem_max,
    _at_most(
        "net.core.bpf_jit_harden",
        1,
        Severity.ADVICE,
        "With 2, constants in every program are blinded, also in those of root: more "
        "instructions a packet.",
    ),
    _at_least(
        "net.core.netdev_max_backlog",
        1000,
        Severity.ADVICE,
        "Frames that wait for the kernel's stack on another core (RPS, veth, generic XDP) beyond "
        "this number are dropped.",
    ),
    _at_least(
        "net.core.netdev_budget",
        300,
        Severity.ADVICE,
        "Frames that one round of the kernel's receive loop takes; with fewer, bursts wait for "
        "another round.",
    ),
    _at_least(
        "net.core.busy_read",
        1,
        Severity.ADVICE,
        "With busy reading, a socket asks the driver itself before it sleeps, for so many "
        "microseconds: no interrupt in the way of a socket port.",
        better=50,
    ),
    _at_least(
        "net.core.busy_poll",
        1,
        Severity.ADVICE,
        "The same for poll and select: wp.Port in asyncio and with several sockets.",
        better=50,
    ),
    _at_least(
        "net.ipv4.igmp_max_memberships",
        64,
        Severity.ADVICE,
        "A socket may join so many multicast groups; a feed of many channels needs more.",
    ),
    _at_most(
        "kernel.nmi_watchdog",
        0,
        Severity.ADVICE,
        "The watchdog interrupts every core now and again, and holds a performance counter.",
    ),
    rp_filter,
)
