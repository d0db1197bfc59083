"""Ports, a worker and a ring around one feed stage: what every client of a feed is made of."""

from __future__ import annotations

import contextlib
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from . import _core, accounting, logs, numa, registry, traces
from ._core import Histogram, Ring, Steering
from .config import PortSettings, known_backends
from .errors import ConfigError, StateError, WirepathError
from .ports import Port
from .ports import open as open_port
from .settings import nearest, problem
from .stats import IngestionStats
from .switching import Switch, SwitchedPort
from .worker import Worker


class RingBuffer(Ring):
    """Lock-free ring between the feed's worker and one consumer; a :class:`wirepath.Ring` that
    also measures how long records waited in it.

    capacity: records of 64 bytes, a power of two from 2 to 2^30. policy: ``"block"`` makes the
    feed wait for room (loss then moves to the socket or NIC, which count it), ``"drop"`` throws
    the newest away and counts it here. name: makes it visible to other processes, which take the
    consumer's side with ``wirepath.Ring.attach(name)``.
    """

    def __init__(self, capacity: int = 65536, policy: str = "block", name: str = "") -> None:
        whole = isinstance(capacity, int) and not isinstance(capacity, bool)
        if not whole or not 2 <= capacity <= 1 << 30 or capacity & (capacity - 1):
            raise ConfigError(problem("capacity", capacity, "a power of two from 2 to 1073741824"))
        if policy not in ("block", "drop"):
            raise ConfigError(problem("policy", policy, '"block" or "drop"'))
        super().__init__(capacity, policy, name)
        self._waits: Histogram | None = None
        self._producer: Intake | None = None

    def measure(self, into: Histogram | None) -> None:
        """Add the time that each popped record waited (ns) to ``into``; None stops that."""
        self._waits = into

    def pop_batch(self, max: int = 65536, timeout: float = 0.0) -> NDArray[np.void]:
        """Up to ``max`` records as a new structured array (a copy: it stays valid). Waits up to
        ``timeout`` seconds for the first; empty when none came or the ring is closed."""
        out = super().pop_batch(max, timeout)
        if self._waits is not None and len(out):
            self.record_hand_over(self._waits)
        return out

    def try_pop(self) -> np.void | None:
        """The next record (a numpy.void of dtype RECORD), or None."""
        out = self.pop_batch(1)
        return out[0] if len(out) else None


