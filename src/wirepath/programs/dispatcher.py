"""libxdp's dispatcher as the place of a chain's root: who joins, who holds it, who takes it out.

A root behind the dispatcher stays when its processes end; so each part in it holds a lock, which
ends with its process however that ends, and the last one that lets go takes the root out. One that
was killed cannot: that root stays until another part has joined and left it.
"""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ..errors import DeviceBusy, PermissionDenied, WirepathError
from . import kernel
from .attach import Attached, attached

_FOLDER = Path("/run/wirepath")
#: The dispatcher, by the name that the kernel has for it.
NAME = "xdp_dispatcher"


def on(interface: str) -> Attached | None:
    """The dispatcher on an interface."""
    return next((each for each in attached(interface) if each.name == NAME), None)


class Share:
    """A chain's part in the root behind the dispatcher of an interface, until :meth:`close`.

    Raises :class:`DeviceBusy` where joining is refused, with libxdp's words.
    """

    def __init__(self, interface: str, mode: str) -> None:
        self._interface = interface
        self._process = os.getpid()
        self._index = kernel.interface_index(interface)
        space = Path("/proc/thread-self/ns/net").stat().st_ino
        self._path = _FOLDER / f"dispatcher-{space}-{self._index}.lock"
        with _turn():
            self._fd = _open(self._path)
            try:
                fcntl.flock(self._fd, fcntl.LOCK_SH)
                self.chain = self._join(mode)
            except BaseException:
                if self._is_last():
                    self._path.unlink(missing_ok=True)
                os.close(self._fd)
                raise

    def _join(self, mode: str) -> Any:  # noqa: ANN401 -- _programs.Chain
        module = kernel.module()
        chain = module.Chain.find(self._index)
        if chain is not None:
            return chain
        there = on(self._interface)
        if there is not None and mode not in ("auto", there.mode):
            raise DeviceBusy(
                f"{self._interface} has libxdp's dispatcher in mode {there.mode}, and mode {mode} "
                f"was asked for (xdp-loader unload {self._interface} --all removes it)"
            )
        module.join_dispatcher(module.builtin_object("root"), self._index, self._interface)
        chain = module.Chain.find(self._index)
        if chain is None:
            raise DeviceBusy(
                f"{self._interface} has libxdp's dispatcher, which did not take the chain's root "
                f"beside the others (xdp-loader status {self._interface})"
            )
        return chain

    def close(self) -> None:
        """Let go; the last one takes the root out of the dispatcher. Where that fails nothing has
        changed, and it can be called again; once it is done it does nothing."""
        if self._fd < 0 or self._process != os.getpid():  # a forked child has the parent's lock
            return
        with _turn():
            try:
                if self._is_last():
                    there = on(self._interface)
                    chain = kernel.module().Chain.find(self._index) if there else None
                    if there is not None and chain is not None and chain.shared:
                        kernel.module().leave_dispatcher(chain.root_id, self._index, there.mode)
                    self._path.unlink(missing_ok=True)
            except BaseException:
                fcntl.flock(self._fd, fcntl.LOCK_SH)  # or whoever joins would wait for ever
                raise
            os.close(self._fd)
            self._fd = -1

    def drop(self) -> None:
        """:meth:`close`, for when nobody uses it any more: that may be found out in the middle of
        another's turn in this very thread, and then waits for its end."""
        if _thread.turns:
            _thread.dropped.append(self)
        else:
            self.close()

    def _is_last(self) -> bool:
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


class _Thread(threading.local):
    """Whether it is this thread's turn, and what was dropped meanwhile."""

    def __init__(self) -> None:
        self.turns = False
        self.dropped: list[Share] = []


_thread = _Thread()


@contextmanager
def _turn() -> Iterator[None]:
    """Parts join and leave one after the other."""
    fd = _open(_FOLDER / "dispatcher.lock")
    _thread.turns = True
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)
        _thread.turns = False
        while _thread.dropped:
            with suppress(OSError, WirepathError):  # there is nobody left to be told
                _thread.dropped.pop().close()


def _open(path: Path) -> int:
    try:
        _FOLDER.mkdir(mode=0o755, exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except PermissionError:
        raise PermissionDenied(f"{path} can't be opened (run as root)") from None
