"""The servers' decapsulation: what the balancer laid around comes off again, in both builds."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest
from balancer_packets import damaged, ethernet, frames, ip4, ip6, tcp, transport
from balancer_three import DESTINATIONS, SOURCES, Three, configuration
from hypothesis import HealthCheck, assume, given, settings

from wirepath import programs
from wirepath.balancer.decapsulation import rows
from wirepath.balancer.maps import ProgramMaps

ROUNDS = settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))


class Both:
    """The balancer's model, and decap in the kernel and natively behind it."""

    def __init__(self, mode: str, family: int) -> None:
        config = configuration((mode,), (family,), mtu=9000)
        self.model = Three(config).model
        self.servers = {s.name: s.address for s in config.server}
        endpoints = rows("endpoint", self.servers.values())
        services = rows("vip", [d for d in DESTINATIONS if not d.startswith("203")])
        port = {"gue_port": int.from_bytes((6080).to_bytes(2, "big"), "little")}
        self.programs: list[Any] = [
            load("decap", config=port, entries={"services": 64}, test=True)
            for load in (programs.load, programs.native)
        ]
        for program in self.programs:
            for name, keys in (("endpoints", endpoints), ("services", services)):
                ProgramMaps(program).write(name, keys, np.ones(len(keys), "<u4"))

    def same(self, frame: bytes) -> tuple[str, bytes]:
        kernel, native = (program.run(frame) for program in self.programs)
        assert kernel.verdict == native.verdict.replace("next", "pass"), frame.hex()
        if native.verdict != "drop":
            assert kernel.frame.hex() == native.frame.hex()
        mine, theirs = (program.counters() for program in self.programs)
        assert {k: v for k, v in mine.items() if "verdict" not in k} == {
            k: v for k, v in theirs.items() if "verdict" not in k
        }
        return native.verdict, native.frame


@pytest.fixture(scope="module", params=[("ipip", 4), ("ipip", 6), ("gue", 4), ("gue", 6)])
def both(request: pytest.FixtureRequest) -> Both:
    return Both(*request.param)


@ROUNDS
@given(frame=frames(DESTINATIONS))
def test_what_was_laid_around_comes_off(both: Both, frame: bytes) -> None:
    verdict, out, count = both.model(frame)
    assume(verdict == 3 and not count["echo_answered"] and not count["icmp_too_big"])
    got, inner = both.same(out)
    assert got == "next"
    # All but the Ethernet addresses is as it was, the padding behind the packet as well.
    assert inner[12:] == frame[12:]


@ROUNDS
@given(frame=damaged(DESTINATIONS))
def test_damaged_frames_are_the_same_to_both(both: Both, frame: bytes) -> None:
    both.same(frame)
    _, out, _ = both.model(frame)
    both.same(out)
    for at in (14, 20, 24, 30, 40):
        if len(out) > at:
            both.same(out[:at] + bytes([out[at] ^ 0x11]) + out[at + 1 :])
            both.same(out[:at])


def test_a_wrong_outer_checksum_is_not_taken_off() -> None:
    """Over IPv6 nothing else would notice that a packet has come to another address."""
    both = Both("gue", 6)
    sizes = (0, 1, 2, 3, 63, 64, 65, 700, 1333)
    for i, size in enumerate(sizes):
        inner = transport("198.51.100.1", "192.0.2.10", 6, tcp(1000 + i, 80, 0x18, bytes(size)))
        packet = ip4("198.51.100.1", "192.0.2.10", 6, inner)
        verdict, out, _ = both.model(ethernet(packet))
        assert verdict == 3
        assert both.same(out)[0] == "next"
        udp_at = 14 + 40
        assert out[udp_at + 6 : udp_at + 8] != b"\0\0"
        for at in (14 + 8, 14 + 23, udp_at, udp_at + 6, udp_at + 8 + 8, len(out) - 1):
            assert both.same(out[:at] + bytes([out[at] ^ 0x40]) + out[at + 1 :])[0] == "drop", at
        without = out[: udp_at + 6] + b"\0\0" + out[udp_at + 8 :]
        assert both.same(without)[0] == "next"
    assert both.programs[1].counters()["drop_bad_checksum"] == 6 * len(sizes)


@pytest.mark.parametrize("length", [0, 7, 8, 20, 1000])
def test_a_gue_length_that_is_not_the_packets(length: int) -> None:
    both = Both("gue", 4)
    inner = ip4("198.51.100.1", "192.0.2.10", 6, tcp(1, 80, 2))
    address = next(iter(both.servers.values()))
    header = struct.pack(">HHHH", 50000, 6080, length, 0)
    assert both.same(ethernet(ip4(SOURCES[4], address, 17, header + inner)))[0] == "drop"
    assert both.programs[1].counters()["drop_malformed"] == 1


def test_an_inner_header_ends_within_the_outer_packet() -> None:
    """Bytes behind the packet's end, such as padding, are no part of it."""
    both = Both("ipip", 4)
    inner = ip6("2001:db8:c::1", "2001:db8:1::10", 6, tcp(1, 443, 2))
    address = next(iter(both.servers.values()))
    assert both.same(ethernet(ip4(SOURCES[4], address, 41, inner)))[0] == "next"
    for kept in (20, 30, 39):
        outer = ip4(SOURCES[4], address, 41, inner[:kept])
        assert both.same(ethernet(outer) + inner[kept:])[0] == "drop"
    assert both.programs[1].counters()["drop_malformed"] == 3


def test_what_is_within_must_be_for_a_service() -> None:
    both = Both("ipip", 4)
    inner = ip4("198.51.100.1", "10.99.99.99", 6, tcp(1, 22, 2))
    address = next(iter(both.servers.values()))
    assert both.same(ethernet(ip4(SOURCES[4], address, 4, inner)))[0] == "drop"
    assert both.programs[1].counters()["drop_foreign"] == 1
    elsewhere = ethernet(ip4(SOURCES[4], "10.0.1.200", 4, inner))
    assert both.same(elsewhere) == ("next", elsewhere)
