"""The words of rules: what is taken, what is refused and how it is told."""

from __future__ import annotations

from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import numpy as np
import pytest
from filter_frames import configs, rules
from hypothesis import given, settings

from wirepath.errors import ConfigError
from wirepath.filter import SIGNATURES, FilterConfig, Rule, Set, compile_filter, fields


@pytest.mark.parametrize(
    ("text", "must"),
    [
        ("drop source=10.0.0.1/8", 'source = "10.0.0.1/8" is not usable: it must be prefixes'),
        ("drop source=nowhere", 'source = "nowhere"'),
        ("drop protocol=foo", 'protocol = "foo" is not usable: it must be tcp, udp'),
        ("drop protocol=256", 'protocol = "256"'),
        ("drop destination_port=80-70", 'destination_port = "80-70"'),
        ("drop destination_port=65536", "from 0 to 65535"),
        ("drop ttl=", 'ttl = ""'),
        ("drop tcp_flags=syn,!syn", 'tcp_flags = "syn,!syn"'),
        ("drop fragment=maybe", "no, first, later or yes"),
        ("drop icmp_code=1", "icmp_type is missing"),
        ("drop vlan=4096", 'vlan = "4096"'),
        ("limit source=10.0.0.0/8", "packets is missing"),
        ("drop packets=5", "packets = 5 is not usable: it must be left out unless action is limit"),
        ("syncookie protocol=udp", 'protocol = "udp" is not usable: it must be tcp with action'),
        ("syncookie destination_port=443", "destination is missing: it must be given with action"),
        ("syncookie destination_not=10.0.0.9", "destination is missing"),
        ("syncookie packets=5", "packets = 5 is not usable: it must be left out unless action"),
        ("limit bits=5000 burst_bits=8000", "must be at least 12000: else no packet of 1500 bytes"),
        ("limit bits=5000 burst_bits=799 length=0-100", "at least 800"),
        ("limit packets=5 per=/33", 'per = "/33"'),
        ("limit packets=5 per=24", 'per = "24"'),
        ("drop sorce=10.0.0.0/8", "there is no option sorce"),
        ("drop sorce=10.0.0.0/8", "did you mean source?"),
        ("burn source=10.0.0.0/8", 'action = "burn"'),
        ("drop signature=dnss", 'signature = "dnss"'),
        ("drop source", "an action and then field=value pairs"),
        ("drop land=perhaps", 'land = "perhaps" is not usable: it must be true or false'),
    ],
)
def test_an_unusable_rule_is_told_by_field_value_and_mend(text, must):
    with pytest.raises(ConfigError) as told:
        Rule.from_text(text)
    assert must in str(told.value)


def test_every_problem_of_a_filter_is_told_at_once(tmp_path):
    path = tmp_path / "filter.toml"
    path.write_text(
        """
[filter]
default = "maybe"
signatures = "dns,dnss"
[[filter.sets]]
name = "one"
[[filter.rules]]
source = "@nobody"
[[filter.rules]]
ttl = "300"
"""
    )
    with pytest.raises(ConfigError) as told:
        FilterConfig.from_toml(path)
    lines = str(told.value).split("\n")
    for must in ("default = ", "signatures = ", "sets[0].prefixes is missing", "rules[1].ttl"):
        assert any(must in line for line in lines), told.value
    assert all(line.startswith(str(path)) for line in lines)


def test_unknown_sets_and_names_given_twice_are_refused():
    with pytest.raises(ConfigError, match=r"@nobody.*there is one"):
        FilterConfig(rules=(Rule(source="@nobody"),), sets=(Set(name="one", prefixes="::/0"),))
    with pytest.raises(ConfigError, match=r"rules.name"):
        FilterConfig(rules=(Rule(name="a"), Rule(name="a", ttl=3)))
    with pytest.raises(ConfigError, match=r"sets.name"):
        FilterConfig(sets=(Set(name="a", prefixes="::/0"), Set(name="a", prefixes="::/1")))


@given(rules())
@settings(max_examples=200, deadline=None)
def test_a_rule_reads_back_from_its_text(rule):
    assert Rule.from_text(rule.text()) == rule


@given(configs())
@settings(max_examples=60, deadline=None)
def test_a_filter_reads_back_from_its_toml(tmp_path_factory, config):
    path = tmp_path_factory.mktemp("filter") / "filter.toml"
    path.write_text(config.to_toml())
    assert FilterConfig.from_toml(path) == config


def test_lists_and_numbers_stand_for_text():
    rule = Rule(source=["10.0.0.0/8", "@one"], destination_port=[53, "80-90"], ttl=1)
    assert (rule.source, rule.destination_port, rule.ttl) == ("10.0.0.0/8,@one", "53,80-90", "1")


