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
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    start = time.monotonic()
    sent = refused = 0
    stamps = array("q")
    while sent % 64 or not ended():
        late = start + sent / rate - time.monotonic()
        if late > 0:
            time.sleep(late)
        now = time.monotonic_ns()
        data = sent.to_bytes(8, "big") + now.to_bytes(8, "big")
        try:
            sock.sendto(data, (addresses[sent % len(addresses)], PORT))
        except OSError:
            refused += 1  # counted as sent and lost
            now = -now
        if record is not None:
            stamps.append(now)
        sent += 1
    if record is not None:
        record.write_bytes(stamps.tobytes())
    return {"sent": sent, "refused": refused}


def receive(record: Path | None = None) -> dict[str, float]:
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
                if record is not None:
                    record.write_bytes(b"".join(seen))
                return {"received": len(seen), "longest": longest}
            ending = ended()
            continue
        now = time.monotonic()
        longest = max(longest, now - last) if last and not ending else longest
        last = now
        seen.add(sock.recv(64)[:8])


if __name__ == "__main__":
    files = [Path(word) for word in sys.argv[4 if sys.argv[1] == "send" else 2 :]]
    if sys.argv[1] == "send":
        print(json.dumps(send(float(sys.argv[2]), Path(sys.argv[3]).read_text().split(), *files)))
    else:
        print(json.dumps(receive(*files)))
