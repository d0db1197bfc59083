"""The SBE engine on made-up schemas, against a naive decoder; its errors; the reader of the XML."""

from __future__ import annotations

import math
import random
import struct
import time

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sbe_naive import Naive, messages_of, same

from wirepath.errors import ConfigError
from wirepath.feed import Mdp3, SbeDecoder, SbeSchema, is_null

TYPES = """
  <types>
    <type name="Text5" primitiveType="char" length="5"/>
    <type name="Letter" primitiveType="char"/>
    <type name="Three" primitiveType="uint16" length="3"/>
    <type name="Maybe" primitiveType="int32" presence="optional" nullValue="77"/>
    <type name="MaybeFloat" primitiveType="double" presence="optional"/>
    <type name="Small" primitiveType="uint8" presence="optional"/>
    <type name="Fixed" primitiveType="int8" presence="constant">-4</type>
    <type name="FixedText" primitiveType="char" length="3" presence="constant">EUR</type>
    <enum name="Side" encodingType="char">
      <validValue name="Buy">1</validValue><validValue name="Sell">2</validValue>
    </enum>
    <enum name="Level" encodingType="Small"><validValue name="Top">1</validValue></enum>
    <set name="Flags" encodingType="uint32">
      <choice name="First">0</choice><choice name="Last">31</choice>
    </set>
    <composite name="Price">
      <type name="mantissa" primitiveType="int64" presence="optional"
            nullValue="9223372036854775807"/>
      <type name="exponent" primitiveType="int8" presence="constant">-7</type>
    </composite>
    <composite name="Date">
      <type name="year" primitiveType="uint16"/>
      <type name="day" primitiveType="uint8" offset="3"/>
      <ref name="level" type="Level"/>
    </composite>
    <composite name="Nested">
      <type name="a" primitiveType="int16"/>
      <composite name="inner">
        <type name="b" primitiveType="float"/><ref name="flags" type="Flags" offset="5"/>
      </composite>
      <ref name="price" type="Price"/>
      <enum name="own" encodingType="uint8"><validValue name="One">1</validValue></enum>
    </composite>
    <composite name="Around"><ref name="price" type="Price"/></composite>
    <composite name="groupSize">
      <type name="blockLength" primitiveType="uint16"/>
      <type name="numInGroup" primitiveType="uint8"/>
    </composite>
    <composite name="groupSize8Byte">
      <type name="blockLength" primitiveType="uint16"/>
      <type name="numInGroup" primitiveType="uint8" offset="7"/>
    </composite>
    <composite name="groupSizeEncoding">
      <type name="blockLength" primitiveType="uint16"/>
      <type name="numInGroup" primitiveType="uint16"/>
    </composite>
    <composite name="wide">
      <type name="numInGroup" primitiveType="uint64"/>
      <type name="blockLength" primitiveType="uint32"/>
    </composite>
    <composite name="data8">
      <type name="length" primitiveType="uint8"/>
      <type name="varData" primitiveType="uint8" length="0"/>
    </composite>
    <composite name="data32">
      <type name="length" primitiveType="uint32"/>
      <type name="varData" primitiveType="char" length="0"/>
    </composite>
    <composite name="messageHeader">
      <type name="blockLength" primitiveType="uint16"/>
      <type name="templateId" primitiveType="uint16"/>
      <type name="schemaId" primitiveType="uint16"/>
      <type name="version" primitiveType="uint16"/>
    </composite>
  </types>
"""
FIELD_TYPES = [
    "uint8", "int16", "uint32", "int64", "float", "double", "char", "Text5", "Letter", "Three",
    "Maybe", "MaybeFloat", "Small", "Fixed", "FixedText", "Side", "Level", "Flags", "Price", "Date",
    "Nested", "Around",
]  # fmt: skip
SIZES = {
    "uint8": 1, "int16": 2, "uint32": 4, "int64": 8, "float": 4, "double": 8, "char": 1, "Text5": 5,
    "Letter": 1, "Three": 6, "Maybe": 4, "MaybeFloat": 8, "Small": 1, "Fixed": 0, "FixedText": 0,
    "Side": 1, "Level": 1, "Flags": 4, "Price": 8, "Date": 5, "Nested": 20, "Around": 8,
}  # fmt: skip
DIMENSIONS = ["groupSize", "groupSize8Byte", "groupSizeEncoding", "wide"]


