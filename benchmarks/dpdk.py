# SPDX-License-Identifier: Apache-2.0
"""DPDK over memif: wirepath's dpdk port against dpdk-testpmd, on the same peer.

The peer is a testpmd with the first processor, and the figures are its counters, so that both
contestants are measured with one instrument. The receiver has the second processor.

- receive: the peer sends as fast as it can (txonly); packets a second that it got rid of. A memif
  loses nothing between two processes, so every one of them must have been received.
- forward: the peer sends back what it gets (io), with 512 packets going round; packets a second
  that came back from the forwarder with their addresses swapped.
- cost: nanoseconds of processor time a packet over net_null, which does next to nothing by itself:
  what the program around the driver costs, and hardly disturbed by others on the machine.
"""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import build, process
from .harness import Contestant, Group, Line, Refused, Sample, Settings, Unavailable, two_processors
from .testpmd import Testpmd, command

_BATCH = 64
_ROUND_BURSTS = 8  # that go round while forwarding
_WARM_UP = 0.3
_SETTLE = 0.2
_FLOW = "198.18.0.2:9"  # what testpmd's txonly sends


@dataclass(frozen=True)
class _Told:
    received: int
    sent: int
    processor_seconds: float  # in which it did so
    info: Mapping[str, Any]  # port.info()


# Receives from a device, given with its arguments; tells at its end.
Receiver = Callable[[str], AbstractContextManager[Callable[[], _Told]]]


def _wirepath(settings: Settings, how: str, *words: str) -> Receiver:
    @contextmanager
    def run(device: str) -> Iterator[Callable[[], _Told]]:
        spec = f"dpdk:{device}"
        words_ = ["--stage", build.native("bench_stage.so"), "--cpu", str(settings.cpus[1])]
        words_ += ["--batch", str(_BATCH), "--delay-ns", str(settings.delay_ns), *words]
        child = subprocess.Popen(
            process.module("dpdk_worker", how, spec, *words_),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=process.ROOT,
            env=process.ENVIRONMENT,
        )

        def end() -> _Told:
            out, err = child.communicate(timeout=30)
            got = process.parse("wirepath", child.returncode, out, err)
            stats = got["stats"]
            lost = {k: v for k, v in stats.items() if k.startswith("drop.") and v}
            if lost:
                raise Refused(f"wirepath lost packets: {lost}")
            return _Told(
                stats["rx_packets"], stats["tx_packets"], got["processor_seconds"], got["port"]
            )

        try:
            assert child.stderr is not None
            if child.stderr.readline().strip() != "ready":
                end()
            yield end
        finally:
            if child.poll() is None:
                child.kill()
                child.communicate()

    return run


def _testpmd(settings: Settings, forward: str) -> Receiver:
    @contextmanager
    def run(device: str) -> Iterator[Callable[[], _Told]]:
        words = command("wpbench-b", device, forward, settings.cpus[1], _BATCH)
        with Testpmd(words) as yardstick:
            before = yardstick.processor_seconds()
            yardstick.ask("start")

            def end() -> _Told:
                yardstick.ask("stop")
                used = yardstick.processor_seconds() - before
                counted = yardstick.counters()
                return _Told(counted["rx_packets"], counted["tx_packets"], used, {})

            yield end

    return run


