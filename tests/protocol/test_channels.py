"""Real captures of every venue through channels: arbiter, filter and decoder on a worker."""

from __future__ import annotations

import gzip

import numpy as np
import pytest
from shared_data import shared

import wirepath as wp
from wirepath.dtypes import RecordFlag
from wirepath.feed import Arbiter, Delivered, Iex, Mdp3, Pitch, SbeSchema, make_channel, make_stage

CME = "cme/mdp3_v6_lines_ab.pcapng"
CME_TEMPLATES = {32: 9_569, 35: 307, 42: 194, 37: 194, 12: 9}


def payloads(path):
    """(receive time, payload, destination) of every UDP frame."""
    out = []
    with wp.open(f"pcap:{path}", steer=wp.everything()) as port:
        for batch in port:
            headers, times = batch.headers(), batch.timestamps
            for i in range(len(batch)):
                start, length = headers["payload_offset"][i], headers["payload_length"][i]
                to = ".".join(map(str, headers["ip_dst"][i][:4])), int(headers["dst_port"][i])
                out.append((int(times[i]), bytes(batch[i][start : start + length]), to))
    return out


@pytest.fixture(scope="module")
def cme_packets():
    return payloads(shared(CME))


@pytest.fixture(scope="module")
def cme_lines(cme_packets):
    """Destinations of A and B, which has the higher address."""
    return sorted({to for _, _, to in cme_packets})


@pytest.fixture(scope="module")
def schema():
    return SbeSchema.load(shared("cme/Cme.Futures.Mdp3.Sbe.v1.6.xml"))


def take(path, channels, **options):
    """All records of a capture, and the stage's snapshot."""
    ring = wp.Ring(1 << 17, "drop", "")
    stage = make_stage(ring, channels, latency=False, **options)
    worker = wp.Worker("captures")
    with wp.open(f"pcap:{path}", steer=wp.everything()) as port:
        worker.add_port(port)
        worker.add_stage(stage)
        worker.start()
        worker.join()
    told = stage.snapshot()
    for channel in told["channels"]:
        units, at = channel["counters"], channel
        if channel["protocol"] != "cme":  # there, a message of the arbiter's is a packet
            offered = sum(at[k] for k in ("messages", "filtered", "unknown", "malformed"))
            outside = sum(line["unsequenced_messages"] for line in at["lines"])
            assert offered == units["delivered"] + outside
        assert at["records"] == at["delivered"] + at["ring_full"]
    packets = sum(line["packets"] for c in told["channels"] for line in c["lines"])
    assert told["frames"] == packets + told["other_flow"] + told["not_udp"]
    return ring.pop_batch(1 << 17), told


def test_both_lines_of_cme_are_arbitrated_to_one(cme_packets, cme_lines):
    arbiter = Arbiter("cme", lines=2)
    delivered = []
    for time, payload, to in cme_packets:
        delivered += arbiter.on_packet(cme_lines.index(to), payload, time)
    assert len(cme_packets) == 10_000
    assert all(isinstance(e, Delivered) for e in delivered)
    assert [e.seq for e in delivered] == list(range(5615, 10_615))
    first, second = arbiter.lines
    for line in (first, second):
        assert line["packets"] == line["messages"] == line["expected"] == 5_000
        assert line["missing"] == line["malformed"] == line["reordered"] == 0
    assert first["won"] + second["won"] == 5_000
    assert first["duplicates"] + second["duplicates"] == 5_000
    # B - A, each pair by hand: median -0.2 us, from -15 to +6 us.
    arrived = {}
    for time, payload, to in cme_packets:
        arrived.setdefault(payload[:4], {})[to] = time
    a, b = cme_lines
    skew = np.array([pair[b] - pair[a] for pair in arrived.values()])
    median = arbiter.skew(0, 1)
    assert median == pytest.approx(np.median(skew), abs=20)
    assert -400 < median < 0
    assert arbiter.skew(0, 1, 0.0) == pytest.approx(skew.min(), rel=0.01)
    assert arbiter.skew(0, 1, 1.0) == pytest.approx(skew.max(), rel=0.01)
    assert -16_000 < skew.min() < skew.max() < 7_000


def test_cme_lines_through_a_stage_give_every_record_once(cme_packets, cme_lines, schema):
    channel = make_channel(
        "cme", name="340", channel=340, lines=[wp.udp(*to) for to in cme_lines], schema=schema
    )
    records, told = take(shared(CME), [channel])
    decoder = Mdp3(schema, channel=340)
    once = {payload[:4]: (payload, time) for time, payload, _ in reversed(cme_packets)}
    want = np.concatenate([decoder.packet(*each) for each in reversed(once.values())])
    assert len(records) == len(want) > 19_000
    for name in want.dtype.names:
        assert np.array_equal(records[name], want[name]), name
    (told,) = told["channels"]
    assert told["by_type"] == CME_TEMPLATES
    assert told["counters"]["delivered"] == 5_000
    assert told["counters"]["gap_messages"] == 0
    assert [line["loss"] for line in told["lines"]] == [0.0, 0.0]
    assert [line["label"] for line in told["lines"]] == ["A", "B"]
    assert -400 < told["lines"][1]["skew_ns"] < 0
    assert told["no_record"] == 9  # heartbeats


