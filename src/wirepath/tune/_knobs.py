# SPDX-License-Identifier: Apache-2.0
"""What can be tuned: a knob's name, and its value in one spelling so that values compare."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

Kind = Literal[
    "sysctl",  # name: net.core.rmem_max                     /proc/sys
    "sysfs",  # name: kernel/mm/…, devices/system/cpu/…      /sys, of the whole machine
    "netdev",  # name: napi_defer_hard_irqs, queues/rx-0/…   /sys/class/net/<interface>
    "feature",  # name: rx-gro, as `ethtool -k` and the kernel spell it
    "ring",  # name: rx, tx
    "channels",  # name: rx, tx, combined
    "coalesce",  # name: rx-usecs, adaptive-rx, as `ethtool -c`
    "irq",  # name: the label in /proc/interrupts, or the number where that is not unique
    "service",  # name: irqbalance
]
KINDS: tuple[str, ...] = get_args(Kind)
ETHTOOL: frozenset[str] = frozenset({"feature", "ring", "channels", "coalesce"})


class Unreadable(Exception):
    """A knob is not here, or not for us; the text says why and, where one can, what mends it."""


class Gone(Unreadable):
    """There is no such knob here (any more), as opposed to one that may not be read."""


class Refused(Exception):
    """The kernel did not take a value; the text says which, and the kernel's reason."""


@dataclass(frozen=True, slots=True, order=True)
class Knob:
    """One value of the kernel's that can be set. ``interface`` is empty for the machine's own."""

    kind: Kind
    name: str
    interface: str = ""

    def __str__(self) -> str:
        match self.kind:
            case "sysctl":
                return f"sysctl {self.name}"
            case "sysfs":
                return f"/sys/{self.name}"
            case "service":
                return f"service {self.name}"
            case "netdev":
                return f"{self.interface} {self.name}"
            case "irq":
                return f"{self.interface} cores of interrupt {self.name}"
            case _:
                return f"{self.interface} {self.kind} {self.name}"

    @property
    def is_mask(self) -> bool:
        """The value is a hexadecimal mask of cores."""
        return self.kind == "netdev" and self.name.endswith(("_cpus", "_rxqs"))


def canonical(knob: Knob, text: str) -> str:
    """A value as the kernel shows it, in the one spelling that is compared and written down."""
    words = text.split()
    if knob.is_mask:
        return f"{int(text.strip().replace(',', '') or '0', 16):x}"
    if knob.kind == "irq":
        return cpu_list(cpus_of(text))
    if knob.kind == "sysfs":  # always [madvise] never
        for word in words:
            if word.startswith("[") and word.endswith("]"):
                return word[1:-1]
    return " ".join(words)


def spelled(knob: Knob, value: str) -> str:
    """A canonical value as the kernel wants it written."""
    if knob.is_mask and len(value) > 8:
        padded = value.zfill(-(-len(value) // 8) * 8)
        return ",".join(padded[i : i + 8] for i in range(0, len(padded), 8))
    return value


def mask(cpus: Iterable[int]) -> str:
    """The canonical mask of a set of cores."""
    return f"{sum(1 << cpu for cpu in set(cpus)):x}"


def cpus_of(text: str) -> list[int]:
    """The cores of a list such as ``0-3,8``. Raises ValueError."""
    out: set[int] = set()
    for part in filter(None, text.strip().split(",")):
        first, dash, last = part.partition("-")
        low = int(first)
        high = int(last) if dash else low
        if not 0 <= low <= high < 8192:
            raise ValueError(f"{part} is no range of cores")
        out.update(range(low, high + 1))
    return sorted(out)


def cpu_list(cpus: Iterable[int]) -> str:
    """The kernel's spelling of a set of cores: ``0-3,8``."""
    runs: list[list[int]] = []
    for cpu in sorted(set(cpus)):
        if runs and cpu == runs[-1][1] + 1:
            runs[-1][1] = cpu
        else:
            runs.append([cpu, cpu])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)
