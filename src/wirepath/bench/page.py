"""One result, or two side by side, as a page that needs nothing but itself."""

from __future__ import annotations

import html
import json
from pathlib import Path
from typing import Any

import numpy as np

from .. import hdr
from .._core import Histogram
from ..plain import plain
from . import nic
from .compare import Comparison, compare
from .metrics import METRICS, Metric, figure
from .result import Merged, Result

_HERE = Path(__file__).parent
KINDS = {
    "latency": "latency from the intended send time to the application",
    "jitter": "jitter: difference of latency between neighbouring packets",
    "from_stamp": "NIC (or kernel) receive stamp to the application",
}
Sides = list[tuple[str, Result]]


def curve(merged: Merged) -> list[tuple[float, float]]:
    """(ns, share of samples up to it) for each bucket in use; the last one is the maximum, 1."""
    used = merged.counts.nonzero()[0]
    if not len(used):
        return []
    lows = Histogram.bucket_lows()
    share = np.cumsum(merged.counts[used].astype(np.float64)) / merged.total
    tops = np.append(lows[1:], lows[-1] + (lows[-1] - lows[-2]))[used] - 1
    values = np.clip(tops, merged.min, merged.max)
    return [(float(v), float(s)) for v, s in zip(values, share, strict=True)]


def timeline(result: Result) -> dict[str, list[Any]]:
    """The repeats' timelines, one behind the other: seconds, and ns or packets of each bin."""
    out: dict[str, list[Any]] = {k: [] for k in ("at", "p50", "p99", "max", "planned", "received")}
    begin = 0.0
    for repeat in result.repeats:
        line = repeat.timeline
        out["at"] += [begin + (i + 0.5) * line.bin_ns / 1e9 for i in range(len(line.planned))]
        for name in ("p50", "p99", "max", "planned", "received"):
            out[name] += getattr(line, name)
        begin += repeat.seconds
    return out


def _data(sides: Sides) -> dict[str, Any]:
    """What the page's script draws."""
    marks = {
        kind: [m for m in METRICS if m.of == kind and m.quantile is not None] for kind in KINDS
    }
    return {
        "kinds": KINDS,
        "sides": [
            {
                "side": side,
                "name": result.name,
                "curves": {kind: curve(getattr(result, kind)) for kind in KINDS},
                "marks": {
                    kind: [
                        {"figure": m.key, "quantile": m.quantile, "value": figure(result, m)}
                        for m in marks[kind]
                    ]
                    for kind in KINDS
                },
                "timeline": timeline(result),
                "repeat_seconds": [repeat.seconds for repeat in result.repeats],
            }
            for side, result in sides
        ],
    }


# --- the parts of the page -----------------------------------------------------------------------
def _e(value: object) -> str:
    return html.escape(str(value))


def _cell(metric: Metric, side: str, value: float | None) -> str:
    raw = "" if value is None else repr(value)
    return (
        f'<td data-figure="{metric.key}" data-side="{side}" data-value="{raw}">'
        f"{_e(metric.text(value))}</td>"
    )


