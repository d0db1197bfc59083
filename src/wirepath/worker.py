"""Workers: pinned threads that poll ports and run stages, without the GIL."""

from __future__ import annotations

import atexit
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Literal

from numpy.typing import NDArray

from . import _core, logs, numa, placement
from .errors import ConfigError
from .ports import Port
from .running import Running
from .stages import Stage, StageFunction

AnyStage = Stage | StageFunction | _core.Stage

_workers: weakref.WeakSet[Worker] = weakref.WeakSet()


class Worker(Running):
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
        self.name = name
        self.cpu_core = cpu_core
        self._idle = idle
        node = None if cpu_core is None else numa.node_of_core(cpu_core)
        with numa.prefer_node(node if len(numa.nodes()) > 1 else None):
            self._worker = _core.Worker(name, cpu_core, batch_size, idle == "spin", poll_timeout_us)
        self._ports: list[Port] = []
        self._stages: list[AnyStage] = []
        self._told = True  # how it ended, or that it never began
        _workers.add(self)

    def add_port(self, port: Port, queues: list[int] | None = None) -> int:
        """Poll ``queues`` of ``port`` (None: all). Returns the port's number for REDIRECT."""
        number = self._worker.add_port(port.native, queues or [])
        self._ports.append(port)
        return number

    def add_host(self, number: int, host: Port, queues: list[int] | None = None) -> int:
        """Let ``host`` (:class:`wirepath.hosts.HostPort`) stand for port ``number`` in the host's
        own stack: frames of the port that are PASS, or that no packet program decided, are sent
        there; frames that the kernel sends there leave by the port, and no stage sees them.
        ``queues`` of the host that are this worker's (None: the numbers of the port's); where the
        one has more of them than the other, several go with one. Returns its number, behind
        those of the ports.
        """
        mine = self._worker.add_host(number, host.native, queues or [])
        self._ports.append(host)
        return mine

    def add_stage(self, stage: AnyStage, state: NDArray[Any] | None = None) -> None:
        """Run ``stage`` over every batch, after those added before.

        A function decorated with :func:`wirepath.stage` (bound to ``state``), what its ``bind``
        or :func:`wirepath.load_stage` returned, a :class:`wirepath.HandOff`, or another native one.
        """
        if isinstance(stage, StageFunction):
            stage = stage.bind(state)
        elif state is not None:
            raise ConfigError(f"{stage!r} has its state already: add it without one")
        self._worker.add_stage(stage.native if isinstance(stage, Stage) else stage)
        self._stages.append(stage)

    def start(self) -> None:
        """Start the thread. Raises :class:`ConfigError` for a core that this process may not use,
        for a worker without ports, or where a stage refuses."""
        self._worker.start()
        if logs.wanted("worker.started"):
            queues = [f"{spec} {queue}" for spec, queue in self._worker.queues]
            logs.emit("worker.started", worker=self.name, cpu_core=self.cpu_core, queues=queues)
        self._told = False

    def stop(self) -> None:
        """Ask it to stop; returns at once."""
        self._worker.stop()

    def join(self) -> None:
        """Wait for its end; raises the first error that stopped it. An exception of a stage comes
        as it was raised, with its traceback."""
        try:
            self._worker.join()
        except Exception as error:
            self._tell("worker.failed", error=str(error))
            raise
        if logs.wanted("worker.stopped"):
            stats = self.stats()
            drops = sum(n for name, n in stats.items() if name.startswith("drop."))
            self._tell("worker.stopped", frames=stats["frames"], drops=drops)

    def _tell(self, event: str, **fields: Any) -> None:  # noqa: ANN401 -- any JSON
        told, self._told = self._told, True
        if not told:  # joining a second time is allowed, and ends nothing
            logs.emit(event, worker=self.name, **fields)

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

    def info(self) -> dict[str, Any]:
        """Where it runs and what it does, read back while it runs.

        ``affinity``; ``queues``: (port spec, queue); ``stages``: the info of each;
        ``shares_core_with``: other running workers of this process on the same core;
        ``nic_interrupts``: those of its NICs that go to its core; ``numa``: nodes of core, NICs,
        batch arrays and frames (None: not known, or no frame yet); ``notes``: what of this costs
        speed, in words.
        """
        core = self.affinity
        others = self._sharing(core)
        devices = [str(p.info().get("device") or "") for p in self._ports if not p.closed]
        interrupts = [
            {"device": device, "interrupt": number}
            for device in devices
            for number, cores in placement.interrupts_of_device(device).items()
            if core in cores
        ]
        arrays, frame = self._worker.addresses
        places = {
            "nodes": len(numa.nodes()),
            "core": None if core is None else numa.node_of_core(core),
            "nic": {d: placement.node_of_device(d) for d in devices if d},
            "arrays": placement.node_of_address(arrays),
            "frames": placement.node_of_address(frame),
        }
        return {
            "name": self.name,
            "running": self.running,
            "cpu_core": self.cpu_core,
            "affinity": core,
            "idle": self._idle,
            "queues": self._worker.queues,
            "stages": [_stage_info(s) for s in self._stages],
            "shares_core_with": others,
            "nic_interrupts": interrupts,
            "numa": places,
            "notes": _notes(core, others, interrupts, places),
        }

    def _sharing(self, core: int | None) -> list[str]:
        if core is None or not self.running:
            return []
        return sorted(
            w.name for w in _workers if w is not self and w.running and w.affinity == core
        )

    def __repr__(self) -> str:
        return f"<wirepath.Worker {self.name}{', running' if self.running else ''}>"


