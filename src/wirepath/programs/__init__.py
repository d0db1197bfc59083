"""Packet programs: one source in restricted C, in the driver as eBPF and on any port natively."""

from __future__ import annotations

from .attach import Attached, Attachment, adopt, attach, attached
from .chain import SLOTS, Chain, Slot, detach
from .maps import Map, MapFull
from .program import (
    VERDICTS,
    NativeProgram,
    Outcome,
    Program,
    ProgramStage,
    load,
    native,
)
from .source import Source, builtin_names, find

__all__ = [
    "SLOTS",
    "VERDICTS",
    "Attached",
    "Attachment",
    "Chain",
    "Map",
    "MapFull",
    "NativeProgram",
    "Outcome",
    "Program",
    "ProgramStage",
    "Slot",
    "Source",
    "adopt",
    "attach",
    "attached",
    "builtin_names",
    "detach",
    "find",
    "load",
    "native",
]