def test_cme_filters_by_security_id_and_template_and_keeps_the_ends_of_events(cme_lines, schema):
    def channel(**wanted):
        lines = [wp.udp(*to) for to in cme_lines]
        return make_channel("cme", name="340", lines=lines, schema=schema, **wanted)

    everything, _ = take(shared(CME), [channel()])
    ids, counts = np.unique(everything["instrument"], return_counts=True)
    busiest = int(ids[np.argsort(counts)[-2]])
    some, told = take(shared(CME), [channel(instruments=[busiest])])
    (told,) = told["channels"]
    mine = everything[np.isin(everything["instrument"], [busiest, 0])]
    kept = some[np.isin(some["instrument"], [busiest])]
    assert len(kept) == counts[ids == busiest][0]
    for name in ("seq", "price", "qty", "aux", "side", "action"):
        assert np.array_equal(kept[name], mine[mine["instrument"] == busiest][name]), name
    assert told["filtered_records"] + told["records"] >= len(everything)
    # Every event that the instrument is in has its end, though another's entry told of it.
    ends = everything["seq"][everything["flags"] & RecordFlag.END_OF_EVENT != 0]
    told_ends = some["seq"][some["flags"] & RecordFlag.END_OF_EVENT != 0]
    for seq in kept["seq"]:
        at = ends[np.searchsorted(ends, seq)]
        assert at in told_ends
    types, told = take(shared(CME), [channel(types=[42])])
    assert told["channels"][0]["by_type"] == {42: 194}
    assert told["channels"][0]["filtered"] == sum(CME_TEMPLATES.values()) - 194
    assert set(types["type"].tolist()) == {42}


@pytest.fixture(scope="module")
def tops(tmp_path_factory):
    path = tmp_path_factory.mktemp("iex") / "tops16.pcapng"
    path.write_bytes(gzip.decompress(shared("iex/tops16.pcapng.gz").read_bytes()))
    return path


def test_tops_through_a_stage_is_what_the_reader_makes_of_it(tops):
    records, told = take(tops, [make_channel("iex", name="tops", lines=[wp.everything()])])
    reader = Iex()
    with wp.open(f"pcap:{tops}", steer=wp.everything()) as port:
        want = np.concatenate([reader.on_batch(batch) for batch in port])
    (told,) = told["channels"]
    assert told["messages"] == 57_674
    assert told["by_type"] == reader.message_counters["by_type"]
    assert told["counters"]["gap_messages"] == told["counters"]["resets"] == 0
    assert told["lines"][0]["heartbeats"] == 237
    assert told["session"].startswith("0x8003/")
    for name in want.dtype.names:
        assert np.array_equal(records[name], want[name]), name


def test_tops_of_two_symbols_and_two_types(tops):
    everything, _ = take(tops, [make_channel("iex", name="all", lines=[wp.everything()])])
    table = wp.feed.SymbolTable()
    table.intern("IBM")
    channel = make_channel(
        "iex", name="two", lines=[wp.everything()], instruments=[1], symbols=["AAPL"],
        types=["T", "Q"], symbol_table=table,
    )  # fmt: skip
    some, told = take(tops, [channel])
    (told,) = told["channels"]
    assert 0 < told["messages"] < 57_674
    assert told["messages"] + told["filtered"] == 57_674
    assert set(told["by_type"]) <= {"T", "Q"}
    assert table.symbols == (["IBM", "AAPL"] if len(table) == 2 else ["IBM"])
    wanted = everything[np.isin(everything["type"], [ord("T"), ord("Q")])]
    wanted = wanted[np.isin(wanted["seq"], some["seq"])]
    assert np.array_equal(wanted["price"], some["price"])


def test_pitch_with_its_break_through_a_stage():
    path = shared("pitch/realtime_ab.pcap")
    everything = payloads(path)
    lines = sorted({to for _, _, to in everything})
    channel = make_channel("pitch", name="pitch", lines=[wp.udp(*to) for to in lines])
    records, told = take(path, [channel])
    (told,) = told["channels"]
    assert told["messages"] == told["counters"]["delivered"] == 40
    assert sum(line["packets"] for line in told["lines"]) == 739
    assert told["counters"]["gap_messages"] == 2
    assert (told["gaps"], told["abandoned"]) in (
        ([(1, 2)], []),
        ([], [(1, 2, "timeout", 1)]),
    )
    reader = Pitch()
    want = np.concatenate(
        [reader.on_packet(payload, time) for time, payload, to in everything if to == lines[0]]
    )
    for name in ("seq", "order_id", "price", "qty", "instrument", "action", "side", "recv_time"):
        assert np.array_equal(records[name], want[name]), name


def test_channels_of_several_venues_in_one_stage_have_their_own_counters(cme_lines, schema):
    channels = [
        make_channel("cme", name="cme", lines=[wp.udp(*to) for to in cme_lines], schema=schema),
        make_channel("itch", name="itch", lines=[wp.udp("239.9.9.9", 9)]),
    ]
    records, told = take(shared(CME), channels)
    cme, itch = told["channels"]
    assert len(records) == cme["delivered"] == told["delivered"]
    assert cme["counters"]["delivered"] == 5_000
    assert itch["lines"][0]["packets"] == itch["delivered"] == 0
    one, told = take(shared(CME), [
        make_channel("cme", name="a", lines=[wp.udp(*cme_lines[0])], schema=schema)
    ])  # fmt: skip
    assert told["other_flow"] == 5_000
    assert len(one) == len(records)
