"""The tables of prefixes on a real Internet table, against look-ups of another implementation."""

from __future__ import annotations

import gzip

import numpy as np
import pytest
from shared_data import shared

from wirepath import _core
from wirepath.filter.sets import of_lines

NODE = np.uint32(1 << 31)


def classes_of(addresses, root_bits, root, nodes):
    """What src/programs/prefix.h finds, for many addresses at a time."""
    found = root[addresses >> np.uint32(32 - root_bits)]
    for shift in range(28 - root_bits, -1, -4):
        inner = (found & NODE) != 0
        at = (found[inner] & ~NODE).astype(np.int64) * 16
        found[inner] = nodes[at + (addresses[inner] >> np.uint32(shift) & np.uint32(15))]
    return found


@pytest.mark.parametrize("root_bits", [16, 24])
def test_the_longest_prefix_of_each_vector(root_bits):
    with gzip.open(shared("rib/bart-prefixes.txt.gz"), "rt") as file:
        lines = file.read().splitlines()
    four = of_lines(lines, "prefixes")
    numbers = np.array([i for i, line in enumerate(lines, 1) if ":" not in line], np.uint32)
    assert len(numbers) == len(four.length4) == 901_899
    made = _core.build_prefix4(four.address4, four.length4, numbers, root_bits, longest=True)
    got_bits, root, nodes, owners = made
    assert got_bits == root_bits
    with gzip.open(shared("rib/lpm-vectors-v4.csv.gz"), "rt") as file:
        rows = [line.strip().split(",") for line in file if line[0].isdigit()]
    addresses = of_lines([row[0] for row in rows], "vectors").address4
    found = classes_of(addresses, root_bits, root, nodes)
    owner = np.array([each[0] if each else 0 for each in owners], np.int64)
    assert len(rows) == 100_000
    assert owner[found].tolist() == [int(row[1]) for row in rows]
