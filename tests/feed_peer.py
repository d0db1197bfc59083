# SPDX-License-Identifier: Apache-2.0
"""The other side of feed tests: lines with losses that are known, and servers with what was lost.

Small and plain on purpose; built on struct and sockets, not on what is tested.
"""

from __future__ import annotations

import random
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from wirepath import _core

SESSION = b"SESSION__A"


def itch(messages: int, seed: int = 1) -> list[bytes]:
    """Messages of a generated day."""
    generator = _core.ItchGenerator(seed=seed, messages=messages, symbols=20)
    out: list[bytes] = []
    buffer = bytearray(1 << 20)
    while n := generator.generate(buffer):
        at = 0
        while at < n:
            size = int.from_bytes(buffer[at : at + 2], "big")
            out.append(bytes(buffer[at + 2 : at + 2 + size]))
            at += 2 + size
    return out


def mold(first: int, messages: list[bytes], session: bytes = SESSION) -> bytes:
    """A MoldUDP64 downstream packet."""
    blocks = b"".join(struct.pack(">H", len(m)) + m for m in messages)
    return session + struct.pack(">QH", first, len(messages)) + blocks


def heartbeat(following: int, session: bytes = SESSION) -> bytes:
    return session + struct.pack(">QH", following, 0)


def end(following: int, session: bytes = SESSION) -> bytes:
    return session + struct.pack(">QH", following, 0xFFFF)


@dataclass
class Impaired:
    """What a line carries, and which messages are not in it."""

    packets: list[tuple[int, bytes]] = field(default_factory=list)
    lost: set[int] = field(default_factory=set)


def impair(
    messages: list[bytes],
    rng: random.Random,
    *,
    pack: tuple[int, int] = (1, 8),
    loss: float = 0.0,
    burst: int = 1,
    reorder: float = 0.0,
    duplicate: float = 0.0,
    first: int = 1,
    session: bytes = SESSION,
) -> Impaired:
    """A line of its own packing, that loses bursts of packets, swaps and repeats some. The last
    packets are whole, so that what is missing is known before the session ends."""
    out = Impaired()
    i, skip = 0, 0
    while i < len(messages):
        n = rng.randint(*pack)
        part = messages[i : i + n]
        if skip == 0 and rng.random() < loss / burst:
            skip = burst
        if skip:
            skip -= 1
            out.lost |= set(range(first + i, first + i + len(part)))
        else:
            out.packets.append((first + i, mold(first + i, part, session)))
            if rng.random() < duplicate:
                out.packets.append(out.packets[-1])
        i += n
    for k in range(len(out.packets) - 1):
        if rng.random() < reorder:
            out.packets[k], out.packets[k + 1] = out.packets[k + 1], out.packets[k]
    return out


def ranges(numbers: Iterable[int]) -> list[list[int]]:
    """First and last of every run, in order."""
    out: list[list[int]] = []
    for n in sorted(numbers):
        if out and out[-1][1] == n - 1:
            out[-1][1] = n
        else:
            out.append([n, n])
    return out


