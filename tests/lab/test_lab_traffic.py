# SPDX-License-Identifier: Apache-2.0
"""What the lab's wires do: multicast, both families, checksums, native XDP, forwarding."""

from __future__ import annotations

import ctypes
import os
import platform
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from wirepath.lab import Host, Lab

GROUP, PORT = "239.255.7.1", 17001
ETH_P_ALL = 3

XDP_DROP: Final = 1
XDP_PASS: Final = 2
XDP_TX: Final = 3

_SYS_BPF: Final = {"x86_64": 321, "aarch64": 280, "riscv64": 280}
_BPF_PROG_LOAD: Final = 5
_BPF_PROG_TYPE_XDP: Final = 6
_XDP_FLAGS_DRV_MODE: Final = 4

_libc = ctypes.CDLL(None, use_errno=True)


def _load(action: int) -> int:
    # r0 = action; exit   (struct bpf_insn: opcode, registers, offset, immediate)
    code = struct.pack("=BBhi", 0xB7, 0, 0, action) + struct.pack("=BBhi", 0x95, 0, 0, 0)
    instructions = ctypes.create_string_buffer(code, len(code))
    licence = ctypes.create_string_buffer(b"Apache-2.0")
    pointers = (ctypes.addressof(instructions), ctypes.addressof(licence))
    attributes = struct.pack("=IIQQIIQII16sI", _BPF_PROG_TYPE_XDP, 2, *pointers, *[0] * 5, b"", 0)
    buffer = ctypes.create_string_buffer(attributes, len(attributes))
    number = _SYS_BPF[platform.machine()]
    fd = int(_libc.syscall(number, _BPF_PROG_LOAD, ctypes.byref(buffer), len(attributes)))
    if fd < 0:
        raise OSError(ctypes.get_errno(), "BPF_PROG_LOAD")
    return fd


@contextmanager
def native_xdp(host: Host, action: int) -> Iterator[int]:
    """Attaches a program to the host's first interface in native mode; yields the program's id."""
    from pyroute2 import IPRoute

    def set_program(link: Any, index: int, fd: int) -> None:
        attributes = [["IFLA_XDP_FD", fd], ["IFLA_XDP_FLAGS", _XDP_FLAGS_DRV_MODE]]
        link.link("set", index=index, xdp={"attrs": attributes})

    fd = _load(action)
    try:
        info = Path(f"/proc/self/fdinfo/{fd}").read_text().splitlines()
        (number,) = [int(line.split()[1]) for line in info if line.startswith("prog_id:")]
        with host.enter(), IPRoute() as link:
            (index,) = link.link_lookup(ifname=host.interface.name)
            set_program(link, index, fd)
            try:
                yield number
            finally:
                set_program(link, index, -1)
    finally:
        os.close(fd)


def receiver(host: Host, group: str | None = None) -> socket.socket:
    with host.enter():
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind(("", PORT))
        if group is not None:
            mreq = socket.inet_aton(group) + socket.inet_aton(host.interface.ipv4)
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, mreq)
    sock.settimeout(3)
    return sock


def send(host: Host, address: str, data: bytes) -> None:
    with host.enter():
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_DGRAM)
    with sock:
        sock.sendto(data, (address, PORT))


def sniffer(host: Host) -> socket.socket:
    with host.enter():
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        sock.bind((host.interface.name, ETH_P_ALL))
    sock.settimeout(3)
    return sock


def frame_with(sock: socket.socket, payload: bytes) -> bytes:
    """The first frame with this payload that came in, and not one going out."""
    while True:
        frame, address = sock.recvfrom(65535)
        if frame.endswith(payload) and address[2] != socket.PACKET_OUTGOING:
            return frame


@pytest.mark.lab
def test_multicast_from_a_reaches_b(lab_name: str) -> None:
    with Lab(lab_name) as net, receiver(net["b"], GROUP) as sock:
        send(net["a"], GROUP, b"quote")  # the multicast route chooses the interface
        data, (source, _) = sock.recvfrom(100)
        assert (data, source) == (b"quote", net["a"].interface.ipv4)


