# SPDX-License-Identifier: Apache-2.0
"""A NIC's interrupts: their names, where they go, and how often they came."""

from __future__ import annotations

from dataclasses import dataclass

from ..placement import interrupts_of_device
from ._files import Files


@dataclass(frozen=True, slots=True)
class Interrupt:
    """One line of /proc/interrupts. ``cores`` are those it goes to now, ``count`` how often it
    came since it was set up, on any core."""

    number: int
    name: str
    cores: tuple[int, ...]
    count: int


def interrupts_of(files: Files, device: str) -> list[Interrupt]:
    """Those of a device, by interface name or PCI address."""
    lines = _lines(files.text("proc/interrupts") or "")
    return [
        Interrupt(
            number, lines.get(number, ("", 0))[0], tuple(cores), lines.get(number, ("", 0))[1]
        )
        for number, cores in interrupts_of_device(device, files.root).items()
    ]


def _lines(text: str) -> dict[int, tuple[str, int]]:
    head, _, rest = text.partition("\n")
    columns = len(head.split())
    out: dict[int, tuple[str, int]] = {}
    for line in rest.splitlines():
        number, _, fields = line.partition(":")
        words = fields.split()
        if number.strip().isdigit() and len(words) > columns:
            out[int(number)] = (words[-1], sum(int(word) for word in words[:columns]))
    return out
