"""A socket by which ``wirepath switch`` asks a running process about its switches and changes them.

``/dev/shm/wirepath-switch.PID``, created 0600 and there while an ``auto`` port is open. A
connection is one line of JSON each way: ``{"port": SPEC or null, "changes": {…}, "reload": false}``
is answered with ``{"ports": {SPEC: info}}`` or ``{"error": text}``.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ConfigError, PortError, WirepathError
from ..plain import plain

if TYPE_CHECKING:
    from .port import SwitchedPort

_FOLDER = Path("/dev/shm")
_PREFIX = "wirepath-switch."
_SECONDS = 10.0
_MOST = 1 << 20  # bytes of a request

_server: _Server | None = None


def path_of(pid: int) -> Path:
    """Where process ``pid`` listens."""
    return _FOLDER / f"{_PREFIX}{pid}"


def processes() -> list[int]:
    """Processes of this user with a switch, by number."""
    found = []
    for entry in _FOLDER.glob(f"{_PREFIX}*"):
        number = entry.name.removeprefix(_PREFIX)
        if number.isdecimal() and Path("/proc", number).exists() and os.access(entry, os.W_OK):
            found.append(int(number))
    return sorted(found)


class _Server:
    def __init__(self, ports: Callable[[], Sequence[SwitchedPort]]) -> None:
        self._ports = ports
        self._path = path_of(os.getpid())
        self._owner = os.getpid()
        _remove_abandoned()
        self._path.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            os.fchmod(self._socket.fileno(), 0o600)  # what bind() makes the file with
            self._socket.bind(str(self._path))
            self._socket.listen(4)
        except BaseException:
            self._socket.close()
            raise
        self._thread = threading.Thread(target=self._serve, name="wp-switch-ctl", daemon=True)
        self._thread.start()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # wakes accept()
        self._socket.close()
        if os.getpid() == self._owner:
            self._path.unlink(missing_ok=True)

    def _serve(self) -> None:
        while True:
            try:
                peer, _ = self._socket.accept()
            except OSError:
                return
            with peer, contextlib.suppress(OSError):
                peer.settimeout(_SECONDS)
                peer.sendall((json.dumps(plain(self._answer(peer))) + "\n").encode())

    def _answer(self, peer: socket.socket) -> dict[str, Any]:
        try:
            return {"ports": _carry_out(json.loads(_line(peer)), self._ports())}
        except WirepathError as error:
            return {"error": str(error)}
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            return {"error": f"not a request of wirepath switch: {error}"}


def _carry_out(request: dict[str, Any], ports: Sequence[SwitchedPort]) -> dict[str, Any]:
    wanted = request.get("port")
    chosen = [port for port in ports if wanted in (None, port.spec)]
    if not chosen:
        have = ", ".join(port.spec for port in ports) or "none"
        raise ConfigError(f"there is no switched port {wanted or ''} (those open are: {have})")
    changes = request.get("changes") or {}
    for port in chosen:
        if request.get("reload"):
            port.switch.reload()
        if changes:
            port.switch.configure(**changes)
    return {port.spec: port.switch.info() for port in chosen}


def _line(peer: socket.socket) -> bytes:
    out = b""
    while not out.endswith(b"\n") and len(out) < _MOST:
        part = peer.recv(65536)
        if not part:
            break
        out += part
    return out


def start(ports: Callable[[], Sequence[SwitchedPort]]) -> None:
    """Listen, unless that is done already. Where it cannot be done, a port works without."""
    global _server  # noqa: PLW0603 -- one for all ports of a process
    if _server is None or _server._owner != os.getpid():
        with contextlib.suppress(OSError):
            _server = _Server(ports)


def stop() -> None:
    """Listen no more."""
    global _server  # noqa: PLW0603
    if _server is not None:
        _server.close()
        _server = None


def ask(pid: int, **request: object) -> dict[str, Any]:
    """The answer of process ``pid``: info of its switches by port spec.

    Raises :class:`~wirepath.errors.ConfigError` for what it refuses, and
    :class:`~wirepath.errors.PortError` where it does not answer.
    """
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as peer:
            peer.settimeout(_SECONDS)
            peer.connect(str(path_of(pid)))
            peer.sendall((json.dumps(plain(request)) + "\n").encode())
            answer = json.loads(_line(peer))
    except (OSError, ValueError) as error:
        why = error if path_of(pid).exists() else "it has no auto port"
        have = ", ".join(map(str, processes())) or "none"
        raise PortError(
            f"process {pid} does not answer about switches: {why} "
            f"(processes of this user that have some: {have})"
        ) from None
    if "error" in answer:
        raise ConfigError(answer["error"])
    ports: dict[str, Any] = answer["ports"]
    return ports


def _remove_abandoned() -> None:
    """What killed processes left."""
    for entry in _FOLDER.glob(f"{_PREFIX}*"):
        number = entry.name.removeprefix(_PREFIX)
        if number.isdecimal() and not Path("/proc", number).exists():
            with contextlib.suppress(OSError):
                entry.unlink()
