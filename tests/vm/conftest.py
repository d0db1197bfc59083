# SPDX-License-Identifier: Apache-2.0
"""The NICs of the virtual machine, what their wires lead to, and the monitor that pulls cables."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

PCI = Path("/sys/bus/pci")
_QUIET = 0.5
_SEND_SECONDS = 20.0  # QEMU's wire stands still while the NIC at its end takes nothing

# Of <linux/if_packet.h> and <asm-generic/socket.h>, which Python's socket module lacks.
_SOL_PACKET, _PACKET_IGNORE_OUTGOING, _SO_RCVBUFFORCE = 263, 23, 33


class Peer:
    """The interface of the guest's kernel at the other end of a NIC's wire."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.mac = Path(f"/sys/class/net/{name}/address").read_text().strip()
        ready = {"net/ipv6/conf/{}/disable_ipv6": "1", "net/ipv4/conf/{}/rp_filter": "0"}
        for setting, value in ready.items():  # not a frame but the tests'
            Path("/proc/sys", setting.format(name)).write_text(value)
        link = ["link", "set", "mtu", "9000", "promisc", "on", "up"]
        for words in (["address", "replace", "10.98.0.1/24"], link):
            subprocess.run(["ip", *words, "dev", name], check=True)
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 8 << 20)
        self._socket.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
        self._socket.bind((name, 0))

    def send(self, frames: list[bytes], gap: float = 0.0) -> None:
        """Puts frames on the wire as they are; `gap`: seconds after each 64."""
        self._socket.settimeout(_SEND_SECONDS)
        for number, frame in enumerate(frames, start=1):
            self._socket.send(frame)
            if gap and number % 64 == 0:
                time.sleep(gap)

    def receive(self, wanted: int, timeout: float = 20.0) -> list[bytes]:
        """Up to `wanted` frames that came."""
        out: list[bytes] = []
        end = time.monotonic() + timeout
        while len(out) < wanted and (left := end - time.monotonic()) > 0:
            self._socket.settimeout(left)
            try:
                out.append(self._socket.recv(65536))
            except TimeoutError:
                break
        return out

    def silence(self) -> list[bytes]:
        """All that comes until the wire is quiet."""
        out: list[bytes] = []
        while got := self.receive(1, _QUIET):
            out += got
        return out

    def close(self) -> None:
        """Takes the interface down."""
        self._socket.close()
        subprocess.run(["ip", "link", "set", "dev", self.name, "down"], check=True)
        subprocess.run(["ip", "address", "flush", "dev", self.name], check=True)


@dataclass(frozen=True)
class Nic:
    """A NIC of the machine, by QEMU's name of its model, which is its kernel driver's too."""

    model: str
    address: str

    @property
    def spec(self) -> str:
        """The port's."""
        return f"dpdk:{self.address}"

    @property
    def driver(self) -> str:
        """The kernel's driver that has it; empty: none."""
        link = PCI / "devices" / self.address / "driver"
        return link.resolve().name if link.exists() else ""

    @property
    def mac(self) -> str:
        """Its own address."""
        return _mac("01", self.address)

    @property
    def interface(self) -> str:
        """Its name as long as the kernel drives it."""
        (path,) = (PCI / "devices" / self.address / "net").iterdir()
        return path.name

    def unbind(self) -> None:
        """Takes it from whichever driver has it."""
        if self.driver:
            (PCI / "devices" / self.address / "driver" / "unbind").write_text(self.address)

    def bind(self, driver: str) -> None:
        """Gives it to this driver of the kernel's."""
        if self.driver == driver:
            return
        self.unbind()
        (PCI / "devices" / self.address / "driver_override").write_text(driver)
        (PCI / "drivers_probe").write_text(self.address)
        assert self.driver == driver, f"{self.address} went to {self.driver or 'no driver'}"


NICS = {
    "e1000e": Nic("e1000e", "0000:00:03.0"),
    "vmxnet3": Nic("vmxnet3", "0000:00:04.0"),
}


def _mac(end: str, address: str) -> str:
    """As the machine was given them: by end of the wire, and slot of the NIC under test."""
    return f"02:00:00:00:{end}:{address[8:10]}"


def binding() -> str:
    """The driver that hands NICs to DPDK in this boot; empty outside of the virtual machine."""
    return os.environ.get("WIREPATH_VM", "")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Elsewhere these tests have no NIC that they may take from the kernel."""
    if binding():
        return
    here = Path(__file__).parent
    why = pytest.mark.skip(reason="unsupported: no spare NIC here; ./dev test --vm boots with two")
    for item in items:
        if here in item.path.parents:
            item.add_marker(why)


@pytest.fixture(params=sorted(NICS))
def any_nic(request: pytest.FixtureRequest) -> Nic:
    """Each NIC, whoever has it."""
    return NICS[request.param]


@pytest.fixture
def nic(any_nic: Nic) -> Nic:
    """Each NIC, bound for DPDK."""
    any_nic.bind(binding())
    return any_nic


@pytest.fixture
def nics() -> dict[str, Nic]:
    """All of them, bound for DPDK."""
    for one in NICS.values():
        one.bind(binding())
    return NICS


def _peer(nic: Nic) -> Peer:
    wanted = _mac("02", nic.address)
    names = {
        (path / "address").read_text().strip(): path.name
        for path in Path("/sys/class/net").iterdir()
    }
    return Peer(names[wanted])


@pytest.fixture
def peer(any_nic: Nic) -> Iterator[Peer]:
    """What the NIC's wire leads to."""
    made = _peer(any_nic)
    yield made
    made.close()


@pytest.fixture
def peers() -> Iterator[dict[str, Peer]]:
    """What the wires of all NICs lead to."""
    made = {name: _peer(nic) for name, nic in NICS.items()}
    yield made
    for one in made.values():
        one.close()


class Monitor:
    """QEMU's machine protocol, over a character device of the guest."""

    def __init__(self) -> None:
        (device,) = Path("/dev").glob("vport*")
        self._file = device.open("r+b", buffering=0)
        self._number = 0
        self("qmp_capabilities")

    def __call__(self, command: str, **arguments: Any) -> Any:
        """One command; its answer."""
        self._number += 1
        words = {"execute": command, "arguments": arguments, "id": self._number}
        self._file.write(json.dumps(words).encode() + b"\n")
        while True:  # greetings and events come between
            answer = json.loads(self._line())
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["return"]

    def _line(self) -> bytes:
        out = b""
        while not out.endswith(b"\n"):
            out += self._file.read(1)
        return out

    def cable(self, nic: Nic, *, plugged: bool) -> None:
        """Pulls the NIC's cable or puts it back."""
        self("set_link", name=f"nic-{nic.model}", up=plugged)


@pytest.fixture(scope="session")
def monitor() -> Monitor:
    """The one connection there is."""
    return Monitor()
