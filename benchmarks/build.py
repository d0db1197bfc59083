# SPDX-License-Identifier: Apache-2.0
"""Builds the C yardsticks and wirepath's native benchmark programs, and makes the day file."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

from .harness import Unavailable

ROOT = Path(__file__).resolve().parent.parent
BUILD = Path(os.environ.get("WIREPATH_BENCH_BUILD", ROOT / "build"))
DAY_MESSAGES = 2_000_000


def _tool(name: str) -> str | None:
    beside = Path(sys.executable).parent / name  # a virtual environment's own
    return shutil.which(name) or (str(beside) if beside.exists() else None)


def _run(command: list[str], what: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        tail = "\n".join((done.stdout + done.stderr).splitlines()[-15:])
        raise Unavailable(f"{what} could not be built: {' '.join(command)}\n{tail}")


def _cmake(source: Path, folder: Path, what: str) -> Path:
    cmake = _tool("cmake")
    if cmake is None:
        raise Unavailable(f"{what} could not be built: no cmake (apt install cmake ninja-build)")
    configure = [cmake, "-S", str(source), "-B", str(folder)]
    if not (folder / "CMakeCache.txt").exists() and (ninja := _tool("ninja")):
        configure += ["-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={ninja}"]
    _run(configure, what)
    _run([cmake, "--build", str(folder), "-j", str(os.cpu_count() or 1)], what)
    return folder


@cache
def _reference_folder() -> Path:
    return _cmake(ROOT / "benchmarks" / "reference", BUILD / "reference", "the C yardsticks")


@cache
def _native_folder() -> Path:
    source = ROOT / "benchmarks" / "native"
    return _cmake(source, BUILD / "benchmarks", "wirepath's benchmark programs")


def reference(name: str) -> str:
    """Path of a yardstick.

    Raises:
        Unavailable: it was left out of the build, for want of its library.
    """
    path = _reference_folder() / name
    if not path.exists():
        raise Unavailable(
            f"the yardstick {name} was not built "
            "(apt install clang libbpf-dev libxdp-dev pkg-config, then again)"
        )
    return str(path)


def native(name: str) -> str:
    """Path of one of wirepath's own benchmark programs or stages."""
    return str(_native_folder() / name)


@cache
def day_file() -> Path:
    """A generated ITCH 5.0 day, the same bytes for everyone: seed 1, `DAY_MESSAGES` messages."""
    from wirepath import _core  # noqa: PLC0415 -- --list and --help need no built package

    path = BUILD / "benchmarks" / f"01302020-{DAY_MESSAGES}.NASDAQ_ITCH50"
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    generator = _core.ItchGenerator(seed=1, messages=DAY_MESSAGES)
    block = bytearray(1 << 20)
    fresh = path.with_suffix(".new")
    with fresh.open("wb") as file:
        while size := generator.generate(block):
            file.write(memoryview(block)[:size])
    fresh.rename(path)
    return path
