# SPDX-License-Identifier: Apache-2.0
"""The filter in the driver: what a packet costs against xdp-filter, against the number of
prefixes, and how many requests of a TCP service survive a flood.

Costs are those of BPF_PROG_RUN over one UDP frame of 64 bytes whose source the rule denies, or
does not. The flood is the in-kernel source of the packet benchmarks.
"""

from __future__ import annotations

import resource
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from . import build, process
from .harness import Contestant, Group, Line, Sample, Settings, Unavailable, two_processors

_REPEAT = 2_000_000
_OBJECTS = ("/usr/lib/*/bpf", "/usr/lib/bpf", "/usr/lib64/bpf", "/usr/local/lib/bpf")
_DENIED, _OTHER = "9.9.9.1", "9.9.9.2"  # no bogons
_SERVICE, _FLOODED = 8080, 9001
_FLOOD = 2_000_000  # packets a second offered
_CLIENTS = 16
_SOURCES = {"1": 1, "10k": 10_000, "1M": 1_000_000}


def _object(name: str) -> str:
    for pattern in _OBJECTS:
        found = sorted(Path("/").glob(f"{pattern[1:]}/{name}"))
        if found:
            return str(found[0])
    raise Unavailable(f"xdp-filter's {name} is not here (apt install xdp-tools)")


def _yardstick(name: str, source: str) -> Sample:
    command = [build.reference("xdp_filter_cost"), _object(name), _DENIED, source, str(_REPEAT)]
    got = process.run(command)
    return Sample({"ns": got["ns"]}, note=f"xdp-filter's {name}")


def _frame(source: str) -> bytes:
    from wirepath.frames import udp  # noqa: PLC0415 -- --list needs no built package

    return udp(bytes(18), dst=("10.9.9.9", 9), src=(source, 9), dst_mac="02:00:00:00:00:02")


def _cost(engine: Any, source: str, note: str = "") -> Sample:
    outcome = engine.program.run(_frame(source), repeat=_REPEAT)
    wanted = "drop" if source == _DENIED else "pass"
    assert outcome.verdict == wanted, outcome
    return Sample({"ns": outcome.ns}, {"features": list(engine.tables.features)}, note=note)


def _engines(folder: Path, notes: dict[str, str]) -> dict[str, Any]:
    from wirepath.filter import Engine, FilterConfig, Rule, Set, compile_filter  # noqa: PLC0415

    plain = {"malformed": "pass"}
    configs = {
        "minimal": FilterConfig(rules=(Rule(source=_DENIED),), **plain),
        "full": FilterConfig(
            rules=(
                Rule(source=f"{_DENIED},2001:db8::/32"),
                Rule(destination="192.0.2.0/24", vlan="5", ttl="0-2"),
                Rule(action="limit", packets=1000, destination_port="53"),
            ),
            signatures="all",
            blocks=1000,
            **plain,
        ),
    }
    rng = np.random.default_rng(1)
    for name, count in _SOURCES.items():
        # Longer than /24 one in a hundred, as few are in real tables.
        lengths = np.where(rng.random(count) < 0.01, 32, 24)
        addresses = rng.integers(11 << 24, 223 << 24, count) & ~((1 << (32 - lengths)) - 1)
        lines = [f"{a >> 24}.{a >> 16 & 255}.{a >> 8 & 255}.{a & 255}/{n}"
                 for a, n in zip(addresses.tolist(), lengths.tolist(), strict=True)]  # fmt: skip
        (folder / f"{name}.txt").write_text("\n".join([f"{_DENIED}/32", *lines[1:]]))
        configs[name] = FilterConfig(
            rules=(Rule(source="@bad"),), sets=(Set(name="bad", file=f"{name}.txt"),), **plain
        )
    out = {}
    for name, config in configs.items():
        start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        tables = compile_filter(config, folder=folder)
        compiled = time.perf_counter()
        out[name] = Engine.kernel(tables)
        loaded = time.perf_counter()
        kernel = sum(m["memory"] for m in out[name].program.info()["maps"].values())
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        notes[name] = (
            f"{tables.prefixes:,} prefixes: read and compiled in {compiled - start:.2f} s, in the "
            f"kernel after {loaded - compiled:.2f} s more, {kernel >> 20} MiB there; this process "
            f"grew by {max(0, grown) >> 10} MiB"
        )
    return out


