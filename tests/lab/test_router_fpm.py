"""A router whose routes FRR tells: zebra's recorded stream, by its port."""

from __future__ import annotations

import gzip
import json
import socket
import time
from pathlib import Path

import pytest
from shared_data import shared

from wirepath.lab import Lab
from wirepath.programs import kernel
from wirepath.route.config import RouterConfig
from wirepath.route.router import Router

WHY_NOT = kernel.unavailable_reason()
pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(WHY_NOT is not None, reason=f"unsupported: {WHY_NOT}"),
]


def test_what_zebra_tells_is_in_the_tables_of_the_driver(lab_name: str) -> None:
    stream = gzip.decompress(shared("fpm/fpm-2k-add-withdraw-update.bin.gz").read_bytes())
    final = json.loads(
        gzip.decompress(shared("fpm/fpm-2k-final-kernel-routes.json.gz").read_bytes())
    )
    wanted = [route["dst"] for route in final if route.get("protocol") in ("bgp", "186")]
    assert len(wanted) > 500
    with Lab(lab_name) as lab, lab["b"].enter():
        for name in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
            (Path("/proc/sys/net") / name).write_text("1")
        config = RouterConfig(
            interfaces=(lab["b"].interface.name,), source="fpm", fpm_port=2620, attach="generic"
        )
        with Router(config) as router, socket.create_connection(("127.0.0.1", 2620)) as zebra:
            before = router.show()["tables"]["prefixes4"]
            zebra.sendall(stream)
            # Of what it told and took back again nothing is left, but for links of its machine.
            until = time.monotonic() + 60
            while not (all(_decided(router, wanted)) and _more(router, before) <= len(wanted) + 2):
                assert time.monotonic() < until, _more(router, before)
                time.sleep(0.05)


def _decided(router: Router, prefixes: list[str]) -> list[int]:
    assert router.forwarding is not None
    return router.forwarding.fibs[4].lookup([p.partition("/")[0] for p in prefixes]).tolist()


def _more(router: Router, before: int) -> int:
    return int(router.show()["tables"]["prefixes4"]) - before
