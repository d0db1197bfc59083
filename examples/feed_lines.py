#!/usr/bin/env python3
"""Two lines of a feed and a server that knows what both lost: what happened, as it happens.

python examples/feed_lines.py 239.1.1.1:9001 239.1.1.2:9001 --recovery 127.0.0.1:9100 &
wirepath publish --via socket:lo --rate 20000 --messages 100000 --retransmit 127.0.0.1:9100 \\
    --line 239.1.1.1:9001,loss=0.1 --line 239.1.1.2:9001,loss=0.1,seed=2
"""

from __future__ import annotations

import argparse

import wirepath as wp

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("line", nargs="+", metavar="GROUP:PORT")
parser.add_argument("--recovery", metavar="HOST:PORT", help="a MoldUDP64 request server")
parser.add_argument("--interface", default="lo")
arguments = parser.parse_args()

lines = [line.rpartition(":") for line in arguments.line]
config = wp.FeedConfig(
    feed={"backend": "socket", "interface_name": arguments.interface},
    channel=[
        {
            "name": "nasdaq",
            "next_sequence": 1,
            "line": [{"group": group, "port": int(port)} for group, _, port in lines],
            "recovery": [{"kind": "mold_udp64", "server": arguments.recovery}]
            if arguments.recovery
            else [],
        }
    ],
)
with wp.FeedClient(config) as client:
    client.start_ingestion()
    messages = 0
    for records in client.batches():  # until the session ends
        messages += len(records)
        for _, _, event in client.events():
            print(event)

(channel,) = client.summary()["channels"]
for line in channel["lines"]:
    print(f"{line['label']}: {line['packets']:,} packets, {line['missing']:,} messages missing")
print(f"{messages:,} messages, {channel['counters']['recovered']:,} of them recovered")
print(f"{channel['missing']:,} missing")
