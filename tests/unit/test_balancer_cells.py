"""The balancer's counters as ``wirepath metrics`` has them."""

from __future__ import annotations

import os

import numpy as np

from wirepath import metrics
from wirepath.balancer import layout
from wirepath.balancer.cells import Cells
from wirepath.balancer.config import BalancerConfig
from wirepath.balancer.controller import Controller


def test_services_and_servers_are_series_and_go_with_the_balancer() -> None:
    config = BalancerConfig(
        interface="cells0",
        table_size=251,
        vip=[{"name": "web-cells", "address": "192.0.2.1", "port": 80}],
        server=[{"name": "a", "address": "10.0.0.1"}, {"name": "b", "address": "10.0.0.2"}],
    )
    controller = Controller(config)
    controller.start(0.0)
    controller.checked("web-cells", "a", True, 0.0)
    vips, reals = np.zeros(4, layout.VIP_COUNTERS), np.zeros(4, layout.SERVER_COUNTERS)
    vips["packets"][0], reals["packets"][1], reals["new_flows"][2] = 70, 60, 5
    cells = Cells("cells0")
    try:
        cells.write(controller.vips, vips, reals, {"not_ours": 3, "drop_no_server": 2})
        text = metrics.text([os.getpid()])
        pid = f'pid="{os.getpid()}"'
        of_a, of_b = 'balancer_server="web-cells/a"', 'balancer_server="web-cells/b"'
        for line in (
            f'wirepath_balancer_vip_packets_total{{balancer_vip="web-cells",{pid}}} 70.0',
            f"wirepath_balancer_server_packets_total{{{of_a},{pid}}} 60.0",
            f"wirepath_balancer_server_new_flows_total{{{of_b},{pid}}} 5.0",
            f"wirepath_balancer_server_up{{{of_a},{pid}}} 1.0",
            f"wirepath_balancer_server_up{{{of_b},{pid}}} 0.0",
            f'wirepath_balancer_not_ours_total{{balancer="cells0",{pid}}} 3.0',
            f'wirepath_balancer_drops_total{{balancer="cells0",cause="no_server",{pid}}} 2.0',
        ):
            assert line in text.splitlines(), text
    finally:
        cells.close()
    assert "cells0" not in metrics.text([os.getpid()])
    assert "web-cells" not in metrics.text([os.getpid()])
