"""Packet programs in the kernel: loading, maps, running; nothing is attached here."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

import wirepath as wp
from wirepath import frames, programs
from wirepath.programs import kernel

EXAMPLE = Path(__file__).parents[2] / "examples" / "programs" / "drop_port.c"

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(
        kernel.unavailable_reason() is not None,
        reason=f"unsupported: {kernel.unavailable_reason()}",
    ),
]


def datagram(port: int, *, src: str = "10.0.0.1", size: int = 20) -> bytes:
    return frames.udp(
        b"x" * size, dst=("10.0.0.2", port), src=(src, 5), dst_mac="02:00:00:00:00:02"
    )


def test_a_builtin_program_counts_and_hands_on():
    program = programs.load("count")
    for frame in (datagram(53), datagram(54), b"\1" * 12 + b"\x08\x06" + b"\0" * 46):
        assert program.run(frame).verdict == "pass"
    assert program.run(b"\1" * 12 + b"\x08\x00" + b"\0" * 4).verdict == "drop"
    counters = program.counters()
    assert counters["verdict.next"] == 3 and counters["verdict.drop"] == 1
    assert counters["ip4"] == 2 and counters["arp"] == 1
    assert counters["drop_truncated"] == 1 and counters["drop_unnamed"] == 0
    volume = program.maps["by_protocol"].sum(17)
    assert volume == {"frames": 2, "bytes": len(datagram(53)) + len(datagram(54))}


def test_a_users_program_with_maps_and_configuration():
    program = programs.load(EXAMPLE)
    blocked, senders = program.maps["blocked"], program.maps["senders"]
    assert blocked.key_dtype == np.dtype(">u2")
    assert senders.value_dtype.names == ("frames", "bytes", "last")
    blocked[53] = 1
    assert program.run(datagram(53)).verdict == "drop"
    assert program.run(datagram(54)).verdict == "pass"
    assert 53 in blocked and 54 not in blocked and len(blocked) == 1
    assert senders[0x0A000001]["frames"] == 1
    del blocked[53]
    assert program.run(datagram(53)).verdict == "pass"
    with pytest.raises(KeyError):
        del blocked[53]
    answering = programs.load(EXAMPLE, config={"answer": 1}, share={"blocked": program})
    blocked[53] = 1
    outcome = answering.run(datagram(53))
    assert outcome.verdict == "tx"
    assert outcome.frame[:12] == datagram(53)[6:12] + datagram(53)[:6]


def test_the_same_program_natively():
    program = programs.native(EXAMPLE, config={"answer": 1})
    program.maps["blocked"][53] = 1
    outcome = program.run(datagram(53), time=7)
    assert outcome.verdict == "tx"
    assert outcome.frame[:12] == datagram(53)[6:12] + datagram(53)[:6]
    assert program.run(datagram(54)).verdict == "next"
    seen = program.maps["senders"][0x0A000001]
    assert (seen["frames"], seen["last"]) == (1, 7)
    assert program.counters()["verdict.tx"] == 1


def test_what_is_wrong_is_named():
    with pytest.raises(wp.ConfigError, match=r"config has no field answr \(did you mean answer"):
        programs.load(EXAMPLE, config={"answr": 1})
    with pytest.raises(wp.ConfigError, match="must be one of count"):
        programs.load("nothing")
    program = programs.load(EXAMPLE)
    with pytest.raises(wp.ConfigError, match=r"key of map blocked = 70000 .* from 0 to 65535"):
        program.maps["blocked"][70000] = 1
    with pytest.raises(wp.ConfigError, match="has no map nothing"):
        programs.load(EXAMPLE, entries={"nothing": 1})


def test_the_verifiers_reason_is_told(tmp_path):
    source = tmp_path / "bad.c"
    source.write_text(
        "#include <wirepath/program.h>\nWP_COUNTERS(WP_NONE);\n"
        "WP_PROGRAM(bad) { return p->data[100] ? WP_NEXT : WP_PASS; }\n"
    )
    with pytest.raises(wp.PortError, match="invalid access to packet"):
        programs.load(source)


def test_bulk_and_full_maps():
    program = programs.load(EXAMPLE, entries={"blocked": 1000})
    blocked = program.maps["blocked"]
    blocked.load(np.arange(1000), np.ones(1000, np.uint8))
    keys, found = blocked.arrays()
    assert sorted(keys.tolist()) == list(range(1000)) and found.sum() == 1000
    with pytest.raises(programs.MapFull, match="it takes 1000 entries"):
        blocked[5000] = 1
    assert struct.pack(">H", 999) in keys.tobytes()
