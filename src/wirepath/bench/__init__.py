"""The way from the kernel path to a bypass, measured: record, run, compare.

    from wirepath import bench

    shape = bench.Shape.of("imix", rate=50_000)
    load = bench.Load(shape, seconds=2, repeats=5)
    before = bench.baseline(bench.Setup("socket", lab=True), load)
    after = bench.run(bench.Setup("af_xdp", lab=True), load)
    before.save("before.json")
    print(bench.compare(before, after).verdict.text)

Load is open-loop: packets have absolute deadlines that no receiver can move, and latency counts
from the deadline, so that a stall shows in the tail with its full length.
"""

from .compare import Comparison, Row, Verdict, compare
from .metrics import METRICS, Metric
from .page import page, write_page
from .picture import write_picture
from .result import Account, Distribution, Layer, Repeat, Result, Timeline, Trial, ZeroLoss
from .runs import GROUP, Load, Setup, baseline, run
from .shape import Cycle, Shape
from .zero_loss import Search, search

__all__ = [
    "GROUP",
    "METRICS",
    "Account",
    "Comparison",
    "Cycle",
    "Distribution",
    "Layer",
    "Load",
    "Metric",
    "Repeat",
    "Result",
    "Row",
    "Search",
    "Setup",
    "Shape",
    "Timeline",
    "Trial",
    "Verdict",
    "ZeroLoss",
    "baseline",
    "compare",
    "page",
    "run",
    "search",
    "write_page",
    "write_picture",
]
