"""The balancer's program as a stage: on every backend the bytes that the model wants."""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest
from balancer_packets import (
    CLIENTS4,
    CLIENTS6,
    ethernet,
    ip4,
    ip6,
    packets_of,
    tcp,
    transport,
    udp,
    write_capture,
)
from balancer_three import SOURCES, Three, configuration

import wirepath as wp
from wirepath.lab import Lab

_devices = count()


def traffic(tags: int = 3) -> list[bytes]:
    """TCP, UDP, IPv6, QUIC, an ICMP error, an echo request, and what is for nobody here. tags: up
    to so many less one in front of some."""
    out = []
    for i in range(40):
        four, six = CLIENTS4[i % 3], CLIENTS6[i % 2]
        web = transport(four, "192.0.2.10", 6, tcp(2000 + i, 80, 0x02 if i % 2 else 0x10))
        out.append(ethernet(ip4(four, "192.0.2.10", 6, web, piece=0x4000), tags=i % tags))
        quic = struct.pack(">BBH", 0x40, 0, 1) + bytes(i)
        body = transport(four, "192.0.2.10", 17, udp(3000 + i, 443, quic))
        out.append(ethernet(ip4(four, "192.0.2.10", 17, body)))
        web6 = transport(six, "2001:db8:1::10", 6, tcp(4000 + i, 443, 0x18, bytes(i)))
        out.append(ethernet(ip6(six, "2001:db8:1::10", 6, web6)))
        about = ip4("192.0.2.10", four, 6, tcp(80, 2000 + i, 0x10))
        error = transport(four, "192.0.2.10", 1, struct.pack(">BBHI", 3, 4, 0, 1400) + about)
        out.append(ethernet(ip4("203.0.113.1", "192.0.2.10", 1, error)))
        echo = transport(four, "192.0.2.10", 1, struct.pack(">BBHI", 8, 0, 0, i))
        out.append(ethernet(ip4(four, "192.0.2.10", 1, echo)))
        out.append(ethernet(ip4(four, "203.0.113.200", 17, udp(1, 2, b"x"))))
    return out


CONFIG = configuration(
    ("ipip", "gue", "dsr"),
    (4, 6),
    source4=SOURCES[4],
    source6=SOURCES[6],
    udp_timeout=0.0,
    interface="stage0",
)


def wanted(sent: list[bytes]) -> list[bytes]:
    """What the model sends."""
    model = Three(CONFIG).model
    said = [model(frame) for frame in sent]
    return [out for verdict, out, _ in said if verdict == 3]


@contextmanager
def balancing(name: str) -> Iterator[wp.Balancer]:
    name = f"{name}p{os.getpid()}"  # a balancer is asked by the name: there may be other runs
    with wp.Balancer(CONFIG.replace(interface=name), native=True) as balancer:
        end = time.monotonic() + 80
        while any(s["state"] != "up" for v in balancer.show()["vips"] for s in v["servers"]):
            assert time.monotonic() < end, balancer.show()
            time.sleep(0.05)
        yield balancer


def collected(port: wp.Port, number: int) -> list[bytes]:
    out: list[bytes] = []
    end = time.monotonic() + 60
    while len(out) < number and time.monotonic() < end:
        batch = port.poll(0.2)
        if batch is not None:
            with batch:
                out += [bytes(batch[i]) for i in range(len(batch))]
    return out


def test_on_a_capture(tmp_path: Path) -> None:
    sent = traffic()
    source, target = tmp_path / "in.pcap", tmp_path / "out.pcap"
    write_capture(source, sent)
    spec = f"pcap:{source},write={target}"
    with balancing("stage0") as balancer, wp.open(spec, steer=wp.everything()) as port:
        worker = wp.Worker("balancer")
        worker.add_port(port)
        worker.add_stage(balancer.stage())
        worker.start()
        worker.join()
        counters = balancer.counters()
    assert packets_of(target) == wanted(sent)
    assert counters["not_ours"] == 40
    assert counters["echo_answered"] == counters["icmp_forwarded"] == 40


@pytest.mark.skipif(
    not {b.name: b for b in wp.backends()}["dpdk"].available,
    reason="the dpdk backend is not available here: see `wirepath backends`",
)
def test_on_dpdk_memif(tmp_path: Path) -> None:
    sent = traffic()
    link = f",socket={tmp_path}/memif.sock,socket-abstract=no"
    number = next(_devices)
    server = wp.open(f"dpdk:net_memif7{number},role=server{link}", steer=wp.everything())
    client = wp.open(f"dpdk:net_memif8{number},role=client{link}", steer=wp.everything())
    with server, client, balancing("stage1") as balancer:
        worker = wp.Worker("balancer")
        worker.add_port(server)
        worker.add_stage(balancer.stage())
        expected = wanted(sent)
        with worker:
            got: list[bytes] = []
            assert client.poll(0) is None  # offers the buffers that the server sends into
            for i in range(0, len(sent), 60):
                assert client.send(sent[i : i + 60]) == len(sent[i : i + 60])
                due = len(wanted(sent[: i + 60]))
                got += collected(client, due - len(got))
    # memif hands over frames of at least the length that Ethernet has, as they are.
    assert got == expected


@pytest.mark.lab
@pytest.mark.skipif(
    not {b.name: b for b in wp.backends()}["af_xdp"].available,
    reason="the af_xdp backend is not available here: see `wirepath backends`",
)
def test_on_af_xdp(lab_name: str) -> None:
    sent = traffic(tags=1)  # a packet socket takes them out of the frame
    expected = wanted(sent)
    with Lab(lab_name, ipv6=False) as lab:
        a, b = lab["a"], lab["b"]
        with b.enter():
            port = wp.open(f"af_xdp:{b.interface.name}", steer=wp.everything())
        with a.enter():
            wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
            wire.bind((a.interface.name, 0))
            wire.settimeout(60)
        with port, wire, balancing("stage2") as balancer:
            worker = wp.Worker("balancer")
            worker.add_port(port)
            worker.add_stage(balancer.stage())
            with worker:
                got: list[bytes] = []
                for frame in sent:
                    wire.send(frame)
                known = set(expected)
                while len(got) < len(expected):
                    frame = wire.recv(4096)
                    if frame in known:
                        got.append(frame)
            assert balancer.counters()["verdict.tx"] == len(expected)
    assert got == expected