def _stage_info(stage: AnyStage) -> dict[str, Any]:
    if isinstance(stage, Stage):
        return stage.info()
    return {"name": getattr(stage, "name", ""), "mode": "native"}


def _notes(
    core: int | None,
    others: list[str],
    interrupts: list[dict[str, Any]],
    places: dict[str, Any],
) -> list[str]:
    notes = []
    if others:
        notes.append(f"shares core {core} with {', '.join(others)}: give each a core of its own")
    for device in sorted({i["device"] for i in interrupts}):
        numbers = ", ".join(str(i["interrupt"]) for i in interrupts if i["device"] == device)
        notes.append(
            f"core {core} takes interrupts {numbers} of {device}: move them "
            f"(/proc/irq/N/smp_affinity_list) or the worker"
        )
    home = places["core"]
    if home is not None:
        away = {f"the NIC {d}": node for d, node in places["nic"].items()}
        away |= {"its frames": places["frames"], "its batch arrays": places["arrays"]}
        for what, node in away.items():
            if node is not None and node != home:
                notes.append(f"core {core} is on NUMA node {home}, {what} on node {node}")
    return notes


class WorkerGroup(Sequence[Worker], Running):
    """Workers that share the queues of one port; made by :func:`workers`. As a context manager it
    starts them all on entry, and stops and joins them on exit."""

    def __init__(self, members: list[Worker]) -> None:
        self._members = members

    def __len__(self) -> int:
        return len(self._members)

    def __getitem__(self, index: Any) -> Any:  # noqa: ANN401 -- a worker, or a list of a slice
        return self._members[index]

    def __iter__(self) -> Iterator[Worker]:
        return iter(self._members)

    def start(self) -> None:
        """Start all; where one refuses, those already started are stopped."""
        started: list[Worker] = []
        try:
            for worker in self._members:
                worker.start()
                started.append(worker)
        except BaseException:
            for worker in started:
                worker._worker.abandon()
            raise

    def stop(self) -> None:
        """Ask all to stop; returns at once."""
        for worker in self._members:
            worker.stop()

    def join(self) -> None:
        """Wait for all; raises the first error, or an ExceptionGroup of several."""
        errors: list[Exception] = []
        for worker in self._members:
            try:
                worker.join()
            except Exception as error:
                errors.append(error)
        if len(errors) == 1:
            raise errors[0]
        if errors:
            raise ExceptionGroup("several workers failed", errors)

    @property
    def running(self) -> bool:
        """Whether any of them is."""
        return any(worker.running for worker in self._members)

    def stats(self) -> dict[str, int]:
        """Sums over the workers."""
        total: dict[str, int] = {}
        for worker in self._members:
            for name, value in worker.stats().items():
                total[name] = total.get(name, 0) + value
        return total

    def info(self) -> list[dict[str, Any]]:
        """Of each worker."""
        return [worker.info() for worker in self._members]


def workers(
    port: Port,
    cores: Sequence[int] | None = None,
    *,
    stages: Callable[[int], Iterable[AnyStage]] | None = None,
    count: int | None = None,
    name: str = "worker",
    batch_size: int = 64,
    idle: Literal["sleep", "spin"] = "sleep",
    poll_timeout_us: int = 100,
) -> WorkerGroup:
    """Workers for all queues of ``port``: one on each of ``cores``, or ``count`` without affinity
    (None: one a queue). Queue q is worker ``q % n``'s, so several queues may share a worker.

    stages: called with each worker's number, gives the stages of that worker: stage objects are
    not shared between workers, and a state of its own for each needs no locks. The workers are
    called name-0, name-1, …

    Raises :class:`ConfigError` for more workers than queues.
    """
    queues = port.queues
    if cores is not None and count not in (None, len(cores)):
        raise ConfigError(f"count = {count} is not usable with {len(cores)} cores: leave it out")
    number = len(cores) if cores is not None else (queues if count is None else count)
    if not 1 <= number <= queues:
        field = "count" if cores is None else "cores"
        raise ConfigError(
            f"{field} = {number if cores is None else list(cores)} is not usable: it must be 1 to "
            f"{queues}, the queues of {port.spec}, as a queue is one worker's"
        )
    members = []
    for k in range(number):
        worker = Worker(
            f"{name}-{k}",
            cpu_core=None if cores is None else cores[k],
            batch_size=batch_size,
            idle=idle,
            poll_timeout_us=poll_timeout_us,
        )
        worker.add_port(port, list(range(k, queues, number)))
        for stage in stages(k) if stages is not None else ():
            worker.add_stage(stage)
        members.append(worker)
    return WorkerGroup(members)


@atexit.register
def _end_all() -> None:
    """A thread that wants the GIL of an interpreter that ends would take the process down."""
    running = list(_workers)
    for worker in running:
        worker.stop()
    for worker in running:
        worker._worker.abandon()
