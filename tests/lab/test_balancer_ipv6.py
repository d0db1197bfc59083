"""The balancer between real hosts with IPv6: of the VIP, of the servers, and of both."""

from __future__ import annotations

from pathlib import Path

import pytest
from balancer_lab import SERVERS, BalancerLab

pytestmark = [pytest.mark.lab, pytest.mark.timeout(900)]
CONNECTIONS = 300


@pytest.mark.parametrize(
    ("mode", "families"),
    [
        ("ipip", (6, 6)),
        ("gue", (6, 6)),
        ("dsr", (6, 6)),
        ("ipip", (4, 6)),
        ("gue", (4, 6)),
        ("ipip", (6, 4)),
        ("gue", (6, 4)),
        ("dsr", (4, 6)),
        ("dsr", (6, 4)),
    ],
    ids=lambda value: value if isinstance(value, str) else f"{value[0]}in{value[1]}",
)
def test_connections_byte_for_byte(
    mode: str, families: tuple[int, int], lab_name: str, tmp_path: Path
) -> None:
    """Checks through the tunnel are of the VIP's family, so they show the way of the packets."""
    with BalancerLab(lab_name, tmp_path, mode, families=families) as lab:
        lab.balance("lb1", lab.config())
        clients = lab.connect(CONNECTIONS)
        assert clients.first["dead"] == {}, lab.log()
        for size in (1, 1400, 20_000):
            done = clients.round(size, 60)
            assert done["dead"] == {}, lab.log()
            assert done["alive"] == clients.first["alive"]
        assert set(done["alive"]) == set(SERVERS)
        shown = lab.ask("lb1", "show")
        counted = {s["name"]: s["new_flows"] for s in shown["vips"][0]["servers"]}
        assert counted == done["alive"]
        assert not any(n for name, n in shown["counters"].items() if name.startswith("drop"))
        clients.close()
