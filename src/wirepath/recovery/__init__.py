"""Asking venues for what no line brought: their protocols without I/O, and the sockets below.

Everything here runs on a control thread beside the data path, and none of it blocks: a server that
is down costs messages that nobody else has, never the feed.
"""

from __future__ import annotations

from .control import Control, Recovering
from .glimpse import Glimpse
from .proxies import GapRequestProxy, RequestServer
from .servers import Server, StreamServer, UdpServer
from .sides import Channel, Counters, Stream

__all__ = [
    "Channel",
    "Control",
    "Counters",
    "GapRequestProxy",
    "Glimpse",
    "Recovering",
    "RequestServer",
    "Server",
    "Stream",
    "StreamServer",
    "UdpServer",
]