def send_lines(
    lines: list[tuple[tuple[str, int], Impaired]],
    following: int,
    *,
    interface: str = "127.0.0.1",
    pace: float = 20_000.0,
    ends: int = 10,
    session: bytes = SESSION,
) -> None:
    """Send all lines side by side, in step by sequence number, then ends of session."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(interface))
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 1)
    queue = sorted(
        (i / max(len(line.packets), 1), k, packet)
        for k, (_, line) in enumerate(lines)
        for i, (_, packet) in enumerate(line.packets)
    )
    start = time.monotonic()
    for sent, (_, k, packet) in enumerate(queue, 1):
        sock.sendto(packet, lines[k][0])
        if sent % 16 == 0:
            while (late := sent / pace - (time.monotonic() - start)) > 0:
                time.sleep(min(late, 0.01))
    for _ in range(3):
        for flow, _ in lines:
            sock.sendto(heartbeat(following, session), flow)
        time.sleep(0.02)
    for _ in range(ends):
        for flow, _ in lines:
            sock.sendto(end(following, session), flow)
        time.sleep(0.02)
    sock.close()


class Service:
    """A thread with a socket, ended by leaving."""

    def __init__(self, kind: socket.SocketKind, host: str = "127.0.0.1", port: int = 0) -> None:
        self.socket = socket.socket(socket.AF_INET, kind)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind((host, port))
        self.socket.settimeout(0.05)
        self.over = threading.Event()
        self.address = self.socket.getsockname()
        self._thread = threading.Thread(target=self.serve, daemon=True)

    def serve(self) -> None:
        raise NotImplementedError

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self._thread.join()
        self.socket.close()

    @property
    def text(self) -> str:
        return f"{self.address[0]}:{self.address[1]}"


class MoldServer(Service):
    """Answers MoldUDP64 requests with as many whole messages as fit. The first answer with each
    number of `lose` is lost."""

    def __init__(
        self,
        messages: list[bytes],
        first: int = 1,
        *,
        lose: Iterable[int] = (),
        host: str = "127.0.0.1",
    ) -> None:
        super().__init__(socket.SOCK_DGRAM, host)
        self.messages, self.first, self.lose = messages, first, set(lose)
        self.requests: list[tuple[int, int]] = []

    def serve(self) -> None:
        while not self.over.is_set():
            try:
                request, who = self.socket.recvfrom(2048)
            except TimeoutError:
                continue
            session = request[:10]
            sequence, count = struct.unpack(">QH", request[10:20])
            self.requests.append((sequence, count))
            assert session == SESSION
            part: list[bytes] = []
            size = 20
            for m in self.messages[sequence - self.first : sequence - self.first + count]:
                if size + 2 + len(m) > 1400:
                    break
                part.append(m)
                size += 2 + len(m)
            lost = self.lose & set(range(sequence, sequence + len(part)))
            self.lose -= lost
            if not lost:
                self.socket.sendto(mold(sequence, part), who)


class StreamService(Service):
    """Serves TCP connections one after another by `talk`, a generator of bytes to send that is
    sent what was received (b"": nothing yet)."""

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        super().__init__(socket.SOCK_STREAM, host, port)
        self.socket.listen(4)
        self.connections = 0

    def talk(self) -> Iterator[bytes | None]:
        """Yields what to send, None to hang up; is sent what came."""
        raise NotImplementedError

    def serve(self) -> None:
        while not self.over.is_set():
            try:
                peer, _ = self.socket.accept()
            except TimeoutError:
                continue
            self.connections += 1
            peer.settimeout(0.02)
            with peer:
                talk = self.talk()
                out = next(talk, None)
                while out is not None and not self.over.is_set():
                    try:
                        if out:
                            peer.sendall(out)
                        came = peer.recv(65536)
                        if not came:
                            break
                    except TimeoutError:
                        came = b""
                    except OSError:
                        break
                    try:
                        out = talk.send(came)
                    except StopIteration:
                        break


def soup(kind: bytes, payload: bytes = b"") -> bytes:
    return struct.pack(">H", len(payload) + 1) + kind + payload


class GlimpseServer(StreamService):
    """Sends a snapshot that ends with a sequence number; the first `broken` connections break in
    the middle of it."""

    def __init__(
        self,
        messages: list[bytes],
        following: int,
        *,
        broken: int = 0,
        password: bytes = b"secret",
        host: str = "127.0.0.1",
    ) -> None:
        super().__init__(host)
        self.messages, self.following = messages, following
        self.broken, self.password = broken, password
        self.logins: list[bytes] = []

    def talk(self) -> Iterator[bytes | None]:
        came = b""
        while len(came) < 49:
            came += yield b""
        self.logins.append(came[:49])
        if came[9:19].strip() != self.password:
            yield soup(b"J", b"A")
            return
        yield soup(b"A", b"GLIMPSE   " + b"%20d" % 1)
        half = len(self.messages) // 2
        yield b"".join(soup(b"S", m) for m in self.messages[:half])
        if self.connections <= self.broken:
            return
        yield b"".join(soup(b"S", m) for m in self.messages[half:])
        yield soup(b"S", b"G" + b"%20d" % self.following)
        while True:
            yield b""


@contextmanager
def publishing_from(host: object, arguments: list[str]) -> Iterator[subprocess.Popen[str]]:
    """This file as a process on a host of a lab; see `main`."""
    command = [sys.executable, __file__, *arguments]
    process = host.popen(  # type: ignore[attr-defined]
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def lossy_pair(messages: list[bytes], seed: int, **how: float) -> tuple[Impaired, Impaired]:
    """Lines A and B, each by its own dice."""
    return (
        impair(messages, random.Random(seed), **how),  # type: ignore[arg-type]
        impair(messages, random.Random(seed + 1), **how),  # type: ignore[arg-type]
    )


def whole(records: np.ndarray, count: int, first: int = 1) -> bool:
    """Every message exactly once and in order."""
    return bool(np.array_equal(records["seq"], np.arange(first, first + count, dtype=np.uint64)))


def main() -> None:
    """`feed_peer.py SEED MESSAGES INTERFACE-ADDRESS GROUP-A GROUP-B PORT SERVE`: in a lab."""
    seed, count, interface, a, b, port, serve = sys.argv[1:8]
    messages = itch(int(count), int(seed))
    lines = lossy_pair(messages, int(seed), loss=0.01, burst=5, reorder=0.001, duplicate=0.001)
    flows = [(a, int(port)), (b, int(port))]
    print(ranges(lines[0].lost & lines[1].lost), flush=True)
    server = MoldServer(messages, host=interface) if serve == "serve" else None
    if server is not None:
        server.__enter__()
        print(server.text, flush=True)
    else:
        print("-", flush=True)
    sys.stdin.readline()  # go
    send_lines(list(zip(flows, lines, strict=True)), len(messages) + 1, interface=interface)
    sys.stdin.readline()  # everything came
    if server is not None:
        server.__exit__()


if __name__ == "__main__":
    main()
