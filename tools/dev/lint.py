# SPDX-License-Identifier: Apache-2.0
"""Layout, types and freshness: what a machine can judge without running the code."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path

from . import environment, native, system
from .results import Section
from .shell import BUILD, CI, ROOT, Stopwatch, Words, logged, say, show_tail

_PYTHON_SOURCES = (".", "dev")  # ruff does not know that `dev` is Python: it has no suffix
_C_SUFFIXES = (".h", ".cc", ".c")


def c_sources() -> list[Path]:
    """Every C, C++ and eBPF source."""
    folders = ("src", "tests", "benchmarks", "examples")
    files = (path for folder in folders for path in (ROOT / folder).rglob("*"))
    return sorted(path for path in files if path.suffix in _C_SUFFIXES)


def _clang_format() -> str | None:
    version = f"{system.CLANG_FORMAT_VERSION}.0.6"
    ours = Path(environment.tool("clang-format"))
    if (found := system.clang_format()) is not None:
        return found
    if not ours.exists() and system.provide(system.lint_needs()):
        environment.pip_tool(f"clang-format=={version}")
    if (found := system.clang_format()) is not None:
        return found
    return str(ours) if ours.exists() else None


def _run(section: Section, name: str, commands: Sequence[Words]) -> None:
    """One check: all its commands must end well."""
    say(f"lint: {name}")
    log = f"lint-{name.replace(' ', '-')}"
    codes = [logged(log, words, append=i > 0)[0] for i, words in enumerate(commands)]
    if any(codes):
        show_tail(log, 60)
    section.check(not any(codes), f"{name} (build/log/{log}.log)")


def _stubs(section: Section, *, fix: bool) -> None:
    """The stubs of the extension modules are what nanobind makes of them now."""
    built = BUILD / "stubs"
    patterns = ROOT / "src" / "native" / "python" / "stubs.pat"
    built.mkdir(parents=True, exist_ok=True)
    for kept in sorted((ROOT / "src" / "wirepath").glob("_*.pyi")):
        say(f"lint: stub {kept.name}")
        fresh = built / kept.name
        module = f"wirepath.{kept.stem}"
        log = f"lint-stub-{kept.stem}"
        make: Words = [
            *(environment.PYTHON, "-m", "nanobind.stubgen", "-m", module, "-o", fresh),
            *(("-p", patterns) if patterns.exists() else ()),
        ]
        code, _ = logged(log, make)
        if code == 0:
            code, _ = logged(log, [environment.tool("ruff"), "format", fresh], append=True)
        if code != 0:
            show_tail(log)
            section.bad(f"{kept.name} cannot be made (build/log/{log}.log)")
            continue
        if fix:
            kept.write_text(fresh.read_text())
        difference = list(
            difflib.unified_diff(
                kept.read_text().splitlines(), fresh.read_text().splitlines(), lineterm="", n=0
            )
        )
        section.check(not difference, f"{kept.name} is stale: ./dev lint --fix")
        print("\n".join(difference[:20]), end="\n" if difference else "")


def run(*, fix: bool = False, docs: bool = True) -> Section:
    """Every check; `fix` repairs first what tools can repair."""
    watch, section = Stopwatch(), Section("lint")
    ruff = environment.tool("ruff")
    formatter = _clang_format()
    if fix:
        say("lint: repairing")
        logged("lint-fix", [ruff, "check", "--fix", "-q", *_PYTHON_SOURCES])
        logged("lint-fix", [ruff, "format", "-q", *_PYTHON_SOURCES], append=True)
        if formatter:
            logged("lint-fix", [formatter, "-i", *c_sources()], append=True)
    _run(section, "ruff check", [[ruff, "check", *_PYTHON_SOURCES]])
    _run(section, "ruff format", [[ruff, "format", "--check", *_PYTHON_SOURCES]])
    mypy = environment.tool("mypy")
    tools: Words = [mypy, "--strict", "tools/dev", *sorted(ROOT.glob("tools/*.py"))]
    _run(section, "mypy", [[mypy], tools])
    if formatter:
        check: Words = [formatter, "--dry-run", "-Werror", *c_sources()]
        _run(section, "clang-format", [check])
    else:
        package = system.lint_needs()[0].packages[0]
        section.skip(f"clang-format: apt install {package}", strict=CI)
    say("lint: compiling with -Wall -Wextra -Werror")
    compiles = native.build(native.release())
    if not compiles:
        show_tail("native-release")
    section.check(compiles, "compiling with -Werror (build/log/native-release.log)")
    _stubs(section, fix=fix)
    if docs:
        check_docs(section, fix=fix)
    section.seconds = watch.seconds()
    return section


def check_docs(section: Section, *, fix: bool) -> None:
    """Links, commands and names in the pages; docs/cli.md is what the commands' help says."""
    words = ["--write"] if fix else []
    _run(section, "docs", [[environment.PYTHON, ROOT / "tools" / "check_docs.py", *words]])
