"""Every mistake that a configuration can hold, and what is said of it."""

from __future__ import annotations

import math
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

import wirepath as wp
from wirepath.feed_config import RecoveryConfig
from wirepath.publish import PublishConfig

LIVE = {"backend": "socket", "host": "239.1.1.1", "port": 9001}

BAD = {
    "backend": ["sokcet", "", 3, None],
    "interface_name": ["an-interface-name-too-long", "eth 0", "a/b", "eth0:1", 7],
    "host": ["", "239.1.1", "group", 5, "239.1.1.256"],
    "port": [0, -1, 65536, "9001", 9001.0, True],
    "rx_ring_size": [0, -64, 63, 100, 1000, 32, 1 << 21, 2048.0, "2048", True, None],
    "batch_size": [0, -1, 4097, 32.5, "32", True, None],
    "cpu_core": [-1, 1024, 0.0, "0", True],
    "enable_zero_copy": [1, 0, "true", None],
    "enable_numa_awareness": [1, "yes", None],
    "zero_copy_threshold": [-1, 65537, 64.0, "64", None],
    "poll_timeout_us": [0, -5, 10_000_001, 100.0, "100", None],
    "idle": ["nap", "", True, None],
    "session": ["12345678901", "sessión", 7, None],
    "next_sequence": [-1, 1 << 64, 1.0, "1", None],
    "channel": [-1, 65536, "1", None],
    "session_date": ["2023-13-01", "yesterday", 20230822.5, "1969-12-31", "2262-01-01"],
    "options": ["mode=native", 3, {"mode": [1]}, {"mode": None}],
}


def problems_of(**values: object) -> list[str]:
    with pytest.raises(wp.ConfigError) as caught:
        wp.IngestionConfig(**values)
    return str(caught.value).split("\n")


def test_the_defaults_are_those_of_the_field():
    config = wp.IngestionConfig(**LIVE)
    assert (config.rx_ring_size, config.batch_size) == (2048, 32)
    assert config.cpu_core is None
    assert config.enable_zero_copy is True
    assert config.enable_numa_awareness is True
    assert config.zero_copy_threshold == 64
    assert config.poll_timeout_us == 100
    assert config.port_spec == "socket:"
    assert str(config.flow) == "udp 239.1.1.1:9001"


@pytest.mark.parametrize(
    ("field", "value"), [(field, value) for field, values in BAD.items() for value in values]
)
def test_an_unusable_value_is_named_with_its_field_and_what_is_allowed(field, value):
    (line,) = problems_of(**{**LIVE, field: value})
    assert line.startswith(field)
    shown = f'"{value}"' if isinstance(value, str) else repr(value)
    if not isinstance(value, dict):
        assert f"{field} = {shown} is not usable: it must be " in line
    assert len(line.split("must be ")[1]) > 5


def test_every_field_has_its_mistakes_here():
    assert set(BAD) == set(wp.IngestionConfig.model_fields) - {"capture"}


def test_all_problems_are_told_at_once():
    lines = problems_of(backend="socket", port=0, batch_size=0, idle="nap", bogus=1)
    assert [line.split()[0] for line in sorted(lines)] == ["batch_size", "idle", "port", "there"]


def test_a_batch_larger_than_the_ring():
    (line,) = problems_of(**LIVE, rx_ring_size=64, batch_size=65)
    assert line == "batch_size = 65 is not usable: it must be at most rx_ring_size, which is 64"
    assert wp.IngestionConfig(**LIVE, rx_ring_size=64, batch_size=64).batch_size == 64


def test_an_unknown_option_and_what_was_probably_meant():
    (line,) = problems_of(**LIVE, rx_ringsize=64)
    assert "there is no option rx_ringsize" in line
    assert "did you mean rx_ring_size?" in line


def test_a_misspelt_backend_and_what_was_probably_meant():
    (line,) = problems_of(**{**LIVE, "backend": "sockets"})
    assert "did you mean socket?" in line
    assert "af_xdp" in line


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"backend": "socket"}, "port is missing"),
        ({"backend": "af_xdp", "port": 1}, "interface_name is missing"),
        ({"backend": "pcap"}, "capture is missing"),
        ({"backend": "pcap", "capture": ""}, "capture"),
        ({"backend": "pcap", "capture": "x", "interface_name": "lo"}, "interface_name"),
        ({"backend": "null", "interface_name": "lo"}, "interface_name"),
        ({**LIVE, "capture": "x.pcap"}, "only pcap replays"),
        ({**LIVE, "options": {"rx_ring_size": "64"}}, "given as rx_ring_size"),
        (
            {**LIVE, "enable_zero_copy": False, "options": {"zero_copy": "require"}},
            "enable_zero_copy = False",
        ),
    ],
)
def test_fields_that_do_not_go_together(values, said):
    (line,) = problems_of(**values)
    assert said in line


