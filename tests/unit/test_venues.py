"""IEX, Cboe PITCH, NYSE Pillar and raw datagrams in Python: sessions, records, raw columns."""

from __future__ import annotations

import struct
from datetime import date

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from venue_reference import (
    IEX,
    OPTIONS,
    PITCH,
    PitchTimes,
    Symbols,
    iex_length,
    iex_records,
    pillar_packet,
    pitch_length,
    pitch_records,
    segment,
    unit_of,
)

import wirepath as wp
from wirepath.errors import ConfigError
from wirepath.feed import (
    Gap,
    Heartbeat,
    Iex,
    IexColumns,
    IexTp,
    Message,
    Pillar,
    Pitch,
    PitchColumns,
    PitchUnits,
    Raw,
    Reset,
    SessionChange,
    SymbolTable,
    iex,
    midnight_ns,
    pillar,
    pitch,
)

RECV = 1_700_000_000_000_000_000


def body(size):
    return st.binary(min_size=size, max_size=size)


@st.composite
def iex_messages(draw):
    letter = draw(st.sampled_from([*IEX, "z"]))
    length = iex_length(letter) if letter in IEX else 20
    length += draw(st.sampled_from([0] * 9 + [1]))
    message = bytearray(letter.encode() + draw(body(length - 1)))
    if letter not in "Sz":  # few symbols, so that they come again
        message[10:18] = draw(st.sampled_from([b"AAPL    ", b"A\0\0\0\0\0\0\0", bytes(8)]))
    return bytes(message)


@st.composite
def pitch_messages(draw):
    kind = draw(st.sampled_from([*PITCH, 0xEE]))
    length = pitch_length(kind) if kind in PITCH else 9
    length += draw(st.sampled_from([0, 0, 0, OPTIONS.get(kind, 0), 1]))
    return bytes([length, kind]) + draw(body(length - 2))


def same(records, expected, **constant):
    assert len(records) == len(expected)
    for record, want in zip(records, expected, strict=True):
        for name, value in (want | constant).items():
            assert record[name] == value, (name, chr(want["type"]))


@given(st.lists(iex_messages(), max_size=12))
def test_iex_records_are_what_struct_reads(messages):
    decoder, symbols, expected = Iex(channel=9), Symbols(), []
    bad = 0
    for message in messages:
        told = iex_records(message, symbols)
        expected += told or []
        bad += told is None
    got = decoder.on_packet(segment(1, *messages), RECV)
    same(got, expected, venue=2, channel=9, recv_time=RECV)
    counters = decoder.message_counters
    assert counters["unknown"] + counters["malformed"] == bad
    assert counters["messages"] == len(messages) - bad == sum(counters["by_type"].values())
    assert counters["records"] == len(got)
    assert len(decoder.symbols) == len(symbols.numbers)
    kept = Iex(channel=9)
    singly = [kept.decode(m, recv_time=RECV) for m in messages]
    assert [r.tobytes()[8:] for part in singly for r in part] == [r.tobytes()[8:] for r in got]


@given(st.lists(st.tuples(pitch_messages(), st.integers(0, 2)), max_size=12))
def test_pitch_records_are_what_struct_reads(messages):
    decoder, symbols, times = Pitch(date(2024, 7, 1), channel=3), Symbols(), PitchTimes()
    midnight = midnight_ns(date(2024, 7, 1))
    sequence = {0: 1, 1: 1, 2: 1}
    for message, unit in messages:
        told = pitch_records(message, unit, times, symbols) or []
        for record in told:
            record["event_time"] += midnight if unit in times.seconds else 0
        got = decoder.on_packet(unit_of(sequence[unit], message, unit=unit), RECV)
        same(got, told, venue=4, channel=3, recv_time=RECV, seq=sequence[unit])
        sequence[unit] += 1
    counters = decoder.message_counters
    offered = counters["messages"] + counters["unknown"] + counters["malformed"]
    assert offered == len(messages)


def iex_row(message):
    letter = chr(message[0])
    columns = IexColumns(letter)
    assert columns.append(message, 5, 6, 7)
    return columns.take(letter)[0]


