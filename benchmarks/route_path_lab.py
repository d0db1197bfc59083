# SPDX-License-Identifier: Apache-2.0
"""The lab of the router's benchmarks: sender, router and receiver, each in a namespace of its own.

Packets are made in the kernel on the sender (reference/live_frames), which leads a list of
destinations in turns, and are counted by an XDP program on the receiver, which drops them. The
router between has the same routes for whoever forwards: in the kernel's table, and in wirepath's.
"""

from __future__ import annotations

import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from . import build, process, route_user_run
from .harness import Refused, Settings, Unavailable

PORTS = ("wp0", "wp1")  # of the router: to the sender, to the receiver
WAYS = 4  # next hops for the prefixes of a first byte
_SPARE = 1 << 16  # destinations of the small table
_FIRST = range(1, 224)
_READY_SECONDS = 30


@dataclass(frozen=True)
class Routes:
    """prefixes: (n,) IPv4 in host order. lengths, ways: (n,). destinations: (2^k,) likewise."""

    prefixes: NDArray[np.uint32]
    lengths: NDArray[np.uint8]
    ways: NDArray[np.uint32]
    destinations: NDArray[np.uint32]

    @property
    def hops(self) -> NDArray[np.uint32]:
        """Number of each prefix's next hop."""
        hops: NDArray[np.uint32] = hop_of(self.prefixes >> 24, self.ways)
        return hops


def hop_of(first: Any, way: Any) -> Any:
    """Number of a next hop: of a first byte of addresses, and a way."""
    return first * WAYS + way + 1


def station(first: int, way: int) -> bytes:
    """MAC address of a next hop; the receiver checks the fifth byte."""
    return bytes([2, 1, 0, 0, first, way])


def _usable(prefixes: NDArray[np.uint32]) -> NDArray[np.bool_]:
    first = prefixes >> 24
    ours = (first == 0) | (first == 10) | (first == 127) | (first >= 224)
    usable: NDArray[np.bool_] = ~ours & (prefixes >> 16 != 0xA9FE)
    return usable


def full() -> Routes:
    """A real Internet table, with a /8 below everything, so that every packet has a route even
    where longer ones are taken out. Destinations are within prefixes that are all as likely."""
    if not route_user_run.PREFIXES.exists():
        raise Unavailable(
            f"no table of prefixes at {route_user_run.PREFIXES} (a file with one prefix a line, "
            "gzip, in WIREPATH_BENCH_PREFIXES)"
        )
    prefixes, lengths = route_user_run.prefixes()
    keep = _usable(prefixes) & (lengths > 8)
    below = np.array([n << 24 for n in _FIRST], np.uint32)
    below = below[_usable(below)]
    to = route_user_run.destinations("random")
    to = np.resize(to[_usable(to)], len(to))
    prefixes = np.concatenate([below, prefixes[keep]])
    lengths = np.concatenate([np.full(len(below), 8, np.uint8), lengths[keep]])
    ways = np.random.default_rng(3).integers(0, WAYS, len(prefixes), dtype=np.uint32)
    return Routes(prefixes, lengths, ways, to)


def small() -> Routes:
    """Sixteen prefixes, as in a small network."""
    prefixes = np.array([(16 + n) << 24 for n in range(16)], np.uint32)
    rng = np.random.default_rng(3)
    to = prefixes[rng.integers(0, 16, _SPARE)] | rng.integers(0, 1 << 24, _SPARE, dtype=np.uint32)
    return Routes(prefixes, np.full(16, 8, np.uint8), np.zeros(16, np.uint32), to)


