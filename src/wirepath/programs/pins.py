"""Pins: names in a bpf file system that keep a chain when its processes have ended."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping
from pathlib import Path

from ..errors import PortError
from . import kernel

_SYSTEM = Path("/sys/fs/bpf")
_OWN = Path("/run/wirepath/bpf")  # where the system has mounted none
_BPF_MAGIC = 0xCAFE4A11


class _StatFs(ctypes.Structure):
    # struct statfs of 64-bit Linux; only the type is of interest.
    _fields_ = (("type", ctypes.c_long), ("rest", ctypes.c_byte * 256))


def _is_bpf(path: Path) -> bool:
    out = _StatFs()
    libc = ctypes.CDLL(None, use_errno=True)
    found = libc.statfs(os.fsencode(path), ctypes.byref(out)) == 0
    return found and bool(out.type == _BPF_MAGIC)


def folder(*, make: bool) -> Path | None:
    """wirepath's folder in a bpf file system, which is mounted where there is none (make).

    Raises :class:`PortError` where that is refused.
    """
    if _is_bpf(_SYSTEM):
        out = _SYSTEM / "wirepath"
    elif _is_bpf(_OWN):
        out = _OWN
    elif not make:
        return None
    else:
        if _mounts_end_with_us():
            raise PortError(
                "no bpf file system is to be seen, and what is mounted here would end with this "
                "command, as below ip netns exec (nsenter --net=/run/netns/NAME COMMAND keeps it)"
            )
        _OWN.mkdir(parents=True, exist_ok=True, mode=0o700)
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.mount(b"bpf", os.fsencode(_OWN), b"bpf", 0, b"mode=0700") != 0:
            why = os.strerror(ctypes.get_errno())
            raise PortError(
                f"there is no bpf file system, and none can be mounted on {_OWN}: {why} "
                "(mount -t bpf bpf /sys/fs/bpf)"
            )
        out = _OWN
    if make:
        out.mkdir(mode=0o700, exist_ok=True)
    return out if out.is_dir() else None


def _mounts_end_with_us() -> bool:
    """This is not the mount namespace of the first process: a mount is gone with its last user."""
    try:
        return Path("/proc/self/ns/mnt").readlink() != Path("/proc/1/ns/mnt").readlink()
    except OSError:  # not root, who may not mount either
        return False


def place_of(interface: str) -> str:
    """An interface's name is its network namespace's own."""
    return f"{interface}@{Path('/proc/thread-self/ns/net').stat().st_ino}"


def keep(interface: str, descriptors: Mapping[str, int]) -> Path:
    """Pin descriptors under their names. Returns the folder."""
    base = folder(make=True)
    assert base is not None
    # A bpf file system takes no dots at the beginning of a name, and nothing else amiss.
    place = base / place_of(interface)
    if not (place / "link").exists():
        _remove(place)  # what a process that was killed has left is another chain's
    place.mkdir(mode=0o700, exist_ok=True)
    for name, fd in descriptors.items():
        if not (place / name).exists():
            kernel.module().pin(fd, str(place / name))
    return place


def drop(interface: str) -> None:
    """Remove the pins of an interface."""
    base = folder(make=False)
    if base is not None:
        _remove(base / place_of(interface))


def kept(interface: str) -> bool:
    """Whether there are pins of an interface."""
    base = folder(make=False)
    return base is not None and (base / place_of(interface) / "link").exists()


def _remove(place: Path) -> None:
    if place.is_dir():
        for each in sorted(place.iterdir(), key=lambda one: one.name == "link"):  # it goes last
            each.unlink(missing_ok=True)
        place.rmdir()


def clean() -> list[str]:
    """Remove pins of interfaces that are gone; returns their names."""
    base = folder(make=False)
    gone = []
    for place in sorted(base.iterdir()) if base is not None else ():
        link = place / "link"
        if not place.is_dir() or not link.exists():
            continue
        held = kernel.module().XdpLink.pinned(str(link))
        if held is not None and held.ifindex == 0:
            _remove(place)
            gone.append(place.name)
    return gone
