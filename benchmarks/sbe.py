# SPDX-License-Identifier: Apache-2.0
"""SBE: CME-like packets in memory to records and to columns, against SBE decoders from PyPI.

The schema is a small one of ours with fields named as CME's book template has them, the packets
are made up with one to three price levels a message. The others make one Python object of each
message; all their values are read once, or nothing would have been decoded. So this says what a
user who comes from them can expect. They get the first messages only.
"""

from __future__ import annotations

import os
import random
import struct
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from . import build
from .harness import Contestant, Group, Line, Refused, Sample, Settings, Unavailable
from .peers import peer

_MESSAGES = 200_000
_SLOW_MESSAGES = 10_000
_REPEAT = 5
_SCHEMA = """<?xml version="1.0" encoding="UTF-8"?>
<sbe:messageSchema xmlns:sbe="http://www.fixprotocol.org/ns/simple/1.0" package="bench" id="1"
    version="1" byteOrder="littleEndian">
  <types>
    <type name="u8" primitiveType="uint8"/>
    <type name="u32" primitiveType="uint32"/>
    <type name="u64" primitiveType="uint64"/>
    <type name="i32" primitiveType="int32"/>
    <type name="letter" primitiveType="char"/>
    <type name="size" primitiveType="int32" presence="optional" nullValue="2147483647"/>
    <composite name="price">
      <type name="mantissa" primitiveType="int64" presence="optional"
          nullValue="9223372036854775807"/>
      <type name="exponent" primitiveType="int8" presence="constant">-7</type>
    </composite>
    <composite name="messageHeader">
      <type name="blockLength" primitiveType="uint16"/>
      <type name="templateId" primitiveType="uint16"/>
      <type name="schemaId" primitiveType="uint16"/>
      <type name="version" primitiveType="uint16"/>
    </composite>
    <composite name="groupSize">
      <type name="blockLength" primitiveType="uint16"/>
      <type name="numInGroup" primitiveType="uint8"/>
    </composite>
  </types>
  <sbe:message name="Book" id="32" description="Book" blockLength="11" semanticType="X">
    <field name="TransactTime" id="60" type="u64" offset="0" semanticType="UTCTimestamp"/>
    <field name="MatchEventIndicator" id="5799" type="u8" offset="8" semanticType="int"/>
    <group name="NoMDEntries" id="268" description="entries" blockLength="32"
        dimensionType="groupSize">
      <field name="MDEntryPx" id="270" type="price" offset="0" semanticType="Price"/>
      <field name="MDEntrySize" id="271" type="size" offset="8" semanticType="Qty"/>
      <field name="SecurityID" id="48" type="i32" offset="12" semanticType="int"/>
      <field name="RptSeq" id="83" type="u32" offset="16" semanticType="int"/>
      <field name="NumberOfOrders" id="346" type="size" offset="20" semanticType="int"/>
      <field name="MDPriceLevel" id="1023" type="u8" offset="24" semanticType="int"/>
      <field name="MDUpdateAction" id="279" type="u8" offset="25" semanticType="int"/>
      <field name="MDEntryType" id="269" type="letter" offset="26" semanticType="char"/>
    </group>
  </sbe:message>
</sbe:messageSchema>
"""


