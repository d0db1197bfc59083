"""The servers beside a publisher: retransmission, replay, snapshots."""

from __future__ import annotations

import threading
import time
from typing import Any

from . import _core
from .flows import flow_of
from .publish_config import PublishConfig


class Servers:
    """Those that a configuration asks for, bound by the constructor. Each has a thread."""

    def __init__(self, publisher: _core.Publisher, config: PublishConfig) -> None:
        self._retransmit: _core.RetransmitServer | None = None
        self._soup: dict[str, _core.SoupServer] = {}
        name = f"{config.host}:{config.port}"[:48]
        if config.retransmit is not None:
            self._retransmit = _core.RetransmitServer(
                publisher,
                {
                    **_address(config.retransmit),
                    "name": name,
                    "max_payload": config.max_payload,
                    "rate": float(config.retransmit_rate),
                    "delay_ns": config.retransmit_delay_us * 1000,
                    "loss": float(config.retransmit_loss),
                    "silent": config.retransmit_silent,
                },
            )
        for kind in ("soup", "glimpse"):
            address = getattr(config, kind)
            if address is not None:
                self._soup[kind] = _core.SoupServer(
                    publisher,
                    {
                        **_address(address),
                        "name": name,
                        "glimpse": kind == "glimpse",
                        "username": config.username,
                        "password": config.password,
                    },
                )

    def _all(self) -> list[_core.RetransmitServer | _core.SoupServer]:
        first = [self._retransmit] if self._retransmit is not None else []
        return [*first, *self._soup.values()]

    def start(self) -> None:
        """Begin to serve."""
        for server in self._all():
            server.start()

    def linger(self, stopped: threading.Event, linger: float) -> None:
        """Serve on for ``linger`` seconds, or until ``stopped``."""
        if self._all():
            deadline = time.monotonic() + linger
            while not stopped.wait(0.01) and time.monotonic() < deadline:
                pass

    def stop(self) -> None:
        """Close everything."""
        for server in self._all():
            server.stop()

    def stats(self) -> dict[str, dict[str, int] | None]:
        """Counters of each, None for one that was not asked for."""
        out: dict[str, dict[str, int] | None] = {
            "retransmit": self._retransmit.stats() if self._retransmit is not None else None
        }
        for kind in ("soup", "glimpse"):
            server = self._soup.get(kind)
            out[kind] = server.stats() if server is not None else None
        return out


def _address(text: str) -> dict[str, Any]:
    host, port = flow_of(text)
    return {"host": host, "port": port}
