"""Real attacks, stopped by a named signature or a rule that docs/filter.md gives, while what an
honest host gets in between passes whole. Both builds, and the naive model."""

from __future__ import annotations

import re
from pathlib import Path

import filter_legit
import pytest
from filter_check import START, agree
from shared_data import shared

import wirepath as wp
from wirepath.filter import FilterConfig, Rule, compile_filter
from wirepath.filter.engine import Engine
from wirepath.filter.trial import run

# capture: signatures, rules, frames in it that are part of the attack, share of them dropped
ATTACKS = {
    "pkt.TCP.synflood.spoofed.pcap": ("bare-syn", (), 37_841, 1.0),
    "amp.UDP.snmp.src161.pcapng": ("snmp,backscatter", (), 4_373, 1.0),
    "amp.TCP.syn.optionallyACK.optionallysamePort.pcapng": (
        "syn-ack,bare-syn",
        ("drop tcp_flags=syn,!ack destination_port=0-21,23-79,81-442,444-65535",),
        896,
        0.995,
    ),
    "ndpi-synscan.pcap": ("syn-scan", (), 1_994, 1.0),
    "ndpi-memcached.cap": (
        None,
        ("drop protocol=tcp destination_port=11211", "drop protocol=tcp source_port=11211"),
        10,
        1.0,
    ),
}
DOCS = Path(__file__).resolve().parents[2] / "docs" / "filter.md"


def frames_of(name):
    with wp.open(f"pcap:{shared(f'attack/{name}')}", steer=wp.everything()) as port:
        return [bytes(batch[i]) for batch in port for i in range(len(batch))]


def is_attack(name, frame):
    """The scan's capture also holds what the scanned host answered."""
    return name != "ndpi-synscan.pcap" or frame[47] == 0x02


def mixed(attack):
    """Honest frames between those of the attack: (frame, whether it is honest)."""
    honest = filter_legit.frames()
    every = max(1, len(attack) // len(honest))
    out = []
    for i, frame in enumerate(attack):
        out.append((frame, False))
        if i % every == 0:
            out.append((honest[(i // every) % len(honest)], True))
    return out + [(frame, True) for frame in honest]


@pytest.mark.parametrize("name", ATTACKS)
def test_the_attack_is_stopped_and_the_rest_passes(name):
    signatures, rules, packets, share = ATTACKS[name]
    config = FilterConfig(signatures=signatures, rules=tuple(map(Rule.from_text, rules)))
    attack = frames_of(name)
    assert sum(is_attack(name, f) for f in attack) == packets
    engine = Engine.native(compile_filter(config), test=True)
    dropped = 0
    for frame, honest in mixed(attack):
        verdict = engine.program.run(frame, time=START).verdict
        if honest:
            assert verdict == "next", frame.hex()
        elif is_attack(name, frame):
            dropped += verdict == "drop"
    assert dropped / packets >= share
    text = DOCS.read_text()
    for word in (*(signatures or "").split(","), *rules):
        assert word.removeprefix("drop protocol=tcp ") in text, f"{word} is not in {DOCS.name}"


@pytest.mark.parametrize("name", ATTACKS)
def test_both_builds_and_the_model_say_the_same(name):
    config = FilterConfig(signatures="all", rules=(Rule(action="limit", packets=50, per="/24"),))
    frames = [frame for frame, _ in mixed(frames_of(name)[:3000])]
    engine = Engine.native(compile_filter(config), test=True)

    def native(frame, now):
        verdict, _, after = engine.program.native.run(frame, time=now)
        return verdict, after

    agree(config, engine, native, frames)
    trial = run(compile_filter(config), ((START + i, f) for i, f in enumerate(frames)))
    assert trial.packets == len(frames)
    assert trial.differ == 0
    if trial.kernel:
        pytest.skip(f"unsupported: the driver's build cannot run here: {trial.kernel}")


def test_the_page_gives_the_figures_that_were_reached():
    rows = re.findall(r"^\| .*?, ([\d,]+) \|.*\| ([\d.]+) % \|$", DOCS.read_text(), re.MULTILINE)
    said = {int(packets.replace(",", "")): float(share) for packets, share in rows}
    for name in ("pkt.TCP.synflood.spoofed.pcap", "amp.UDP.snmp.src161.pcapng"):
        assert said[ATTACKS[name][2]] == 100
    assert said[896] >= 99.5
