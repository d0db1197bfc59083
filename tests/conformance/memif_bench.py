# SPDX-License-Identifier: Apache-2.0
"""The bench over memif: the port under test is the server, its peer is another process."""

from __future__ import annotations

import contextlib
import multiprocessing
import socket
import time
from itertools import count

from bench import Bench, wait_for

import wirepath as wp

_numbers = count()


def _peer(pipe):
    """The other process: ports by number, driven by the commands that come through the pipe."""
    ports = {}
    arrived: dict[int, list[bytes]] = {}
    with contextlib.suppress(EOFError):
        while True:
            for number, port in ports.items():
                batch = port.poll(0)
                if batch is not None:
                    with batch:
                        arrived[number] += [bytes(batch[i]) for i in range(len(batch))]
            if not pipe.poll(0.0005):
                continue
            command, number, what = pipe.recv()
            try:
                if command == "open":
                    ports[number] = wp.open(what, steer=wp.everything(), join="no")
                    arrived[number] = []
                    pipe.send(None)
                elif command == "close":
                    ports.pop(number).close()
                    pipe.send(None)
                elif command == "send":
                    pipe.send(ports[number].send(what))
                elif command == "link":
                    pipe.send(ports[number].info()["link"])
                else:
                    pipe.send(arrived[number])
                    arrived[number] = []
            except wp.WirepathError as error:
                pipe.send(error)
    for port in ports.values():
        port.close()


class Peer:
    """That process, seen from here. EAL takes a moment to start: tests share it."""

    def __init__(self):
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_peer, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()

    def ask(self, command, number, what=None):
        self._pipe.send((command, number, what))
        if not self._pipe.poll(30):
            raise TimeoutError(f"the peer does not answer to {command}")
        answer = self._pipe.recv()
        if isinstance(answer, Exception):
            raise answer
        return answer

    def kill(self):
        self._process.kill()
        self._process.join(10)
        self._pipe.close()

    def close(self):
        self._pipe.close()  # it ends by itself
        self._process.join(10)
        if self._process.is_alive():
            self.kill()


class MemifBench(Bench):
    backend = "dpdk"
    options = {"link_wait_ms": 0}
    forgotten = 1  # what the server listens on
    small = {"rx_ring_size": 64}
    holding = {"max_held": 128}

    def prepare(self):
        self._clients = {}
        self._servers = {}
        self._arrived = []
        self._kept_out = 0
        self._joined, self._left = set(), set()

    @property
    def peer(self):
        return self.resources.get("memif peer", Peer)

    def _link(self, which):
        return f"socket={self.tmp_path}/memif{which}.sock,socket-abstract=no"

    def spec(self, which=0):
        device = self._servers.setdefault(which, f"net_memif4{next(_numbers)}")
        return f"dpdk:{device},role=server,{self._link(which)}"

    def connect(self, which=0):
        number = next(_numbers)
        self._clients[which] = number
        self.peer.ask("open", number, f"dpdk:net_memif5{number},role=client,{self._link(which)}")
        self.stack.callback(self._disconnect, which)
        wait_for(lambda: self.peer.ask("link", number) == "up", "the link to the peer")

    def _disconnect(self, which):
        number = self._clients.pop(which, None)
        if number is not None:
            self.peer.ask("close", number)

    def detach(self, port, which=0):
        port.close()
        self._disconnect(which)

    def resize(self, mtu):
        pass  # the driver's is fixed

    def send(self, frames, which=0):
        self._kept_out += len(frames) - self.peer.ask("send", self._clients[which], frames)

    def lost(self):
        return self._kept_out

    def receive(self, count, timeout=10.0):
        end = time.monotonic() + timeout
        while len(self._arrived) < count and time.monotonic() < end:
            self._take()
        out, self._arrived = self._arrived[:count], self._arrived[count:]
        return out

    def _take(self):
        for frame in self.peer.ask("receive", self._clients[0]):
            if frame[12:14] == b"\x08\x00" and frame[23] == 2:
                told = self._left if frame[38] == 0x17 else self._joined  # IGMPv2
                told.add(socket.inet_ntoa(frame[42:46]))
                continue
            self._arrived.append(frame)

    def joined(self, group):
        self._take()
        return group in self._joined

    def left(self, group):
        self._take()
        return group in self._left

    def link(self, up):
        if up:
            self.connect()
        else:
            self._disconnect(0)

    def kill_peer(self):
        self.peer.kill()
        self._clients.clear()
        self.resources.forget("memif peer")

    def revive_peer(self):
        self.connect()
