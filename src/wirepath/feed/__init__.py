"""The feed side, without I/O: sessions and decoders from (bytes, time) to events and records.

Clocks and sockets are not in here; what runs over a port runs over a capture and in a test.
"""

from __future__ import annotations

from .._core import FeedStage, MoldUDP64
from .book import Books
from .arbiter import Arbiter, Recovery
from .events import (
    Delivered,
    EndOfSession,
    Gap,
    GapAbandoned,
    Heartbeat,
    Message,
    Request,
    Reset,
    SessionChange,
)
from .generate import Generated, generate
from .itch50 import Itch50, Itch50Columns, message_types, midnight_ns, row_dtype, row_units

__all__ = [
    "Books",
    "Arbiter",
    "Delivered",
    "EndOfSession",
    "FeedStage",
    "Gap",
    "GapAbandoned",
    "Generated",
    "Heartbeat",
    "Itch50",
    "Itch50Columns",
    "Message",
    "MoldUDP64",
    "Recovery",
    "Request",
    "Reset",
    "SessionChange",
    "generate",
    "message_types",
    "midnight_ns",
    "row_dtype",
    "row_units",
]
