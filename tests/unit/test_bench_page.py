"""The report: in a browser, and as a picture."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from bench_results import latencies, repeat, repeats, result
from browser import Elements, opened

import wirepath as wp
from wirepath import bench
from wirepath.bench.page import curve


def checked_page(page, folder, sides):
    """Opens a page of results and holds what stands in it against them; used for real ones, too.

    sides: {"a": Result, "b": Result} or the first alone.
    """
    seen = Elements(opened(page, folder, "--dump-dom"))
    assert seen.having("data-drawn"), "the page's script did not come to its end"
    cells = {}
    for attributes, text in seen.having("data-figure"):
        if "data-value" in attributes:
            cells[attributes["data-figure"], attributes["data-side"]] = (
                attributes["data-value"],
                text,
            )
    curves = {a["data-curve"]: a for a, _ in seen.having("data-curve")}
    marks = {(a["data-mark"], a["data-side"]): a for a, _ in seen.having("data-mark")}
    chart = next(a for a, _ in seen.having("data-chart") if a["data-chart"] == "percentiles")
    low, high = (math.log10(float(chart[f"data-{k}"])) for k in ("lowest", "highest"))
    top, bottom = (float(chart[f"data-{k}"]) for k in ("top", "bottom"))
    for side, each in sides.items():
        for metric in bench.METRICS:  # every number, to the last digit
            value = each.summary[metric.key]
            assert cells[metric.key, side] == (
                "" if value is None else repr(value),
                metric.text(value),
            )
        for name in ("percentiles", "cdf", "p50", "max", "received"):
            drawn = curves[f"{name}-{side}"]
            points = re.findall(r"[ML](-?[\d.]+) (-?[\d.]+)", drawn["d"])
            assert len(points) == int(drawn["data-points"])
            assert all(0 <= float(x) <= 940 and 0 <= float(y) <= 360 for x, y in points)
        assert int(curves[f"percentiles-{side}"]["data-points"]) == len(curve(each.latency)) > 10
        # A mark stands at the height of its value.
        for key in ("latency_p50", "latency_p99", "latency_max"):
            share = (math.log10(each.summary[key]) - low) / (high - low)
            y = float(marks[key, side]["cy"])
            assert y == pytest.approx(bottom - share * (bottom - top), abs=0.02)
        # The curve goes through the marks: at the maximum it ends.
        last = re.findall(r"L(-?[\d.]+) (-?[\d.]+)", curves[f"percentiles-{side}"]["d"])[-1]
        assert float(last[1]) == pytest.approx(float(marks["latency_max", side]["cy"]), abs=0.02)
        losses = {
            a["data-loss"]: int(a["data-value"])
            for a, _ in seen.having("data-loss", **{"data-side": side})
        }
        assert losses.pop("planned") == each.planned
        assert losses.pop("received") - sum(losses.values()) == each.planned
    return seen


def pair():
    slow = [repeat(np.append(latencies(9_000, 990, i), [2 * 10**6] * 10)) for i in range(4)]
    a = result(slow, kind="baseline", name="socket:wp0")
    b = result(repeats(4_000, 4, lost=20), name="af_xdp:wp0 <img src=x>")
    return a, b


def test_a_page_of_two_shows_their_numbers_and_curves(tmp_path):
    a, b = pair()
    zero = bench.ZeroLoss(
        rate=5e5,
        resolution=0.02,
        seconds=1,
        limit="receiver",
        trials=[bench.Trial(rate=5e5, planned=5, lost=0, sender_late=False, passed=True)],
    )
    a = a.model_copy(update={"zero_loss": zero})
    page = bench.write_page(tmp_path / "r.html", a, b)
    seen = checked_page(page, tmp_path, {"a": a, "b": b})
    verdict = seen.having("data-answer")
    both = bench.compare(a, b)
    assert verdict[0][0]["data-answer"] == both.verdict.answer == "stay"
    assert both.verdict.text in seen.said
    for reason in both.verdict.reasons:
        assert reason in seen.said
    assert seen.having("data-zero-loss")[0][0]["data-value"] == "500000.0"
    assert not [tag for tag, _ in seen.all if tag == "img"]  # names are text


def test_a_page_of_one(tmp_path):
    a, _ = pair()
    page = bench.write_page(tmp_path / "r.html", a)
    seen = checked_page(page, tmp_path, {"a": a})
    assert not seen.having("data-answer")
    assert not [c for c, _ in seen.having("data-curve") if c["data-curve"].endswith("-b")]


def test_a_page_needs_nothing_but_itself():
    a, b = pair()
    text = bench.page(a, b)
    elements = Elements(text)
    for tag, attributes in elements.all:
        assert not {"src", "href", "srcset", "action"} & set(attributes), (tag, attributes)
    assert not re.search(r"@import|url\(|fetch\(|XMLHttpRequest|import\(", text)
    urls = set(re.findall(r"https?://[^\s\"'<]+", text))
    assert urls == {"http://www.w3.org/2000/svg"}  # a name, not an address


def test_nothing_received_is_a_page_all_the_same(tmp_path):
    empty = repeat(latencies(1, 10))
    nothing = {name: repeat([0]).latency.model_copy() for name in ("latency",)}
    histogram = bench.Distribution.of(wp.Histogram())
    nothing = empty.model_copy(
        update={
            "received": 0,
            "latency": histogram,
            "jitter": histogram,
            "from_stamp": None,
            "timeline": bench.Timeline(
                bin_ns=10**9, planned=[10], received=[0], p50=[None], p99=[None], max=[None]
            ),
        }
    )
    a = result([nothing])
    page = bench.write_page(tmp_path / "r.html", a)
    seen = Elements(opened(page, tmp_path, "--dump-dom"))
    assert seen.having("data-drawn")
    assert [c["data-curve"] for c, _ in seen.having("data-curve")] == ["received-a"]
    assert a.summary["latency_p50"] is None
    assert bench.compare(a, a).verdict.answer == "undecided"


def test_the_picture_is_a_png(tmp_path):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed (pip install matplotlib)")
    a, b = pair()
    path = bench.write_picture(tmp_path / "r.png", a, b)
    data = path.read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    assert int.from_bytes(data[16:20], "big") == 1500
    alone = bench.write_picture(tmp_path / "s.png", a).read_bytes()
    assert alone.startswith(b"\x89PNG")
    assert alone != data


def test_without_matplotlib_the_picture_says_so(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    with pytest.raises(wp.BackendUnavailable, match="pip install"):
        bench.write_picture(tmp_path / "r.png", pair()[0])
