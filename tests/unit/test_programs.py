"""Packet programs natively: maps against dictionaries, stages in a worker, source files, types."""

from __future__ import annotations

import ipaddress
import shutil
import struct
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import wirepath as wp
from wirepath import frames, programs
from wirepath.programs import pins

EXAMPLE = Path(__file__).parents[2] / "examples" / "programs" / "drop_port.c"
EMPTY_CAPTURE = bytes.fromhex("4d3cb2a1020004000000000000000000ffff000001000000")

pytestmark = pytest.mark.skipif(
    shutil.which("cc") is None or not any(shutil.which(f"clang{v}") for v in ("", "-14", "-15")),
    reason="unsupported: no C compiler, or no clang, to build a program",
)

ALL_KINDS = """
#include <wirepath/program.h>
struct pair { __u32 a; __be16 port; __u8 kind; __u8 flags[3]; __u64 total; };
struct prefix { __u32 prefixlen; __u8 address[4]; };
struct nested { struct pair inner; __s32 sign; char name[8]; };
struct options { __u32 number; struct { __u16 low, high; } range; };
WP_CONFIG(struct options);
WP_COUNTERS(WP_NONE);
WP_MAP(HASH, hash, __u32, struct pair, 40);
WP_MAP(LRU_HASH, lru, __u64, __u64, 32);
WP_MAP(ARRAY, array, __u32, struct nested, 8);
WP_MAP(LPM, lpm, struct prefix, __u32, 64);
WP_MAP(PERCPU_HASH, percpu, __u32, __u64, 16);
WP_MAP(PERCPU_ARRAY, percpu_array, __u32, struct pair, 4);
WP_PORTS(ports, 4);
WP_RING(ring, 4096);
struct note { __u32 length, queue; };
WP_PROGRAM(kinds) {
  const __u32 zero = 0;
  const struct note note = {(__u32)(p->end - p->data), p->queue};
  if (wp_sample(p, ring, &note, 16)) return WP_ABORTED;
  struct nested* n = wp_lookup(p, array, &zero);
  if (n && n->sign == -1) return wp_redirect(p, ports, wp_config(p)->number);
  return wp_config(p)->range.high ? WP_PASS : WP_NEXT;
}
"""


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    path = tmp_path_factory.mktemp("programs") / "kinds.c"
    path.write_text(ALL_KINDS)
    return programs.find(path)


def write_capture(folder, sent):
    empty, path = folder / "empty.pcap", folder / "some.pcap"
    empty.write_bytes(EMPTY_CAPTURE)
    with wp.open(f"pcap:{empty}", steer=wp.everything(), write=path) as port:
        assert port.send(sent) == len(sent)
    return path


def datagram(port, src="10.0.0.1"):
    return frames.udp(b"x" * 30, dst=("239.1.1.1", port), src=(src, 5))


def test_types_come_from_the_source(source):
    maps = programs.native(source).maps
    pair = maps["hash"].value_dtype
    assert pair.names == ("a", "port", "kind", "flags", "total")
    assert pair["port"] == np.dtype(">u2") and pair["flags"].shape == (3,)
    assert pair.itemsize == 24 and pair.fields["total"][1] == 16
    nested = maps["array"].value_dtype
    assert nested["inner"] == pair and nested["sign"] == np.dtype("i4")
    assert nested["name"] == np.dtype("S8")
    assert maps["lpm"].key_dtype.names == ("prefixlen", "address")
    assert maps["percpu"].slots == 8


