# SPDX-License-Identifier: Apache-2.0
"""The socket backend on an interface of the lab."""

from __future__ import annotations

import threading

import pytest

import wirepath as wp
from wirepath.lab import Lab

pytestmark = pytest.mark.lab


@pytest.mark.parametrize("idle", ["sleep", "spin"])
def test_an_interface_that_is_removed_ends_the_loop(lab_name, idle):
    with Lab(lab_name) as lab:
        host = lab["b"]
        with host.enter():
            port = wp.open(
                f"socket:{host.interface.name}", steer=wp.udp("239.255.7.2", 17002), idle=idle
            )
        with port:
            remove = threading.Timer(0.3, host.run, (["ip", "link", "delete", "wp0"],))
            remove.start()
            burst = []
            loop = threading.Thread(target=lambda: burst.extend(port), daemon=True)
            loop.start()
            loop.join(20)
            remove.join()
            assert not loop.is_alive()
            assert burst == []
