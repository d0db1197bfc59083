#!/usr/bin/env python3
"""Two lines of a feed in one asyncio program, with the sans-I/O session and decoder.

python examples/asyncio_sessions.py socket:lo 239.1.1.1:9001 239.1.1.2:9001 --seconds 10
"""

from __future__ import annotations

import argparse
import asyncio

import wirepath as wp
from wirepath.feed import EndOfSession, Gap, Itch50, Message, MoldUDP64

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("port", help="port spec")
parser.add_argument("flows", nargs="+", metavar="GROUP:PORT")
parser.add_argument("--seconds", type=float, default=10.0)
arguments = parser.parse_args()


async def line(name: str) -> None:
    """Follow one line until its session ends."""
    group, _, number = name.rpartition(":")
    session, decoder = MoldUDP64(), Itch50()
    with wp.open(arguments.port, steer=wp.udp(group, int(number))) as port:
        async for batch in port:
            headers, times = batch.headers(), batch.timestamps
            for i in range(len(batch)):
                start, length = headers["payload_offset"][i], headers["payload_length"][i]
                for event in session.on_packet(batch[i][start : start + length], int(times[i])):
                    match event:
                        case Message(seq, data, when):
                            decoder.decode(data, seq, when)
                        case Gap(first, last):
                            print(f"{name}: messages {first} to {last} are missing")
                        case EndOfSession():
                            print(
                                f"{name}: {decoder.counters['messages']:,} messages, then the end"
                            )
                            return


async def main() -> None:
    try:
        async with asyncio.timeout(arguments.seconds):
            await asyncio.gather(*(line(name) for name in arguments.flows))
    except TimeoutError:
        print(f"nothing more after {arguments.seconds:g} seconds")


asyncio.run(main())
