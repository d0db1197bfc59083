"""Real CME MDP 3.0 packets, both lines: counts, and every message against a naive decoder."""

from __future__ import annotations

import struct
from collections import Counter

import numpy as np
import pytest
from sbe_naive import Naive, messages_of, same
from shared_data import SHARED, shared

import wirepath as wp
from wirepath.dtypes import NO_PRICE, Action, RecordFlag
from wirepath.feed import Mdp3, Mdp3Columns, SbeSchema, entry_aux

CAPTURE = "cme/mdp3_v6_lines_ab.pcapng"
SCHEMAS = sorted(p.name for p in (SHARED / "cme").glob("*.xml")) or ["(none)"]
TEMPLATES = {32: 19_138, 35: 614, 42: 388, 37: 388, 12: 18}  # both lines together
V6 = "cme/Cme.Futures.Mdp3.Sbe.v1.6.xml"


def payloads():
    """(receive time, payload, UDP port) of every frame."""
    out = []
    with wp.open(f"pcap:{shared(CAPTURE)}", steer=wp.everything()) as port:
        for batch in port:
            headers, times = batch.headers(), batch.timestamps
            for i in range(len(batch)):
                start, length = headers["payload_offset"][i], headers["payload_length"][i]
                ends = (bytes(headers["ip_dst"][i][:4]), int(headers["dst_port"][i]))
                out.append((int(times[i]), bytes(batch[i][start : start + length]), ends))
    return out


@pytest.fixture(scope="module")
def packets():
    return payloads()


def split(payload):
    """(sequence, sending time, messages) of a packet, by hand."""
    sequence, sent = struct.unpack_from("<IQ", payload)
    at, messages = 12, []
    while at < len(payload):
        (size,) = struct.unpack_from("<H", payload, at)
        messages.append(payload[at + 2 : at + size])
        at += size
    assert at == len(payload)
    return sequence, sent, messages


@pytest.fixture(params=SCHEMAS)
def schema_path(request):
    return shared(f"cme/{request.param}")


def test_every_schema_loads_and_agrees_with_a_naive_reading_of_its_layout(schema_path):
    schema, naive = SbeSchema.load(schema_path), Naive(schema_path.read_bytes())
    assert set(schema.messages.values()) == set(naive.messages)
    for name, number in schema.messages.items():
        element = naive.messages[number]
        blocks = {None: element} | {
            g.attrib["name"]: g for g in element if g.tag.endswith("group")
        }
        assert [g for g in blocks if g] == schema.groups(name)
        for group, block in blocks.items():
            dtype = schema.group_dtype(name, group) if group else schema.dtype(name)
            prefix = 12 if group else 36
            assert dtype.itemsize == prefix + naive.block_length(block)
            for f, _, at, size in naive.layout(block):
                column = dtype.fields[f.attrib["name"]]
                assert column[1] == prefix + at
                assert column[0].itemsize == size
    Mdp3(schema)


def test_both_lines_have_the_known_packets_and_messages(packets):
    assert len(packets) == 10_000
    lines: dict[object, list[bytes]] = {}
    for _, payload, line in packets:
        lines.setdefault(line, []).append(payload)
    assert [len(line) for line in lines.values()] == [5_000, 5_000]
    a, b = lines.values()
    assert a == b
    assert [split(p)[0] for p in a] == list(range(5615, 10615))

    decoder = Mdp3(SbeSchema.load(shared(V6)))
    data = b"".join(p for _, p, _ in packets)
    decoder.packets(data, [len(p) for _, p, _ in packets])
    counters = decoder.counters
    assert counters["by_template"] == TEMPLATES
    assert counters["messages"] == sum(TEMPLATES.values()) == 20_546
    assert counters["packets"] == 10_000
    for name in ("unknown", "other_schema", "malformed", "malformed_packets", "framing"):
        assert counters[name] == 0


@pytest.mark.parametrize("edition", ["v1.6", "v1.9"])
def test_every_message_is_what_the_naive_decoder_sees(packets, edition):
    """v1.9 knows fields that the sender, of version 6, does not have: they are null."""
    path = shared(f"cme/Cme.Futures.Mdp3.Sbe.{edition}.xml")
    schema, naive = SbeSchema.load(path), Naive(path.read_bytes())
    columns = Mdp3Columns(schema)
    for recv_time, payload, _ in packets:
        columns.append_packet(payload, recv_time)
    expected: dict[str, list] = {}
    context: dict[str, list] = {}
    number = 0
    for recv_time, payload, _ in packets:
        sequence, sent, messages = split(payload)
        for message in messages:
            result, template, version, content = naive.decode(message)
            assert result == "ok"
            name = schema.names[template]
            expected.setdefault(name, []).append(content)
            context.setdefault(name, []).append((sequence, recv_time, sent, number, version))
            number += 1
    tables = columns.tables()
    assert number == 20_546
    assert tables.keys() == expected.keys()
    for name, table in tables.items():
        got = messages_of(schema, table)
        assert len(got) == len(expected[name])
        assert all(map(same, got, expected[name]))
        prefix = ["seq", "recv_time", "send_time", "message", "version"]
        assert [tuple(row) for row in table.rows[prefix].tolist()] == context[name]


