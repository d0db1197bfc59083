# SPDX-License-Identifier: Apache-2.0
"""One contestant of the balancer's benchmark, a process of its own.

python -m benchmarks.balancer_run driver tcp established --cpu 1
python -m benchmarks.balancer_run null udp established --cpu 1

prints one line of JSON. driver: BPF_PROG_RUN, mean of the kernel's measure over the repeats.
null: as a native stage, on a port that costs nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import struct
import tempfile
import time
from ipaddress import ip_address
from pathlib import Path
from typing import Any

_REPEATS = 300_000
_SPELLS = 15
_FRAMES = 10_000_000
_BURST = 64
_RING = 16384
VIP4, VIP6, PORT = "192.0.2.10", "2001:db8:1::10", 443
KINDS = ("tcp", "udp", "ipv6", "icmp", "quic")
MODES = ("ipip", "gue", "dsr")


def _ip4(source: str, dest: str, protocol: int, body: bytes) -> bytes:
    head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(body), 1, 0x4000, 64, protocol, 0)
    return head + ip_address(source).packed + ip_address(dest).packed + body


def _tcp(source: int, dest: int, flags: int) -> bytes:
    return struct.pack(">HHIIBBHHH", source, dest, 1, 1, 0x50, flags, 8192, 0, 0)


def frame(kind: str, flows: str) -> bytes:
    """60 bytes and more, of one flow."""
    flags = 0x02 if flows == "new" else 0x10
    client = "198.51.100.1"
    if kind == "tcp":
        packet = _ip4(client, VIP4, 6, _tcp(40000, PORT, flags))
    elif kind == "udp":
        packet = _ip4(client, VIP4, 17, struct.pack(">HHHH", 40000, PORT, 26, 0) + bytes(18))
    elif kind == "quic":
        short = struct.pack(">BBH", 0x40, 0, 2) + bytes(22)
        packet = _ip4(client, VIP4, 17, struct.pack(">HHHH", 40000, PORT, 34, 0) + short)
    elif kind == "icmp":
        about = _ip4(VIP4, client, 6, _tcp(PORT, 40000, 0x10))
        packet = _ip4("203.0.113.1", VIP4, 1, struct.pack(">BBHI", 3, 4, 0, 1400) + about)
    else:
        body = _tcp(40000, PORT, flags)
        ends = ip_address("2001:db8:c::1").packed + ip_address(VIP6).packed
        packet = struct.pack(">IHBB", 6 << 28, len(body), 6, 64) + ends + body
    ethertype = b"\x86\xdd" if kind == "ipv6" else b"\x08\x00"
    whole = bytes.fromhex("025750000001025750000002") + ethertype + packet
    return whole.ljust(60, b"\0")


def _config(mode: str) -> Any:
    from wirepath.balancer import BalancerConfig  # noqa: PLC0415 -- --list needs no built package

    services = ((VIP4, "tcp"), (VIP4, "udp"), (VIP6, "tcp"))
    return BalancerConfig(
        interface="bench",
        mode=mode,
        new_flows_per_second=1 << 30,
        source4="10.0.0.1",
        source6="fd00::1",
        vip=[
            {
                "name": f"v{i}",
                "address": address,
                "protocol": protocol,
                "port": PORT,
                "check": "none",
                "quic": protocol == "udp",
            }
            for i, (address, protocol) in enumerate(services)
        ],
        server=[
            {
                "name": f"s{i}",
                "address": f"10.0.{i // 250}.{i % 250 + 1}",
                "mac": f"02:00:00:00:{i // 250:02x}:{i % 250 + 1:02x}",
                "quic_id": i + 1,
            }
            for i in range(100)
        ],
    )


def _fill(program: Any, config: Any) -> None:
    from wirepath.balancer.controller import Controller, SetReal, SetTable  # noqa: PLC0415
    from wirepath.balancer.maps import ProgramMaps  # noqa: PLC0415
    from wirepath.balancer.plane import Plane  # noqa: PLC0415

    plane = Plane(ProgramMaps(program), config, lambda s: bytes.fromhex(s.mac.replace(":", "")))
    controller = Controller(config)
    changes = controller.start(0.0)
    for vip in config.vip:
        for server in config.server:
            changes += controller.checked(vip.name, server.name, True, 0.0)
    last = {change.number: change for change in changes if isinstance(change, SetTable)}
    for change in changes:
        if isinstance(change, SetReal):
            plane.real(change)
    for change in last.values():
        plane.table(change)


def _options(config: Any) -> dict[str, Any]:
    from wirepath.balancer import layout  # noqa: PLC0415
    from wirepath.balancer.plane import entries  # noqa: PLC0415

    sources = {4: config.source4, 6: config.source6}
    packed = layout.program_config(config, sources).tobytes()
    return {"config": packed, "entries": entries(config)}


def driver(kind: str, flows: str, mode: str) -> dict[str, Any]:
    """Nanoseconds per packet by BPF_PROG_RUN, with the packet made what it was."""
    from wirepath import programs  # noqa: PLC0415

    config = _config(mode)
    source = Path(__file__).parent / "programs" / "maglev_again.c"
    function = {
        "new": "wirepath_fresh",
        "established": "wirepath_again",
        "nothing": "wirepath_nothing",
    }[flows]
    program = programs.load(source, function=function, **_options(config))
    _fill(program, config)
    sent = frame(kind, flows)
    program.run(sent, repeat=_REPEATS // 10)
    costs = [program.run(sent, repeat=_REPEATS).ns or 0 for _ in range(_SPELLS)]
    counters = program.counters()
    runs = _REPEATS * _SPELLS + _REPEATS // 10
    meant = {"icmp": "icmp_forwarded", "quic": "quic"}.get(kind, "established")
    if flows == "new":
        meant = "new_flows"
    if flows != "nothing" and counters[meant] < runs * 0.99:
        raise SystemExit(f"{kind} {flows}: {counters}")
    return {"cost": statistics.median(costs), "least": min(costs)}


def null(kind: str, flows: str, mode: str, cpu: int) -> dict[str, Any]:
    """Nanoseconds of the processor for a packet, in a worker on the null port."""
    import wirepath as wp  # noqa: PLC0415
    from wirepath import programs  # noqa: PLC0415

    config = _config(mode)
    with wp.open(f"null:,frames={_FRAMES}", steer=wp.udp(VIP4, PORT)) as port:
        worker = wp.Worker("bench", cpu_core=cpu, idle="spin")
        worker.add_port(port)
        if flows != "nothing":
            program = programs.native("maglev", **_options(config))
            _fill(program, config)
            worker.add_stage(program.stage())
        began = time.process_time_ns()
        worker.start()
        worker.join()
        spent = time.process_time_ns() - began
        sent = port.stats().get("tx_packets", 0)
    if flows != "nothing" and sent != _FRAMES:
        raise SystemExit(f"{sent} of {_FRAMES} frames were sent on")
    return {"cost": spent / _FRAMES, "least": spent / _FRAMES}


def memif(kind: str, flows: str, mode: str, cpu: int) -> dict[str, Any]:
    """Nanoseconds for a packet that comes over memif, and goes back: the link's ring is filled
    first, then a worker empties it, so that it never waits for a sender."""
    import wirepath as wp  # noqa: PLC0415
    from wirepath import programs  # noqa: PLC0415

    config = _config(mode)
    program = programs.native("maglev", **_options(config))
    _fill(program, config)
    sent = [frame(kind, "established")] * _BURST
    costs = []
    with tempfile.TemporaryDirectory() as folder:
        link = f"socket={folder}/memif.sock,socket-abstract=no,rx_ring_size={_RING}"
        everything = wp.everything()
        with (
            wp.open(f"dpdk:net_memif0,role=server,{link}", steer=everything) as server,
            wp.open(f"dpdk:net_memif1,role=client,{link}", steer=everything) as client,
        ):
            for _ in range(5 * _SPELLS):
                while (batch := client.poll(0)) is not None:
                    batch.release()
                waiting = sum(client.send(sent) for _ in range(_RING // _BURST - 2))
                worker = wp.Worker("bench", cpu_core=cpu, idle="spin")
                worker.add_port(server)
                if flows != "nothing":
                    worker.add_stage(program.stage())
                with worker:
                    cost = _emptying(worker, waiting)
                if flows != "nothing" and worker.stats()["verdict.tx"] != waiting:
                    raise SystemExit(f"not all of {waiting} frames went back: {worker.stats()}")
                costs += [] if cost is None else [cost]
                if len(costs) == _SPELLS:
                    break
    if len(costs) < _SPELLS // 2:
        raise SystemExit("this process got too little of its processor to look on")
    return {"cost": statistics.median(costs), "least": min(costs)}


def _emptying(worker: Any, waiting: int) -> float | None:
    """Nanoseconds per frame from the first one that is seen to be done to the last; None where
    this thread did not look in time."""
    end = time.monotonic() + 10
    while (first := worker.stats()["frames"]) == 0 and time.monotonic() < end:
        pass
    began = time.perf_counter_ns()
    while worker.stats()["frames"] < waiting and time.monotonic() < end:
        pass
    if worker.stats()["frames"] != waiting:
        raise SystemExit(f"{worker.stats()['frames']} of {waiting} frames came over the memif")
    spent = time.perf_counter_ns() - began
    return spent / (waiting - first) if first < waiting * 3 // 4 else None


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("where", choices=["driver", "null", "memif"])
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("flows", choices=["established", "new", "nothing"])
    parser.add_argument("--mode", choices=MODES, default="ipip")
    parser.add_argument("--cpu", type=int, default=0)
    words = parser.parse_args()
    if words.where != "memif":  # there the main thread looks on from another processor
        os.sched_setaffinity(0, {words.cpu})
    if words.where == "driver":
        got = driver(words.kind, words.flows, words.mode)
    elif words.where == "memif":
        got = memif(words.kind, words.flows, words.mode, words.cpu)
    else:
        got = null(words.kind, words.flows, words.mode, words.cpu)
    print(json.dumps(got))


if __name__ == "__main__":
    main()