def test_a_configuration_does_not_change():
    config = wp.IngestionConfig(**LIVE)
    with pytest.raises(ValueError, match="frozen"):
        config.port = 1
    assert config.replace(port=2).port == 2
    with pytest.raises(wp.ConfigError, match="port = 0"):
        config.replace(port=0)


# --- TOML --------------------------------------------------------------------------------------
def test_toml_and_back(tmp_path):
    config = wp.IngestionConfig(
        **LIVE,
        interface_name="eth0",
        batch_size=64,
        cpu_core=1,
        session='a"b\\c',
        session_date=date(2023, 8, 22),
        options={"ttl": 3, "loop": False, "timestamps": "poll"},
    )
    path = tmp_path / "feed.toml"
    path.write_text(config.to_toml())
    assert wp.IngestionConfig.from_toml(path) == config


@given(
    session=st.text(st.characters(max_codepoint=127, min_codepoint=0), max_size=10),
    batch=st.integers(1, 64),
    options=st.dictionaries(
        st.text(min_size=1, max_size=8),
        st.one_of(st.text(max_size=8), st.booleans(), st.integers(-9, 9), st.floats(-1e6, 1e6)),
        max_size=3,
    ).filter(lambda o: not {"rx_ring_size", "zero_copy"} & set(o)),
)
def test_any_configuration_survives_toml(tmp_path_factory, session, batch, options):
    config = wp.IngestionConfig(**LIVE, session=session, batch_size=batch, options=options)
    path = tmp_path_factory.mktemp("toml") / "x.toml"
    path.write_text(config.to_toml(), encoding="utf-8")
    assert wp.IngestionConfig.from_toml(path) == config


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[ingestion]\nport = \n", "line 2"),
        ("[ingestion\nport = 1\n", "line 1"),
        ("port = 1\n", "no table [ingestion]: it holds [port]"),
        ("", "it holds nothing"),
        ("ingestion = 3\n", "no table [ingestion]"),
        ("[ingestion]\nprot = 9001\n", "did you mean port?"),
        ("[ingestion]\nport = 0\n", "port = 0 is not usable"),
        ("[ingestion]\nport = 9001\nbatch_size = 4096\n", "at most rx_ring_size"),
    ],
)
def test_a_file_with_a_mistake(tmp_path, text, said):
    path = tmp_path / "feed.toml"
    path.write_text(text)
    with pytest.raises(wp.ConfigError) as caught:
        wp.IngestionConfig.from_toml(path)
    assert said in str(caught.value)
    assert all(str(path) in line for line in str(caught.value).split("\n"))


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(wp.ConfigError, match=r"nowhere\.toml cannot be read: No such file"):
        wp.IngestionConfig.from_toml(tmp_path / "nowhere.toml")


def test_a_file_that_is_no_text(tmp_path):
    path = tmp_path / "x.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(wp.ConfigError, match="is not TOML"):
        wp.IngestionConfig.from_toml(path)


# --- port specs --------------------------------------------------------------------------------
def test_a_port_spec_as_configuration():
    config = wp.IngestionConfig.from_spec(
        "af_xdp:eth0,mode=native,rx_ring_size=512", host="239.1.1.1", port=9001
    )
    assert (config.backend, config.interface_name) == ("af_xdp", "eth0")
    assert config.rx_ring_size == 512
    assert config.options == {"mode": "native"}
    capture = wp.IngestionConfig.from_spec("pcap:/a,b.pcap,speed=2", options={"loop": 3})
    assert capture.capture == "/a,b.pcap"
    assert capture.options == {"speed": "2", "loop": 3}
    assert capture.flow.is_everything


def test_a_port_spec_with_a_ring_size_that_is_none():
    with pytest.raises(wp.ConfigError, match='rx_ring_size = "many"'):
        wp.IngestionConfig.from_spec("af_xdp:eth0,rx_ring_size=many", port=1)


