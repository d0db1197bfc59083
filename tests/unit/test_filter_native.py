"""The native build of the filter does what the naive model says."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from filter_check import START, agree, large, write_pcap
from filter_frames import configs, frames
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import wirepath as wp
from wirepath.errors import ConfigError, DeviceBusy, PortError
from wirepath.filter import Filter, FilterConfig, Rule, Set, compile_filter, control
from wirepath.filter.engine import Engine
from wirepath.frames import udp


def native(config):
    return Engine.native(compile_filter(config), test=True)


def run_of(engine):
    def run(frame, now):
        verdict, _, after = engine.program.native.run(frame, time=now)
        return verdict, after

    return run


@given(configs(), st.lists(frames(), min_size=1, max_size=40))
@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
def test_it_agrees_with_the_model(config, cases):
    engine = native(config)
    agree(config, engine, run_of(engine), cases)


def test_many_prefixes_are_found_as_few_are(tmp_path):
    config, cases = large(tmp_path)
    engine = Engine.native(compile_filter(config, folder=tmp_path), test=True)
    assert engine.tables.config["source_root_bits"] == 24
    assert {held for _, held in cases} == {True, False}
    for frame, held in cases:
        assert (run_of(engine)(frame, START)[0] == 1) == held


def test_a_burst_of_one_packet_lets_that_packet_through():
    """Also where neither the rate nor the burst come to whole nanoseconds."""
    frame = udp(bytes(1472), dst=("10.9.9.9", 9), src=("10.0.0.1", 9), dst_mac="02:00:00:00:00:02")
    for bits in (1001, 7919, 104_729, 999_983, 15_485_863):
        rule = Rule(action="limit", bits=bits, burst_bits=12_000)
        engine = native(FilterConfig(rules=(rule,)))
        assert [run_of(engine)(frame, START)[0] for _ in range(2)] == [6, 1], bits


def test_limits_hold_when_the_clock_is_set_back():
    """A stage's clock is the time stamps of frames. What is in a bucket by a clock that was an hour
    ahead is not waited for, and none of what the limit holds back comes through twice."""
    frame = udp(b"", dst=("10.9.9.9", 9), src=("10.0.0.1", 9), dst_mac="02:00:00:00:00:02")
    for limit in ({"packets": 10, "burst": 5}, {"bits": 12_000, "burst_bits": 12_000}):
        engine = native(FilterConfig(rules=(Rule(action="limit", **limit),)))
        run = run_of(engine)

        def passed(count, now, run=run):
            return sum(run(frame, now)[0] == 6 for _ in range(count))

        hour = 3600 * 10**9
        full = passed(100, START + hour)
        assert 1 <= full < 100
        assert passed(10, START + hour - 10**6) == 0  # another queue's stamps are a bit behind
        assert passed(10, START) == 0
        assert passed(10, START) == 0
        assert passed(100, START + 10**9) == full  # the bucket has run empty as ever


def test_what_is_behind_more_tags_than_are_read_is_dropped_as_malformed():
    plain = udp(b"", dst=("10.9.9.9", 9), src=("10.0.0.1", 9), dst_mac="02:00:00:00:00:02")
    tagged = plain[:12] + 5 * b"\x81\x00\x00\x05" + plain[12:]
    for malformed, verdict in (("drop", 1), ("pass", 6)):
        engine = native(FilterConfig(malformed=malformed))
        assert run_of(engine)(tagged, START)[0] == verdict
        assert run_of(engine)(tagged[:12] + tagged[16:], START)[0] == 6
        assert engine.counters()["too_many_tags"] == 1
        assert engine.counters()["drop.malformed"] == (verdict == 1)
        assert engine.counts()["malformed"]["packets"] == 1


def test_blocks_that_are_over_are_not_taken_along():
    old = native(FilterConfig(blocks=8))
    for i in range(8):
        old.block(f"10.0.0.{i}", old.clock() + (10**15 if i < 3 else -1))
    new = native(FilterConfig(blocks=3))
    new.adopt_blocks(old)
    assert sorted(map(str, new.blocks())) == ["10.0.0.0", "10.0.0.1", "10.0.0.2"]
    with pytest.raises(ConfigError, match="blocks = 2 is not usable: it must be at least 3"):
        native(FilterConfig(blocks=2)).adopt_blocks(old)


def test_words_of_vectors_beyond_the_first_are_looked_at():
    rules = tuple(Rule(name=f"{i}", source=f"10.0.{i // 256}.{i % 256}") for i in range(512))
    config = FilterConfig(rules=rules)
    engine = native(config)
    cases = [
        udp(
            b"",
            dst=("10.9.9.9", 9),
            src=(f"10.0.{i // 256}.{i % 256}", 9),
            dst_mac="02:00:00:00:00:02",
        )
        for i in range(600)
    ]
    agree(config, engine, run_of(engine), cases)
    assert [row["packets"] for row in engine.counts().values()][:512] == [1] * 512


@pytest.mark.parametrize("side", ["source", "destination"])
@pytest.mark.parametrize("left_out", ["2001:db8::/32", "10.0.0.0/8", "2001:db8::/32,10.0.0.0/8"])
def test_a_rule_of_what_is_left_out_alone_takes_all_the_rest(side, left_out):
    """Addresses in no prefix of the tables at all, which for IPv6 the search does not find."""
    config = FilterConfig(rules=(Rule(**{f"{side}_not": left_out}),))
    engine = native(config)
    pairs = [("10.9.9.9", "192.0.2.9"), ("2001:db8::9", "2a00::9")]
    cases = [
        udp(b"", src=(a, 9), dst=(b, 9), dst_mac="02:00:00:00:00:02")
        for pair in pairs
        for a, b in (pair, pair[::-1])
    ]
    agree(config, engine, run_of(engine), cases)
    outside = 4 - left_out.count("/")
    assert engine.counts()["rule 1"]["packets"] == outside


class _Slot:
    """A chain that takes programs, or is gone."""

    def __init__(self, gone=False):
        self.gone, self.held = gone, []

    def put(self, program, **how):
        if self.gone:
            raise PortError(19, "the chain is gone")
        self.held.append(program)


def test_a_reload_that_fails_at_one_interface_is_taken_back_at_the_others(monkeypatch):
    old, new = FilterConfig(signatures="ntp"), FilterConfig(signatures="dns")
    chains = {"first": _Slot(), "second": _Slot(gone=True)}
    monkeypatch.setattr(Engine, "in_chain", lambda chain, tables: Engine.native(tables))
    subject = Filter(old)
    before = {name: Engine.native(subject.tables) for name in chains}
    subject._drivers = {n: control._Driver(c, before[n], stays=False) for n, c in chains.items()}
    with pytest.raises(PortError, match="gone"):
        subject.reload(new, force=True)
    assert subject.config == old and subject.engines() == list(before.values())
    assert len(chains["first"].held) == 2 and chains["first"].held[-1] is before["first"].program


@pytest.mark.parametrize("fails", ["stage", "driver"])
def test_a_reload_that_fails_leaves_stages_and_drivers_as_they_were(monkeypatch, fails):
    monkeypatch.setattr(Engine, "in_chain", lambda chain, tables: Engine.native(tables))
    subject = Filter(FilterConfig(signatures="ntp"))
    first, second = subject.stage(), subject.stage()
    slot = _Slot(gone=fails == "driver")
    driver = Engine.native(subject.tables)
    subject._drivers = {"one": control._Driver(slot, driver, stays=False)}
    before, was = subject.engines(), first.program

    def busy(program, seconds=5.0):
        raise DeviceBusy("the worker does not come to its next batch")

    if fails == "stage":
        monkeypatch.setattr(second, "replace", busy)
    with pytest.raises(DeviceBusy if fails == "stage" else PortError):
        subject.reload(FilterConfig(signatures="dns"), force=True)
    assert first.program is was and second.program is was
    assert slot.held == []
    assert subject.engines() == before and subject.config.signatures == "ntp"

    monkeypatch.undo()
    monkeypatch.setattr(Engine, "in_chain", lambda chain, tables: Engine.native(tables))
    slot.gone = False
    subject.reload(FilterConfig(signatures="dns"), force=True)
    native, attached = subject.engines()
    assert first.program is native.program and second.program is native.program
    assert native is not before[0] and slot.held == [attached.program]


@pytest.mark.parametrize("text", [b"", b"[1]", b'{"names": [], "config": "00"}', b"\xff"])
def test_a_filter_of_another_version_is_told(text):
    native = SimpleNamespace(dump=lambda name: (b"", text))
    program = SimpleNamespace(name="filter", maps={"described": None}, native=native)
    with pytest.raises(ConfigError, match="another version"):
        Engine.adopted(program)


def test_the_first_rule_wins_and_its_signature_is_the_reason():
    config = FilterConfig(
        rules=(Rule(name="mine", action="pass", source="@ours"), Rule(signature="snmp", ttl="64")),
        signatures="snmp",
        sets=(Set(name="ours", prefixes="10.0.0.0/24"),),
    )
    engine = native(config)

    def run(source, ttl):
        frame = udp(
            b"x" * 40, dst=("10.9.9.9", 9), src=(source, 161), ttl=ttl, dst_mac="02:00:00:00:00:02"
        )
        return engine.program.native.run(frame, time=START)[0]

    assert [run("10.0.0.9", 64), run("10.0.1.9", 64), run("10.0.1.9", 63)] == [
        6,
        wp.Verdict.DROP,
        wp.Verdict.DROP,
    ]
    assert engine.counters()["drop.signature"] == 2
    counts = engine.counts()
    assert [counts[n]["packets"] for n in ("mine", "rule 2", "signature snmp")] == [1, 1, 1]


def test_a_block_lasts_until_its_end():
    engine = native(FilterConfig(blocks=2))
    frame = udp(b"", dst=("10.9.9.9", 9), src=("192.0.2.1", 9), dst_mac="02:00:00:00:00:02")
    six = udp(b"", dst=("2001:db8::1", 9), src=("2001:db8::2", 9), dst_mac="02:00:00:00:00:02")
    engine.block("192.0.2.1", START + 100)
    engine.block("2001:db8::2", START + 200)
    assert engine.program.native.run(frame, time=START + 99)[0] == wp.Verdict.DROP
    assert engine.program.native.run(frame, time=START + 100)[0] == 6
    assert engine.program.native.run(six, time=START + 199)[0] == wp.Verdict.DROP
    assert engine.counters()["drop.blocked"] == 2
    engine.clock = lambda: START + 50
    with pytest.raises(ConfigError, match="at most 2 at a time"):
        engine.block("192.0.2.3", START + 100)
    engine.clock = lambda: START + 150  # the first is over, and makes room
    engine.block("192.0.2.3", START + 300)
    assert {str(a): n for a, (_, n) in engine.blocks().items()} == {
        "2001:db8::2": 1,
        "192.0.2.3": 0,
    }
    assert engine.unblock("2001:db8::2")
    assert not engine.unblock("2001:db8::2")
    assert engine.program.native.run(six, time=START + 199)[0] == 6
    with pytest.raises(ConfigError, match='address = "here"'):
        engine.block("here", 1)
    with pytest.raises(ConfigError, match="no room for blocks"):
        native(FilterConfig()).block("192.0.2.1", 1)


def test_samples_say_rule_and_bytes():
    engine = native(FilterConfig(rules=(Rule(name="web", destination_port="80", sample=1),)))
    frame = udp(b"z" * 400, dst=("10.9.9.9", 80), src=("192.0.2.1", 9), dst_mac="02:00:00:00:00:02")
    engine.program.native.run(frame, time=START)
    (sample,) = engine.samples()
    assert (sample.rule, sample.dropped, sample.time) == ("web", True, START)
    assert (sample.length, sample.data) == (len(frame), frame[:192])
    assert list(engine.samples()) == []


def test_what_passes_is_the_next_stages_business(tmp_path):
    config = FilterConfig(rules=(Rule(destination_port="0-4"),))
    sent = [udp(bytes([i]), dst=("239.1.1.1", i), src=("10.0.0.1", 7)) for i in range(10)]
    spec = f"pcap:{write_pcap(tmp_path / 'ports.pcap', sent)}"
    state = np.zeros(1, np.int64)

    @wp.stage(compile="never")
    def count(batch, state):
        state[0] += batch.count

    one = wp.filter.Filter(config)
    with wp.open(spec, steer=wp.everything()) as port:
        worker = wp.Worker("filtered")
        worker.add_port(port)
        worker.add_stage(one.stage())
        worker.add_stage(count.bind(state))
        worker.start()
        worker.join()
    assert state[0] == 5
    assert one.counters()["drop.rule"] == 5
