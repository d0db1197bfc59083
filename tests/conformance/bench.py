# SPDX-License-Identifier: Apache-2.0
"""A bench: a port under test and the other side of its wire, the same for every backend."""

from __future__ import annotations

import socket
import time
from contextlib import AbstractContextManager, ExitStack, nullcontext

import wirepath as wp
from wirepath import frames

GROUP = ("239.255.90.1", 48201)
GROUP6 = ("ff15::90", 48201)
ELSEWHERE = ("239.255.90.2", 48202)  # nobody's: what is sent there is steered past
SOURCE = ("10.77.0.1", 9)
SOURCE6 = ("fd57:6972:6570::1", 9)
HEADERS = 42  # Ethernet, IPv4 and UDP: bytes in front of the payload


def numbered(count, first=0, *, length=60, dst=GROUP, **changes):
    """Frames of `length` bytes whose payloads begin with their number."""
    version6 = ":" in dst[0]
    changes.setdefault("src", SOURCE6 if version6 else SOURCE)
    room = length - HEADERS - (20 if version6 else 0) - (4 if changes.get("vlan") else 0)
    return [
        frames.udp(n.to_bytes(4, "big").ljust(room, b"x"), dst=dst, **changes)
        for n in range(first, first + count)
    ]


def numbers(batch):
    """Those at the front of the payloads."""
    return batch.column(0, ">u4", of="payload").tolist()


def collect(port, count, timeout=10.0):
    """The first `count` numbers that arrive, and no more than come within a moment after."""
    out = []
    end = time.monotonic() + timeout
    while len(out) < count and time.monotonic() < end:
        batch = port.poll(0.2)
        if batch is None:
            if port.native.finished:
                break
            continue
        with batch:
            out += numbers(batch)
    if len(out) >= count and not port.native.finished and (batch := port.poll(0.02)) is not None:
        with batch:
            out += numbers(batch)
    return out


def drain(port, quiet=0.25):
    """Every number that arrives until nothing has for a while."""
    out = []
    while (batch := port.poll(quiet)) is not None:
        with batch:
            out += numbers(batch)
    return out


def rx_drops(stats):
    """Σ of what was received and did not reach the consumer, whatever the reason."""
    return sum(v for k, v in stats.items() if k.startswith("drop.") and ".tx_" not in k)


def losses(stats):
    """Those of them that are not zero, without the frames of other flows."""
    return {
        k: v
        for k, v in stats.items()
        if k.startswith("drop.") and ".tx_" not in k and k != "drop.filtered" and v
    }


def tx_drops(stats):
    return sum(v for k, v in stats.items() if k.startswith("drop.tx_"))


def wait_for(condition, what, timeout=10.0):
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, f"{what}: it did not come about"
        time.sleep(0.01)


def essence(frame):
    """Addresses and datagram: what is left of a frame where a kernel takes the headers off."""
    kind = int.from_bytes(frame[12:14], "big")
    if kind == 0x0800:
        end = 14 + int.from_bytes(frame[16:18], "big")
        return frame[30:34], frame[36:38], frame[42:end]
    if kind == 0x86DD:
        end = 54 + int.from_bytes(frame[18:20], "big")
        return frame[38:54], frame[56:58], frame[62:end]
    return (frame,)


class Bench:
    """Opens the port under test and plays its peer. One test has one of these.

    The suite's rules for a subclass: what `send` gave to the wire has reached the port, or is in
    `lost()`; `receive` returns what the port sent, whole frames in order, and nothing else.
    """

    backend = ""
    needs_lab = False
    live = True  # `send` works while the port is open
    options: dict[str, object] = {}
    jumbo: dict[str, object] = {}  # options beside those with which frames of JUMBO bytes fit
    small: dict[str, object] = {}  # options with which a burst of 8000 is too much
    small_tx: dict[str, object] = {"tx_ring_size": 64}
    holding: dict[str, object] = {}  # options with which a few hundred held frames are too many
    poll_stamps: dict[str, object] = {"timestamps": "poll"}
    endless: dict[str, object] = {}  # options with which frames never end
    others = 0  # frames at most that its own host sends, and the port sees: reports of memberships
    forgotten = 0  # descriptors that the driver leaves open with each port
    refuses: dict[str, str] = {}  # steerings that cannot be had, and words of the refusal

    def __init__(self, resources, tmp_path):
        self.resources, self.tmp_path = resources, tmp_path
        self.stack = ExitStack()
        self.prepare()

    def prepare(self):
        """What has to be there before a port is opened."""

    def close(self):
        self.stack.close()

    def spec(self, which=0):
        raise NotImplementedError

    def host(self) -> AbstractContextManager[object]:
        """Where the port is opened."""
        return nullcontext()

    def open(self, steer=None, sending=(), *, which=0, **options):
        """A port, and frames on their way to it. which: 1 = on another device beside the first.
        It is closed with the bench at the latest."""
        with self.host():
            port = wp.open(
                self.spec(which),
                steer=wp.udp(*GROUP) if steer is None else steer,
                **(self.options | options),
            )
        self.stack.callback(port.close)
        self.connect(which)
        if sending:
            self.send(sending, which=which)
        return port

    def open_again(self, **options):
        """A second port on the device of the first."""
        with self.host():
            port = wp.open(self.spec(), steer=wp.udp(*GROUP), **(self.options | options))
        self.stack.callback(port.close)
        return port

    def connect(self, which=0):
        """The other side, where it can come only now."""

    def send(self, frames, which=0):
        """Whole frames from the other side."""
        raise NotImplementedError

    def lost(self):
        """Frames that the wire took from `send` and lost before the port, by its own count."""
        return 0

    def receive(self, count, timeout=10.0):
        """The first `count` frames that the port sent."""
        raise NotImplementedError

    def link(self, up):
        """The other side takes the link down, or up again."""
        raise NotImplementedError

    def kill_peer(self):
        """The other side goes without a word."""
        raise NotImplementedError

    def revive_peer(self):
        """And comes back. Only where that can be: a port whose device is gone has finished."""
        raise NotImplementedError

    def joined(self, group):
        """Whether the network has been told that somebody here listens to `group`."""
        raise NotImplementedError

    def left(self, group):
        """Whether it has been told that nobody does any more."""
        return not self.joined(group)

    def host_address(self):
        """(address, MAC) of the host beside the port, or anybody's where there is none."""
        return "10.9.8.7", "02:00:00:00:00:99"

    def sent_and_lost(self):
        """Frames that the port sent and the wire lost, by the wire's count."""
        return 0

    def detach(self, port, which=0):
        """Closes the port, and lets its peer go too."""
        port.close()

    def resize(self, mtu):
        """Sets the wire's MTU."""
        raise NotImplementedError


def udp_socket(address, timeout=5.0):
    """An ordinary socket of the calling thread's host."""
    out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    out.bind(address)
    out.settimeout(timeout)
    return out
