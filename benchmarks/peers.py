# SPDX-License-Identifier: Apache-2.0
"""ITCH parsers from PyPI on the same generated day (extra `bench`).

They do not do the same work: itchfeed and meatpy make one Python object of each message, itch-book
keeps every order book and makes NumPy columns of the order messages. So this says what a user who
comes from them can expect, and not more. The slow ones get the first messages of the day only.
"""

from __future__ import annotations

import importlib.util
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import date
from io import BytesIO
from pathlib import Path

from . import build, itch
from .harness import Contestant, Group, Line, Refused, Sample, Settings, Unavailable

_SLOW_MESSAGES = 200_000


def _head(data: bytes, messages: int) -> bytes:
    """The first messages, without type O, of which meatpy 0.5 expects four bytes too many."""
    out = bytearray()
    at = taken = 0
    while taken < messages:
        end = at + 2 + int.from_bytes(data[at : at + 2], "big")
        if data[at + 2] != ord("O"):
            out += data[at:end]
            taken += 1
        at = end
    return bytes(out)


def _timed(messages: int, parse: Callable[[], int]) -> Sample:
    start = time.perf_counter_ns()
    try:
        count = parse()
    except Exception as error:
        raise Refused(f"it failed on the generated day: {error!r}") from error
    elapsed = time.perf_counter_ns() - start
    if count != messages:
        raise Refused(f"{count} of {messages} messages came out")
    return Sample({"rate": messages * 1e9 / elapsed})


def _itchfeed(head: bytes) -> Contestant:
    from itch.parser import MessageParser  # noqa: PLC0415

    def parse() -> int:
        return sum(1 for _ in MessageParser().parse_file(BytesIO(head)))

    return lambda: _timed(_SLOW_MESSAGES, parse)


def _meatpy(head: Path) -> Contestant:
    from meatpy.itch50 import ITCH50MessageReader  # noqa: PLC0415

    def parse() -> int:
        with ITCH50MessageReader(head) as reader:
            return sum(1 for _ in reader)

    return lambda: _timed(_SLOW_MESSAGES, parse)


def _itch_book(day: Path) -> Contestant:
    import itch_book  # noqa: PLC0415

    def parse() -> int:
        feed = itch_book.open(str(day), date=date(2020, 1, 30))
        for _ in feed.batches(tables=("messages",)):
            pass
        return int(feed.stats["messages"]) if feed.stats else 0

    return lambda: _timed(build.DAY_MESSAGES, parse)


def peer(module: str, package: str, make: Callable[[], Contestant]) -> Contestant | Unavailable:
    if importlib.util.find_spec(module) is None:
        return Unavailable(f"{package} is not installed (pip install {package})")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return make()
    except Exception as error:  # whatever a foreign package does on import
        return Unavailable(f"{package} does not load: {error}")


@contextmanager
def _open(settings: Settings) -> Iterator[Mapping[str, Contestant | Unavailable]]:
    day = build.day_file()
    data = day.read_bytes()
    head = _head(data, _SLOW_MESSAGES)
    head_file = day.with_name(f"head-{_SLOW_MESSAGES}.itch")
    head_file.write_bytes(head)
    yield {
        "wirepath": lambda: Sample({"rate": itch.python_rate(data, settings.cpus[1])}),
        "itchfeed": peer("itch", "itchfeed", lambda: _itchfeed(head)),
        "meatpy": peer("meatpy", "meatpy", lambda: _meatpy(head_file)),
        "itch-book": peer("itch_book", "itch-book", lambda: _itch_book(day)),
    }


def _line(name: str, does: str) -> Line:
    what = f"Itch50.decode_into a NumPy array, against {name}: {does}"
    return Line(f"peer_{name.replace('-', '_')}", what, "messages/s", "wirepath", name)


PEERS = Group(
    "peers",
    (
        _line("itchfeed", f"one object a message, first {_SLOW_MESSAGES:,}"),
        _line("meatpy", f"one object a message, first {_SLOW_MESSAGES:,}"),
        _line("itch-book", "order messages as NumPy columns, books kept"),
    ),
    _open,
)
