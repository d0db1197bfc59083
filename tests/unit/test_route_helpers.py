"""What the labs of the router have in common fails where it must, and ends."""

from __future__ import annotations

import signal
import subprocess
from typing import Any

import bgp_events
import bgp_processes
import pytest
import route_follow
from _pytest.outcomes import Failed, Skipped
from route_answers import judge_refusal
from route_follow import Follower, Notes, Watched
from route_lab import in_the_machine, unsupported

from wirepath.errors import PortError, StateError
from wirepath.route import HopKind
from wirepath.route.config import RouterConfig

CHANGED = "dictionary changed size during iteration"
DEAF = """
import json, signal, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
for line in sys.stdin:
    print(json.dumps({"asked": json.loads(line)["what"]}), flush=True)
"""


def test_what_the_machine_should_have_is_no_skip(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WIREPATH_VM", raising=False)
    assert not in_the_machine()
    with pytest.raises(Skipped, match=r"^unsupported: no such link"):
        unsupported("no such link")
    monkeypatch.setenv("WIREPATH_VM", "vfio-pci")
    assert in_the_machine()
    with pytest.raises(Failed, match="no such link"):
        unsupported("no such link")


class Walker(Follower):
    """Raises these, one after the other, and answers then."""

    def __init__(self, *errors: Exception) -> None:
        config = RouterConfig(interfaces=("eth1",))
        self.router = Watched(config, Notes())
        self.errors = list(errors)

    def walk(self) -> dict[str, Any]:
        if self.errors:
            raise self.errors.pop(0)
        return {"walked": True}


def test_a_router_that_has_ended_is_not_followed_in_silence() -> None:
    follower = Walker()
    assert follower.router is not None
    assert follower.follow() is False
    follower.router._ended.set()
    with pytest.raises(StateError, match="has ended"):
        follower.follow()
    follower.router._error = PortError("the kernel says no")
    with pytest.raises(PortError, match="says no"):
        follower.follow()
    follower.errors = [RuntimeError(CHANGED)]
    with pytest.raises(PortError, match="says no"):
        follower.answer("walk")


def test_what_changes_meanwhile_is_walked_through_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(route_follow, "_PAUSE", 0.0)
    follower = Walker(*[RuntimeError(CHANGED)] * 3)
    assert follower.answer("walk") == {"walked": True}
    follower.errors = [RuntimeError(CHANGED)] * 1000
    with pytest.raises(RuntimeError, match="during iteration"):
        follower.answer("walk")
    assert len(follower.errors) == 1000 - route_follow._TRIES
    # No other error comes of that.
    for error in (StateError("not started"), RuntimeError("something else")):
        follower.errors = [error]
        with pytest.raises(RuntimeError, match=str(error)):
            follower.answer("walk")


def test_what_is_waited_for_is_told_before_the_test_takes_too_long(
    pytestconfig: pytest.Config,
) -> None:
    whole = float(pytestconfig.getini("timeout"))
    assert max(bgp_events.ALL_ROUTES, bgp_events.SETTLED) < whole


def test_a_process_that_does_not_hear_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    class Here:
        def popen(self, host: str, command: list[str], **options: Any) -> subprocess.Popen[bytes]:
            assert host == "r"
            return subprocess.Popen(command, **options)

    monkeypatch.setattr(bgp_processes, "_SECONDS", 0.1)
    deaf = bgp_processes.Asked(Here(), "-c", DEAF)  # type: ignore[arg-type]
    assert deaf.ask("heard") == {"asked": "heard"}
    deaf.close()
    assert deaf._child.returncode == -signal.SIGKILL


@pytest.mark.parametrize(
    ("errno", "kinds", "judged"),
    [
        (22, [HopKind.BLACKHOLE], (True, "blackhole")),
        (113, [HopKind.UNREACHABLE], (True, "unreachable")),
        (13, [HopKind.PROHIBIT], (True, "prohibit")),
        (113, [], (True, "none")),
        (101, [], (True, "none")),
        (13, [], (False, "none")),
        (22, [HopKind.FORWARD], (False, "none")),
        (101, [HopKind.UNREACHABLE], (False, "none")),
    ],
)
def test_what_the_kernel_refuses_is_judged(
    errno: int, kinds: list[HopKind], judged: tuple[bool, str]
) -> None:
    assert judge_refusal(errno, kinds) == judged
