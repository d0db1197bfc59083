# SPDX-License-Identifier: Apache-2.0
"""Settings of interfaces in results: read by ethtool netlink, compared, and shown."""

from __future__ import annotations

import errno
import os

from bench_results import repeats, result
from browser import Elements

from wirepath import bench
from wirepath.bench import nic
from wirepath.machine import Link, Pause, Wired
from wirepath.machine._messages import LinkmodesMessage, PauseMessage
from wirepath.machine._wired import wired_of


class Answers:
    """Messages by the number of their question; a number is an errno."""

    def __init__(self, answers):
        self._answers = answers

    def ask(self, family, message, *, dump=False):
        assert family == "ethtool"
        answer = self._answers[message["cmd"]]
        if isinstance(answer, int):
            raise OSError(answer, os.strerror(answer))
        return [answer]


def encoded(kind, *attributes):
    message = kind()
    message["attrs"] = [list(each) for each in attributes]
    message.encode()
    return bytes(message.data)


def test_what_a_wired_interface_tells():
    answers = {
        4: encoded(LinkmodesMessage, ("AUTONEG", 1), ("SPEED", 25000), ("DUPLEX", 1)),
        21: encoded(PauseMessage, ("AUTONEG", 0), ("RX", 1), ("TX", 0)),
    }
    found = wired_of(Answers(answers), Link("eno1", 2), "16.35.1012")
    pause = Pause(negotiated=False, rx=True, tx=False)
    assert found == Wired(25000, "full", True, pause, "16.35.1012")


def test_an_interface_without_a_wire():
    answers = {4: encoded(LinkmodesMessage, ("SPEED", 0xFFFFFFFF), ("DUPLEX", 255)),
               21: errno.EOPNOTSUPP}  # fmt: skip
    assert wired_of(Answers(answers), Link("x", 2)) == Wired()


def test_the_loopback_for_real():
    found = nic.settings("lo")
    assert found["interface"] == "lo"
    assert found["mtu"] >= 1280
    assert found["link"]["carrier"] is True
    assert found["rings"] is None
    assert "loopback" in found["features_on"]
    assert nic.settings("no-such-if") is None
    assert nic.settings("") is None


def made(rx=256, gro=True, **changes):
    out = {
        "interface": "eth1", "driver": "mlx5_core", "firmware": "16.35", "mtu": 1500,
        "link": {"carrier": True, "speed_mbit": 25000, "duplex": "full", "negotiated": True},
        "pause": {"negotiated": False, "rx": True, "tx": True},
        "rings": {"rx": rx, "rx_max": 8192, "tx": 256, "tx_max": 8192},
        "coalesce": {"rx-usecs": 8, "adaptive-rx": 1},
        "features_on": ["rx-checksum", *(["rx-gro"] if gro else [])],
        "features_changeable": ["rx-gro", "rx-lro"],
    }  # fmt: skip
    return out | changes


def test_differences_by_name():
    assert nic.differences(made(), made()) == {}
    assert nic.differences(made(), made(rx=4096, gro=False)) == {
        "ring rx": ("256", "4096"),
        "feature rx-gro": ("on", "off"),
    }
    assert nic.differences(made(), made(mtu=None)) == {"mtu": ("1500", "–")}
    assert nic.differences(None, made()) == {}  # a result from before they were kept


def pair():
    end = {"spec": "af_xdp:eth1", "cpu_core": 1, "info": {"mode": "native"}}
    sender = {"via": "socket:eth1", "cpu_core": 0, "nic": made()}
    a = result(repeats(1000), receiver=end | {"nic": made()}, sender=sender)
    b = result(repeats(500), receiver=end | {"nic": made(rx=4096)}, sender=sender)
    return a, b


def test_a_comparison_names_what_differs():
    both = bench.compare(*pair())
    assert both.nics == (("receiver's ring rx", "256", "4096"),)
    assert both.to_dict()["nics"] == [
        {"setting": "receiver's ring rx", "a": "256", "b": "4096"}
    ]  # fmt: skip
    assert bench.compare(*(r for r in (pair()[0], pair()[0]))).nics == ()


def test_the_page_marks_what_differs():
    rows = {
        attributes["data-setting"]: attributes.get("class")
        for attributes, _ in Elements(bench.page(*pair())).having("data-setting")
    }
    assert rows["receiver's NIC: ring rx"] == "differs"
    assert rows["receiver's NIC: ring tx"] is None
    assert rows["sender's NIC: firmware"] is None
    assert rows["machine: governor"] is None
    assert "receiver's NIC: feature rx-gro" not in rows  # alike: dozens would hide the rest


def test_compare_shows_them(tmp_path, wirepath):
    paths = [each.save(tmp_path / f"{i}.json") for i, each in enumerate(pair())]
    done = wirepath("bench", "compare", *paths)
    assert done.code == 0, done.err
    assert "interfaces differ" in done.out
    assert "4096" in done.out


def test_a_result_has_them(tmp_path):
    setup = bench.Setup("socket:lo", via="socket:lo,tx_only=true")
    load = bench.Load(bench.Shape.of(100, rate=500.0), seconds=0.1, repeats=1, warmup=0)
    path = bench.baseline(setup, load).save(tmp_path / "a.json")
    read = bench.Result.load(path)
    for end in (read.receiver, read.sender):
        assert end["nic"]["interface"] == "lo"
        assert end["nic"]["features_on"]