@pytest.mark.parametrize(
    ("of", "is_"), [("53,80-90", [(53, 53), (80, 90)]), ("1024-", [(1024, 65535)])]
)
def test_ranges(of, is_):
    assert fields.ranges(of, 65535) == is_
    assert fields.ranges(fields.range_text(is_), 65535) == is_
    inside = {n for low, high in is_ for n in range(low, high + 1)}
    left = {n for low, high in fields.complement(is_, 65535) for n in range(low, high + 1)}
    assert inside | left == set(range(65536))
    assert not inside & left


def test_only_what_rules_look_at_is_compiled_in():
    assert compile_filter(FilterConfig()).features == ("transport", "malformed_drop")
    found = compile_filter(FilterConfig(malformed="pass", rules=(Rule(source="10.0.0.0/8"),)))
    assert set(found.features) == {"source", "direct", "ip4"}
    found = compile_filter(
        FilterConfig(rules=(Rule(action="limit", packets=5, destination_port=53),))
    )
    asked = {"destination_port", "transport", "direct", "limits", "ip4", "ip6"}
    assert set(found.features) == {*asked, "malformed_drop"}


def test_every_signature_compiles_and_is_explained():
    found = compile_filter(FilterConfig(signatures="all"))
    assert found.names[: len(SIGNATURES)] == tuple(f"signature {name}" for name in SIGNATURES)
    assert all(each.help and each.but for each in SIGNATURES.values())


def test_more_rules_than_bits_are_refused():
    many = tuple(Rule(source=f"10.0.{i // 256}.{i % 256}") for i in range(513))
    with pytest.raises(ConfigError, match=r"rules = 513 .*at most 512"):
        compile_filter(FilterConfig(rules=many))
    assert compile_filter(FilterConfig(rules=many[:512])).rules == 512


def test_sets_come_from_files_beside_the_filter(tmp_path):
    (tmp_path / "bad.txt").write_text(
        "# a comment\n10.0.0.0/8 # and one\n\n2001:db8::/32\n192.0.2.1\n"
    )
    config = FilterConfig(sets=(Set(name="bad", file="bad.txt"),), rules=(Rule(source="@bad"),))
    assert compile_filter(config, folder=tmp_path).prefixes == 3
    with pytest.raises(ConfigError, match=r'sets.bad.file = "bad.txt"'):
        compile_filter(config, folder=tmp_path / "elsewhere")
    (tmp_path / "bad.txt").write_text("10.0.0.0/8\n10.0.0.1/8\n")
    with pytest.raises(ConfigError, match=r'bad.txt line 2 = "10.0.0.1/8"'):
        compile_filter(config, folder=tmp_path)


def test_a_limit_never_lets_more_through_than_was_asked_for():
    rule = Rule(action="limit", packets=3, burst=2, bits=7_000_000, per="/20,/48")
    row = compile_filter(FilterConfig(rules=(rule,))).arrays["rules"][0]
    assert row["packet_ns"] * 3 >= 1_000_000_000
    assert row["packet_burst_ns"] == 2 * row["packet_ns"]
    assert int(row["byte_ns"]) * 7_000_000 >= (8_000_000_000 << 20)
    assert row["mask4"] == 0xFFFFF000
    assert (row["mask6_high"], row["mask6_low"]) == (0xFFFFFFFFFFFF0000, 0)


@pytest.mark.parametrize(("count", "root_bits"), [(20_000, 16), (140_000, 24)])
def test_many_prefixes_of_one_rule_are_one_class(tmp_path, count, root_bits):
    rng = np.random.default_rng(5)
    lines = [f"{a}.{b}.{c}.0/24" for a, b, c in rng.integers(1, 223, (count, 3))]
    (tmp_path / "many.txt").write_text("\n".join(lines))
    config = FilterConfig(sets=(Set(name="many", file="many.txt"),), rules=(Rule(source="@many"),))
    found = compile_filter(config, folder=tmp_path)
    assert found.prefixes == count
    assert found.config["source_root_bits"] == root_bits
    root = found.arrays["from4_root"]
    assert set(np.unique(root[root < 1 << 31]).tolist()) <= {0, 1}  # no rule, or the first
    assert "vectors" not in found.arrays


def test_sets_come_from_a_mirror(tmp_path):
    (tmp_path / "list.txt").write_text("192.0.2.0/24\n2001:db8::/48\n")
    handler = partial(SimpleHTTPRequestHandler, directory=tmp_path)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/"
        rules = (Rule(source="@far"),)
        try:
            far = Set(name="far", url=url + "list.txt")
            assert compile_filter(FilterConfig(sets=(far,), rules=rules)).prefixes == 2
            gone = Set(name="far", url=url + "gone.txt")
            with pytest.raises(ConfigError, match=r"sets\.far\.url = .*a URL that answers .*404"):
                compile_filter(FilterConfig(sets=(gone,), rules=rules))
        finally:
            server.shutdown()
