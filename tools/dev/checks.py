# SPDX-License-Identifier: Apache-2.0
"""The sections of ./dev test: native tests, sanitizers, pytest."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree as ET

from . import environment, native, system
from .results import Section
from .shell import CI, LOGS, Stopwatch, on_terminal, say, show_tail

# This many tests that failed are run again by themselves; more are no accident of a busy machine.
_RUN_AGAIN = 3
_DOCTEST = re.compile(r"test cases:\s*(\d+) \|\s*(\d+) passed \|\s*(\d+) failed")


def _doctest(section: Section, flavour: native.Flavour, *words: str) -> None:
    """Builds a flavour, runs its tests and adds the cases up."""
    if not native.build(flavour):
        show_tail(f"native-{flavour.name}")
        section.bad(f"{flavour.what}: does not build (build/log/native-{flavour.name}.log)")
        return
    log = f"test-{flavour.name}"
    say(f"native tests: {flavour.what}")
    code, output = native.run_tests(flavour, log, *words)
    counts = _DOCTEST.search(output)
    if counts:
        section.passed += int(counts[2])
        section.failed += int(counts[3])
    if code != 0:
        show_tail(log)
        if not counts or counts[3] == "0":  # a sanitizer ended it, or a crash
            section.failed += 1
        section.notes.append(f"failed: {flavour.what} (exit code {code}, build/log/{log}.log)")
    elif not counts or int(counts[1]) == 0:
        section.bad(f"{flavour.what}: no test was run")


def _without_doctest(section: Section) -> bool:
    lacking = system.missing(system.TEST_NEEDS[:1])
    for need in lacking:
        section.skip(f"{section.name} tests: apt install {need.packages[0]}", strict=CI)
    return bool(lacking)


def run_native() -> Section:
    """The native tests as users run the code."""
    watch, section = Stopwatch(), Section("native")
    if not _without_doctest(section):
        _doctest(section, native.release())
    section.seconds = watch.seconds()
    return section


def run_sanitizers() -> Section:
    """The native tests under ASan and UBSan, and those with threads under TSan."""
    watch, section = Stopwatch(), Section("sanitize")
    if not _without_doctest(section):
        _doctest(section, native.address())
        files = native.threaded_tests()
        if files:
            pattern = ",".join(f"*/{name}" for name in files)
            _doctest(section, native.thread(), f"--source-file={pattern}")
    section.seconds = watch.seconds()
    return section


def run_python(words: Sequence[str]) -> Section:
    """pytest, with `words` as its arguments."""
    watch, section = Stopwatch(), Section("python")
    report = LOGS / "pytest.xml"
    report.unlink(missing_ok=True)
    LOGS.mkdir(parents=True, exist_ok=True)
    say("pytest")
    pytest = [str(environment.PYTHON), "-m", "pytest"]
    code = on_terminal([*pytest, f"--junitxml={report}", *words])
    if report.exists():
        read_junit(section, report)
    if code == 1 and 0 < section.failed <= _RUN_AGAIN:
        _run_again(section, pytest)
    elif code == 5:
        section.bad("pytest selected no test")
    elif code != 0 and section.failed == 0:
        section.bad(f"pytest ended with exit code {code}")
    section.seconds = watch.seconds()
    return section


def _run_again(section: Section, pytest: Sequence[str]) -> None:
    """What failed among labs and clocks of a shared machine may pass by itself: then it counts as
    passed, and is named as flaky. The first run's tracebacks stay in what was printed."""
    report = LOGS / "pytest-again.xml"
    report.unlink(missing_ok=True)
    say(f"pytest again: {section.failed} that failed")
    on_terminal(
        [*pytest, "--last-failed", "--last-failed-no-failures=none", f"--junitxml={report}"]
    )
    again = Section(section.name)
    if report.exists():
        read_junit(again, report)
    if again.failed or again.skipped or again.passed != section.failed:
        return
    failed = [note for note in section.notes if note.startswith("failed: ")]
    section.notes = [note for note in section.notes if note not in failed]
    section.failed = 0
    for note in failed:
        section.flaky(f"{note.removeprefix('failed: ')} (passed when run again by itself)")


def read_junit(section: Section, report: Path, prefix: str = "") -> None:
    """Adds up the test cases of pytest's report; `prefix` goes before the names of failed ones."""
    reasons: dict[str, int] = {}
    for case in ET.parse(report).getroot().iter("testcase"):
        name = f"{prefix}{case.get('classname', '')}::{case.get('name', '')}"
        skipped = case.find("skipped")
        if case.find("failure") is not None or case.find("error") is not None:
            section.bad(name)
        elif skipped is not None and skipped.get("type") == "pytest.xfail":
            section.ok()  # failed as declared
        elif skipped is not None:
            reason = skipped.get("message", "")
            reasons[reason] = reasons.get(reason, 0) + 1
            section.skip(reason, strict=CI)
        else:
            section.ok()
    # A reason is told once, however many tests it kept away.
    seen: set[str] = set()
    notes = []
    for line in section.notes:
        if line not in seen:
            count = next((n for r, n in reasons.items() if n > 1 and r and r in line), 0)
            notes.append(f"{line} [{count} tests]" if count else line)
        seen.add(line)
    section.notes = notes
