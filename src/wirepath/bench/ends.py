"""Sender and receiver, each a process of its own that is told what to do by JSON, a line each.

``python -m wirepath.bench.ends send|receive`` speaks over standard input and output;
``wirepath bench send`` is the same sender, listening on a TCP address.
"""

from __future__ import annotations

import base64
import contextlib
import ctypes
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import IO, Any

import numpy as np

from .. import hdr, ports
from .._core import Histogram, LatencyMeter, LoadSender, PerfCounters, parse_port_spec
from ..errors import ConfigError, PortError, WirepathError
from ..publish import PublishConfig, _link_addresses, flow_text
from ..steering import udp
from ..worker import Worker
from . import counters, nic
from .shape import Cycle

Message = dict[str, Any]
_POLL = 0.005
_LOOK = 0.1  # between two looks at whether somebody still waits for a plan
_LONGEST_SETTLE = 10.0
_LINGER = 0.002  # of the window behind the last deadline, in which its packets are still handled


def histogram_text(histogram: Histogram) -> Message:
    """A histogram as JSON values."""
    return {
        "hdr": base64.b64encode(hdr.encode_compressed(histogram)).decode(),
        "min": histogram.min,
        "max": histogram.max,
        "mean": histogram.mean,
        "negative": histogram.negative,
        "overflow": histogram.overflow,
    }


def clock_offset() -> int:
    """CLOCK_REALTIME less CLOCK_MONOTONIC, ns: it changes when the wall clock is stepped."""
    return time.time_ns() - time.monotonic_ns()


def _interface(port: ports.Port) -> Message | None:
    """Settings of the interface that a port is on; None where it is on none."""
    info = port.info()
    return nic.settings(str(info.get("interface") or info.get("device") or ""))


class SenderEnd:
    """The sending process: opens a port once, then sends plans from it."""

    def __init__(self, via: str, host: str, port: int, options: Message) -> None:
        self._port = ports.open(via, steer=udp(host, port), batch_size=64)
        flow: Message = {"destination_ip": host, "destination_port": port}
        device = parse_port_spec(via)[1].partition(",")[0]
        config = PublishConfig(host=host, port=port, via=via)
        try:
            if self._port.capabilities["ethernet_headers"]:
                flow |= _link_addresses(device, config)
            flow |= {name: value for name, value in options.items() if value is not None}
            self._sender = LoadSender(self._port.native, flow)
        except BaseException:
            self._port.close()
            raise
        self.opened = {
            "via": via,
            "to": flow_text(host, port),
            "smallest": self._sender.smallest_frame,
            "largest": self._sender.largest_frame,
            "info": self._port.info(),
            "nic": _interface(self._port),
        }

    def handle(self, message: Message, gone: Callable[[], bool] = lambda: False) -> Message:
        """Answer one message. A plan is given up when ``gone()`` says that nobody waits for it."""
        if message["do"] == "time":
            return {"wall": time.time_ns()}
        if message["do"] == "opened":
            return self.opened
        if message["do"] == "send":
            return self._send(message, gone)
        raise ConfigError(f"do = {message['do']!r} is not usable: it must be time, opened or send")

    def _send(self, message: Message, gone: Callable[[], bool]) -> Message:
        cycle = Cycle.unpacked(message)
        before = self._port.stats()
        # The plan's time zero is given by the wall clock, which both ends share.
        start = message["start"] - clock_offset()
        self._sender.start(
            cycle.due, cycle.size, cycle.period, message["count"], message["run"], start
        )
        end = start + cycle.period * (message["count"] / len(cycle.due))
        try:
            while self._sender.running and time.monotonic_ns() < end - 2 * _LOOK * 1e9:
                time.sleep(_LOOK)
                if gone():
                    self._sender.stop()
            self._sender.join()
        except BaseException:
            self._sender.stop()
            raise
        out: Message = self._sender.result()
        out["lateness"] = histogram_text(out["lateness"])
        after = self._port.stats()
        out["stats"] = {name: n - before.get(name, 0) for name, n in after.items()}
        return out

    def close(self) -> None:
        self._port.close()


