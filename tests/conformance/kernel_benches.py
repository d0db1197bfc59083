# SPDX-License-Identifier: Apache-2.0
"""Benches on interfaces of the kernel: a veth pair between two hosts, and a TAP.

The other side is a packet socket. Its host has no IPv6 and joins nothing, so that every frame on
the wire to the port is the test's.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
import time
from itertools import count

from bench import Bench, wait_for

from wirepath.lab import Lab

_ALL = 3  # ETH_P_ALL
_TEST_PORTS = range(48200, 48300)  # of what the tests send: all else on the wire is the hosts'
_SOL_PACKET, _AUXDATA, _IGNORE_OUTGOING = 263, 8, 23  # linux/if_packet.h
_numbers = count()


class PacketSocket:
    """Sends and receives whole frames on an interface of `host`."""

    def __init__(self, host, interface):
        with host.enter():
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ALL))
        for option, value in ((_AUXDATA, 1), (_IGNORE_OUTGOING, 1)):
            self._socket.setsockopt(_SOL_PACKET, option, value)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 22)
        self._socket.setsockopt(socket.SOL_SOCKET, 33, 1 << 24)  # SO_RCVBUFFORCE
        self._socket.bind((interface, _ALL))
        self._socket.setblocking(False)

    def send(self, frames):
        for frame in frames:
            self._send(frame)

    def _send(self, frame):
        end = time.monotonic() + 10
        while True:
            try:
                self._socket.send(frame)
                return
            except BlockingIOError:
                assert time.monotonic() < end, "the interface takes no more"
                time.sleep(0.0005)
            except OSError as error:
                if error.errno == errno.ENOBUFS:
                    return  # the driver dropped it, and counts it
                if error.errno != errno.ENETDOWN or time.monotonic() > end:
                    raise  # once after the link was down it says so

    def receive(self, count, timeout):
        out = []
        end = time.monotonic() + timeout
        while len(out) < count:
            left = end - time.monotonic()
            if left <= 0 or not select.select([self._socket], [], [], left)[0]:
                break
            frame = self._one()
            if frame is not None and _is_a_tests(frame):
                out.append(frame)
        return out

    def _one(self):
        try:
            frame, beside, _, _ = self._socket.recvmsg(65536, 256)
        except OSError:  # the link went down
            return None
        for _level, kind, data in beside:
            if kind != _AUXDATA:
                continue
            status, *_, tci, tpid = struct.unpack("IIIHHHH", data[:20])
            if status & 0x10:  # TP_STATUS_VLAN_VALID: the kernel took the tag off
                tag = struct.pack(">HH", tpid or 0x8100, tci)
                frame = frame[:12] + tag + frame[12:]
        return frame

    def close(self):
        self._socket.close()


def _is_a_tests(frame):
    at = 12
    if frame[at : at + 2] == b"\x81\x00":
        at += 4
    kind = frame[at : at + 2]
    at += 2 + (20 if kind == b"\x08\x00" else 40 if kind == b"\x86\xdd" else len(frame))
    return int.from_bytes(frame[at + 2 : at + 4], "big") in _TEST_PORTS


def tx_dropped(host, interface):
    with host.enter():
        from pathlib import Path

        for line in Path("/proc/thread-self/net/dev").read_text().splitlines():
            name, _, figures = line.partition(":")
            if name.strip() == interface:
                return int(figures.split()[11])
    return 0


def quiet_host(host):
    """No IPv6 there: no router solicitations, no reports of group memberships."""
    for name in ("all", "default"):
        host.run(
            ["sysctl", "-q", "-w", f"net.ipv6.conf.{name}.disable_ipv6=1"],
            check=True,
            capture_output=True,
        )


def two_links(name):
    """Hosts a, the silent one, and b, joined for ports on two devices, and as often for drivers
    that cannot wait until the kernel has taken down what another one left."""
    lab = Lab(name, links=[("a", "b")] * 4)
    lab.start()
    quiet_host(lab["a"])
    return lab


class VethBench(Bench):
    """The port is on b, the test on a."""

    needs_lab = True
    first_link = 0
    _broken = False

    def prepare(self):
        self.lab = self.resources.get("two links", lambda: two_links(f"wpc{os.getpid()}"))
        self._wires = {}

    def interface(self, which=0, host="b"):
        return self.lab[host].interfaces[self.first_link + which]

    def host(self):
        return self.lab["b"].enter()

    def spec(self, which=0):
        return f"{self.backend}:{self.interface(which).name}"

    def wire(self, which=0):
        if which not in self._wires:
            if not which:
                self._lost = tx_dropped(self.lab["a"], self.interface(0, "a").name)
                self._lost_by_port = tx_dropped(self.lab["b"], self.interface().name)
            wire = PacketSocket(self.lab["a"], self.interface(which, "a").name)
            self.stack.callback(wire.close)
            self._wires[which] = wire
        return self._wires[which]

    def connect(self, which=0):
        self.wire(which)

    def send(self, frames, which=0):
        self.wire(which).send(frames)

    def lost(self):
        return tx_dropped(self.lab["a"], self.interface(0, "a").name) - self._lost

    def sent_and_lost(self):
        return tx_dropped(self.lab["b"], self.interface().name) - self._lost_by_port

    def receive(self, count, timeout=10.0):
        return self.wire().receive(count, timeout)

    def _ip(self, *words, host="a"):
        self.lab[host].run(["ip", *words], check=True, capture_output=True)

    def link(self, up):
        self._ip("link", "set", self.interface(0, "a").name, "up" if up else "down")
        if up:
            self._running()
        else:
            self.stack.callback(self._up_again)

    def _up_again(self):
        self._ip("link", "set", self.interface(0, "a").name, "up")
        self._running()

    def _running(self):
        """Both ends are: before that the kernel drops what is sent."""
        for host in ("a", "b"):
            name = self.interface(0, host).name

            def up(host=host, name=name):
                shown = self.lab[host].run(
                    ["ip", "-o", "link", "show", name], capture_output=True, text=True
                )
                return "LOWER_UP" in shown.stdout and "state UP" in shown.stdout

            wait_for(up, f"{name} of {host} runs")

    def kill_peer(self):
        self._ip("link", "delete", self.interface(0, "a").name)
        self._broken = True

    def close(self):
        super().close()
        if self._broken:
            self.resources.forget("two links")

    def joined(self, group):
        number = socket.inet_aton(group)[::-1].hex().upper()
        with self.host(), open("/proc/thread-self/net/igmp") as listed:  # noqa: PTH123
            return number in listed.read()

    def host_address(self):
        interface = self.interface()
        return interface.ipv4, interface.mac

    def resize(self, mtu):
        before = 1500
        for host in ("a", "b"):
            name = self.interface(0, host).name
            self._ip("link", "set", name, "mtu", str(mtu), host=host)
            self.stack.callback(self._ip, "link", "set", name, "mtu", str(before), host=host)


class SocketBench(VethBench):
    backend = "socket"
    jumbo = {"frame_size": 4096}
    small = {"rx_buffer_bytes": 65536, "rx_ring_size": 64}
    small_tx = {"tx_buffer_bytes": 4096}
    holding = {"rx_ring_size": 64}
    refuses = {"everything": "everything", "any port": "port"}


class AfXdpBench(VethBench):
    backend = "af_xdp"
    jumbo = {"frame_size": 4096}
    small = {"rx_ring_size": 64, "frames": 256}
    holding = small

    def __init__(self, *arguments, mode):
        # The kernel lets go of a queue when it gets round to it.
        self.options = {"mode": mode, "busy_retry_ms": 20_000}
        super().__init__(*arguments)


class EfViBench(VethBench):
    backend = "ef_vi_sim"
    jumbo = {"frame_size": 4096}
    small = {"rx_ring_size": 64, "frames": 256}
    holding = {"rx_ring_size": 64, "frames": 256, "max_held": 64}

    def __init__(self, *arguments, **options):
        self.options = options
        if options["nic"] == "x3":
            self.refuses = {"any address": "wp.everything()"}
        super().__init__(*arguments)


class DpdkVethBench(VethBench):
    """A driver of DPDK's on the interface."""

    backend = "dpdk"
    small = {"rx_ring_size": 64}
    holding = {"max_held": 128}

    def __init__(self, *arguments, driver):
        self._driver = driver
        self.others = 10 if driver == "net_af_packet" else 0
        self.forgotten = 2 if driver == "net_af_xdp" else 0  # maps of its program
        self.first_link = 2
        self._devices = {}
        super().__init__(*arguments)

    def spec(self, which=0):
        # DPDK remembers names; the ports of one test are on the same device when they say so.
        device = self._devices.setdefault(which, f"{self._driver}4{next(_numbers)}")
        return f"dpdk:{device},iface={self.interface(which).name}"


