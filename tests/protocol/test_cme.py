"""Real CME MDP 3.0 packets, both lines: counts, and every message against a naive decoder."""

from __future__ import annotations

import struct

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
        blocks = {None: element} | {g.attrib["name"]: g for g in element if g.tag.endswith("group")}
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


@pytest.fixture(scope="module")
def naive_v6():
    """The naive decoder, which looks at each message once: the second line repeats the first."""
    naive, seen = Naive(shared(V6).read_bytes()), {}

    def decode(message):
        if message not in seen:
            seen[message] = naive.decode(message)
        return seen[message]

    return decode


@pytest.mark.parametrize("edition", ["v1.6", "v1.9"])
def test_every_message_is_what_the_naive_decoder_sees(packets, naive_v6, edition):
    """v1.9 knows fields that the sender, of version 6, does not have: they are null."""
    path = shared(f"cme/Cme.Futures.Mdp3.Sbe.{edition}.xml")
    schema = SbeSchema.load(path)
    decode = naive_v6 if path == shared(V6) else Naive(path.read_bytes()).decode
    columns = Mdp3Columns(schema)
    # One line is enough for the second edition, which differs in fields only.
    packets = packets if path == shared(V6) else [p for p in packets if p[2] == packets[0][2]]
    for recv_time, payload, _ in packets:
        columns.append_packet(payload, recv_time)
    expected: dict[str, list] = {}
    context: dict[str, list] = {}
    number = 0
    for recv_time, payload, _ in packets:
        sequence, sent, messages = split(payload)
        for message in messages:
            result, template, version, content = decode(message)
            assert result == "ok"
            name = schema.names[template]
            expected.setdefault(name, []).append(content)
            context.setdefault(name, []).append((sequence, recv_time, sent, number, version))
            number += 1
    tables = columns.tables()
    assert number == 20_546 // (1 if path == shared(V6) else 2)
    assert tables.keys() == expected.keys()
    for name, table in tables.items():
        got = messages_of(schema, table)
        assert len(got) == len(expected[name])
        assert all(map(same, got, expected[name]))
        prefix = ["seq", "recv_time", "send_time", "message", "version"]
        assert [tuple(row) for row in table.rows[prefix].tolist()] == context[name]


def test_a_schema_too_old_counts_what_it_does_not_know(packets):
    xml = (
        shared(V6)
        .read_text()
        .replace('name="MDIncrementalRefreshBook32" id="32"', 'name="X" id="9"')
    )
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


BOOK_ACTION = {
    0: Action.ADD,
    1: Action.MODIFY,
    2: Action.DELETE,
    3: Action.DELETE,
    4: Action.DELETE,
}
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
                dict.fromkeys(
                    ("order_id", "qty", "instrument", "action", "side", "flags", "aux"), 0
                )
                | {"seq": sequence, "recv_time": recv_time, "event_time": root["TransactTime"]}
                | {"price": NO_PRICE, "type": template}
            )
        out[-1]["flags"] = RecordFlag.END_OF_EVENT
    return out


def test_every_record_holds_what_the_naive_decoder_sees(packets, naive_v6):
    decoder = Mdp3(SbeSchema.load(shared(V6)), channel=340)
    records = decoder.packets(
        b"".join(p for _, p, _ in packets),
        [len(p) for _, p, _ in packets],
        [t for t, _, _ in packets],
    )
    expected = []
    for recv_time, payload, _ in packets:
        sequence, _, messages = split(payload)
        for message in messages:
            _, template, _, content = naive_v6(message)
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


def test_records_into_an_array_of_ones_own(packets):
    schema = SbeSchema.load(shared(V6))
    data, lengths = b"".join(p for _, p, _ in packets), [len(p) for _, p, _ in packets]
    times = [t for t, _, _ in packets]
    expected = Mdp3(schema).packets(data, lengths, times)
    decoder, out, parts, at = Mdp3(schema), np.zeros(2000, wp.RECORD), [], 0
    while at < len(packets):
        rest = data[sum(lengths[:at]) :]
        written, taken = decoder.decode_into(rest, lengths[at:], out, times[at:])
        assert taken > 0
        parts.append(out[:written].copy())
        at += taken
    assert len(parts) > 10
    assert np.array_equal(np.concatenate(parts), expected)
    assert decoder.decode_into(data, lengths, out[:10]) == (0, 0)


def test_counts_of_batches_and_of_bytes_are_the_same(packets):
    schema = SbeSchema.load(shared(V6))
    whole, single = Mdp3(schema), Mdp3(schema)
    with wp.open(f"pcap:{shared(CAPTURE)}", steer=wp.everything()) as port:
        by_batch = np.concatenate([whole.batch(batch) for batch in port])
    one_by_one = np.concatenate([single.packet(p, t) for t, p, _ in packets])
    assert np.array_equal(by_batch, one_by_one)
    assert whole.counters == single.counters


# --- templates that are not in the capture, made from the real schemas ----------------------------
@pytest.fixture(scope="module")
def v13():
    path = shared("cme/Cme.Futures.Mdp3.Sbe.v1.13.xml")
    return Naive(path.read_bytes()), SbeSchema.load(path)


