"""The curves of one result, or two, as a PNG."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .. import hdr
from ..errors import BackendUnavailable
from ..plain import duration
from .page import Sides, curve, timeline
from .result import Result

# Okabe and Ito's palette: told apart with any kind of colour vision, and in grey.
_COLOURS = {"a": "#0072b2", "b": "#d55e00"}
_STYLES = {"a": "-", "b": "--"}
_POINTS = 120  # of a timeline, as many as can be told apart


def write_picture(path: str | Path, a: Result, b: Result | None = None) -> Path:
    """Percentile curves, distributions and timelines as a PNG.

    Raises :class:`BackendUnavailable` where matplotlib is not installed.
    """
    path = Path(path)
    hdr.check_path(path)
    try:
        import matplotlib  # noqa: PLC0415

        matplotlib.use("Agg")
        from matplotlib.figure import Figure  # noqa: PLC0415
        from matplotlib.ticker import FuncFormatter, NullFormatter  # noqa: PLC0415
    except ImportError:
        raise BackendUnavailable(
            "a PNG needs matplotlib, which is not installed (pip install 'wirepath[report]'; the "
            "HTML page does without)"
        ) from None
    sides: Sides = [("a", a)] + ([("b", b)] if b is not None else [])
    made = Figure(figsize=(15, 4.6), dpi=100, layout="constrained")
    panels = made.subplots(1, 3)
    times = FuncFormatter(lambda value, _: duration(value))
    _percentiles(panels[0], sides)
    _distribution(panels[1], sides)
    _timeline(panels[2], sides)
    for axis in (panels[0].yaxis, panels[1].xaxis, panels[2].yaxis):
        axis.set_major_formatter(times)
        axis.set_minor_formatter(NullFormatter())
    for axes in panels:
        axes.grid(True, which="major", color="#dddddd", lw=0.8)
        axes.set_axisbelow(True)
        for edge in ("top", "right"):
            axes.spines[edge].set_visible(False)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(frameon=False)
    made.suptitle(a.shape["describe"], x=0.01, ha="left", fontsize=10, color="#555555")
    made.savefig(path, format="png")
    return path


def _percentiles(axes: Any, sides: Sides) -> None:  # noqa: ANN401  # matplotlib is untyped
    fewest = 0.1
    for side, result in sides:
        points = curve(result.latency)
        if not points:
            continue
        last = 1 / result.latency.total / 2
        fewest = min(fewest, last)
        axes.plot(
            [max(1 - share, last) for _, share in points],
            [max(value, 1) for value, _ in points],
            color=_COLOURS[side],
            ls=_STYLES[side],
            lw=2,
            label=result.name,
        )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(1, fewest)
    ticks = [0.5, *[10.0**-n for n in range(1, 9) if 10.0**-n >= fewest]]
    axes.set_xticks(ticks, [f"{(1 - t) * 100:.10g} %" for t in ticks], rotation=30)
    axes.minorticks_off()
    axes.set_title("latency by percentile", loc="left")


def _distribution(axes: Any, sides: Sides) -> None:  # noqa: ANN401
    for side, result in sides:
        points = curve(result.latency)
        values = [max(value, 1) for value, _ in points]
        shares = [share for _, share in points]
        axes.plot(values, shares, color=_COLOURS[side], ls=_STYLES[side], lw=2, label=result.name)
    axes.set_xscale("log")
    axes.set_ylim(0, 1.02)
    axes.set_title("cumulative distribution of latency", loc="left")


def _timeline(axes: Any, sides: Sides) -> None:  # noqa: ANN401
    for side, result in sides:
        line = timeline(result)
        group = -(-len(line["at"]) // _POINTS)
        at, values = [], []
        for i in range(0, len(line["at"]), group):
            known = [v for v in line["max"][i : i + group] if v is not None]
            at.append(line["at"][i])
            values.append(max(known) if known else float("nan"))
        colour, style = _COLOURS[side], _STYLES[side]
        axes.plot(at, values, color=colour, ls=style, lw=1.2, label=result.name)
    axes.set_yscale("log")
    axes.set_xlabel("s, the repeats one behind the other")
    axes.set_title("slowest packet over time", loc="left")