def _figures(sides: Sides, both: Comparison | None) -> str:
    head = "".join(f"<th>{_e(result.name)}</th>" for _, result in sides)
    if both is not None:
        head += "<th>B / A</th><th>95 % interval</th><th></th>"
    rows = []
    for metric in METRICS:
        cells = "".join(_cell(metric, s, result.summary.get(metric.key)) for s, result in sides)
        if both is not None:
            row = both.row(metric.key)
            low_high = (
                f"{row.ratio_interval[0]:.3g} to {row.ratio_interval[1]:.3g}"
                if row.ratio_interval
                else "–"
            )
            sign = "" if row.sign in ("unknown", "same") else row.sign
            cells += (
                f"<td>{f'{row.ratio:.3g}' if row.ratio is not None else '–'}</td>"
                f'<td>{low_high}</td><td class="{sign}">{sign}</td>'
            )
        rows.append(f"<tr><th>{_e(metric.label)}</th>{cells}</tr>")
    return f"<table><thead><tr><th></th>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def _losses(sides: Sides) -> str:
    out = []
    for side, result in sides:
        layers: dict[str, tuple[int, str]] = {}
        for repeat in result.repeats:
            for each in repeat.account.layers:
                layers[each.layer] = (layers.get(each.layer, (0, ""))[0] + each.count, each.why)
        received = sum(r.received for r in result.repeats)
        rows = [("planned", result.planned, ""), ("received", received, "")]
        rows += [(name, -count, why) for name, (count, why) in layers.items() if count]
        residual = sum(r.account.residual for r in result.repeats)
        rows.append(("in no counter", -residual, "must be 0"))
        body = "".join(
            f'<tr><th>{_e(name)}</th><td data-loss="{_e(name)}" data-side="{side}" '
            f'data-value="{count}">{count:,}</td><td class="left">{_e(why)}</td></tr>'
            for name, count, why in rows
        )
        out.append(f"<h3>{_e(result.name)}</h3><table><tbody>{body}</tbody></table>")
    return "".join(out)


def _cores(sides: Sides) -> str:
    modes = ("user", "system", "softirq", "irq", "steal", "idle")
    head = "".join(f"<th>{mode}</th>" for mode in modes)
    out = []
    for _, result in sides:
        cores: dict[str, list[dict[str, float]]] = {}
        for repeat in result.repeats:
            for core, shares in repeat.cpu["cores"].items():
                cores.setdefault(core, []).append(shares)
        places = {
            result.receiver.get("cpu_core"): "receiver",
            result.sender.get("cpu_core"): "sender",
        }
        body = []
        for core, shares in cores.items():
            means = [sum(s[mode] for s in shares) / len(shares) for mode in modes]
            place = places.get(int(core), "")
            cells = "".join(f"<td>{mean * 100:.1f} %</td>" for mean in means)
            body.append(f"<tr><th>core {_e(core)} {place}</th>{cells}</tr>")
        out.append(
            f"<h3>{_e(result.name)}</h3><table><thead><tr><th></th>{head}</tr></thead>"
            f"<tbody>{''.join(body)}</tbody></table>"
        )
    return "".join(out)


def _zero_loss(sides: Sides) -> str:
    out = []
    for side, result in sides:
        found = result.zero_loss
        if found is None:
            continue
        rate = "none" if found.rate is None else f"{found.rate:,.0f} packets/s"
        rows = "".join(
            f"<tr><td>{t.rate:,.0f}</td><td>{t.planned:,}</td><td>{t.lost:,}</td>"
            f"<td>{'passed' if t.passed else 'sender late' if t.sender_late else 'lost'}</td></tr>"
            for t in found.trials
        )
        out.append(
            f'<h3>{_e(result.name)}: <span data-zero-loss="{side}" data-value="{found.rate or ""}">'
            f"{rate}</span>, limit: {found.limit}</h3><p>Trials of {found.seconds:g} s, to within "
            f"{found.resolution * 100:g} %.</p><table><thead><tr><th>rate</th><th>planned</th>"
            f"<th>lost</th><th></th></tr></thead><tbody>{rows}</tbody></table>"
        )
    return f"<h2>Zero-loss rate</h2>{''.join(out)}" if out else ""