def records_of(v13, template, values, groups=None, version=13):
    naive, schema = v13
    decoder = Mdp3(schema)
    records = decoder.message(naive.encode(template, version, values, groups), seq=5, recv_time=6)
    assert decoder.counters["messages"] == 1
    return records


def table(records, *names):
    return [tuple(r[name].item() for name in names) for r in records]


def test_a_book_with_orders(v13):
    records = records_of(
        v13,
        46,
        {"TransactTime": 9, "MatchEventIndicator": 0x84},
        {
            "NoMDEntries": [
                {"MDEntryPx": 10_000_000_000, "MDEntrySize": 5, "SecurityID": 77, "RptSeq": 3,
                 "MDPriceLevel": 2, "MDUpdateAction": 0, "MDEntryType": b"0"},
                {"SecurityID": 78, "RptSeq": 4, "MDPriceLevel": 1, "MDUpdateAction": 4,
                 "MDEntryType": b"1"},
            ],
            "NoOrderIDEntries": [
                {"OrderID": 501, "MDOrderPriority": 11, "MDDisplayQty": 5, "ReferenceID": 1,
                 "OrderUpdateAction": 0},
                {"OrderID": 502, "ReferenceID": 2, "OrderUpdateAction": 2},
            ],
        },
    )  # fmt: skip
    names = ("action", "instrument", "side", "price", "qty", "order_id", "flags")
    assert table(records, *names) == [
        (Action.ADD, 77, ord("B"), 10_000_000_000, 5, 0, 0),
        (Action.DELETE, 78, ord("S"), NO_PRICE, 0, 0, 0),
        (Action.ADD, 77, ord("B"), 10_000_000_000, 5, 501, 0),
        (Action.DELETE, 78, ord("S"), NO_PRICE, 0, 502, RecordFlag.END_OF_EVENT),
    ]
    assert entry_aux(records[:2]).tolist() == [(3, 2, 0, b"0", 0), (4, 1, 4, b"1", 0)]
    assert records["aux"][2:].tolist() == [11, 0]
    assert set(records["event_time"]) == {9}


def test_the_order_book(v13):
    entry = {"OrderID": 9, "MDOrderPriority": 2, "MDEntryPx": -5, "MDDisplayQty": 3,
             "SecurityID": 1, "MDUpdateAction": 1, "MDEntryType": b"1"}  # fmt: skip
    records = records_of(
        v13, 47, {"TransactTime": 1, "MatchEventIndicator": 0}, {"NoMDEntries": [entry]}
    )
    names = ("action", "order_id", "aux", "side", "price", "qty", "instrument", "flags", "type")
    assert table(records, *names) == [(Action.MODIFY, 9, 2, ord("S"), -5, 3, 1, 0, 47)]


def test_trades_and_their_ends(v13):
    entries = [
        {"MDEntryPx": 7, "MDEntrySize": 4, "SecurityID": 1, "RptSeq": 8, "NumberOfOrders": 2,
         "AggressorSide": 2, "MDUpdateAction": action, "MDTradeEntryID": 600 + action}
        for action in (0, 1, 2)
    ]  # fmt: skip
    orders = [{"OrderID": 1, "LastQty": 4}]
    records = records_of(
        v13,
        48,
        {"TransactTime": 1, "MatchEventIndicator": 1},
        {"NoMDEntries": entries, "NoOrderIDEntries": orders},
    )
    assert table(records, "action", "side", "qty", "aux") == [
        (Action.TRADE, ord("S"), 4, 8 | 600 << 32),
        (Action.OTHER, ord("S"), 4, 8 | 601 << 32),
        (Action.BREAK, ord("S"), 4, 8 | 602 << 32),
    ]


def test_quantities_of_64_bits(v13):
    values = {"TransactTime": 1, "MatchEventIndicator": 0}
    entry = {"MDEntryPx": 1, "SecurityID": 1, "RptSeq": 1, "MDPriceLevel": 1, "MDUpdateAction": 0,
             "MDEntryType": b"0"}  # fmt: skip
    entries = [entry | {"MDEntrySize": n} for n in (2**32 - 1, 2**32, None)]
    records = records_of(v13, 64, values, {"NoMDEntries": entries})
    assert table(records, "qty", "flags") == [
        (2**32 - 1, 0),
        (2**32 - 1, RecordFlag.SATURATED),
        (0, 0),
    ]


def test_a_snapshot_begins_with_a_clear_and_ends_whole(v13):
    root = {"LastMsgSeqNumProcessed": 1000, "TotNumReports": 30, "SecurityID": 5, "RptSeq": 44,
            "TransactTime": 2, "LastUpdateTime": 1}  # fmt: skip
    entries = [
        {"MDEntryPx": 100, "MDEntrySize": 1, "MDPriceLevel": 1, "MDEntryType": b"0"},
        {"MDEntryPx": 90, "MDEntrySize": 7, "MDEntryType": b"2"},
    ]
    records = records_of(v13, 52, root, {"NoMDEntries": entries})
    assert table(records, "action", "instrument", "price", "qty", "flags") == [
        (Action.CLEAR, 5, NO_PRICE, 30, 0),
        (Action.ADD, 5, 100, 1, 0),
        (Action.OTHER, 5, 90, 7, RecordFlag.END_OF_EVENT),
    ]
    assert records["aux"][0] == 44 | 1000 << 32
    assert entry_aux(records[1:]).tolist() == [(44, 1, 0, b"0", 0), (44, 0, 0, b"2", 0)]


