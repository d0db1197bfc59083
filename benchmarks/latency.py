# SPDX-License-Identifier: Apache-2.0
"""The latency table: every backend on the same lab, spinning and woken.

A sender on host a keeps to absolute deadlines and writes the time into each packet just before it
hands it over; a stage on host b takes the time when it sees the packet. That is one clock, and the
same way for every backend whatever it stamps frames with. memif has no host a: its sender is the
other end of the link. The yardstick of each line is the plain recvmmsg loop that waits likewise.
"""

from __future__ import annotations

import subprocess
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
_BACKENDS = {
    "socket": "socket:wp0",
    "af_xdp": "af_xdp:wp0",
    "af_xdp_generic": "af_xdp:wp0,mode=generic",
    "af_xdp_busy_poll": "af_xdp:wp0,busy_poll=preferred",
    "dpdk_af_xdp": "dpdk:net_af_xdp0,iface=wp0",
    "dpdk_af_packet": "dpdk:net_af_packet0,iface=wp0",
    "dpdk_memif": "dpdk:net_memif0,role=server",
    "ef_vi_sim": "ef_vi_sim:wp0",
}
_IDLE = {"spin": "spinning", "sleep": "woken"}

Popen = Callable[..., "subprocess.Popen[str]"]


def _run(
    receiver: list[str], sender: list[str], seconds: float, on_b: Popen, on_a: Popen
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the two said. Raises Refused where one fails or packets are missing."""
    options: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    options |= {"cwd": process.ROOT, "env": process.ENVIRONMENT}
    child = on_b(receiver, **options)
    source = None
    try:
        if child.stderr.readline().strip() != "ready":
            out, err = child.communicate(timeout=30)
            process.parse("the receiver", child.returncode or 1, out, err)
        source = on_a(sender, **options)
        out, err = source.communicate(timeout=seconds + 30)
        sent = process.parse("the sender", source.returncode, out, err)
        out, err = child.communicate(timeout=30)
        got = process.parse("the receiver", child.returncode, out, err)
    except subprocess.TimeoutExpired:
        raise Refused("sender or receiver did not end") from None
    finally:
        for each in filter(None, (child, source)):
            if each.poll() is None:
                each.kill()
                each.communicate()
    missing = sent["packets"] - sent["refused"] - got["packets"] - got["drops"]
    if missing > 0 or not got["packets"]:
        raise Refused(
            f"{sent['packets']} packets were sent ({sent['refused']} refused), {got['packets']} "
            f"received and {got['drops']} dropped"
        )
    return sent, got


def _sample(folder: Path, sent: Mapping[str, Any], got: Mapping[str, Any]) -> Sample:
    lost = sent["packets"] - got["packets"]
    late = sent["late_ns"]["p99"]
    notes = [f"lost {lost} of {sent['packets']} in a round"] if lost else []
    notes += [f"the sender was {late / 1e3:.0f} µs late (p99)"] if late > 100_000 else []
    latencies = {file.name: np.fromfile(file, np.uint32) for file in folder.glob("since_*")}
    return Sample(
        {"p50": float(np.percentile(latencies["since_sent"], 50))},
        got.get("port", {}),
        note=", ".join(notes),
        latencies=latencies,
    )


def _send(spec: str, settings: Settings) -> list[str]:
    words = ["--rate", str(_RATE), "--seconds", str(settings.seconds)]
    return process.module(
        "latency_ends", "send", spec, *_FLOW, *words, "--cpu", str(settings.cpus[0])
    )


def _ours(bench: Bench, spec: str, idle: str) -> Sample:
    settings = bench.settings
    with tempfile.TemporaryDirectory(prefix="wpbench") as name:
        folder = Path(name)
        sender, on_a = "socket:wp0,tx_only=true,loop=false", bench.on("a")
        if "net_memif" in spec:
            link = f",socket={folder / 'memif.sock'},socket-abstract=no"
            sender = f"dpdk:net_memif0,role=client,tx_only=true{link}"
            spec += f"{link},link_wait_ms=0"
            on_a = bench.on("b")
        words = ["--stage", build.native("bench_stage.so"), "--out", name, "--idle", idle]
        words += ["--seconds", str(settings.seconds + 20), "--cpu", str(settings.cpus[1])]
        receiver = process.module("latency_ends", "receive", spec, *_FLOW, *words)
        sent, got = _run(receiver, _send(sender, settings), settings.seconds, bench.on("b"), on_a)
        return _sample(folder, sent, got)


def _theirs(bench: Bench, idle: str) -> Sample:
    settings = bench.settings
    with tempfile.TemporaryDirectory(prefix="wpbench") as name:
        words = ["--cpu", str(settings.cpus[1]), "--seconds", str(settings.seconds + 20)]
        words += ["--idle-ms", "1500", "--latency", str(Path(name) / "since_sent")]
        words += ["--busy"] if idle == "spin" else []
        receiver = [build.reference("recvmmsg_rx"), "--ifname", "wp0", *_FLOW, *words]
        sender = _send("socket:wp0,tx_only=true,loop=false", settings)
        sent, got = _run(receiver, sender, settings.seconds, bench.on("b"), bench.on("a"))
        return _sample(Path(name), sent, got)


@contextmanager
def _open(settings: Settings) -> Iterator[Mapping[str, Contestant | Unavailable]]:
    import wirepath as wp  # noqa: PLC0415 -- --list and --help need no built package

    status = {b.name: b for b in wp.backends()}
    with lab(settings) as bench:
        out: dict[str, Contestant | Unavailable] = {}
        for idle in _IDLE:
            out[f"recvmmsg {idle}"] = partial(_theirs, bench, idle)
            for name, spec in _BACKENDS.items():
                backend = status[spec.partition(":")[0]]
                out[f"{name} {idle}"] = (
                    partial(_ours, bench, spec, idle)
                    if backend.available
                    else Unavailable(f"{backend.name}: {backend.reason} ({backend.mend})")
                )
        yield out


def _line(name: str, idle: str, how: str) -> Line:
    return Line(
        f"latency_{name}_{idle}",
        f"{_BACKENDS[name]}, {how}: median time from sender to stage, against recvmmsg {how}",
        "ns",
        f"{name} {idle}",
        f"recvmmsg {idle}",
        "p50",
        better="lower",
    )


LATENCY = Group(
    "latency",
    tuple(_line(name, idle, how) for idle, how in _IDLE.items() for name in _BACKENDS),
    _open,
)