def schema_xml(messages, order="littleEndian", types=TYPES, head='id="9" version="3"'):
    return (
        f'<sbe:messageSchema xmlns:sbe="http://fixprotocol.io/2016/sbe" {head} '
        f'byteOrder="{order}">{types}{messages}</sbe:messageSchema>'
    )


@st.composite
def blocks(draw, depth=0):
    """The inside of a message or group, and its blockLength attribute."""
    out, at = [], 0
    for i in range(draw(st.integers(0, 5))):
        kind = draw(st.sampled_from(FIELD_TYPES))
        attributes = f'name="f{i}" id="{i + 1}" type="{kind}"'
        if SIZES[kind]:
            if draw(st.booleans()):
                at += draw(st.integers(0, 3))
                attributes += f' offset="{at}"'
            at += SIZES[kind]
        if since := draw(st.integers(0, 3)):
            attributes += f' sinceVersion="{since}"'
        out.append(f"<field {attributes}/>")
    for i in range(draw(st.integers(0, 2)) if depth < 2 else 0):
        inside, length = draw(blocks(depth + 1))
        dimension = draw(st.sampled_from(DIMENSIONS))
        since = draw(st.integers(0, 3))
        attributes = f'name="g{i}" id="{i + 50}" sinceVersion="{since}"'
        if dimension != "groupSizeEncoding":
            attributes += f' dimensionType="{dimension}"'
        out.append(f"<group {attributes}{length}>{inside}</group>")
    for i in range(draw(st.integers(0, 2))):
        kind = draw(st.sampled_from(["data8", "data32"]))
        since = draw(st.integers(0, 2))
        out.append(f'<data name="d{i}" id="{i + 90}" type="{kind}" sinceVersion="{since}"/>')
    more = draw(st.integers(0, 3))
    length = f' blockLength="{at + more}"' if more else ""
    return "".join(out), length


@st.composite
def schemas(draw):
    order = draw(st.sampled_from(["littleEndian", "bigEndian"]))
    messages = ""
    for number in range(1, draw(st.integers(1, 2)) + 1):
        inside, length = draw(blocks())
        messages += f'<sbe:message name="M{number}" id="{number}"{length}>{inside}</sbe:message>'
    return schema_xml(messages, order)


class Writer:
    """Messages with random content, as a sender of some version would put them together."""

    def __init__(self, naive, rng):
        self.naive, self.rng = naive, rng

    def put(self, composite, **values):
        naive = self.naive
        out = bytearray(naive.size(composite))
        for member, at in naive.members(composite):
            name = member.attrib["name"]
            if name in values:
                code = {"uint8": "B", "uint16": "H", "uint32": "I", "uint64": "Q"}[
                    member.attrib["primitiveType"]
                ]
                struct.pack_into(naive.order + code, out, at, values[name])
        return bytes(out)

    def block(self, element, version):
        naive, rng = self.naive, self.rng
        length = naive.needs(element, version)
        if version >= 3:
            length = max(length, naive.block_length(element))
        length += rng.choice((0, 0, 1, 7))
        out = rng.randbytes(length)
        for part in element:
            if part.tag == "field" or int(part.get("sinceVersion", "0")) > version:
                continue
            if part.tag == "data":
                header = naive.types[part.attrib["type"]]
                content = rng.randbytes(rng.choice((0, 1, 30)))
                first = naive.members(header)[0][0]
                code = {"uint8": "B", "uint32": "I"}[first.attrib["primitiveType"]]
                out += struct.pack(naive.order + code, len(content)) + content
                continue
            entries = [self.block(part, version) for _ in range(rng.choice((0, 1, 2, 3)))]
            # One block length holds for all entries of a group: that of the first is used.
            fixed = {size for size, _ in entries}
            entries = entries if len(fixed) <= 1 else entries[:1]
            size = entries[0][0] if entries else length
            dimension = naive.dimension(part)
            out += self.put(dimension, blockLength=size, numInGroup=len(entries))
            out += b"".join(content for _, content in entries)
        return length, out

    def message(self, number, version):
        length, content = self.block(self.naive.messages[number], version)
        header = self.put(
            self.naive.header,
            blockLength=length,
            templateId=number,
            schemaId=self.naive.schema_id,
            version=version,
        )
        return header + content


