"""The two builds of a program do the same: an interpreter of packets that uses every map and
helper, and the built-in programs, on packets made by hypothesis and on real captures."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shared_data import shared

from wirepath import programs
from wirepath.programs import kernel, trial

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(
        kernel.unavailable_reason() is not None,
        reason=f"unsupported: {kernel.unavailable_reason()}",
    ),
]

# Does what the packet says: byte 14 is the operation, 15 how, 16 to 19 a number.
INTERPRETER = """
#include <wirepath/program.h>
struct options { __u32 drop_odd; };
WP_CONFIG(struct options);
#define COUNTERS(COUNT, DROP) COUNT(hits) COUNT(errors) COUNT(time) DROP(short) DROP(odd)
WP_COUNTERS(COUNTERS);
struct value { __u64 frames, last; __u32 random; __u16 size; __u8 tail[2]; };
struct prefix { __u32 prefixlen; __u8 address[4]; };
WP_MAP(HASH, hash, __u32, struct value, 8);
WP_MAP(LRU_HASH, lru, __u32, struct value, 1024);
WP_MAP(LPM, lpm, struct prefix, __u32, 8);
WP_MAP(ARRAY, array, __u32, struct value, 16);
WP_MAP(PERCPU_HASH, percpu, __u32, __u64, 8);
WP_MAP(PERCPU_ARRAY, slots, __u32, __u64, 4);

WP_INLINE struct value value_of(struct wp_packet* p) {
  struct value v = {1, wp_now(p), wp_random(p), (__u16)(p->end - p->data), {0, 0}};
  return v;
}

