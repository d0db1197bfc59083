"""What comes to a peer of the router: each packet of `route_traffic`, as its kernel hears it.

    python route_tap.py INTERFACE FILE      to the end of stdin

writes ``RECORD``s into the file and prints one JSON object. Heard is what comes in, also what is
for another station: so the kernel marks it, by the address that the interface has just then.
"""

from __future__ import annotations

import ctypes
import json
import select
import socket
import struct
import sys
from pathlib import Path

import numpy as np
from route_traffic import PORT, ended

#: number and moment of sending (CLOCK_MONOTONIC, ns), destination MAC, and the kernel's mark
#: (PACKET_HOST 0, PACKET_OTHERHOST 3).
RECORD = np.dtype(
    [("number", ">u8"), ("sent", ">i8"), ("mac", "u1", 6), ("mark", "u1"), ("_", "u1")]
)

_BUFFER = 256 << 20  # for more than a minute in which this process does not run
_SOL_PACKET, _STATISTICS, _IGNORE_OUTGOING, _RCVBUFFORCE = 263, 6, 23, 33
_ATTACH_FILTER = 26
# UDP to destination port PORT, all of the frame; else nothing. IPv4: no fragment behind the first;
# IPv6: without extension headers.
_FILTER = (
    (0x28, 0, 0, 12),
    (0x15, 0, 7, 0x0800),
    (0x30, 0, 0, 23),
    (0x15, 0, 11, 17),
    (0x28, 0, 0, 20),
    (0x45, 9, 0, 0x1FFF),
    (0xB1, 0, 0, 14),
    (0x48, 0, 0, 16),
    (0x15, 5, 6, PORT),
    (0x15, 0, 5, 0x86DD),
    (0x30, 0, 0, 20),
    (0x15, 0, 3, 17),
    (0x28, 0, 0, 56),
    (0x15, 0, 1, PORT),
    (0x06, 0, 0, 0xFFFF),
    (0x06, 0, 0, 0),
)


def _heard(interface: str) -> socket.socket:
    """A socket that hears these packets from now on."""
    code = b"".join(struct.pack("=HBBI", *line) for line in _FILTER)
    kept = ctypes.create_string_buffer(code)
    program = struct.pack("HxxxxxxP", len(_FILTER), ctypes.addressof(kept))
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)  # nothing yet
    sock.setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, program)
    sock.setsockopt(socket.SOL_SOCKET, _RCVBUFFORCE, _BUFFER)
    sock.setsockopt(_SOL_PACKET, _IGNORE_OUTGOING, 1)
    sock.bind((interface, 3))  # ETH_P_ALL: before the kernel drops what is another station's
    return sock


def tap(interface: str, file: Path) -> dict[str, int]:
    """Writes what is heard; how much that was, and what the socket had no room for."""
    seen = 0
    ending = False
    with _heard(interface) as sock, file.open("wb", 1 << 20) as out:
        print("ready", flush=True)
        while True:
            if not select.select([sock], [], [], 0.3 if ending else 0.05)[0]:
                if ending:
                    break
                ending = ended()
                continue
            frame, address = sock.recvfrom(256)
            header = (frame[14] & 15) * 4 if frame[14] >> 4 == 4 else 40
            at = 14 + header + 8
            out.write(frame[at : at + 16] + frame[:6] + bytes((address[2], 0)))
            seen += 1
        missed = struct.unpack("II", sock.getsockopt(_SOL_PACKET, _STATISTICS, 8))[1]
    return {"seen": seen, "missed": missed}


if __name__ == "__main__":
    print(json.dumps(tap(sys.argv[1], Path(sys.argv[2]))))
