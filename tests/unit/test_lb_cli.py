"""``wirepath lb`` where no balancer runs: what it says of a configuration, and of a mistake."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

TEXT = """
[balancer]
interface = "lo"
[[balancer.vip]]
name = "web"
address = "192.0.2.10"
port = 443
[[balancer.server]]
name = "a"
address = "10.0.0.1"
[[balancer.server]]
name = "b"
address = "10.0.0.2"
weight = 3
"""


def test_check_says_what_part_each_server_gets(
    wirepath: Callable[..., Any], tmp_path: Path
) -> None:
    path = tmp_path / "lb.toml"
    path.write_text(TEXT)
    answer = wirepath("lb", "check", path, "--json")
    assert answer.code == 0, answer.err
    part = answer.json["vips"][0]["shares"]
    assert abs(part["a"] - 0.25) < 1e-4
    assert abs(part["b"] - 0.75) < 1e-4
    shown = wirepath("lb", "check", path)
    assert "web: 192.0.2.10 tcp port 443" in shown.out
    assert "75.0" in shown.out


def test_mistakes_are_one_line_and_no_traceback(
    wirepath: Callable[..., Any], tmp_path: Path
) -> None:
    path = tmp_path / "lb.toml"
    path.write_text(TEXT.replace("port = 443", "port = 70000"))
    answer = wirepath("lb", "check", path)
    assert answer.code == 2
    assert "vip[0].port = 70000 is not usable" in answer.err
    missing = wirepath("lb", "check", tmp_path / "none.toml")
    assert missing.code == 2
    assert "cannot be read" in missing.err
    nobody = wirepath("lb", "drain", "a", "--interface", "no-such-if")
    assert nobody.code != 0
    assert "wirepath lb run FILE starts one" in nobody.err
    endpoint = wirepath("lb", "decap", "lo", "--endpoint", "10.0.0.256", "--vip", "192.0.2.1")
    assert endpoint.code == 2
    assert 'endpoint = "10.0.0.256"' in endpoint.err
    for answer in (missing, nobody, endpoint):
        assert "Traceback" not in answer.err
