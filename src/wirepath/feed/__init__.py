"""The feed side, without I/O: sessions and decoders from (bytes, time) to events and records.

Clocks and sockets are not in here; what runs over a port runs over a capture and in a test.
"""

from __future__ import annotations

from .._core import FeedStage, MoldUDP64
from .events import EndOfSession, Gap, Heartbeat, Message, SessionChange
from .generate import Generated, generate
from .itch50 import Itch50, Itch50Columns, message_types, midnight_ns, row_dtype, row_units
from .mdp3 import ENTRY_AUX, Mdp3, Mdp3Columns, entry_aux
from .sbe import SbeDecoder, SbeTable
from .sbe_schema import SbeField, SbeSchema, is_null

__all__ = [
    "ENTRY_AUX",
    "EndOfSession",
    "FeedStage",
    "Gap",
    "Generated",
    "Heartbeat",
    "Itch50",
    "Itch50Columns",
    "Mdp3",
    "Mdp3Columns",
    "Message",
    "MoldUDP64",
    "SbeDecoder",
    "SbeField",
    "SbeSchema",
    "SbeTable",
    "SessionChange",
    "entry_aux",
    "generate",
    "is_null",
    "message_types",
    "midnight_ns",
    "row_dtype",
    "row_units",
]
