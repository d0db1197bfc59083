# SPDX-License-Identifier: Apache-2.0
"""The filter in the driver: what a packet costs against xdp-filter and against the number of
prefixes.

Costs are those of BPF_PROG_RUN over one UDP frame of 64 bytes whose source the rule denies, or
does not; over random sources, of a chain whose first program makes them.
"""

from __future__ import annotations

import resource
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from . import build, process
from .harness import Contestant, Group, Line, Sample, Settings, Unavailable

_HERE = Path(__file__).parent
_REPEAT = 2_000_000
_OBJECTS = ("/usr/lib/*/bpf", "/usr/lib/bpf", "/usr/lib64/bpf", "/usr/local/lib/bpf")
_DENIED, _OTHER = "9.9.9.1", "9.9.9.2"  # no bogons
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
    size = f"{engine.program.info()['jited_bytes']:,} bytes of machine code"
    info = {"features": list(engine.tables.features), "code": size}
    return Sample({"ns": outcome.ns}, info, note="; ".join(filter(None, (note, size))))


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
        yield out | _in_chains(stack, engines)


def _in_chains(
    stack: ExitStack, engines: Mapping[str, Any]
) -> Mapping[str, Contestant | Unavailable]:
    """Behind the root program of a chain, on a lab's interface: one source, or random ones."""
    from wirepath import lab, programs  # noqa: PLC0415

    names = {f"random {name}": name for name in _SOURCES}
    if why := lab.unavailable_reason():
        return dict.fromkeys(["in chain", *names], Unavailable(why))
    made = stack.enter_context(lab.Lab("wpbfilter"))
    stack.enter_context(made["b"].enter())
    interface = made["b"].interface.name
    chain = stack.enter_context(programs.Chain(interface))
    root = programs.adopt(programs.attached(interface)[0].program_id)
    # The same tables, and programs that go on to the next slot of this chain.
    own = {name: engine.watching(chain, 0) for name, engine in engines.items()}
    random = chain.load("pre", _HERE / "programs" / "random_source.c")

    def one() -> Sample:
        chain.put(own["minimal"].program)
        outcome = root.run(_frame(_DENIED), repeat=_REPEAT)
        assert outcome.verdict == "drop", outcome
        return Sample({"ns": outcome.ns})

    def many(name: str) -> Sample:
        chain.put(own[name].program)
        chain.put(random)
        try:
            outcome = root.run(_frame(_OTHER), repeat=_REPEAT)
        finally:
            chain.remove("pre")
        return Sample({"ns": outcome.ns}, note="with what it takes to make the sources")

    return {"in chain": one, **{key: partial(many, name) for key, name in names.items()}}


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
        Line("filter_random_10k", "random sources, 10,000 prefixes against 1", "ns", "random 10k",
             "random 1", "ns", None, "lower"),
        Line("filter_random_1M", "random sources, a million prefixes against 1", "ns", "random 1M",
             "random 1", "ns", None, "lower"),
    ),
    _costs,
)  # fmt: skip
