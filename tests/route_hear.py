"""Hears what the kernel tells of routes, and does nothing with it: when was the last of them?

python route_hear.py        for each line of stdin one JSON object; ends with its input
"""

from __future__ import annotations

import json
import select
import socket
import sys
import time

from wirepath import _core

_GROUPS = (7, 11)  # RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE
_BGP = 186


def main() -> None:
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
    sock.setsockopt(socket.SOL_SOCKET, 33, 256 << 20)  # SO_RCVBUFFORCE
    sock.bind((0, 0))
    for group in _GROUPS:
        sock.setsockopt(270, 1, group)
    decoder = _core.RtnetlinkDecoder()
    said = {"heard": 0, "missed": 0, "first": 0.0, "last": 0.0}
    while True:
        ready, _, _ = select.select([0, sock.fileno()], [], [])
        if sock.fileno() in ready:
            events, missed, _, _ = decoder.receive(sock.fileno(), 1 << 14)
            now = time.monotonic()
            said["missed"] += missed
            if n := int((events["protocol"] == _BGP).sum()):
                said["first"] = said["first"] or now
                said["heard"] += n
                said["last"] = now
        elif 0 in ready:
            if not sys.stdin.readline():
                return
            print(json.dumps(said), flush=True)


if __name__ == "__main__":
    main()
