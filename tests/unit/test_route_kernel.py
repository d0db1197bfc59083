"""The kernel's word of changes, from a socket that stands for its own."""

from __future__ import annotations

import socket
import struct

import pytest

from wirepath import _core
from wirepath.route import KernelSource, RouteTable
from wirepath.route.model import UP

INDEX = 4242
_NEWLINK = 16


def link_message(flags: int) -> bytes:
    """RTM_NEWLINK of an Ethernet link e9."""
    name = struct.pack("=HH4s", 7, 3, b"e9\0")
    mac = struct.pack("=HH6s2x", 10, 1, bytes([2, 0, 0, 0, 0, 9]))
    body = struct.pack("=BxHiII", 0, 1, INDEX, flags, 0) + name + mac
    return struct.pack("=IHHII", 16 + len(body), _NEWLINK, 0, 0, 0) + body


def test_what_was_told_is_followed_before_all_is_read_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    table = RouteTable()
    read: list[int] = []
    ours, kernels = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours, kernels, KernelSource(table) as source, monkeypatch.context() as patched:
        source.sync()
        ours.setblocking(False)
        patched.setattr(source, "_monitor", ours)

        def sync() -> None:
            source._missed = False
            read.append(table.links[INDEX].flags & UP)

        patched.setattr(source, "sync", sync)
        kernels.send(link_message(0x10043))
        while source.poll():
            pass
        assert table.links[INDEX].flags & UP
        read.clear()
        # Down: the kernel's routes have to be read again, and there is no reason to wait for that.
        kernels.send(link_message(0x1002))
        assert source.poll(10)
        assert table.links[INDEX].flags & UP == 0
        assert read == []
        assert source.poll()
        assert read == [0]
        assert not source.poll()


def test_a_message_that_is_no_event_is_heard_nevertheless(monkeypatch: pytest.MonkeyPatch) -> None:
    # RTM_NEWNETCONF: whether an interface forwards, which nobody tells the table.
    message = struct.pack("=IHHIIBxxx", 20, 80, 0, 1, 0, socket.AF_INET)
    table = RouteTable()
    ours, kernels = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours, kernels, KernelSource(table) as source, monkeypatch.context() as patched:
        source.sync()
        patched.setattr(source, "_monitor", ours)
        changes = table.observe()
        changes.links.clear()
        kernels.send(message)
        assert source.poll(10)
        assert not changes.links
        assert not source.poll()


def test_paths_that_are_a_next_hop_objects_are_not_repeated_with_its_routes() -> None:
    hop = struct.pack("=HBBi", 16, 0, 0, 3) + struct.pack("=HH4s", 8, 5, bytes([10, 0, 0, 1]))
    paths = struct.pack("=HH", 4 + 2 * len(hop), 9) + 2 * hop  # RTA_MULTIPATH

    def message(extra: bytes) -> bytes:
        body = struct.pack("=BBBBBBBBI", socket.AF_INET, 24, 0, 0, 254, 186, 0, 1, 0)
        body += struct.pack("=HH4s", 8, 1, bytes([20, 0, 0, 0])) + extra
        return struct.pack("=IHHII", 16 + len(body), 24, 0, 0, 0) + body

    decode = _core.RtnetlinkDecoder().decode
    assert decode(message(paths))["members"].tolist() == [2, 0, 0]
    (event,) = decode(message(paths + struct.pack("=HHI", 8, 30, 77)))  # RTA_NH_ID
    assert (event["next_hop_id"], event["members"]) == (77, 0)
