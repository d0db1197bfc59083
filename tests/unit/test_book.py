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


def level(update, at, side, price, qty, kind=None, *, instrument=1, flags=0):  # noqa: PLR0917
    kind = kind or {"B": "0", "S": "1"}[side]
    return {
        "venue": 3,
        "type": 46,
        "action": {0: wp.Action.ADD, 1: wp.Action.MODIFY, 2: wp.Action.DELETE}.get(
            update, wp.Action.DELETE
        ),
        "aux": at << 32 | update << 40 | ord(kind) << 48,
        "side": side,
        "price": price,
        "qty": qty,
        "instrument": instrument,
        "flags": flags,
    }


END = wp.RecordFlag.END_OF_EVENT


def test_numbered_levels_move_and_are_told_at_the_end_of_the_event():
    books = wp.feed.Books(depth=3)
    told = books.apply(
        records(
            level(0, 1, "B", 10, 1),
            level(0, 1, "B", 11, 2),
            level(0, 2, "B", -5, 3),  # at its place, whatever its price
            level(0, 1, "S", 9, 4),
        )
    )
    assert len(told) == 0
    assert not books.consistent(1)
    told = books.apply(records(level(0, 1, "B", 12, 5, instrument=2, flags=END)))
    assert told[["instrument", "bid", "ask", "crossed"]].tolist() == [(1, 11, 9, 1), (2, 12, 0, 0)]
    assert books.consistent(1)
    assert books.events(1) == 1
    assert books.depth(1, "B")["price"].tolist() == [11, -5, 10]
    books.apply(records(level(0, 1, "B", 12, 1, flags=END)))  # 10 is beyond the depth now
    assert books.depth(1, "B")["price"].tolist() == [12, 11, -5]
    books.apply(records(level(2, 1, "B", 0, 0, flags=END)))
    assert books.depth(1, "B")["price"].tolist() == [11, -5]
    books.apply(records(level(3, 2, "B", 0, 0, flags=END), level(0, 1, "B", 7, 1, "E", flags=END)))
    assert books.depth(1, "B")["price"].tolist() == []
    assert books.implied(1, "B")["price"].tolist() == [7]
    books.apply(records(level(1, 2, "B", 1, 1), level(1, 4, "B", 1, 1, flags=END)))
    assert books.checks.counts["unknown_level"] == 2
    books.set_depth(1, 1)
    books.apply(records(level(1, 2, "B", 1, 1, flags=END)))
    assert books.checks.counts["unknown_level"] == 3


def test_the_rules_of_the_venue_and_who_broke_them():
    books = wp.feed.Books(offences=4)
    books.apply(
        records(
            add(1, "B", 5, 10) | {"seq": 7},
            add(1, "B", 5, 10) | {"seq": 8},
            add(2, "S", 5, 9) | {"seq": 9},
            add(3, "S", 5, 8) | {"seq": 10},  # crossed before
            {"action": wp.Action.EXECUTE, "order_id": 2, "qty": 6, "seq": 11},
            {"action": wp.Action.DELETE, "order_id": 99, "seq": 12},
            {"action": wp.Action.DELETE, "order_id": 98, "seq": 13},
        )
    )
    checks = books.checks
    assert checks.counts == {
        "crossed": 3,
        "locked": 0,
        "unknown_order": 2,
        "unknown_level": 0,
        "over_reduced": 1,
        "duplicate_order": 1,
        "negative_size": 0,
    }
    assert checks.offences.dtype == wp.OFFENCE
    names = [wp.BookCheck(c).name for c in checks.offences["check"]]
    assert names == ["DUPLICATE_ORDER", "CROSSED", "OVER_REDUCED", "UNKNOWN_ORDER"]
    assert checks.offences["seq"].tolist() == [8, 9, 11, 12]
    assert checks.offences["instrument"].tolist() == [1, 1, 1, 0]