@given(iex_messages())
def test_iex_rows_hold_every_byte_of_the_message(message):
    if iex_records(message, Symbols()) is None:
        assert not IexColumns().append(message)
        return
    row = iex_row(message)
    assert (row["seq"], row["recv_time"], row["send_time"]) == (5, 6, 7)
    fields = iex.row_dtype(chr(message[0])).names[3:]
    # The timestamp stands before the sub-code in a row, and behind it on the wire.
    raw = b"".join(row[n].tobytes().ljust(row.dtype[n].itemsize, b"\0") for n in fields)
    assert raw == message[2:10] + message[1:2] + message[10:]


@given(pitch_messages())
def test_pitch_rows_hold_every_byte_of_the_message(message):
    columns = PitchColumns([message[1]] if message[1] in PITCH else [])
    if pitch_records(message, 0, PitchTimes(), Symbols()) is None:
        assert not columns.append(message)
        return
    assert columns.append(message, 5, 6, unit=7)
    row = columns.take(message[1])[0]
    assert (row["seq"], row["recv_time"], row["unit"]) == (5, 6, 7)
    fields = pitch.row_dtype(message[1]).names[4:]
    raw = b"".join(row[n].tobytes().ljust(row.dtype[n].itemsize, b"\0") for n in fields)
    assert raw[: len(message) - 2] == message[2:]
    assert not any(raw[len(message) - 2 :])


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(st.integers(0, 30), st.integers(0, 3), st.sampled_from([1, 1, 1, 2])), max_size=40
    ),
    st.sampled_from([1, 2**32 - 12]),
)
def test_a_session_is_a_dictionary_of_everything_seen(steps, start):
    """PITCH: each number is delivered once, and what was not is in the gaps; also over the wrap."""
    session = PitchUnits(max_gaps=1000)
    seen = {1: {}, 2: {}}
    highest = {1: None, 2: None}

    def wire(index):  # 1 follows 2**32 - 1
        return (start + index - 1) % (2**32 - 1) + 1

    for index, count, unit in steps:
        messages = [bytes([4, 1, index + i, unit]) for i in range(count)]
        events = session.on_packet(unit_of(wire(index), *messages, unit=unit))
        if highest[unit] is None:
            highest[unit] = first = index
            seen[unit] = dict.fromkeys(range(first), False)  # before our time: no gap
        for i in range(highest[unit], index + count):
            seen[unit][i] = None
        delivered = [e for e in events if isinstance(e, Message)]
        fresh = [i for i in range(index, index + count) if seen[unit].get(i, False) is None]
        assert [e.seq for e in delivered] == [wire(i) for i in fresh]
        assert [e.data[2] for e in delivered] == fresh
        for i in fresh:
            seen[unit][i] = True
        highest[unit] = max(highest[unit], index + count)
        missing = [wire(i) for i, state in seen[unit].items() if state is None]
        gaps = session.gaps(unit)
        span = 2**32 - 1
        told = [(f + i - 1) % span + 1 for f, last in gaps for i in range((last - f) % span + 1)]
        assert told == missing
        assert session.next_sequence(unit) == wire(highest[unit])
    counters = session.counters
    assert counters["messages"] == sum(v is True for s in seen.values() for v in s.values())
    assert counters["gap_messages"] == counters["gap_filled"] + counters["gap_open"]


def test_iex_tp_tells_its_events():
    line = IexTp()
    assert line.on_packet(segment(5, b"ab"), 3) == [Message(5, b"ab", 3, False)]
    assert line.on_packet(segment(8)) == [Gap(6, 7), Heartbeat(8)]
    assert line.on_packet(segment(7, b"late")) == [Message(7, b"late", 0, True)]
    assert line.gaps() == [(6, 6)]
    assert line.session == "0x8003/1/7"
    assert line.on_packet(segment(1, sent=9)) == [Reset(1, "heartbeat"), Heartbeat(1)]
    assert line.missing == line.counters["lost"] == 1
    (change, message) = line.on_packet(segment(1, b"n", session=8))
    assert change == SessionChange("0x8003/1/7", "0x8003/1/8")
    assert message.seq == 1
    assert line.on_packet(b"short") == []
    assert line.counters["malformed"] == 1