def test_values_of_every_shape(source):
    maps = programs.native(source, slots=3).maps
    maps["hash"][7] = {"a": 1, "port": 443, "flags": [1, 2, 3], "total": 2**40}
    row = maps["hash"][7]
    assert (row["a"], row["port"], row["flags"].tolist(), row["total"]) == (
        1,
        443,
        [1, 2, 3],
        2**40,
    )
    maps["hash"][8] = row
    assert maps["hash"][8] == row
    maps["array"][2] = {"inner": {"a": 5}, "sign": -3, "name": "eth0"}
    assert maps["array"][2]["inner"]["a"] == 5 and maps["array"][2]["name"] == b"eth0"
    maps["percpu"][1] = [1, 2, 3]
    assert maps["percpu"][1].tolist() == [1, 2, 3] and maps["percpu"].sum(1) == 6
    maps["percpu_array"][0] = {"a": 2, "total": 5}
    assert maps["percpu_array"].sum(0)["total"] == 15
    for wrong, text in [
        ({"prot": 1}, r"has no field prot \(did you mean port"),
        ({"port": 70_000}, r"value of map hash.port = 70000 .* from 0 to 65535"),
        ((1, 2), "must be of 5 fields"),
        ("text", "must be a mapping of a, port"),
        (b"short", "must be 24 bytes"),
    ]:
        with pytest.raises(wp.ConfigError, match=text):
            maps["hash"][1] = wrong
    with pytest.raises(wp.ConfigError, match="they are 0 to 7"):
        maps["array"][8] = {"sign": 1}
    with pytest.raises(wp.ConfigError, match=r'map = "hush" is not usable: it must be one of'):
        programs.native(source).map("hush")


keys = st.integers(0, 60)
steps = st.lists(
    st.tuples(st.sampled_from(["set", "add", "del", "get", "bulk"]), keys, st.integers(0, 2**32)),
    max_size=80,
)


@settings(max_examples=60, deadline=None)
@given(steps)
def test_a_hash_is_a_dictionary(source, actions):
    mapping, model = programs.native(source, slots=1).maps["hash"], {}
    for action, key, total in actions:
        room = key in model or len(model) < 40
        if action == "get":
            assert (key in mapping) == (key in model)
            if key in model:
                assert mapping[key]["total"] == model[key]
        elif action == "del" and key not in model:
            with pytest.raises(KeyError):
                del mapping[key]
        elif action == "del":
            del mapping[key], model[key]
        elif not room:
            with pytest.raises(programs.MapFull):
                mapping[key] = {"total": total}
        elif action == "add":
            assert mapping.add(key, {"total": total}) == (key not in model)
            model.setdefault(key, total)
        elif action == "bulk":
            row = np.zeros(1, mapping.value_dtype)
            row["total"] = total
            mapping.load([key], row)
            model[key] = total
        else:
            mapping[key] = {"total": total}
            model[key] = total
    found_keys, found = mapping.arrays()
    assert dict(zip(found_keys.tolist(), found["total"].tolist(), strict=True)) == model
    assert len(mapping) == len(model)


prefixes = st.tuples(st.integers(0, 32), st.integers(0, 255).map(lambda n: 10 << 24 | n * 65793))


@settings(max_examples=60, deadline=None)
@given(st.lists(prefixes, max_size=40), st.lists(prefixes, max_size=10))
def test_an_lpm_map_gives_the_longest_prefix(source, networks, asked):
    mapping, model = programs.native(source, slots=1).maps["lpm"], {}
    for value, (length, address) in enumerate(networks):
        network = ipaddress.ip_network((address, length), strict=False)
        mapping[length, np.frombuffer(struct.pack(">I", address), np.uint8)] = value
        model[network] = value
    assert len(mapping) == len(model)
    for _, address in asked:
        covering = [n for n in model if ipaddress.ip_address(address) in n]
        key = (32, np.frombuffer(struct.pack(">I", address), np.uint8))
        assert (key in mapping) == bool(covering)
        if covering:
            assert mapping[key] == model[max(covering, key=lambda n: n.prefixlen)]


def test_a_million_entries_load_in_bulk(source):
    mapping = programs.native(source, entries={"hash": 1_000_000}, slots=1).maps["hash"]
    numbers = np.arange(1_000_000, dtype=np.uint32)
    rows = np.zeros(len(numbers), mapping.value_dtype)
    rows["total"] = numbers * np.uint64(3)
    mapping.load(numbers, rows)
    assert len(mapping) == 1_000_000
    assert mapping[999_999]["total"] == 2_999_997
    with pytest.raises(programs.MapFull, match="takes 1000000 entries"):
        mapping[1_000_000] = {"total": 1}


