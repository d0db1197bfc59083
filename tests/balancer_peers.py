"""Both ends of the balancer's lab tests: ``balancer_peers.py serve|connect …``.

``serve NAME ADDRESS PORT`` greets every connection with its name and echoes what comes.
``connect ADDRESS PORT COUNT`` opens connections and keeps them; each line on stdin is a round, in
which every connection sends a block of its own and wants the same back. One JSON object a round.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import resource
import sys
from collections import Counter

_LIMIT = 1 << 16


def room() -> None:
    """Thousands of sockets in a process."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 16384), hard))


async def serve(name: str, address: str, port: int) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            writer.write(name.encode().ljust(8))
            while data := await reader.read(_LIMIT):
                writer.write(data)
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(talk, address, port, backlog=4096)
    print("ready", flush=True)
    async with server:
        await server.serve_forever()


class Connection:
    def __init__(self, number: int) -> None:
        self.random = random.Random(number)
        self.server = ""
        self.alive = False
        self.why = ""
        self.streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def open(self, address: str, port: int, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                self.streams = await asyncio.open_connection(address, port)
                self.server = (await self.streams[0].readexactly(8)).decode().strip()
                self.alive = True
        except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
            self.why = f"open: {type(error).__name__}"

    async def round(self, size: int, seconds: float) -> None:
        if not self.alive or self.streams is None:
            return
        block = self.random.randbytes(size)
        reader, writer = self.streams
        try:
            async with asyncio.timeout(seconds):
                writer.write(block)
                await writer.drain()
                back = await reader.readexactly(size)
            if back != block:
                self.alive, self.why = False, "other bytes"
        except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
            self.alive, self.why = False, type(error).__name__


def report(connections: list[Connection]) -> None:
    living = Counter(c.server for c in connections if c.alive)
    dead = Counter(f"{c.server or '-'} {c.why}" for c in connections if not c.alive)
    print(json.dumps({"alive": living, "dead": dead}), flush=True)


async def connect(address: str, port: int, count: int) -> None:
    connections = [Connection(i) for i in range(count)]
    await asyncio.gather(*(c.open(address, port, 60.0) for c in connections))
    report(connections)
    while line := await asyncio.to_thread(sys.stdin.readline):
        size, seconds = line.split()
        await asyncio.gather(*(c.round(int(size), float(seconds)) for c in connections))
        report(connections)


if __name__ == "__main__":
    room()
    what, *rest = sys.argv[1:]
    if what == "serve":
        asyncio.run(serve(rest[0], rest[1], int(rest[2])))
    else:
        asyncio.run(connect(rest[0], int(rest[1]), int(rest[2])))
