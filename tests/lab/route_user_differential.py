"""The same frames through the router in user space, between captures, and through its program in
the kernel (BPF_PROG_RUN) over the same tables; prints what came out of both as JSON.

    route_user_differential.py FOLDER SEED
"""

from __future__ import annotations

import json
import random
import socket
import struct
import sys
import time
from collections import Counter
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from wirepath import programs
from wirepath.route.program import ForwardingTables, counters_of, entries
from wirepath.route.user import UserPlane

SIZES = entries(groups4=64, groups6=64, next_hops=64)
NAMES = ("lan", "wan")
MACS = [bytes([2, 0, 0, 0, 0, 1 + k]) for k in range(2)]
ME = bytes([2, 0, 0, 0, 0, 0x77])


def checksum(data: bytes) -> int:
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ip4(to: str, ttl: int = 64, options: bytes = b"", wrong: int = 0, size: int = 26) -> bytes:
    length = 20 + len(options) + size
    head = struct.pack(
        "!BBHHHBBH", 0x45 + len(options) // 4, 0, length, 1, 0x4000, ttl, 17, 0
    ) + ip_address("198.51.100.1").packed + ip_address(to).packed + options  # fmt: skip
    total = checksum(head) ^ wrong
    return head[:10] + total.to_bytes(2, "big") + head[12:] + bytes(size)


def ip6(to: str, hops: int = 64, following: int = 17, size: int = 26) -> bytes:
    source = ip_address("2001:db8:99::1").packed
    return (
        struct.pack("!IHBB", 6 << 28, size, following, hops)
        + source + ip_address(to).packed + bytes(size)
    )  # fmt: skip


def packet(draw: random.Random) -> tuple[int, bytes]:
    """EtherType and what follows: at least 2 bytes, or the kernel throws tagged ones away."""
    to4 = draw.choice(["10.1.2.3", "10.2.9.9", "10.1.255.77", "10.3.0.1", "10.4.0.1", "10.5.0.1",
                       "10.6.0.1", "172.16.0.1", "224.0.0.5", "127.0.0.1", "10.7.0.1"])  # fmt: skip
    to6 = draw.choice(["2001:db8:1::5", "2001:db8:2:3::1", "2001:db8:4::1", "ff02::5", "fe80::1",
                       "2001:db8:ffff::1"])  # fmt: skip
    plain4 = [lambda: (0x0800, ip4(to4, size=draw.choice([0, 26, 400, 1480])))] * 8
    plain6 = [lambda: (0x86DD, ip6(to6, size=draw.choice([0, 26, 1400])))] * 8
    odd = [
        lambda: (0x0800, ip4(to4, ttl=draw.choice([0, 1, 2, 255]))),
        lambda: (0x0800, ip4(to4, options=b"\x94\x04\0\0")),
        lambda: (0x0800, ip4(to4, wrong=0x0101)),
        lambda: (0x0800, ip4(to4)[: draw.randrange(2, 46)]),
        lambda: (0x86DD, ip6(to6, hops=draw.choice([0, 1, 2]))),
        lambda: (0x86DD, ip6(to6, following=0)),
        lambda: (0x86DD, ip6(to6)[: draw.randrange(2, 66)]),
        lambda: (0x0806, bytes(46)),
        lambda: (0x88CC, bytes(46)),
    ]
    return draw.choice([*plain4, *plain6, *odd])()


def frames(seed: int, count: int) -> list[list[bytes]]:
    """Of each port."""
    draw = random.Random(seed)
    out: list[list[bytes]] = [[], []]
    for _ in range(count):
        port = draw.randrange(2)
        ethertype, body = packet(draw)
        to = MACS[port] if draw.random() < 0.9 else draw.choice([ME, b"\xff" * 6])
        tag = draw.choice([b""] * 6 + [bytes.fromhex("81000007"), bytes.fromhex("81000009")])
        out[port].append(to + ME + tag + ethertype.to_bytes(2, "big") + body)
    return out


