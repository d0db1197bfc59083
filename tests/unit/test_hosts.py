"""The host's end of a port: what is refused without asking the kernel, and accounts."""

from __future__ import annotations

import pytest

from wirepath.errors import ConfigError
from wirepath.hosts import HostPort, mac_of
from wirepath.route.config import RouterConfig
from wirepath.route.user import Account, UserPlane


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"mac": "eight"}, 'mac = "eight"'),
        ({"mac": "01:00:00:00:00:01"}, "first byte is even"),
        ({"mtu": -1}, "mtu = -1"),
        ({"queues": 1 << 40}, "queues"),
    ],
)
def test_unusable_values_are_named(options: dict[str, object], names: str) -> None:
    with pytest.raises(ConfigError, match=names):
        HostPort("t0", **options)  # type: ignore[arg-type]


def test_the_address_of_an_interface_is_read_and_of_none_is_none() -> None:
    assert mac_of("lo") == "00:00:00:00:00:00"
    assert mac_of("") is None
    assert mac_of("there-is-no-such") is None


def test_an_account_says_what_is_missing() -> None:
    exact = Account(100, 7, 50, 40, {"drop_blackhole": 10}, {"wan.drop.tx_ring_full": 7})
    assert exact.missing == 0
    assert Account(100, 7, 50, 40, {"drop_blackhole": 10}).missing == 7


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"interfaces": ["lan"], "plane": "user"}, "ports"),
        ({"interfaces": ["lan"], "plane": "user", "ports": {"wan": "null:"}}, "ports"),
        ({"interfaces": ["lan"], "ports": {"lan": "null:"}}, "ports"),
        ({"interfaces": ["lan"], "addresses": {"lan": ["10.0.0.1/8"]}}, "addresses"),
        ({"interfaces": ["lan"], "plane": "user", "ports": {"lan": 7}}, "ports"),
        ({"interfaces": ["lan"], "plane": "user", "workers": 0}, "workers"),
    ],
)
def test_a_configuration_that_does_not_fit_is_refused(
    options: dict[str, object], names: str
) -> None:
    with pytest.raises(ConfigError, match=names):
        RouterConfig(**options)  # type: ignore[arg-type]


def test_a_plane_refuses_ports_that_take_no_whole_frames_and_cores_that_do_not_fit() -> None:
    with pytest.raises(ConfigError, match="cores"):
        UserPlane({"lan": "null:"}, workers=2, cores=[0])
    with pytest.raises(ConfigError, match=r"workers = 2 .*the queues of null:"):
        UserPlane({"lan": "null:"}, workers=2)
