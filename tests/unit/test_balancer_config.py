"""The balancer's configuration: TOML in and out, and what is said of a mistake."""

from __future__ import annotations

from pathlib import Path

import pytest

from wirepath.balancer.config import BalancerConfig
from wirepath.errors import ConfigError

TEXT = """
[balancer]
interface = "wp0"
mode = "gue"

[[balancer.vip]]
name = "web"
address = "192.0.2.10"
port = 443

[[balancer.vip]]
name = "dns"
address = "2001:db8::/64"
protocol = "udp"
port = 53
servers = ["b"]
check_through = "direct"

[[balancer.server]]
name = "a"
address = "10.0.0.1"

[[balancer.server]]
name = "b"
address = "fd00::2"
weight = 3
mode = "dsr"
mac = "02:00:00:00:00:07"
"""


def test_a_file_and_back(tmp_path: Path) -> None:
    path = tmp_path / "lb.toml"
    path.write_text(TEXT)
    config = BalancerConfig.from_toml(path)
    assert [s.name for s in config.servers_of(config.vip[0])] == ["a", "b"]
    assert [s.name for s in config.servers_of(config.vip[1])] == ["b"]
    assert config.mode_of(config.server[0]) == "gue"
    assert config.mode_of(config.server[1]) == "dsr"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('interface = "wp0"', "", "interface is missing"),
        ('mode = "gue"', 'mode = "vxlan"', 'mode = "vxlan" is not usable'),
        ('mode = "gue"', "table_size = 65536", "table_size = 65536 .*a prime"),
        ('mode = "gue"', 'announce = "frr"', "announce_as is missing"),
        ('mode = "gue"', "mtu = 1000", "mtu = 1000 .* from 1280 to 65535"),
        ("port = 443", 'port = 443\nprotocol = "any"', "port = 443 .* 0 with protocol any"),
        ("port = 443", "port = 443\nquic = true", "quic = True"),
        ("port = 443", "", r"vip\[0\].check_port is missing"),
        ("port = 443", "port = 443\ncheck_timeout = 5.0", "check_timeout = 5.0 .* check_interval"),
        ('check_through = "direct"', "", r'vip\[1\].check_through = "tunnel"'),
        ('servers = ["b"]', 'servers = ["bb"]', r'vip\[1\].servers = "bb" .*did you mean b'),
        ('servers = ["b"]', 'servers = "b"', r"vip\[1\].servers .* a list of names"),
        ('name = "dns"', 'name = "web"', "vip.name = .web. .* different for each"),
        ("2001:db8::/64", "2001:db8::1/64", "without host bits"),
        ("10.0.0.1", "10.0.0.256", r'server\[0\].address = "10.0.0.256"'),
        ("02:00:00:00:00:07", "01:00:5e:00:00:07", "mac = .01:00:5e:00:00:07."),
        ("weight = 3", "weight = 10001", "weight = 10001 .* from 0 to 10000"),
        ("weight = 3", "wieght = 3", "there is no option wieght .*did you mean weight"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert old in TEXT
    path = tmp_path / "lb.toml"
    path.write_text(TEXT.replace(old, new))
    with pytest.raises(ConfigError, match=said):
        BalancerConfig.from_toml(path)


def test_two_services_of_the_same_address_and_port() -> None:
    vip = {"address": "192.0.2.1", "port": 80}
    with pytest.raises(ConfigError, match=r"192\.0\.2\.1 tcp 80"):
        BalancerConfig(interface="x", vip=[vip | {"name": "a"}, vip | {"name": "b"}])
