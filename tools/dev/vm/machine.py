# SPDX-License-Identifier: Apache-2.0
"""The virtual machine: its devices, its life, what it says on its console."""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from ..shell import DevError
from .image import Image

QEMU = "qemu-system-x86_64"

_MEMORY_MB = 1536
_HUGE_PAGES = 192  # of 2 MiB
_NICS = ("e1000e", "vmxnet3")
_FIRST_SLOT = 3


def _nics(sink: int) -> Iterator[str]:
    """Each NIC under test and, at the other end of its wire, one for the guest's kernel.

    A third end leads to a port of this machine's loopback that nobody reads: QEMU holds a
    sender up for good once no end of its wire takes a frame.
    """
    for number, model in enumerate(_NICS, start=1):
        slot = _FIRST_SLOT + number - 1
        lost = f"udp=127.0.0.1:{sink},localaddr=127.0.0.1:0"
        yield from ("-netdev", f"socket,id=sink-{model},{lost}")
        yield from ("-netdev", f"hubport,id=drain-{model},hubid={number},netdev=sink-{model}")
        for end, device, where in (
            ("nic", model, slot),
            ("peer", "virtio-net-pci", slot + len(_NICS)),
        ):
            name = f"{end}-{model}"
            mac = f"02:00:00:00:{'01' if end == 'nic' else '02'}:{slot:02x}"
            more = ",host_mtu=9000,romfile=" if end == "peer" else ",romfile="
            yield from ("-netdev", f"hubport,id=wire-{name},hubid={number}")
            yield from (
                "-device",
                f"{device},id={name},netdev=wire-{name},mac={mac},addr={where:#x}{more}",
            )


def _arguments(image: Image, folder: Path, sink: int, *, iommu: bool) -> Iterator[str]:
    # An IOMMU that translates what vfio-pci drives, and nobody else's.
    kernel = "console=ttyS0 quiet loglevel=2 panic=-1 hugepages=" + str(_HUGE_PAGES)
    yield from ("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot")
    yield from ("-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", "max")
    yield from ("-smp", "2", "-m", str(_MEMORY_MB), "-serial", "chardev:console")
    if iommu:
        kernel += " intel_iommu=on iommu=pt"
        yield from ("-device", "intel-iommu")
    yield from ("-kernel", str(image.kernel), "-initrd", str(image.initramfs), "-append", kernel)
    yield from _nics(sink)  # first, for what names no slot takes one that is free
    share = "local,security_model=none,multidevs=remap"
    yield from ("-fsdev", f"{share},id=host,path=/,readonly=on")
    yield from ("-device", "virtio-9p-pci,fsdev=host,mount_tag=host")
    yield from ("-fsdev", f"{share},id=shared,path={folder / 'shared'}")
    yield from ("-device", "virtio-9p-pci,fsdev=shared,mount_tag=shared")
    # The tests pull the cable: QEMU's monitor is a character device of the guest.
    monitor = f"path={folder / 'monitor'}"
    yield from ("-chardev", f"socket,id=monitor,{monitor},server=on,wait=off")
    yield from ("-mon", "chardev=monitor,mode=control")
    yield from ("-chardev", f"socket,id=remote,{monitor}", "-device", "virtio-serial-pci")
    yield from ("-device", "virtserialport,chardev=remote,name=monitor")


@contextlib.contextmanager
def _running(
    command: list[str], console: int, complaints: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """QEMU with the writing end of a pipe for the console, which it has to itself from then on."""
    with complaints.open("wb") as said:
        process = subprocess.Popen(
            # Also where this process is killed: an emulated machine takes a whole core.
            ["setpriv", "--pdeathsig", "KILL", *command],
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            pass_fds=(console,),
        )
    os.close(console)
    try:
        yield process
    finally:
        process.kill()  # where it has not ended by itself
        process.wait()


class Machine:
    """One boot; `command` is a shell script that runs among the host's files, as root."""

    def __init__(self, image: Image, command: str, *, iommu: bool) -> None:
        self._image = image
        self._iommu = iommu
        self._folder = tempfile.TemporaryDirectory(prefix="wirepath-vm-")
        self.shared = Path(self._folder.name) / "shared"
        self.shared.mkdir()
        (self.shared / "command").write_text(command)
        self.code: int | None = None
        """The command's exit code; None: it did not come to its end."""

    def __enter__(self) -> Machine:
        return self

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()

    def console(self, seconds: float) -> Iterator[str]:
        """Runs it to its end and gives the console's lines; after `seconds` it is ended."""
        end = time.monotonic() + seconds
        folder = Path(self._folder.name)
        complaints = folder / "complaints"  # of its devices' models, too, which nobody need see
        with contextlib.ExitStack() as stack:
            sink = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            sink.bind(("127.0.0.1", 0))  # held, so that it is nobody else's, and never read
            port = sink.getsockname()[1]
            reader, writer = os.pipe()
            pipe = stack.enter_context(os.fdopen(reader, "rb", buffering=0)).fileno()
            command = [
                *(QEMU, "-chardev", f"file,id=console,path=/dev/fd/{writer}"),
                *_arguments(self._image, folder, port, iommu=self._iommu),
            ]
            process = stack.enter_context(_running(command, writer, complaints))
            ready = stack.enter_context(selectors.DefaultSelector())
            ready.register(pipe, selectors.EVENT_READ)
            partial = b""
            while True:
                left = end - time.monotonic()
                if left <= 0 or not ready.select(left):
                    yield from _lines(partial)
                    raise DevError(
                        f"the virtual machine was ended after {seconds:.0f} s: a longer "
                        "--vm-minutes, or see in build/log where it stood"
                    )
                data = os.read(pipe, 65536)
                if not data:
                    break
                *whole, partial = (partial + data).split(b"\n")
                for line in whole:
                    yield from _lines(line)
            yield from _lines(partial)
            if process.wait() != 0:
                said = complaints.read_text("utf-8", "replace").strip().splitlines()
                raise DevError("; ".join([f"{QEMU} failed ({process.returncode})", *said[-3:]]))
        answer = self.shared / "code"
        self.code = int(answer.read_text()) if answer.exists() else None


def _lines(line: bytes) -> Iterator[str]:
    text = line.decode("utf-8", "replace").rstrip("\r")
    if text:
        yield text
