# SPDX-License-Identifier: Apache-2.0
"""Network namespaces: make, remove, enter. A namespace belongs to a *thread* (setns(2)).

Work inside a namespace is done on a thread made for it, which dies there: the caller's thread
never leaves home, so no error can strand it, and no fork of a threaded process is needed.
"""

from __future__ import annotations

import ctypes
import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Final, TypeVar

from ._errors import LabError, LabUnavailable

T = TypeVar("T")

_CLONE_NEWNET: Final = 0x40000000
_THREAD_NETNS: Final = "/proc/thread-self/ns/net"
_CAPABILITIES: Final = {"CAP_NET_ADMIN": 12, "CAP_SYS_ADMIN": 21}  # bits, linux/capability.h

# os.setns and os.unshare exist from Python 3.12 on only.
_libc = ctypes.CDLL(None, use_errno=True)

_MEND: Final = "run it as root: sudo -E <the same command>"


def _checked(result: int, call: str) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{call}: {os.strerror(code)}")


def setns(fd: int) -> None:
    """Moves the calling thread into the network namespace behind `fd`."""
    _checked(_libc.setns(fd, _CLONE_NEWNET), "setns(CLONE_NEWNET)")


def effective_capabilities() -> int:
    """The CapEff mask of this process, from /proc/self/status (capabilities(7))."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return int(line.split()[1], 16)
    raise LabError("/proc/self/status has no CapEff line: is /proc mounted?")


def missing_capabilities() -> list[str]:
    """Which of the capabilities that a lab needs this process lacks."""
    effective = effective_capabilities()
    return [name for name, bit in _CAPABILITIES.items() if not effective >> bit & 1]


def lacking(capabilities: list[str]) -> str:
    """The words for missing capabilities, with the mend."""
    needed = " and ".join(capabilities)
    return f"this process lacks {needed} (to make namespaces and veth pairs); {_MEND}"


def on_thread(work: Callable[[], T]) -> T:
    """Runs `work` to its end on a fresh thread and gives back what it returned or raised."""
    done: list[T] = []
    failed: list[BaseException] = []

    def body() -> None:
        try:
            done.append(work())
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=body, name="wirepath-lab", daemon=True)
    thread.start()
    try:
        thread.join()
    except BaseException:
        # A signal's exception must not leave half-made work running behind the clean-up's back.
        thread.join()
        raise
    if failed:
        raise failed[0]
    return done[0]


def inside(netns: Path, work: Callable[[], T]) -> T:
    """Runs `work` on a fresh thread that has entered `netns`."""

    def body() -> T:
        fd = os.open(netns, os.O_RDONLY | os.O_CLOEXEC)
        try:
            setns(fd)
        finally:
            os.close(fd)
        return work()

    return on_thread(body)


def probe() -> str | None:
    """Why a namespace cannot be made here, or None. Tries it for real, and leaves nothing."""
    missing = missing_capabilities()
    if missing:
        return lacking(missing)

    def unshare() -> None:
        _checked(_libc.unshare(_CLONE_NEWNET), "unshare(CLONE_NEWNET)")

    try:
        on_thread(unshare)
    except OSError as error:
        return explain(error)
    return None


def explain(error: OSError) -> str | None:
    """The cause and the mend behind an errno that means "not on this machine", else None."""
    if error.errno in (errno.EPERM, errno.EACCES, errno.EROFS):
        return (
            f"{error}: CAP_NET_ADMIN and CAP_SYS_ADMIN are needed in the initial user namespace, "
            "and a writable /proc/sys and /run (in a container: docker run --privileged); " + _MEND
        )
    if error.errno == errno.EINVAL and "CLONE_NEWNET" in str(error):
        return f"{error}: the kernel has no network namespaces; it needs CONFIG_NET_NS=y"
    return None


def create(netns: Path) -> None:
    """Makes a network namespace and names it `netns`, as `ip netns add` does.

    Raises:
        FileExistsError: the name is taken.
    """
    from pyroute2 import netns as nsfile  # noqa: PLC0415 -- slow to import

    if netns.exists():
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(netns))

    def body() -> None:
        _checked(_libc.unshare(_CLONE_NEWNET), "unshare(CLONE_NEWNET)")
        nsfile.attach(str(netns), "thread-self")

    on_thread(body)


def is_namespace(netns: Path) -> bool:
    """True if the file is a mounted namespace, and not what a crash left before the mount."""
    try:
        return netns.stat().st_dev == Path("/proc/self/ns/net").stat().st_dev
    except FileNotFoundError:
        return False


def remove(netns: Path) -> None:
    """Takes the name away; the kernel frees the namespace when its last process has left."""
    from pyroute2 import netns as nsfile  # noqa: PLC0415 -- slow to import

    if netns.exists():
        nsfile.remove(str(netns))


class Entered:
    """A context manager that moves the calling thread into a namespace and back again."""

    def __init__(self, netns: Path) -> None:
        self._netns = netns
        self._home: int | None = None
        self._thread: int | None = None

    def __enter__(self) -> None:
        if self._home is not None:
            raise LabError("enter() is already in use: call host.enter() again for each `with`")
        try:
            there = os.open(self._netns, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise LabError(f"{self._netns} is gone: the lab is down") from error
        try:
            home = os.open(_THREAD_NETNS, os.O_RDONLY | os.O_CLOEXEC)
            try:
                setns(there)
            except BaseException:
                os.close(home)
                raise
        except PermissionError as error:
            raise LabUnavailable(f"cannot enter {self._netns}: {explain(error)}") from error
        finally:
            os.close(there)
        self._home, self._thread = home, threading.get_native_id()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        home, self._home = self._home, None
        if home is None:
            return
        try:
            if threading.get_native_id() != self._thread:
                raise LabError(
                    "enter() was left on another thread than it was entered on; the first "
                    "thread is still in the namespace (do not hold enter() across an await)"
                )
            setns(home)
        finally:
            os.close(home)