@contextmanager
def _costs(settings: Settings) -> Iterator[Mapping[str, Contestant | Unavailable]]:
    del settings
    from wirepath.programs import kernel  # noqa: PLC0415

    if why := kernel.unavailable_reason():
        raise Unavailable(why)
    notes: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        engines = _engines(Path(folder), notes)
        out: dict[str, Contestant | Unavailable] = {
            "xdp-filter drop": partial(_yardstick, "xdpfilt_alw_ip.o", _DENIED),
            "xdp-filter pass": partial(_yardstick, "xdpfilt_alw_ip.o", _OTHER),
            "xdp-filter all": partial(_yardstick, "xdpfilt_alw_all.o", _OTHER),
            "drop": partial(_cost, engines["minimal"], _DENIED),
            "pass": partial(_cost, engines["minimal"], _OTHER),
            "full": partial(_cost, engines["full"], _OTHER),
        }
        for name in _SOURCES:
            out[f"prefixes {name}"] = partial(_cost, engines[name], _DENIED, notes[name])
        out["in chain"] = _in_chain(stack, engines["minimal"].tables)
        yield out


def _in_chain(stack: ExitStack, tables: Any) -> Contestant | Unavailable:
    """The same behind the root program of a chain, on a lab's interface."""
    from wirepath import lab, programs  # noqa: PLC0415
    from wirepath.filter import Engine  # noqa: PLC0415

    if why := lab.unavailable_reason():
        return Unavailable(why)
    made = stack.enter_context(lab.Lab("wpbfilter"))
    stack.enter_context(made["b"].enter())
    interface = made["b"].interface.name
    chain = stack.enter_context(programs.Chain(interface))
    engine = Engine.in_chain(chain, tables)
    chain.put(engine.program)
    root = programs.adopt(programs.attached(interface)[0].program_id)

    def run() -> Sample:
        outcome = root.run(_frame(_DENIED), repeat=_REPEAT)
        assert outcome.verdict == "drop", outcome
        return Sample({"ns": outcome.ns})

    return run


FILTER = Group(
    "filter",
    (
        Line("filter_drop", "one source denied, its packet dropped", "ns", "drop",
             "xdp-filter drop", "ns", 1.0, "lower"),
        Line("filter_pass", "one source denied, another's packet passes", "ns", "pass",
             "xdp-filter pass", "ns", 1.0, "lower"),
        Line("filter_chain", "dropped behind the root of a chain", "ns", "in chain",
             "xdp-filter drop", "ns", None, "lower"),
        Line("filter_full", "every feature and signature, against xdp-filter with all of its",
             "ns", "full", "xdp-filter all", "ns", None, "lower"),
        Line("filter_10k", "10,000 prefixes against 1", "ns", "prefixes 10k", "prefixes 1", "ns",
             1.2, "lower"),
        Line("filter_1M", "a million prefixes against 1", "ns", "prefixes 1M", "prefixes 1", "ns",
             1.2, "lower"),
    ),
    _costs,
)  # fmt: skip


# --- a service under a flood ---------------------------------------------------------------------


def serve(port: int) -> None:
    """Answers a byte to each connection, one after the other, for as long as it is let."""
    with socket.create_server(("", port), backlog=1024) as server:
        print("ready", file=sys.stderr, flush=True)
        while True:
            with suppress(OSError):
                client, _ = server.accept()
                with client:
                    client.settimeout(1)
                    client.recv(1)
                    client.send(b"y")


