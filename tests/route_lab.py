"""Two hosts and a router between them, each in a namespace of its own, and what the hosts say."""

from __future__ import annotations

import json
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, Self

import pytest

from wirepath import programs
from wirepath.lab import Lab
from wirepath.route.config import RouterConfig
from wirepath.route.driver import running
from wirepath.route.report import report
from wirepath.route.router import Router

WIREPATH = [sys.executable, "-m", "wirepath"]
SECONDS = 20.0
SMALL = {"groups4": 256, "groups6": 256, "next_hops": 255}
ECHO = {4: (8, 0), 6: (128, 129)}
TRANSPORT = {4: socket.IPPROTO_ICMP, 6: socket.IPPROTO_ICMPV6}
FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}


class Reply(NamedTuple):
    """An ICMP message: its type and code, and who sent it."""

    type: int
    code: int
    source: str


NOTHING = Reply(255, 255, "")


def in_the_machine() -> bool:
    """Whether this is the virtual machine of `./dev test --vm`, whose kernel has all that labs of
    the router ask for."""
    return bool(os.environ.get("WIREPATH_VM"))


def unsupported(why: str) -> NoReturn:
    """This kernel cannot do what the test needs: a skip, and a failure in the virtual machine."""
    if in_the_machine():
        pytest.fail(f"the machine's kernel should do it: {why}")
    pytest.skip(f"unsupported: {why}")


def wait_until(what: Callable[[], Any], why: str, seconds: float = SECONDS) -> Any:
    """The first true value; fails after so long."""
    end = time.monotonic() + seconds
    while not (value := what()):
        assert time.monotonic() < end, f"after {seconds} s: {why}"
        time.sleep(0.05)
    return value


def checksum(data: bytes) -> int:
    """RFC 1071, of a header whose own field is 0."""
    total = sum(struct.unpack(f"!{len(data) // 2}H", data + b"\0" * (len(data) % 2)))
    while total >> 16:
        total = (total >> 16) + (total & 0xFFFF)
    return ~total & 0xFFFF


