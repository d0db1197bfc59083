"""Structured arrays as Arrow tables, and partitioned files of them.

pyarrow is an optional package (extra ``parquet``); only ``npy`` files do without.
"""

from __future__ import annotations

from .layout import Layout, record_layout, row_layout
from .partitions import FORMATS, PERIODS, Finished, Partitions

__all__ = [
    "FORMATS",
    "PERIODS",
    "Finished",
    "Layout",
    "Partitions",
    "record_layout",
    "row_layout",
]
