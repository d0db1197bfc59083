"""Talking to a balancer that runs: one JSON object a line over a local socket."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..errors import ConfigError, PermissionDenied, PortError, WirepathError
from ..plain import plain

_FOLDER = Path("/run/wirepath/balancer")
_LONGEST = 1 << 22
_SECONDS = 30.0


def _namespace() -> int:
    """The network namespace that this thread is in: interfaces' names are only its."""
    return Path("/proc/thread-self/ns/net").stat().st_ino


def folder() -> Path:
    """Where balancers' sockets and states are. Raises PermissionDenied."""
    try:
        _FOLDER.mkdir(parents=True, exist_ok=True, mode=0o700)
    except PermissionError:
        raise PermissionDenied(f"{_FOLDER} can't be made (run as root)") from None
    return _FOLDER


def path_of(interface: str, suffix: str) -> Path:
    """A file of the balancer on an interface of this network namespace."""
    return _FOLDER / f"{_namespace()}-{interface}.{suffix}"


def running() -> list[str]:
    """Interfaces of this network namespace with a balancer."""
    prefix = f"{_namespace()}-"
    with contextlib.suppress(OSError):
        return sorted(p.name[len(prefix) : -5] for p in _FOLDER.glob(f"{prefix}*.sock"))
    return []


def _answers(path: Path) -> bool:
    """Somebody listens on a local socket."""
    try:
        with socket.socket(socket.AF_UNIX) as other:
            other.settimeout(1.0)
            other.connect(str(path))
    except ConnectionRefusedError:
        return False
    except OSError:
        return path.exists()
    return True


class Server:
    """Answers requests; `answer` takes one as a mapping and gives what is said back."""

    def __init__(
        self, interface: str, answer: Callable[[Mapping[str, Any]], Mapping[str, Any]]
    ) -> None:
        self._path = path_of(interface, "sock")
        self._answer = answer
        self._server: asyncio.Server | None = None
        self._clients: set[asyncio.StreamWriter] = set()

    async def start(self) -> None:
        """Raises PortError: another one answers here."""
        for path in folder().glob("*.sock"):
            if not _answers(path):
                path.unlink(missing_ok=True)  # of one that was killed, here or elsewhere
        if self._path.exists():
            raise PortError(
                "a balancer runs on this interface already (wirepath lb show; end it first)"
            )
        before = os.umask(0o177)
        try:
            self._server = await asyncio.start_unix_server(
                self._talk, str(self._path), limit=_LONGEST
            )
        finally:
            os.umask(before)

    async def stop(self) -> None:
        if self._server is None:
            return
        self._server.close()
        for client in list(self._clients):
            client.close()
        await self._server.wait_closed()
        self._path.unlink(missing_ok=True)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._clients.add(writer)
        try:
            while line := await reader.readline():
                writer.write(json.dumps(self._reply(line)).encode() + b"\n")
                await writer.drain()
        except (OSError, ValueError):
            pass  # whoever asked is gone, or sends no end of a line
        finally:
            self._clients.discard(writer)
            writer.close()

    def _reply(self, line: bytes) -> dict[str, Any]:
        try:
            request = json.loads(line)
            if not isinstance(request, dict):
                raise ConfigError("a request is one JSON object")
            return {"answer": plain(self._answer(request))}
        except ConfigError as error:
            return {"error": str(error), "config": True}
        except (WirepathError, ValueError, OSError) as error:
            return {"error": str(error), "config": False}


def ask(interface: str | None, **request: Any) -> dict[str, Any]:  # noqa: ANN401  # JSON
    """One request to the balancer on an interface, or to the only one of this network namespace.

    Raises PortError: none runs, or it does not answer; ConfigError: it refuses what was given.
    """
    if interface is None:
        found = running()
        if len(found) != 1:
            which = f"several run: {', '.join(found)}" if found else "no balancer runs here"
            mend = "--interface says which" if found else "wirepath lb run FILE starts one"
            raise PortError(f"{which} ({mend})")
        interface = found[0]
    try:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(_SECONDS)
            sock.connect(str(path_of(interface, "sock")))
            sock.sendall(json.dumps(request).encode() + b"\n")
            with sock.makefile("rb") as answers:
                reply = json.loads(answers.readline() or b"{}")
    except PermissionError:
        raise PermissionDenied(f"the balancer on {interface} is another user's") from None
    except (OSError, ValueError) as error:
        raise PortError(
            f"no balancer answers on {interface}: {error} (wirepath lb run FILE starts one)"
        ) from error
    if "error" in reply:
        raise (ConfigError if reply.get("config") else PortError)(reply["error"])
    answer: dict[str, Any] = reply.get("answer") or {}
    return answer