class RouterLab:
    """a - r - b; r is the router, with interfaces wp0 (to a) and wp1 (to b)."""

    ports = ("wp0", "wp1")

    def __init__(self, name: str, **options: Any) -> None:
        self.lab = Lab(name, ["a", "r", "b"], **options)
        self._command: subprocess.Popen[str] | None = None
        self.router: Router | None = None
        self._peers: list[programs.Attachment] = []

    def __enter__(self) -> Self:
        self.lab.__enter__()
        try:
            # A veth pair carries checksums that nobody has worked out yet, and tags beside the
            # frame: what XDP sends on would go out like that. What comes is heard unmerged.
            for host in ("a", "b"):
                off = ("tx", "off", "tso", "off", "gso", "off", "txvlan", "off", "gro", "off")
                self.run(host, "ethtool", "-K", "wp0", *off)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(AssertionError):
            self.stop()
        with suppress(AssertionError):
            self.stop_command()
        self._peers.clear()
        self.lab.__exit__(None, None, None)

    # --- hosts ----------------------------------------------------------------------------------
    def run(self, host: str, *command: object, timeout: float = 60) -> str:
        """Output of a command that must succeed."""
        done = self.lab[host].run(
            list(map(str, command)), capture_output=True, text=True, timeout=timeout
        )
        assert done.returncode == 0, (host, command, done.stdout, done.stderr)
        return str(done.stdout)

    def address(self, host: str, family: int = 4) -> str:
        interface = self.lab[host].interface
        return interface.ipv4 if family == 4 else str(interface.ipv6)

    # --- the router -----------------------------------------------------------------------------
    def start(self, **config: Any) -> None:
        """A router of this process, in force when this returns."""
        if config.get("attach") == "native":
            self._take_frames()
        router = Router(RouterConfig(interfaces=self.ports, **SMALL, **config))
        with self.lab["r"].enter():
            router.start()
        self.router = router

    def _take_frames(self) -> None:
        """The end of a veth pair takes frames of XDP where it has a program of its own."""
        for host in ("a", "b"):
            with self.lab[host].enter():
                self._peers.append(programs.attach(programs.load("count"), "wp0", "native"))

    def stop(self) -> dict[str, Any]:
        """What it reports at its end; {} where none runs."""
        router, self.router = self.router, None
        if router is None:
            return {}
        router.stop()
        with self.lab["r"].enter():
            return router.join()

    def counters(self) -> dict[str, Any]:
        """What the router's program counts, whoever started it."""
        with self.lab["r"].enter():
            return report(running("wp0"))

    def start_command(self, *arguments: object) -> None:
        """`wirepath route run`, in force when this returns. Interfaces are wp0 and wp1, or what a
        --config says."""
        ports = () if "--config" in arguments else self.ports
        command = [*WIREPATH, "route", "run", *ports, *map(str, arguments), "--json"]
        self._command = self.lab["r"].popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert self._command.stderr is not None
        line = self._command.stderr.readline()
        if " on " not in line:
            self._command.kill()
            raise AssertionError(line + self._command.communicate(timeout=20)[1])

    def stop_command(self) -> dict[str, Any]:
        """What it reports at its end; {} where it does not run."""
        process, self._command = self._command, None
        if process is None:
            return {}
        process.terminate()
        try:
            out, err = process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)
            raise
        assert process.returncode == 130, err
        return json.loads(out)

    def kill(self) -> None:
        """As the kernel does with a process that takes too much memory."""
        assert self._command is not None
        self._command.kill()
        self._command.communicate(timeout=20)
        self._command = None

    # --- what the hosts do ----------------------------------------------------------------------
    def ping(
        self,
        family: int = 4,
        *,
        to: str | None = None,
        hops: int = 64,
        size: int = 56,
        seconds: float = SECONDS,
    ) -> Reply:
        """An echo request from a, and the ICMP message that comes of it."""
        target = to or self.address("b", family)
        kind = ECHO[family][0]
        with (
            self.lab["a"].enter(),
            socket.socket(FAMILY[family], socket.SOCK_RAW, TRANSPORT[family]) as sock,
        ):
            if family == 4:
                sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, hops)
                sock.setsockopt(socket.IPPROTO_IP, 10, 2)  # IP_MTU_DISCOVER: DO
            else:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, hops)
            message = struct.pack("!BBHHH", kind, 0, 0, 7, 7) + bytes(size)
            if family == 4:
                message = message[:2] + struct.pack("!H", checksum(message)) + message[4:]
            sock.sendto(message, (target, 0))
            return self._answer(sock, family, kind, seconds)

    def _answer(self, sock: socket.socket, family: int, kind: int, seconds: float) -> Reply:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            sock.settimeout(left)
            try:
                data, source = sock.recvfrom(4096)
            except TimeoutError:
                break
            at = (data[0] & 15) * 4 if family == 4 else 0
            neighbours = family == 6 and 133 <= data[at] <= 137
            if data[at] != kind and not neighbours:
                return Reply(data[at], data[at + 1], source[0])
        return NOTHING

    def datagrams(self, count: int, family: int = 4, size: int = 100) -> int:
        """Datagrams from a to b, one by one, each answered; how many answers came."""
        server = self.socket("b", family, socket.SOCK_DGRAM)
        with server, self.socket("a", family, socket.SOCK_DGRAM) as client:
            server.bind((self.address("b", family), 0))
            client.connect((self.address("b", family), server.getsockname()[1]))
            client.settimeout(SECONDS)
            server.settimeout(SECONDS)
            back = 0
            for i in range(count):
                client.send(struct.pack("!I", i) + bytes(size - 4))
                data, source = server.recvfrom(65536)
                server.sendto(data, source)
                back += client.recv(65536)[:4] == struct.pack("!I", i)
            return back

    def stream(self, total: int, family: int = 4) -> int:
        """Bytes over TCP from a to b; how many came."""
        server = self.socket("b", family, socket.SOCK_STREAM)
        with server, self.socket("a", family, socket.SOCK_STREAM) as client:
            server.bind((self.address("b", family), 0))
            server.listen(1)
            server.settimeout(SECONDS)
            got = 0

            def take() -> None:
                nonlocal got
                connection, _ = server.accept()
                with connection:
                    connection.settimeout(SECONDS)
                    while data := connection.recv(65536):
                        got += len(data)

            thread = threading.Thread(target=take)
            thread.start()
            client.settimeout(SECONDS)
            client.connect(server.getsockname()[:2])
            client.sendall(bytes(total))
            client.close()
            thread.join(SECONDS)
            return got

    def socket(self, host: str, family: int, kind: int) -> socket.socket:
        """Of a host."""
        with self.lab[host].enter():
            return socket.socket(FAMILY[family], kind)

    def sniffer(self, host: str) -> Sniffer:
        """Hears what comes to a host from now on."""
        return Sniffer(self.lab, host)


class Sniffer:
    """Frames that come to a host's wp0."""

    def __init__(self, lab: Lab, host: str) -> None:
        with lab[host].enter():
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
            self._socket.bind(("wp0", 3))
        self._socket.setblocking(False)

    def frames(self) -> list[bytes]:
        """Those that came since, without a host's own."""
        out = []
        with suppress(BlockingIOError):
            while True:
                data, address = self._socket.recvfrom(65536)
                if address[2] != socket.PACKET_OUTGOING:
                    out.append(data)
        return out

    def close(self) -> None:
        self._socket.close()


def write_pcap(path: Path, frames: list[bytes]) -> None:
    """As tshark reads it."""
    with path.open("wb") as file:
        file.write(struct.pack("=IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1))
        for i, frame in enumerate(frames):
            file.write(struct.pack("=IIII", 1, i, len(frame), len(frame)) + frame)
