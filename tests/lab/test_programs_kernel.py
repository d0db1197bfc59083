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


def test_rings_and_ports_in_the_kernel(tmp_path):
    path = tmp_path / "notes.c"
    path.write_text(
        "#include <wirepath/program.h>\n#define COUNTERS(COUNT, DROP) COUNT(full)\n"
        "WP_COUNTERS(COUNTERS);\nWP_PORTS(ports, 4);\nWP_RING(ring, 4096);\nWP_RING(words, 4096);\n"
        "struct note { __u32 length, queue; };\nWP_PROGRAM(notes) {\n"
        "  const struct note note = {(__u32)(p->end - p->data), p->queue};\n"
        "  if (wp_sample(p, ring, &note, 64)) wp_count(p, full);\n"
        "  if (wp_emit(p, words, &note, sizeof(note))) wp_count(p, full);\n"
        "  return wp_redirect(p, ports, 1);\n}\n"
    )
    program, same = programs.load(path), programs.native(path)
    assert same.maps["ports"].value_dtype.itemsize == 4
    frame = datagram(7, size=100)
    assert program.run(frame).verdict == same.run(frame).verdict == "aborted"  # no port there
    want = struct.pack("<II", len(frame), 0) + frame[:64]
    assert program.maps["ring"].read() == same.maps["ring"].read() == [want]
    assert program.maps["words"].read() == same.maps["words"].read() == [want[:8]]
    program.maps["ports"][1] = kernel.interface_index("lo")
    same.maps["ports"][1] = 1 + 5
    assert program.run(frame).verdict == same.run(frame).verdict == "redirect"
    for _ in range(200):
        program.run(frame)
        same.run(frame)
    assert program.counters()["full"] > 0 and same.counters()["full"] > 0
    assert all(r == want for r in program.maps["ring"].read() + same.maps["ring"].read())


def test_time_and_chance_are_the_tests(tmp_path):
    path = tmp_path / "clock.c"
    path.write_text(
        "#include <wirepath/program.h>\nWP_COUNTERS(WP_NONE);\nWP_PROGRAM(clock) {\n"
        "  if (p->data + 20 > p->end) return WP_ABORTED;\n"
        "  wp_store64(p->data, wp_now(p));\n  wp_store32(p->data + 8, wp_random(p));\n"
        "  return WP_TX;\n}\n"
    )
    program, same = programs.load(path, test=True), programs.native(path, test=True)
    for time in (0, 1, 123_456_789_012, 2**63):
        program.set_time(time)
        kept = program.run(datagram(1)).frame
        assert kept == same.run(datagram(1), time=time - 2**64 if time >= 2**63 else time).frame
        assert kept[:8] == time.to_bytes(8, "little")
    real = programs.load(path)
    first, second = real.run(datagram(1)).frame, real.run(datagram(1)).frame
    assert first[:8] < second[:8] or int.from_bytes(first[:8], "little") < int.from_bytes(
        second[:8], "little"
    )
    with pytest.raises(wp.ConfigError, match="load it with test=True"):
        real.set_time(1)


def test_values_of_cpus_are_summed_and_shown():
    program = programs.load("count")
    volume = program.maps["by_protocol"]
    assert volume.slots == kernel.module().possible_cpus()
    volume[6] = {"frames": 2, "bytes": 10}
    assert volume.sum(6) == {"frames": 2 * volume.slots, "bytes": 10 * volume.slots}
    program.run(datagram(5))
    assert program.counters()["ip4"] == 1
    program.reset_counters()
    assert not any(program.counters().values())
    info = program.info()
    assert info["maps"]["by_protocol"]["kind"] == "PERCPU_ARRAY"
    assert info["maps"]["by_protocol"]["memory"] > 0 and info["jited_bytes"] > 0


def test_an_lpm_map_in_the_kernel_and_natively(tmp_path):
    path = tmp_path / "prefixes.c"
    path.write_text(
        "#include <wirepath/program.h>\nWP_COUNTERS(WP_NONE);\n"
        "struct prefix { __u32 prefixlen; __be32 address; };\n"
        "WP_MAP(LPM, nets, struct prefix, __u32, 9);\n"
        "WP_PROGRAM(prefixes) {\n  if (p->data + 34 > p->end) return WP_ABORTED;\n"
        "  const struct prefix key = {32, wp_load32(p->data + 26)};\n"
        "  const __u32* net = wp_lookup(p, nets, &key);\n"
        "  if (!net) return WP_PASS;\n  wp_store32(p->data, *net);\n  return WP_TX;\n}\n"
    )
    for program in (programs.load(path), programs.native(path)):
        nets = program.maps["nets"]
        nets.load(np.array([(8, 10 << 24), (32, 0x0A000001)], nets.key_dtype), [1, 2])
        for source, number in (("10.0.0.1", 2), ("10.9.9.9", 1), ("11.0.0.1", None)):
            outcome = program.run(datagram(5, src=source))
            assert outcome.verdict == ("pass" if number is None else "tx")
            if number:
                assert outcome.frame[:4] == struct.pack("<I", number)
        assert sorted(nets.arrays()[1].tolist()) == [1, 2]
        nets.clear()
        assert len(nets) == 0
