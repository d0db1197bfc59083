"""Opening a port, and what can be done with it."""

from __future__ import annotations

import asyncio
import gzip
import os
import shutil
import tempfile
import zlib
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from . import _core, _refresh, logs, registry, traces
from ._core import Batch, Steering
from .errors import ConfigError, ReleasedError, Unsupported

ZeroCopy = Literal["require", "prefer", "never"]


_LOOK_EVERY = 0.1  # seconds between polls of a task that waits for a descriptor


class Port:
    """A NIC, or its stand-in, opened through one backend. Made by :func:`open`.

    Iterating gives a :class:`Batch` per burst, waiting for frames with the GIL released; each
    batch is released when the next is asked for. A capture ends the loop, a live port does not.
    """

    def __init__(self, handle: _core.PortHandle, temporary: Path | None = None) -> None:
        self._handle = handle
        self._temporary = temporary
        self._waiting: set[asyncio.Future[None]] = set()

    # --- receiving -------------------------------------------------------------------------
    def __iter__(self) -> Iterator[Batch]:
        return self._handle.batches(-1)

    def batches(self, idle_timeout: float | None = None) -> Iterator[Batch]:
        """As iterating the port, but ends after ``idle_timeout`` seconds without a frame."""
        return self._handle.batches(-1 if idle_timeout is None else round(idle_timeout * 1e6))

    def poll(self, timeout: float | None = 0.0) -> Batch | None:
        """The next burst, or None when none came within ``timeout`` seconds (None: wait for
        ever, or until a capture ends). The caller releases it: ``with port.poll(1) as batch:``.
        """
        return self._handle.poll(-1 if timeout is None else round(timeout * 1e6))

    async def __aiter__(self) -> AsyncIterator[Batch]:
        loop = asyncio.get_running_loop()
        fd = self._handle.fd() if self._handle.queues == 1 else self.fileno()
        while not self._handle.closed:
            batch = self._handle.poll(0)
            if batch is None:
                if self._handle.finished:
                    return
                if fd < 0:  # always ready, or paced by time alone
                    await asyncio.sleep(0.0005)
                else:
                    await self._readable(loop, fd)
                continue
            with batch:
                yield batch
            await asyncio.sleep(0)  # a busy port must not starve the other tasks

    async def _readable(self, loop: asyncio.AbstractEventLoop, fd: int) -> None:
        ready: asyncio.Future[None] = loop.create_future()
        self._waiting.add(ready)
        loop.add_reader(fd, _wake, ready)
        try:
            # Not for ever: a device that is removed wakes nobody, and buffers that were given
            # back go to the driver with the next poll.
            await asyncio.wait({ready}, timeout=_LOOK_EVERY)
        finally:
            self._waiting.discard(ready)
            loop.remove_reader(fd)

    def fileno(self) -> int:
        """Descriptor that becomes readable when frames are waiting, for select and asyncio.

        Poll now and then without it, too (``async for`` does every 0.1 s): a device that is
        removed wakes nobody, and buffers that were held go back to the driver with a poll.
        Raises :class:`Unsupported` for a backend that has none (``null``, ``pcap``, ``dpdk``,
        ``ef_vi`` without interrupts) and for a port with several queues.
        """
        if self._handle.queues > 1:
            raise Unsupported(
                f"{self.spec} has {self._handle.queues} queues and so several descriptors "
                "(open it with queues=0, or poll() it)"
            )
        fd = self._handle.fd()
        if fd < 0:
            raise Unsupported(f"{self.spec} has no descriptor to wait on (iterate or poll() it)")
        return fd

    # --- sending ---------------------------------------------------------------------------
    def tx(self, batch: Batch, queue: int = 0) -> int:
        """Send the frames of ``batch`` whose verdict is TX; returns how many were queued. The
        others of them are counted as drops. Frames of this very port leave without a copy:
        ``batch`` shows them with length 0 from then on, and views of them have ended."""
        return self._handle.tx(batch, queue)

    def send(self, frames: Sequence[bytes | bytearray | memoryview], queue: int = 0) -> int:
        """Send Ethernet frames (see :func:`wirepath.frames.udp`); returns how many were queued."""
        return self._handle.send(frames, queue)

    # --- about it --------------------------------------------------------------------------
    def info(self) -> dict[str, Any]:
        """Backend, driver, mode, queues, wake-up mode, timestamp source, tuning and more, read
        back from the kernel or device rather than from the request."""
        return self._handle.info()

    def stats(self) -> dict[str, int]:
        """Counters by name, summed over the queues. ``drop.*`` are frames that did not reach
        the consumer, each in exactly one of them."""
        return self._handle.stats()

    @property
    def capabilities(self) -> dict[str, bool | int]:
        """What the backend can do."""
        return self._handle.capabilities()

    @property
    def spec(self) -> str:
        """The port spec that it was opened with."""
        return self._handle.spec

    @property
    def queues(self) -> int:
        """Number of receive queues."""
        return self._handle.queues

    @property
    def held(self) -> int:
        """Frames that Python still looks at after their batch was released."""
        return self._handle.held

    @property
    def closed(self) -> bool:
        return self._handle.closed

    @property
    def native(self) -> _core.PortHandle:
        """The native port, for :meth:`wirepath.Worker.add_port`."""
        return self._handle

    # --- its end ---------------------------------------------------------------------------
    def close(self) -> None:
        """Detach from the device; ``async for`` over the port ends. Frames that Python still holds
        keep it open until they go."""
        if not self._handle.closed and logs.wanted("port.closed"):
            self._tell_closed()
        self._handle.close()
        for ready in list(self._waiting):
            ready.get_loop().call_soon_threadsafe(_wake, ready)
        if self._temporary is not None:
            self._temporary.unlink(missing_ok=True)
            self._temporary = None

    def _tell_closed(self) -> None:
        stats = self.stats()
        logs.emit(
            "port.closed",
            spec=self.spec,
            rx_packets=stats.get("rx_packets", 0),
            tx_packets=stats.get("tx_packets", 0),
            drops=sum(count for name, count in stats.items() if name.startswith("drop.")),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<wirepath.Port {self.spec}{', closed' if self.closed else ''}>"


def _wake(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)


def open(
    spec: str,
    *,
    steer: Steering | None = None,
    batch_size: int = 64,
    idle: Literal["sleep", "spin"] = "sleep",
    zero_copy: ZeroCopy | None = None,
    **options: object,
) -> Port:
    """Open the port that ``spec`` names, taking the flows that ``steer`` says.

    spec: ``backend:device[,option=value…]``: ``af_xdp:eth0``, ``socket:eth0``, ``socket:``,
    ``pcap:day.pcapng,speed=1``, ``null:``. ``wirepath backends`` lists options. steer: from
    :func:`udp`, :func:`tcp` (joined with ``|``) or :func:`everything`; required. batch_size:
    largest burst, 1 to 4096 frames. idle: ``"spin"`` burns a core for latency. zero_copy
    (af_xdp): whether the driver must hand frames over without a copy. Further keywords are the
    backend's options and win over those in the spec.

    Raises :class:`ConfigError`, :class:`BackendUnavailable`, :class:`PermissionDenied`,
    :class:`DeviceBusy` or :class:`PortError`, each with the mend.
    """
    with traces.span("port.open", spec=spec) as span:
        try:
            port, asked = _open(
                spec, steer, batch_size, idle=idle, zero_copy=zero_copy, more=options
            )
        except Exception as error:
            logs.emit("port.open_failed", spec=spec, error=str(error))
            raise
        if span is not None or logs.wanted("port.mode_fallback"):
            _tell_opened(port, span, asked)
    _refresh.watch(port)
    return port


def _tell_opened(port: Port, span: object, asked: Mapping[str, str]) -> None:
    info = port.info()
    names = ("backend", "device", "driver", "mode", "queues", "timestamp_source")
    facts: dict[str, Any] = {name: info.get(name) for name in names}
    traces.note(span, **facts)
    logs.emit("port.opened", spec=port.spec, **facts)
    mode = str(info.get("mode", ""))
    missed = {
        "native": "generic" in mode and asked.get("mode") != "generic",
        "zero-copy": asked.get("zero_copy", "prefer") == "prefer"
        and info.get("zero_copy") is False,
    }
    if any(missed.values()):
        wanted = ", ".join(name for name, is_missed in missed.items() if is_missed)
        logs.emit("port.mode_fallback", spec=port.spec, wanted=wanted, mode=mode)


def _open(
    spec: str,
    steer: Steering | None,
    batch_size: int,
    *,
    idle: Literal["sleep", "spin"],
    zero_copy: ZeroCopy | None,
    more: dict[str, object],
) -> tuple[Port, dict[str, str]]:
    """The port, and the backend's options as they were asked for."""
    if idle not in ("sleep", "spin"):
        raise ConfigError(f'idle = {idle!r} is not usable: it must be "sleep" or "spin"')
    if not isinstance(batch_size, int) or isinstance(batch_size, bool):
        raise ConfigError(
            f"batch_size = {batch_size!r} is not usable: it must be a whole number from 1 to 4096"
        )
    backend, device, in_spec = _core.parse_port_spec(spec)
    registry.load(backend)
    merged = {**in_spec, **{name: _option_text(name, value) for name, value in more.items()}}
    if zero_copy is not None:
        merged["zero_copy"] = zero_copy
    if backend == "auto":
        from .switching import open_auto  # noqa: PLC0415 -- it opens ports by this very function

        flows = steer if steer is not None else Steering()
        return open_auto(f"{backend}:{device}", flows, batch_size, idle, merged), merged
    temporary = None
    if backend == "pcap" and device.endswith(".gz"):
        temporary = _gunzip(Path(device))
        device = str(temporary)
    try:
        handle = _core.PortHandle.open(
            f"{backend}:{device}",
            steer if steer is not None else Steering(),
            merged,
            batch_size,
            idle == "spin",
        )
    except BaseException:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        raise
    return Port(handle, temporary), merged


def _option_text(name: str, value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple, range)):
        return ",".join(str(v) for v in value)
    if isinstance(value, (str, int, float, os.PathLike)):
        return str(value)
    raise ConfigError(f"{name} = {value!r} is not usable: it must be text, a number or a list")


def _gunzip(path: Path) -> Path:
    """A compressed capture, unpacked beside the other temporary files: native code maps files."""
    with (
        ExitStack() as unfinished,
        tempfile.NamedTemporaryFile(prefix="wirepath-", suffix=".pcap", delete=False) as target,
    ):
        out = Path(target.name)
        unfinished.callback(out.unlink, missing_ok=True)
        try:
            with gzip.open(path, "rb") as source:
                shutil.copyfileobj(source, target, 1 << 20)
        except (OSError, EOFError, zlib.error) as error:
            raise ConfigError(f"{path} cannot be unpacked: {error}") from None
        unfinished.pop_all()
    return out


__all__ = ["Port", "ReleasedError", "open"]
