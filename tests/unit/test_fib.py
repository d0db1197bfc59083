"""Forwarding tables against a dictionary, and what they say of bad input."""

from __future__ import annotations

import random
import threading
from ipaddress import ip_address, ip_network

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from wirepath import ConfigError
from wirepath.route import Fib

V4 = st.tuples(
    st.sampled_from([0x0A000000, 0x0A0000FF, 0x0A000180, 0x0AFF0001, 0xC0000201]),
    st.integers(0, 32),
)
V6 = st.tuples(
    st.sampled_from(
        [0x20010DB8 << 96, (0x20010DB8 << 96) + 1, (0x20010DB8FFFF << 80) + 255, 0x2A << 120]
    ),
    st.integers(0, 128),
)


def naive(model: dict[str, int], address: str) -> tuple[str, int] | None:
    """The longest prefix of a dictionary that holds an address."""
    held = [net for net in model if ip_address(address) in ip_network(net)]
    if not held:
        return None
    best = max(held, key=lambda net: ip_network(net).prefixlen)
    return best, model[best]


class FibMachine(RuleBasedStateMachine):
    """Adds, replaces and removals, alone and in bulk."""

    @initialize(family=st.sampled_from([4, 6]), entry_bytes=st.sampled_from([2, 4]))
    def begin(self, family: int, entry_bytes: int) -> None:
        self.fib = Fib(family, entry_bytes=entry_bytes, max_groups=2000, huge_pages=False)
        self.model: dict[str, int] = {}
        self.last = "10.0.0.1" if family == 4 else "2001:db8::1"

    def prefix(self, data: st.DataObject) -> str:
        value, length = data.draw(V4 if self.fib.family == 4 else V6)
        address = value.to_bytes(4 if self.fib.family == 4 else 16, "big")
        self.last = str(ip_address(address))
        return str(ip_network((address, length), strict=False))

    @rule(data=st.data(), hop=st.integers(1, 32_000))
    def add(self, data: st.DataObject, hop: int) -> None:
        prefix = self.prefix(data)
        assert self.fib.add(prefix, hop) == (prefix not in self.model)
        self.model[prefix] = hop

    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        prefix = self.prefix(data)
        assert self.fib.remove(prefix) == (self.model.pop(prefix, None) is not None)

    @rule(data=st.data())
    def remove_known(self, data: st.DataObject) -> None:
        if self.model:
            prefix = data.draw(st.sampled_from(sorted(self.model)))
            assert self.fib.remove(prefix)
            del self.model[prefix]

    @invariant()
    def same(self) -> None:
        assert len(self.fib) == len(self.model)
        assert self.fib.items() == self.model
        value = int(ip_address(self.last))
        near = {0, 1, 2**8, 2**24, 2**31 - 1}
        bits = 32 if self.fib.family == 4 else 128
        kind = type(ip_address(self.last))
        addresses = [str(kind((value + n) % 2**bits)) for n in near | {-n for n in near}]
        found = self.fib.lookup(addresses).tolist()
        for address, hop in zip(addresses, found, strict=True):
            expected = naive(self.model, address)
            assert hop == (expected[1] if expected else 0)
            assert self.fib.match(address) == expected


TestFibMachine = FibMachine.TestCase
TestFibMachine.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: Fib(5), "family = 5"),
        (lambda: Fib(4, entry_bytes=3), "entry_bytes = 3"),
        (lambda: Fib(4, max_prefixes=-1), "max_prefixes = -1"),
        (lambda: Fib(4).add("10.0.0.1/8", 1), "10.0.0.1/8"),
        (lambda: Fib(4).add("::/0", 1), "IPv4 prefix"),
        (lambda: Fib(4).add("10.0.0.0/8", 0), r"next_hop\[0\] = 0"),
        (lambda: Fib(4, entry_bytes=2).add("10.0.0.0/8", 32_768), "32767"),
        (lambda: Fib(4).lookup(["::1"]), "IPv4 address"),
        (lambda: Fib(4).lookup(np.zeros((2, 16), np.uint8)), "u1 of shape"),
        (lambda: Fib(4).lookup(np.array([-1])), "2\\^32"),
        (lambda: Fib(4).add_many([0], [33], [1]), r"length\[0\] = 33"),
        (lambda: Fib(4).add_many([0, 1], [32], [1]), "lengths"),
        (lambda: Fib(4).add_many([0], [300], [1]), "lengths"),
    ],
)
def test_bad_input_is_named(call, text) -> None:
    with pytest.raises(ConfigError, match=text):
        call()