WP_PROGRAM(interpreter) {
  if (p->data + 20 > p->end) return wp_drop(p, short);
  const __u8 operation = p->data[14] % 12, how = p->data[15];
  const __u32 number = wp_load32(p->data + 16);
  const struct value fresh = value_of(p);
  int failed = 0;
  if (wp_config(p)->drop_odd && (number & 1)) return wp_drop(p, odd);
  wp_count_n(p, time, wp_now(p));
  if (operation == 0) {
    struct value* v = wp_lookup(p, hash, &number);
    if (v) {
      wp_add(&v->frames, 1);
      wp_count(p, hits);
    } else {
      failed = wp_update(p, hash, &number, &fresh, WP_NOEXIST);
    }
  } else if (operation == 1) {
    failed = wp_update(p, hash, &number, &fresh, how % 3);
  } else if (operation == 2) {
    failed = wp_delete(p, hash, &number);
  } else if (operation == 3) {
    const struct prefix key = {how % 34, {p->data[16], p->data[17], p->data[18], p->data[19]}};
    failed = wp_update(p, lpm, &key, &number, WP_ANY);
  } else if (operation == 4) {
    const struct prefix key = {32, {p->data[16], p->data[17], p->data[18], p->data[19]}};
    const __u32* found = wp_lookup(p, lpm, &key);
    if (found) {
      wp_count(p, hits);
      wp_store32(p->data, *found);
    }
  } else if (operation == 5) {
    const struct prefix key = {how % 34, {p->data[16], p->data[17], p->data[18], p->data[19]}};
    failed = wp_delete(p, lpm, &key);
  } else if (operation == 6) {
    const __u32 index = how % 20;
    failed = wp_update(p, array, &index, &fresh, number % 3);
    struct value* v = wp_lookup(p, array, &index);
    if (v) v->frames++;
  } else if (operation == 7) {
    const __u64 one = 1;
    __u64* v = wp_lookup(p, percpu, &number);
    if (v)
      *v += number;
    else
      failed = wp_update(p, percpu, &number, &one, WP_NOEXIST);
  } else if (operation == 8) {
    if (wp_adjust_head(p, (int)(number % 500) - 250)) return WP_ABORTED;
    if (p->data + 14 > p->end) return WP_ABORTED;
    for (int i = 0; i < 14; i++) p->data[i] = (__u8)i;
    return WP_TX;
  } else if (operation == 9) {
    if (wp_adjust_tail(p, (int)(number % 5000) - 1000)) return WP_ABORTED;
    return WP_PASS;
  } else if (operation == 10) {
    failed = wp_update(p, lru, &number, &fresh, how % 3);
    if (how & 16) failed = wp_delete(p, lru, &number);
  } else {
    const __u32 index = how % 4;
    __u64* v = wp_lookup(p, slots, &index);
    if (v) *v += number;
    wp_store16(p->data + 2, wp_be16(number));
  }
  if (failed) {
    wp_count(p, errors);
    wp_store32(p->data + 4, (__u32)-failed);
    return WP_PASS;
  }
  return how & 128 ? WP_NEXT : WP_TX;
}
"""


@pytest.fixture(scope="module")
def interpreter(tmp_path_factory):
    path = tmp_path_factory.mktemp("programs") / "interpreter.c"
    path.write_text(INTERPRETER)
    return programs.find(path)


numbers = st.one_of(st.integers(0, 12), st.integers(0, 2**32 - 1))
frame = st.builds(
    lambda operation, how, number, rest: (
        b"\1" * 14 + bytes([operation, how]) + struct.pack("<I", number) + rest
    ),
    st.integers(0, 11),
    st.integers(0, 255),
    numbers,
    st.binary(max_size=100),
)
short = st.binary(min_size=14, max_size=19)
sequence = st.lists(
    st.tuples(st.one_of(frame, frame, frame, short), st.integers(0, 2**62)),
    min_size=1,
    max_size=60,
)


@settings(max_examples=60, deadline=None)
@given(sequence, st.booleans())
def test_an_interpreter_of_packets(interpreter, frames, drop_odd):
    result = trial.try_out(interpreter, frames, config={"drop_odd": int(drop_odd)}, repeat=0)
    assert result.differences == []
    assert result.agree
    assert sum(result.verdicts.values()) == len(frames)
    assert result.counters["drop_unnamed"] == 0


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.binary(min_size=14, max_size=200), st.just(1)), max_size=50))
def test_the_builtin_program_on_anything(frames):
    assert trial.try_out("count", frames, repeat=0).agree


@pytest.mark.parametrize(
    "capture",
    [
        "attack/amp.UDP.snmp.src161.pcapng",
        "attack/amp.TCP.syn.optionallyACK.optionallysamePort.pcapng",
        "attack/ndpi-memcached.cap",
        "attack/ndpi-synscan.pcap",
    ],
)
def test_the_builtin_program_on_captures(capture):
    result = trial.try_out("count", trial.frames_of(shared(capture)), repeat=10)
    assert result.agree, result.differences
    assert len(result.rows) >= 10 and result.ns is not None


def test_a_difference_is_told(tmp_path, wirepath):
    """A program that asks which build it is."""
    source = tmp_path / "which.c"
    source.write_text(
        "#include <wirepath/program.h>\nWP_COUNTERS(WP_NONE);\n"
        "WP_MAP(ARRAY, seen, __u32, __u32, 1);\n"
        "WP_PROGRAM(which) {\n  const __u32 zero = 0;\n"
        "  if (p->data + 20 > p->end) return WP_NEXT;\n"
        "#ifdef __bpf__\n  wp_update(p, seen, &zero, &zero, WP_ANY);\n"
        "#else\n  const __u32 one = 1;\n  wp_update(p, seen, &zero, &one, WP_ANY);\n"
        "  if (p->data[14] == 0x45) p->data[15] ^= 1;\n#endif\n"
        "  return p->data[14] == 0x46 ? WP_ABORTED : WP_TX;\n}\n"
    )
    capture = shared("attack/ndpi-synscan.pcap")
    answer = wirepath("program", "test", source, "--capture", capture, "--repeat", "0", "--json")
    assert answer.code == 1
    assert not answer.json["agree"]
    assert any("bytes differ from byte 15 on" in d for d in answer.json["differences"])
    assert any(d.startswith("map seen: 1 of 1") for d in answer.json["differences"])
    same = wirepath("program", "test", "count", "--capture", capture, "--frames", "--json")
    assert same.code == 0 and same.json["agree"]
    assert same.json["ns"] > 0 and len(same.json["rows"]) == sum(same.json["verdicts"].values())
    wrong = wirepath("program", "test", "count", "--capture", capture, "--put", "by_protocol=1")
    assert wrong.code == 2 and "MAP:KEY=VALUE" in wrong.err
