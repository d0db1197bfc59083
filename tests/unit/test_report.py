"""The report and the demo: what is in the files, and what is said without root."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

import wirepath as wp
from wirepath import demo, report
from wirepath.accounting import Account, Line, Side
from wirepath.measure import Run


def run(backend, *, lost=0, base=1000):
    wire, wait = wp.Histogram(), wp.Histogram()
    for value in np.random.default_rng(1).lognormal(np.log(base), 1, 2000).astype(int).tolist():
        wire.record(value)
        wait.record(value * 3)
    packets = Side(500, 500 - lost, (Line("port.socket_buffer", lost, "the buffer was full"),))
    messages = Side(2000, 2000 - lost * 4, (Line("line.gaps", lost * 4, "lost on the way"),))
    return Run(
        config=wp.IngestionConfig(backend=backend, interface_name="wp0", port=9),
        info={"mode": f"mode of {backend}", "driver": "veth", "timestamp_source": "kernel <i>"},
        snapshot={"frames": 500 - lost, "delivered": 2000 - lost * 4, "gaps": [], "by_type": {}},
        port_stats={},
        worker_stats={},
        ring={},
        consumed=2000,
        seconds=0.5,
        cpu_seconds=0.25,
        wire_to_ring=wire,
        ring_to_consumer=wait,
        account=Account(packets, messages),
    )


def test_the_table_has_what_was_lost_and_every_quantile():
    table = dict(report.rows([run("socket", lost=7), run("af_xdp")]))
    assert table["packets received"] == ["493", "500"]
    assert table["  lost: port.socket_buffer (the buffer was full)"] == ["7", "0"]
    assert table["messages delivered"] == ["1,972", "2,000"]
    assert table["published = delivered + Σ drops"] == ["adds up", "adds up"]
    for what in ("wire to ring", "ring to consumer"):
        for quantile in ("p50", "p99", "p99.9", "p99.99"):
            assert len(table[f"{what} {quantile}"]) == 2
    assert table["packets per second per core"] == ["1,972", "2,000"]


def test_an_account_that_does_not_add_up_is_shown():
    bad = run("socket")
    bad.account = Account(Side(500, 499, ()), Side(2000, 2000, ()))
    assert dict(report.rows([bad]))["published = delivered + Σ drops"] == ["DOES NOT ADD UP"]
    assert 'class="equation bad"' in report.page([bad], "")


def test_a_curve_falls_from_all_to_none():
    histogram = wp.Histogram()
    for value in (10, 10, 20, 100_000):
        histogram.record(value)
    values, above = report.curve(histogram)
    assert values[:2].tolist() == [10.0, 20.0]
    assert above.tolist() == pytest.approx([0.5, 0.25, 0.0])
    assert len(report.curve(wp.Histogram())[0]) == 0


def test_the_files_of_a_report(tmp_path):
    pytest.importorskip("matplotlib", reason="the extra wirepath[report]")
    files = report.write([run("socket", lost=3), run("af_xdp", base=500)], tmp_path, ["a note"])
    names = {f.name for f in files}
    assert names == {"report.html", "latency.png", "report.json", "socket.hlog", "af_xdp.hlog"}
    png = (tmp_path / "latency.png").read_bytes()
    assert png.startswith(b"\x89PNG")
    assert int.from_bytes(png[16:20], "big") > 1000  # its width
    page = (tmp_path / "report.html").read_text()
    HTMLParser().feed(page)
    assert "<svg" in page
    assert "kernel &lt;i&gt;" in page
    assert "a note" in page
    # Self-contained: nothing is fetched from anywhere.
    assert not re.search(r'(src|href)="(?!#)[^"]', page)
    assert "@import" not in page
    assert "url(http" not in page
    told = json.loads((tmp_path / "report.json").read_text())
    assert [one["backend"] for one in told] == ["socket", "af_xdp"]


def test_the_demo_without_root_uses_loopback_and_says_what_root_adds(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib", reason="the extra wirepath[report]")
    monkeypatch.setattr(demo, "unavailable_reason", lambda: "CAP_NET_ADMIN is missing")
    titles = []
    done = demo.run_demo(tmp_path / "out", seconds=0.5, rate=20_000, stage=titles.append)
    assert titles == ["socket: 10,000 messages over loopback"]
    assert [run.config.backend for run in done.runs] == ["socket"]
    assert done.runs[0].account.balanced
    assert done.runs[0].messages == 10_000
    assert "CAP_NET_ADMIN is missing" in done.notes[0]
    assert "AF_XDP takes it in as well" in done.notes[0]
    assert (tmp_path / "out" / "latency.png").exists()
