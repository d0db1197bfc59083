"""Measuring a path: repeats of one load through a port, each with processes of its own."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Literal, Self

from .. import logs, traces
from .._core import parse_port_spec
from ..errors import ConfigError, LabUnavailable
from ..lab import Host, Lab, unavailable_reason
from ..measure import unique_port
from ..settings import problem
from . import machine, metrics
from .channel import Channel, Process, Remote
from .repeats import repeat_of
from .result import Repeat, Result, Timeline, Trial, ZeroLoss
from .shape import Shape
from .zero_loss import LATE_NS, Search, search

GROUP = "239.87.80.2"
_BINS = 100
_OPENING = 60.0  # seconds that opening a port may take
_MARGIN = 15.0  # seconds that an end may take beyond the run itself

Progress = Callable[[str], object]


@dataclass(frozen=True)
class Setup:
    """Where a load goes from and to.

    port: spec of the receiving port. via: spec of the sending one; None: ``socket`` on the lab's
    other host, or on the loopback where the receiver is there. to: group or address and UDP port.
    sender: ``HOST:PORT`` of a ``wirepath bench send`` on another host, which has a ``via`` of its
    own. lab: two hosts in network namespaces of this machine; ports are given for them,
    ``af_xdp:wp0`` or just ``af_xdp``. Cores: None lets the scheduler choose, -1 takes the last
    usable one for the receiver and the first for the sender where there are two.
    """

    port: str
    via: str | None = None
    host: str = GROUP
    udp_port: int | None = None
    sender: str | None = None
    lab: bool = False
    queues: int = 1
    idle: Literal["sleep", "spin"] = "sleep"
    batch_size: int = 64
    cpu_core: int | None = -1
    sender_core: int | None = -1
    options: Mapping[str, object] = field(default_factory=dict)
    sender_options: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        problems = []
        if self.idle not in ("sleep", "spin"):
            problems.append(problem("idle", self.idle, "sleep or spin"))
        if not 1 <= self.batch_size <= 4096:
            problems.append(problem("batch_size", self.batch_size, "from 1 to 4096"))
        if self.sender is not None and (self.lab or self.via is not None):
            other = "lab" if self.lab else "via"
            problems.append(
                f"sender = {self.sender!r} and {other} exclude each other: a sender on another "
                "host has a port of its own"
            )
        if problems:
            raise ConfigError("\n".join(problems))


@dataclass(frozen=True)
class Load:
    """How long and how often: seconds of each repeat, repeats, seconds of warm-up before each
    (not measured), and a stall of the receiver in the middle, to see that it shows."""

    shape: Shape
    seconds: float = 2.0
    repeats: int = 5
    warmup: float = 0.2
    stall_seconds: float = 0.0

    def __post_init__(self) -> None:
        problems = []
        if not 0.05 <= self.seconds <= 3600:
            problems.append(problem("seconds", self.seconds, "from 0.05 to 3600"))
        if not 1 <= self.repeats <= 1000:
            problems.append(problem("repeats", self.repeats, "from 1 to 1000"))
        if not 0 <= self.warmup <= 60:
            problems.append(problem("warmup", self.warmup, "from 0 to 60 seconds"))
        if not 0 <= self.stall_seconds <= min(10.0, self.seconds / 2):
            problems.append(
                problem("stall", self.stall_seconds, "from 0 to 10 seconds and half of a repeat")
            )
        if problems:
            raise ConfigError("\n".join(problems))
        self.shape.packets(self.seconds)


class Ends:
    """Sender and receiver, opened; closed on leaving the ``with`` block."""

    def __init__(self, setup: Setup, lab: Lab | None) -> None:
        self.setup = setup
        self._lab = lab
        self._stack = ExitStack()
        self._run = 0
        self._channels: list[Channel] = []
        self.receiver_info: dict[str, Any] = {}
        self.sender_info: dict[str, Any] = {}

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._open(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None:  # in the middle of a run, perhaps: nobody waits for its end
            for channel in self._channels:
                channel.abandon()
        self._stack.close()

    def _open(self, stack: ExitStack) -> None:
        setup, hosts = self.setup, self._lab
        spec, via, core, sender_core = resolved(setup)
        port = setup.udp_port or unique_port()
        to = {"host": setup.host, "port": port}

        def process(end: str, what: str, host: Host | None) -> Channel:
            out = Process(end, what, host)
            self._channels.append(out)
            stack.callback(out.close)
            return out

        self._receiver = process("receive", "the receiver", hosts["b"] if hosts else None)
        opened = {
            **to,
            "spec": spec,
            "idle": setup.idle,
            "batch_size": setup.batch_size,
            "cpu_core": core,
            "options": dict(setup.options),
        }
        self.receiver_info = self._receiver.ask(opened, _OPENING)
        if setup.sender is not None:
            self._sender: Channel = Remote(setup.sender)
            self._channels.append(self._sender)
            stack.callback(self._sender.close)
            self.sender_info = self._sender.ask({"do": "opened"}, _OPENING)
            expected = f"{setup.host}:{port}"
            if self.sender_info["to"] != expected and f"[{setup.host}]:{port}" != expected:
                raise ConfigError(
                    f"the sender at {setup.sender} sends to {self.sender_info['to']} and the "
                    f"receiver waits for {expected}: give both the same --to"
                )
            return
        self._sender = process("send", "the sender", hosts["a"] if hosts else None)
        options = {"cpu_core": sender_core, **setup.sender_options}
        if hosts is not None:
            target = hosts["b"].interface
            if setup.host in (target.ipv4, target.ipv6):
                options.setdefault("destination_mac", target.mac)
        opened = {**to, "via": via, "options": options}
        self.sender_info = self._sender.ask(opened, _OPENING)

    def clock(self) -> dict[str, Any]:
        """How far the sender's wall clock is ahead of ours, ns, by the quickest of ten asks."""
        best: tuple[int, int] | None = None
        for _ in range(10):
            before = time.time_ns()
            wall = self._sender.ask({"do": "time"}, 5)["wall"]
            after = time.time_ns()
            if best is None or after - before < best[0]:
                best = (after - before, wall - (before + (after - before) // 2))
        assert best is not None
        return {"round_trip_ns": best[0], "sender_ahead_ns": best[1]}

    def send(
        self, shape: Shape, seconds: float, *, stall: float = 0.0, quiet: float = 0.3
    ) -> Repeat:
        """Send a load once and measure what arrives."""
        cycle = shape.cycle(self.sender_info["smallest"], self.sender_info["largest"])
        count = cycle.count(seconds)
        self._run = self._run % 0xFFFF + 1
        start = time.time_ns() + (500_000_000 if self.setup.sender else 100_000_000)
        bin_ns = max(round(seconds * 1e9 / _BINS), 1_000_000)
        bins = -(-round(seconds * 1e9) // bin_ns)
        plan = {
            "run": self._run,
            "count": count,
            "start": start,
            "end": start + round(seconds * 1e9),
            "bin_ns": bin_ns,
            "bins": bins,
            "quiet": quiet,
            "stall_ns": round(stall * 1e9),
            "stall_after_ns": round(seconds * 5e8),
        }
        self._receiver.ask(plan, _MARGIN)
        limit = seconds + _MARGIN
        sending = {"do": "send", "run": self._run, "count": count, "start": start}
        sent = self._sender.ask(sending | cycle.packed(), limit)
        got = self._receiver.hear(limit)
        edges = [cycle.count(min(i * bin_ns / 1e9, seconds)) for i in range(bins + 1)]
        planned = [after - before for before, after in itertools.pairwise(edges)]
        timeline = Timeline(bin_ns=bin_ns, planned=planned, **got["timeline"])
        return repeat_of(seconds, sent, got, timeline)


# --- whole results -------------------------------------------------------------------------------
def resolved(setup: Setup) -> tuple[str, str, int | None, int | None]:
    """Receiving spec, sending spec and cores, with what was left out filled in."""
    backend, device, _ = parse_port_spec(setup.port if ":" in setup.port else f"{setup.port}:")
    spec = setup.port
    if not device and backend not in ("dpdk", "pcap", "null"):
        rest = setup.port.partition(",")[2]
        spec = f"{backend}:{'wp0' if setup.lab else 'lo'}" + (f",{rest}" if rest else "")
    device = device or ("wp0" if setup.lab else "lo")
    if backend in ("pcap", "null"):
        raise ConfigError(
            f"port = {setup.port!r} is not usable: a {backend} port receives nothing that a "
            "sender sends (measure socket, af_xdp, dpdk or ef_vi)"
        )
    via = setup.via
    if via is None and setup.sender is None:
        if setup.lab:
            via = "socket:wp0,tx_only=true"
        elif device == "lo":
            via = "socket:lo,tx_only=true"
        else:
            raise ConfigError(
                f"via is missing: it must be the port that sends to {spec}, such as "
                "socket:eth1 (or sender=HOST:PORT, or a lab)"
            )
    usable = sorted(os.sched_getaffinity(0))
    apart = len(usable) > 1
    core = (usable[-1] if apart else None) if setup.cpu_core == -1 else setup.cpu_core
    sender_core = (usable[0] if apart else None) if setup.sender_core == -1 else setup.sender_core
    for name, each in (("cpu_core", core), ("sender_core", sender_core)):
        if each is not None and each not in usable:
            raise ConfigError(problem(name, each, f"one of the usable cores {usable}"))
    return spec, via or "", core, sender_core


@contextmanager
def _lab(setup: Setup) -> Iterator[Lab | None]:
    if not setup.lab:
        yield None
        return
    refusal = unavailable_reason()
    if refusal is not None:
        raise LabUnavailable(f"a lab is asked for: {refusal}")
    with Lab(f"bench{unique_port()}", queues=setup.queues) as lab:
        yield lab


def _where(setup: Setup) -> str:
    if setup.lab:
        return "lab of two hosts over veth"
    if setup.sender is not None:
        return f"from the sender at {setup.sender}"
    return "on this machine"


def run(
    setup: Setup,
    load: Load,
    *,
    name: str | None = None,
    kind: Literal["baseline", "run"] = "run",
    zero_loss: Search | None = None,
    on_progress: Progress | None = None,
) -> Result:
    """Measure a port with a load; see :class:`Setup` and :class:`Load`.

    Each repeat has a sender and a receiver process of its own, opened anew. zero_loss: search
    for the highest rate without loss as well. on_progress: called with a line of text before each
    step. Raises :class:`ConfigError`, :class:`LabUnavailable`, :class:`PortError` and what opening
    a port raises.
    """
    spec = resolved(setup)[0]
    described = load.shape.describe()
    with traces.span(f"bench.{kind}", port=spec, shape=described, repeats=load.repeats) as span:
        logs.emit("bench.started", kind=kind, port=spec, shape=described, repeats=load.repeats)
        tell = on_progress or (lambda _: None)
        result = _run(setup, load, name=name, kind=kind, zero_loss=zero_loss, tell=tell)
        received = sum(repeat.received for repeat in result.repeats)
        totals: dict[str, Any] = {"planned": result.planned, "received": received}
        totals |= {f"{p}_ns": result.summary[f"latency_{p}"] for p in ("p50", "p99")}
        traces.note(span, **totals)
        logs.emit("bench.ended", port=spec, **totals)
    return result


def _run(
    setup: Setup,
    load: Load,
    *,
    name: str | None,
    kind: Literal["baseline", "run"],
    zero_loss: Search | None,
    tell: Progress,
) -> Result:
    spec, _, core, sender_core = resolved(setup)
    created = datetime.now(UTC).isoformat(timespec="seconds")
    settings = machine.settings()
    repeats: list[Repeat] = []
    notes: list[str] = []
    searched: ZeroLoss | None = None
    receiver: dict[str, Any] = {}
    sender: dict[str, Any] = {}
    with _lab(setup) as lab:
        for number in range(load.repeats):
            tell(f"repeat {number + 1} of {load.repeats}")
            with Ends(setup, lab) as ends:
                if load.warmup:
                    ends.send(load.shape, max(load.warmup, 1 / load.shape.rate), quiet=0.1)
                repeats.append(ends.send(load.shape, load.seconds, stall=load.stall_seconds))
                _tell_repeat(spec, number, repeats[-1])
                receiver, sender = ends.receiver_info, ends.sender_info
                if setup.sender is not None:
                    sender["clock"] = ends.clock()
        if zero_loss is not None:
            with Ends(setup, lab) as ends:
                searched = _zero_loss(ends, load.shape, zero_loss, tell)
    result = Result(
        kind=kind,
        name=name or spec,
        created=created,
        software=machine.software(),
        machine=machine.fingerprint(),
        settings=settings,
        shape=load.shape.to_dict(),
        where=_where(setup),
        receiver={
            "spec": spec,
            "idle": setup.idle,
            "batch_size": setup.batch_size,
            "cpu_core": core,
            "info": receiver["info"],
            "nic": receiver["nic"],
            "worker": receiver["worker"],
        },
        sender={
            **{key: sender[key] for key in ("via", "to", "info")},
            "nic": sender.get("nic"),
            "clock": sender.get("clock"),
            "cpu_core": sender_core if setup.sender is None else None,
        },
        seconds=load.seconds,
        repeats=repeats,
        zero_loss=searched,
        notes=notes,
    )
    notes += _notes(result)
    return result.model_copy(update={"summary": metrics.summary(result), "notes": notes})


def _tell_repeat(spec: str, number: int, repeat: Repeat) -> None:
    latency = repeat.latency.percentiles
    logs.emit(
        "bench.repeated",
        port=spec,
        repeat=number + 1,
        planned=repeat.planned,
        received=repeat.received,
        p50_ns=latency.get("p50"),
        p99_ns=latency.get("p99"),
    )


def baseline(
    setup: Setup,
    load: Load,
    *,
    name: str | None = None,
    zero_loss: Search | None = None,
    on_progress: Progress | None = None,
) -> Result:
    """As :func:`run`, for the kernel's own path: the port must be a ``socket``."""
    if parse_port_spec(setup.port if ":" in setup.port else f"{setup.port}:")[0] != "socket":
        raise ConfigError(
            f"port = {setup.port!r} is not usable: a baseline is of the kernel path, a socket port "
            "such as socket:eth0 (other ports: bench run)"
        )
    return run(
        setup, load, name=name, kind="baseline", zero_loss=zero_loss, on_progress=on_progress
    )


def _zero_loss(ends: Ends, shape: Shape, bounds: Search, tell: Progress) -> ZeroLoss:
    def trial(rate: float) -> Trial:
        tell(f"zero loss: {rate:,.0f} packets/s")
        got = ends.send(shape.at_rate(rate), bounds.seconds)
        behind = got.sender_lateness.percentiles.get("p50", 0) > LATE_NS
        late = behind or got.unsent + got.refused > 0
        return Trial(
            rate=rate,
            planned=got.planned,
            lost=got.lost,
            sender_late=late,
            passed=got.lost == 0 and not late,
        )

    return search(trial, bounds)


def _notes(result: Result) -> list[str]:
    """What a reader must know before believing the figures."""
    missing = metrics.unavailable(result)
    out = [f"{metrics.BY_KEY[key].label}: {why}" for key, why in missing.items()]
    if result.machine["virtual_machine"]:
        out.append("a virtual machine: what else its host does is in the tail as well")
    residual = sum(abs(r.account.residual) for r in result.repeats)
    if residual:
        out.append(f"{residual} packets in no counter: other traffic counts in the NIC's as well")
    if result.latency.negative:
        out.append(
            f"{result.latency.negative} latencies below zero, kept as 0: the two clocks are not "
            "synchronised well enough for these latencies (PTP does it)"
        )
    step = max((abs(r.clock_step_ns) for r in result.repeats), default=0)
    if step > 20_000:
        out.append(f"the wall clock moved by {step / 1e3:.0f} µs against the monotonic one")
    late, tail = result.sender_lateness.quantile(0.999), result.latency.quantile(0.999)
    if late and tail and late > tail / 2:
        out.append(
            f"the sender itself was late by {late / 1e3:,.0f} µs at its p99.9: a good part of the "
            "tail is the sender's (give it a core of its own)"
        )
    stalled = max((r.stalled_ns for r in result.repeats), default=0)
    if stalled:
        out.append(f"the receiver was made to stand still for {stalled / 1e6:.1f} ms on purpose")
    return out
