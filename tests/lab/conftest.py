# SPDX-License-Identifier: Apache-2.0
"""Fixtures for tests that need network namespaces; without the privilege they skip and say why."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import count

import pytest

from wirepath import lab

_numbers = count()


@pytest.fixture(scope="session")
def lab_refusal() -> str | None:
    """Why no lab can be made here, or None."""
    return lab.unavailable_reason()


@pytest.fixture(autouse=True)
def _lab_or_skip(request: pytest.FixtureRequest, lab_refusal: str | None) -> None:
    if request.node.get_closest_marker("lab") and lab_refusal is not None:
        pytest.skip(f"lab: {lab_refusal}")


@pytest.fixture
def lab_name() -> Iterator[str]:
    """A name of this test's own; whatever the test leaves under it is removed."""
    name = f"wpt{os.getpid()}x{next(_numbers)}"
    yield name
    if lab.unavailable_reason() is None:
        lab.down(name, force=True)