def decode_both(xml, messages):
    """What came of each message, by both decoders; asserts that it is the same."""
    schema, naive = SbeSchema.parse(xml), Naive(xml)
    decoder = SbeDecoder(schema)
    expected: dict[str, list] = {name: [] for name in schema.messages}
    results = []
    for message in messages:
        result, template, _, content = naive.decode(message)
        assert decoder.append(message) == (result == "ok"), result
        results.append(result)
        if result == "ok":
            expected[schema.names[template]].append(content)
    for name in schema.messages:
        got = messages_of(schema, decoder.columns(name))
        assert len(got) == len(expected[name])
        for ours, theirs in zip(got, expected[name], strict=True):
            assert same(ours, theirs), (ours, theirs)
    counters = decoder.counters
    for key, name in (("ok", "messages"), ("unknown",) * 2, ("malformed",) * 2):
        assert counters[name] == results.count(key)
    assert counters["other_schema"] == results.count("other schema")
    return results


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(schemas(), st.integers(0, 1 << 32))
def test_messages_of_every_version_decode_as_the_naive_decoder_has_them(xml, seed):
    rng = random.Random(seed)
    naive = Naive(xml)
    writer = Writer(naive, rng)
    messages = [
        writer.message(rng.choice(list(naive.messages)), version)
        for version in (0, 1, 2, 3, 3, 4, 9)
    ]
    assert set(decode_both(xml, messages)) == {"ok"}


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(schemas(), st.integers(0, 1 << 32))
def test_cut_and_damaged_messages_are_judged_as_the_naive_decoder_does(xml, seed):
    rng = random.Random(seed)
    naive = Naive(xml)
    writer = Writer(naive, rng)
    messages = []
    for _ in range(8):
        message = bytearray(writer.message(rng.choice(list(naive.messages)), rng.choice((1, 3, 5))))
        if rng.random() < 0.5:
            message = message[: rng.randrange(len(message) + 1)]
        for _ in range(rng.choice((0, 1, 3)) if message else 0):
            # Small numbers: a count of 2^60 takes the naive decoder for ever.
            message[rng.randrange(len(message))] = rng.choice((0, 1, 2, 3, 8))
        messages.append(bytes(message))
    decode_both(xml, messages)


# --- what a user asks of a schema -----------------------------------------------------------------
SAMPLE = schema_xml("""
  <message name="Order" id="3" blockLength="40">
    <field name="seq" id="1" type="uint32"/>
    <field name="price" id="2" type="Price" description="a limit"/>
    <field name="maybe" id="3" type="Maybe"/>
    <field name="real" id="4" type="MaybeFloat"/>
    <field name="side" id="5" type="Side"/>
    <field name="flags" id="6" type="Flags" sinceVersion="2"/>
    <field name="currency" id="7" type="FixedText"/>
    <field name="kind" id="8" type="Side" presence="constant" valueRef="Side.Sell"/>
    <group name="legs" id="9" dimensionType="groupSize">
      <field name="ratio" id="10" type="int16"/>
      <group name="fills" id="11"><field name="qty" id="12" type="uint32"/></group>
      <data name="note" id="13" type="data8"/>
    </group>
    <data name="text" id="14" type="data32"/>
  </message>
""")


def order(version=3, schema=9, template=3):
    root = struct.pack("<IqidcI", 7, 2**63 - 1, 77, math.nan, b"2", 5).ljust(40, b"\xee")
    leg = struct.pack("<h", -1) + struct.pack("<HHII", 4, 2, 10, 20) + b"\x02ab"
    legs = struct.pack("<HB", 2, 2) + leg + leg
    head = struct.pack("<HHHH", 40, template, schema, version)
    return head + root + legs + struct.pack("<I", 3) + b"end"


