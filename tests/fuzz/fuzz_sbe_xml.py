# SPDX-License-Identifier: Apache-2.0
"""Schemas that nobody meant: XML of SBE schemas, damaged, into the loader.

Takes libFuzzer's options -runs=N, -max_total_time=S, -seed=N and -artifact_prefix=P, and ends with
its last line. A schema is read, or refused with ConfigError that names the file; anything else is
a fault, and so is one that takes longer than a second. What was read makes a decoder, which gets a
message of noise.
"""

from __future__ import annotations

import argparse
import random
import re
import sys
import time
import traceback
from pathlib import Path

from wirepath import ConfigError
from wirepath.feed import SbeDecoder, SbeSchema

CORPUS = Path(__file__).parent / "corpus" / "sbe_xml"
_SLOW = 1.0  # seconds
_TAG = re.compile(rb"<[^<>]*>")
_VALUE = re.compile(rb'"[^"<>]*"')
_NAMES = (
    b"type composite enum set ref validValue choice message field group data include types "
    b"messageSchema name id primitiveType presence length offset sinceVersion blockLength "
    b"dimensionType encodingType nullValue minValue maxValue characterEncoding semanticType "
    b"valueRef description byteOrder version href deprecated"
).split()
_VALUES = [
    *b"uint8 uint16 uint32 uint64 int8 int16 int32 int64 float double char A B Side 0 1 2".split(),
    *b"optional required constant bigEndian littleEndian groupSize groupSize8Byte 3 7 8".split(),
    *b"groupSizeEncoding messageHeader blockLength numInGroup varData length 63 64 254 255".split(),
    *b"Price.mantissa 256 65534 65535 65536 4294967295 4294967296 9223372036854775807".split(),
    *b"18446744073709551615 -1 -128 99999999999999999999999999 1e308 1e999 NaN inf x.xml".split(),
    *b"1.5 \xc2\xa0 \xe2\x82\xac &#0; &lt; ../../etc/passwd".split(),
    *(b"", b" ", b" 7 ", b"a b", b"\n"),
]
_NOISE = (b"<!DOCTYPE x>", b"<!--", b"]]>", b"<![CDATA[", b"&amp;", b"\x00", b"\xff", b"<", b">")


def damaged(random_: random.Random, seeds: list[bytes]) -> bytes:
    """A seed after some changes, most of which keep it well-formed."""
    out = random_.choice(seeds)
    for _ in range(random_.choice((1, 1, 1, 2, 2, 3, 5, 8))):
        out = random_.choice(_CHANGES)(random_, out, seeds)
    return out[: 1 << 16]


def _span(random_: random.Random, pattern: re.Pattern[bytes], data: bytes) -> tuple[int, int]:
    found = [m.span() for m in pattern.finditer(data)]
    return random_.choice(found) if found else (0, 0)


def _value(random_: random.Random, data: bytes, _: list[bytes]) -> bytes:
    a, b = _span(random_, _VALUE, data)
    others = _VALUE.findall(data)
    new = b'"' + random_.choice(_VALUES) + b'"'
    if others and random_.random() < 0.5:
        new = random_.choice(others)
    return data[:a] + new + data[b:]


def _attribute(random_: random.Random, data: bytes, _: list[bytes]) -> bytes:
    a, b = _span(random_, _TAG, data)
    tag = data[a:b]
    end = -2 if tag.endswith(b"/>") else -1
    more = b" " + random_.choice(_NAMES) + b'="' + random_.choice(_VALUES) + b'"'
    return data[:a] + tag[:end] + more + tag[end:] + data[b:]


def _less(random_: random.Random, data: bytes, _: list[bytes]) -> bytes:
    a, b = _span(random_, re.compile(rb' \w+="[^"]*"'), data)
    return data[:a] + data[b:]


def _rename(random_: random.Random, data: bytes, _: list[bytes]) -> bytes:
    a, b = _span(random_, re.compile(rb"\b\w+(?==)"), data)
    return data[:a] + random_.choice(_NAMES) + data[b:]


def _drop(random_: random.Random, data: bytes, _: list[bytes]) -> bytes:
    a, b = _span(random_, re.compile(rb"<[^<>/]*/>"), data)
    return data[:a] + data[b:]


def _copy(random_: random.Random, data: bytes, seeds: list[bytes]) -> bytes:
    """An element, or one with what is in it, from this or another schema, to another place."""
    source = random_.choice((data, random_.choice(seeds)))
    whole = rb"<[^<>/]*/>|<(composite|enum|set|message|group)\b[^<>]*[^/]>.*?</\1>"
    a, b = _span(random_, re.compile(whole, re.DOTALL), source)
    at = _span(random_, _TAG, data)[1]
    return data[:at] + source[a:b] * random_.choice((1, 1, 1, 2, 40)) + data[at:]


def _bytes(random_: random.Random, data: bytes, _: list[bytes]) -> bytes:
    out = bytearray(data)
    for _i in range(random_.randint(1, 4)):
        if out:
            out[random_.randrange(len(out))] = random_.randrange(256)
    return bytes(out)


def _noise(random_: random.Random, data: bytes, _: list[bytes]) -> bytes:
    at = random_.randint(0, len(data))
    return data[:at] + random_.choice(_NOISE) + data[at:]


def _cut(random_: random.Random, data: bytes, _: list[bytes]) -> bytes:
    return data[: random_.randint(0, len(data))]


_CHANGES = [_value] * 6 + [_attribute] * 3 + [_less, _rename, _drop] * 2 + [_copy] * 3
_CHANGES += [_bytes, _noise, _cut]


def one(xml: bytes, random_: random.Random) -> str:
    """What became of a schema."""
    try:
        schema = SbeSchema.parse(xml, "fuzzed.xml")
    except ConfigError as error:
        assert "fuzzed.xml" in str(error), f"the message names no file: {error}"
        return "refused"
    decoder = SbeDecoder(schema)
    for _ in range(2):
        decoder.append(random_.randbytes(random_.randint(0, 80)))
    if schema.messages:
        name, number = random_.choice(list(schema.messages.items()))
        order = "big" if schema.byte_order == "bigEndian" else "little"
        head = (random_.randint(0, 40), number, schema.id, schema.version)
        message = b"".join((n & 0xFFFF).to_bytes(2, order) for n in head)
        decoder.append(message + random_.randbytes(random_.randint(0, 80)))
        decoder.columns(name)
    return "read"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    for name, default in (("runs", 100_000), ("max_total_time", 0), ("seed", 1)):
        parser.add_argument(f"-{name}", type=int, default=default)
    parser.add_argument("-artifact_prefix", default="./")
    options, _ = parser.parse_known_args()
    seeds = [path.read_bytes() for path in sorted(CORPUS.iterdir())]
    random_ = random.Random(options.seed)
    began, last = time.monotonic(), {"read": 0, "refused": 0}
    for runs in range(options.runs):
        if options.max_total_time and time.monotonic() - began > options.max_total_time:
            break
        xml = seeds[runs] if runs < len(seeds) else damaged(random_, seeds)
        start = time.process_time()
        try:
            last[one(xml, random_)] += 1
            took = time.process_time() - start
            assert took < _SLOW, f"{took:.1f} s for {len(xml)} bytes"
        except Exception:
            path = Path(f"{options.artifact_prefix}{runs}.xml")
            path.write_bytes(xml)
            traceback.print_exc()
            print(f"fault in run {runs}, seed {options.seed}: {path}")
            return 1
    done = last["read"] + last["refused"]
    print(f"{last['read']} read, {last['refused']} refused")
    print(f"Done {done} runs in {time.monotonic() - began:.0f} second(s)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
