"""Who joins libxdp's dispatcher, holds a chain there, and takes it out; the kernel is a fake."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

import wirepath as wp
from wirepath.programs import dispatcher
from wirepath.programs.attach import Attached


class Kernel:
    """An interface with libxdp's dispatcher, and whether a root is behind it."""

    def __init__(self) -> None:
        self.joined = False
        self.calls: list[str] = []
        self.refuses = ""
        self.Chain = SimpleNamespace(find=self._find)

    def _find(self, _index: int) -> object:
        return SimpleNamespace(shared=True, root_id=7) if self.joined else None

    def builtin_object(self, name: str) -> bytes:
        assert name == "root"
        return b"root"

    def join_dispatcher(self, image: bytes, index: int, interface: str) -> None:
        assert (image, index, interface) == (b"root", 3, "wp0")
        if self.refuses:
            raise wp.DeviceBusy(self.refuses)
        assert not self.joined
        self.joined = True
        self.calls.append("join")

    def leave_dispatcher(self, program: int, index: int, mode: str) -> None:
        assert (program, index, mode) == (7, 3, "generic")
        assert self.joined
        self.joined = False
        self.calls.append("leave")


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Kernel:
    made = Kernel()
    there = Attached("generic", 5, dispatcher.NAME, "", "netlink", False)
    monkeypatch.setattr(dispatcher, "_FOLDER", tmp_path)
    monkeypatch.setattr(dispatcher, "attached", lambda _interface: [there])
    monkeypatch.setattr(dispatcher.kernel, "module", lambda: made)
    monkeypatch.setattr(dispatcher.kernel, "interface_index", lambda _interface: 3)
    return made


def test_the_first_joins_and_the_last_leaves(kernel: Kernel) -> None:
    first, second = dispatcher.Share("wp0", "auto"), dispatcher.Share("wp0", "generic")
    assert kernel.calls == ["join"]
    first.close()
    assert kernel.calls == ["join"]
    third = dispatcher.Share("wp0", "auto")
    second.close()
    assert kernel.calls == ["join"]
    third.close()
    assert kernel.calls == ["join", "leave"]
    dispatcher.Share("wp0", "auto").close()
    assert kernel.calls == ["join", "leave"] * 2


def test_a_killed_process_holds_nothing(kernel: Kernel) -> None:
    child = os.fork()
    if child == 0:
        dispatcher.Share("wp0", "auto")
        os.kill(os.getpid(), 9)
    assert os.waitpid(child, 0)[1] == 9
    kernel.joined = True  # what it joined stays in the kernel
    share = dispatcher.Share("wp0", "auto")
    assert kernel.calls == []
    share.close()
    assert kernel.calls == ["leave"]


def test_a_refusal_holds_nothing_either(kernel: Kernel, tmp_path: Path) -> None:
    kernel.refuses = "this kernel forbids it"
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(wp.DeviceBusy, match="forbids"):
        dispatcher.Share("wp0", "auto")
    with pytest.raises(wp.DeviceBusy, match="in mode generic, and mode native was asked"):
        dispatcher.Share("wp0", "native")
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    assert [path.name for path in tmp_path.iterdir()] == ["dispatcher.lock"]
    kernel.refuses = ""
    dispatcher.Share("wp0", "auto").close()
    assert kernel.calls == ["join", "leave"]
