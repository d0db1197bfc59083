"""Checks of servers: one connection or datagram each, over asyncio.

``open_socket`` gives the socket of a check, connected or not yet: where its packets go is the
caller's affair (:mod:`wirepath.balancer.tunnel`).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass

from ..flows import flow_text
from .config import VipConfig
from .grpc_health import HealthCall

_READ = 16384


@dataclass(frozen=True)
class Outcome:
    """What a check came to. reason: why it is not ok."""

    ok: bool
    reason: str = ""


def failed(error: OSError) -> Outcome:
    """A system's error as an outcome, which always says something."""
    if error.errno and error.errno > 0:  # asyncio gives words of its own, and addresses
        return Outcome(False, os.strerror(error.errno).lower())
    text = error.strerror or str(error)
    return Outcome(False, text or f"the connection broke off ({type(error).__name__})")


async def check(vip: VipConfig, sock: socket.socket, host: str, port: int) -> Outcome:
    """One check as `vip` wants it, over `sock` (not connected, not blocking) to host and port.

    Never raises but for cancellation; the socket is closed at the end.
    """
    try:
        async with asyncio.timeout(vip.check_timeout):
            if vip.check == "udp":
                return await _udp(vip, sock, host, port)
            return await _over_tcp(vip, sock, host, port)
    except TimeoutError:
        return Outcome(False, f"no answer in {vip.check_timeout:g} s")
    except OSError as error:
        return failed(error)
    finally:
        sock.close()


async def _udp(vip: VipConfig, sock: socket.socket, host: str, port: int) -> Outcome:
    loop = asyncio.get_running_loop()
    await loop.sock_connect(sock, (host, port))
    await loop.sock_sendall(sock, vip.check_send.encode())
    await loop.sock_recv(sock, _READ)  # any answer: somebody is there
    return Outcome(True)


@contextlib.asynccontextmanager
async def _connection(
    sock: socket.socket, host: str, port: int
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    await asyncio.get_running_loop().sock_connect(sock, (host, port))
    reader, writer = await asyncio.open_connection(sock=sock)
    try:
        yield reader, writer
    finally:
        writer.close()


async def _over_tcp(vip: VipConfig, sock: socket.socket, host: str, port: int) -> Outcome:
    async with _connection(sock, host, port) as (reader, writer):
        if vip.check == "http":
            return await _http(vip, reader, writer, flow_text(host, port))
        if vip.check == "grpc":
            return await _grpc(vip, reader, writer, flow_text(host, port))
        return Outcome(True)


async def _http(
    vip: VipConfig, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str
) -> Outcome:
    request = (
        f"GET {vip.check_path} HTTP/1.1\r\nHost: {host}\r\n"
        "User-Agent: wirepath\r\nConnection: close\r\n\r\n"
    )
    writer.write(request.encode("ascii"))
    try:
        line = await reader.readline()
    except ValueError:  # of a line longer than the reader's limit
        line = b""
    words = line.split(maxsplit=2)
    if len(words) < 2 or not words[0].startswith(b"HTTP/1.") or not words[1].isdigit():
        return Outcome(False, "the answer is not HTTP/1")
    status = int(words[1])
    if status != vip.check_status:
        return Outcome(False, f"status {status}, not {vip.check_status}")
    return Outcome(True)


async def _grpc(
    vip: VipConfig, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str
) -> Outcome:
    call = HealthCall(host, vip.check_service)
    while call.serving is None:
        writer.write(call.to_send)
        call.to_send = b""
        data = await reader.read(_READ)
        if data:
            call.received(data)
        else:
            call.closed()
    return Outcome(call.serving, call.reason)