def test_columns_of_a_message_with_groups_and_data():
    schema = SbeSchema.parse(SAMPLE)
    assert (schema.id, schema.version, schema.byte_order) == (9, 3, "littleEndian")
    assert dict(schema.messages) == {"Order": 3}
    assert schema.groups("Order") == ["legs", "legs.fills"]
    assert schema.data(3) == ["text"]
    assert schema.data(3, "legs") == ["note"]
    decoder = SbeDecoder(schema, ["Order"])
    data = order() * 3
    assert decoder.append_many(data, [len(order())] * 3, seq=100, recv_time=5) == 103
    assert decoder.rows("Order") == 3
    table = decoder.columns("Order")
    rows = table.rows
    # The schema's own "seq" keeps its name, the prefix column makes room.
    assert rows["seq"].tolist() == [7, 7, 7]
    assert rows["seq_"].tolist() == [100, 101, 102]
    assert rows["recv_time"].tolist() == [5, 5, 5]
    assert rows["message"].tolist() == [0, 1, 2]
    assert rows["side"].tolist() == [b"2"] * 3
    assert table.groups["legs"]["parent"].tolist() == [0, 0, 1, 1, 2, 2]
    assert table.groups["legs"]["entry"].tolist() == [0, 1] * 3
    fills = table.groups["legs.fills"]
    assert fills["parent"].tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    assert fills["qty"].tolist() == [10, 20] * 6
    assert table.bytes_of("text") == [b"end"] * 3
    assert table.bytes_of("note", "legs") == [b"ab"] * 6
    assert decoder.rows("Order") == 0
    assert len(decoder.columns("Order").rows) == 0


def test_what_a_schema_says_of_its_fields():
    schema = SbeSchema.parse(SAMPLE)
    fields = schema.fields("Order")
    assert fields["price"].exponent == -7
    assert fields["price"].null == 2**63 - 1
    assert fields["price"].description == "a limit"
    assert fields["side"].values == {"Buy": b"1", "Sell": b"2"}
    assert fields["flags"].choices == {"First": 0, "Last": 31}
    assert fields["flags"].since_version == 2
    assert fields["currency"].format is None
    constants = {"price.exponent": -7, "currency": b"EUR", "kind": b"2"}
    assert schema.constants("Order") == constants
    assert "currency" not in (schema.dtype("Order").names or ())
    decoder = SbeDecoder(schema)
    decoder.append(order())
    rows = decoder.columns("Order").rows
    nulls = {
        name: is_null(rows[name], fields[name]).tolist() for name in ("price", "maybe", "real")
    }
    assert nulls == {"price": [True], "maybe": [True], "real": [True]}
    assert is_null(rows["side"], fields["side"]).tolist() == [False]


def test_an_older_sender_has_nulls_and_a_newer_one_longer_blocks():
    decoder = SbeDecoder(SbeSchema.parse(SAMPLE))
    assert decoder.append(order(version=1))
    assert decoder.append(order(version=200))
    rows = decoder.columns("Order").rows
    assert rows["flags"].tolist() == [0, 5]
    assert rows["version"].tolist() == [1, 200]


def test_what_is_not_ours_is_counted_and_skipped():
    decoder = SbeDecoder(SbeSchema.parse(SAMPLE))
    good = order()
    assert not decoder.append(order(schema=8))
    assert not decoder.append(order(template=4))
    assert not any(decoder.append(good[:n]) for n in range(len(good)))
    assert decoder.append(good)
    assert decoder.counters["other_schema"] == 1
    assert decoder.counters["unknown"] == 1
    assert decoder.counters["malformed"] == len(good)
    assert decoder.counters["by_template"] == {3: 1}
    table = decoder.columns(3)
    assert len(table.rows) == 1
    assert len(table.groups["legs"]) == 2


def test_unusable_arguments_are_refused_with_what_would_be_right():
    schema = SbeSchema.parse(SAMPLE)
    with pytest.raises(ConfigError, match=r"message = 'X' .* \(Order\)"):
        schema.dtype("X")
    with pytest.raises(ConfigError, match=r"group = 'X' .* \(legs, legs.fills\)"):
        schema.group_dtype("Order", "X")
    with pytest.raises(ConfigError, match="at most 3"):
        SbeDecoder(schema).append_many(b"abc", [2, 2])
    with pytest.raises(ConfigError, match="whole numbers"):
        SbeDecoder(schema).append_many(b"abc", [-1])
    with pytest.raises(ConfigError, match="CME's byte order"):
        Mdp3(SbeSchema.parse(schema_xml("", "bigEndian")))
    with pytest.raises(ConfigError, match="65535"):
        Mdp3(schema, channel=70_000)


