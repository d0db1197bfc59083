"""The controlling side of a conversation with an end: a line of JSON each way, in limited time."""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import sys
import time
from typing import Any

from .. import errors
from ..errors import ConfigError, PortError, WirepathError
from ..lab import Host

Message = dict[str, Any]
_LONGEST_LINE = 256 << 20


class Channel:
    """To an end. Raises what the end raised, and :class:`PortError` where it is gone."""

    def __init__(self, what: str, reading: int, writing: int) -> None:
        self.what = what
        self._reading, self._writing = reading, writing
        self._have = bytearray()

    def tell(self, message: Message) -> None:
        """Send a message."""
        data = json.dumps(message).encode() + b"\n"
        try:
            while data:
                data = data[os.write(self._writing, data) :]
        except OSError as error:
            raise PortError(f"{self.what} has gone: {error.strerror}{self._last()}") from None

    def hear(self, timeout: float) -> Message:
        """The next answer. Raises the error that it says."""
        deadline = time.monotonic() + timeout
        searched = 0
        while (at := self._have.find(b"\n", searched)) < 0:
            searched = len(self._have)
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._reading], [], [], left)[0]:
                raise PortError(f"{self.what} did not answer within {timeout:.0f} s{self._last()}")
            try:
                more = os.read(self._reading, 1 << 20)
            except OSError as error:
                raise PortError(f"{self.what} has gone: {error.strerror}{self._last()}") from None
            if not more or len(self._have) > _LONGEST_LINE:
                raise PortError(f"{self.what} ended without an answer{self._last()}")
            self._have += more
        line = bytes(self._have[:at])
        del self._have[: at + 1]
        try:
            answer: Message = json.loads(line)
        except ValueError:
            raise PortError(f"{self.what} answers no JSON: is it `wirepath bench send`?") from None
        if "error" in answer:
            kind = getattr(errors, str(answer.get("kind")), PortError)
            raised = kind if issubclass(kind, WirepathError) else PortError
            raise raised(f"{self.what}: {answer['error']}")
        return answer

    def ask(self, message: Message, timeout: float) -> Message:
        """Send a message and wait for the answer."""
        self.tell(message)
        return self.hear(timeout)

    def _last(self) -> str:
        return ""

    def close(self) -> None:
        """End the conversation."""

    def abandon(self) -> None:
        """End it whatever the other side is at."""
        self.close()


class Process(Channel):
    """An end that we start, here or on a host of a lab."""

    def __init__(self, end: str, what: str, host: Host | None) -> None:
        command = [sys.executable, "-P", "-m", "wirepath.bench.ends", end]
        options: dict[str, Any] = {
            "stdin": subprocess.PIPE,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
            "start_new_session": True,  # a Ctrl-C at the terminal is ours
        }
        self._process: subprocess.Popen[bytes] = (
            host.popen(command, **options) if host else subprocess.Popen(command, **options)
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        super().__init__(what, self._process.stdout.fileno(), self._process.stdin.fileno())

    def _last(self) -> str:
        self._process.kill()
        _, said = self._process.communicate()
        lines = said.decode(errors="replace").strip().splitlines()
        return f": {lines[-1]}" if lines else ""

    def close(self) -> None:
        if self._process.stdin is not None and not self._process.stdin.closed:
            self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for stream in (self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()

    def abandon(self) -> None:
        self._process.kill()
        self.close()


class Remote(Channel):
    """A sender that listens on another host: ``wirepath bench send``."""

    def __init__(self, address: str) -> None:
        host, port = tcp_address(address, "sender")
        try:
            self._socket = socket.create_connection((host, port), timeout=5)
        except OSError as error:
            raise PortError(
                f"no sender answers at {address}: {error.strerror or error} (start `wirepath bench "
                "send` there first)"
            ) from None
        self._socket.settimeout(None)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        super().__init__(f"the sender at {address}", self._socket.fileno(), self._socket.fileno())

    def close(self) -> None:
        self._socket.close()


def tcp_address(text: str, field: str) -> tuple[str, int]:
    """``host:port`` as a pair."""
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isdigit() or not 1 <= int(port) <= 65535:
        raise ConfigError(
            f'{field} = "{text}" is not usable: it must be HOST:PORT, such as 10.0.0.2:9200'
        )
    return host, int(port)
