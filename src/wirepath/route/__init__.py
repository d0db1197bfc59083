"""Routes: forwarding tables, where routes come from, and what becomes of a packet."""

from .fib import Fib
from .forwarding import Decision, Forwarding
from .fpm import FPM_PORT, FpmServer, FpmSession, read_fpm_dump
from .groups import HopKey, HopKind
from .kernel import KernelSource
from .model import Route, RouteType
from .prefixes import read_prefixes
from .table import RouteTable
from .trace import Trace, trace

__all__ = [
    "FPM_PORT",
    "Decision",
    "Fib",
    "Forwarding",
    "FpmServer",
    "FpmSession",
    "HopKey",
    "HopKind",
    "KernelSource",
    "Route",
    "RouteTable",
    "RouteType",
    "Trace",
    "read_fpm_dump",
    "read_prefixes",
    "trace",
]
