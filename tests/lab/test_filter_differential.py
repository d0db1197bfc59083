"""The filter's program in the kernel (BPF_PROG_RUN) does what the naive model and the native build
say, with limits at the times that the test gives."""

from __future__ import annotations

import random

import pytest
from filter_check import START, agree, large
from filter_frames import configs, frames
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from wirepath.filter import FilterConfig, Rule, compile_filter
from wirepath.filter.compile import CONFIG
from wirepath.filter.engine import COUNTERS, Engine
from wirepath.programs import kernel

WHY_NOT = kernel.unavailable_reason()
pytestmark = pytest.mark.skipif(WHY_NOT is not None, reason=f"unsupported: {WHY_NOT}")


def loaded(config):
    return Engine.kernel(compile_filter(config), test=True)


def run_of(engine):
    def run(frame, now):
        engine.program.set_time(now)
        outcome = engine.program.run(frame)
        # The kernel knows no WP_NEXT: at the end of the chain it is PASS.
        return {"drop": 1, "pass": 6}[outcome.verdict], outcome.frame

    return run


@given(configs(), st.lists(frames(), min_size=30, max_size=120))
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)
def test_it_agrees_with_the_model(config, cases):
    engine = loaded(config)
    agree(config, engine, run_of(engine), cases)


def test_every_feature_at_once_passes_the_verifier():
    rules = (
        Rule(action="limit", packets=5, bits=5000, per="/24", sample=3, vlan="any", ttl="1"),
        Rule(action="limit", packets=5, per="rule", length="40", icmp_type="8"),
        Rule(source="10.0.0.0/8", destination="2001:db8::/32", tcp_flags="syn"),
        *(Rule(destination_port=str(i), source_port=str(i)) for i in range(470)),
    )
    config = FilterConfig(rules=rules, signatures="all", blocks=10, default="drop")
    engine = loaded(config)
    assert engine.tables.config["words"] == 8
    rng = random.Random(3)
    cases = [rng.randbytes(rng.randrange(14, 200)) for _ in range(200)]
    agree(config, engine, run_of(engine), cases)


def test_many_prefixes_are_found_as_few_are(tmp_path):
    config, cases = large(tmp_path)
    engine = Engine.kernel(compile_filter(config, folder=tmp_path), test=True)
    assert engine.tables.config["source_root_bits"] == 24
    assert {held for _, held in cases} == {True, False}
    for frame, held in cases:
        assert (run_of(engine)(frame, START)[0] == 1) == held


def test_the_layouts_are_the_programs():
    engine = loaded(FilterConfig())
    layout = engine.program.layout
    assert layout.config == CONFIG
    names = engine.program.maps["counters"].value_dtype.names[1:]
    assert tuple(n.replace("drop_", "drop.") for n in names) == COUNTERS
    for name, array in engine.tables.arrays.items():
        assert engine.program.maps[name].value_dtype.itemsize == array.dtype.itemsize * (
            array[0].size
        ), name
