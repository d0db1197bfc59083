"""One measured ingestion: a publisher in a process of its own, a client here, the account after.

Benchmarks, the demo and tests of loss all run this.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._core import Histogram
from .accounting import Account, account, by_type, gaps
from .config import IngestionConfig
from .errors import PortError
from .ingestion import IngestionClient, RingBuffer
from .intake import Intake
from .lab import Host
from .plain import plain
from .publish import PublishConfig, flow_text
from .publish_source import kind_of
from .stats import IngestionStats, percentiles

# Seconds without a new frame after the publisher's end: then nothing is on its way any more.
_QUIET = 0.3
_POLL = 0.05

Progress = Callable[[Intake, IngestionStats, float], object]
Records = Callable[[NDArray[np.void]], object]


@dataclass
class Run:
    """What a run gave: figures, histograms, and the account where there was a publisher."""

    config: IngestionConfig
    info: dict[str, Any]
    snapshot: dict[str, Any]
    port_stats: dict[str, int]
    worker_stats: dict[str, int]
    ring: dict[str, int | str]
    consumed: int
    seconds: float
    cpu_seconds: float
    wire_to_ring: Histogram
    ring_to_consumer: Histogram
    published: dict[str, Any] | None = None
    account: Account | None = None
    interrupted: bool = False
    started: float = 0.0

    @property
    def packets(self) -> int:
        """Frames that the worker saw."""
        return int(self.snapshot["frames"])

    @property
    def messages(self) -> int:
        """Records that went through the ring."""
        return int(self.snapshot["delivered"])

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values, ready for JSON."""
        cpu = self.cpu_seconds
        return {
            "backend": self.config.backend,
            "packets": self.packets,
            "messages": self.messages,
            "consumed": self.consumed,
            "seconds": self.seconds,
            "packets_per_second": self.packets / self.seconds if self.seconds else 0.0,
            "messages_per_second": self.messages / self.seconds if self.seconds else 0.0,
            "cpu_seconds": cpu,
            "packets_per_second_per_core": self.packets / cpu if cpu else 0.0,
            "messages_per_second_per_core": self.messages / cpu if cpu else 0.0,
            "latency_ns": {
                "wire_to_ring": percentiles(self.wire_to_ring),
                "ring_to_consumer": percentiles(self.ring_to_consumer),
            },
            "account": self.account.to_dict() if self.account else None,
            "published": self.published,
            "gaps": [list(gap) for gap in gaps(self.snapshot)],
            "by_type": by_type(self.snapshot),
            "feed": plain(self.snapshot),
            "ring": self.ring,
            "port_stats": self.port_stats,
            "worker": self.worker_stats,
            "port": self.info,
            "interrupted": self.interrupted,
        }


