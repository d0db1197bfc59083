"""The machine that a result was made on, and its settings, as the kernel says them."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import sys
from pathlib import Path
from typing import Any

from .. import __version__ as _version
from .. import _core

ROOT = Path("/")

_SYSCTLS = (
    "net/core/rmem_max",
    "net/core/rmem_default",
    "net/core/wmem_max",
    "net/core/netdev_max_backlog",
    "net/core/netdev_budget",
    "net/core/netdev_budget_usecs",
    "net/core/busy_poll",
    "net/core/busy_read",
    "net/core/bpf_jit_enable",
    "net/core/default_qdisc",
    "kernel/perf_event_paranoid",
    "kernel/numa_balancing",
    "kernel/sched_rt_runtime_us",
)
# Words of the kernel's command line that bear on latency.
_BOOT = re.compile(
    r"(isolcpus|nohz_full|rcu_nocbs|irqaffinity|intel_idle|processor|idle|mitigations|nosmt|"
    r"hugepages|default_hugepagesz|hugepagesz|intel_pstate|amd_pstate|iommu|intel_iommu|tsc|"
    r"clocksource|skew_tick|nosoftlockup|preempt|threadirqs)(=|$)"
)


def _text(path: Path) -> str | None:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return None


def _chosen(text: str | None) -> str | None:
    """Of ``always [madvise] never``, the one in brackets."""
    found = re.search(r"\[([^]]+)\]", text or "")
    return found.group(1) if found else text


def fingerprint(root: Path = ROOT) -> dict[str, Any]:
    """CPU, cores, memory, kernel, and a digest of what makes another machine of it.

    ``id`` is a one-way digest of the machine's id; nothing in here names host or user.
    """
    info = _text(root / "proc/cpuinfo") or ""
    model = re.search(r"^model name\s*:\s*(.+)$", info, re.M)
    memory = re.search(r"^MemTotal:\s*(\d+) kB$", _text(root / "proc/meminfo") or "", re.M)
    machine_id = _text(root / "etc/machine-id") or ""
    kernel = _text(root / "proc/sys/kernel/osrelease")
    out: dict[str, Any] = {
        "cpu": model.group(1).strip() if model else platform.machine(),
        "architecture": platform.machine(),
        "cores": len(re.findall(r"^processor\s*:", info, re.M)) or os.cpu_count(),
        "memory_bytes": int(memory.group(1)) * 1024 if memory else None,
        "virtual_machine": " hypervisor" in info,
        "kernel": kernel,
        "id": hashlib.sha256(b"wirepath" + machine_id.encode()).hexdigest()[:16],
    }
    digest = hashlib.sha256(repr(sorted(out.items())).encode()).hexdigest()[:16]
    return out | {"digest": digest}


def software() -> dict[str, Any]:
    """Versions of what measured."""
    return {
        "wirepath": _version,
        "python": platform.python_version(),
        "implementation": sys.implementation.name,
        "clock": _core.clock_source(),
    }


def settings(root: Path = ROOT) -> dict[str, Any]:
    """What is set on this machine that bears on packets; None where it cannot be seen."""
    sys_cpu = root / "sys/devices/system/cpu"
    governors = {
        _text(path)
        for path in (sys_cpu.glob("cpu[0-9]*/cpufreq/scaling_governor"))
        if _text(path) is not None
    }
    boot = (_text(root / "proc/cmdline") or "").split()
    out: dict[str, Any] = {
        "governor": ", ".join(sorted(g for g in governors if g)) or None,
        "smt": _text(sys_cpu / "smt/control"),
        "isolated_cores": _text(sys_cpu / "isolated"),
        "nohz_full": _text(sys_cpu / "nohz_full"),
        "clocksource": _text(
            root / "sys/devices/system/clocksource/clocksource0/current_clocksource"
        ),
        "transparent_hugepages": _chosen(
            _text(root / "sys/kernel/mm/transparent_hugepage/enabled")
        ),
        "boot": " ".join(word for word in boot if _BOOT.match(word)) or None,
    }
    for name in _SYSCTLS:
        out[name.replace("/", ".")] = _text(root / "proc/sys" / name)
    return out