# --- publishing --------------------------------------------------------------------------------
PUBLISH_BAD = {
    "source": [""],
    "host": ["group", "*", ""],
    "port": [0, 65536, "1"],
    "via": ["eth0", "", ":eth0"],
    "rate": [0, -1, 2e9, "fast", math.nan],
    "packet_rate": [0, 2e9],
    "speed": [0, -1.0, 1e7],
    "fast": [1, "yes"],
    "messages": [0, 15, 1.5],
    "seed": [-1, 1 << 64],
    "symbols": [0, 20_001],
    "day_burst": [0, 101],
    "flow": ["239.1.1.1", "239.1.1.1:0", "x:1", "239.1.1.1:9001"],
    "session": ["", "12345678901", "é"],
    "first_sequence": [0, (1 << 63) + 1],
    "max_payload": [71, 65508],
    "max_messages": [0, 65535],
    "pack_window_us": [-1, 10_000_001],
    "heartbeat": [-1, 3601],
    "linger": [-0.1, 3601],
    "end_of_session": [-1, 1001],
    "end_of_session_interval": [-1, 61],
    "ttl": [-1, 256],
    "loop": [1, "no"],
    "source_host": ["here"],
    "source_port": [-1, 65536],
    "destination_mac": ["02:00", "zz:00:00:00:00:01"],
    "cpu_core": [-1, 1024],
    "burst": [0, 1025],
    "on_refused": ["wait", ""],
    "spin_us": [-1, 1_000_001],
    "line": ["239.1.1.1:9001", 5, [5], ["239.1.1.1:9001"] * 17],
    "reset_at": [1, 0, (1 << 63) + 1],
    "reset_by": ["silence", ""],
    "rollover_at": [1, 1.5],
    "next_session": ["", "12345678901", "é"],
    "rollover_end": [1, "no"],
    "changeover": [-1, 3601, "x"],
    "history_mb": [3, (1 << 20) + 1],
    "retransmit": ["here", "127.0.0.1", "127.0.0.1:0", "*:9500", "239.1.1.1:9500"],
    "retransmit_rate": [-1, 0.0001, 2e6],
    "retransmit_delay_us": [-1, 60_000_001],
    "retransmit_loss": [-0.1, 1.1],
    "retransmit_silent": [1, "no"],
    "soup": ["here", "ff15::1:9500", "[ff15::1]:9500"],
    "glimpse": ["localhost:9500"],
    "username": ["toolong", "é"],
    "password": ["12345678901", "\t"],
    "serve_linger": [-1, 3601],
}


@pytest.mark.parametrize(
    ("field", "value"), [(f, value) for f, values in PUBLISH_BAD.items() for value in values]
)
def test_an_unusable_value_of_a_publisher(field, value):
    with pytest.raises(wp.ConfigError) as caught:
        PublishConfig(**{field: value})
    lines = str(caught.value).split("\n")
    assert len(lines) == 1
    secret = field == "password"
    assert lines[0].startswith(f"{field} is not usable" if secret else f"{field} = ")
    assert "it must be" in lines[0]


@pytest.mark.parametrize(
    "make",
    [
        lambda: PublishConfig(password="hunter2"),
        lambda: PublishConfig(glimpse="127.0.0.1:9500", password="hunter2hunter2"),
        lambda: PublishConfig(glimpse="127.0.0.1:9500", pasword="hunter2"),
        lambda: RecoveryConfig(kind="glimpse", server="h:1", password="hunter2hunter2"),
        lambda: RecoveryConfig(kind="glimpse", server="h:1", passphrase="hunter2"),
        lambda: wp.feed.SoupBinTCP("me", "hunter2hunter2"),
    ],
)
def test_no_message_has_a_password(make):
    with pytest.raises(wp.ConfigError, match="pas") as caught:
        make()
    assert "hunter2" not in str(caught.value)


def test_no_configuration_shows_its_password():
    recovery = RecoveryConfig(kind="glimpse", server="h:1", password="hunter2")
    publish = PublishConfig(glimpse="127.0.0.1:9500", password="hunter2")
    assert "hunter2" not in repr(recovery) + repr(publish)


def test_every_field_of_a_publisher_has_its_mistakes_here():
    assert set(PUBLISH_BAD) == set(PublishConfig.model_fields)


def test_two_paces_at_once():
    with pytest.raises(wp.ConfigError, match="left out where rate is given"):
        PublishConfig(rate=1.0, speed=1.0)
    with pytest.raises(wp.ConfigError, match="fast = True"):
        PublishConfig(packet_rate=1.0, fast=True)


@pytest.mark.parametrize(
    ("values", "kind", "pacing"),
    [
        ({}, "generated", {"pacing": "messages", "rate": 100_000.0}),
        ({}, "capture", {"pacing": "original", "speed": 1.0}),
        ({"rate": 5}, "capture", {"pacing": "messages", "rate": 5.0}),
        ({"speed": 2}, "generated", {"pacing": "original", "speed": 2.0}),
        ({"packet_rate": 9}, "itch file", {"pacing": "packets", "rate": 9.0}),
        ({"fast": True}, "itch file", {"pacing": "fast"}),
    ],
)
def test_the_pace_that_options_stand_for(values, kind, pacing):
    assert PublishConfig(**values).pacing(kind) == pacing
