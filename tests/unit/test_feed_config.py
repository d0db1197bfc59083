# SPDX-License-Identifier: Apache-2.0
"""The TOML of a feed: what it says when it is wrong, and that the documented one is right."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import wirepath as wp
from wirepath.feed_config import ChannelConfig, RecoveryConfig

DOCS = Path(__file__).resolve().parent.parent.parent / "docs" / "feeds.md"

WRONG = """
[feed]
backend = "socket"
ring_capacty = 4
[[channel]]
name = "a"
types = ["A", 0x45]
[[channel.line]]
group = "239.1.1.1"
port = 0
[[channel.line]]
grup = "239.1.1.2"
port = 9001
[channel.recovery]
kind = "moldudp"
server = "127.0.0.1"
[[channel]]
name = "b"
protocol = "ich"
line = [{ group = "239.1.1.2", port = 9001 }]
[[sink]]
kind = "parket"
"""


def test_every_mistake_is_told_at_once_with_its_path(tmp_path):
    path = tmp_path / "feed.toml"
    path.write_text(WRONG)
    with pytest.raises(wp.ConfigError) as caught:
        wp.FeedConfig.from_toml(path)
    lines = str(caught.value).split("\n")
    assert all(line.startswith(f"{path}: ") for line in lines)
    told = [line.removeprefix(f"{path}: ") for line in lines]
    for start in (
        "feed: there is no option ring_capacty (given as ring_capacty = 4) (did you mean ring_cap",
        "channel[0].line[0].port = 0 is not usable: it must be a whole number from 1 to 65535",
        "channel[0].line[1].group is missing: it must be an IPv4",
        "channel[0].line[1]: there is no option grup (given as grup = '239.1.1.2') (did you mean",
        'channel[0].recovery[0].kind = "moldudp" is not usable: it must be mold_udp64, pitch, iex',
        'channel[0].recovery[0].server = "127.0.0.1" is not usable: it must be HOST:PORT',
        'channel[1].protocol = "ich" is not usable: it must be itch (MoldUDP64',
        'sink[0].kind = "parket" is not usable: it must be one of',
    ):
        assert sum(line.startswith(start) for line in told) == 1, start
    assert len(told) == 8


LINE = {"group": "239.1.1.1", "port": 9001}
SERVER = {"server": "127.0.0.1:9100"}
LOOP = {"kind": "cme_snapshot", "line": [{"group": "239.1.1.1", "port": 9002}]}


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"line": [LINE, LINE]}, "line[1].port = 9001 is not usable: it must be of another flow"),
        (
            {"line": [LINE | {"name": "X"}, LINE | {"port": 1, "name": "X"}]},
            'line[1].name = "X" is not usable',
        ),
        ({"line": []}, "line = () is not usable: it must be 1 to 16 tables"),
        ({"recovery": {"kind": "iex", **SERVER}}, "mold_udp64 or glimpse with protocol itch"),
        (
            {"recovery": [{"kind": "mold_udp64", **SERVER}] * 2},
            "it must be the only one for requests",
        ),
        ({"recovery": {"kind": "pitch", **SERVER}}, "line is missing"),
        ({"protocol": "iex", "session": "S"}, "left out with protocol iex"),
        ({"protocol": "cme"}, "schema_file is missing"),
        (
            {"protocol": "cme", "schema_file": "x", "types": ["46"], "recovery": LOOP},
            "types = ",
        ),
        (
            {
                "protocol": "cme",
                "schema_file": "x",
                "arbiter": {"in_order": False},
                "recovery": LOOP,
            },
            "arbiter.in_order = ",
        ),
        ({"protocol": "iex", "recovery": LOOP}, "iex with protocol iex"),
        ({"protocol": "iex", "session_date": "2024-01-31"}, "left out with protocol iex"),
        ({"arbiter": {"hold": 1}}, "arbiter: there is no option hold"),
        ({"types": ["AB"]}, "types = "),
    ],
)
def test_what_does_not_go_together(values, told):
    with pytest.raises(wp.ConfigError, match=re.escape(told)):
        ChannelConfig(**{"name": "c", "line": [LINE]} | values)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"kind": "glimpse", "hold_ns": 5}, "left out with kind glimpse"),
        ({"kind": "mold_udp64", "line": [LINE]}, "left out with kind mold_udp64"),
        ({"kind": "glimpse", "password": "a", "password_env": "B"}, "left out beside password"),
        ({"kind": "iex", "backoff": 30.0}, "at most max_backoff, which is 10"),
        ({"kind": "pitch", "line": [LINE], "username": "FIRMS"}, "at most 4 ASCII"),
        ({"kind": "mold_udp64", "server": None}, "server is missing"),
        ({"kind": "mold_udp64", "held_records": 5}, "held_records = 5"),
        ({"kind": "cme_snapshot", "server": None}, "line is missing"),
        ({"kind": "cme_snapshot", "line": [LINE]}, "server = .* there is no server to ask"),
        (LOOP | {"server": None, "hold_ns": 5}, "hold_ns = 5"),
        (LOOP | {"server": None, "password": "hush"}, "password = .* no server"),
    ],
)
def test_servers_that_make_no_sense(values, told):
    with pytest.raises(wp.ConfigError, match=told):
        RecoveryConfig(**SERVER | values)


def test_a_password_from_the_environment(monkeypatch):
    config = RecoveryConfig(kind="glimpse", password_env="WP_TEST_SECRET", **SERVER)
    monkeypatch.delenv("WP_TEST_SECRET", raising=False)
    with pytest.raises(wp.ConfigError, match="export WP_TEST_SECRET="):
        config.secret()
    monkeypatch.setenv("WP_TEST_SECRET", "hush")
    assert config.secret() == "hush"
    assert "hush" not in repr(config)


def test_channels_and_sinks_of_one_name_and_flow():
    channel = {"name": "c", "line": [LINE]}
    sink = {"kind": "npy", "name": "s", "folder": "x"}
    with pytest.raises(wp.ConfigError) as caught:
        wp.FeedConfig(channel=[channel, channel], sink=[sink, sink])
    told = str(caught.value)
    for start in ("channel[1].name", "channel[1].line[0].port", "sink[1].name"):
        assert start in told
    with pytest.raises(wp.ConfigError, match=r"channel\[0\]\.line\[0\]\.interface is missing"):
        wp.FeedConfig(feed={"backend": "af_xdp"}, channel=[channel])


def test_the_documented_file_runs(tmp_path, monkeypatch):
    (text,) = re.findall(r"^```toml\n(.*?)^```", DOCS.read_text(), re.DOTALL | re.MULTILINE)
    path = tmp_path / "feed.toml"
    path.write_text(text)
    monkeypatch.chdir(tmp_path)
    config = wp.FeedConfig.from_toml(path)
    assert [channel.name for channel in config.channel] == ["nasdaq", "tops"]
    with wp.FeedClient(config) as client:
        client.start_ingestion()
        assert client.run(max_seconds=0.3) is False
    assert [c["name"] for c in client.summary()["channels"]] == ["nasdaq", "tops"]
    assert client.backend_info["backend"] == "socket"
