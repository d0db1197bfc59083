"""The filter: rules, and the program that enforces them in the driver or behind any port."""

from __future__ import annotations

from .compile import Tables, compile_filter
from .control import Filter, Refused
from .engine import Engine, Sample
from .importing import Imported
from .importing import read as read_ruleset
from .rules import FilterConfig, Rule, Set
from .samples import SampleWriter
from .signatures import SIGNATURES, Signature

__all__ = [
    "SIGNATURES",
    "Engine",
    "Filter",
    "FilterConfig",
    "Imported",
    "Refused",
    "Rule",
    "Sample",
    "SampleWriter",
    "Set",
    "Signature",
    "Tables",
    "compile_filter",
    "read_ruleset",
]
