# SPDX-License-Identifier: Apache-2.0
""".venv with the package in it, editable: made once, brought up to date when sources change."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path

from .shell import CI, ROOT, DevError, Words, capture, logged, note, require, say, show_tail
from .system import (
    BACKEND_NEEDS,
    BUILD_NEEDS,
    cxx,
    missing,
    provide,
    report,
    which,
)

VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMPS = VENV / ".stamps"  # they live and die with what they vouch for

# What the extension modules are made of.
_NATIVE = ("CMakeLists.txt", "cmake", "src/native", "src/programs", "tests/sim")
_OLDEST_CMAKE = (3, 22)

# Onload where it is installed, and the simulator that the tests of ef_vi run on.
EF_VI = "SIM"


def tool(name: str) -> str:
    """A command of the environment."""
    return str(VENV / "bin" / name)


def digest(paths: Iterable[str | Path], *extra: str) -> str:
    """Hash over the names and contents of files and folders, tests left out."""
    out = hashlib.sha256()
    for base in paths:
        base_path = ROOT / base
        files = sorted(base_path.rglob("*")) if base_path.is_dir() else [base_path]
        for path in files:
            if path.is_file() and not path.name.endswith("_test.cc"):
                out.update(f"{path.relative_to(ROOT)}\0".encode())
                out.update(path.read_bytes())
    out.update("\0".join(extra).encode())
    return out.hexdigest()


def _stamp(name: str) -> Path:
    STAMPS.mkdir(parents=True, exist_ok=True)
    return STAMPS / name


def _is_stamped(name: str, value: str) -> bool:
    path = _stamp(name)
    return path.exists() and path.read_text() == value


def build_system(*, apt_needs: bool = True) -> None:
    """The machine's compiler and headers, or a refusal that names the packages."""
    needs = BUILD_NEEDS + BACKEND_NEEDS
    lacking = provide(needs) if apt_needs else missing(needs)
    if cxx() is None:
        raise DevError(
            "there is no C++ compiler, and wirepath is built from source: apt install g++ "
            "(with root or sudo ./dev does that itself)"
        )
    if any(need.what == "Python's headers" for need in lacking):
        raise DevError(
            f"Python.h of {sys.executable} is missing: apt install "
            f"python{sys.version_info.major}.{sys.version_info.minor}-dev"
        )
    report([need for need in lacking if need in BACKEND_NEEDS])


def _make_venv() -> None:
    """A fresh .venv, with pip by one way or another."""
    say(f"making .venv with Python {sys.version.split()[0]}")
    shutil.rmtree(VENV, ignore_errors=True)
    if logged("venv", [sys.executable, "-m", "venv", VENV])[0] == 0:
        return
    # Debian's Python without pythonX.Y-venv has no ensurepip. A pip from elsewhere can serve.
    shutil.rmtree(VENV, ignore_errors=True)
    if logged("venv", [sys.executable, "-m", "venv", "--without-pip", VENV], append=True)[0] == 0:
        helper: Words = [sys.executable, "-m", "pip", "--python", PYTHON, "install", "pip"]
        if logged("venv", helper, append=True)[0] == 0:
            return
    show_tail("venv")
    shutil.rmtree(VENV, ignore_errors=True)
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    raise DevError(
        f"python3 -m venv does not work here: apt install python{version}-venv (or any pip for "
        f"{sys.executable})"
    )


def venv() -> None:
    """.venv exists and runs."""
    want = f"{sys.version_info.major}.{sys.version_info.minor}"
    question = "import sys, pip; print('%d.%d' % sys.version_info[:2])"
    code, answer = capture([PYTHON, "-c", question])
    if code == 0 and answer.strip() == want:
        return
    _make_venv()


def _cmake_is_recent() -> bool:
    command = which("cmake")
    found = (
        re.search(r"version (\d+)\.(\d+)", capture([command, "--version"])[1]) if command else None
    )
    return found is not None and (int(found[1]), int(found[2])) >= _OLDEST_CMAKE