def fill(program: Any, tables: ForwardingTables, indices: list[int]) -> None:
    """10.1/16 and 2001:db8:1/48 out of wan, 10.2 and :2 out of lan, 10.3 tagged; 10.4 blackhole,
    10.5 unreachable, 10.6 the host's, 10.7 with a small MTU; in lan VLAN 7 is an interface."""
    hops = [
        (1, 2, 2, 0, 0), (1, 1, 1, 0, 0), (1, 2, 3, 0, 5), (3, 0, 0, 0, 0), (4, 0, 0, 0, 0),
        (2, 0, 0, 0, 0), (1, 2, 2, 60, 0),
    ]  # fmt: skip
    for number, (kind, port, out, mtu, vlan) in enumerate(hops, 1):
        source = MACS[port - 1] if port else bytes(6)
        destination = bytes([6, 0, 0, 0, 0, number]) if port else bytes(6)
        tables.next_hops.set(
            number, kind, 10 * number if port else 0, destination, source, mtu, vlan, port, out
        )
        tables.next_hops.set_group(number, [(number, 1)])
        if number <= 7:
            tables.fib4.add(f"10.{number}.0.0/16", number)
        if number in (1, 2, 4):
            tables.fib6.add(f"2001:db8:{number}::/48", number)
    tables.fib4.add("10.1.255.0/26", 2)
    for number, (port, vlan) in enumerate(((1, 0), (2, 0), (2, 5), (1, 7)), 1):
        mac = list(MACS[port - 1])
        program.maps["interfaces"][number] = {"index": 100 + number, "flags": 1, "mac": mac}
        if vlan:
            program.maps["vlans"][{"port": port, "vlan": vlan}] = number
    for number, index in enumerate(indices, 1):
        program.maps["ports"][number] = index


def watch(name: str) -> socket.socket:
    seen = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    seen.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 24)
    seen.bind((name, 0))
    seen.setblocking(False)
    return seen


def untagged(frame: bytes) -> bytes:
    """As a packet socket sees it: the kernel has taken the tag off."""
    return frame[:12] + frame[16:] if frame[12:14] == b"\x81\0" else frame


def received(seen: socket.socket) -> list[bytes]:
    out = []
    while True:
        try:
            data, where = seen.recvfrom(4096)
        except BlockingIOError:
            return out
        if where[2] != socket.PACKET_OUTGOING:
            out.append(data)


def write(path: Path, given: list[bytes]) -> None:
    head = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)
    path.write_bytes(head + b"".join(struct.pack("<IIII", 1, 0, len(f), len(f)) + f for f in given))


def read(path: Path) -> list[bytes]:
    data, at, out = path.read_bytes(), 24, []
    while at < len(data):
        length = struct.unpack_from("<I", data, at + 8)[0]
        out.append(data[at + 16 : at + 16 + length])
        at += 16 + length
    return out


def in_user_space(folder: Path, given: list[list[bytes]]) -> dict[str, Any]:
    ports = {}
    for k, name in enumerate(NAMES):
        write(folder / f"in{k}.pcap", given[k])
        ports[name] = f"pcap:{folder}/in{k}.pcap,write={folder}/out{k}.pcap"
    plane = UserPlane(ports, entries=SIZES)
    indices = [host.ifindex for host in plane.hosts.values()]
    seen = [watch(name) for name in NAMES]
    fill(plane.program, plane.tables, [1, 2])
    plane.attach()
    end = time.monotonic() + 60
    while plane.workers()["frames"] < sum(map(len, given)) and time.monotonic() < end:
        time.sleep(0.02)
    plane.stop()
    account = plane.account()
    told = {
        "to_host": [sorted(f.hex() for f in received(each)) for each in seen],
        "counters": counters_of(plane.program),
        "missing": account.missing,
        "received": account.received,
        "indices": indices,
    }
    kernel = in_the_kernel(given, indices)
    plane.close()
    told["sent"] = [sorted(f.hex() for f in read(folder / f"out{k}.pcap")) for k in range(2)]
    return {"user": told, "kernel": kernel}


def in_the_kernel(given: list[list[bytes]], indices: list[int]) -> dict[str, Any]:
    loaded: list[Any] = []
    for number in (1, 2):
        options: dict[str, Any] = {"entries": SIZES}
        if loaded:
            options["share"] = dict.fromkeys(loaded[0].maps, loaded[0])
        config = {"seed": 1, "port": number, "kernel_fib": 0}
        loaded.append(programs.load("route", config=config, **options))
    fill(loaded[0], ForwardingTables(loaded[0]), indices)
    sent: list[list[str]] = [[], []]
    to_host: list[list[str]] = [[], []]
    verdicts: Counter[str] = Counter()
    for k, program in enumerate(loaded):
        for frame in given[k]:
            outcome = program.run(frame)
            verdicts[outcome.verdict] += 1
            if outcome.verdict == "redirect":
                sent[MACS.index(outcome.frame[6:12])].append(outcome.frame.hex())
            elif outcome.verdict == "pass":
                to_host[k].append(untagged(outcome.frame).hex())
    return {
        "sent": [sorted(each) for each in sent],
        "to_host": [sorted(each) for each in to_host],
        "counters": counters_of(loaded[0]),
        "verdicts": verdicts,
    }


def main() -> None:
    folder, seed = Path(sys.argv[1]), int(sys.argv[2])
    # Else the devices send router solicitations by the ports.
    quiet = Path("/proc/sys/net/ipv6/conf/default/disable_ipv6")
    if quiet.exists():
        quiet.write_text("1")
    print(json.dumps(in_user_space(folder, frames(seed, 1500))))


if __name__ == "__main__":
    main()
