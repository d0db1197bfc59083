#!/usr/bin/env python3
"""Two lines of a feed in one asyncio program, with the sans-I/O session and decoder.

python examples/asyncio_sessions.py socket:lo 239.1.1.1:9001 239.1.1.2:9001 --seconds 10
"""

from __future__ import annotations

import argparse
import asyncio

import wirepath as wp
from wirepath.feed import EndOfSession, Gap, Itch50, Message, MoldUDP64


def flow(text: str) -> tuple[str, int]:
    """GROUP:PORT"""
    group, _, number = text.rpartition(":")
    return group, int(number)


async def line(spec: str, group: str, number: int) -> None:
    """Follow one line until its session ends."""
    name = f"{group}:{number}"
    session, decoder = MoldUDP64(), Itch50()
    with wp.open(spec, steer=wp.udp(group, number)) as port:
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
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("port", help="port spec")
    parser.add_argument("flows", nargs="+", type=flow, metavar="GROUP:PORT")
    parser.add_argument("--seconds", type=float, default=10.0)
    arguments = parser.parse_args()
    try:
        async with asyncio.timeout(arguments.seconds):
            await asyncio.gather(*(line(arguments.port, *to) for to in arguments.flows))
    except TimeoutError:
        print(f"nothing more after {arguments.seconds:g} seconds")


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except wp.WirepathError as error:  # a user's mistake, or a missing privilege: no traceback
        raise SystemExit(str(error)) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
