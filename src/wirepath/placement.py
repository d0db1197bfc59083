"""Where things are: interrupts of a NIC, nodes of memory. Read from /proc and /sys only."""

from __future__ import annotations

import ctypes
import platform
import re
from pathlib import Path

_SYS_MOVE_PAGES = {"x86_64": 279, "aarch64": 239, "riscv64": 239}
_PCI_ADDRESS = re.compile(r"[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]")


def device_folder(device: str, root: Path = Path("/")) -> Path | None:
    """The sysfs folder of a NIC, by interface name or PCI address; None for virtual ones."""
    if not device or "/" in device:
        return None
    if _PCI_ADDRESS.fullmatch(device):
        folder = root / "sys/bus/pci/devices" / device
    else:
        folder = root / "sys/class/net" / device / "device"
    return folder if folder.exists() else None


def node_of_device(device: str, root: Path = Path("/")) -> int | None:
    """NUMA node of a NIC; None for virtual ones and where the firmware does not say."""
    folder = device_folder(device, root)
    if folder is None:
        return None
    for place in (folder, *folder.resolve().parents[:2]):  # virtio: the PCI device is above
        try:
            node = int((place / "numa_node").read_text())
        except (OSError, ValueError):
            continue
        return node if node >= 0 else None
    return None


def interrupts_of_device(device: str, root: Path = Path("/")) -> dict[int, list[int]]:
    """Interrupts of a NIC and the cores that they go to now (``effective_affinity_list``)."""
    folder = device_folder(device, root)
    if folder is None:
        return {}
    numbers: set[int] = set()
    for place in (folder, *folder.resolve().parents[:2]):
        if (place / "msi_irqs").is_dir():
            numbers = {int(entry.name) for entry in (place / "msi_irqs").iterdir()}
            break
    return {number: _cores_of_interrupt(number, root) for number in sorted(numbers)}


def _cores_of_interrupt(number: int, root: Path) -> list[int]:
    for name in ("effective_affinity_list", "smp_affinity_list"):
        try:
            text = (root / "proc/irq" / str(number) / name).read_text()
        except OSError:
            continue
        if text.strip():
            return parse_list(text)
    return []


def parse_list(text: str) -> list[int]:
    """Numbers of the kernel's list format, ``0-3,8``."""
    out: list[int] = []
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        if first:
            out += range(int(first), int(last or first) + 1)
    return out


def node_of_address(address: int) -> int | None:
    """NUMA node of the page at ``address`` of this process (move_pages(2), which moves nothing
    here); None where the kernel does not say, or nothing is there yet."""
    number = _SYS_MOVE_PAGES.get(platform.machine())
    if number is None or address == 0:
        return None
    page = ctypes.c_void_p(address & ~4095)
    status = ctypes.c_int(-1)
    libc = ctypes.CDLL(None, use_errno=True)
    failed = libc.syscall(
        number,
        ctypes.c_long(0),  # this process
        ctypes.c_long(1),
        ctypes.byref(page),
        None,  # no new nodes: only tell
        ctypes.byref(status),
        ctypes.c_long(0),
    )
    return status.value if failed == 0 and status.value >= 0 else None