def _packets() -> list[bytes]:
    """Packets of two messages."""
    rng = random.Random(32)
    out = []
    for sequence in range(_MESSAGES // 2):
        packet = struct.pack("<IQ", sequence, 1_700_000_000_000_000_000 + sequence)
        for last in (0, 0x80):
            entries = b"".join(
                struct.pack(
                    "<qiiIiBBc5x",
                    rng.randrange(40_000) * 2_500_000,
                    rng.randrange(1, 500),
                    rng.randrange(1, 200),
                    sequence,
                    rng.randrange(1, 50),
                    rng.randrange(1, 11),
                    rng.randrange(3),
                    rng.choice((b"0", b"1")),
                )
                for _ in range(rng.randrange(1, 4))
            )
            body = struct.pack("<HHHHQB2x", 11, 32, 1, 1, 1_700_000_000_000_000_000, last)
            body += struct.pack("<HB", 32, len(entries) // 32) + entries
            packet += struct.pack("<H", len(body) + 2) + body
        out.append(packet)
    return out


def _timed(messages: int, decode: Callable[[], int]) -> Sample:
    start = time.perf_counter_ns()
    count = decode()
    elapsed = time.perf_counter_ns() - start
    if count != messages:
        raise Refused(f"{count} of {messages} messages came out")
    return Sample({"rate": messages * 1e9 / elapsed})


def _pinned(cpu: int, run: Callable[[], Sample]) -> Sample:
    """Median of some, after one that warms up, on one processor."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cpu})
    try:
        samples = [run().figures["rate"] for _ in range(_REPEAT + 1)][1:]
    finally:
        os.sched_setaffinity(0, allowed)
    return Sample({"rate": sorted(samples)[_REPEAT // 2]})


def _records(path: Path, packets: list[bytes], cpu: int) -> Contestant:
    import numpy as np  # noqa: PLC0415

    import wirepath as wp  # noqa: PLC0415

    schema = wp.feed.SbeSchema.load(path)
    data, lengths = b"".join(packets), np.array([len(p) for p in packets], np.uint32)
    out = np.zeros(3 * _MESSAGES + 65_536, wp.RECORD)

    def decode() -> int:
        decoder = wp.feed.Mdp3(schema)
        _, taken = decoder.decode_into(data, lengths, out)
        return int(decoder.counters["messages"]) if taken == len(packets) else 0

    return lambda: _pinned(cpu, lambda: _timed(_MESSAGES, decode))


def _columns(path: Path, packets: list[bytes], cpu: int) -> Contestant:
    import numpy as np  # noqa: PLC0415

    import wirepath as wp  # noqa: PLC0415

    schema = wp.feed.SbeSchema.load(path)
    data, lengths = b"".join(packets), np.array([len(p) for p in packets], np.uint32)
    decoder = wp.feed.Mdp3Columns(schema)

    def decode() -> int:
        decoder.append_packets(data, lengths)
        return len(decoder.columns("Book").rows)

    return lambda: _pinned(cpu, lambda: _timed(_MESSAGES, decode))


def _sbedecoder(path: Path, packets: list[bytes]) -> Contestant:
    from sbedecoder import MDPMessageFactory, MDPSchema, SBEParser  # noqa: PLC0415

    schema: Any = MDPSchema()
    schema.parse(str(path))
    parser = SBEParser(MDPMessageFactory(schema))

    def decode() -> int:
        count = 0
        for packet in packets[: _SLOW_MESSAGES // 2]:
            for message in parser.parse(packet, offset=12):
                count += 1
                for field in message.fields:
                    field.raw_value  # noqa: B018
                for group in message.groups:
                    for entry in group.repeating_groups:
                        for field in entry.fields:
                            field.raw_value  # noqa: B018
        return count

    return lambda: _timed(_SLOW_MESSAGES, decode)


def _sbe(path: Path, packets: list[bytes]) -> Contestant:
    import sbe  # noqa: PLC0415

    with path.open() as file:
        schema: Any = sbe.Schema.parse(file)

    def decode() -> int:
        count = 0
        for packet in packets[: _SLOW_MESSAGES // 2]:
            at = 12
            while at < len(packet):
                size = int.from_bytes(packet[at : at + 2], "little")
                count += "TransactTime" in schema.decode(packet[at + 2 : at + size]).value
                at += size
        return count

    return lambda: _timed(_SLOW_MESSAGES, decode)


@contextmanager
def _open(settings: Settings) -> Iterator[Mapping[str, Contestant | Unavailable]]:
    path = build.BUILD / "benchmarks" / "sbe-bench.xml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_SCHEMA)
    packets = _packets()
    cpu = settings.cpus[1]
    yield {
        "records": _records(path, packets, cpu),
        "columns": _columns(path, packets, cpu),
        "sbedecoder": peer("sbedecoder", "sbedecoder", lambda: _sbedecoder(path, packets)),
        "sbe": peer("sbe", "sbe", lambda: _sbe(path, packets)),
    }


_EACH = f"one object a message and every value read, first {_SLOW_MESSAGES:,}"

SBE = Group(
    "SBE",
    (
        Line(
            "sbe_records",
            f"Mdp3.decode_into a NumPy array, against sbedecoder: {_EACH}",
            "messages/s",
            "records",
            "sbedecoder",
            goal=200,
        ),
        Line(
            "sbe_columns",
            f"Mdp3Columns, every field as a NumPy column, against sbedecoder: {_EACH}",
            "messages/s",
            "columns",
            "sbedecoder",
        ),
        Line(
            "sbe_dictionaries",
            "Mdp3.decode_into a NumPy array, against sbe: one dictionary a message",
            "messages/s",
            "records",
            "sbe",
        ),
    ),
    _open,
)
