"""NUMA nodes of NICs and cores, and where memory is taken from (set_mempolicy(2))."""

from __future__ import annotations

import ctypes
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_SYS_SET_MEMPOLICY = {"x86_64": 238, "aarch64": 237, "riscv64": 237}
_MPOL_DEFAULT, _MPOL_PREFERRED = 0, 1
_NODES = Path("/sys/devices/system/node")


def nodes() -> list[int]:
    """Numbers of the machine's nodes; empty where the kernel shows none."""
    try:
        return sorted(int(d.name[4:]) for d in _NODES.glob("node[0-9]*"))
    except OSError:
        return []


def node_of_interface(interface: str) -> int | None:
    """Node that a NIC, by interface or PCI address, hangs off; None for virtual ones and where the
    firmware does not say."""
    device = f"/sys/bus/pci/devices/{interface}"
    if ":" not in interface:
        device = f"/sys/class/net/{interface}/device"
    try:
        node = int(Path(f"{device}/numa_node").read_text())
    except (OSError, ValueError):
        return None
    return node if node >= 0 else None


def node_of_core(core: int) -> int | None:
    """Node of a core, None where the kernel does not say."""
    try:
        found = [d.name for d in Path(f"/sys/devices/system/cpu/cpu{core}").glob("node[0-9]*")]
    except OSError:
        return None
    return int(found[0][4:]) if found else None


@contextmanager
def prefer_node(node: int | None) -> Iterator[bool]:
    """What this thread allocates meanwhile comes from ``node`` while it has room.

    Yields whether the kernel agreed. None: nothing is changed.
    """
    number = _SYS_SET_MEMPOLICY.get(platform.machine())
    if node is None or number is None or node >= 1024:
        yield False
        return
    libc = ctypes.CDLL(None, use_errno=True)
    mask = (ctypes.c_ulong * 16)()
    mask[node // 64] = 1 << node % 64
    agreed = libc.syscall(number, _MPOL_PREFERRED, mask, 1025) == 0
    try:
        yield agreed
    finally:
        if agreed:
            libc.syscall(number, _MPOL_DEFAULT, None, 0)


def allowed_cores() -> list[int]:
    """Cores that this process may run on."""
    return sorted(os.sched_getaffinity(0))
