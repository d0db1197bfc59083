"""One ordered view over several rings."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import wirepath as wp


def records(keys, channel=0, by="recv_time"):
    out = np.zeros(len(keys), wp.RECORD)
    out[by] = keys
    out["channel"] = channel
    return out


def rings(n, capacity=4096):
    return [wp.Ring(capacity, "drop") for _ in range(n)]


@pytest.mark.parametrize("by", ["recv_time", "seq"])
def test_what_a_ring_may_still_precede_waits(by):
    a, b = rings(2)
    merged = wp.merge([a, b], by, patience=None)
    a.push(records([1, 4, 9], 0, by))
    assert len(merged.pop_batch()) == 0  # b may have a 0 yet
    b.push(records([2, 6], 1, by))
    out = merged.pop_batch()
    assert out[by].tolist() == [1, 2, 4, 6]
    assert out["channel"].tolist() == [0, 1, 0, 1]
    assert len(merged.pop_batch(timeout=0.01)) == 0
    b.close()
    assert merged.pop_batch()[by].tolist() == [9]
    assert not merged.closed
    a.close()
    assert merged.closed
    assert merged.late == 0


def test_a_silent_ring_is_waited_for_no_longer_than_patience():
    a, b = rings(2)
    merged = wp.merge([a, b], patience=0.05)
    a.push(records([5, 6]))
    before = time.monotonic()
    assert merged.pop_batch(timeout=5)["recv_time"].tolist() == [5, 6]
    assert 0.04 < time.monotonic() - before < 2
    assert merged.waived > 0
    b.push(records([3, 7]))
    a.push(records([8]))
    assert merged.pop_batch(timeout=5)["recv_time"].tolist() == [3, 7]
    assert merged.late == 1


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 200), max_size=60), min_size=1, max_size=4),
    st.integers(1, 20),
)
def test_as_sorting_it_all(keys, step):
    """Pushed bit by bit, in any interleaving, the outcome is that of one stable sort."""
    keys = [sorted(k) for k in keys]
    inputs = rings(len(keys), 64)
    merged = wp.merge(inputs, patience=None)
    out = []
    at = [0] * len(keys)
    while any(at[r] < len(k) for r, k in enumerate(keys)):
        for r, k in enumerate(keys):
            inputs[r].push(records(k[at[r] : at[r] + step * (r + 1)], r))
            at[r] += step * (r + 1)
            out.append(merged.pop_batch(step))
    for ring in inputs:
        ring.close()
    out += list(merged)
    got = np.concatenate(out) if out else np.empty(0, wp.RECORD)
    assert got["recv_time"].tolist() == sorted(sum(keys, []))  # noqa: RUF017
    for r, k in enumerate(keys):  # nothing lost, nothing twice, each ring's own order
        assert got[got["channel"] == r]["recv_time"].tolist() == k
    assert merged.late == 0


def test_from_threads():
    inputs = [wp.Ring(1024, "block") for _ in range(3)]
    count = 20_000

    def fill(r):
        for start in range(r, count, 300):
            inputs[r].push(records(np.arange(start, min(start + 300, count), 3), r, "seq"))
        inputs[r].close()

    threads = [threading.Thread(target=fill, args=(r,)) for r in range(3)]
    for thread in threads:
        thread.start()
    out = np.concatenate(list(wp.merge(inputs, "seq", patience=None)))
    for thread in threads:
        thread.join()
    assert out["seq"].tolist() == list(range(count))


def test_unusable_arguments():
    with pytest.raises(wp.ConfigError, match="by = 'size'"):
        wp.merge(rings(1), "size")
    with pytest.raises(wp.ConfigError, match="rings"):
        wp.merge([])
    with pytest.raises(wp.ConfigError, match="patience"):
        wp.merge(rings(1), patience=-1)
    with pytest.raises(wp.ConfigError, match="max = 0"):
        wp.merge(rings(1)).pop_batch(0)