@pytest.mark.parametrize(
    ("venue", "kind", "state", "phase"),
    [
        (1, "H", "H", wp.Phase.HALTED),
        (1, "H", "Q", wp.Phase.AUCTION),
        (1, "H", "T", wp.Phase.TRADING),
        (1, "h", "H", wp.Phase.HALTED),
        (2, "H", "P", wp.Phase.AUCTION),
        (2, "O", "O", wp.Phase.HALTED),
        (4, 0x31, "S", wp.Phase.HALTED),
        (3, 30, 21, wp.Phase.AUCTION),
        (3, 30, 26, wp.Phase.CLOSED),
        (3, 30, 17, wp.Phase.TRADING),
    ],
)
def test_orders_and_executions_in_a_halt_and_no_check_of_crossing(venue, kind, state, phase):
    books = wp.feed.Books()
    number = ord(state) if isinstance(state, str) else state
    kind = ord(kind) if isinstance(kind, str) else kind
    status = {"venue": venue, "type": kind, "action": wp.Action.STATUS, "qty": number}
    end = {"venue": venue, "flags": END}
    books.apply(
        records(
            status | {"instrument": 1},
            add(1, "B", 100, 10) | end,
            add(2, "S", 50, 9) | end,
            {"action": wp.Action.EXECUTE, "order_id": 1, "qty": 30} | end,
            {"action": wp.Action.TRADE, "qty": 30, "instrument": 1, "price": 9},  # the cross
        )
    )
    assert books.phase(1) is phase
    assert books.orders(1, "B")["qty"].tolist() == [70]
    assert books.counters["crossed"] == (2 if phase is wp.Phase.TRADING else 0)
    assert books.best(1)["crossed"] == 1
    assert books.phase(77) is wp.Phase.UNKNOWN


def test_groups_of_instruments():
    books = wp.feed.Books()
    books.set_group(1, 3)
    books.set_group(2, 4)
    rows = [add(k, "B", 1, 10, instrument=k) | {"venue": 4} for k in (1, 2, 5)]
    told = books.apply(records(*rows, {"action": wp.Action.CLEAR, "venue": 4, "aux": 3}))
    assert told["instrument"].tolist() == [1, 2, 5, 0]
    assert [len(books.orders(k, "B")) for k in (1, 2, 5)] == [0, 1, 0]
    books.set_group(7, "ES")
    status = {"action": wp.Action.STATUS, "venue": 3, "type": 30, "qty": 2}
    books.apply(records(status | {"aux": int.from_bytes(b"ES", "little") | 1 << 48}))
    assert books.phase(7) is wp.Phase.HALTED
    assert books.state(7) == 2
    assert books.phase(1) is wp.Phase.UNKNOWN
    with pytest.raises(wp.ConfigError, match="group"):
        books.set_group(1, "TOO LONG")


def test_what_keeps_its_place():
    keeps = {"flags": wp.RecordFlag.KEEPS_PRIORITY}
    for venue in (2, 4):  # they always say so
        books = wp.feed.Books()
        modify = {"action": wp.Action.MODIFY, "order_id": 1, "aux": 1, "price": 10, "venue": venue}
        books.apply(records(add(1, "B", 5, 10), add(2, "B", 5, 10), modify | keeps | {"qty": 9}))
        assert books.orders(1, "B")[["order_id", "qty"]].tolist() == [(1, 9), (2, 5)]
        books.apply(records(modify | {"qty": 4}))
        assert books.orders(1, "B")["order_id"].tolist() == [2, 1]
    books = wp.feed.Books()  # CME's places go by priority
    rows = [add(k, "B", 5, 10) | {"venue": 3, "aux": aux} for k, aux in ((1, 30), (2, 10), (3, 20))]
    modify = {"action": wp.Action.MODIFY, "order_id": 2, "venue": 3, "qty": 8, "price": 10}
    books.apply(records(*rows, modify | {"aux": 25}))
    assert books.orders(1, "B")[["order_id", "qty"]].tolist() == [(3, 5), (2, 8), (1, 5)]


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
