# SPDX-License-Identifier: Apache-2.0
"""IEX TOPS: a capture file to messages, against iex_parser from PyPI (extra `bench`).

Both sides get the same thing to do: open a capture, find the segments in it, decode every message.
iex_parser makes one dictionary of each, wirepath two records of a quote and one of any other. The
slow one gets the first segments of the same capture only.
"""

from __future__ import annotations

import importlib.util
import os
import random
import struct
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from . import build
from .harness import Contestant, Group, Line, Refused, Sample, Settings, Unavailable

_MESSAGES = 400_000
_SLOW_MESSAGES = 10_000
_REPEAT = 3
# How often each type came in 400 seconds of a morning, and its length.
_MIX = {"Q": (27_217, 42), "H": (7_803, 22), "P": (7_802, 19), "O": (7_801, 18), "T": (6_390, 38)}
_MOST = 8  # messages in a segment


def _segments(messages: int) -> Iterator[bytes]:
    """IEX-TP segments of that many messages, the same bytes for everyone."""
    chance = random.Random(1)
    symbols = [f"S{i}".ljust(8).encode() for i in range(500)]
    letters, weights = list(_MIX), [often for often, _ in _MIX.values()]
    sent, sequence, offset = 1_499_692_800_000_000_000, 1, 0
    while sequence <= messages:
        count = min(chance.randint(1, _MOST), messages - sequence + 1)
        payload = b""
        for letter in chance.choices(letters, weights, k=count):
            length = _MIX[letter][1]
            head = struct.pack("<cBq", letter.encode(), 0, sent) + chance.choice(symbols)
            # Sizes below 256 and prices below 655.36 dollars, wherever they stand.
            rest = bytes(chance.choice((0, 0, 1, 100)) for _ in range(length - len(head)))
            payload += struct.pack("<H", length) + head + rest
        fields = (1, 0, 0x8003, 1, 7, len(payload), count, offset, sequence, sent)
        yield struct.pack("<BBHIIHHqqq", *fields) + payload
        sent, sequence, offset = sent + 30_000_000, sequence + count, offset + len(payload)


def _capture(messages: int) -> Path:
    """Them as a capture."""
    path = build.BUILD / "benchmarks" / f"tops-{messages}.pcap"
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    with fresh.open("wb") as file:
        file.write(struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 65_535, 1))
        for segment in _segments(messages):
            udp = struct.pack(">HHHH", 10_378, 10_378, 8 + len(segment), 0) + segment
            addresses = bytes([10, 0, 0, 1, 233, 215, 21, 4])
            ip = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(udp), 0, 0, 8, 17, 0) + addresses
            frame = bytes.fromhex("01005e5715040200000000010800") + ip + udp
            file.write(struct.pack("<IIII", 0, 0, len(frame), len(frame)) + frame)
    fresh.rename(path)
    return path


def _wirepath(capture: Path, cpu: int) -> Sample:
    import wirepath as wp  # noqa: PLC0415

    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cpu})
    times = []
    try:
        for _ in range(_REPEAT):
            start = time.perf_counter_ns()
            reader = wp.feed.Iex()
            with wp.open(f"pcap:{capture}", steer=wp.everything()) as port:
                for batch in port:
                    reader.on_batch(batch)
            times.append(time.perf_counter_ns() - start)
            if (count := reader.message_counters["messages"]) != _MESSAGES:
                raise Refused(f"Iex read {count} of {_MESSAGES} messages")
    finally:
        os.sched_setaffinity(0, allowed)
    return Sample({"rate": _MESSAGES * 1e9 / sorted(times)[_REPEAT // 2]})


def _iex_parser(capture: Path) -> Contestant | Unavailable:
    if importlib.util.find_spec("iex_parser") is None:
        return Unavailable("iex_parser is not installed (pip install iex-parser)")
    from iex_parser import TOPS_1_6, Parser  # noqa: PLC0415

    def run() -> Sample:
        start = time.perf_counter_ns()
        with Parser(str(capture), TOPS_1_6) as reader:
            count = sum(1 for _ in reader)
        elapsed = time.perf_counter_ns() - start
        if count != _SLOW_MESSAGES:
            raise Refused(f"iex_parser read {count} of {_SLOW_MESSAGES} messages")
        return Sample({"rate": _SLOW_MESSAGES * 1e9 / elapsed})

    return run


@contextmanager
def _open(settings: Settings) -> Iterator[Mapping[str, Contestant | Unavailable]]:
    whole, head = _capture(_MESSAGES), _capture(_SLOW_MESSAGES)
    yield {
        "wirepath": lambda: _wirepath(whole, settings.cpus[1]),
        "iex_parser": _iex_parser(head),
    }


TOPS = Group(
    "TOPS",
    (
        Line(
            "peer_iex_parser",
            f"a TOPS capture to records, against iex_parser: first {_SLOW_MESSAGES:,} messages",
            "messages/s",
            "wirepath",
            "iex_parser",
            goal=500,
        ),
    ),
    _open,
)