class PublisherProcess:
    """``wirepath publish`` in another process, on ``host`` of a lab or here."""

    def __init__(self, config: PublishConfig, host: Host | None = None) -> None:
        command = [sys.executable, "-P", "-m", "wirepath", "publish", *publish_arguments(config)]
        options: dict[str, Any] = {
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
            "stdin": subprocess.DEVNULL,
            "text": True,
            # A Ctrl-C at the terminal is ours to pass on, once.
            "start_new_session": True,
        }
        self._stopped = False
        with _interrupts_held():
            self._process: subprocess.Popen[str] = (
                host.popen(command, **options) if host else subprocess.Popen(command, **options)
            )

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def stop(self) -> None:
        """Ask it to end; it reports what it has sent. Asked again, it is left to do so."""
        if self.running and not self._stopped:
            self._stopped = True
            # Not SIGINT: a process that a shell started in the background ignores that one.
            self._process.send_signal(signal.SIGTERM)

    def report(self, timeout: float = 30.0) -> dict[str, Any]:
        """What was published. Raises :class:`PortError` with its message when it failed."""
        out, errors = self._process.communicate(timeout=timeout)
        try:
            answer: dict[str, Any] = json.loads(out.splitlines()[-1])
        except (ValueError, IndexError):
            raise PortError(f"the publisher failed: {errors.strip() or 'without a word'}") from None
        if "error" in answer:
            raise PortError(f"the publisher failed: {answer['error']}")
        return answer

    def kill(self) -> None:
        """End it whatever it does."""
        if self.running:
            self._process.kill()
        self._process.communicate()


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """A process started meanwhile gets SIGTERM when it unblocks it: `wirepath publish` does once
    it can answer with a report."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def publish_arguments(config: PublishConfig) -> list[str]:
    """``wirepath publish`` arguments that give this configuration."""
    out = [config.source, "--json", "--via", config.via]
    if not config.line:
        out += ["--to", flow_text(config.host, config.port)]
    for name in config.model_fields_set - {"source", "host", "port", "via"}:
        value = getattr(config, name)
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            out.append(f"--{flag}" if value else f"--no-{flag}")
        elif isinstance(value, tuple):
            for each in value:
                out += [f"--{flag}", str(each)]
        elif value is not None:
            out += [f"--{flag}", str(value)]
    return out


@contextmanager
def _entered(host: Host | None) -> Iterator[None]:
    context: AbstractContextManager[object] = host.enter() if host else nullcontext()
    with context:
        yield


def measure(
    config: IngestionConfig,
    publish: PublishConfig | None = None,
    *,
    receiver: Host | None = None,
    sender: Host | None = None,
    ring: RingBuffer | None = None,
    max_seconds: float | None = None,
    max_messages: int | None = None,
    on_progress: Progress | None = None,
    on_records: Records | None = None,
) -> Run:
    """Take a feed in and say what became of it.

    publish: what another process publishes meanwhile, on host ``sender``; None: somebody else
    does, or a capture is read. receiver: host of a lab to open the port on. The run ends when the
    publisher has ended and nothing comes any more, when the source has ended, or at
    ``max_seconds`` or ``max_messages``; then the publisher is asked to stop. on_progress: called
    about ten times a second. on_records: called with every array of records.
    """
    if publish is not None and config.next_sequence == 0 and _numbers_its_own(publish):
        config = config.replace(next_sequence=publish.first_sequence)
    ring = ring if ring is not None else RingBuffer()
    stats = IngestionStats()
    client = IngestionClient(config)
    with _entered(receiver):
        client.initialize()
        client.connect()
    process: PublisherProcess | None = None
    run: Run
    try:
        client.start_ingestion(ring, stats)
        process = PublisherProcess(publish, sender) if publish is not None else None
        consumer = Consumer(
            client,
            stats,
            ring,
            process=process,
            max_seconds=max_seconds,
            max_messages=max_messages,
            on_records=on_records,
        )
        interrupted = consumer.run(on_progress)
        cpu = client.cpu_seconds
        client.stop_ingestion()
        consumer.drain()
        published = process.report() if process is not None else None
        run = Run(
            config=config,
            info=client.backend_info,
            snapshot=client.snapshot(),
            port_stats=client.port_stats(),
            worker_stats=client.worker_stats(),
            ring={
                "capacity": ring.capacity,
                "policy": ring.policy,
                "pushed": ring.pushed,
                "popped": ring.popped,
                "dropped": ring.dropped,
                "blocked": ring.blocked,
                "high_water": ring.high_water,
            },
            consumed=consumer.consumed,
            seconds=consumer.active_seconds,
            cpu_seconds=cpu,
            wire_to_ring=stats.wire_to_ring,
            ring_to_consumer=stats.ring_to_consumer,
            published=published,
            interrupted=interrupted,
            started=consumer.started,
        )
    finally:
        if process is not None:
            process.kill()
        client.close()
    if run.published is not None:
        # DPDK's driver may stand on an interface whose driver is the kernel's.
        driver = str(run.info.get("interface_driver") or run.info.get("driver", ""))
        run.account = account(run.published, run.port_stats, run.snapshot, driver=driver)
    return run


class Consumer:
    """Pops until the run is over: the source or the publisher has ended and nothing comes any
    more, a limit is reached, ``stop`` says so, or Ctrl-C. With ``follow`` an end of session does
    not end it."""

    def __init__(
        self,
        client: Intake,
        stats: IngestionStats,
        ring: RingBuffer,
        *,
        process: PublisherProcess | None = None,
        max_seconds: float | None = None,
        max_messages: int | None = None,
        follow: bool = False,
        on_records: Records | None = None,
        stop: Callable[[], bool] | None = None,
    ) -> None:
        self._client, self._stats, self._ring, self._process = client, stats, ring, process
        self._max_seconds, self._max_messages, self._follow = max_seconds, max_messages, follow
        self._on_records, self._stop = on_records, stop
        self._begin = time.monotonic()
        self._first = self._last = 0.0  # when records were first and last popped
        self._frames, self._frames_at = -1, 0.0  # and when their number last changed
        self.started = time.time()
        self.consumed = 0

    @property
    def active_seconds(self) -> float:
        """From the first records to the last."""
        return max(self._last - self._first, 0.0)

    def run(self, on_progress: Progress | None = None) -> bool:
        """True when interrupted, or told to stop."""
        interrupted = False
        shown = self._begin
        while True:
            try:
                records = self._ring.pop_batch(timeout=_POLL)
                now = time.monotonic()
                if len(records):
                    self._take(records, now)
                if on_progress is not None and now - shown >= 0.1:
                    shown = now
                    on_progress(self._client, self._stats, now - self._begin)
                if self._over(now, idle=not len(records)):
                    return interrupted
                if self._stop is not None and self._stop():
                    return True
            except KeyboardInterrupt:
                if interrupted or self._process is None:
                    return True
                interrupted = True
                self._process.stop()

    def _over(self, now: float, *, idle: bool) -> bool:
        if self._client.packets_received != self._frames:
            self._frames, self._frames_at = self._client.packets_received, now
        quiet = idle and now - self._frames_at >= _QUIET
        reached = (self._max_seconds is not None and now - self._begin >= self._max_seconds) or (
            self._max_messages is not None and self.consumed >= self._max_messages
        )
        working = self._client.is_running
        if self._process is not None:
            if reached or not working:
                self._process.stop()
            return quiet and not self._process.running
        if reached or (idle and not working):
            return True
        return quiet and self._client.ended and not self._follow

    def _take(self, records: NDArray[np.void], now: float) -> None:
        self._first = self._first or now
        self._last = now
        self.consumed += len(records)
        if self._on_records is not None:
            self._on_records(records)

    def drain(self) -> None:
        """Take what was still in the ring when the worker stopped."""
        while len(records := self._ring.pop_batch()):
            self._take(records, time.monotonic())


def _numbers_its_own(publish: PublishConfig) -> bool:
    # Packets of a capture keep the sequence numbers that they have.
    return publish.source == "generated" or kind_of(publish.source)[0] != "capture"


def unique_port() -> int:
    """A UDP port that other runs on this machine are unlikely to use at the moment."""
    return 20_000 + os.getpid() % 20_000
