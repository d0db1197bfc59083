# SPDX-License-Identifier: Apache-2.0
"""The fuzz targets: built by clang with libFuzzer and the sanitizers, run side by side. Those of
Python code are programs that take the same options."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from . import environment, native, system
from .results import Section
from .shell import BUILD, CI, ROOT, Stopwatch, jobs, logged, say, show_tail

# Bytes of the longest input. A byte of cme_recovery is a packet and its snapshots: more of them
# than fill what may be held, and the books, cost time and reach nothing new.
_MAX_LEN, _MAX_LENS = 1024, {"cme_recovery": 48}
_DONE = re.compile(r"Done (\d+) runs in (\d+) second")


def targets_of_python() -> list[str]:
    """Names of the fuzz targets that are Python: tests/fuzz/fuzz_NAME.py."""
    return sorted(path.stem.removeprefix("fuzz_") for path in ROOT.glob("tests/fuzz/fuzz_*.py"))


def all_targets() -> list[str]:
    """Names of every fuzz target."""
    return sorted(native.fuzz_targets() + targets_of_python())


def _one(target: str, runs: int, seconds: int) -> tuple[str, int, int, int]:
    """Runs a target; its name, exit code, executions, seconds."""
    flavour = native.fuzz()
    found = BUILD / "fuzz" / target  # what the fuzzer finds stays out of the source tree
    artifacts = BUILD / "fuzz" / "faults"
    for folder in (found, artifacts):
        folder.mkdir(parents=True, exist_ok=True)
    program: list[str | Path] = [flavour.folder / f"fuzz_{target}"]
    if target in targets_of_python():
        program = [environment.PYTHON, ROOT / "tests" / "fuzz" / f"fuzz_{target}.py"]
    command: list[str | Path] = [
        *program,
        f"-runs={runs}",
        f"-max_total_time={seconds}",
        f"-artifact_prefix={artifacts}/{target}-",
        f"-max_len={_MAX_LENS.get(target, _MAX_LEN)}",
        "-timeout=25",
        "-print_final_stats=1",
        found,
    ]
    seeds = ROOT / "tests" / "fuzz" / "corpus" / target
    if seeds.is_dir():
        command.append(seeds)
    began = time.monotonic()
    code, output = logged(
        f"fuzz-{target}", command, flavour.environment, timeout=seconds + 120 if seconds else None
    )
    done = _DONE.search(output)
    return target, code, int(done[1]) if done else 0, round(time.monotonic() - began)


def run(targets: Sequence[str], runs: int, seconds: int, *, strict: bool = CI) -> Section:
    """Builds and runs targets, `runs` executions each, `seconds` at most (0 = no limit)."""
    watch, section = Stopwatch(), Section("fuzz")
    chosen = list(targets) or all_targets()
    lacking = system.provide(system.fuzz_needs())
    if not chosen:
        section.skip("there are no fuzz targets", strict=strict)
    elif lacking:
        packages = " ".join(name for need in lacking for name in need.packages)
        section.skip(f"fuzz targets: apt install {packages}", strict=strict)
    elif not native.build(native.fuzz()):
        show_tail("native-fuzz")
        section.bad("the fuzz targets do not build (build/log/native-fuzz.log)")
    else:
        say(f"fuzzing: {', '.join(chosen)}")
        with ThreadPoolExecutor(max_workers=jobs()) as pool:
            for target, code, count, took in pool.map(lambda t: _one(t, runs, seconds), chosen):
                say(f"fuzz {target}: {count:,} executions in {took} s")
                if code != 0:
                    show_tail(f"fuzz-{target}")
                    section.bad(
                        f"{target}: a fault (build/fuzz/faults, build/log/fuzz-{target}.log)"
                    )
                    continue
                section.ok()
                if count < runs:
                    section.notes.append(f"{target}: {count:,} of {runs:,} executions, out of time")
    section.seconds = watch.seconds()
    return section


def unknown_targets(targets: Sequence[str]) -> list[str]:
    """Those that there are no sources of."""
    have = all_targets()
    return [name for name in targets if name not in have]
