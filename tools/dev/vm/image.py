# SPDX-License-Identifier: Apache-2.0
"""What the machine boots: a Debian kernel, and an initramfs that mounts the host's files.

Both come from packages that are unpacked below build/vm; nothing of them is installed.
"""

from __future__ import annotations

import lzma
import os
import platform
import re
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..shell import BUILD, DevError, Words, capture, logged, say, show_tail
from ..system import look_up, which

FOLDER = BUILD / "vm"
LOG = "vm-packages"
INIT = Path(__file__).with_name("init")

_KERNEL_META = "linux-image-amd64"
_BUSYBOX = "busybox-static"

# What each of them needs is loaded before it.
_MODULES = (
    "virtio_pci",
    "9pnet_virtio",
    "9p",
    "virtio_console",
    "virtio_net",
    "e1000e",
    "vmxnet3",
    "uio_pci_generic",
    "vfio_iommu_type1",
    "vfio_pci",
    # Links of the labs.
    "veth",
    "tun",
    "8021q",
    "vrf",
)


@dataclass(frozen=True)
class Image:
    """Files that QEMU boots from."""

    kernel: Path
    initramfs: Path
    version: str
    """The kernel's, as `uname -r` gives it."""


def _unpacked(package: str) -> Path:
    """The package's files, below build/vm; fetched once."""
    folder = FOLDER / package
    if folder.exists():
        return folder
    part = FOLDER / f"{package}.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    say(f"fetching {package}")
    fetch: Words = ["sh", "-c", f'cd "$1" && apt-get -q download {package}', "sh", part]
    if logged(LOG, fetch, append=True)[0] != 0:
        show_tail(LOG, 10)
        raise DevError(
            f"apt-get could not download {package}, which the virtual machine boots: apt-get "
            "update, with Debian's main component among apt's sources, then again"
        )
    (archive,) = part.glob("*.deb")
    files = part / "files"
    if logged(LOG, ["dpkg-deb", "-x", archive, files], append=True)[0] != 0:
        raise DevError(f"{archive.name} could not be unpacked: build/log/{LOG}.log")
    files.rename(folder)
    shutil.rmtree(part)
    return folder


def _version(package: Path) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", package.name)]


def _kernel_package() -> str:
    """The package with the kernel: the one fetched before, or the newest in apt's lists."""
    had = sorted(FOLDER.glob("linux-image-*-amd64"), key=_version)
    if had:
        return had[-1].name
    if platform.machine() != "x86_64":
        raise DevError(f"--vm needs x86-64, and this is {platform.machine()}")
    if which("apt-get") is None or which("dpkg-deb") is None:
        raise DevError("--vm takes its kernel from Debian's packages: apt-get and dpkg-deb needed")
    look_up(_KERNEL_META)
    words = re.compile(r"Depends: (linux-image-\d\S*-amd64)\b")
    found = words.search(capture(["apt-cache", "depends", _KERNEL_META])[1])
    if found is None:
        raise DevError(
            f"apt's lists do not have {_KERNEL_META}: apt-get update, with Debian's main "
            "component among apt's sources"
        )
    return found[1]


def _canonical(name: str) -> str:
    return name.replace("-", "_")


def _read_module(path: Path) -> bytes:
    data = path.read_bytes()
    return lzma.decompress(data) if path.suffix == ".xz" else data


def _in_order(folder: Path, wanted: tuple[str, ...]) -> Iterator[tuple[str, bytes]]:
    """Modules by name, each after those that its own `depends` names."""
    files = {_canonical(path.name.split(".ko")[0]): path for path in folder.rglob("*.ko*")}
    seen: set[str] = set()

    def load(name: str) -> Iterator[tuple[str, bytes]]:
        name = _canonical(name)
        if name in seen or name not in files:  # what is not a file is built into the kernel
            return
        seen.add(name)
        data = _read_module(files[name])
        depends = re.search(rb"\0depends=([^\0]*)\0", data)
        for other in (depends[1].decode() if depends else "").split(","):
            yield from load(other)
        yield name, data

    for name in wanted:
        yield from load(name)


def _cpio(entries: Iterator[tuple[str, int, bytes]]) -> bytes:
    """An archive in the format "newc" (initramfs buffer format of the kernel's documentation)."""
    out = bytearray()

    def pad() -> None:
        out.extend(bytes(-len(out) % 4))

    def add(number: int, name: str, mode: int, data: bytes) -> None:
        fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0)
        out.extend(b"070701" + b"".join(b"%08x" % field for field in fields))
        out.extend(name.encode() + b"\0")
        pad()
        out.extend(data)
        pad()

    number = 0
    for number, (name, mode, data) in enumerate(entries, start=1):
        add(number, name, mode, data)
    add(number + 1, "TRAILER!!!", 0, b"")
    return bytes(out)


def _entries(busybox: Path, modules: list[tuple[str, bytes]]) -> Iterator[tuple[str, int, bytes]]:
    for folder in ("bin", "modules", "host", "proc", "sys", "dev"):
        yield folder, stat.S_IFDIR | 0o755, b""
    yield "init", stat.S_IFREG | 0o755, INIT.read_bytes()
    yield "bin/busybox", stat.S_IFREG | 0o755, busybox.read_bytes()
    for name, data in modules:
        yield f"modules/{name}.ko", stat.S_IFREG | 0o644, data
    order = "".join(f"{name}\n" for name, _ in modules)
    yield "modules/order", stat.S_IFREG | 0o644, order.encode()


def make() -> Image:
    """Kernel and initramfs, made where they are not there yet."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    files = _unpacked(_kernel_package())
    (kernel,) = files.glob("boot/vmlinuz-*")
    version = kernel.name.removeprefix("vmlinuz-")
    folders = [files / base / "modules" / version for base in ("lib", "usr/lib")]
    folder = next(path for path in folders if path.exists())
    modules = list(_in_order(folder, _MODULES))
    builtin = _canonical((folder / "modules.builtin").read_text())
    had = {name for name, _ in modules}
    lacking = [name for name in _MODULES if name not in had and f"/{name}.ko" not in builtin]
    if lacking:
        raise DevError(f"the kernel {version} comes without {', '.join(lacking)}")
    busybox = next(
        path
        for path in _unpacked(_BUSYBOX).rglob("bin/busybox")
        if path.is_file() and os.access(path, os.X_OK)
    )
    initramfs = FOLDER / "initramfs.cpio"
    initramfs.write_bytes(_cpio(_entries(busybox, modules)))
    return Image(kernel, initramfs, version)