class ReceiverEnd:
    """The receiving process: one port, one worker, one meter."""

    def __init__(self, message: Message) -> None:
        # Before the worker's thread is started, which then is counted, too.
        self._perf = PerfCounters()
        self._port = ports.open(
            message["spec"],
            steer=udp(message["host"], message["port"]),
            batch_size=message["batch_size"],
            idle=message["idle"],
            **message["options"],
        )
        try:
            self._meter = LatencyMeter()
            self._worker = Worker(
                "bench",
                cpu_core=message["cpu_core"],
                batch_size=message["batch_size"],
                idle=message["idle"],
            )
            self._worker.add_port(self._port)
            self._worker.add_stage(self._meter)
            self._worker.start()
        except BaseException:
            self._port.close()
            raise
        self._plan: Message = {}
        self._before: dict[str, int] = {}

    def opened(self) -> Message:
        return {
            "info": self._port.info(),
            "nic": _interface(self._port),
            "worker": self._worker.info(),
            "stats": self._port.stats(),
        }

    def arm(self, message: Message) -> None:
        """Packets of a new run count from now on."""
        self._plan = message
        self._before = self._port.stats()
        self._meter.begin(
            run=message["run"],
            count=message["count"],
            start=message["start"],
            bin_ns=message["bin_ns"],
            bins=message["bins"],
            stall_ns=message.get("stall_ns", 0),
            stall_after_ns=message.get("stall_after_ns", 0),
        )

    def measure(self) -> Message:
        """Waits for the run to pass; what the kernel counts is read at its start and at its end."""
        plan = self._plan
        offset = clock_offset()
        start, end = (plan[name] / 1e9 for name in ("start", "end"))
        _sleep_until(start)
        first, perf_before = counters.read(), self._perf.read()
        _sleep_until(end + _LINGER)
        last, perf_after = counters.read(), self._perf.read()
        self._settle(plan["count"], plan["quiet"])
        out: Message = self._meter.result()
        for name in ("latency", "variation", "from_stamp"):
            out[name] = histogram_text(out[name])
        bins = out.pop("timeline")
        out["timeline"] = {
            "received": [b.total for b in bins],
            "p50": [b.quantile(0.5) if b.total else None for b in bins],
            "p99": [b.quantile(0.99) if b.total else None for b in bins],
            "max": [b.max if b.total else None for b in bins],
        }
        after = self._port.stats()
        out["stats"] = {name: n - self._before.get(name, 0) for name, n in after.items()}
        out["cpu"] = counters.difference(first, last)
        out["perf"] = _perf_difference(perf_before, perf_after)
        out["clock_step_ns"] = clock_offset() - offset
        out["info"] = self._port.info()
        return out

    def _settle(self, count: int, quiet: float) -> None:
        """Until every packet has come, or none has for ``quiet`` seconds, in which the worker has
        found its port empty: a worker that got no CPU has seen nothing, and not that there is
        nothing."""
        end = time.monotonic() + _LONGEST_SETTLE
        have, since, polls = self._meter.received, time.monotonic(), self._idle_polls()
        while have < count and time.monotonic() < end:
            time.sleep(_POLL)
            now = self._meter.received
            if now != have:
                have, since, polls = now, time.monotonic(), self._idle_polls()
            elif time.monotonic() - since >= quiet and self._idle_polls() >= polls + 2:
                return

    def _idle_polls(self) -> int:
        return self._worker.stats()["idle_polls"]

    def close(self) -> None:
        self._worker.stop()
        self._worker.join()
        self._port.close()


def _sleep_until(wall: float) -> None:
    while (left := wall - time.time()) > 0:
        time.sleep(left)


def _perf_difference(before: Message, after: Message) -> Message:
    out = {}
    for name, now in after.items():
        then = before[name]
        value = None
        if now["value"] is not None and then["value"] is not None:
            value = now["value"] - then["value"]
        out[name] = {**now, "value": value}
    return out


# --- the conversation ----------------------------------------------------------------------------
def _answering(write: Callable[[Message], None], work: Callable[[], Message]) -> bool:
    """Writes what ``work`` returns, or what was wrong with it; False: it failed."""
    try:
        write(work())
    except WirepathError as error:
        write({"error": str(error), "kind": type(error).__name__})
    except (KeyError, TypeError, ValueError) as error:
        write({"error": f"a message is not understood: {error!r}", "kind": "PortError"})
    except OSError as error:
        write({"error": str(error), "kind": "PortError"})
    else:
        return True
    return False


def serve_sender(
    end: SenderEnd,
    read: IO[str],
    write: Callable[[Message], None],
    gone: Callable[[], bool] = lambda: False,
) -> None:
    """Answer messages until there are no more; see :meth:`SenderEnd.handle`."""
    for line in read:
        _answering(write, lambda text=line: end.handle(json.loads(text), gone))  # type: ignore[misc]


def _receive(write: Callable[[Message], None], read: IO[str]) -> None:
    end: ReceiverEnd | None = None

    def opened(text: str) -> Message:
        nonlocal end
        end = ReceiverEnd(json.loads(text))
        return end.opened()

    def armed(text: str) -> Message:
        assert end is not None
        end.arm(json.loads(text))
        return {"armed": True}

    try:
        if not _answering(write, lambda: opened(read.readline())):
            return
        for line in read:
            if _answering(write, lambda text=line: armed(text)):  # type: ignore[misc]
                assert end is not None
                _answering(write, end.measure)
    finally:
        if end is not None:
            end.close()


def _send(write: Callable[[Message], None], read: IO[str]) -> None:
    end: SenderEnd | None = None

    def opened(text: str) -> Message:
        nonlocal end
        message = json.loads(text)
        end = SenderEnd(message["via"], message["host"], message["port"], message["options"])
        return end.opened

    try:
        if _answering(write, lambda: opened(read.readline())):
            assert end is not None
            serve_sender(end, read, write)
    finally:
        if end is not None:
            end.close()


def main() -> int:
    """The process: its parent's end ends it, too."""
    with contextlib.suppress(OSError, AttributeError):  # another libc
        ctypes.CDLL(None, use_errno=True).prctl(1, signal.SIGKILL, 0, 0, 0)  # PR_SET_PDEATHSIG
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent's to handle, once
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what else is printed must not come between

    def write(message: Message) -> None:
        out.write(json.dumps(message, default=_plain) + "\n")
        out.flush()

    with contextlib.suppress(BrokenPipeError):
        {"send": _send, "receive": _receive}[sys.argv[1]](write, sys.stdin)
    return 0


def _plain(value: object) -> object:
    if isinstance(value, np.generic):
        return value.item()
    raise PortError(f"{value!r} cannot be told to another process")


if __name__ == "__main__":
    sys.exit(main())
