"""Runs side by side: a table, a plot of both latency distributions, a self-contained page."""

from __future__ import annotations

import html
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import hdr
from ._core import Histogram
from .errors import BackendUnavailable
from .measure import Run
from .plain import duration, plain

QUANTILES = ("p50", "p99", "p99.9", "p99.99")
_LATENCIES = {"wire_to_ring": "wire to ring", "ring_to_consumer": "ring to consumer"}
# Okabe and Ito's palette: told apart with any kind of colour vision, and in grey.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")
_STYLES = ("-", "--", "-.", ":")

Row = tuple[str, list[str]]


def name_of(run: Run) -> str:
    """How a run is called in the report."""
    return run.config.backend


def rows(runs: Sequence[Run]) -> list[Row]:
    """The table: a label, and a text for each run."""
    figures = [run.to_dict() for run in runs]
    out: list[Row] = []

    def row(label: str, values: Sequence[object]) -> None:
        out.append((label, [v if isinstance(v, str) else _number(v) for v in values]))

    row("mode", [str(run.info.get("mode", "")) for run in runs])
    row("driver", [str(run.info.get("driver", "")) for run in runs])
    row("timestamps", [str(run.info.get("timestamp_source", "")) for run in runs])
    published = all(run.account is not None for run in runs)
    if published:
        row("packets published", [run.account.packets.published for run in runs if run.account])
    row("packets received", [run.packets for run in runs])
    for label, lost in _lost(runs, "packets"):
        row(f"  lost: {label}", lost)
    if published:
        row("messages published", [run.account.messages.published for run in runs if run.account])
    row("messages delivered", [run.messages for run in runs])
    for label, lost in _lost(runs, "messages"):
        row(f"  lost: {label}", lost)
    if published:
        sums = ["adds up" if r.account and r.account.balanced else "DOES NOT ADD UP" for r in runs]
        row("published = delivered + Σ drops", sums)
    for key, label in _LATENCIES.items():
        for quantile in QUANTILES:
            values = [f["latency_ns"][key].get(quantile) for f in figures]
            row(f"{label} {quantile}", ["–" if v is None else duration(v) for v in values])
    row("messages per second", [f["messages_per_second"] for f in figures])
    row("packets per second", [f["packets_per_second"] for f in figures])
    row("worker's CPU seconds", [f"{f['cpu_seconds']:.3f}" for f in figures])
    row("packets per second per core", [f["packets_per_second_per_core"] for f in figures])
    return out


def _lost(runs: Sequence[Run], side: str) -> list[tuple[str, list[int]]]:
    """Every layer that lost something in any run; one line saying so when none did."""
    layers: dict[str, list[int]] = {}
    for i, run in enumerate(runs):
        if run.account is None:
            continue
        for line in getattr(run.account, side).drops:
            if line.count:
                label = f"{line.layer} ({line.why})"
                layers.setdefault(label, [0] * len(runs))[i] = line.count
    return list(layers.items()) or [("nothing", [0] * len(runs))]


def _number(value: object) -> str:
    return f"{value:,.0f}" if isinstance(value, (int, float)) else str(value)