def test_the_header_of_a_segment():
    header = iex.segment_header(segment(9, b"abc", sent=-5, session=2**32 - 1, protocol=0x8004))
    assert header == iex.SegmentHeader(0x8004, 1, 2**32 - 1, 5, 1, 0, 9, -5)
    assert iex.segment_header(b"\1" * 39) is None
    assert iex.segment_header(b"\2" * 40) is None


def test_pillar_keeps_messages_whole_and_knows_a_retransmission():
    line = Pillar()
    order = struct.pack("<HHI", 8, 100, 7)
    assert line.on_packet(pillar_packet(11, 1, order)) == [Message(1, order, 0, False)]
    assert line.on_packet(pillar_packet(1, 4)) == [Gap(2, 3), Heartbeat(4)]
    assert line.on_packet(pillar_packet(15, 3, order)) == [Message(3, order, 0, True, 0, True)]
    assert line.on_packet(pillar_packet(19, 77, order))[0].seq == 0
    reset = struct.pack("<HHIIBB", 14, 1, 0, 0, 1, 1)
    assert line.on_packet(pillar_packet(12, 1, reset)) == [
        Reset(1, "announced"),
        Message(1, reset, 0, False),
    ]
    assert line.next_sequence() == 2
    header = pillar.packet_header(pillar_packet(21, 6, order, sent=RECV + 5))
    assert header == pillar.PacketHeader(24, pillar.Delivery.UNAVAILABLE, 1, 6, RECV + 5)
    assert pillar.message_header(order) == (8, 100)
    assert pillar.packet_header(b"1") is pillar.message_header(b"1") is None


def test_pitch_time_is_not_known_after_a_gap_until_the_next_second():
    decoder = Pitch()
    gone = struct.pack("<BBIQ", 14, 0x29, 5, 1)
    second = struct.pack("<BBI", 6, 0x20, 100)
    times = [
        decoder.on_packet(unit_of(sequence, *messages))["event_time"].tolist()
        for sequence, messages in (
            (1, [second, gone]),
            (4, [gone]),
            (5, [second, gone]),
            (3, [gone]),  # late
            (7, [gone]),
        )
    ]
    known = 100_000_000_005
    assert times == [[100 * 10**9, known], [0], [100 * 10**9, known], [0], [known]]
    assert decoder.message_counters["untimed"] == 2
    assert decoder.gaps(1) == []


def test_flags_of_records_say_how_a_message_came():
    decoder = Iex()
    quote = b"C\0" + bytes(16)
    decoder.on_packet(segment(1, quote))
    decoder.on_packet(segment(3, quote))
    late = decoder.on_packet(segment(2, quote))
    assert late["flags"].tolist() == [wp.RecordFlag.LATE]
    assert decoder.decode(quote, 4, flags=wp.RecordFlag.RECOVERED)["flags"][0] == 8


def test_payloads_within_one_buffer_go_into_one_array():
    message = b"T\0" + bytes(range(36))
    parts = [segment(1, message, message), b"junk", segment(3, message), segment(3, message)]
    data = b"".join(parts)
    lengths = [len(p) for p in parts]
    offsets = np.cumsum([0, *lengths[:-1]])
    decoder = Iex()
    out = np.zeros(6, wp.RECORD)
    assert decoder.decode_into(data, offsets, lengths, out[:5], recv_times=[7, 8, 9, 10]) == (3, 4)
    assert out["seq"][:3].tolist() == [1, 2, 3]
    assert out["recv_time"][:3].tolist() == [7, 7, 9]
    assert decoder.counters["duplicates"] == decoder.counters["malformed"] == 1
    # No room for the most that a payload can make: it waits.
    again = Iex()
    assert again.decode_into(data, offsets, lengths, out[:3]) == (0, 0)
    assert again.decode_into(data, offsets, lengths, out[:4]) == (3, 3)
    assert again.decode_into(data, offsets, lengths, out[3:], begin=3) == (0, 4)
    with pytest.raises(ConfigError, match="as many of each"):
        decoder.decode_into(data, offsets, lengths[:-1], out)
    with pytest.raises(ConfigError, match=r"offsets\[3\]"):
        decoder.decode_into(data, offsets, [*lengths[:-1], 10**6], out)
    with pytest.raises(ConfigError, match="dtype"):
        decoder.decode_into(data, offsets, lengths, np.zeros(3))


