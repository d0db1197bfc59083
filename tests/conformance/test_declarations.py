# SPDX-License-Identifier: Apache-2.0
"""What ports declare of themselves: no more than they can, and nothing left out in silence."""

from __future__ import annotations

import pytest
from declared import BENCHES, JUMBO, LACKS, lacks

import wirepath as wp

INFO = {
    "backend": str,
    "device": str,
    "driver": str,
    "mode": str,
    "queues": int,
    "wakeup": str,
    "timestamp_source": str,
    "clock": str,
    "steering": str,
}


def test_every_bench_is_in_the_table():
    assert LACKS.keys() == BENCHES.keys()


def test_what_a_bench_leaves_out_is_what_its_port_declares(bench):
    port = bench.open()
    declared = lacks(port)
    bench.detach(port)
    bench.resize(3000)
    with bench.open(**bench.jumbo) as port:
        declared |= lacks_jumbo(port)
    assert declared == LACKS[bench.name].keys()
    assert all(reason for reason in LACKS[bench.name].values())


def lacks_jumbo(port):
    return {"jumbo"} if port.capabilities["max_frame"] < JUMBO else set()


def test_what_is_not_declared_is_refused(bench):
    port = bench.open()
    can = port.capabilities
    if can["waitable"]:
        assert port.fileno() >= 0
    else:
        with pytest.raises(wp.Unsupported):
            port.fileno()
    assert port.queues == 1
    bench.detach(port)
    if not can["everything"]:
        with pytest.raises(wp.Unsupported, match="everything"):
            bench.open(wp.everything())
    if not can["multi_queue"]:
        with pytest.raises(wp.ConfigError, match="queues"):
            bench.open(queues=2)


def test_info_says_it_all(bench):
    port = bench.open()
    info = port.info()
    for key, kind in INFO.items():
        assert isinstance(info[key], kind), key
    assert info["backend"] == bench.backend
    assert info["queues"] == port.queues
    if port.capabilities["link"]:
        assert info["link"] == "up"
    assert all(isinstance(v, int) and v >= 0 for v in port.stats().values())
    for name in ("rx_packets", "rx_bytes", "tx_packets", "tx_bytes"):
        assert name in port.stats()