def test_bulk_up_to_the_bound() -> None:
    fib = Fib(4, max_prefixes=2)
    with pytest.raises(ConfigError, match="max_prefixes = 2 is reached"):
        fib.add_many([0x0A000000, 0x0B000000, 0x0C000000], [8, 8, 8], [1, 2, 3])
    assert fib.items() == {"10.0.0.0/8": 1, "11.0.0.0/8": 2}
    assert fib.lookup([0x0A000001, 0x0C000001]).tolist() == [1, 0]


def test_memory_stays_below_its_bounds_and_is_given_back() -> None:
    fib = Fib(4, max_groups=100, huge_pages=False)
    for i in range(100):
        fib.add(f"10.0.{i}.1/32", 7)
    full = fib.memory()
    assert full["groups_used"] == full["groups_limit"] == 100
    assert 100 * 1024 <= full["groups"] <= full["groups_bound"]
    for i in range(100):
        fib.remove(f"10.0.{i}.1/32")
    assert fib.memory()["groups_used"] == 0
    assert not fib.lookup([0x0A000001]).any()


def test_readers_while_it_changes() -> None:
    fib = Fib(4, huge_pages=False)
    base = np.arange(0, 256, dtype=np.uint32) << 16
    fib.add_many(base, np.full(256, 16), np.arange(1, 257))
    wrong: list[int] = []
    rounds = [0, 0]
    stop = threading.Event()

    def read(which: int) -> None:
        rng = np.random.default_rng(which)
        while not stop.is_set():
            addresses = rng.integers(0, 256 << 16, 5000, dtype=np.uint32)
            block = addresses >> 16
            found = fib.lookup(addresses)
            # Its /16, or the /28 that comes and goes in it.
            bad = (found != block + 1) & (found != block + 1001)
            wrong.extend(addresses[bad].tolist())
            rounds[which] += 1

    threads = [threading.Thread(target=read, args=(i,)) for i in range(2)]
    for thread in threads:
        thread.start()
    rng = random.Random(5)
    changes = 0
    while changes < 3000 or (min(rounds) < 3 and changes < 1_000_000):
        block = rng.randrange(256)
        prefix = f"0.{block}.{rng.randrange(256)}.{rng.randrange(16) * 16}/28"
        fib.add(prefix, block + 1001)
        if rng.random() < 0.9:
            fib.remove(prefix)
        changes += 1
    stop.set()
    for thread in threads:
        thread.join()
    assert not wrong
    assert min(rounds) >= 3


def test_a_table_in_borrowed_memory() -> None:
    """Look-ups read the buffers that were given, and what does not fit is refused."""
    root, groups, state = bytearray(4 << 24), bytearray(16 * 1024), bytearray(16)
    fib = Fib(4, max_groups=16, memory=(root, groups, state))
    fib.add("10.1.2.0/24", 7)
    fib.add("10.1.2.128/25", 9)
    fib.add("0.0.0.0/0", 3)
    assert fib.lookup(["10.1.2.1", "10.1.2.129", "8.8.8.8"]).tolist() == [7, 9, 3]
    entry = int.from_bytes(root[0x0A0102 * 4 :][:4], "little")
    assert entry >> 31
    first = (entry & 0x7FFFFFFF) * 1024
    assert np.frombuffer(groups[first : first + 1024], "<u4").tolist() == [7] * 128 + [9] * 128
    assert int.from_bytes(state[8:12], "little") == 3
    with pytest.raises(ConfigError, match="memory of groups = 16384 bytes"):
        Fib(4, max_groups=17, memory=(bytearray(4 << 24), groups, state))
    with pytest.raises(ConfigError, match="memory"):
        Fib(4, memory=(root, groups))
