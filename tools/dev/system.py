# SPDX-License-Identifier: Apache-2.0
"""What the machine must have: looked for first, installed with apt where it is missing and may be.

Nothing here fails by itself: a tool that stays missing is reported by whoever needs it.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .shell import BUILD, CI, capture, logged, note, say, show_tail

CLANGS = ("clang", *(f"clang-{n}" for n in range(21, 13, -1)))
# Code is formatted by this version: others lay a few constructs out differently.
CLANG_FORMAT_VERSION = "14"


@dataclass(frozen=True)
class Need:
    """Something to have: `found` looks for it, `packages` bring it (Debian and Ubuntu names)."""

    what: str
    packages: tuple[str, ...]
    found: Callable[[], bool]
    without: str
    """What is off without it."""
    services: bool = False
    """Its packages start daemons: only a machine of CI's gets them, and none is started there."""


def on_path(*names: str) -> Callable[[], bool]:
    """Whether one of the commands exists; administrators' folders count."""
    return lambda: which(*names) is not None


def which(*names: str) -> str | None:
    """The first of the commands that exists."""
    path = os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin"
    return next((found for name in names if (found := shutil.which(name, path=path))), None)


def pkg_config(module: str, oldest: str) -> Callable[[], bool]:
    """Whether pkg-config knows the library, new enough."""
    return lambda: capture(["pkg-config", "--exists", f"{module} >= {oldest}"])[0] == 0


def has_header(path: str) -> Callable[[], bool]:
    """Whether a C++ header is where compilers look."""
    return lambda: any(
        (Path(base) / path).exists() for base in ("/usr/include", "/usr/local/include")
    )


def _python_headers() -> bool:
    return (Path(sysconfig.get_paths()["include"]) / "Python.h").exists()


def _rustc_works() -> bool:
    """Any on the path: rustup's own refuses where no toolchain was chosen."""
    found = (shutil.which("rustc", path=folder) for folder in os.get_exec_path())
    return any(capture([compiler, "-V"])[0] == 0 for compiler in found if compiler)


def _frr_there() -> bool:
    """zebra, bgpd and zebra's module for the FPM, where Debian's package has them."""
    folder = Path("/usr/lib")
    daemons = all((folder / "frr" / name).exists() for name in ("zebra", "bgpd"))
    return daemons and any(folder.glob("*/frr/modules/dplane_fpm_nl.so"))


def _venv_usable() -> bool:
    return capture([sys.executable, "-c", "import venv, ensurepip"])[0] == 0


def cxx() -> str | None:
    """The C++ compiler that CMake will take: $CXX, c++, g++ or clang++."""
    return which(*filter(None, [os.environ.get("CXX", "").split(" ")[0]]), "c++", "g++", "clang++")


def clangxx() -> str | None:
    """A clang++ of any version that will do."""
    return which(*(name.replace("clang", "clang++") for name in CLANGS))


def clang_major(command: str) -> str:
    """Major version of a clang, as text."""
    found = re.search(r"version (\d+)", capture([command, "--version"])[1])
    return found.group(1) if found else ""


def fuzzer_runtime() -> bool:
    """Whether clang++ can link a libFuzzer target with the sanitizers."""
    compiler = clangxx()
    if compiler is None:
        return False
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "probe.cc"
        source.write_text(
            '#include <cstddef>\nextern "C" int LLVMFuzzerTestOneInput(const unsigned char*, '
            "std::size_t) { return 0; }\n"
        )
        flags = ["-fsanitize=fuzzer,address,undefined", "-o", str(Path(folder) / "probe")]
        return capture([compiler, *flags, source])[0] == 0


def clang_format() -> str | None:
    """clang-format of the version that the code is formatted with."""
    for name in (f"clang-format-{CLANG_FORMAT_VERSION}", "clang-format"):
        command = which(name)
        if command and clang_major(command) == CLANG_FORMAT_VERSION:
            return command
    return None


def _python_package(suffix: str) -> tuple[str, ...]:
    """The distribution's python3-X for its own Python, pythonX.Y-X for another."""
    return (f"python{sysconfig.get_python_version()}-{suffix}",)


BUILD_NEEDS = (
    Need("a C++20 compiler", ("g++",), lambda: cxx() is not None, "nothing can be built"),
    Need("Python's headers", _python_package("dev"), _python_headers, "nothing can be built"),
    Need("Python's venv", _python_package("venv"), _venv_usable, "the environment needs a detour"),
)
AF_XDP_NEEDS = (
    Need("pkg-config", ("pkg-config",), on_path("pkg-config"), "the af_xdp backend"),
    Need("clang", ("clang",), on_path(*CLANGS), "the af_xdp backend"),
    Need("libxdp 1.2", ("libxdp-dev",), pkg_config("libxdp", "1.2"), "the af_xdp backend"),
    Need("libbpf 1.0", ("libbpf-dev",), pkg_config("libbpf", "1.0"), "the af_xdp backend"),
    # libbpf's pkg-config file asks for both, and names neither package.
    Need("libelf", ("libelf-dev",), pkg_config("libelf", "0.1"), "the af_xdp backend"),
    Need("zlib", ("zlib1g-dev",), pkg_config("zlib", "1.2"), "the af_xdp backend"),
)
DPDK_NEEDS = (
    Need("pkg-config", ("pkg-config",), on_path("pkg-config"), "the dpdk backend"),
    Need("libdpdk 22.11", ("libdpdk-dev",), pkg_config("libdpdk", "22.11"), "the dpdk backend"),
)
# What extension modules need beyond the compiler.
BACKEND_NEEDS = AF_XDP_NEEDS + DPDK_NEEDS
RUN_NEEDS = (
    Need("ip", ("iproute2",), on_path("ip"), "the lab's tools"),
    Need("ethtool", ("ethtool",), on_path("ethtool"), "the lab's tools"),
)
TEST_NEEDS = (
    Need("doctest", ("doctest-dev",), has_header("doctest/doctest.h"), "the native tests"),
    Need("tshark", ("tshark",), on_path("tshark"), "the comparison with tshark"),
    Need("rustc", ("rustc",), _rustc_works, "the test of the stage in Rust"),
    Need("shellcheck", ("shellcheck",), on_path("shellcheck"), "the check of emitted scripts"),
    Need("chromium", ("chromium",), on_path("chromium"), "the test of the report in a browser"),
    Need("FRR", ("frr",), _frr_there, "the labs with routing protocols", services=True),
    Need("BIRD", ("bird2",), on_path("bird"), "the labs with routing protocols", services=True),
)


