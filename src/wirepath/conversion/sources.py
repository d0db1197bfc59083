"""What is in a capture or a day file, array by array: memory does not grow with the file."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from .. import _core
from ..dtypes import RECORD
from ..errors import ConfigError, WirepathError
from ..feed import Itch50, LineReader, Raw, SbeSchema, midnight_ns
from ..feed.itch50 import message_types as itch_types
from ..feed.itch50 import row_dtype as itch_row_dtype
from ..flows import flow_of
from ..ports import open as open_port
from ..publish_source import kind_of
from ..steering import udp
from ..wire_dtype import dtype_of
from .options import ConvertConfig, type_number

# Records, or messages of raw rows, that are taken at a time.
CHUNK = 262_144
_BYTES = 8 << 20
_BATCH = 512

Piece = NDArray[np.void] | dict[Any, NDArray[np.void]]


class Broken(WirepathError):
    """The file is damaged from some place on; what was read before is good."""


class Source:
    """A file's contents as arrays of records, or of raw rows by type, and what it says of itself.

    ``report`` is complete when the iteration has ended.
    """

    def __init__(self, path: str, config: ConvertConfig) -> None:
        self.path = path
        self.config = config
        self.report: dict[str, Any] = {
            "kind": "", "frames": 0, "messages": 0, "by_type": {}, "unknown": 0, "malformed": 0,
            "gaps": 0, "missing": 0, "abandoned": [], "lines": [],
        }  # fmt: skip
        self.symbols: _core.SymbolTable | None = None

    def __iter__(self) -> Iterator[Piece]:
        kind, compressed = self._kind()
        self.report["kind"] = kind
        if kind == "capture":
            return self._raw() if self.config.protocol == "raw" else self._capture()
        if self.config.protocol != "itch":
            raise ConfigError(
                f"{self.path} is no capture (pcap, pcapng), and only ITCH has day files: "
                "protocol must be itch"
            )
        if self.config.flows:
            raise ConfigError(
                f"flows are not usable with {self.path}: only a capture holds several flows"
            )
        return self._day(compressed)

    def _kind(self) -> tuple[str, bool]:
        try:
            return kind_of(self.path)
        except ConfigError:
            if not Path(self.path).exists() or Path(self.path).is_dir():
                raise ConfigError(f"{self.path} is no file: name a capture or a day file") from None
            if Path(self.path).stat().st_size == 0:
                raise ConfigError(f"{self.path} is empty") from None
            raise

    # --- captures ------------------------------------------------------------------------------
    def _steering(self) -> _core.Steering:
        flows = [udp(*flow_of(flow)) for flow in self.config.flows]
        if not flows:
            return _core.everything()
        steering = flows[0]
        for flow in flows[1:]:
            steering |= flow
        return steering

    def _capture(self) -> Iterator[Piece]:
        config = self.config
        schema = SbeSchema.load(config.schema_file) if config.schema_file else None
        wanted: list[str | int] = []
        if config.raw:
            wanted = [self._type_key(each) for each in config.types]
        reader = LineReader(
            config.protocol,
            columns=config.raw,
            types=wanted,
            session_date=config.session_date,
            schema=schema,
        )
        self.symbols = reader.symbols
        take = _taker(reader)
        with open_port(f"pcap:{self.path}", steer=self._steering(), batch_size=_BATCH) as port:
            for batch in port:
                reader.on_batch(batch)
                if reader.pending >= CHUNK:
                    yield take()
            reader.flush()
            yield take()
            self._lines(reader, port.stats())
            self._check_file(port.stats())

    def _type_key(self, text: str) -> str | int:
        number = type_number(self.config.protocol, text)
        return chr(number) if self.config.protocol in ("itch", "iex") else number

    def _lines(self, reader: LineReader, stats: dict[str, int]) -> None:
        told = reader.messages
        channels = reader.channels
        self.report |= {
            "frames": stats["rx_packets"],
            "messages": told["messages"],
            "by_type": {str(k): v for k, v in told["by_type"].items()},
            "unknown": told["unknown"],
            "malformed": told["malformed"],
            "gaps": sum(c["gaps"] for c in channels),
            "missing": sum(c["abandoned"] for c in channels),
            "abandoned": [list(each) for each in reader.abandoned],
            "sessions": len(channels),
            "frames_not_taken": {
                "filtered": stats.get("drop.filtered", 0),
                "not_udp": reader.counters["not_udp"],
                "foreign": reader.counters["foreign"],
                "other_line": reader.counters["other_line"],
                "other_channel": reader.counters["other_channel"],
                "no_session": reader.counters["no_session"],
                "malformed": sum(line["malformed"] for line in reader.lines),
            },
            "lines": [
                {name: value for name, value in line.items() if name != "behind"}
                | {"behind_p50_ns": line["behind"].quantile(0.5)}
                for line in reader.lines
            ],
        }
        if reader.counters["payloads"] and not any(
            line[name]
            for line in reader.lines
            for name in ("messages", "heartbeats", "unsequenced", "end_of_session")
        ):
            raise ConfigError(
                f"{self.path} holds no packet of {self.config.protocol}: name its protocol "
                "(--protocol), and its flows where it has others too (--flow GROUP:PORT)"
            )
        if reader.counters["other_line"] or reader.counters["other_channel"]:
            raise ConfigError(
                f"{self.path} holds more than 16 lines or 64 sessions of {self.config.protocol}: "
                "convert them in several runs, naming lines with flows (--flow GROUP:PORT)"
            )
        lines = [line for line in reader.lines if line["data"]]
        apart = len(lines) > 1 and not any(line["duplicates"] for line in lines)
        doubted = any(line["stale"] or line["doubted"] for line in lines)
        if self.config.protocol == "cme" and not self.config.flows and (apart or doubted):
            raise ConfigError(
                f"{self.path} holds flows that are not lines of one channel "
                f"({', '.join(line['line'] for line in lines)}): name those of one with flows "
                "(--flow GROUP:PORT, repeated)"
            )

    def _check_file(self, stats: dict[str, int]) -> None:
        if stats.get("truncated_tail"):
            raise Broken(
                f"{self.path} ends within a frame, after {stats['rx_packets']:,} of them: it was "
                "cut off"
            )
        if bad := stats.get("malformed_blocks", 0) + stats.get("drop.malformed", 0):
            raise Broken(
                f"{self.path} is damaged after {stats['rx_packets']:,} frames ({bad} blocks or "
                "frames do not parse)"
            )

    def _raw(self) -> Iterator[Piece]:
        config = self.config
        assert config.dtype is not None
        row = dtype_of("dtype", config.dtype)
        reader = Raw(row, header=dtype_of("header", config.header), sequence=config.sequence)
        with open_port(f"pcap:{self.path}", steer=self._steering(), batch_size=_BATCH) as port:
            waiting: list[NDArray[np.void]] = []
            for batch in port:
                waiting.append(reader.on_batch(batch))
                if sum(map(len, waiting)) >= CHUNK:
                    yield {"rows": np.concatenate(waiting)}
                    waiting.clear()
            if waiting:
                yield {"rows": np.concatenate(waiting)}
            told = reader.counters
            self.report |= {
                "frames": port.stats()["rx_packets"],
                "messages": told["messages"] + told["unsequenced"],
                "malformed": told["malformed"],
                "gaps": told["gaps"],
                "missing": reader.missing,
                "abandoned": [[0, 0, *gap, "end of file"] for gap in reader.gaps()],
                "frames_not_taken": {
                    "filtered": port.stats().get("drop.filtered", 0),
                    "not_udp": reader.not_udp,
                },
            }
            self._check_file(port.stats())

    # --- day files -----------------------------------------------------------------------------
    def _day(self, compressed: bool) -> Iterator[Piece]:
        way = gzip.open if compressed else open
        with cast(BinaryIO, way(self.path, "rb")) as file:
            yield from self._day_rows(file) if self.config.raw else self._day_records(file)

    def _read(self, file: BinaryIO, rest: bytes, end: int) -> bytes:
        """What is left of the last piece and the next one. Raises Broken."""
        try:
            return rest + file.read(end)
        except (OSError, EOFError, zlib.error) as error:
            raise Broken(f"{self.path} cannot be read to its end: {error}") from None

    def _day_records(self, file: BinaryIO) -> Iterator[Piece]:
        decoder = Itch50(self.config.session_date)
        seq, data, told = 1, b"", decoder.counters
        try:
            while True:
                more = self._read(file, b"", _BYTES)
                data += more
                at = 0
                while True:
                    out = np.empty(CHUNK, RECORD)
                    n, consumed, seq = decoder.decode_into(
                        data, out, offset=at, seq=seq, last=not more
                    )
                    at += consumed
                    if n:
                        yield out[:n]
                    if n < CHUNK:
                        break
                data = data[at:]
                if not more or decoder.end == "end of session":
                    break
        finally:
            told = decoder.counters
            self._day_report(told)
        self._check_day(told)

    def _day_rows(self, file: BinaryIO) -> Iterator[Piece]:
        types = "".join(self.config.types)
        directory = types and "R" not in types and self.config.instruments
        columns = _core.Itch50Columns(types + ("R" if directory else ""))
        kept = (types or "".join(itch_types())) + ("R" if directory else "")
        seq, data, told = 1, b"", columns.counters
        try:
            while True:
                more = self._read(file, b"", _BYTES)
                data += more
                consumed, seq = columns.append_frames(data, seq, 0, not more)
                data = data[consumed:]
                yield {
                    letter: columns.take(letter, itch_row_dtype(letter))
                    for letter in kept
                    if columns.rows(letter)
                }
                if not more or columns.end == "end of session":
                    break
        finally:
            told = columns.counters
            self._day_report(told)
        self._check_day(told)

    def _day_report(self, told: dict[str, Any]) -> None:
        self.report |= {
            "messages": told["messages"],
            "by_type": dict(told["by_type"]),
            "unknown": told["unknown"],
            "malformed": told["malformed"],
        }

    def _check_day(self, told: dict[str, Any]) -> None:
        if told["truncated"]:
            raise Broken(
                f"{self.path} ends within a message, after {told['messages']:,} of them: it was "
                "cut off"
            )

    @property
    def midnight(self) -> int:
        """What ITCH's times count from; 0 where no session date is known."""
        day = self.config.session_date
        return midnight_ns(day) if day else 0


def _taker(reader: LineReader) -> Any:  # noqa: ANN401
    if not reader.columns:
        return reader.take
    if reader.protocol != "cme":
        return reader.take_rows

    def tables() -> dict[str, NDArray[np.void]]:
        out: dict[str, NDArray[np.void]] = {}
        for name, table in reader.tables().items():
            out[name] = table.rows
            for group, entries in table.groups.items():
                out[f"{name}.{group}"] = _with_root(entries, table.rows)
        return out

    return tables


_ROOT = ("message", "seq", "recv_time", "send_time")


def _with_root(entries: NDArray[np.void], rows: NDArray[np.void]) -> NDArray[np.void]:
    """A group's rows with the number and times of their message instead of its place."""
    kept = [name for name in entries.dtype.names or () if name != "parent"]
    fields = [(name, rows.dtype[name]) for name in _ROOT]
    out = np.empty(len(entries), fields + [(name, entries.dtype[name]) for name in kept])
    for name in _ROOT:
        out[name] = rows[name][entries["parent"]]
    for name in kept:
        out[name] = entries[name]
    return out
