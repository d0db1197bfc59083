# SPDX-License-Identifier: Apache-2.0
"""Order books from Python, against a naive model."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import wirepath as wp
from wirepath import _core


def records(*rows):
    out = np.zeros(len(rows), wp.RECORD)
    for row, values in zip(out, rows, strict=True):
        for name, value in values.items():
            row[name] = ord(value) if name == "side" else value
    return out


def add(order_id, side, qty, price, instrument=1):
    return {
        "action": wp.Action.ADD,
        "order_id": order_id,
        "side": side,
        "qty": qty,
        "price": price,
        "instrument": instrument,
    }


def test_best_prices_levels_and_orders():
    books = wp.feed.Books()
    changes = books.apply(
        records(
            add(1, "B", 100, 10),
            add(2, "B", 50, 10),
            add(3, "S", 7, 12),
            {"action": wp.Action.DELETE, "order_id": 1},
        )
    )
    assert changes.dtype == wp.BBO
    assert changes["bid_qty"].tolist() == [100, 150, 150, 50]
    assert changes["ask"].tolist() == [0, 0, 12, 12]
    assert books.depth(1, "B").tolist() == [(10, 50, 1, 0)]
    assert books.orders(1, "S")["order_id"].tolist() == [3]
    assert books.best(1)["bid"] == 10
    assert books.best(99)["bid_qty"] == 0
    assert len(books) == 2
    assert books.instruments() == [1]


def test_what_is_not_usable():
    with pytest.raises(wp.ConfigError, match=r"wirepath\.RECORD"):
        wp.feed.Books().apply(np.zeros(1, np.int64))
    with pytest.raises(wp.ConfigError, match="orders = 0"):
        wp.feed.Books(orders=0)
    with pytest.raises(wp.ConfigError, match="side"):
        wp.feed.Books().depth(1, "X")


def test_layouts_are_those_of_the_structs():
    assert (wp.BBO.itemsize, wp.LEVEL.itemsize, wp.ORDER.itemsize) == (64, 24, 24)


def test_a_generated_day_leaves_no_book_crossed():
    day = bytearray(1 << 23)
    generator = _core.ItchGenerator(seed=5, messages=100_000)
    size = generator.generate(day)
    books = wp.feed.Books()
    books.apply(wp.feed.Itch50().decode_file(memoryview(day)[:size]))
    counters = books.counters
    assert counters["unknown_order"] == counters["duplicate_order"] == counters["crossed"] == 0
    assert counters["over_reduced"] == 0
    assert counters["bbo_changes"] > 1000
    for instrument in books.instruments():
        for side in "BS":
            orders, levels = books.orders(instrument, side), books.depth(instrument, side, 10**6)
            assert (orders["qty"] > 0).all()
            assert orders["qty"].sum() == levels["qty"].sum()
            prices = levels["price"].astype(np.int64)
            assert (np.diff(prices) < 0).all() if side == "B" else (np.diff(prices) > 0).all()


_ORDERS = st.lists(
    st.tuples(
        st.sampled_from(["add", "cancel", "execute", "delete", "modify"]),
        st.integers(1, 12),
        st.sampled_from("BS"),
        st.integers(1, 20),
        st.integers(1, 6),
        st.integers(1, 12),
    ),
    max_size=60,
)


@settings(deadline=None)
@given(_ORDERS)
def test_the_same_as_a_naive_model(steps):
    rows, model = [], []  # the model: (id, side, qty, price), oldest first
    for what, order_id, side, qty, price, old in steps:
        row = add(order_id, side, qty, price) | {"action": wp.Action[what.upper()]}
        here = [k for k, order in enumerate(model) if order[0] == order_id]
        if what == "add":
            if not here:
                model.append((order_id, side, qty, price))
        elif what == "modify":
            row["aux"] = old
            there = [k for k, order in enumerate(model) if order[0] == old]
            if there and (old == order_id or not here):
                _, its_side, had, at = model[there[0]]
                fresh = (order_id, its_side, qty, price)
                if old == order_id and at == price and qty <= had:
                    model[there[0]] = fresh
                else:
                    del model[there[0]]
                    model.append(fresh)
        elif here and what == "delete":
            del model[here[0]]
        elif here:
            left = model[here[0]][2] - qty
            if left > 0:
                model[here[0]] = (order_id, *model[here[0]][1:2], left, model[here[0]][3])
            else:
                del model[here[0]]
        rows.append(row)
    books = wp.feed.Books(orders=1)
    books.apply(records(*rows))
    for side, direction in (("B", -1), ("S", 1)):
        wanted = sorted((o for o in model if o[1] == side), key=lambda o: direction * o[3])
        have = books.orders(1, side)[["order_id", "qty", "price"]].tolist()
        assert have == [(o[0], o[2], o[3]) for o in wanted]