class Intake(ABC):
    """The life of an ingestion, from the port's configuration to the last record in the ring.

    What is taken in, and how many ports it takes, is for classes that derive from this one.
    """

    _stage: _core.FeedStage | None = None

    def __init__(self, settings: PortSettings) -> None:
        self._settings = settings
        self._initialized = False
        self._ports: list[Port] = []
        self._worker: Worker | None = None
        self._stats: IngestionStats | None = None
        self._ring: Ring | None = None
        self._memory_node: int | None = None
        self._closed: dict[str, Any] = {}
        self._cpu: tuple[int, int] | None = None  # clock of the worker's thread, last reading

    # --- life ----------------------------------------------------------------------------
    def initialize(self) -> None:
        """Load the backend and check what depends on this machine. May be called again.

        Raises :class:`BackendUnavailable`, or :class:`ConfigError` for a core that this process
        may not use and for options that the backend does not have.
        """
        config = self._settings
        registry.load(config.backend)
        if config.cpu_core is not None and config.cpu_core not in numa.allowed_cores():
            cores = ", ".join(map(str, numa.allowed_cores()))
            raise ConfigError(
                problem(
                    "cpu_core", config.cpu_core, f"one of the cores this process may use: {cores}"
                )
            )
        known = [name for name, _, _ in self._backend_options()]
        wrong = [
            f"the {config.backend} backend has no option {name}{nearest(name, known)}: "
            f"its options are {', '.join(known)}"
            for name in config.options
            if name not in known and not self._backend_entry()["passes_on"]
        ]
        if wrong:
            raise ConfigError("\n".join(wrong))
        self._initialized = True

    @abstractmethod
    def connect(self) -> None:
        """Open the port: bind, join the group, attach. Raises as :func:`wirepath.open`."""

    def _connect(self, flows: Sequence[tuple[str, Steering]]) -> None:
        """Open a port on each device (empty: the configured one) with the flow it takes."""
        if not self._initialized:
            raise StateError("connect() comes after initialize()")
        if self._ports:
            raise StateError("this client is connected already (close() it first)")
        config = self._settings
        options: dict[str, Any] = dict(config.options)
        known = [name for name, _, _ in self._backend_options()]
        if "rx_ring_size" in known:
            options["rx_ring_size"] = config.rx_ring_size
        if "zero_copy" in known:
            options.setdefault("zero_copy", "prefer" if config.enable_zero_copy else "never")
        self._closed = {}
        with traces.span("feed.connect", feed=config.port_spec, ports=len(flows)):
            self._open_ports(flows, options)

    def _open_ports(self, flows: Sequence[tuple[str, Steering]], options: dict[str, Any]) -> None:
        config = self._settings
        try:
            for device, flow in flows:
                node = None
                if config.enable_numa_awareness and len(numa.nodes()) > 1:
                    node = numa.node_of_interface(device or config.interface_name)
                with numa.prefer_node(node) as agreed:
                    port = open_port(
                        f"{config.backend}:{device or config.device}",
                        steer=flow,
                        batch_size=config.batch_size,
                        idle=config.idle,
                        **options,
                    )
                self._ports.append(port)
                self._memory_node = node if agreed else None
        except BaseException:
            for port in self._ports:
                port.close()
            self._ports = []
            raise

    def _launch(self, stage: _core.FeedStage, ring: Ring, stats: IngestionStats | None) -> None:
        """Start the worker with the stage that fills ``ring``."""
        config = self._settings
        worker = Worker(
            "wp-feed",
            cpu_core=config.cpu_core,
            batch_size=config.batch_size,
            idle=config.idle,
            poll_timeout_us=config.poll_timeout_us,
        )
        for port in self._ports:
            worker.add_port(port)
        worker.add_stage(stage)
        self._stage, self._stats, self._ring = stage, stats, ring
        if stats is not None:
            stats.begin(self)
            if isinstance(ring, RingBuffer):
                ring.measure(stats.ring_to_consumer)
        before = _threads()
        try:
            worker.start()
        except BaseException:
            if stats is not None:
                stats.end()
            raise
        self._worker = worker
        self._cpu = _thread_clock(_threads() - before)
        if logs.wanted("feed.started"):
            names = [channel["name"] for channel in stage.snapshot()["channels"]]
            logs.emit("feed.started", feed=config.port_spec, channels=names)

    def _undo_start(self, ring: Ring) -> None:
        """A start failed midway: nothing runs, and the ring may be given to another one where the
        worker has not had it."""
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.stop()
            with contextlib.suppress(WirepathError):  # what failed first is what is raised
                worker.join()
            if self._stats is not None:
                self._stats.end()
            ring.close()
        if self._stats is not None and isinstance(ring, RingBuffer):
            ring.measure(None)
        if isinstance(ring, RingBuffer) and ring._producer is self:
            ring._producer = None
        self._stage = self._stats = self._ring = None

    def _check_start(self, ring: Ring, stats: IngestionStats | None) -> None:
        """What has to be true before an ingestion starts."""
        if not self._ports:
            raise StateError("start_ingestion() comes after connect()")
        if self._worker is not None:
            raise StateError("the ingestion is running already (stop_ingestion() first)")
        if not isinstance(ring, Ring):
            raise ConfigError(problem("ring", ring, "a wirepath.RingBuffer"))
        if stats is not None and not isinstance(stats, IngestionStats):
            raise ConfigError(problem("stats", stats, "a wirepath.IngestionStats, or None"))
        if ring.closed:
            raise StateError("this ring has been closed by an ingestion that ended: make a new one")
        if isinstance(ring, RingBuffer):
            if ring._producer not in (None, self):
                raise StateError("this ring is being filled by another client: give each its own")
            ring._producer = self

    def stop_ingestion(self) -> None:
        """Stop the worker and wait for it. Nothing happens when it is not running.

        Frames that the port holds and the worker has not seen stay there. The ring is closed: what
        it holds can still be popped. Raises the first error that stopped the worker, else the
        first that a flush of ``stats`` raised.
        """
        worker, self._worker = self._worker, None
        if worker is None:
            return
        self._read_cpu()
        worker.stop()
        try:
            worker.join()
        finally:
            if self._ring is not None:
                self._ring.close()
            self._closed["worker"] = worker.stats()
            self._tell_stopped()
            if self._stats is not None:
                self._stats.end()
        if self._stats is not None and self._stats.flush_error is not None:
            raise self._stats.flush_error

    def _tell_stopped(self) -> None:
        if logs.wanted("feed.stopped"):
            logs.emit(
                "feed.stopped",
                feed=self._settings.port_spec,
                packets=self.packets_received,
                messages=self.messages_received,
                missing=accounting.feed_totals(self.snapshot())["missing"],
            )

    def batches(self, max: int = 65536, timeout: float = 0.1) -> Iterator[NDArray[np.void]]:
        """The records as arrays of at most ``max``, until the feed has ended and the ring is
        empty. Looks at least every ``timeout`` seconds whether it has."""
        ring = self._ring
        if ring is None:
            raise StateError("batches() comes after start_ingestion()")
        while True:
            ended = self.ended
            records = ring.pop_batch(max, timeout)
            if len(records):
                yield records
            elif ended:
                return

    def close(self) -> None:
        """Stop and close the port; counters and ``backend_info`` stay readable."""
        try:
            self.stop_ingestion()
        finally:
            ports, self._ports = self._ports, []
            if ports:
                self._closed |= {
                    "infos": [self._describe(port) for port in ports],
                    "stats": _summed([port.stats() for port in ports]),
                }
            for port in ports:
                port.close()

    def __enter__(self) -> Self:
        self.initialize()
        self.connect()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    # --- state ---------------------------------------------------------------------------
    @property
    def is_connected(self) -> bool:
        """The port is open."""
        return bool(self._ports)

    @property
    def is_running(self) -> bool:
        """The worker polls. False once a capture has been read to its end."""
        return self._worker is not None and self._worker.running

    @property
    def ended(self) -> bool:
        """Nothing more will come: the session said so, or the worker has ended by itself (the end
        of a capture, or an error that ``stop_ingestion()`` raises)."""
        if self._stage is None:
            return False
        return not self.is_running or bool(self._stage.snapshot()["ended"])

    @property
    def packets_received(self) -> int:
        """Frames that the worker has seen."""
        return self._stage.packets if self._stage else 0

    @property
    def messages_received(self) -> int:
        """Messages that went into the ring."""
        return self._stage.messages if self._stage else 0

    @property
    def backend_info(self) -> dict[str, Any]:
        """What the port's ``info()`` says, and: ``config`` (the options asked for),
        ``not_honoured`` (those that this backend or machine cannot honour: list of ``option``,
        ``value``, ``reason``, and whether they were ``asked`` for or are defaults), ``numa`` and
        ``worker``.

        Raises :class:`~wirepath.errors.StateError` before ``connect()``.
        """
        return self.backend_infos[0]

    @property
    def backend_infos(self) -> list[dict[str, Any]]:
        """:attr:`backend_info` of every port."""
        if self._ports:
            return [self._describe(port) for port in self._ports]
        if "infos" in self._closed:
            return [dict(info) for info in self._closed["infos"]]
        raise StateError("backend_info is known once connect() has opened the port")

    @property
    def switches(self) -> list[Switch]:
        """Of the ports opened with backend auto: their events, and :meth:`Switch.configure`."""
        return [port.switch for port in self._ports if isinstance(port, SwitchedPort)]

    def snapshot(self) -> dict[str, Any]:
        """The feed's counters and state (see :class:`wirepath.feed.FeedStage`); empty before the
        start. Exact once stopped."""
        return self._stage.snapshot() if self._stage else {}

    def port_stats(self) -> dict[str, int]:
        """Counters of the port; of several, their sums."""
        if self._ports:
            return _summed([port.stats() for port in self._ports])
        return dict(self._closed.get("stats", {}))

    def worker_stats(self) -> dict[str, int]:
        """Bursts, frames and verdicts of the worker."""
        if self._worker is not None:
            return self._worker.stats()
        return dict(self._closed.get("worker", {}))

    def wire_to_ring(self) -> Histogram:
        """Copy of the wire-to-ring histogram."""
        return self._stage.wire_to_ring() if self._stage else Histogram()

    @property
    def cpu_seconds(self) -> float:
        """Processor time of the worker's thread, as of the latest look while it ran."""
        self._read_cpu()
        return self._cpu[1] / 1e9 if self._cpu else 0.0

    def _read_cpu(self) -> None:
        if self._cpu is None:
            return
        clock = self._cpu[0]
        try:
            self._cpu = (clock, time.clock_gettime_ns(clock))
        except OSError:  # the thread is gone: the last reading stands
            return

    # --- what was made of the request ----------------------------------------------------
    def _backend_entry(self) -> dict[str, Any]:
        entry: dict[str, Any] | None = _core.loaded_backends().get(self._settings.backend)
        if entry is None:
            raise ConfigError(
                problem("backend", self._settings.backend, f"one of {', '.join(known_backends())}")
            )
        return entry

    def _backend_options(self) -> list[tuple[str, str, str]]:
        options: list[tuple[str, str, str]] = self._backend_entry()["options"]
        return options

    def _describe(self, port: Port) -> dict[str, Any]:
        info = port.info()
        config = self._settings
        core = config.cpu_core
        device = port.spec.partition(":")[2].partition(",")[0]
        nic_node = numa.node_of_interface(device) if device else None
        core_node = numa.node_of_core(core) if core is not None else None
        match = None if nic_node is None or core_node is None else nic_node == core_node
        info["numa"] = {
            "nic_node": nic_node,
            "core_node": core_node,
            "match": match,
            "memory_node": self._memory_node,
            "nodes": len(numa.nodes()),
        }
        info["worker"] = {
            "cpu_core": self._worker.affinity if self._worker else None,
            "batch_size": config.batch_size,
            "idle": config.idle,
            "poll_timeout_us": config.poll_timeout_us,
        }
        info["config"] = {
            name: value.isoformat() if hasattr(value, "isoformat") else value
            for name, value in config
            if value is not None and name != "options"
        } | {"options": dict(config.options)}
        info["not_honoured"] = self._not_honoured(info)
        return info

    def _not_honoured(self, info: dict[str, Any]) -> list[dict[str, Any]]:
        config = self._settings
        out: list[dict[str, Any]] = []

        def note(option: str, reason: str) -> None:
            asked = option in config.model_fields_set
            value = getattr(config, option)
            out.append({"option": option, "value": value, "reason": reason, "asked": asked})

        known = [name for name, _, _ in self._backend_options()]
        mode = str(info.get("mode", ""))
        if "rx_ring_size" not in known:
            note("rx_ring_size", f"the {config.backend} backend has no receive ring")
        if config.enable_zero_copy and "zero-copy" not in mode:
            copies = {
                "socket": "the kernel copies out of its socket buffer",
                "pcap": "frames come from a file",
                "null": "there is no device to copy from",
            }
            reason = copies.get(config.backend) or f"the port runs in mode {mode}"
            note("enable_zero_copy", reason)
        if config.enable_numa_awareness:
            placement = info["numa"]
            if placement["nodes"] <= 1:
                note("enable_numa_awareness", "this machine has a single node")
            elif placement["nic_node"] is None:
                where = f"{config.interface_name} is" if config.interface_name else "the device is"
                note("enable_numa_awareness", f"{where} on no NUMA node")
            elif placement["memory_node"] is None:
                note("enable_numa_awareness", "the kernel refused set_mempolicy(2)")
            elif placement["match"] is False:
                note(
                    "enable_numa_awareness",
                    f"cpu_core {config.cpu_core} is on node {placement['core_node']}, the NIC on "
                    f"node {placement['nic_node']}",
                )
        if "zero_copy_threshold" in type(config).model_fields:
            note(
                "zero_copy_threshold",
                "the feed hands no frames over, it decodes them in place whatever their size; "
                "for frames by reference use wirepath.HandOff(zero_copy_threshold=…)",
            )
        if config.idle == "spin" and "poll_timeout_us" in config.model_fields_set:
            note("poll_timeout_us", 'a worker with idle = "spin" never sleeps')
        return out


def _summed(stats: Sequence[dict[str, int]]) -> dict[str, int]:
    out: dict[str, int] = {}
    for each in stats:
        for name, count in each.items():
            out[name] = out.get(name, 0) + count
    return out


def _threads() -> set[int]:
    return {int(entry.name) for entry in Path("/proc/self/task").iterdir()}


def _thread_clock(threads: set[int]) -> tuple[int, int] | None:
    """CPU clock of the one thread in ``threads`` and zero; None when there are several."""
    if len(threads) != 1:
        return None
    # Linux: ~tid in the upper bits, CPUCLOCK_PERTHREAD | CPUCLOCK_SCHED in the lower three
    # (kernel, include/linux/posix-timers_types.h).
    return ~threads.pop() << 3 | 6, 0
