"""A worker: one pinned thread that polls ports and runs native stages, without the GIL."""

from __future__ import annotations

from types import TracebackType
from typing import Literal

from . import _core
from .errors import ConfigError
from .ports import Port


class Worker:
    """Polls ports, runs its stages over each batch, carries the verdicts out.

    name: of its thread and counters. cpu_core: core to pin it to, None = no affinity.
    batch_size: largest burst, 1 to 4096. idle: ``"spin"`` never sleeps; ``"sleep"`` waits in the
    kernel, at most poll_timeout_us microseconds at a time. Join to learn of errors; as a context
    manager it starts on entry and stops and joins on exit.
    """

    def __init__(
        self,
        name: str = "worker",
        *,
        cpu_core: int | None = None,
        batch_size: int = 64,
        idle: Literal["sleep", "spin"] = "sleep",
        poll_timeout_us: int = 100,
    ) -> None:
        if idle not in ("sleep", "spin"):
            raise ConfigError(f'idle = {idle!r} is not usable: it must be "sleep" or "spin"')
        self._worker = _core.Worker(name, cpu_core, batch_size, idle == "spin", poll_timeout_us)

    def add_port(self, port: Port, queues: list[int] | None = None) -> int:
        """Poll ``queues`` of ``port`` (None: all). Returns the port's number for REDIRECT."""
        return self._worker.add_port(port.native, queues or [])

    def add_stage(self, stage: _core.Stage) -> None:
        """Run ``stage`` over every batch, after those added before."""
        self._worker.add_stage(stage)

    def start(self) -> None:
        self._worker.start()

    def stop(self) -> None:
        """Ask it to stop; returns at once."""
        self._worker.stop()

    def join(self) -> None:
        """Wait for its end; raises the first error that stopped it."""
        self._worker.join()

    @property
    def running(self) -> bool:
        return self._worker.running

    @property
    def affinity(self) -> int | None:
        """The core that it is pinned to, as read back from the kernel."""
        core = self._worker.affinity
        return None if core < 0 else core

    def stats(self) -> dict[str, int]:
        """Bursts, frames, verdicts and drops."""
        return self._worker.stats()

    def __enter__(self) -> Worker:
        self.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()
        self.join()
