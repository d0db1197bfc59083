"""Packets through a router under test, counted at both ends.

python route_traffic.py send RATE FILE [RECORD]   to FILE's addresses in turns, to the end of stdin
python route_traffic.py receive [RECORD]          to the end of stdin

RECORD is a file: the sender's has when each was sent (CLOCK_MONOTONIC, ns, as int64; negative: the
kernel refused it), the receiver's the numbers that came (uint64 in network order).
"""

from __future__ import annotations

import json
import select
import socket
import sys
import time
from array import array
from pathlib import Path

PORT = 7000


def ended() -> bool:
    """Whether standard input is at its end: whoever started this wants the result."""
    return bool(select.select([0], [], [], 0)[0])


def send(rate: float, addresses: list[str], record: Path | None = None) -> dict[str, float]:
    """One small datagram after the other, to absolute deadlines: number and moment of each."""
    socks = {
        family: socket.socket(family, socket.SOCK_DGRAM)
        for family in (socket.AF_INET, socket.AF_INET6)
    }
    to = [(socks[_family(a)], a) for a in addresses]
    start = time.monotonic()
    sent = sent6 = refused = 0
    stamps = array("q")
    while sent % 64 or not ended():
        late = start + sent / rate - time.monotonic()
        if late > 0:
            time.sleep(late)
        sock, address = to[sent % len(to)]
        now = time.monotonic_ns()
        data = sent.to_bytes(8, "big") + now.to_bytes(8, "big")
        try:
            sock.sendto(data, (address, PORT))
        except OSError:
            refused += 1  # counted as sent and lost
            now = -now
        if record is not None:
            stamps.append(now)
        sent += 1
        sent6 += sock.family == socket.AF_INET6
    if record is not None:
        record.write_bytes(stamps.tobytes())
    return {"sent": sent, "sent6": sent6, "refused": refused}


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def receive(record: Path | None = None) -> dict[str, float]:
    """Distinct numbers, of IPv6 by themselves, and the longest time without a datagram."""
    socks = []
    for family, every in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
        sock = socket.socket(family, socket.SOCK_DGRAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((every, PORT))
        socks.append(sock)
    print("ready", flush=True)
    seen: dict[int, set[bytes]] = {socket.AF_INET: set(), socket.AF_INET6: set()}
    longest = last = 0.0
    ending = False
    while True:
        ready = select.select(socks, [], [], 0.3 if ending else 0.05)[0]
        if not ready:
            if ending:
                if record is not None:
                    record.write_bytes(
                        b"".join(number for numbers in seen.values() for number in numbers)
                    )
                six = len(seen[socket.AF_INET6])
                both = len(seen[socket.AF_INET]) + six
                return {"received": both, "received6": six, "longest": longest}
            ending = ended()
            continue
        now = time.monotonic()
        longest = max(longest, now - last) if last and not ending else longest
        last = now
        for sock in ready:
            seen[sock.family].add(sock.recv(64)[:8])


if __name__ == "__main__":
    files = [Path(word) for word in sys.argv[4 if sys.argv[1] == "send" else 2 :]]
    if sys.argv[1] == "send":
        print(json.dumps(send(float(sys.argv[2]), Path(sys.argv[3]).read_text().split(), *files)))
    else:
        print(json.dumps(receive(*files)))
