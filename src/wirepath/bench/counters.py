"""What the kernel counts of CPUs, interrupts and this process, before and after a run."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path("/")

# Columns of /proc/stat (proc(5)); guest time is in user already.
_STAT = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")
_SOFTNET = {"processed": 0, "dropped": 1, "time_squeeze": 2}


@dataclass
class Reading:
    """Counters at one instant."""

    at: float
    cpu: dict[str, dict[str, int]] = field(default_factory=dict)  # core → mode → ticks
    interrupts: dict[str, list[int]] = field(default_factory=dict)  # label → by core
    softirqs: dict[str, list[int]] = field(default_factory=dict)
    softnet: dict[str, int] = field(default_factory=dict)
    user: float = 0.0
    system: float = 0.0
    voluntary: int = 0
    involuntary: int = 0


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(errors="replace").splitlines()
    except OSError:
        return []


def _matrix(lines: Iterable[str]) -> dict[str, list[int]]:
    """/proc/interrupts and /proc/softirqs: a label, a number for each core, a description."""
    out: dict[str, list[int]] = {}
    for line in lines:
        label, colon, rest = line.strip().partition(":")
        if not colon:
            continue
        words = rest.split()
        numbers = []
        for word in words:
            if not word.isdigit():
                break
            numbers.append(int(word))
        name = " ".join(words[len(numbers) :])
        if label.isdigit() and name:
            label = f"{label} {words[-1]}"
        out[label] = numbers
    return out


def read(root: Path = ROOT) -> Reading:
    """Read them now. ``root`` is for tests."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    out = Reading(
        time.monotonic(),
        user=usage.ru_utime,
        system=usage.ru_stime,
        voluntary=usage.ru_nvcsw,
        involuntary=usage.ru_nivcsw,
    )
    for line in _lines(root / "proc/stat"):
        name, *values = line.split()
        if name.startswith("cpu") and name[3:].isdigit():
            out.cpu[name[3:]] = dict(zip(_STAT, map(int, values), strict=False))
    out.interrupts = _matrix(_lines(root / "proc/interrupts"))
    out.softirqs = _matrix(_lines(root / "proc/softirqs"))
    rows = [line.split() for line in _lines(root / "proc/net/softnet_stat")]
    for name, column in _SOFTNET.items():
        out.softnet[name] = sum(int(row[column], 16) for row in rows if len(row) > column)
    return out


def difference(before: Reading, after: Reading) -> dict[str, Any]:
    """What happened between two readings, as plain values.

    ``cores``: for each core the share (0 to 1) of its time in user, system, irq, softirq, steal
    and idle; from ticks of the kernel's clock, mostly 10 ms, so a short run is coarse.
    """
    seconds = max(after.at - before.at, 1e-9)
    cores: dict[str, dict[str, float]] = {}
    for core, now in after.cpu.items():
        ticks = {m: max(n - before.cpu.get(core, {}).get(m, 0), 0) for m, n in now.items()}
        total = sum(ticks.values())
        if total == 0:
            continue
        share = {mode: n / total for mode, n in ticks.items()}
        cores[core] = {
            "user": share.get("user", 0.0) + share.get("nice", 0.0),
            "system": share.get("system", 0.0),
            "irq": share.get("irq", 0.0),
            "softirq": share.get("softirq", 0.0),
            "steal": share.get("steal", 0.0),
            "idle": share.get("idle", 0.0) + share.get("iowait", 0.0),
        }
    return {
        "seconds": seconds,
        "tick_seconds": 1 / os.sysconf("SC_CLK_TCK"),
        "cores": cores,
        "process": {
            "user_seconds": after.user - before.user,
            "system_seconds": after.system - before.system,
            "voluntary_switches": after.voluntary - before.voluntary,
            "involuntary_switches": after.involuntary - before.involuntary,
        },
        "interrupts": _changed(before.interrupts, after.interrupts),
        "softirqs": _changed(before.softirqs, after.softirqs),
        "softnet": {n: v - before.softnet.get(n, 0) for n, v in after.softnet.items()},
    }


def _changed(before: dict[str, list[int]], after: dict[str, list[int]]) -> dict[str, int]:
    out = {}
    for label, now in after.items():
        more = sum(now) - sum(before.get(label, []))
        if more > 0:
            out[label] = more
    return out