def test_decoding_releases_no_row_of_a_growing_table():
    """Tables grow under many rows; all of them stay what they were."""
    decoder = SbeDecoder(SbeSchema.parse(SAMPLE))
    n = 5_000
    decoder.append_many(order() * n, np.full(n, len(order())))
    table = decoder.columns("Order")
    assert table.rows["seq_"].tolist() == list(range(1, n + 1))
    assert table.groups["legs.fills"]["qty"].tolist() == [10, 20] * (2 * n)
    assert set(table.bytes_of("text")) == {b"end"}


# --- errors of schemas ----------------------------------------------------------------------------
WRONG = [
    ("<x/>", "this is no SBE schema"),
    ("<messageSchema", "not well-formed XML"),
    ("", "not well-formed XML"),
    ('<!DOCTYPE x [<!ENTITY a "b">]><x>&a;</x>', "remove <!DOCTYPE"),
    ("<messageSchema/>", '"messageHeader" is not declared'),
    (schema_xml("", head='version="1"'), 'it has no "id"'),
    (schema_xml("", head='id="x"'), "whole number from 0"),
    (schema_xml("", order="middle"), "littleEndian or bigEndian"),
    (schema_xml('<message name="A"/>'), 'it has no "id"'),
    (schema_xml('<message name="A" id="1"/><message name="B" id="1"/>'), "that of another"),
    (schema_xml('<message name="A" id="70000"/>'), "0 to 65535"),
    (schema_xml('<message name="A" id="1"><field name="a" type="No"/></message>'), "not declared"),
    (schema_xml('<message name="A" id="1"><field type="uint8"/></message>'), "no usable name"),
    (schema_xml('<message name="A" id="1"><group name="a.b"/></message>'), "a dot in it"),
    (
        schema_xml('<message name="A" id="1"><field name="a" type="uint8"/>'
                   '<field name="a" type="uint8"/></message>'),
        "two of this name",
    ),
    (
        schema_xml('<message name="A" id="1"><field name="a" type="uint32"/>'
                   '<field name="b" type="uint8" offset="2"/></message>'),
        "at least 4",
    ),
    (
        schema_xml('<message name="A" id="1" blockLength="2"><field name="a" type="uint32"/>'
                   "</message>"),
        "end at byte 4",
    ),
    (schema_xml('<message name="A" id="1"><group name="g" dimensionType="Flags"/></message>'),
     "not a composite"),
    (schema_xml('<message name="A" id="1"><group name="g" dimensionType="data8"/></message>'),
     "no blockLength"),
    (schema_xml('<message name="A" id="1"><data name="d" type="Price"/></message>'), "no varData"),
    (schema_xml('<message name="A" id="1"><field name="a" type="Side" presence="constant" '
                'valueRef="Side.Up"/></message>'), "Enum.value"),
    (schema_xml("", types=TYPES + '<types><type name="T" primitiveType="int9"/></types>'
                '<message name="A" id="1"><field name="a" type="T"/></message>'), "one of char"),
    (schema_xml('<types><composite name="C"><ref name="c" type="C"/></composite></types>'
                '<message name="A" id="1"><field name="a" type="C"/></message>'), "itself"),
    (schema_xml('<types><set name="S" encodingType="uint8"><choice name="c">8</choice></set>'
                '</types>'
                '<message name="A" id="1"><field name="a" type="S"/></message>'), "from 0 to 7"),
    (schema_xml('<types><type name="N" primitiveType="uint8" nullValue="300"/></types>'
                '<message name="A" id="1"><field name="a" type="N"/></message>'), "value of uint8"),
    (schema_xml('<include xmlns="http://www.w3.org/2001/XInclude" href="x.xml"/>'), "from a file"),
]  # fmt: skip


@pytest.mark.parametrize(("xml", "says"), WRONG, ids=range(len(WRONG)))
def test_errors_name_file_line_and_element_and_what_would_be_right(xml, says):
    with pytest.raises(ConfigError) as caught:
        SbeSchema.parse(xml, "venue.xml")
    assert "venue.xml" in str(caught.value)
    assert says in str(caught.value)


