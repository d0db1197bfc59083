# SPDX-License-Identifier: Apache-2.0
"""Cores: isolation, frequency, sleep, hardware threads, the clock."""

from __future__ import annotations

from ._model import Case, Outcome, advice, listing, machine_check, ok, warning

_CPU = "sys/devices/system/cpu"
_DEEP_USECS = 10  # a sleep that takes longer to leave shows in the tail
_STEADY_CLOCKS = ("tsc", "arch_sys_counter", "riscv_clocksource")


@machine_check(
    "cpu.isolated",
    reads="/sys/devices/system/cpu/isolated, online",
    why="On a core that is not isolated the scheduler puts other work beside a polling worker, "
    "which then loses a time slice now and again.",
)
def isolated(case: Case) -> Outcome:
    machine = case.machine
    cores = machine.cores
    if machine.isolated:
        return ok(f"cores {listing(machine.isolated)} of {listing(cores)}")
    if len(cores) < 2:
        return advice("one core: a polling worker shares it with everything", "more cores")
    last = listing(cores[len(cores) // 2 :])
    return advice(
        f"none of cores {listing(cores)} is isolated",
        f"kernel parameter isolcpus=managed_irq,domain,{last} nohz_full={last} rcu_nocbs={last}",
    )


@machine_check(
    "cpu.nohz-full",
    reads="/sys/devices/system/cpu/nohz_full, isolated",
    why="The timer tick interrupts an isolated core up to 1000 times a second.",
)
def nohz_full(case: Case) -> Outcome:
    machine = case.machine
    missing = sorted(set(machine.isolated) - set(machine.nohz_full))
    if not missing:
        return ok("no isolated core has a timer tick" if machine.isolated else "no isolated cores")
    config = machine.config
    if config is not None and config.get("CONFIG_NO_HZ_FULL") != "y":
        return warning(
            f"isolated cores {listing(missing)} keep the timer tick, and this kernel has no "
            "nohz_full",
            "a kernel with CONFIG_NO_HZ_FULL=y",
        )
    return warning(
        f"isolated cores {listing(missing)} keep the timer tick",
        f"kernel parameter nohz_full={listing(machine.isolated)}",
    )


@machine_check(
    "cpu.rcu-nocbs",
    reads="/proc/cmdline, /sys/devices/system/cpu/nohz_full, isolated",
    why="The kernel's deferred clean-up (RCU) runs on the cores that caused it.",
)
def rcu_nocbs(case: Case) -> Outcome:
    machine = case.machine
    missing = sorted(set(machine.isolated) - set(machine.rcu_nocbs))
    if not missing:
        return ok(
            "isolated cores run no RCU callbacks" if machine.isolated else "no isolated cores"
        )
    return warning(
        f"isolated cores {listing(missing)} run RCU callbacks",
        f"kernel parameter rcu_nocbs={listing(machine.isolated)}",
    )


@machine_check(
    "cpu.governor",
    reads="/sys/devices/system/cpu/cpu*/cpufreq/scaling_governor",
    why="Other governors lower the clock of a core that waits, and raise it late when frames come.",
)
def governor(case: Case) -> Outcome:
    machine = case.machine
    found = {
        core: machine.text(f"{_CPU}/cpu{core}/cpufreq/scaling_governor") for core in machine.cores
    }
    seen = {name for name in found.values() if name}
    if not seen:
        return ok("no frequency scaling to be seen (a virtual machine's host has it, if any)")
    slow = [core for core, name in found.items() if name and name != "performance"]
    if not slow:
        return ok("performance on all cores")
    return warning(
        f"{', '.join(sorted(seen - {'performance'}))} on cores {listing(slow)}",
        "cpupower frequency-set -g performance",
    )


@machine_check(
    "cpu.c-states",
    reads="/sys/devices/system/cpu/cpu*/cpuidle/state*/latency, disable, /proc/cmdline",
    why="A core in a deep sleep takes this long to wake for a frame. (A worker that polls without "
    "end never sleeps.)",
)
def c_states(case: Case) -> Outcome:
    machine = case.machine
    if machine.command_line.get("idle") == "poll":
        return ok("idle=poll: cores never sleep")
    deep: dict[str, int] = {}
    seen = False
    for core in machine.cores:
        base = f"{_CPU}/cpu{core}/cpuidle"
        for state in machine.names(base):
            latency = machine.number(f"{base}/{state}/latency")
            seen = True
            off = machine.number(f"{base}/{state}/disable")
            if latency is not None and latency > _DEEP_USECS and not off:
                name = machine.text(f"{base}/{state}/name") or state
                deep[name] = max(latency, deep.get(name, 0))
    if not deep:
        return ok(
            f"no sleep takes more than {_DEEP_USECS} µs to leave"
            if seen
            else "no sleep states to be seen"
        )
    told = ", ".join(f"{name} {latency} µs" for name, latency in deep.items())
    return warning(
        f"to wake takes: {told}",
        f"cpupower idle-set -D {_DEEP_USECS} (for boot: intel_idle.max_cstate=1 "
        "processor.max_cstate=1), or hold /dev/cpu_dma_latency open with 0",
    )


@machine_check(
    "cpu.smt",
    reads="/sys/devices/system/cpu/smt/active, cpu*/topology/thread_siblings_list, isolated",
    why="Two hardware threads share one core's caches and execution units; work on one slows and "
    "jitters the other.",
)
def smt(case: Case) -> Outcome:
    machine = case.machine
    if machine.text(f"{_CPU}/smt/active") != "1":
        return ok("one hardware thread a core")
    isolated_cores = set(machine.isolated)
    shared = sorted(core for core in isolated_cores if set(machine.siblings(core)) - isolated_cores)
    if shared:
        return warning(
            f"isolated cores {listing(shared)} share their core with threads that are not isolated",
            "isolate both threads of a core and leave one idle, or: echo off > "
            "/sys/devices/system/cpu/smt/control",
        )
    if isolated_cores:
        return ok("both threads of every isolated core are isolated: leave one of each idle")
    return advice(
        "two hardware threads a core, none isolated",
        "leave the sibling of each worker's core idle, or: echo off > "
        "/sys/devices/system/cpu/smt/control",
    )


@machine_check(
    "cpu.clocksource",
    reads="/sys/devices/system/clocksource/clocksource0/current_clocksource, available_clocksource",
    why="Other clocks are read through the hypervisor or the chipset, and each reading "
    "waits for them: that of a timestamp, and every clock_gettime of yours.",
)
def clocksource(case: Case) -> Outcome:
    base = "sys/devices/system/clocksource/clocksource0"
    current = case.machine.text(f"{base}/current_clocksource")
    available = (case.machine.text(f"{base}/available_clocksource") or "").split()
    if current is None or current in _STEADY_CLOCKS:
        return ok(current or "the kernel does not say")
    better = [name for name in _STEADY_CLOCKS if name in available]
    evidence = f"{current} (available: {' '.join(available)})"
    if better:
        return warning(
            evidence,
            f"echo {better[0]} > /{base}/current_clocksource (for boot: clocksource={better[0]})",
        )
    if current in ("kvm-clock", "hyperv_clocksource_tsc_page"):
        return ok(f"{evidence}: read without leaving the guest")
    return warning(evidence, "the kernel found no steady tsc: dmesg | grep -i tsc says why")


CHECKS = (clocksource, governor, c_states, nohz_full, rcu_nocbs, isolated, smt)