# --- the plot ----------------------------------------------------------------------------------
def curve(histogram: Histogram) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Share of samples above a value: (values in ns, shares), one point per bucket used."""
    counts = histogram.counts().astype(np.float64)
    used = counts.nonzero()[0]
    if not len(used):
        return np.empty(0), np.empty(0)
    lows = Histogram.bucket_lows().astype(np.float64)
    above = 1.0 - np.cumsum(counts)[used] / counts.sum()
    values = np.maximum(lows[used], 1.0)
    return values, np.clip(above, 0.0, 1.0)


def figure(runs: Sequence[Run]) -> Any:  # noqa: ANN401  # matplotlib is optional and untyped
    """Both distributions of every run as a matplotlib figure.

    The horizontal axis is the latency, the vertical one the share of messages that took longer,
    so a line that is further left and lower is better, and the tail is as visible as the median.
    Raises :class:`BackendUnavailable` where matplotlib is not installed.
    """
    try:
        import matplotlib  # noqa: PLC0415

        matplotlib.use("Agg")
        from matplotlib.figure import Figure  # noqa: PLC0415
        from matplotlib.ticker import FuncFormatter, NullFormatter  # noqa: PLC0415
    except ImportError:
        raise BackendUnavailable(
            "plots need matplotlib, which is not installed (pip install 'wirepath[report]')"
        ) from None
    made = Figure(figsize=(11, 5.2), dpi=130, layout="constrained")
    panels = made.subplots(1, 2, sharex=True, sharey=True)
    lowest = 1e-2
    for axes, (key, label) in zip(panels, _LATENCIES.items(), strict=True):
        for i, run in enumerate(runs):
            histogram: Histogram = getattr(run, key)
            values, above = curve(histogram)
            if not len(values):
                continue
            smallest = 1.0 / histogram.total
            lowest = min(lowest, smallest)
            # The slowest sample has nothing above it: it ends the line at one sample's share.
            above = np.maximum(above, smallest)
            colour, style = _COLOURS[i % len(_COLOURS)], _STYLES[i % len(_STYLES)]
            axes.plot(values, above, color=colour, ls=style, lw=2, label=name_of(run))
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_title(label, loc="left", fontsize=12, fontweight="bold")
        axes.set_xlabel("latency of a message")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: duration(v)))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.grid(True, which="major", color="#dddddd", lw=0.8)
        axes.set_axisbelow(True)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        axes.legend(frameon=False, loc="upper right")
    for axes in panels:
        axes.set_ylim(lowest * 0.7, 1.4)
        ticks = [0.5, *[10.0**-n for n in range(1, 10) if 10.0**-n >= lowest * 0.7]]
        axes.set_yticks(ticks)
        axes.set_yticklabels([f"{(1 - t) * 100:.10g} %" for t in ticks])
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.minorticks_off()
        axes.tick_params(length=0)
    panels[0].set_ylabel("this share of messages was faster")
    made.suptitle(_caption(runs), x=0.01, ha="left", fontsize=10, color="#555555")
    return made


def _caption(runs: Sequence[Run]) -> str:
    parts = []
    for run in runs:
        rate = run.to_dict()["messages_per_second"]
        parts.append(f"{name_of(run)}: {run.messages:,} messages at {rate:,.0f}/s")
    return "   ·   ".join(parts)


# --- the page ----------------------------------------------------------------------------------
_STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #888; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 68rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
table { border-collapse: collapse; width: 100%; }
th, td { padding: .3rem .6rem; border-bottom: 1px solid var(--line); text-align: right; }
th:first-child, td:first-child { text-align: left; white-space: pre; }
td { font-variant-numeric: tabular-nums; }
figure { margin: 1rem 0; background: #fff; padding: .5rem; border-radius: .4rem; }
figure svg { width: 100%; height: auto; display: block; }
p.equation { font-family: ui-monospace, monospace; font-size: .85rem; margin: .2rem 0; }
p.bad { color: #c00; font-weight: bold; } footer, .soft { color: var(--soft); }
pre { overflow-x: auto; font-size: .8rem; }
"""


def page(runs: Sequence[Run], svg: str, notes: Sequence[str] = ()) -> str:
    """A page that needs nothing but itself."""
    head = "".join(f"<th>{html.escape(name_of(run))}</th>" for run in runs)
    body = "".join(
        f"<tr><td>{html.escape(label)}</td>"
        + "".join(f"<td>{html.escape(value)}</td>" for value in values)
        + "</tr>\n"
        for label, values in rows(runs)
    )
    equations = []
    for run in runs:
        if run.account is None:
            continue
        for what, side in (("packets", run.account.packets), ("messages", run.account.messages)):
            mark = "" if side.residual == 0 else " bad"
            text = html.escape(f"{name_of(run)}, {what}: {side.equation()}")
            equations.append(f'<p class="equation{mark}">{text}</p>')
    ports = "".join(
        f"<details><summary>{html.escape(name_of(run))}: what the port says of itself</summary>"
        f"<pre>{html.escape(json.dumps(plain(run.info), indent=1))}</pre></details>"
        for run in runs
    )
    soft = "".join(f'<p class="soft">{html.escape(note)}</p>' for note in notes)
    picture = f"<figure>{svg}</figure>" if svg else ""
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>wirepath: runs side by side</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>{_STYLE}</style></head><body>
<h1>wirepath: {html.escape(" and ".join(name_of(run) for run in runs))}</h1>
{soft}
<h2>Latency</h2>
{picture}
<p class="soft">Share of messages (upwards: fewer and fewer remain) over the time that they took.
A line further left is faster; where it falls late, the tail is long.</p>
<h2>Side by side</h2>
<table><thead><tr><th></th>{head}</tr></thead><tbody>
{body}</tbody></table>
<h2>Where everything went</h2>
{"".join(equations) or '<p class="soft">No publisher of our own: nothing to compare with.</p>'}
<h2>Ports</h2>
{ports}
</body></html>
"""


def write(runs: Sequence[Run], directory: str | Path, notes: Sequence[str] = ()) -> list[Path]:
    """Write ``report.html``, ``latency.png``, ``report.json`` and a histogram log per run into
    ``directory``; returns the files.

    Raises :class:`BackendUnavailable` where matplotlib is not installed.
    """
    directory = Path(directory)
    made = figure(runs)
    directory.mkdir(parents=True, exist_ok=True)
    png = directory / "latency.png"
    made.savefig(png)
    drawn = io.StringIO()
    made.savefig(drawn, format="svg", metadata={"Date": None})
    svg = drawn.getvalue()
    svg = svg[svg.index("<svg") :]
    files = [directory / "report.html", png, directory / "report.json"]
    files[0].write_text(page(runs, svg, notes), encoding="utf-8")
    files[2].write_text(json.dumps(plain([run.to_dict() for run in runs])), encoding="utf-8")
    for run in runs:
        files += hdr.write(
            directory / f"{name_of(run)}.hlog",
            {"wire_to_ring": run.wire_to_ring, "ring_to_consumer": run.ring_to_consumer},
            start=run.started,
            seconds=run.seconds,
        )
    return files
