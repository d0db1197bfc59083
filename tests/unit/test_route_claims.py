"""Interfaces have one router at a time, and others find it; counters go over and back."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from wirepath import programs, telemetry
from wirepath.cells import CellGroups
from wirepath.cli.route_run import _show
from wirepath.errors import ConfigError, DeviceBusy, PortError
from wirepath.route import claims
from wirepath.route import end as route_end
from wirepath.route.claims import Claim, end, holder
from wirepath.route.config import RouterConfig
from wirepath.route.published import _OF_AN_INTERFACE, collector, groups_of, report_of
from wirepath.route.report import RouterCollector
from wirepath.route.router import Router

ELSEWHERE = """
import sys
import time
from pathlib import Path
from wirepath.route import claims
claims._FOLDER = Path(sys.argv[1])
held = claims.Claim(["eth1", "eth2"], "xdp")
print("held", flush=True)
if sys.argv[2] == "deaf":
    sys.stdin.read()
while not held.end_asked():
    time.sleep(0.01)
held.ending()
held.release()
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(claims, "_FOLDER", tmp_path / "router")
    return tmp_path / "router"


@pytest.fixture
def elsewhere(folder: Path) -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """Another process that has eth1 and eth2."""
    made: list[subprocess.Popen[str]] = []

    def start(manner: str) -> subprocess.Popen[str]:
        child = subprocess.Popen(
            [sys.executable, "-c", ELSEWHERE, str(folder), manner],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        made.append(child)
        assert child.stdout is not None
        assert child.stdout.readline() == "held\n"
        return child

    yield start
    for child in made:
        child.kill()
        child.communicate()


def test_a_second_router_is_refused_and_told_of_the_first(elsewhere, folder: Path) -> None:
    child = elsewhere("deaf")
    with pytest.raises(DeviceBusy) as error:
        Claim(["eth0", "eth2"], "xdp")
    assert str(error.value) == (
        f"eth2 has a router already: that of process {child.pid} on eth1, eth2 runs "
        "(end it first: wirepath route stop eth2)"
    )
    # What it could have had is free again.
    assert holder("eth0") is None
    assert sorted(p.name.partition("@")[0] for p in folder.iterdir()) == ["eth1", "eth2"]
    found = holder("eth1")
    assert found is not None
    assert (found.pid, found.plane, found.interfaces) == (child.pid, "xdp", ("eth1", "eth2"))


def test_what_a_killed_process_had_is_free(elsewhere) -> None:
    child = elsewhere("deaf")
    os.kill(child.pid, signal.SIGKILL)
    child.wait(timeout=60)
    assert holder("eth1") is None
    held = Claim(["eth1", "eth2"], "user")
    found = holder("eth2")
    assert found is not None
    assert (found.pid, found.plane) == (os.getpid(), "user")
    held.release()
    assert holder("eth2") is None


def test_it_is_asked_to_end_and_ends(elsewhere, folder: Path) -> None:
    child = elsewhere("hearing")
    found = holder("eth2")
    assert found is not None
    end(found)
    assert child.wait(timeout=60) == 0
    assert list(folder.iterdir()) == []
    fresh = Claim(["eth1"], "xdp")  # that another one was asked is not meant for it
    assert not fresh.end_asked()
    fresh.release()


def test_one_that_does_not_end_is_told(elsewhere, monkeypatch: pytest.MonkeyPatch) -> None:
    child = elsewhere("deaf")
    monkeypatch.setattr(claims, "_SECONDS", 0.1)
    found = holder("eth1")
    assert found is not None
    with pytest.raises(DeviceBusy, match=rf"process {child.pid} was asked .*\(kill {child.pid}\)"):
        end(found)


def test_a_router_that_ends_is_waited_for() -> None:
    first = Claim(["eth1"], "xdp")
    with pytest.raises(DeviceBusy, match="runs"):  # also within one process
        Claim(["eth1"], "xdp")
    first.ending()
    got: list[Claim] = []
    second = threading.Thread(target=lambda: got.append(Claim(["eth1"], "xdp")))
    second.start()
    first.release()
    second.join(timeout=60)
    assert len(got) == 1
    assert not got[0].holder.ending
    got[0].release()


def test_what_is_left_is_taken_off_by_who_holds_the_claim(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else it might be a router that has begun meanwhile: one with --pin looks the same."""
    off: list[str] = []
    began: list[Claim] = []
    start = threading.Thread(target=lambda: began.append(Claim(["eth1"], "xdp")))

    def detach(name: str, slot: str) -> None:
        assert slot == "router"
        start.start()  # has to wait
        found = holder(name)
        assert found is not None
        assert (found.pid, found.ending) == (os.getpid(), True)
        assert not began
        off.append(name)

    monkeypatch.setattr(route_end, "is_left", lambda _: True)
    monkeypatch.setattr(programs, "detach", detach)
    assert list(route_end.end(["eth1"])) == ["no router on eth1 any more"]
    start.join(timeout=60)
    assert off == ["eth1"]
    assert not began[0].holder.ending
    # It had none when `route stop` looked, and has one now.
    with monkeypatch.context() as before:
        before.setattr(claims, "holder", lambda _: None)
        (said,) = route_end.end(["eth1"])
    assert said.startswith(f"left alone: eth1 has a router already: that of process {os.getpid()}")
    assert off == ["eth1"]
    began[0].release()


def test_all_interfaces_of_the_router_are_taken_off(
    elsewhere, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = elsewhere("hearing")
    off: list[str] = []
    monkeypatch.setattr(route_end, "is_left", lambda _: True)
    monkeypatch.setattr(programs, "detach", lambda name, _: off.append(name))
    said = list(route_end.end(["eth2"]))
    assert said == [
        f"process {child.pid} has ended its router on eth1, eth2",
        "no router on eth1 any more",
        "no router on eth2 any more",
    ]
    assert off == ["eth1", "eth2"]


@pytest.mark.parametrize(
    ("call", "number"), [("open", errno.EROFS), ("pwrite", errno.ENOSPC), ("open", errno.EMFILE)]
)
def test_what_cannot_be_written_is_told(
    folder: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    def refused(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    heard: list[str] = []
    user = RouterConfig(interfaces=("eth1",), plane="user", ports={"eth1": "af_xdp:eth2"})
    with monkeypatch.context() as full:
        full.setattr(claims.os, call, refused)
        with pytest.raises(PortError) as error:
            Claim(["eth1"], "xdp")
        assert str(folder) in str(error.value)
        assert f"can't be written: {os.strerror(number)}" in str(error.value)
        with pytest.raises(PortError):
            Router(RouterConfig(interfaces=("eth1",)))._claimed()
        # One in user space is by itself then.
        assert Router(user, heard=heard.append)._claimed() is None
    assert len(heard) == 1
    assert os.strerror(number) in heard[0]
    Claim(["eth1"], "xdp").release()


def test_one_that_cannot_say_that_it_is_ending_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    held = Claim(["eth1"], "xdp")
    who = held.holder
    with monkeypatch.context() as full:
        full.setattr(claims.os, "pwrite", refused)
        held.ending()
        with pytest.raises(PortError, match="can't be written: No space"):
            end(who)
    held.release()
    assert holder("eth1") is None


def test_as_many_interfaces_as_a_router_has() -> None:
    names = [f"interface-{number:05}" for number in range(255)]
    assert {len(name) for name in names} == {15}
    held = Claim(names, "xdp")
    found = holder(names[-1])
    assert found is not None
    assert found.interfaces == tuple(names)
    assert not held.end_asked()
    with pytest.raises(DeviceBusy, match=f"that of process {os.getpid()} on {names[0]}"):
        Claim([names[7]], "xdp")
    asked = threading.Thread(target=end, args=(found,))
    asked.start()
    while not held.end_asked():
        time.sleep(0.01)
    held.release()
    asked.join(timeout=60)
    assert not asked.is_alive()


def test_an_interface_is_a_routers_by_whatever_name(monkeypatch: pytest.MonkeyPatch) -> None:
    there = {"eth1": 5, "eth2": 6}
    monkeypatch.setattr(claims, "_index", lambda name: there.get(name, 0))
    held = Claim(["eth1", "eth2"], "xdp")
    there = {"lan": 5, "eth2": 6, "eth1": 7}  # renamed, and another one has its old name
    found = holder("lan")
    assert found == held.holder == holder("eth2")
    assert holder("eth1") is None
    with pytest.raises(DeviceBusy, match=r"lan has a router already.*route stop lan"):
        Claim(["lan"], "xdp-kernel-fib")
    with pytest.raises(DeviceBusy, match="lan has a router already"):
        Claim(["lan"], "user")
    other = Claim(["eth1"], "xdp")
    assert holder("eth1") == other.holder
    asked = threading.Thread(target=end, args=(found,))
    asked.start()
    while not held.end_asked():
        time.sleep(0.01)
    assert not other.end_asked()
    assert asked.is_alive()
    held.release()
    asked.join(timeout=60)
    assert holder("lan") is None
    assert holder("eth1") is not None
    other.release()


def test_an_interface_that_a_router_in_user_space_has_made_is_its_own(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there: dict[str, int] = {}
    monkeypatch.setattr(claims, "_index", lambda name: there.get(name, 0))
    held = Claim(["lan"], "user")
    there["lan"] = 9
    for plane in ("xdp", "user"):
        with pytest.raises(DeviceBusy, match="lan has a router already"):
            Claim(["lan"], plane)
    assert holder("lan") == held.holder
    held.release()
    driver = Claim(["lan"], "xdp")
    assert holder("lan") == driver.holder
    driver.release()
    assert list(folder.iterdir()) == []


def test_names_that_are_no_file_names() -> None:
    for name in ("a/b", "..", "x" * 300):
        held = Claim([name], "xdp")
        found = holder(name)
        assert found is not None
        assert found.interfaces == (name,)
        held.release()


REPORT: dict[str, Any] = {
    "counters": {"forwarded4": 5, "to_host_ttl": 1, "drop_blackhole": 2},
    "interfaces": {
        "lan": dict.fromkeys(sorted(_OF_AN_INTERFACE), 8),
        "lan.7": dict.fromkeys(sorted(_OF_AN_INTERFACE), 0),
    },
    "next_hops": [
        {
            "number": 3,
            "kind": "forward",
            "interface": "lan",
            "vlan": 7,
            "destination_mac": "02:00:00:00:00:01",
            "packets": 5,
            "bytes": 500,
        }
    ],
}


def test_counters_come_back_from_the_segment() -> None:
    cells = CellGroups()
    try:
        cells.write(groups_of("lan0", REPORT))
        found = telemetry.counters().counters
        assert report_of("lan0", found) == REPORT
        assert found["route/lan0/drop.blackhole"] == 2
        with pytest.raises(ConfigError, match="has not begun to count"):
            report_of("lan", found)
    finally:
        cells.close()
    assert not [name for name in telemetry.counters().counters if "/lan0/" in name]


def test_rows_that_are_being_published_are_left_out() -> None:
    """A reader sees the segment while its writer is in the middle of a group."""
    groups = groups_of("r", REPORT)
    every = [
        (f"{group}/{name}", n) for group, values in groups.items() for name, n in values.items()
    ]
    whole = {name: n for name, n in every if name.startswith("route/")}
    seen = set()
    for number in range(len(whole), len(every) + 1):
        found = report_of("r", dict(every[:number]))
        list(RouterCollector({"lan": partial(dict, found)}).collect())
        assert all(row.keys() == REPORT["next_hops"][0].keys() for row in found["next_hops"])
        assert all(row.keys() == _OF_AN_INTERFACE for row in found["interfaces"].values())
        _show(found)
        seen.add((len(found["interfaces"]), len(found["next_hops"])))
    assert seen == {(0, 0), (1, 0), (2, 0), (2, 1)}
    # Those that are going lack the first ones.
    last = dict(every[-1:]) | whole
    assert report_of("r", last)["next_hops"] == []


def test_series_are_those_of_the_router_that_runs_now() -> None:
    """The one in user space ends, and another begins: it has other cells."""

    def forwarded() -> list[float]:
        metrics = {m.name: m for m in series.collect()}
        samples = metrics["wirepath_router_outcome"].samples
        return [s.value for s in samples if s.labels["outcome"] == "forwarded4"]

    cells = CellGroups()
    first = Claim(["eth1"], "user")
    try:
        cells.write(groups_of(first.holder.label, REPORT))
        series = collector(["eth1"])
        assert forwarded() == [5.0]
        first.release()
        assert forwarded() == []
        second = Claim(["eth1"], "user")
        second.holder = replace(second.holder, label="another")
        second._write()
        assert forwarded() == []  # it has not begun to count
        counters = {**REPORT["counters"], "forwarded4": 6}
        cells.write(groups_of("another", {**REPORT, "counters": counters}))
        assert forwarded() == [6.0]
        second.release()
    finally:
        cells.close()
    with pytest.raises(ConfigError, match="eth1"):
        collector(["eth1"])


def test_of_very_many_next_hops_the_last_are_added_up() -> None:
    hop = REPORT["next_hops"][0]
    many = {**REPORT, "next_hops": [{**hop, "number": n} for n in range(1, 2001)]}
    groups = groups_of("r", many)
    cells = {f"{g}/{n}": v for g, values in groups.items() for n, v in values.items()}
    rows = report_of("r", cells)["next_hops"]
    assert len(rows) == 1025
    assert sum(row["packets"] for row in rows) == 2000 * hop["packets"]
    assert rows[-1]["kind"] == "others"
