# SPDX-License-Identifier: Apache-2.0
"""What a run of checks adds up to."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field

# Skips that CI accepts: the test looked, and the machine's kernel or hardware cannot do it.
# Everything else that is skipped (a tool, root, test data missing) is a failure there.
ACCEPTED_SKIP = "unsupported"


@dataclass
class Section:
    """One part of ./dev test."""

    name: str
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    seconds: float = 0.0
    notes: list[str] = field(default_factory=list)
    """What failed or was skipped, and why."""

    def ok(self) -> None:
        """One more that passed."""
        self.passed += 1

    def bad(self, why: str) -> None:
        """One more that failed."""
        self.failed += 1
        self.notes.append(f"failed: {why}")

    def skip(self, why: str, *, strict: bool) -> None:
        """One more that was skipped; under `strict` (CI) that is a failure."""
        if strict and not why.lower().startswith(ACCEPTED_SKIP):
            self.bad(f"{why} (skipped, which CI does not accept)")
            return
        self.skipped += 1
        self.notes.append(f"skipped: {why}")

    def flaky(self, why: str) -> None:
        """One that failed, and passed when it was run again: named, for somebody to mend."""
        self.passed += 1
        self.notes.append(f"flaky: {why}")

    def check(self, good: bool, why: str) -> None:
        """One more, by its outcome."""
        if good:
            self.ok()
        else:
            self.bad(why)


def summary(sections: list[Section]) -> int:
    """Prints notes, the table and the last line; the exit code."""
    sys.stderr.flush()
    print()
    for section in sections:
        for line in section.notes:
            print(f"{section.name}: {line}")
    width = max(len(section.name) for section in sections)
    print(f"\n{'section':<{width}}  passed  failed  skipped  seconds")
    for s in sections:
        print(f"{s.name:<{width}}  {s.passed:>6}  {s.failed:>6}  {s.skipped:>7}  {s.seconds:>7.1f}")
    passed = sum(s.passed for s in sections)
    failed = sum(s.failed for s in sections)
    skipped = sum(s.skipped for s in sections)
    if passed + failed == 0:
        print("nothing was run")
        failed = 1
    print(f"\n{passed} passed, {failed} failed, {skipped} skipped", flush=True)
    return 1 if failed else 0
