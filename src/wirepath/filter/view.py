"""The view from under attack: who sends most, to which ports, of which size, by which rule."""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from . import fields
from .engine import Sample

_SIZES = (64, 128, 256, 512, 1024, 1518)
_NAMES = {number: name for name, number in fields.PROTOCOLS.items()}


@dataclass
class View:
    """What samples show. Figures are of samples: each stands for as many packets as the filter
    passes over from one to the next."""

    samples: int = 0
    dropped: int = 0
    bytes: int = 0
    sources: Counter[str] = field(default_factory=Counter)
    ports: Counter[str] = field(default_factory=Counter)
    sizes: Counter[str] = field(default_factory=Counter)
    rules: Counter[str] = field(default_factory=Counter)

    def add(self, samples: Iterable[Sample]) -> None:
        """Counts them."""
        for sample in samples:
            self.samples += 1
            self.dropped += sample.dropped
            self.bytes += sample.length
            self.rules[sample.rule] += 1
            self.sizes[_size(sample.length)] += 1
            source, ports = _ends(sample.data)
            self.sources[source] += 1
            self.ports[ports] += 1


def _size(length: int) -> str:
    below = 0
    for top in _SIZES:
        if length <= top:
            return f"{below + 1}-{top}"
        below = top
    return f"over {below}"


def _ends(frame: bytes) -> tuple[str, str]:
    """Source address and ``udp 53 > 4711``; extension headers are not walked."""
    at = 12
    while frame[at : at + 2] in (b"\x81\x00", b"\x88\xa8"):
        at += 4
    kind, at = frame[at : at + 2], at + 2
    if kind == b"\x08\x00" and len(frame) >= at + 20:
        source: object = ipaddress.IPv4Address(frame[at + 12 : at + 16])
        later = int.from_bytes(frame[at + 6 : at + 8], "big") & 0x1FFF
        protocol, at = frame[at + 9], at + (frame[at] & 15) * 4
        if later:
            return str(source), f"{_NAMES.get(protocol, protocol)} fragment"
    elif kind == b"\x86\xdd" and len(frame) >= at + 40:
        source = ipaddress.IPv6Address(frame[at + 8 : at + 24])
        protocol, at = frame[at + 6], at + 40
    else:
        return "none", f"type 0x{kind.hex()}"
    name = str(_NAMES.get(protocol, protocol))
    if protocol in fields.WITH_PORTS and len(frame) >= at + 4:
        ends = (int.from_bytes(frame[at + i : at + i + 2], "big") for i in (0, 2))
        return str(source), f"{name} {' > '.join(map(str, ends))}"
    if protocol in (1, 58) and len(frame) > at:
        return str(source), f"{name} type {frame[at]}"
    return str(source), name
