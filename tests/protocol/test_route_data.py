"""A real Internet table and a recorded FPM stream: the answers are known."""

from __future__ import annotations

import csv
import gzip
import json
from functools import cache
from ipaddress import ip_network
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shared_data import shared

from wirepath import _core
from wirepath.route import Fib, RouteTable, read_fpm_dump, read_prefixes
from wirepath.route.model import address_text, prefix_text

MAIN = 254


def _table(size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    lines = read_prefixes(shared("rib/bart-prefixes.txt.gz"))
    rows = [(a, length, n) for n, (a, length) in enumerate(lines, 1) if len(a) == size]
    packed = np.frombuffer(b"".join(a for a, _, _ in rows), np.uint8).reshape(-1, size)
    return packed, np.array([r[1] for r in rows]), np.array([r[2] for r in rows])


def test_all_vectors_of_the_real_table() -> None:
    packed, lengths, numbers = _table(4)
    fib = Fib(4)
    assert fib.add_many(packed, lengths, numbers) == len(fib) == 901_899
    with gzip.open(shared("rib/lpm-vectors-v4.csv.gz"), "rt") as file:
        rows = list(csv.reader(file))[1:]
    assert len(rows) == 100_000
    addresses = [row[0] for row in rows]
    expected = np.array([int(row[1]) for row in rows])
    found = fib.lookup(addresses)
    assert (found == expected).all()
    by_number = dict(zip(numbers.tolist(), lengths.tolist(), strict=True))
    assert [by_number.get(n, -1) for n in found.tolist()] == [int(row[2]) for row in rows]

    # Half of it out and in again, in another order: the same answers.
    order = np.random.default_rng(1).permutation(len(numbers))
    half = order[::2]
    assert fib.remove_many(packed[half], lengths[half]) == len(half)
    fib.add_many(packed[order], lengths[order], numbers[order])
    assert (fib.lookup(addresses) == expected).all()


def test_the_real_ipv6_table_against_a_search_by_length() -> None:
    packed, lengths, numbers = _table(16)
    fib = Fib(6)
    assert fib.add_many(packed, lengths, numbers) == len(fib) == 160_147
    known = {
        (int.from_bytes(a.tobytes(), "big"), length): n
        for a, length, n in zip(packed, lengths.tolist(), numbers.tolist(), strict=True)
    }
    rng = np.random.default_rng(2)
    chosen = rng.integers(0, len(packed), 10_000)
    addresses = packed[chosen].copy()
    # Somewhere within a prefix, or just beside one.
    addresses[:, 4:] |= rng.integers(0, 256, (10_000, 12), dtype=np.uint8) & rng.integers(
        0, 256, (10_000, 12), dtype=np.uint8
    )
    by_length = sorted({length for _, length in known}, reverse=True)
    for address, hop in zip(addresses, fib.lookup(addresses).tolist(), strict=True):
        value = int.from_bytes(address.tobytes(), "big")
        expected = next(
            (
                known[key]
                for n in by_length
                if (key := (value >> (128 - n) << (128 - n), n)) in known
            ),
            0,
        )
        assert hop == expected
    memory = fib.memory()
    assert memory["groups_used"] < memory["groups_limit"]


@cache
def _stream() -> bytes:
    with gzip.open(shared("fpm/fpm-2k-add-withdraw-update.bin.gz")) as file:
        return file.read()


@cache
def _final() -> dict[str, tuple[str, int]]:
    with gzip.open(shared("fpm/fpm-2k-final-kernel-routes.json.gz")) as file:
        rows: list[dict[str, Any]] = json.load(file)
    return {
        str(ip_network(r["dst"])): (r["gateway"], r["metric"])
        for r in rows
        if r["protocol"] == "bgp"
    }


def _bgp(table: RouteTable) -> dict[str, tuple[str, int]]:
    out = {}
    for number, prefix, route in table.routes():
        if number == MAIN and route.protocol == 186:  # RTPROT_BGP
            hop = table.next_hops[route.source, route.next_hop_id]
            path = hop.path
            if path is None:
                (member, _), *more = hop.members
                assert not more
                path = table.next_hops[route.source, member].path
            assert path is not None
            assert path.gateway is not None
            out[prefix_text(prefix)] = (address_text(path.gateway), route.metric)
    return out


def test_a_recorded_fpm_stream_ends_in_the_kernels_table() -> None:
    table = RouteTable()
    counters = read_fpm_dump(shared("fpm/fpm-2k-add-withdraw-update.bin.gz"), table)
    assert _bgp(table) == _final()
    assert counters["frames"] == 3506
    assert counters["messages"] == 3506 + 500
    assert counters["malformed"] == counters["unknown"] == counters["other_frames"] == 0
    assert len(_final()) == 1000


@settings(max_examples=15, deadline=None)
@given(st.data())
def test_the_stream_cut_anywhere_says_the_same(data: st.DataObject) -> None:
    stream = _stream()
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=60, unique=True).map(sorted))
    parser, table = _core.FpmStream(), RouteTable()
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        table.apply(parser.feed(stream[start:end]), "fpm")
    assert not parser.pending
    assert _bgp(table) == _final()


@pytest.mark.parametrize("piece", [1, 3, 1460])
def test_the_stream_in_pieces_says_the_same(piece: int) -> None:
    stream = _stream()
    parser, table = _core.FpmStream(), RouteTable()
    for i in range(0, len(stream), piece):
        events = parser.feed(stream[i : i + piece])
        if len(events):
            table.apply(events, "fpm")
    assert _bgp(table) == _final()


def test_telling_it_again_sweeps_nothing_and_half_of_it_sweeps_the_rest() -> None:
    table = RouteTable()
    for _ in range(2):
        table.begin("fpm")
        table.apply(_core.FpmStream().feed(_stream()), "fpm")
        swept = table.end("fpm")
    assert swept == 0
    assert _bgp(table) == _final()
    table.begin("fpm")
    assert _bgp(table) == _final()  # still in force
    assert table.end("fpm") > 1000
    assert not _bgp(table)
