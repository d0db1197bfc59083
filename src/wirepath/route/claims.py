"""Who routes between interfaces: a locked file for each, so that no two routers have the same one.

A router in the driver has the interface whatever it is called: the file is that of its number. One
in user space makes its interfaces itself, by their names.

The lock goes with its process, also after ``kill -9``. The file says which process it is and what
it does there; ``wirepath route stop`` asks for the end through it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import struct
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from urllib.parse import quote

from ..errors import DeviceBusy, PermissionDenied, PortError
from ..programs.pins import place_of

__all__ = ["Claim", "Holder", "end", "holder"]

_FOLDER = Path("/run/wirepath/router")
_ASKED = 1 << 16  # where others write whose end they want; what the holder says is before it
_SECONDS = 30.0
_PAUSE = 0.05


@dataclass(frozen=True)
class Holder:
    """A router that runs. interfaces: by their names at its start. label: its name among this
    process's, that of its counters. ending: it is about to let go of its interfaces. files: those
    that it has locked."""

    pid: int
    plane: str
    interfaces: tuple[str, ...]
    label: str
    ending: bool = False
    files: tuple[str, ...] = ()


class Claim:
    """The interfaces are this process's to route between, until :meth:`release`.

    Waits for a router that is ending.

    Args:
        interfaces: at least one.
        plane: that of the router.
        ending: soon free again, from the beginning: whoever wants them waits.

    Raises:
        DeviceBusy: another router has one of them. PermissionDenied, PortError: the files cannot
            be made.
    """

    def __init__(self, interfaces: Iterable[str], plane: str, *, ending: bool = False) -> None:
        names = tuple(dict.fromkeys(interfaces))
        self._files: list[tuple[Path, int]] = []
        self.holder = Holder(os.getpid(), plane, names, _label(names[0]), ending)
        try:
            with _told(_FOLDER):
                _FOLDER.mkdir(parents=True, exist_ok=True, mode=0o700)
            end = time.monotonic() + _SECONDS
            for path, name in sorted(_paths(names, plane)):  # in one order, whoever begins
                self._files.append((path, _take(path, name, end)))
            for name in names if plane != "user" else ():
                if not any(path == _path(name) for path, _ in self._files):
                    _let_go(_path(name), _take(_path(name), name, end))  # its maker would have it
            self.holder = replace(self.holder, files=tuple(path.name for path, _ in self._files))
            self._write()
        except BaseException:
            self.release()
            raise

    def _write(self) -> None:
        text = json.dumps(asdict(self.holder)).encode() + b"\n"
        for path, fd in self._files:
            with _told(path):
                os.pwrite(fd, text, 0)

    def end_asked(self) -> bool:
        """Somebody wants this router to end."""
        wanted = self.holder.pid.to_bytes(4, "little")
        return any(os.pread(fd, 4, _ASKED) == wanted for _, fd in self._files)

    def ending(self) -> None:
        """Tell that the interfaces will be free soon."""
        self.holder = replace(self.holder, ending=True)
        with contextlib.suppress(PortError):  # then who begins now is refused, and need not wait
            self._write()

    def release(self) -> None:
        """Let go of the interfaces."""
        for path, fd in self._files:
            _let_go(path, fd)
        self._files.clear()
        _labels.discard(self.holder.label)


def holder(interface: str) -> Holder | None:
    """The running router that has an interface of this network namespace; None where none does."""
    index = _index(interface)
    found = _holder_by(_path_of(index)) if index else None
    return found or _holder_by(_path(interface))


def _holder_by(path: Path) -> Holder | None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except PermissionError:
        raise PermissionDenied(f"{_FOLDER} can't be read (run as root)") from None
    try:
        return _said(fd) if _is_locked(fd) else None
    finally:
        os.close(fd)


def end(who: Holder) -> None:
    """Ask a router to end, and wait until it has let go of its interfaces.

    Raises:
        DeviceBusy: it does not. PortError: it cannot be asked.
    """
    paths = [_FOLDER / name for name in who.files]
    first = paths[0]
    with _told(first), contextlib.suppress(FileNotFoundError):
        fd = os.open(first, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.pwrite(fd, who.pid.to_bytes(4, "little"), _ASKED)
        finally:
            os.close(fd)
    limit = time.monotonic() + _SECONDS
    while any((now := _holder_by(path)) is not None and now.pid == who.pid for path in paths):
        if time.monotonic() > limit:
            raise DeviceBusy(
                f"process {who.pid} was asked to end its router on {', '.join(who.interfaces)} and "
                f"has not for {_SECONDS:g} s (kill {who.pid})"
            )
        time.sleep(_PAUSE)


# --- files ----------------------------------------------------------------------------------------
_labels: set[str] = set()


def _label(name: str) -> str:
    """One of a name's own, where a process has routers in several network namespaces."""
    label, number = name, 1
    while label in _labels:
        number += 1
        label = f"{name}~{number}"
    _labels.add(label)
    return label


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    """What the system refuses, as an error of ours."""
    try:
        yield
    except PermissionError:
        raise PermissionDenied(f"{_FOLDER} can't be written (run as root)") from None
    except OSError as error:
        raise PortError(
            f"{path} can't be written: {error.strerror} (routers are written down in {_FOLDER}, "
            "which needs a writable file system with some room)"
        ) from None


