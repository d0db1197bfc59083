"""A chain behind libxdp's dispatcher: who lets go of it, and when its root is taken out."""

from __future__ import annotations

import fcntl
import gc
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from wirepath.errors import DeviceBusy
from wirepath.programs import chain as chains
from wirepath.programs import dispatcher
from wirepath.programs.chain import Chain
from wirepath.programs.dispatcher import Share


class Native:
    """Stands for the kernel: a dispatcher in native mode on an interface, and a root behind it."""

    def __init__(self) -> None:
        self.root = False
        self.left = 0
        self.fails = 0
        self.Chain = SimpleNamespace(find=self.find)

    def builtin_object(self, name: str) -> bytes:
        return name.encode()

    def find(self, index: int) -> SimpleNamespace | None:
        there = SimpleNamespace(shared=True, root_id=7, slots=list, remove=lambda *_: None)
        return there if self.root else None

    def join_dispatcher(self, image: bytes, index: int, interface: str) -> None:
        self.root = True

    def leave_dispatcher(self, root: int, index: int, mode: str) -> None:
        if self.fails:
            self.fails -= 1
            raise DeviceBusy("libxdp says no")
        self.root = False
        self.left += 1


@pytest.fixture
def native(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Native:
    out = Native()
    there = SimpleNamespace(name=dispatcher.NAME, mode="native", wirepath=False)
    root = SimpleNamespace(name="wirepath_root", mode="native", wirepath=True)
    for module in (dispatcher, chains):
        monkeypatch.setattr(module, "attached", lambda _: [there, root] if out.root else [there])
    monkeypatch.setattr(dispatcher.kernel, "module", lambda: out)
    monkeypatch.setattr(dispatcher.kernel, "interface_index", lambda _: 5)
    monkeypatch.setattr(chains.pins, "clean", lambda: None)
    monkeypatch.setattr(dispatcher, "_FOLDER", tmp_path / "wirepath")
    return out


def test_the_last_object_that_goes_takes_the_root_out(native: Native) -> None:
    first, second = Chain("wp0"), Chain("wp0")
    del first
    gc.collect()
    assert native.root and native.left == 0
    del second
    gc.collect()
    assert not native.root and native.left == 1
    third = Chain("wp0")
    third.close()
    third.close()
    del third
    gc.collect()
    assert native.left == 2


def test_a_root_that_cannot_be_taken_out_is_tried_again(native: Native) -> None:
    chain = Chain("wp0")
    native.fails = 1
    with pytest.raises(DeviceBusy, match="libxdp says no"):
        chain.close()
    Chain("wp0").close()  # others can join and leave meanwhile
    assert native.root
    chain.close()
    assert not native.root and native.left == 1


def test_a_chain_that_cannot_be_made_leaves_nothing(
    native: Native, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(self: Chain) -> str:
        raise OSError("no netlink")

    before = len(list(Path("/proc/self/fd").iterdir()))
    monkeypatch.setattr(Chain, "_read_mode", fails)
    with pytest.raises(OSError, match="no netlink"):
        Chain("wp0", "native")
    assert not native.root and native.left == 1
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_what_is_dropped_in_the_middle_of_a_turn_waits_for_its_end(native: Native) -> None:
    share = Share("wp0", "auto")
    with dispatcher._turn():
        share.drop()
        assert native.root
    assert not native.root and native.left == 1


def test_a_forked_child_leaves_its_parents_part_alone(
    native: Native, monkeypatch: pytest.MonkeyPatch
) -> None:
    share = Share("wp0", "auto")
    with monkeypatch.context() as child:
        child.setattr(os, "getpid", lambda: -1)
        share.close()
    assert native.root
    with share._path.open() as lock, pytest.raises(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    share.close()
    assert native.left == 1