@pytest.mark.lab
def test_ipv6_works_from_the_first_packet(lab_name: str) -> None:
    with Lab(lab_name) as net:
        with net["b"].enter():
            sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
            sock.bind(("::", PORT))
        with sock:
            sock.settimeout(3)
            address = net["b"].interface.ipv6
            assert address is not None
            send(net["a"], address, b"six")
            assert sock.recv(100) == b"six"


def udp_checksum_ok(frame: bytes) -> bool:
    packet = frame[14:]
    segment = packet[20:]
    data = packet[12:20] + struct.pack("!BBH", 0, 17, len(segment)) + segment
    data += b"\0" * (len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total == 0xFFFF


@pytest.mark.lab
def test_udp_checksums_are_right_on_the_wire(lab_name: str) -> None:
    with Lab(lab_name) as net, sniffer(net["b"]) as sock:
        send(net["a"], GROUP, b"check me!")
        frame = frame_with(sock, b"check me!")
        assert frame[:6] == bytes.fromhex("01005e7f0701")
        assert udp_checksum_ok(frame)
        assert not udp_checksum_ok(frame[:-1] + b"?"), "the check itself must be able to fail"


@pytest.mark.lab
@pytest.mark.parametrize("queues", [1, 2])
def test_native_xdp_attaches_and_acts(lab_name: str, queues: int) -> None:
    with Lab(lab_name, queues=queues) as net, receiver(net["b"]) as sock:
        address = net["b"].interface.ipv4
        with native_xdp(net["b"], XDP_DROP) as program:
            state = net.status().hosts[1].interfaces[0].state
            assert state is not None
            assert (state.xdp, state.xdp_program) == ("native", program)
            send(net["a"], address, b"dropped")
        with native_xdp(net["b"], XDP_PASS):
            send(net["a"], address, b"passed")
            assert sock.recv(100) == b"passed"


@pytest.mark.lab
def test_frames_sent_by_xdp_reach_the_other_side(lab_name: str) -> None:
    # Without GRO, and no program of its own, the sender's veth would drop what XDP_TX returns.
    with Lab(lab_name) as net, sniffer(net["a"]) as sock, native_xdp(net["b"], XDP_TX):
        send(net["a"], net["b"].interface.ipv4, b"bounced")
        frame = frame_with(sock, b"bounced")
        assert frame[6:12].hex(":") == net["a"].interface.mac


@pytest.mark.lab
def test_a_line_forwards_both_families(lab_name: str) -> None:
    with Lab(lab_name, hosts=3) as net:
        with net["c"].enter():
            sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
            sock.bind(("::", PORT))
        with sock:
            sock.settimeout(3)
            far = net["c"].interface
            assert far.ipv6 is not None
            for address in (far.ipv4, far.ipv6):
                send(net["a"], address, address.encode())
                assert sock.recv(100) == address.encode()


@pytest.mark.lab
def test_a_lan_floods_multicast_to_all(lab_name: str) -> None:
    with Lab(lab_name, hosts=3, topology="lan", queues=2) as net:
        with receiver(net["b"], GROUP) as b, receiver(net["c"], GROUP) as c:
            send(net["a"], GROUP, b"to all")
            assert b.recv(100) == c.recv(100) == b"to all"
        with native_xdp(net["b"], XDP_PASS):
            pass


@pytest.mark.lab
def test_two_labs_at_once_do_not_meet(lab_name: str) -> None:
    other = f"{lab_name}-2"
    with Lab(lab_name) as one, Lab(other) as two:
        with receiver(one["b"]) as first, receiver(two["b"]) as second:
            assert one["b"].interface.ipv4 == two["b"].interface.ipv4
            send(one["a"], one["b"].interface.ipv4, b"one")
            send(two["a"], two["b"].interface.ipv4, b"two")
            assert (first.recv(100), second.recv(100)) == (b"one", b"two")
            for sock in (first, second):
                sock.settimeout(0.1)
                with pytest.raises(TimeoutError):
                    sock.recv(100)
        two.close()
        assert one.status().hosts[0].up
