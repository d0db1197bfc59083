"""The forwarding program in the kernel (BPF_PROG_RUN) does what the naive model and the native
build say."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from route_naive import Model, frames
from route_try import Tried, models

from wirepath.programs import kernel

WHY_NOT = kernel.unavailable_reason()
pytestmark = pytest.mark.skipif(WHY_NOT is not None, reason=f"unsupported: {WHY_NOT}")


@given(models(), st.lists(frames(), min_size=30, max_size=120))
@settings(
    max_examples=20,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)
def test_it_agrees_with_the_model(model: Model, cases: list[bytes]) -> None:
    tried = Tried(model, native=False)
    for frame in cases:
        tried.agree(frame)
    tried.totals(cases)
