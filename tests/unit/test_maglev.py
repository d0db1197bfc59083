"""Maglev tables: Cilium's golden vectors, the paper's properties, and what is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shared_data import shared

from wirepath._core import NO_SERVER, maglev_table
from wirepath.balancer.tables import build, moved, shares
from wirepath.errors import ConfigError


def names(count: int) -> list[str]:
    return [f"server-{i}" for i in range(count)]


def run_lengths(text: str) -> list[int]:
    out: list[int] = []
    for part in text.split(","):
        value, _, rest = part.partition("(")
        out += [int(value)] * int(rest.rstrip(")"))
    return out


def test_cilium_tables_are_the_golden_ones() -> None:
    golden = json.loads(shared("maglev/cilium-reproducible.json").read_text())
    told = 0
    for case in golden["cases"]:
        backends = case["backends"]
        table = maglev_table(
            [b["hash_string"] for b in backends],
            [b["weight"] for b in backends],
            size=case["m"],
            algorithm="cilium",
        )
        got = [backends[i]["id"] for i in table]
        if "expected_rle" in case:
            assert got == run_lengths(case["expected_rle"])
            told += 1
        if "expected_counts" in case:
            counts = {str(b["id"]): got.count(b["id"]) for b in backends}
            assert counts == case["expected_counts"]
            told += 1
    assert told >= 2


@pytest.mark.parametrize("count", [100, 1000])
def test_shares_are_even_and_a_lost_server_moves_few_others(count: int) -> None:
    """The paper's section 5.3: with a table 65 times as large as the servers are many, shares are
    within a per cent or two; and few flows move that did not have to."""
    whole = maglev_table(names(count), [1] * count)
    counts = np.bincount(whole, minlength=count)
    assert counts.max() - counts.min() <= 1
    for lost in (0, count // 2):
        weights = [1] * count
        weights[lost] = 0
        after = maglev_table(names(count), weights)
        of_lost = whole == lost
        assert not np.any(after == lost)
        changed = float(np.mean((whole != after) & ~of_lost))
        # Every slot that the lost server had may start a chain of changes; the paper reports
        # about 2 % for one of 1,000 with 65,537 slots.
        assert changed < 0.03


def test_what_a_change_moved_is_told_with_what_it_need_not_have() -> None:
    numbers = [7, 8, 9]
    before = build(["a", "b", "c"], [1, 1, 1], numbers, 1021, "wirepath")
    after = build(["a", "b", "c"], [1, 1, 0], numbers, 1021, "wirepath")
    change = moved(before, after)
    assert shares(before).keys() == {7, 8, 9}
    assert change.share == pytest.approx(1 / 3 + change.needless, abs=0.01)
    assert 0 <= change.needless < 0.1
    nothing = build(["a"], [0], [7], 1021, "wirepath")
    assert not nothing.any()
    assert moved(nothing, before).share == 0
    assert moved(None, before).share == 0


@settings(max_examples=40, deadline=None)
@given(
    st.dictionaries(st.text("abcdefgh", min_size=1, max_size=6), st.integers(0, 50), max_size=30),
    st.randoms(use_true_random=False),
)
def test_shares_follow_weights_and_order_does_not_matter(weights: dict[str, int], random) -> None:  # type: ignore[no-untyped-def]
    size = 4099
    keys = list(weights)
    table = maglev_table(keys, [weights[k] for k in keys], size=size)
    total = sum(weights.values())
    for i, key in enumerate(keys):
        fair = size * weights[key] / total if total else 0
        assert abs(int(np.sum(table == i)) - fair) <= 2
    if not total:
        assert np.all(table == NO_SERVER)
    shuffled = keys[:]
    random.shuffle(shuffled)
    other = maglev_table(shuffled, [weights[k] for k in shuffled], size=size)
    if total:
        assert [keys[i] for i in table] == [shuffled[i] for i in other]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((["a"], [1], 65536, "wirepath"), "table_size = 65536 .*take 65537"),
        ((["a", "a"], [1, 1], 251, "wirepath"), "server a is named twice"),
        ((["a"], [1, 2], 251, "wirepath"), "2 weights for 1 names"),
        ((["a"], [1], 251, "paper"), 'algorithm = "paper"'),
        ((["a"], [1_000_001], 251, "cilium"), "weight = 1000001 of a"),
    ],
)
def test_refusals_name_the_field(arguments: tuple, said: str) -> None:  # type: ignore[type-arg]
    listed, weights, size, algorithm = arguments
    with pytest.raises(ConfigError, match=said):
        maglev_table(listed, weights, size=size, algorithm=algorithm)