def test_symbols_have_the_same_numbers_where_the_table_is_the_same():
    symbols = SymbolTable(3)
    assert symbols.intern("MSFT") == 1
    both = Iex(symbols=symbols), Pitch(symbols=symbols)
    clear = b"C\0" + bytes(8) + b"AAPL    "
    assert both[0].decode(clear)["instrument"][0] == 2
    status = bytes([18, 0x31]) + bytes(4) + b"AAPL    T0  "
    assert both[1].decode(status)["instrument"][0] == 2
    assert symbols.symbols == ["MSFT", "AAPL"]
    assert symbols.number("ZZZ") == 0
    assert (len(symbols), symbols.capacity, symbols.refused) == (2, 3, 0)
    small = Iex(symbols=1)
    small.decode(clear)
    assert small.decode(clear.replace(b"AAPL", b"MSFT"))["instrument"][0] == 0
    assert small.symbols.refused == 1


def test_raw_rows_are_the_users():
    row = np.dtype([("price", "<u4"), ("size", ">u2")])
    raw = Raw(row)
    data = struct.pack("<I", 7) + struct.pack(">H", 8)
    got = raw.on_packet(data * 3)
    assert got.dtype == row
    assert got["size"].tolist() == [8, 8, 8]
    seen = raw.view(data * 2)
    assert np.shares_memory(seen, raw.view(data * 2)) is False
    assert seen["price"].tolist() == [7, 7]
    assert not len(raw.on_packet(data[:-1]))
    assert raw.counters["malformed"] == 1
    with pytest.raises(ConfigError, match="a whole number of 6"):
        raw.view(b"1234567")


def test_a_view_of_raw_rows_is_no_copy():
    data = bytearray(struct.pack("<II", 1, 2))
    seen = Raw("<u4").view(data)
    data[0] = 9
    assert seen.tolist() == [9, 2]


def test_raw_rows_with_a_number_are_followed():
    head = np.dtype([("version", "u1"), ("seq", ">u2")])
    raw = Raw("<u4", header=head, sequence="seq")

    def datagram(seq, *rows):
        return struct.pack(">BH", 1, seq) + struct.pack(f"<{len(rows)}I", *rows)

    assert raw.on_packet(datagram(65_535, 1, 2)).tolist() == [1, 2]
    assert raw.on_packet(datagram(0, 2, 3)).tolist() == [3]
    assert raw.on_packet(datagram(5, 6)).tolist() == [6]
    assert raw.gaps() == [(2, 4)]
    assert raw.header(datagram(5))["seq"][0] == 5
    own = Raw(np.dtype([("n", "<u8"), ("x", "u1")]), sequence="n")
    assert len(own.on_packet(struct.pack("<QBQB", 1, 1, 2, 2))) == 2
    assert own.next_sequence() == 3


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (("V0",), "at least one byte"),
        (("O",), "Python objects"),
        (("<u4", "seq"), "no field"),
        ((np.dtype([("n", "<i4")]), "n"), "unsigned integer"),
        ((np.dtype([("n", "<u4")]), "m"), "one of n"),
    ],
)
def test_raw_layouts_that_cannot_be(arguments, match):
    dtype, sequence = (*arguments, None)[:2]
    with pytest.raises(ConfigError, match=match):
        Raw(dtype, sequence=sequence)


def test_layouts_of_rows():
    assert iex.row_dtype("T").names[-1] == "trade_id"
    assert iex.row_units("T")["price"] == "1e-4 USD"
    assert pitch.row_units(0x22)["price"] == "1e-2 USD"
    assert len(iex.message_types()) == 19
    assert pitch.message_types()[0x20] == "time"
    assert len(pitch.message_types()) == 24
    with pytest.raises(ConfigError, match="one of S, D"):
        iex.row_dtype("z")
    with pytest.raises(ConfigError, match="0x20"):
        PitchColumns([0x99])
    with pytest.raises(ConfigError, match="unit = 1"):
        IexTp().gaps(1)
    with pytest.raises(ConfigError, match="channel"):
        Iex(channel=-1)
