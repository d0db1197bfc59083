"""Capabilities of this process (capabilities(7)), read from the kernel."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

# Bit numbers from linux/capability.h.
BITS = {
    "CAP_NET_ADMIN": 12,
    "CAP_NET_RAW": 13,
    "CAP_IPC_LOCK": 14,
    "CAP_SYS_ADMIN": 21,
    "CAP_BPF": 39,
}


def effective_capabilities() -> int:
    """Bit mask of the calling thread's effective capabilities."""
    for line in Path("/proc/thread-self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return int(line.split()[1], 16)
    return 0


def missing_capabilities(names: Iterable[str]) -> list[str]:
    """Those of ``names`` that this process does not have. CAP_SYS_ADMIN stands in for CAP_BPF."""
    have = effective_capabilities()
    out = [n for n in names if not have >> BITS[n] & 1]
    if "CAP_BPF" in out and have >> BITS["CAP_SYS_ADMIN"] & 1:
        out.remove("CAP_BPF")
    return out
