# SPDX-License-Identifier: Apache-2.0
"""What is sent: own frames, received ones turned round, those that cannot go, and jams."""

from __future__ import annotations

import pytest
from bench import ELSEWHERE, HEADERS, essence, losses, numbered, tx_drops

import wirepath as wp


def leaves(port, frame):
    """The frame as it can be expected to leave."""
    return frame if port.capabilities["ethernet_headers"] else essence(frame)


def arrived(port, frames):
    return [leaves(port, frame) for frame in frames]


@pytest.mark.needs("tx", "wire")
def test_what_is_sent_arrives_unchanged_and_in_order(bench):
    port = bench.open()
    lengths = [60, 61, 64, 65, 127, 128, 512, 1023, 1280, 1513, 1514]
    out = [numbered(1, n, length=n, dst=ELSEWHERE)[0] for n in lengths]
    out += numbered(100, 2000, dst=ELSEWHERE)
    if port.capabilities["ethernet_headers"]:
        out += numbered(10, 3000, dst=ELSEWHERE, vlan=77)
    assert port.send(out) == len(out)
    assert arrived(port, bench.receive(len(out))) == [leaves(port, frame) for frame in out]
    stats = port.stats()
    assert stats["tx_packets"] == len(out)
    assert stats["tx_bytes"] == sum(map(len, out))
    assert tx_drops(stats) == 0


@pytest.mark.needs("tx", "wire")
def test_received_frames_are_turned_round(bench):
    port = bench.open(sending=numbered(60))
    header = numbered(1, dst=ELSEWHERE)[0][: HEADERS - 2] + b"\0\0"  # no UDP checksum
    turned = 0
    while turned < 60:
        with port.poll(5) as batch:
            if port.capabilities["writable"]:
                for i in range(len(batch)):
                    batch[i][:HEADERS] = header
                batch.verdicts = wp.TX
                turned += port.tx(batch)
            else:
                with pytest.raises(TypeError):
                    batch[0][0] = 0
                again = [header + bytes(batch[i])[HEADERS:] for i in range(len(batch))]
                turned += port.send(again)
    expected = [header + frame[HEADERS:] for frame in numbered(60)]
    assert arrived(port, bench.receive(60)) == arrived(port, expected)
    stats = port.stats()
    assert stats["tx_packets"] == turned == 60
    assert tx_drops(stats) == 0
    assert losses(stats) == {}
    assert stats["held"] == 0


@pytest.mark.needs("tx", "wire", "ethernet_headers")
def test_a_frame_that_is_too_long_is_counted_and_the_others_go(bench):
    port = bench.open()
    longest = port.capabilities["max_frame"]
    good = numbered(2, dst=ELSEWHERE)
    assert port.send([good[0], bytes(longest + 1), good[1]]) == 2
    stats = port.stats()
    assert stats["drop.tx_too_long"] == tx_drops(stats) == 1
    assert bench.receive(2) == good


@pytest.mark.needs("tx", "link")
def test_more_than_goes_out_is_counted_and_the_rest_arrives(bench):
    """Offered = sent + drops; sent = arrived at the other side + what the wire says it lost."""
    port = bench.open(batch_size=512, **bench.small_tx)
    offered = 4000
    sent = port.send(numbered(offered, length=200, dst=ELSEWHERE))
    stats = port.stats()
    assert 0 < sent == stats["tx_packets"]
    assert sent + tx_drops(stats) == offered
    got = bench.receive(sent - bench.sent_and_lost(), timeout=3.0)
    assert len(got) + bench.sent_and_lost() == sent
    order = [int.from_bytes(frame[HEADERS : HEADERS + 4], "big") for frame in got]
    assert order == sorted(set(order))
    assert port.send(numbered(5, 9000, dst=ELSEWHERE)) == 5