def _measure(settings: Settings, receiver: Receiver, *, forwards: bool) -> Sample:
    with tempfile.TemporaryDirectory(prefix="wpbench") as folder:
        # The ring sizes that wirepath asks for by itself, on both sides of every link.
        link = f"socket={Path(folder) / 'memif.sock'},socket-abstract=no,rsize=10"
        mode = "io" if forwards else "txonly"
        words = command(
            "wpbench-a", f"net_memif0,role=client,{link}", mode, settings.cpus[0], _BATCH
        )
        with receiver(f"net_memif0,role=server,{link}") as end, Testpmd(words) as peer:
            peer.wait_for_link()
            peer.ask(f"start tx_first {_ROUND_BURSTS}" if forwards else "start")
            time.sleep(_WARM_UP)
            first = peer.counters()
            time.sleep(settings.seconds)
            last = peer.counters()
            peer.ask("stop")
            time.sleep(_SETTLE)
            total = peer.counters()
            told = end()
    which = "rx_packets" if forwards else "tx_packets"
    if not forwards and told.received != total["tx_packets"]:
        raise Refused(f"{total['tx_packets']} packets were sent, {told.received} received")
    if forwards and told.sent != told.received:
        raise Refused(f"{told.received} packets were received, {told.sent} sent back")
    rate = (last[which] - first[which]) / (last["at"] - first["at"])
    if not rate:
        raise Refused("nothing was received")
    return Sample({"rate": rate}, told.info)


def _measure_cost(settings: Settings, receiver: Receiver) -> Sample:
    with receiver("net_null0") as end:
        time.sleep(settings.seconds)
        told = end()
    if not told.received:
        raise Refused("nothing was received")
    return Sample({"cost": told.processor_seconds * 1e9 / told.received}, told.info)


@contextmanager
def _open(settings: Settings) -> Iterator[Mapping[str, Contestant | Unavailable]]:
    import wirepath as wp  # noqa: PLC0415 -- --list and --help need no built package

    two_processors(settings)
    status = next(b for b in wp.backends() if b.name == "dpdk")
    if not status.available:
        raise Unavailable(f"dpdk: {status.reason} ({status.mend})")
    command("wpbench", "net_null0", "io", 0, _BATCH)  # whether there is a testpmd

    def contestant(receiver: Receiver, *, forwards: bool = False) -> Contestant:
        return lambda: _measure(settings, receiver, forwards=forwards)

    def cost(receiver: Receiver) -> Contestant:
        return lambda: _measure_cost(settings, receiver)

    yield {
        "rxonly cost": cost(_testpmd(settings, "rxonly")),
        "worker cost": cost(_wirepath(settings, "receive")),
        "macswap cost": cost(_testpmd(settings, "macswap")),
        "swap cost": cost(_wirepath(settings, "swap")),
        "rxonly": contestant(_testpmd(settings, "rxonly")),
        "worker": contestant(_wirepath(settings, "receive")),
        "worker, steered": contestant(_wirepath(settings, "field", "--flow", _FLOW)),
        "macswap": contestant(_testpmd(settings, "macswap"), forwards=True),
        "swap": contestant(_wirepath(settings, "swap"), forwards=True),
    }


_COST_NOTE = (
    "ratio = ours / yardstick: lower is better, and no goal; testpmd has no timestamps, verdicts, "
    "held frames or frames of other ports to look for"
)

DPDK = Group(
    "DPDK over memif",
    (
        Line(
            "dpdk_rx",
            "worker that takes everything and releases it, against dpdk-testpmd rxonly",
            "packets/s",
            "worker",
            "rxonly",
            goal=0.95,
        ),
        Line(
            "dpdk_rx_steered",
            "the same with software steering and a C stage that reads one field of every packet",
            "packets/s",
            "worker, steered",
            "rxonly",
        ),
        Line(
            "dpdk_forward",
            "worker with a C stage that swaps the MAC addresses, against dpdk-testpmd macswap",
            "packets/s",
            "swap",
            "macswap",
            goal=0.9,
        ),
        Line(
            "dpdk_rx_cost",
            "processor time of receiving and releasing, net_null, against dpdk-testpmd rxonly",
            "ns/packet",
            "worker cost",
            "rxonly cost",
            "cost",
            better="lower",
            note=_COST_NOTE,
        ),
        Line(
            "dpdk_forward_cost",
            "processor time of swapping and sending back, net_null, against macswap",
            "ns/packet",
            "swap cost",
            "macswap cost",
            "cost",
            better="lower",
            note=_COST_NOTE,
        ),
    ),
    _open,
)
