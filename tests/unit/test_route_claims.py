"""Interfaces have one router at a time, and others find it; counters go over and back."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from wirepath import programs, telemetry
from wirepath.cells import CellGroups
from wirepath.errors import ConfigError, DeviceBusy
from wirepath.route import claims
from wirepath.route import end as route_end
from wirepath.route.claims import Claim, end, holder
from wirepath.route.published import groups_of, report_of

ELSEWHERE = """
import sys
from pathlib import Path
from wirepath.route import claims
claims._FOLDER = Path(sys.argv[1])
held = claims.Claim(["eth1", "eth2"], "xdp")
print("held", flush=True)
while not held.end_asked():
    if sys.argv[2] == "deaf":
        sys.stdin.read()
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
        "lan": {"packets": 8, "bytes": 800, "dropped": 2},
        "lan.7": {"packets": 0, "bytes": 0, "dropped": 0},
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


def test_of_very_many_next_hops_the_last_are_added_up() -> None:
    hop = REPORT["next_hops"][0]
    many = {**REPORT, "next_hops": [{**hop, "number": n} for n in range(1, 2001)]}
    groups = groups_of("r", many)
    cells = {f"{g}/{n}": v for g, values in groups.items() for n, v in values.items()}
    rows = report_of("r", cells)["next_hops"]
    assert len(rows) == 1025
    assert sum(row["packets"] for row in rows) == 2000 * hop["packets"]
    assert rows[-1]["kind"] == "others"