def fuzz_needs() -> tuple[Need, ...]:
    """clang++ with libFuzzer; the runtime's package carries the version in its name."""
    compiler = clangxx()
    runtime = (f"libclang-rt-{clang_major(compiler)}-dev",) if compiler else ()
    return (
        Need("clang++ with libFuzzer", ("clang", *runtime), fuzzer_runtime, "the fuzz targets"),
    )


def lint_needs() -> tuple[Need, ...]:
    """clang-format; elsewhere than on Debian 12 it comes from PyPI instead."""
    package = f"clang-format-{CLANG_FORMAT_VERSION}"
    return (Need(package, (package,), lambda: clang_format() is not None, "checking the layout"),)


def missing(needs: tuple[Need, ...]) -> list[Need]:
    """Those that are not there."""
    return [need for need in needs if not need.found()]


def _apt() -> list[str] | None:
    """How to call apt-get here, or None where it cannot or must not be called."""
    if os.environ.get("WIREPATH_NO_APT", "0") not in ("", "0") or which("apt-get") is None:
        return None
    settings = ["env", "DEBIAN_FRONTEND=noninteractive"]
    command = ["apt-get", "-y", "-q", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=300"]
    if os.geteuid() == 0:
        return [*settings, *command]
    if which("sudo") and capture(["sudo", "-n", "true"])[0] == 0:
        return ["sudo", "-n", *settings, *command]
    return None


def _known(package: str) -> bool:
    """Whether apt's lists have the package."""
    out = capture(["apt-cache", "policy", package])[1]
    return "Candidate: " in out and "Candidate: (none)" not in out


def _installed(package: str) -> bool:
    """Whether dpkg has it already: then apt has nothing to add."""
    status = capture(["dpkg-query", "-W", "-f", "${Status}", package])[1]
    return status.startswith("install ok installed")


def _refresh(apt: list[str]) -> None:
    """apt-get update, once a day at most."""
    stamp = BUILD / "stamp" / "apt-update"
    if stamp.exists() and time.time() - stamp.stat().st_mtime < 24 * 3600:
        return
    say("refreshing apt's package lists")
    if logged("apt", [*apt, "update"], append=True)[0] == 0:
        stamp.parent.mkdir(parents=True, exist_ok=True)
        stamp.touch()


def look_up(package: str) -> None:
    """Refreshes apt's lists where they do not have the package, and where that is allowed."""
    if not _known(package) and (apt := _apt()) is not None:
        _refresh(apt)


# Packages' scripts ask policy-rc.d before they start a service (Debian's invoke-rc.d); one that is
# there already is somebody's own, and stays.
_NO_SERVICES = """
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  trap 'rm -f "$policy"' EXIT
  trap 'exit 130' HUP INT TERM
  printf '#!/bin/sh\\nexit 101\\n' > "$policy" && chmod 755 "$policy" || exit 1
fi
"$@"
"""


def provide(needs: tuple[Need, ...]) -> list[Need]:
    """Installs what is missing, where that is allowed. Returns what is still missing."""
    lacking = missing(needs)
    apt = _apt() if lacking else None
    if apt is None:
        return lacking
    _install(apt, [need for need in lacking if not need.services])
    if CI:
        # sudo and the environment's settings stay in front of the shell.
        at = apt.index("apt-get")
        quiet = [*apt[:at], "sh", "-c", _NO_SERVICES, "sh", *apt[at:]]
        _install(quiet, [need for need in lacking if need.services])
    return missing(needs)


def _install(apt: list[str], lacking: list[Need]) -> None:
    packages = list(dict.fromkeys(name for need in lacking for name in need.packages))
    packages = [name for name in packages if not _installed(name)]
    if not all(map(_known, packages)):
        _refresh(apt)
    packages = [name for name in packages if _known(name)]
    if not packages:
        return
    say(f"apt install {' '.join(packages)}")
    if logged("apt", [*apt, "install", *packages], append=True)[0] != 0:
        show_tail("apt", 15)
        for name in packages:  # one that cannot be had must not keep the others away
            logged("apt", [*apt, "install", name], append=True)


def report(lacking: list[Need]) -> None:
    """What is off, and what would switch it on."""
    by_effect: dict[str, list[Need]] = {}
    for need in lacking:
        by_effect.setdefault(need.without, []).append(need)
    for effect, needs in by_effect.items():
        packages = " ".join(dict.fromkeys(name for need in needs for name in need.packages))
        what = ", ".join(need.what for need in needs)
        note(f"off: {effect} (missing: {what}; apt install {packages})")
