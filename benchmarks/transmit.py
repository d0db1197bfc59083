# SPDX-License-Identifier: Apache-2.0
"""Transmit benchmarks: `port.tx` of prepared batches from Python against C loops.

On a veth the peer's receiving softirq runs on the sender's processor, as part of the send: most of
the time is the kernel's on either side of the comparison.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from . import build, process
from .harness import Contestant, Group, Line, Sample, Settings, Unavailable
from .lab import GROUP, PORT, lab


def _sample(got: dict[str, Any]) -> Sample:
    return Sample({"rate": got["rate"]}, got.get("port", {}))


@contextmanager
def _open(settings: Settings) -> Iterator[Mapping[str, Contestant | Unavailable]]:
    import wirepath as wp  # noqa: PLC0415

    available = {b.name for b in wp.backends() if b.available}
    flow = ["--group", GROUP, "--port", str(PORT)]
    rest = ["--cpu", str(settings.cpus[0]), "--seconds", str(settings.seconds), "--batch", "64"]
    with lab(settings) as bench:

        def ours(spec: str) -> Contestant | Unavailable:
            backend = spec.partition(":")[0]
            if backend not in available:
                return Unavailable(f"{backend} is not available: see wirepath backends")
            command = process.module("sender", spec, *flow, *rest)
            return lambda: _sample(bench.transmit(command, f"wirepath ({spec})"))

        def theirs(name: str, *words: str) -> Contestant | Unavailable:
            try:
                command = [build.reference(name), "--ifname", "wp0", *words, *rest]
            except Unavailable as error:
                return error
            return lambda: _sample(bench.transmit(command, name))

        xsk = ["--dst-ip", GROUP, "--dport", str(PORT), "--length", "64", "--copy"]
        yield {
            "udp_tx": theirs("udp_tx", *flow, "--length", "22"),
            "socket": ours("socket:wp0,tx_only=true,loop=false"),
            "xsk_tx": theirs("xsk_tx", *xsk, "--tx-budget", "2048"),
            "af_xdp": ours("af_xdp:wp0,tx_only=true"),
        }


TRANSMIT = Group(
    "transmit",
    (
        Line(
            "socket_tx",
            "port.tx of prepared batches of 64 frames from Python, against udp_tx",
            "packets/s",
            "socket",
            "udp_tx",
            note="the yardstick writes a number into each datagram, ours sends what is prepared",
        ),
        Line(
            "af_xdp_tx",
            "port.tx of prepared batches of 64 frames from Python, against xsk_tx --copy",
            "packets/s",
            "af_xdp",
            "xsk_tx",
            note="both copy each whole frame into a buffer of the socket",
        ),
    ),
    _open,
)