def cmake() -> str:
    """The cmake to use: the machine's when it is recent enough, else the environment's."""
    return str(which("cmake")) if _cmake_is_recent() else tool("cmake")


def ninja() -> str:
    """The ninja to use."""
    return which("ninja") or tool("ninja")


def _pip(log: str, why: str, *words: str) -> None:
    """pip install, as this machine has pip set up."""
    pip: Words = [PYTHON, "-m", "pip", "install", "--disable-pip-version-check"]
    require(log, [*pip, *words], why)


def _project() -> dict[str, object]:
    text = (ROOT / "pyproject.toml").read_text("utf-8")
    return tomllib.loads(text)


def _build_requirements() -> list[str]:
    section = _project()["build-system"]
    assert isinstance(section, dict)
    wanted = [str(entry) for entry in section["requires"]]
    if not _cmake_is_recent():
        wanted.append(f"cmake>={'.'.join(map(str, _OLDEST_CMAKE))}")
    if which("ninja") is None:
        wanted.append("ninja")
    return wanted


def package(extras: Iterable[str] = ()) -> None:
    """The package, editable, with these extras on top of those installed before."""
    venv()
    wanted = _build_requirements()
    if not _is_stamped("build-requirements", "\n".join(wanted)):
        say(f"installing what the build needs: {', '.join(wanted)}")
        _pip("pip-build", "the build's requirements could not be installed", *wanted)
        _stamp("build-requirements").write_text("\n".join(wanted))

    record = _stamp("extras")
    project = digest(["pyproject.toml"])
    had = json.loads(record.read_text()) if record.exists() else {}
    installed = set(had.get("extras", [])) if had.get("project") == project else set()
    names = sorted(installed | set(extras))
    lacking = (need.what for need in missing(BACKEND_NEEDS))
    warnings = "-Werror" if CI else ""
    tools = "\n".join(filter(None, [warnings, cmake(), cxx(), EF_VI, *lacking]))
    sources = digest([*_NATIVE, "pyproject.toml"], tools)
    dependencies_new = not installed.issuperset(names) or had.get("project") != project
    if not dependencies_new and _is_stamped("package", sources):
        return

    words = ["--no-build-isolation", "-e", f".[{','.join(names)}]" if names else "."]
    words.append(f"-Ccmake.define.WIREPATH_EF_VI={EF_VI}")
    if not dependencies_new:
        words.append("--no-deps")
    if CI:  # the bindings are then compiled once, not again by native.release()
        words.append("-Ccmake.define.WIREPATH_WERROR=ON")
    say(f"building wirepath ({'with ' + ', '.join(names) if names else 'nothing extra'})")
    _pip("package", "wirepath could not be built", *words, "-v")
    record.write_text(json.dumps({"project": project, "extras": names}))
    _stamp("package").write_text(sources)


def optional(extra: str) -> None:
    """The packages of an extra one by one: what cannot be had is named and left out."""
    section = _project()["project"]
    assert isinstance(section, dict)
    wanted = [str(entry) for entry in section["optional-dependencies"][extra]]
    if _is_stamped(f"optional-{extra}", "\n".join(wanted)):
        return
    say(f"installing {', '.join(wanted)}")
    lost = []
    for name in wanted:
        command: Words = [PYTHON, "-m", "pip", "install", "--disable-pip-version-check", name]
        if logged(f"pip-{extra}", command, append=True)[0] != 0:
            lost.append(name)
    for name in lost:
        note(f"off: {name} (pip could not install it: build/log/pip-{extra}.log)")
    if not lost:
        _stamp(f"optional-{extra}").write_text("\n".join(wanted))


def pip_tool(requirement: str) -> bool:
    """A tool from PyPI into the environment; whether that worked."""
    return logged("pip-tools", [PYTHON, "-m", "pip", "install", requirement], append=True)[0] == 0