def test_a_message_about_a_field_says_where_it_stands():
    xml = schema_xml('\n<message name="A" id="1">\n<field name="wrong" type="Nope"/></message>')
    line = xml[: xml.index('"wrong"')].count("\n") + 1
    with pytest.raises(ConfigError, match=rf'venue.xml:{line}: <field name="wrong">: .*declare it'):
        SbeSchema.parse(xml, "venue.xml")


def test_schemas_that_would_be_enormous_end_early():
    bomb = "".join(
        f'<composite name="c{i}">'
        + "".join(f'<ref name="r{k}" type="c{i - 1}"/>' for k in range(50))
        + "</composite>"
        if i
        else '<composite name="c0"><type name="x" primitiveType="int8" presence="constant">1</type>'
        "</composite>"
        for i in range(7)
    )
    xml = schema_xml(
        f'<types>{bomb}</types><message name="A" id="1"><field name="a" type="c6"/></message>'
    )
    start = time.monotonic()
    with pytest.raises(ConfigError, match="members"):
        SbeSchema.parse(xml)
    with pytest.raises(ConfigError, match="inside each other"):
        SbeSchema.parse("<a>" * 100_000)
    with pytest.raises(ConfigError, match="MiB"):
        SbeSchema.parse(b" " * ((16 << 20) + 1))
    deep = '<group name="g">' * 12 + "</group>" * 12
    with pytest.raises(ConfigError, match="nested too deep"):
        SbeSchema.parse(schema_xml(f'<message name="A" id="1">{deep}</message>'))
    many = "".join(f'<message name="M{i}" id="{i}" blockLength="65535"/>' for i in range(1, 2_000))
    with pytest.raises(ConfigError, match="too large together"):
        SbeSchema.parse(schema_xml(many))
    assert time.monotonic() - start < 30


def test_included_files_stand_beside_the_schema(tmp_path):
    (tmp_path / "types.xml").write_text(TYPES)
    include = '<xi:include xmlns:xi="http://www.w3.org/2001/XInclude" href="{}"/>'
    xml = '<messageSchema id="1" version="1">{}<message name="A" id="1">' \
          '<field name="a" type="Date"/></message></messageSchema>'  # fmt: skip
    path = tmp_path / "schema.xml"
    path.write_text(xml.format(include.format("types.xml")))
    assert "a" in (SbeSchema.load(path).dtype("A").names or ())
    inside = tmp_path / "inside"
    inside.mkdir()
    path = inside / "schema.xml"
    for href in ("../types.xml", "/etc/passwd", "nothing.xml"):
        path.write_text(xml.format(include.format(href)))
        with pytest.raises(ConfigError, match="beside the schema"):
            SbeSchema.load(path)
    path.write_text(xml.format(include.format("schema.xml")))
    with pytest.raises(ConfigError, match="each other"):
        SbeSchema.load(path)


def test_no_bytes_make_the_reader_do_anything_but_answer():
    """Damaged schemas load or raise ConfigError, for some seconds of them."""
    rng = random.Random(8)
    whole = SAMPLE.encode()
    words = [b"<field", b"</types>", b'"', b"0", b"-1", b"65535", b"99999999999", b"type=", b"id=",
             b"\xff", b"\0", b"&amp;", b"<!DOCTYPE a>", b"<![CDATA[", b"constant", b"uint8", b"nan",
             b'length="0"', b'offset="9"', b"composite", b"message ", b"\xe2\x82\xac"]  # fmt: skip
    end = time.monotonic() + 8
    loaded = refused = 0
    while time.monotonic() < end:
        data = bytearray(whole)
        for _ in range(rng.choice((1, 1, 2, 5))):
            at = rng.randrange(len(data))
            match rng.randrange(4):
                case 0:
                    data[at : at + rng.choice((1, 4, 40))] = b""
                case 1:
                    data[at:at] = rng.choice(words)
                case 2:
                    data[at : at + 3] = rng.choice(words)
                case _:
                    there = rng.randrange(len(data))
                    data[at : at + 30] = data[there : there + 30]
        try:
            schema = SbeSchema.parse(bytes(data))
            decoder = SbeDecoder(schema)
            decoder.append(order())
            decoder.tables()
            for name in schema.messages:
                schema.fields(name)
                schema.constants(name)
            loaded += 1
        except ConfigError:
            refused += 1
    assert loaded > 100
    assert refused > 100