@dataclass(frozen=True)
class Sent:
    """refused: by the router's driver, whose ring was full. began: when the sender was ready, as
    `time.perf_counter` has it. seconds: from first to last, or from that on where flat out.
    processor: seconds of it, all that it took. by_host: of what arrived, what wirepath left to the
    kernel."""

    packets: int
    refused: int
    arrived: int
    began: float
    seconds: float
    processor: float
    by_host: int

    @property
    def lost(self) -> int:
        """By the router, of what its driver took."""
        return self.packets - self.refused - self.arrived

    @property
    def figures(self) -> dict[str, float]:
        """Packets that arrived a second (rate), and a second of the processor (core)."""
        return {"rate": self.arrived / self.seconds, "core": self.arrived / self.processor}


def _softirq_seconds(cpu: int) -> float:
    """That the kernel's thread for it has had: under load it takes some of the forwarding over."""
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (folder / "comm").read_text().strip() == f"ksoftirqd/{cpu}":
                return int((folder / "schedstat").read_text().split()[0]) / 1e9
    return 0.0


class PathLab:
    """The lab while it is up. `on` has one of the data planes forward, `send` what is measured."""

    def __init__(self, name: str, routes: Routes, settings: Settings) -> None:
        from wirepath.lab import Lab  # noqa: PLC0415 -- --list needs no built package

        self.routes = routes
        self.settings = settings
        self.lab = Lab(name, ["a", "r", "b"], ipv6=False)
        self.tables: Any = None
        self._bases: dict[str, Any] = {}
        self._sink: Any = None
        self._plane = "kernel"
        self._open = ExitStack()

    def __enter__(self) -> Self:
        build.reference("live_frames")
        with self._open as opened:
            opened.enter_context(self.lab)
            self._fill_kernel()
            self._load()
            folder = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="wpbench")))
            self._to = folder / "destinations"
            self.routes.destinations.astype(">u4").tofile(self._to)
            self._open = opened.pop_all()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._open.close()

    # --- tables ---------------------------------------------------------------------------------
    def _fill_kernel(self) -> None:
        lines = []
        for first in sorted({int(p) >> 24 for p in self.routes.prefixes}):
            for way in range(WAYS):
                mac = station(first, way).hex(":")
                gateway = f"100.64.{way}.{first}"
                lines.append(f"neigh replace {gateway} lladdr {mac} nud permanent dev wp1")
        rows = zip(self.routes.prefixes, self.routes.lengths, self.routes.ways, strict=True)
        for prefix, length, way in rows:
            text = socket.inet_ntoa(int(prefix).to_bytes(4, "big"))
            gateway = f"100.64.{way}.{prefix >> 24}"
            lines.append(f"route add {text}/{length} via {gateway} dev wp1 onlink")
        done = self.lab["r"].run(
            ["ip", "-batch", "-"], input="\n".join(lines), text=True, capture_output=True
        )
        if done.returncode:
            raise Unavailable(f"the kernel does not take the routes: {done.stderr.strip()[-200:]}")

    def _load(self) -> None:
        """The programs with their maps, which stay while chains come and go."""
        from wirepath import programs  # noqa: PLC0415
        from wirepath.route import KernelSource, RouteTable  # noqa: PLC0415
        from wirepath.route.interfaces import Interfaces  # noqa: PLC0415
        from wirepath.route.program import ForwardingTables, entries  # noqa: PLC0415

        with self.lab["r"].enter():
            table = RouteTable()
            with KernelSource(table) as kernel:
                kernel.sync()
            for plane in ("xdp", "xdp-kernel-fib"):
                base = programs.load(
                    "route",
                    config={"seed": 1, "port": 1, "kernel_fib": int(plane != "xdp")},
                    entries=entries(groups6=64) if plane == "xdp" else None,
                )
                interfaces = Interfaces(table, PORTS, families=(4,))
                interfaces.update(base)
                for index, each in interfaces.known.items():
                    base.maps["ports"][each.port] = index
                self._bases[plane] = base
        self.tables = ForwardingTables(self._bases["xdp"])
        out = self.lab["r"].interfaces[1]
        index = next(i for i, link in table.links.items() if link.name == PORTS[1])
        source = bytes.fromhex(out.mac.replace(":", ""))
        for first in sorted({int(p) >> 24 for p in self.routes.prefixes}):
            for way in range(WAYS):
                hop = hop_of(first, way)
                mac = station(first, way)
                self.tables.next_hops.set(hop, 1, index, mac, source, 1500, 0, 2, 2)
                self.tables.next_hops.set_group(hop, [(hop, 1)])
        self.tables.fib4.add_many(self.routes.prefixes, self.routes.lengths, self.routes.hops)
        with self.lab["b"].enter():
            self._sink = programs.load(Path(__file__).parent / "programs" / "route_sink.c")
            self._open.enter_context(self._sink.attach("wp0", "native"))

    # --- who forwards ---------------------------------------------------------------------------
    @contextmanager
    def on(self, plane: str) -> Iterator[None]:
        """`kernel`, `xdp` or `xdp-kernel-fib` forwards."""
        with ExitStack() as stack, self.lab["r"].enter():
            if plane == "kernel":
                # Without XDP a veth takes no live frames but with GRO, which a program that goes
                # leaves off.
                for state in ("off", "on"):
                    words = ["ethtool", "-K", PORTS[0], "gro", state]
                    subprocess.run(words, check=True, capture_output=True)
            else:
                from wirepath import programs  # noqa: PLC0415

                base = self._bases[plane]
                for number, name in enumerate(PORTS, 1):
                    chain = stack.enter_context(programs.Chain(name, "native"))
                    config = {"seed": 1, "port": number, "kernel_fib": int(plane != "xdp")}
                    share = dict.fromkeys(base.maps, base)
                    chain.put(chain.load("router", "route", config=config, share=share))
            self._plane = plane
            yield

    def _forwarded(self) -> int:
        if self._plane == "kernel":
            return 0
        return int(self._bases[self._plane].counters()["forwarded4"])

    # --- traffic --------------------------------------------------------------------------------
    def send(self, seconds: float, rate: float = 0) -> Sent:
        """Sends for so long, at a rate or as fast as can be.

        Raises:
            Refused: a packet went to a next hop of another prefix, nothing arrived, or the sender
                was not ready, failed, or did not end in time.
        """
        a, r = self.lab["a"].interface, self.lab["r"].interface
        before, forwarded = self._sink.counters(), self._forwarded()
        words = [build.reference("live_frames"), "--ifname", "wp0", "--dst-mac", r.mac]
        words += ["--dst-ip", "16.0.0.1", "--src-ip", a.ipv4, "--addresses", str(self._to)]
        words += ["--length", "60", "--seq-bytes", "0", "--cpu", str(self.settings.cpus[0])]
        words += ["--rate", str(rate)]
        if rate:  # with time to catch up where the processor was somebody else's
            words += ["--count", str(round(rate * seconds)), "--seconds", str(2 * seconds + 0.1)]
        else:
            words += ["--seconds", str(seconds)]
        softirq = _softirq_seconds(self.settings.cpus[0])
        pipe = subprocess.PIPE
        with process.running(
            self.lab["a"].popen(words, stdout=pipe, stderr=pipe, text=True)
        ) as child:
            process.wait_ready("live_frames", child, _READY_SECONDS)
            began = time.perf_counter()
            sent = process.finish("live_frames", child, 2 * seconds + _READY_SECONDS)
        spent = sent["cpu_seconds"] + _softirq_seconds(self.settings.cpus[0]) - softirq
        after = self._sink.counters()
        if after["wrong"] != before["wrong"]:
            raise Refused(f"{after['wrong'] - before['wrong']} packets went to a wrong next hop")
        arrived = after["right"] - before["right"]
        if not arrived:
            raise Refused("nothing arrived")
        by_host = 0
        if self._plane != "kernel":  # what was lost behind the program was forwarded, too
            by_host = max(0, arrived - (self._forwarded() - forwarded))
        return Sent(sent["packets"], sent["drops"], arrived, began, sent["seconds"], spent, by_host)
