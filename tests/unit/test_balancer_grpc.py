"""The gRPC health check against gRPC's own server and health service."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from concurrent import futures
from typing import Any

import pytest

from wirepath.balancer.config import VipConfig
from wirepath.balancer.health import Outcome, check

_WHY = "grpcio-health-checking is not installed (pip install grpcio-health-checking)"
grpc: Any = pytest.importorskip("grpc", reason=_WHY)
health: Any = pytest.importorskip("grpc_health.v1.health", reason=_WHY)
health_pb2: Any = pytest.importorskip("grpc_health.v1.health_pb2", reason=_WHY)
health_pb2_grpc: Any = pytest.importorskip("grpc_health.v1.health_pb2_grpc", reason=_WHY)

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(params=[True, False], ids=["with health", "without"])
def server(request: pytest.FixtureRequest) -> Iterator[tuple[int, Any]]:
    """Its port, and its health service."""
    servicer = health.HealthServicer()
    out = grpc.server(futures.ThreadPoolExecutor(max_workers=2))
    if request.param:
        health_pb2_grpc.add_HealthServicer_to_server(servicer, out)
    port = out.add_insecure_port("127.0.0.1:0")
    out.start()
    yield port, servicer if request.param else None
    out.stop(None).wait(30)


def ask(port: int, service: str) -> Outcome:
    vip = VipConfig(
        name="v",
        address="127.0.0.1",
        port=port,
        check="grpc",
        check_service=service,
        check_interval=60.0,
        check_timeout=30.0,
    )
    sock = socket.socket()
    sock.setblocking(False)
    return asyncio.run(check(vip, sock, "127.0.0.1", port))


def test_what_a_real_server_says(server: tuple[int, Any]) -> None:
    port, servicer = server
    unknown = "the server does not know the health service, or the service asked for"
    if servicer is None:
        assert ask(port, "") == Outcome(False, unknown)
        return
    status = health_pb2.HealthCheckResponse
    assert ask(port, "") == Outcome(True)
    # It sends an empty answer, and NOT_FOUND in the trailers.
    assert "may not know the service asked for" in ask(port, "orders").reason
    long = "a.service.with.a.name.of." + "many.words." * 20
    for name in ("orders", long):
        servicer.set(name, status.SERVING)
        assert ask(port, name) == Outcome(True)
        servicer.set(name, status.NOT_SERVING)
        assert ask(port, name) == Outcome(False, f"status {status.NOT_SERVING}, not SERVING")
        servicer.set(name, status.SERVING)
        assert ask(port, name) == Outcome(True)
    servicer.enter_graceful_shutdown()
    assert ask(port, "orders").ok is False
