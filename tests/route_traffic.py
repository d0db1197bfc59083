"""Packets through a router under test, counted at both ends.

python route_traffic.py send RATE FILE     to the addresses of FILE in turns, to the end of stdin
python route_traffic.py receive            to the end of stdin
"""

from __future__ import annotations

import json
import select
import socket
import sys
import time
from pathlib import Path

PORT = 7000


def ended() -> bool:
    """Whether standard input is at its end: whoever started this wants the result."""
    return bool(select.select([0], [], [], 0)[0])


def send(rate: float, addresses: list[str]) -> dict[str, float]:
    """One small datagram after the other, to absolute deadlines."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    start = time.monotonic()
    sent = refused = 0
    while sent % 64 or not ended():
        late = start + sent / rate - time.monotonic()
        if late > 0:
            time.sleep(late)
        try:
            sock.sendto(sent.to_bytes(8, "big"), (addresses[sent % len(addresses)], PORT))
        except OSError:
            refused += 1  # counted as sent and lost
        sent += 1
    return {"sent": sent, "refused": refused}


def receive() -> dict[str, float]:
    """Distinct numbers, and the longest time without a datagram."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
    sock.bind(("0.0.0.0", PORT))
    print("ready", flush=True)
    seen: set[bytes] = set()
    longest = last = 0.0
    ending = False
    while True:
        if not select.select([sock], [], [], 0.3 if ending else 0.05)[0]:
            if ending:
                return {"received": len(seen), "longest": longest}
            ending = ended()
            continue
        now = time.monotonic()
        longest = max(longest, now - last) if last and not ending else longest
        last = now
        seen.add(sock.recv(64))


if __name__ == "__main__":
    if sys.argv[1] == "send":
        print(json.dumps(send(float(sys.argv[2]), Path(sys.argv[3]).read_text().split())))
    else:
        print(json.dumps(receive()))
