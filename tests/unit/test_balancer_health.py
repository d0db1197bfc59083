"""Checks of servers against real sockets on loopback, and the call of gRPC byte by byte."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable

import pytest

from wirepath.balancer.config import VipConfig
from wirepath.balancer.grpc_health import HealthCall
from wirepath.balancer.health import Outcome, check, failed

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def vip(kind: str, **values: object) -> VipConfig:
    protocol = "udp" if kind == "udp" else "tcp"
    values = {"check_timeout": 0.5} | values
    return VipConfig(name="v", address="127.0.0.1", port=1, protocol=protocol, check=kind, **values)


async def against(talk: Talk | None, config: VipConfig) -> Outcome:
    """One check of a server that talks like this; None: nobody listens."""
    kind = socket.SOCK_STREAM
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        if talk is None:
            sock = socket.socket(socket.AF_INET, kind)
            sock.setblocking(False)
            return await check(config, sock, "127.0.0.1", port)
    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    async with server:
        sock = socket.socket(socket.AF_INET, kind)
        sock.setblocking(False)
        outcome = await check(config, sock, "127.0.0.1", server.sockets[0].getsockname()[1])
    assert sock.fileno() == -1
    return outcome


def says(answer: bytes) -> Talk:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.read(4096)
        assert request.startswith(b"GET /up HTTP/1.1\r\nHost: 127.0.0.1:")
        writer.write(answer)
        await writer.drain()
        writer.close()

    return talk


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()
    writer.close()


@pytest.mark.parametrize(
    ("kind", "talk", "ok", "reason"),
    [
        ("tcp", silent, True, ""),
        ("tcp", None, False, "refused"),
        ("http", says(b"HTTP/1.1 200 OK\r\n\r\n"), True, ""),
        ("http", says(b"HTTP/1.0 200\r\n\r\n"), True, ""),
        ("http", says(b"HTTP/1.1 503 Busy\r\n\r\n"), False, "status 503, not 200"),
        ("http", says(b"SSH-2.0-OpenSSH\r\n"), False, "not HTTP/1"),
        ("http", says(b"x" * 200_000), False, "not HTTP/1"),
        ("http", says(b""), False, "not HTTP/1"),
        ("http", silent, False, "no answer in 0.5 s"),
        ("http", None, False, "refused"),
        ("grpc", silent, False, "no answer in 0.5 s"),
    ],
)
def test_over_tcp(kind: str, talk: Talk | None, ok: bool, reason: str) -> None:
    outcome = asyncio.run(against(talk, vip(kind, check_path="/up")))
    assert outcome.ok is ok
    assert reason in outcome.reason


@pytest.mark.parametrize("answers", [True, False])
def test_udp_wants_an_answer(answers: bool) -> None:
    class Echo(asyncio.DatagramProtocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = transport

        def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
            assert data == b"are you there?"
            if answers:
                self.transport.sendto(b"yes", address)  # type: ignore[attr-defined]

    async def run() -> Outcome:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(Echo, local_addr=("127.0.0.1", 0))
        port = transport.get_extra_info("sockname")[1]
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.setblocking(False)
        outcome = await check(vip("udp", check_send="are you there?"), sock, "127.0.0.1", port)
        transport.close()
        return outcome

    outcome = asyncio.run(run())
    assert outcome == (Outcome(True) if answers else Outcome(False, "no answer in 0.5 s"))


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(111, "Connect call failed ('10.0.0.1', 80)"), "connection refused"),
        (OSError(0, "10.0.0.9 does not answer on eth1"), "10.0.0.9 does not answer on eth1"),
        (ConnectionResetError("Connection lost"), "Connection lost"),
        (socket.gaierror(-2, "Name or service not known"), "Name or service not known"),
        (ConnectionAbortedError(), "the connection broke off (ConnectionAbortedError)"),
    ],
)
def test_every_failure_says_why(error: OSError, reason: str) -> None:
    assert failed(error) == Outcome(False, reason)


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    head = len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big")
    return head + payload


def answer(status: bytes) -> bytes:
    message = b"\0" + len(status).to_bytes(4, "big") + status
    return (
        frame(4, 0, 0, b"")
        + frame(4, 1, 0, b"")
        + frame(1, 4, 1, b"\x88")
        + frame(0, 0, 1, message)
        + frame(1, 5, 1, b"\x00")
    )


@pytest.mark.parametrize("size", [1, 3, 1000])
@pytest.mark.parametrize(
    ("data", "serving", "reason"),
    [
        (answer(b"\x08\x01"), True, ""),
        (answer(b"\x08\x02"), False, "status 2, not SERVING"),
        (answer(b""), False, "status 0, not SERVING"),
        (frame(4, 0, 0, b"") + frame(1, 5, 1, b"\x88"), False, "does not know"),
        (frame(7, 0, 0, bytes(8)), False, "refused"),
        (frame(3, 0, 1, bytes(4)), False, "refused"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", False, "not HTTP/2"),
        (frame(4, 0, 0, b""), False, "ended without an answer"),
    ],
)
def test_a_grpc_answer_in_pieces(data: bytes, serving: bool, reason: str, size: int) -> None:
    call = HealthCall("server:50051", "orders")
    for at in range(0, len(data), size):
        if call.serving is None:
            call.received(data[at : at + size])
    if call.serving is None:
        call.closed()
    assert call.serving is serving
    assert reason in call.reason


def test_what_a_grpc_call_sends() -> None:
    call = HealthCall("server:50051", "orders")
    sent = call.to_send
    assert sent.startswith(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    assert b"/grpc.health.v1.Health/Check" in sent
    assert sent.endswith(b"\0\0\0\0\x08\x0a\x06orders")
    call.to_send = b""
    call.received(frame(6, 0, 0, b"12345678"))
    assert call.to_send == frame(6, 1, 0, b"12345678")
