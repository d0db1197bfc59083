# SPDX-License-Identifier: Apache-2.0
"""From the NIC to the record and to the book: a feed on the lab, the publisher on the other side.

`wirepath publish` sends a generated ITCH day over MoldUDP64 from host a at a rate of its own,
whatever the receiver does. On host b a FeedStage takes it in, and its histograms say how long after
the frame's stamp each message's record could be popped (`wire_to_ring`, without books) or the books
knew it (`wire_to_book`). The yardstick takes the same datagrams with recvmmsg and reads the
clock: from the kernel's stamp to the datagram in user space, nothing decoded.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from . import build, process
from .harness import Contestant, Group, Line, Refused, Sample, Settings, Unavailable
from .lab import GROUP, PORT, Bench, lab

_RATE = 20_000  # packets a second: far from the limit of any
_FLOW = ["--group", GROUP, "--port", str(PORT)]
_BACKENDS = {"socket": "socket:wp0", "af_xdp": "af_xdp:wp0"}
_TO = {"record": "can be popped as a record", "book": "is in the book"}

Popen = Callable[..., "subprocess.Popen[str]"]


def _publish(settings: Settings) -> list[str]:
    words = ["-m", "wirepath", "publish", "generated", "--to", f"{GROUP}:{PORT}", "--json", "-q"]
    words += ["--via", "socket:wp0,tx_only=true", "--no-loop", "--burst", "1"]
    words += ["--packet-rate", str(_RATE), "--max-seconds", str(settings.seconds)]
    words += ["--messages", str(max(500_000, int(settings.seconds * _RATE * 40)))]
    return [sys.executable, *words, "--cpu-core", str(settings.cpus[0])]


def _run(bench: Bench, receiver: list[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What publisher and receiver said. Raises Refused where one fails or packets are missing."""
    options: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    options |= {"cwd": process.ROOT, "env": process.ENVIRONMENT}
    children = [bench.on("b")(receiver, **options)]
    limit = bench.settings.seconds + 60
    try:
        if children[0].stderr.readline().strip() != "ready":
            out, err = children[0].communicate(timeout=30)
            process.parse("the receiver", children[0].returncode or 1, out, err)
        children.append(bench.on("a")(_publish(bench.settings), **options))
        out, err = children[1].communicate(timeout=limit)
        sent = process.parse("wirepath publish", children[1].returncode, out, err)
        out, err = children[0].communicate(timeout=limit)
        got = process.parse("the receiver", children[0].returncode, out, err)
    except subprocess.TimeoutExpired:
        raise Refused("publisher or receiver did not end") from None
    finally:
        for each in children:
            if each.poll() is None:
                each.kill()
                each.communicate()
    if not got["packets"] or sent["packets"] != got["packets"] + got["drops"]:
        raise Refused(
            f"{sent['packets']} packets were published, {got['packets']} received and "
            f"{got['drops']} dropped"
        )
    return sent, got


def _ours(bench: Bench, spec: str, to: str) -> Sample:
    settings = bench.settings
    with tempfile.TemporaryDirectory(prefix="wpbench") as name:
        file = Path(name) / "latencies"
        words = [spec, *_FLOW, "--to", to, "--out", str(file), "--cpu", str(settings.cpus[1])]
        words += ["--seconds", str(settings.seconds + 40)]
        sent, got = _run(bench, process.module("feed_ends", *words))
        if got["messages"] != got["records"] or (not got["drops"] and got["gaps"]):
            raise Refused(
                f"{got['messages']} messages gave {got['records']} records, with {got['gaps']} gaps"
            )
        latencies = np.fromfile(file, np.uint32)
        note = f"lost {got['drops']} of {sent['packets']} in a round" if got["drops"] else ""
        figures = {"p50": float(np.percentile(latencies, 50))}
        return Sample(figures, got["port"], note=note, latencies={"since_stamp": latencies})


def _theirs(bench: Bench) -> Sample:
    settings = bench.settings
    with tempfile.TemporaryDirectory(prefix="wpbench") as name:
        file = Path(name) / "since_stamp"
        words = ["--cpu", str(settings.cpus[1]), "--seconds", str(settings.seconds + 40)]
        words += ["--idle-ms", "1500", "--busy", "--timestamps", "--since-stamp"]
        receiver = [build.reference("recvmmsg_rx"), "--ifname", "wp0", *_FLOW, *words]
        _run(bench, [*receiver, "--latency", str(file)])
        return Sample({"p50": float(np.percentile(np.fromfile(file, np.uint32), 50))})


@contextmanager
def _open(settings: Settings) -> Iterator[Mapping[str, Contestant | Unavailable]]:
    import wirepath as wp  # noqa: PLC0415 -- --list and --help need no built package

    status = {b.name: b for b in wp.backends()}
    with lab(settings) as bench:
        out: dict[str, Contestant | Unavailable] = {"recvmmsg": partial(_theirs, bench)}
        for name, spec in _BACKENDS.items():
            backend = status[spec.partition(":")[0]]
            for to in _TO:
                out[f"{name} {to}"] = (
                    partial(_ours, bench, spec, to)
                    if backend.available
                    else Unavailable(f"{backend.name}: {backend.reason} ({backend.mend})")
                )
        yield out


def _line(name: str, to: str, what: str) -> Line:
    return Line(
        f"feed_{name}_{to}",
        f"{_BACKENDS[name]}, spinning: median time from a frame's stamp until its message {what}, "
        "against recvmmsg until the datagram is there",
        "ns",
        f"{name} {to}",
        "recvmmsg",
        "p50",
        better="lower",
    )


FEED_LATENCY = Group(
    "feed",
    tuple(_line(name, to, what) for name in _BACKENDS for to, what in _TO.items()),
    _open,
)
