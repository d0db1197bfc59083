"""The feed side, without I/O: sessions and decoders from (bytes, time) to events and records.

Clocks and sockets are not in here; what runs over a port runs over a capture and in a test.
"""

from __future__ import annotations

from .._core import (
    FeedChannel,
    FeedStage,
    IexTp,
    MoldUDP64,
    Pillar,
    PitchUnits,
    SoupBinTCP,
    SymbolTable,
)
from . import iex, pillar, pitch
from .arbiter import Arbiter, Recovery
from .book import BookChecks, Books
from .channel import make_channel, make_stage
from .cme_recovery import CmeRecovery
from .events import (
    ConnectionLost,
    Debug,
    Delivered,
    EndOfSession,
    Gap,
    GapAbandoned,
    Heartbeat,
    LoginAccepted,
    LoginRejected,
    Message,
    Request,
    Reset,
    SessionChange,
)
from .generate import Generated, generate
from .iex import Iex, IexColumns
from .itch50 import Itch50, Itch50Columns, message_types, midnight_ns, row_dtype, row_units
from .lines import LineReader
from .mdp3 import ENTRY_AUX, Mdp3, Mdp3Columns, entry_aux
from .pitch import Pitch, PitchColumns
from .raw import Raw
from .sbe import SbeDecoder, SbeTable
from .sbe_schema import SbeField, SbeSchema, is_null

__all__ = [
    "ENTRY_AUX",
    "Arbiter",
    "BookChecks",
    "Books",
    "CmeRecovery",
    "ConnectionLost",
    "Debug",
    "Delivered",
    "EndOfSession",
    "FeedChannel",
    "FeedStage",
    "Gap",
    "GapAbandoned",
    "Generated",
    "Heartbeat",
    "Iex",
    "IexColumns",
    "IexTp",
    "Itch50",
    "Itch50Columns",
    "LineReader",
    "LoginAccepted",
    "LoginRejected",
    "Mdp3",
    "Mdp3Columns",
    "Message",
    "MoldUDP64",
    "Pillar",
    "Pitch",
    "PitchColumns",
    "PitchUnits",
    "Raw",
    "Recovery",
    "Request",
    "Reset",
    "SbeDecoder",
    "SbeField",
    "SbeSchema",
    "SbeTable",
    "SessionChange",
    "SoupBinTCP",
    "SymbolTable",
    "entry_aux",
    "generate",
    "iex",
    "is_null",
    "make_channel",
    "make_stage",
    "message_types",
    "midnight_ns",
    "pillar",
    "pitch",
    "row_dtype",
    "row_units",
]