def test_an_order_book_in_chunks_is_void_once_and_whole_at_its_end(v13):
    seen = []
    for chunk in (1, 2, 3):
        root = {"LastMsgSeqNumProcessed": 9, "TotNumReports": 1, "SecurityID": 5, "NoChunks": 3,
                "CurrentChunk": chunk, "TransactTime": 2}  # fmt: skip
        entry = {"OrderID": chunk, "MDOrderPriority": 1, "MDEntryPx": 1, "MDDisplayQty": 2,
                 "MDEntryType": b"1"}  # fmt: skip
        seen += table(
            records_of(v13, 53, root, {"NoMDEntries": [entry]}), "action", "order_id", "flags"
        )
    assert seen == [
        (Action.CLEAR, 0, 0),
        (Action.ADD, 1, 0),
        (Action.OTHER, 0, 0),
        (Action.ADD, 2, 0),
        (Action.OTHER, 0, 0),
        (Action.ADD, 3, RecordFlag.END_OF_EVENT),
    ]


def test_resets_states_and_definitions(v13):
    reset = records_of(
        v13, 4, {"TransactTime": 3, "MatchEventIndicator": 0x80}, {"NoMDEntries": [{}]}
    )
    assert table(reset, "action", "instrument", "flags") == [(Action.CLEAR, 0, 16)]
    state = records_of(
        v13,
        30,
        {"TransactTime": 3, "SecurityGroup": b"ES", "MatchEventIndicator": 0x80,
         "SecurityTradingStatus": 17, "HaltReason": 4, "SecurityTradingEvent": 1},
    )  # fmt: skip
    assert table(state, "action", "instrument", "qty") == [(Action.STATUS, 0, 17)]
    assert state["aux"].tobytes() == b"ES\0\0\0\0\x04\x01"
    definition = records_of(
        v13,
        54,
        {"LastUpdateTime": 8, "MatchEventIndicator": 0, "Symbol": b"ESZ6", "SecurityID": 12,
         "MDSecurityTradingStatus": 21, "MinPriceIncrement": 250_000_000},
    )  # fmt: skip
    names = ("action", "instrument", "qty", "price", "event_time")
    assert table(definition, *names) == [(Action.STATUS, 12, 21, 250_000_000, 8)]
    assert definition["aux"].tobytes() == b"ESZ6\0\0\0\0"


def test_volume_and_statistics(v13):
    root = {"TransactTime": 1, "MatchEventIndicator": 0}
    volume = records_of(
        v13, 37, root,
        {"NoMDEntries": [{"MDEntrySize": 9, "SecurityID": 2, "RptSeq": 6, "MDUpdateAction": 1}]},
    )  # fmt: skip
    assert table(volume, "action", "qty", "price") == [(Action.OTHER, 9, NO_PRICE)]
    assert entry_aux(volume).tolist() == [(6, 0, 1, b"e", 0)]
    high = records_of(
        v13, 51, root,
        {"NoMDEntries": [{"MDEntryPx": 8, "SecurityID": 2, "RptSeq": 7, "MDUpdateAction": 0,
                          "MDEntryType": b"7"}]},
    )  # fmt: skip
    assert table(high, "action", "price", "side") == [(Action.OTHER, 8, 0)]
    limits = records_of(v13, 50, root, {"NoMDEntries": [{"SecurityID": 2, "RptSeq": 8}]})
    assert entry_aux(limits).tolist() == [(8, 0, 0, b"g", 0)]


def test_every_template_of_every_schema_goes_through_the_decoder(schema_path):
    """Made-up messages of all templates, with entries in all groups: decoded, none malformed."""
    naive, schema = Naive(schema_path.read_bytes()), SbeSchema.load(schema_path)
    decoder, columns = Mdp3(schema), Mdp3Columns(schema)
    messages = []
    for number, element in naive.messages.items():
        groups = {g.attrib["name"]: [{}, {}] for g in element if g.tag.endswith("group")}
        messages.append(naive.encode(number, schema.version, {}, groups))
    body = b"".join(struct.pack("<H", len(m) + 2) + m for m in messages)
    payload = struct.pack("<IQ", 3, 4) + body
    decoder.packet(payload)
    columns.append_packet(payload)
    assert decoder.counters["messages"] == columns.counters["messages"] == len(messages)
    tables = columns.tables()
    assert set(tables) == set(schema.messages)
    for message in messages:
        _, template, _, content = naive.decode(message)
        (got,) = messages_of(schema, tables[schema.names[template]])
        assert same(got, content)