def test_a_schema_too_old_counts_what_it_does_not_know(packets):
    xml = shared(V6).read_text().replace('name="MDIncrementalRefreshBook32" id="32"', 'name="X" id="9"')
    decoder = Mdp3(SbeSchema.parse(xml))
    for _, payload, _ in packets[:1000]:
        decoder.packet(payload)
    counters = decoder.counters
    assert counters["unknown"] > 0
    assert 32 not in counters["by_template"]
    assert counters["malformed"] == 0
    assert counters["messages"] + counters["unknown"] == sum(
        len(split(p)[2]) for _, p, _ in packets[:1000]
    )


BOOK_ACTION = {0: Action.ADD, 1: Action.MODIFY, 2: Action.DELETE, 3: Action.DELETE, 4: Action.DELETE}
SIDE = {b"0": "B", b"1": "S", b"E": "B", b"F": "S"}


def expected_records(sequence, recv_time, template, content):
    """What the documentation says of the templates in the capture."""
    root = content["fields"]
    out = []
    for entry in content["groups"].get("NoMDEntries", []):
        f = entry["fields"]
        price = f.get("MDEntryPx")
        null = price is None or (template == 32 and price == 2**63 - 1)
        kind = f.get("MDEntryType", {42: b"2", 37: b"e"}.get(template))
        size = f.get("MDEntrySize", 0)
        record = {
            "seq": sequence,
            "recv_time": recv_time,
            "event_time": root["TransactTime"],
            "order_id": 0,
            "price": NO_PRICE if null else price * 100,
            "qty": 0 if size == 2**31 - 1 else size,
            "instrument": f["SecurityID"],
            "type": template,
            "action": Action.OTHER,
            "side": 0,
            "flags": 0,
            "aux": f["RptSeq"] | f.get("MDPriceLevel", 0) << 32 | f["MDUpdateAction"] << 40
            | kind[0] << 48,
        }  # fmt: skip
        if template == 32:
            record["action"] = BOOK_ACTION[f["MDUpdateAction"]]
            record["side"] = ord(SIDE[kind])
        elif template == 42:
            record["action"] = Action.TRADE
            record["side"] = {0: 0, 1: ord("B"), 2: ord("S")}[f["AggressorSide"]]
            record["aux"] = f["RptSeq"]
        out.append(record)
    if root.get("MatchEventIndicator", 0) & 0x80:
        if not out:
            out.append(
                dict.fromkeys(("order_id", "qty", "instrument", "action", "side", "flags", "aux"), 0)
                | {"seq": sequence, "recv_time": recv_time, "event_time": root["TransactTime"]}
                | {"price": NO_PRICE, "type": template}
            )
        out[-1]["flags"] = RecordFlag.END_OF_EVENT
    return out


def test_every_record_holds_what_the_naive_decoder_sees(packets):
    path = shared(V6)
    naive, decoder = Naive(path.read_bytes()), Mdp3(SbeSchema.load(path), channel=340)
    records = decoder.packets(
        b"".join(p for _, p, _ in packets),
        [len(p) for _, p, _ in packets],
        [t for t, _, _ in packets],
    )
    expected = []
    for recv_time, payload, _ in packets:
        sequence, _, messages = split(payload)
        for message in messages:
            _, template, _, content = naive.decode(message)
            expected += expected_records(sequence, recv_time, template, content)
    assert len(records) == len(expected) == decoder.counters["records"]
    for name in expected[0]:
        assert records[name].tolist() == [r[name] for r in expected], name
    assert set(records["venue"]) == {3}
    assert set(records["channel"]) == {340}


def test_price_levels_rebuilt_at_ends_of_events_are_never_crossed(packets):
    """Books from one line's records, looked at where an event ends, as one must."""
    decoder = Mdp3(SbeSchema.load(shared(V6)))
    line = packets[0][2]
    books: dict[int, dict[str, list[tuple[int, int]]]] = {}
    looked = 0
    for _, payload, ends in packets:
        if ends != line:
            continue
        records = decoder.packet(payload)
        for r, aux in zip(records, entry_aux(records), strict=True):
            if r["type"] == 32 and aux["entry_type"] in (b"0", b"1"):
                side = books.setdefault(int(r["instrument"]), {"B": [], "S": []})[chr(r["side"])]
                level = int(aux["level"]) - 1
                if r["action"] == Action.ADD:
                    side.insert(level, (int(r["price"]), int(r["qty"])))
                    del side[10:]
                elif r["action"] == Action.MODIFY and level < len(side):
                    side[level] = (int(r["price"]), int(r["qty"]))
                elif r["action"] == Action.DELETE and level < len(side):
                    del side[level]
            if r["flags"] & RecordFlag.END_OF_EVENT:
                for book in books.values():
                    if book["B"] and book["S"]:
                        looked += 1
                        assert min(p for p, _ in book["S"]) > max(p for p, _ in book["B"])
    assert looked > 1000


def test_counts_of_batches_and_of_bytes_are_the_same(packets):
    schema = SbeSchema.load(shared(V6))
    whole, single = Mdp3(schema), Mdp3(schema)
    with wp.open(f"pcap:{shared(CAPTURE)}", steer=wp.everything()) as port:
        by_batch = np.concatenate([whole.batch(batch) for batch in port])
    one_by_one = np.concatenate([single.packet(p, t) for t, p, _ in packets])
    assert np.array_equal(by_batch, one_by_one)
    assert whole.counters == single.counters
    assert Counter(by_batch["type"].tolist())[32] == 35_898