def ask(host: str, port: int, seconds: float) -> int:
    """Transactions done by sixteen clients: connect, a byte there and back, close."""
    end = time.monotonic() + seconds
    done = [0] * _CLIENTS

    def client(number: int) -> None:
        while (left := end - time.monotonic()) > 0:
            with suppress(OSError), socket.create_connection((host, port), timeout=left) as one:
                one.settimeout(max(0.01, end - time.monotonic()))
                one.send(b"x")
                done[number] += one.recv(1) == b"y"

    clients = [threading.Thread(target=client, args=(i,)) for i in range(_CLIENTS)]
    for each in clients:
        each.start()
    for each in clients:
        each.join()
    return sum(done)


def _survived(made: Any, settings: Settings, *, flood: bool, filtered: bool) -> Sample:
    from wirepath.filter import Filter, FilterConfig, Rule  # noqa: PLC0415

    seconds = max(2.0, settings.seconds)
    a, b = made["a"], made["b"]
    module = [sys.executable, "-m", "benchmarks.filter"]
    options: dict[str, Any] = {"cwd": process.ROOT, "env": process.ENVIRONMENT, "text": True}
    with ExitStack() as stack:
        server = b.popen([*module, "serve", str(_SERVICE)], stderr=subprocess.PIPE, **options)
        stack.callback(server.wait)
        stack.callback(server.kill)
        assert server.stderr.readline().strip() == "ready"
        if filtered:
            stack.enter_context(b.enter())
            one = stack.enter_context(
                Filter(FilterConfig(rules=(Rule(protocol="udp", destination_port=_FLOODED),)))
            )
            one.attach(b.interface.name)
        else:
            _take_live_frames(b)
        source = None
        if flood:
            words = [build.reference("live_frames"), "--ifname", a.interface.name]
            words += ["--dst-ip", b.interface.ipv4, "--dst-mac", b.interface.mac]
            words += ["--dport", str(_FLOODED)]
            words += ["--seconds", str(seconds + 2), "--cpu", str(settings.cpus[0])]
            words += ["--rate", str(_FLOOD)]
            source = a.popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)
            time.sleep(0.5)
        words = [*module, "ask", b.interface.ipv4, str(_SERVICE), str(seconds)]
        asked = a.run(words, capture_output=True, timeout=seconds + 30, **options)
        done = int(asked.stdout)
        note = ""
        if source is not None:
            out, err = source.communicate(timeout=seconds + 30)
            sent = process.parse("live_frames", source.returncode, out, err)
            rate = (sent["packets"] - sent["drops"]) / (seconds + 2)
            note = f"flood of {rate / 1e6:.2f} M packets a second{' filtered' * filtered}"
        return Sample({"rate": done / seconds}, note=note)


def _take_live_frames(host: Any) -> None:
    """Without XDP or GRO a veth takes none; an XDP program that goes leaves GRO off."""
    for state in ("off", "on"):
        words = ["ethtool", "-K", host.interface.name, "gro", state]
        host.run(words, check=True, capture_output=True)


@contextmanager
def _service(settings: Settings) -> Iterator[Mapping[str, Contestant | Unavailable]]:
    from wirepath import lab  # noqa: PLC0415
    from wirepath.programs import kernel  # noqa: PLC0415

    two_processors(settings)
    if why := kernel.unavailable_reason() or lab.unavailable_reason():
        raise Unavailable(why)
    with lab.Lab("wpbflood") as made:
        yield {
            "quiet": partial(_survived, made, settings, flood=False, filtered=False),
            "unfiltered": partial(_survived, made, settings, flood=True, filtered=False),
            "filtered": partial(_survived, made, settings, flood=True, filtered=True),
        }


FILTER_FLOOD = Group(
    "filter_flood",
    (
        Line("filter_flood", "TCP transactions under a flood, with the filter against without",
             "/s", "filtered", "unfiltered", "rate", 3.0),
        Line("filter_flood_quiet", "with flood and filter against no flood at all", "/s",
             "filtered", "quiet"),
    ),
    _service,
)  # fmt: skip


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(int(sys.argv[2]))
    else:
        print(ask(sys.argv[2], int(sys.argv[3]), float(sys.argv[4])))
