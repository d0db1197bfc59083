"""`wirepath filter check`, `signatures`, `import` and `test`: nothing is put in force."""

from __future__ import annotations

from filter_check import write_pcap

from wirepath.filter import SIGNATURES, FilterConfig
from wirepath.frames import udp


def test_check_says_what_a_filter_comes_to(wirepath, tmp_path):
    (tmp_path / "bad.txt").write_text("10.0.0.0/8\n")
    path = tmp_path / "filter.toml"
    path.write_text(
        '[filter]\nsignatures = "xmas"\n[[filter.sets]]\nname = "bad"\nfile = "bad.txt"\n'
        '[[filter.rules]]\nsource = "@bad"\n'
    )
    rule = "pass destination_port=22 protocol=tcp"
    said = wirepath("filter", "check", "--config", path, "--rule", rule, "--json").json
    assert [each["name"] for each in said["order"]] == ["rule 1", "rule 2", "signature xmas"]
    assert said["order"][0]["rule"] == "pass protocol=tcp destination_port=22"
    assert (said["rules"], said["spelled_out"], said["prefixes"]) == (2, 5, 1)
    assert "source" in said["features"]
    assert "ttl" not in said["features"]
    assert wirepath("filter", "check", "--config", path).code == 0
    none = wirepath("filter", "check")
    assert none.code == 2
    assert "there is nothing to filter" in none.err
    bad = wirepath("filter", "check", "--rule", "drop ttl=300")
    assert bad.code == 2
    assert 'ttl = "300" is not usable' in bad.err


def test_check_says_what_syn_cookies_ask_of_the_host(wirepath, tmp_path):
    rule = ("--rule", "syncookie destination=192.0.2.1 destination_port=443")
    said = wirepath("filter", "check", *rule, "--json").json
    assert "cookies" in said["features"]
    assert said["syn_cookies"].startswith(("net.ipv4.tcp_syncookies = ", "not in this kernel"))
    capture = write_pcap(tmp_path / "one.pcap", [udp(b"x", dst=("239.1.1.1", 7000))])
    tried = wirepath("filter", "test", capture, *rule)
    assert tried.code == 2
    assert "action syncookie is for the driver (XDP) only" in tried.err


def test_signatures_are_listed_with_what_they_take_along(wirepath):
    said = wirepath("filter", "signatures", "--json").json
    assert list(said) == list(SIGNATURES)
    assert said["snmp"]["any_of"] == ["protocol=udp source_port=161 fragment=no,first"]


def test_import_writes_the_filter_and_names_the_rest(wirepath, tmp_path):
    path, out = tmp_path / "rules.v4", tmp_path / "filter.toml"
    path.write_text("*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -s 10.0.0.0/8 -j DROP\nCOMMIT\n")
    assert wirepath("filter", "import", path, "-o", out).code == 0
    assert FilterConfig.from_toml(out).rules[0].source == "10.0.0.0/8"
    path.write_text(path.read_text().replace("-s", "-i eth0 -s"))
    said = wirepath("filter", "import", path)
    assert said.code == 1
    assert "left out: -A INPUT -i eth0 -s 10.0.0.0/8 -j DROP" in said.err
    assert "-i has no equal" in said.err


def test_a_capture_is_tried_out(wirepath, tmp_path):
    sent = [udp(b"x", dst=("239.1.1.1", 7000 + i % 4), src=("10.0.0.1", 9)) for i in range(40)]
    capture = write_pcap(tmp_path / "sent.pcap", sent)
    rule = ("--rule", "drop name=one destination_port=7001")
    said = wirepath("filter", "test", capture, *rule, "--json").json
    assert (said["packets"], said["dropped"], said["differ"]) == (40, 10, 0)
    assert said["counts"]["one"]["dropped_packets"] == 10
    assert said["counters"]["drop.rule"] == 10
    shown = wirepath("filter", "test", capture, *rule)
    assert "10 (25.00%)" in shown.out
