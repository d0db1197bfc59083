"""The balancer as a user starts it: a data path, and a thread that looks after it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from .. import programs
from ..errors import ConfigError, StateError
from ..running import Running
from .config import BalancerConfig
from .datapath import DriverPath, StagePath, sources_of, unpin
from .service import Service

_SECONDS = 30.0


class Balancer(Running):
    """A Maglev load balancer on an interface, from entering a ``with`` block to its end.

    Args:
        config: what to balance.
        native: no program in the driver; instead :meth:`stage` gives stages for workers of this
            process, over ports of any backend.
        heard: takes the text of each event, on the balancer's thread.

    Raises (at :meth:`start`):
        ConfigError, PermissionDenied, DeviceBusy, Unsupported, BackendUnavailable: as they say.
    """

    def __init__(
        self,
        config: BalancerConfig,
        *,
        native: bool = False,
        heard: Callable[[str], None] | None = None,
    ) -> None:
        self.config = config
        self._native = native
        self._heard = heard
        self._path: DriverPath | StagePath | None = None
        self._service: Service | None = None
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._ended = threading.Event()
        self._error: BaseException | None = None
        self.report: dict[str, Any] = {"interface": config.interface, "vips": [], "counters": {}}

    # --- life --------------------------------------------------------------------------------

    def start(self) -> None:
        if self._thread is not None:
            raise StateError("this balancer ran already (make another one)")
        sources = sources_of(self.config)
        path = (StagePath if self._native else DriverPath)(self.config, sources)
        self._path = path
        try:
            self._service = Service(
                self.config,
                path.maps,
                sources,
                kept=path.kept,
                remember=path.remember,
                totals=self.counters,
                heard=self._heard,
            )
            ready: Future[None] = Future()
            self._thread = threading.Thread(
                target=self._run, args=(self._service, ready), name="wirepath-lb", daemon=True
            )
            self._thread.start()
            ready.result()
        except BaseException:
            path.close()
            raise

    def _run(self, service: Service, ready: Future[None]) -> None:
        async def main() -> None:
            self._loop = asyncio.get_running_loop()
            self._stop = asyncio.Event()
            await service.run(self._stop, lambda: ready.set_result(None))

        try:
            asyncio.run(main())
        except BaseException as error:  # told by start() or join()
            if ready.done():
                self._error = error
            else:
                ready.set_exception(error)
        finally:
            self._ended.set()

    def stop(self) -> None:
        if self._loop is not None and self._stop is not None and not self._ended.is_set():
            self.report = self.show()
            self._loop.call_soon_threadsafe(self._stop.set)

    def join(self) -> dict[str, Any]:
        """Wait for the end. Returns the last :meth:`show`. The data path goes, unless pinned."""
        if self._thread is not None:
            self._thread.join()
        if self._path is not None:
            self._path.close()
        if self._error is not None:
            raise self._error
        return self.report

    def run(self, max_seconds: float | None = None) -> bool:
        """Start, and balance until Ctrl-C (False) or for so long (True)."""
        with self:
            try:
                self._ended.wait(max_seconds)
            except KeyboardInterrupt:
                return False
        return True

    # --- what can be asked of it ---------------------------------------------------------------

    def _ask(self, **request: Any) -> dict[str, Any]:  # noqa: ANN401  # what the request needs
        service, loop = self._service, self._loop
        if service is None or loop is None or self._ended.is_set():
            raise StateError("this balancer does not run (start it first)")

        async def answer() -> dict[str, Any]:
            return service.answer(request)

        return asyncio.run_coroutine_threadsafe(answer(), loop).result(_SECONDS)

    def show(self) -> dict[str, Any]:
        """Services, servers, counters and last events, as plain values."""
        return self._ask(do="show")

    def drain(self, server: str, vip: str | None = None) -> None:
        """New flows go elsewhere; those that are stay until they end. Raises ConfigError."""
        self._ask(do="drain", server=server, vip=vip)

    def undrain(self, server: str, vip: str | None = None) -> None:
        """The end of a drain. Raises ConfigError."""
        self._ask(do="undrain", server=server, vip=vip)

    def weight(self, server: str, weight: int, vip: str | None = None) -> None:
        """Another weight, 0 to 10000. Raises ConfigError."""
        self._ask(do="weight", server=server, weight=weight, vip=vip)

    def reload(self, config: BalancerConfig | str | Path) -> None:
        """Go over to another configuration, or that of a file. Raises ConfigError: it is not
        usable, or only a restart can do it; then all stays as it was."""
        self._ask(do="reload", config=config)

    def counters(self) -> Mapping[str, int]:
        """The program's counters, verdicts among them."""
        return self._path.program.counters() if self._path is not None else {}

    @property
    def mode(self) -> str:
        """``native`` or ``generic``, as the kernel says of the interface; ``stage``."""
        return self._path.mode if self._path is not None else "none"

    def stage(self, name: str = "balancer") -> programs.ProgramStage:
        """A stage for one worker, with ``native=True``: packets for VIPs leave by the port that
        they came from, all others go on to the stages behind."""
        if not isinstance(self._path, StagePath):
            raise ConfigError("a stage needs a balancer that was started with native=True")
        program = self._path.program
        assert isinstance(program, programs.NativeProgram)
        return program.stage(name)

    @staticmethod
    def unpin(interface: str) -> bool:
        """Take a pinned data path off an interface. Returns whether there was one."""
        return unpin(interface)
