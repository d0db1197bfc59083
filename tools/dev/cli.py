# SPDX-License-Identifier: Apache-2.0
"""The commands of ./dev."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Callable, Sequence

from . import checks, environment, fuzzing, lint, native, system
from .results import Section, summary
from .shell import BUILD, ROOT, DevError, locked, note, on_terminal
from .vm import suite as vm

_SECTIONS = ("native", "sanitize", "python", "fuzz", "lint")
_TEST_EXTRAS = ("report", "test", "lint")
_FUZZ_RUNS = 1_000_000
_FUZZ_SECONDS = 30
_VM_MINUTES = 30

_DESCRIPTION = """\
The one entry script of a checkout. Each command sets up what it needs: system packages with apt
(as root, or where sudo does not ask), the environment .venv, the build. The second time that
takes a moment."""
_EPILOG = """\
environment: WIREPATH_NO_APT=1 as --no-install; WIREPATH_JOBS=N compilers at once; CXX the compiler;
CI=true makes skipped tests failures. Logs are in build/log."""


def _set_up(extras: Sequence[str], needs: tuple[system.Need, ...] = ()) -> None:
    with locked():
        # One apt run for everything; then build_system() judges what the build cannot do without.
        system.provide(system.BUILD_NEEDS + system.BACKEND_NEEDS + needs)
        environment.build_system(apt_needs=False)
        system.report(system.missing(needs))
        environment.package(extras)


def _build(_: argparse.Namespace, __: list[str]) -> int:
    _set_up(())
    listing = (
        "import wirepath as wp\n"
        "for b in wp.backends():\n"
        "    print(f'  {b.name:8} on ' if b.available else f'  {b.name:8} off: {b.reason}')\n"
    )
    print("backends:", flush=True)
    code = on_terminal([environment.PYTHON, "-c", listing])
    print(f"ready: {(environment.VENV / 'bin' / 'wirepath').relative_to(ROOT)} --help")
    return code


def _demo(_: argparse.Namespace, rest: list[str]) -> int:
    _set_up(("report",), system.RUN_NEEDS)
    return on_terminal([environment.PYTHON, "-m", "wirepath", "demo", *rest])


def _vm(options: argparse.Namespace, rest: list[str]) -> int:
    _set_up(("test",), vm.NEEDS)
    return summary([vm.run(rest, options.binding or (), options.vm_minutes)])


def _test(options: argparse.Namespace, rest: list[str]) -> int:
    if options.vm:
        return _vm(options, rest)
    chosen: Sequence[str] = options.only or (("python",) if _selects(rest) else _SECTIONS)
    _set_up(_TEST_EXTRAS, system.RUN_NEEDS + system.TEST_NEEDS)
    with locked():
        for extra in ("numba", "parquet", "kafka", "ray"):  # not there yet for every Python
            environment.optional(extra)
    runners: dict[str, Callable[[], Section]] = {
        "native": checks.run_native,
        "sanitize": checks.run_sanitizers,
        "python": lambda: checks.run_python(rest),
        "fuzz": lambda: fuzzing.run((), options.fuzz_runs, options.fuzz_seconds),
        "lint": lint.run,
    }
    return summary([runners[name]() for name in _SECTIONS if name in chosen])


def _selects(words: Sequence[str]) -> bool:
    """Whether arguments for pytest pick tests: then the other sections are not asked for."""
    return any(w in ("-k", "-m") or (ROOT / w.split("::")[0]).exists() for w in words if w)


def _bench(_: argparse.Namespace, rest: list[str]) -> int:
    _set_up(("report", "test"), system.RUN_NEEDS)
    with locked():
        for extra in ("bench", "numba", "parquet"):
            environment.optional(extra)
    native.reference()
    return on_terminal([environment.PYTHON, "-m", "benchmarks", *rest])


def _lint(options: argparse.Namespace, _: list[str]) -> int:
    _set_up(_TEST_EXTRAS, system.TEST_NEEDS[:1])
    return summary([lint.run(fix=options.fix)])


def _docs(options: argparse.Namespace, _: list[str]) -> int:
    _set_up(_TEST_EXTRAS)
    section = Section("docs")
    lint.check_docs(section, fix=options.fix)
    return summary([section])


def _fuzz(options: argparse.Namespace, _: list[str]) -> int:
    if unknown := fuzzing.unknown_targets(options.targets):
        have = ", ".join(fuzzing.all_targets())
        raise DevError(f"no such fuzz target: {', '.join(unknown)} (there are: {have})")
    if set(options.targets or fuzzing.all_targets()) & set(fuzzing.targets_of_python()):
        _set_up(())
    else:
        with locked():
            environment.build_system()
            environment.venv()
    return summary([fuzzing.run(options.targets, options.runs, options.seconds, strict=True)])


def _clean(options: argparse.Namespace, _: list[str]) -> int:
    folders = [BUILD, ROOT / "dist", *((environment.VENV,) if options.all else ())]
    caches = [
        ROOT / name for name in (".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis")
    ]
    for path in (*folders, *caches):
        shutil.rmtree(path, ignore_errors=True)
    if not options.all and environment.VENV.exists():
        note("kept .venv (./dev clean --all removes it too)")
    return 0


def _parser() -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        "./dev", description=_DESCRIPTION, epilog=_EPILOG, formatter_class=raw
    )
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument(
        "--no-install", action="store_true", help="leave the system's packages alone"
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(
        name: str, run: Callable[[argparse.Namespace, list[str]], int], text: str, **more: object
    ) -> argparse.ArgumentParser:
        passes_on = bool(more.get("passes_on"))
        out = commands.add_parser(
            name,
            help=text,
            description=text,
            parents=[shared],
            allow_abbrev=False,
            add_help=name not in ("demo", "bench"),
        )
        out.set_defaults(run=run, passes_on=passes_on)
        return out

    command("build", _build, "set up and build; say which backends are on", passes_on=False)
    command(
        "demo", _demo, "set up, build and run `wirepath demo` with the arguments", passes_on=True
    )
    test = command(
        "test",
        _test,
        "every test; other arguments go to pytest (-k EXPR runs only pytest)",
        passes_on=True,
    )
    test.add_argument(
        "--only", action="append", choices=_SECTIONS, help="this section (repeatable)"
    )
    test.add_argument(
        "--fuzz-runs", type=int, default=_FUZZ_RUNS, metavar="N", help="executions per fuzz target"
    )
    test.add_argument(
        "--fuzz-seconds", type=int, default=_FUZZ_SECONDS, metavar="S", help="at most, per target"
    )
    test.add_argument(
        "--vm",
        action="store_true",
        help="instead, in QEMU: DPDK on e1000e and vmxnet3 NICs, VLANs, VRFs (minutes; pytest "
        "gets the rest)",
    )
    test.add_argument(
        "--binding",
        action="append",
        choices=vm.BINDINGS,
        help="with --vm: only with the NICs bound to this driver (repeatable)",
    )
    test.add_argument(
        "--vm-minutes",
        type=float,
        default=_VM_MINUTES,
        metavar="M",
        help=f"with --vm: end a machine after that long (default: {_VM_MINUTES})",
    )
    command(
        "bench", _bench, "benchmarks against the C yardsticks: [NAME ...] [--json]", passes_on=True
    )
    fix = command("lint", _lint, "layout, types, warnings, stubs, documentation")
    fix.add_argument("--fix", action="store_true", help="repair what tools can repair")
    docs = command("docs", _docs, "check links and commands in the documentation")
    docs.add_argument("--fix", action="store_true", help="write docs/cli.md anew")
    fuzz = command("fuzz", _fuzz, "run the fuzz targets")
    fuzz.add_argument("targets", nargs="*", metavar="TARGET")
    fuzz.add_argument(
        "--runs", type=int, default=_FUZZ_RUNS, metavar="N", help="executions of each"
    )
    fuzz.add_argument(
        "--seconds", type=int, default=0, metavar="S", help="at most, each; 0: no limit"
    )
    clean = command("clean", _clean, "remove what was built")
    clean.add_argument("--all", action="store_true", help="the environment .venv too")
    return parser


def main(words: Sequence[str]) -> int:
    """Runs one command; the exit code."""
    parser = _parser()
    options, rest = parser.parse_known_args(words)
    if rest and not options.passes_on:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if options.no_install:
        os.environ["WIREPATH_NO_APT"] = "1"
    os.chdir(ROOT)
    try:
        return int(options.run(options, rest))
    except DevError as error:
        print(f"./dev {options.command}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
