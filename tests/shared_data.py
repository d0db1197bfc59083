"""The one place that knows where captures and samples for tests lie: beside the repository.

They are not ours to copy. Without them a test skips and says so; under CI it fails.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NoReturn

import pytest

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared" / "data"


def shared(name: str) -> Path:
    """The file or folder ``name`` of the shared data, or the end of this test."""
    path = SHARED / name
    if not path.exists():
        missing(f"shared test data {name} is not at {path}")
    return path


def missing(reason: str) -> NoReturn:
    """Something that this test needs is not here: skip, loudly; fail under CI."""
    if os.environ.get("CI"):
        pytest.fail(f"{reason} (and CI is set)")
    pytest.skip(reason)