def test_rings_ports_and_configuration(source):
    program = programs.native(source, config={"number": 2, "range": {"high": 1}})
    outcome = program.run(datagram(5), queue=3)
    assert outcome.verdict == "pass"
    [record] = program.maps["ring"].read()
    assert record == struct.pack("<II", len(datagram(5)), 3) + datagram(5)[:16]
    program.maps["array"][0] = {"sign": -1}
    assert program.run(datagram(5)).verdict == "aborted"  # no port there
    program.maps["ports"][2] = 1 + 4
    outcome = program.run(datagram(5))
    assert (outcome.verdict, outcome.target) == ("redirect", 4)
    with pytest.raises(wp.ConfigError, match=r"config.range has no field hi"):
        programs.native(source, config={"range": {"hi": 1}})


@wp.stage(compile="never")
def seen(batch, state):
    for i in range(batch.count):
        assert batch.verdict[i] == wp.DROP
        state[0] += 1
        batch.verdict[i] = wp.TX


def test_stages_behind_a_program_do_not_see_what_it_decided(tmp_path):
    sent = [datagram(5000 + n % 4) for n in range(100)]
    program = programs.native(EXAMPLE)
    program.maps["blocked"][5001] = 1
    count = np.zeros(1, np.int64)
    out = tmp_path / "out.pcap"
    capture = write_capture(tmp_path, sent)
    with wp.open(f"pcap:{capture}", steer=wp.everything(), write=out) as port:
        worker = wp.Worker("programs")
        worker.add_port(port)
        worker.add_stage(programs.native("count").stage())
        worker.add_stage(program.stage())
        worker.add_stage(seen.bind(count))
        worker.start()
        worker.join()
        assert worker.stats()["verdict.drop"] == 25
        assert worker.stats()["verdict.tx"] == 75
    assert count[0] == 75
    assert program.counters()["drop_blocked"] == 25
    assert program.counters()["verdict.next"] == 75
    with wp.open(f"pcap:{out}", steer=wp.everything()) as port:
        kept = [bytes(batch[i]) for batch in port for i in range(len(batch))]
    assert kept == [f for n, f in enumerate(sent) if n % 4 != 1]  # in their order


def test_a_changed_frame_is_sent_as_it_became(tmp_path):
    program = programs.native(EXAMPLE, config={"answer": 1})
    program.maps["blocked"][5000] = 1
    out = tmp_path / "out.pcap"
    capture = write_capture(tmp_path, [datagram(5000), datagram(5001)])
    original = capture.read_bytes()
    with wp.open(f"pcap:{capture}", steer=wp.everything(), write=out) as port:
        worker = wp.Worker("programs")
        worker.add_port(port)
        worker.add_stage(program.stage())
        worker.start()
        worker.join()
    with wp.open(f"pcap:{out}", steer=wp.everything()) as port:
        [kept] = [bytes(batch[i]) for batch in port for i in range(len(batch))]
    assert kept == datagram(5000)[6:12] + datagram(5000)[:6] + datagram(5000)[12:]
    assert capture.read_bytes() == original


def test_a_stage_is_replaced_while_it_runs():
    first, second = programs.native("count"), programs.native("count")
    with wp.open("null:", steer=wp.everything()) as port:
        worker = wp.Worker("programs")
        worker.add_port(port)
        stage = first.stage()
        worker.add_stage(stage)
        with worker:
            while first.counters()["verdict.next"] + first.counters()["verdict.drop"] == 0:
                pass
            stage.replace(second)
            at = sum(first.counters()[f"verdict.{v}"] for v in ("next", "drop"))
            while second.counters()["verdict.next"] + second.counters()["verdict.drop"] == 0:
                pass
            assert sum(first.counters()[f"verdict.{v}"] for v in ("next", "drop")) == at
        total = sum(p.counters()[f"verdict.{v}"] for p in (first, second) for v in ("next", "drop"))
        assert total == worker.stats()["frames"]


def test_more_workers_than_slots():
    program = programs.native("count", slots=1)
    with wp.open("null:", steer=wp.everything(), queues=2) as port:
        group = wp.workers(port, stages=lambda k: [program.stage()])
        with pytest.raises(wp.DeviceBusy, match=r"all 1 slots .* more slots"):
            group.start()