def _path(interface: str) -> Path:
    # What no interface can be called is told by whoever looks for it.
    return _FOLDER / place_of(quote(interface, safe="")[:64])


def _path_of(index: int) -> Path:
    return _FOLDER / place_of(f"#{index}")  # no name's: it would be quoted


def _index(interface: str) -> int:
    """The kernel's number of an interface; 0 where there is none of that name."""
    try:
        return socket.if_nametoindex(interface)
    except (OSError, ValueError):
        return 0


def _paths(names: Iterable[str], plane: str) -> Iterator[tuple[Path, str]]:
    """The files of interfaces for a router to lock, and whose each is."""
    for name in names:
        index = _index(name)
        if index:
            yield _path_of(index), name
        if not index or plane == "user":
            yield _path(name), name


def _let_go(path: Path, fd: int) -> None:
    with contextlib.suppress(OSError):
        path.unlink()  # while it is locked: nobody else's file has this name
    os.close(fd)


def _take(path: Path, name: str, end: float) -> int:
    """A locked descriptor of a file of an interface."""
    while True:
        with _told(path):
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if _lock(fd):
            if os.fstat(fd).st_nlink:
                os.ftruncate(fd, 0)  # what one that was killed has said
                return fd
            os.close(fd)  # its holder took the name away meanwhile
            continue
        who = _said(fd)
        os.close(fd)
        # Without a word it has begun just now, or has just ended.
        if (who is not None and not who.ending) or time.monotonic() > end:
            raise DeviceBusy(_busy(name, who))
        time.sleep(_PAUSE)


def _busy(name: str, who: Holder | None) -> str:
    if who is None:
        return f"another process is about to route {name} (try again)"
    doing = "is ending" if who.ending else "runs"
    return (
        f"{name} has a router already: that of process {who.pid} on {', '.join(who.interfaces)} "
        f"{doing} (end it first: wirepath route stop {name})"
    )


def _flock(kind: int) -> bytes:
    """struct flock of 64-bit Linux, of the first byte."""
    return struct.pack("hhqqi4x", kind, os.SEEK_SET, 0, 1, 0)


def _lock(fd: int) -> bool:
    """Of the open file, not of the process: two routers of one process are two as well."""
    try:
        fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _flock(fcntl.F_WRLCK))
    except (BlockingIOError, PermissionError):
        return False
    return True


def _is_locked(fd: int) -> bool:
    """Asked without taking the lock, which would be in a start's way."""
    found = fcntl.fcntl(fd, fcntl.F_OFD_GETLK, _flock(fcntl.F_WRLCK))
    return bool(struct.unpack("hhqqi4x", found)[0] != fcntl.F_UNLCK)


def _said(fd: int) -> Holder | None:
    text, _, rest = os.pread(fd, _ASKED, 0).partition(b"\n")
    del rest
    try:
        found = json.loads(text)
        lists = {name: tuple(found[name]) for name in ("interfaces", "files")}
        return Holder(**{**found, **lists})
    except (ValueError, TypeError, KeyError):
        return None
