# SPDX-License-Identifier: Apache-2.0
"""The native builds beside the package: tests under each sanitizer, fuzz targets, yardsticks."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from . import environment
from .shell import BUILD, CI, ROOT, DevError, Words, jobs, locked, logged, require, say
from .system import clangxx, cxx

_ASAN_FLAGS = {
    "ASAN_OPTIONS": "detect_stack_use_after_return=1:strict_string_checks=1",
    "UBSAN_OPTIONS": "print_stacktrace=1",
}


@dataclass(frozen=True)
class Flavour:
    """One way to build the native code."""

    name: str
    what: str
    sanitize: str = ""
    compiler: str | None = None
    build_type: str = "Release"
    python: bool = False
    tests: bool = True
    fuzz: bool = False
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """Its build tree."""
        return BUILD / f"native-{self.name}"


def release() -> Flavour:
    """What users get, with warnings as errors; the bindings too, unless they have been compiled
    so already (see environment.package)."""
    return Flavour("release", "Release, -Werror", compiler=cxx(), python=not CI)


def address() -> Flavour:
    """ASan and UBSan, by clang where there is one: the tests then compile under both compilers."""
    return Flavour(
        "address",
        "ASan and UBSan",
        "address,undefined",
        clangxx() or cxx(),
        "RelWithDebInfo",
        environment=_ASAN_FLAGS,
    )


def thread() -> Flavour:
    """TSan."""
    return Flavour(
        "thread",
        "TSan",
        "thread",
        cxx(),
        "RelWithDebInfo",
        environment={"TSAN_OPTIONS": "halt_on_error=1:second_deadlock_stack=1"},
    )


def fuzz() -> Flavour:
    """libFuzzer with ASan and UBSan."""
    return Flavour(
        "fuzz",
        "fuzz targets",
        "address,undefined",
        clangxx(),
        "RelWithDebInfo",
        tests=False,
        fuzz=True,
        environment=_ASAN_FLAGS,
    )


def _switch(on: bool) -> str:
    return "ON" if on else "OFF"


def build(flavour: Flavour) -> bool:
    """Configures and builds; whether that worked. The log is build/log/native-NAME.log."""
    settings = {
        "CMAKE_BUILD_TYPE": flavour.build_type,
        "CMAKE_MAKE_PROGRAM": environment.ninja(),
        "WIREPATH_WERROR": "ON",
        "WIREPATH_TESTS": _switch(flavour.tests),
        "WIREPATH_FUZZ": _switch(flavour.fuzz),
        "WIREPATH_PYTHON": _switch(flavour.python),
        "WIREPATH_SANITIZE": flavour.sanitize,
        "WIREPATH_EF_VI": environment.EF_VI,
    }
    if flavour.python:
        settings["Python_EXECUTABLE"] = str(environment.PYTHON)
    if flavour.compiler:
        settings["CMAKE_CXX_COMPILER"] = flavour.compiler
        # C of the same family: packet programs are C, and sanitizers of two compilers do not mix.
        folder, _, name = flavour.compiler.rpartition("/")
        for cxx_name, c_name in (("clang++", "clang"), ("g++", "gcc"), ("c++", "cc")):
            name = name.replace(cxx_name, c_name)
        c = f"{folder}/{name}" if folder else name
        settings["CMAKE_C_COMPILER"] = c
    log = f"native-{flavour.name}"
    say(f"building: {flavour.what}")
    with locked():
        command: Words = [environment.cmake(), "-S", ROOT, "-B", flavour.folder, "-G", "Ninja"]
        code, _ = logged(log, [*command, *(f"-D{key}={value}" for key, value in settings.items())])
        if code == 0:
            make: Words = [environment.cmake(), "--build", flavour.folder, "-j", str(jobs())]
            code, _ = logged(log, make, append=True)
    return code == 0


def threaded_tests() -> list[str]:
    """Test files that start threads, themselves or through a worker: what TSan can judge."""
    marks = ("<thread>", "core/worker.h")
    files = [*ROOT.glob("src/native/**/*_test.cc"), *ROOT.glob("src/programs/*_test.cc")]
    return sorted(
        path.name for path in files if any(mark in path.read_text("utf-8") for mark in marks)
    )


def run_tests(flavour: Flavour, log: str, *words: str) -> tuple[int, str]:
    """Runs the native tests of a build; exit code and output."""
    binary = flavour.folder / "wirepath_tests"
    code, output = logged(log, [binary, *words], flavour.environment, timeout=600)
    if "unexpected memory mapping" in output:
        # TSan's shadow and a kernel with more bits of address randomisation than it knows.
        command: Words = ["setarch", os.uname().machine, "-R", binary, *words]
        code, output = logged(log, command, flavour.environment, timeout=600)
    return code, output


def fuzz_targets() -> list[str]:
    """Names of the native fuzz targets: tests/fuzz/fuzz_NAME.cc."""
    return sorted(path.stem.removeprefix("fuzz_") for path in ROOT.glob("tests/fuzz/fuzz_*.cc"))


def reference() -> Path:
    """The C yardsticks, built into build/reference."""
    folder = BUILD / "reference"
    say("building the C yardsticks")
    source = ROOT / "benchmarks" / "reference"
    if not (source / "CMakeLists.txt").exists():
        raise DevError("benchmarks/reference is missing from this checkout")
    with locked():
        why = "the yardsticks could not be built"
        make_program = f"-DCMAKE_MAKE_PROGRAM={environment.ninja()}"
        command: Words = [
            environment.cmake(),
            "-S",
            source,
            "-B",
            folder,
            "-G",
            "Ninja",
            make_program,
        ]
        require("reference", command, why)
        make: Words = [environment.cmake(), "--build", folder, "-j", str(jobs())]
        require("reference", make, why, append=True)
    return folder