def _settings(sides: Sides) -> str:
    """Settings of the machine and of both NICs; what differs is marked. Of the features of NICs
    only those that differ have a row: there are dozens."""
    parts = {
        "machine": [{n: nic.text(v) for n, v in r.settings.items()} for _, r in sides],
        "receiver's NIC": [nic.flat(r.receiver.get("nic")) for _, r in sides],
        "sender's NIC": [nic.flat(r.sender.get("nic")) for _, r in sides],
    }
    head = "".join(f"<th>{_e(result.name)}</th>" for _, result in sides)
    rows = []
    for part, found in parts.items():
        for name in dict.fromkeys(name for each in found for name in each):
            values = [each.get(name, "–") for each in found]
            differs = len(set(values)) > 1
            if name.startswith("feature ") and not differs:
                continue
            cells = "".join(f'<td class="left">{_e(value)}</td>' for value in values)
            mark = ' class="differs"' if differs else ""
            rows.append(
                f'<tr{mark} data-setting="{_e(part)}: {_e(name)}"><th>{_e(part)}: {_e(name)}</th>'
                f"{cells}</tr>"
            )
    return f"<table><thead><tr><th></th>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def _conditions(sides: Sides) -> str:
    names = ("shape", "machine", "settings", "software", "receiver", "sender")
    out = []
    for _, result in sides:
        values = {name: getattr(result, name) for name in names}
        text = json.dumps(plain(values), indent=1, ensure_ascii=False)
        out.append(
            f"<details><summary>{_e(result.name)}: traffic, machine, settings and ports, as read "
            f"back</summary><pre>{_e(text)}</pre></details>"
        )
    return "".join(out)


def _verdict(both: Comparison | None) -> str:
    if both is None:
        return ""
    reasons = "".join(f"<li>{_e(reason)}</li>" for reason in both.verdict.reasons)
    return (
        f'<section class="verdict" data-answer="{both.verdict.answer}">'
        f"<p>{_e(both.verdict.text)}</p><ul>{reasons}</ul></section>"
    )


def page(a: Result, b: Result | None = None, *, anyway: bool = False) -> str:
    """The page's HTML. Raises what :func:`compare` raises for results that are not alike."""
    both = compare(a, b, anyway=anyway) if b is not None else None
    sides: Sides = [("a", a)] + ([("b", b)] if b is not None else [])
    title = " and ".join(result.name for _, result in sides)
    notes = both.notes if both is not None else a.notes
    listed = "".join(f"<li>{_e(note)}</li>" for note in notes)
    data = json.dumps(_data(sides), separators=(",", ":")).replace("<", "\\u003c")
    facts = "".join(
        f"<li><b>{_e(r.name)}</b>: {_e(r.shape['describe'])}, {len(r.repeats)} repeats of "
        f"{r.seconds:g} s, {_e(r.where)}, {_e(r.receiver['info'].get('mode', ''))}, {_e(r.created)}"
        "</li>"
        for _, r in sides
    )
    style, script = ((_HERE / f"page.{kind}").read_text("utf-8") for kind in ("css", "js"))
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>wirepath: {_e(title)}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>{style}</style></head><body>
<h1>{_e(title)}</h1>
<ul class="soft">{facts}</ul>
{_verdict(both)}
<h2>Percentiles</h2>
<p class="choice" id="kinds"></p>
<figure id="percentiles"></figure>
<h2>Cumulative distribution</h2>
<figure id="cdf"></figure>
<h2>Timeline</h2>
<p class="soft">By intended send time, the repeats one behind the other. Thin: the maximum of each
bin; thick: its median.</p>
<figure id="timeline"></figure>
<figure id="received"></figure>
<h2>Figures</h2>
{_figures(sides, both)}
<h2>Where every packet went</h2>
{_losses(sides)}
<h2>CPU by core</h2>
{_cores(sides)}
{_zero_loss(sides)}
<h2>Notes</h2>
<ul>{listed or "<li>none</li>"}</ul>
<h2>Settings</h2>
{_settings(sides)}
<h2>Conditions</h2>
{_conditions(sides)}
<script type="application/json" id="data">{data}</script>
<script>{script}</script>
</body></html>
"""


def write_page(
    path: str | Path, a: Result, b: Result | None = None, *, anyway: bool = False
) -> Path:
    """Write :func:`page` to a file."""
    path = Path(path)
    hdr.check_path(path)
    path.write_text(page(a, b, anyway=anyway), encoding="utf-8")
    return path