class TapBench(Bench):
    """The kernel's end of the TAP is the other side."""

    backend = "dpdk"
    needs_lab = True
    others = 10
    small = {"rx_ring_size": 64}
    holding = {"max_held": 128}

    def prepare(self):
        self.lab = self.resources.get("two links", lambda: two_links(f"wpc{os.getpid()}"))
        self._names = {}
        self._wires = {}

    def host(self):
        return self.lab["a"].enter()

    def spec(self, which=0):
        number = self._names.setdefault(which, next(_numbers))
        return f"dpdk:net_tap4{number},iface=wpct{number}"

    def interface(self, which=0):
        return f"wpct{self._names[which]}"

    def connect(self, which=0):
        wait_for(lambda: self._is_up(which), "the TAP runs")
        self._wires[which] = PacketSocket(self.lab["a"], self.interface(which))
        self.stack.callback(self._disconnect, which)

    def _disconnect(self, which):
        wire = self._wires.pop(which, None)
        if wire is not None:
            wire.close()

    def detach(self, port, which=0):
        super().detach(port, which)
        self._disconnect(which)

    def _is_up(self, which=0):
        shown = self.lab["a"].run(
            ["ip", "-o", "link", "show", self.interface(which)], capture_output=True, text=True
        )
        return "LOWER_UP" in shown.stdout

    def send(self, frames, which=0):
        self._wires[which].send(frames)

    def receive(self, count, timeout=10.0):
        return self._wires[0].receive(count, timeout)

    def link(self, up):
        self.lab["a"].run(
            ["ip", "link", "set", self.interface(), "up" if up else "down"],
            check=True,
            capture_output=True,
        )
        if up:
            wait_for(self._is_up, "the TAP runs")

    def kill_peer(self):
        self.lab["a"].run(
            ["ip", "link", "delete", self.interface()], check=True, capture_output=True
        )

    def joined(self, group):
        number = socket.inet_aton(group)[::-1].hex().upper()
        with self.host(), open("/proc/thread-self/net/igmp") as listed:  # noqa: PTH123
            return number in listed.read()

    def resize(self, mtu):
        pass  # the port's own option does that