def test_what_a_compiler_says_is_told(tmp_path):
    broken = tmp_path / "broken.c"
    broken.write_text(
        "#include <wirepath/program.h>\nWP_COUNTERS(WP_NONE);\nWP_PROGRAM(broken) { oops }"
    )
    with pytest.raises(wp.CompileError, match="oops"):
        programs.native(broken)
    other = tmp_path / "other.c"
    other.write_text("int main(void) { return 0; }")
    with pytest.raises(wp.ConfigError, match="has no WP_PROGRAM"):
        programs.native(other)
    with pytest.raises(wp.ConfigError, match="cannot be read: No such file"):
        programs.native(tmp_path / "none.c")
    unused = tmp_path / "unused.o"
    unused.write_bytes(b"not an object")
    with pytest.raises(wp.ConfigError, match="not a 64-bit little-endian ELF"):
        programs.load(unused)


def test_missing_compilers_are_named(monkeypatch):
    from wirepath.programs import source

    monkeypatch.setattr(source, "_BPF_COMPILERS", ("no-such-clang",))
    with pytest.raises(wp.BackendUnavailable, match=r"to eBPF needs a compiler.*apt install clang"):
        programs.load(EXAMPLE)
    # Natively it runs all the same; only the types of its maps are not known.
    program = programs.native(EXAMPLE)
    program.maps["blocked"][struct.pack(">H", 5000)] = b"\1"
    assert program.run(datagram(5000)).verdict == "drop"
    assert program.run(datagram(5001)).verdict == "next"
    monkeypatch.setattr(source, "_C_COMPILERS", ("no-such-cc",))
    with pytest.raises(wp.BackendUnavailable, match=r"natively needs a compiler.*apt install gcc"):
        programs.native(EXAMPLE)


def test_adjusting_keeps_to_the_kernels_limits(tmp_path):
    path = tmp_path / "move.c"
    path.write_text(
        "#include <wirepath/program.h>\nstruct options { __s32 head, tail; };\n"
        "WP_CONFIG(struct options);\nWP_COUNTERS(WP_NONE);\nWP_PROGRAM(move) {\n"
        "  if (wp_adjust_head(p, wp_config(p)->head)) return WP_ABORTED;\n"
        "  if (wp_adjust_tail(p, wp_config(p)->tail)) return WP_PASS;\n  return WP_TX;\n}\n"
    )
    move = programs.find(path)
    frame = datagram(1)

    def run(head, tail):
        outcome = programs.native(move, config={"head": head, "tail": tail}).run(frame)
        return outcome.verdict, outcome.frame

    assert run(14, 0) == ("tx", frame[14:])
    assert run(0, -20) == ("tx", frame[:-20])
    assert run(0, 20) == ("tx", frame + b"\0" * 20)
    verdict, longer = run(-216, 0)
    assert verdict == "tx" and longer[216:] == frame
    assert run(-217, 0)[0] == "aborted"
    assert run(len(frame) - 13, 0)[0] == "aborted"
    assert run(0, 3520 - len(frame))[0] == "tx"
    assert run(0, 3521 - len(frame)) == ("pass", frame)


def test_pins_that_a_killed_process_left_are_no_part_of_the_next_chain(monkeypatch, tmp_path):
    made = SimpleNamespace(pin=lambda fd, path: Path(path).write_text(str(fd)))
    monkeypatch.setattr(pins, "folder", lambda make: tmp_path)
    monkeypatch.setattr(pins.kernel, "module", lambda: made)
    place = pins.keep("eth9", {"link": 3, "programs": 4})
    (place / "link").unlink()
    assert pins.keep("eth9", {"link": 5, "programs": 6}) == place
    assert (place / "programs").read_text() == "6"
    pins.keep("eth9", {"link": 7, "programs": 8})
    assert (place / "programs").read_text() == "6"  # the chain that is there
    gone = []
    unlink = Path.unlink
    monkeypatch.setattr(Path, "unlink", lambda self, **how: (gone.append(self.name), unlink(self)))
    pins.drop("eth9")
    assert gone == ["programs", "link"] and not place.exists()
