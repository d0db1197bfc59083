# SPDX-License-Identifier: Apache-2.0
"""Gives every test of the suite a bench of each backend that can do what the test needs."""

from __future__ import annotations

from contextlib import suppress

import pytest
from declared import BENCHES, LACKS

import wirepath as wp


def pytest_configure(config):
    config.addinivalue_line(
        "markers", "needs(*capabilities): of the backends, those that declare all of these"
    )


def pytest_generate_tests(metafunc):
    if "bench" not in metafunc.fixturenames:
        return
    needed = {word for mark in metafunc.definition.iter_markers("needs") for word in mark.args}
    names = [name for name in BENCHES if not needed & LACKS[name].keys()]
    metafunc.parametrize("bench", names, indirect=True)


class Resources:
    """What several tests use: made when the first asks, gone when the session ends."""

    def __init__(self):
        self._made = {}

    def get(self, name, make):
        if name not in self._made:
            self._made[name] = make()
        return self._made[name]

    def forget(self, name):
        """It is broken: the next one to ask gets another."""
        self._made.pop(name).close()

    def close(self):
        for name in list(self._made):
            with suppress(Exception):
                self.forget(name)


@pytest.fixture(scope="session")
def resources():
    shared = Resources()
    yield shared
    shared.close()


@pytest.fixture
def bench(request, resources, lab_refusal, tmp_path):
    make, options = BENCHES[request.param]
    built = {b.name: b for b in wp.backends()}.get(make.backend)
    if built is None or not built.available:
        reason = built.reason if built else "the simulator is not built (WIREPATH_EF_VI=SIM)"
        pytest.skip(f"{request.param}: {reason}")
    if make.needs_lab and lab_refusal is not None:
        pytest.skip(f"{request.param}: {lab_refusal}")
    made = make(resources, tmp_path, **options)
    made.name = request.param
    yield made
    made.close()
