"""Feeds of many channels and venues in one process, as a TOML file describes them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Self

from pydantic import AfterValidator, BeforeValidator, Field

from . import _core
from .config import IngestionConfig, PortSettings, _address, _latin, _power_of_two
from .errors import ConfigError
from .feed_rows import MessageConfig, declared_problems
from .settings import (
    Must,
    Settings,
    Table,
    Tables,
    missing,
    nearest,
    problem,
    read_document,
    unusable_secret,
)
from .sinks import CallbackConfig, FileConfig, KafkaConfig, RingConfig, sink_config
from .steering import udp

Protocol = Literal["itch", "iex", "pitch", "cme", "pillar"]
Kind = Literal["mold_udp64", "pitch", "iex", "nyse", "glimpse", "cme_snapshot"]


class Venue(NamedTuple):
    """What goes with a protocol: kinds of recovery, whether records need the session's date, and
    how long the name of a session may be."""

    recovery: tuple[str, ...]
    dated: bool
    session_bytes: int


VENUES: Mapping[str, Venue] = {
    "itch": Venue(("mold_udp64", "glimpse"), True, 10),
    "iex": Venue(("iex",), False, 0),
    "pitch": Venue(("pitch",), True, 0),
    "cme": Venue(("cme_snapshot",), False, 0),
    "pillar": Venue(("nyse",), False, 0),
}
#: Kinds whose answers come by multicast, on lines of their own.
BY_MULTICAST = ("pitch", "nyse", "cme_snapshot")
#: Kinds that know the messages of a gap; the other one knows the state behind them.
REQUESTS = ("mold_udp64", "pitch", "iex", "nyse")


def _server(text: str) -> str:
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal() or not 1 <= int(port) <= 65535 or not host:
        raise ValueError("no HOST:PORT")
    return text


def _type(value: object) -> object:
    if isinstance(value, str):
        if len(value) == 1 and value.isascii():
            return ord(value)
        return int(value, 0)
    return value


def _types(value: object) -> object:
    return [_type(each) for each in value] if isinstance(value, (list, tuple)) else value


def _listed(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


def _count(what: str, top: int, *, least: int = 0) -> Any:  # noqa: ANN401  # of pydantic
    return Field(ge=least, le=top, description=what)


def _seconds(what: str, least: float, top: float) -> Any:  # noqa: ANN401  # of pydantic
    return Field(ge=least, le=top, strict=False, description=f"seconds: {what}")


_YEAR_NS = 366 * 86_400 * 10**9


class LineConfig(Settings):
    """``[[channel.line]]``: one line of a channel, such as A or B."""

    table: ClassVar[str] = "line"

    name: Annotated[
        str,
        Field(max_length=32, description="what the line is called; empty: A, B, … in order"),
        Must("at most 32 characters"),
    ] = ""
    group: Annotated[
        str,
        AfterValidator(_address),
        Field(description="multicast group or address, * for any"),
        Must('an IPv4 or IPv6 address: the group or this host\'s address, or "*" for any'),
    ]
    port: Annotated[
        int,
        Field(ge=1, le=65535, description="UDP destination port"),
        Must("a whole number from 1 to 65535"),
    ]
    interface: Annotated[
        str,
        Field(
            max_length=63,
            pattern=r"^[^\s/,]*$",
            description="interface or device that the line comes in on; empty: that of \\[feed]",
        ),
        Must("the name of a network interface: at most 15 characters, no space, / or comma"),
    ] = ""

    @property
    def flow(self) -> _core.Steering:
        """The line's datagrams."""
        return udp(self.group, self.port)


class ArbiterConfig(Settings):
    """``[channel.arbiter]``: options of :class:`wirepath.feed.Arbiter`; what is not given is its
    default, and with recovery what suits that."""

    table: ClassVar[str] = "arbiter"

    units: Annotated[
        int | None, _count("independent sequences within the channel", 65_535, least=1)
    ] = None
    in_order: Annotated[
        bool | None,
        Field(description="hold messages beyond a gap, or deliver them as they come"),
        Must("true or false"),
    ] = None
    hold_ns: Annotated[int | None, _count("how long a gap is waited for, ns", _YEAR_NS)] = None
    hold_messages: Annotated[int | None, _count("most messages held", 1 << 26, least=1)] = None
    hold_bytes: Annotated[int | None, _count("most bytes held", 1 << 36, least=1)] = None
    max_gaps: Annotated[int | None, _count("gaps open at a time", 1 << 20, least=1)] = None
    pin_session: Annotated[
        bool | None,
        Field(description="drop packets of other sessions instead of following them"),
        Must("true or false"),
    ] = None
    session_begin: Annotated[
        int | None,
        _count(
            "first number of a session or sequence that follows another; 0: the first that comes",
            1 << 62,
        ),
    ] = None
    reorder_messages: Annotated[
        int | None, _count("numbers by which a line may go back", 1 << 62)
    ] = None
    reorder_ns: Annotated[
        int | None, _count("silence behind which a heartbeat is believed, ns", _YEAR_NS)
    ] = None
    restart_packets: Annotated[
        int | None, _count("packets in a row that prove a restart; 0: never", 1 << 16)
    ] = None
    max_jump: Annotated[
        int | None, _count("numbers by which a line may jump ahead without a proof", 1 << 62)
    ] = None
    skew_packets: Annotated[int | None, _count("packets remembered to measure skew", 1 << 20)] = (
        None
    )

    def options(self) -> dict[str, Any]:
        """Those that are given."""
        return {name: value for name, value in self if value is not None}


class RecoveryConfig(Settings):
    """``[channel.recovery]``: the server that knows what no line brought."""

    table: ClassVar[str] = "recovery"

    kind: Annotated[
        Kind,
        Field(
            description="mold_udp64, pitch, iex, nyse: requests for messages; glimpse, "
            "cme_snapshot: the state"
        ),
        Must("mold_udp64, pitch, iex, nyse, glimpse or cme_snapshot"),
    ]
    server: Annotated[
        str | None,
        AfterValidator(lambda text: text if text is None else _server(text)),
        Field(description="the server's HOST:PORT (cme_snapshot: none)"),
        Must("HOST:PORT, such as 127.0.0.1:9100"),
    ] = None
    source: Annotated[
        str | None,
        AfterValidator(lambda text: text if text is None else _address(text)),
        Field(description="address of this host to ask from"),
        Must("an IPv4 or IPv6 address of this host"),
    ] = None
    username: Annotated[
        str,
        AfterValidator(_latin),
        Field(max_length=6, description="to log in with (glimpse: 6 characters, pitch: 4)"),
        Must("at most 6 ASCII characters (pitch: 4)"),
    ] = ""
    password: Annotated[
        str,
        AfterValidator(_latin),
        Field(max_length=10, description="to log in with; better in the environment", repr=False),
        Must("at most 10 ASCII characters"),
    ] = ""
    password_env: Annotated[
        str,
        Field(
            pattern=r"^([A-Za-z_][A-Za-z0-9_]*)?$",
            description="environment variable that holds the password",
        ),
        Must("the name of an environment variable"),
    ] = ""
    session: Annotated[
        str,
        AfterValidator(_latin),
        Field(max_length=10, description="glimpse: session to log in to; pitch: session sub-id"),
        Must("at most 10 ASCII characters"),
    ] = ""
    source_id: Annotated[
        str,
        AfterValidator(_latin),
        Field(max_length=10, description="nyse: who asks, as the exchange named this client"),
        Must("1 to 10 ASCII characters"),
    ] = ""
    product_id: Annotated[int | None, _count("nyse: number of the product", 255)] = None
    channel_id: Annotated[int | None, _count("nyse: number of the channel", 255)] = None
    hold_ns: Annotated[
        int | None, _count("age of a gap before the first request, ns", _YEAR_NS)
    ] = None
    retry_ns: Annotated[
        int | None, _count("wait for an answer, ns; doubled each time", _YEAR_NS, least=1)
    ] = None
    max_retry_ns: Annotated[
        int | None, _count("longest wait for an answer, ns", _YEAR_NS, least=1)
    ] = None
    max_attempts: Annotated[
        int | None, _count("requests in a row that bring nothing", 1 << 16, least=1)
    ] = None
    deadline_ns: Annotated[
        int | None, _count("age at which a gap is given up, ns", _YEAR_NS, least=1)
    ] = None
    max_per_request: Annotated[int | None, _count("messages in one request", 1 << 32, least=1)] = (
        None
    )
    coalesce: Annotated[
        int | None, _count("messages asked for again to save a request", 1 << 32)
    ] = None
    max_in_flight: Annotated[int | None, _count("requests without an answer", 1 << 16, least=1)] = (
        None
    )
    per_second: Annotated[
        int | None, _count("requests allowed in a second; 0: no limit", 1 << 20)
    ] = None
    per_minute: Annotated[
        int | None, _count("requests allowed in a minute; 0: no limit", 1 << 20)
    ] = None
    per_day: Annotated[int | None, _count("requests allowed in a day; 0: no limit", 1 << 20)] = None
    timeout: Annotated[
        float, _seconds("a connection, a login or silence counts as failed", 0.05, 3600)
    ] = 5.0
    backoff: Annotated[
        float, _seconds("wait before the second attempt to connect; doubled each time", 0.01, 60)
    ] = 0.2
    max_backoff: Annotated[
        float, _seconds("longest wait between attempts to connect", 0.01, 3600)
    ] = 10.0
    snapshot_deadline: Annotated[
        float,
        _seconds("glimpse: live messages are held for a snapshot at most this long", 0.1, 3600),
    ] = 60.0
    held_records: Annotated[
        int | None,
        _count("cme_snapshot: records held back for stale books", 1 << 26, least=1),
    ] = None
    line: Annotated[
        tuple[LineConfig, ...],
        Tables("line", LineConfig),
        Field(
            description="pitch, nyse: the groups on which retransmissions come; "
            "cme_snapshot: the snapshot feeds"
        ),
        Must("tables [[channel.recovery.line]]"),
    ] = ()

    #: Options of :class:`wirepath.feed.Recovery` by these names.
    ENGINE: ClassVar[tuple[str, ...]] = (
        "hold_ns",
        "retry_ns",
        "max_retry_ns",
        "max_attempts",
        "deadline_ns",
        "max_per_request",
        "coalesce",
        "max_in_flight",
        "per_second",
        "per_minute",
        "per_day",
    )
    #: Options of a server that is asked.
    SERVER: ClassVar[tuple[str, ...]] = (
        "server",
        "source",
        "username",
        "password",
        "password_env",
        "session",
    )
    #: Who asks NYSE for what.
    NYSE: ClassVar[tuple[str, ...]] = ("source_id", "product_id", "channel_id")

    @classmethod
    def conflicts(cls, values: Mapping[str, Any]) -> list[str]:
        out = []
        kind = values.get("kind")
        if kind in BY_MULTICAST and not values.get("line"):
            what = "snapshots" if kind == "cme_snapshot" else "retransmissions"
            out.append(missing("line", f"the group on which {kind}'s {what} come, a table each"))
        out += cls._of_server(values)
        if kind is not None and kind not in BY_MULTICAST and values.get("line"):
            must = f"left out with kind {kind}: its answers come to the address that asked"
            out.append(problem("line", "[…]", must))
        if kind == "pitch":
            for name in ("username", "session"):
                if len(values.get(name) or "") > 4:
                    out.append(problem(name, values[name], "at most 4 ASCII characters (pitch)"))
        out += cls._of_nyse(values)
        if values.get("password") and values.get("password_env"):
            out.append(problem("password_env", values["password_env"], "left out beside password"))
        given = [n for n in cls.ENGINE if values.get(n) is not None and values.get(n) != ""]
        if kind == "glimpse" and given:
            out += [
                problem(n, values[n], "left out with kind glimpse: it makes no requests")
                for n in given
            ]
        first, longest = values.get("backoff"), values.get("max_backoff")
        if first is not None and longest is not None and first > longest:
            out.append(problem("backoff", first, f"at most max_backoff, which is {longest:g}"))
        return out

    @classmethod
    def _of_server(cls, values: Mapping[str, Any]) -> list[str]:
        """What a server has, and a feed that nobody is asked for has not."""
        kind, out = values.get("kind"), []
        if kind == "cme_snapshot":
            given = [n for n in (*cls.ENGINE, *cls.SERVER) if values.get(n) not in (None, "")]
            must = "left out with kind cme_snapshot: there is no server to ask"
            out += [problem(n, values[n], must) for n in given if n != "password"]
            if values.get("password"):
                out.append(problem("password", "…", must))
        elif kind is not None:
            if values.get("server", "") is None:
                out.append(missing("server", f"HOST:PORT of the server, with kind {kind}"))
            if values.get("held_records") is not None:
                must = f"left out with kind {kind}"
                out.append(problem("held_records", values["held_records"], must))
        return out

    @classmethod
    def _of_nyse(cls, values: Mapping[str, Any]) -> list[str]:
        kind = values.get("kind")
        if kind == "nyse":
            must = "left out with kind nyse: there is no login, the source_id is who asks"
            names = ("username", "password_env", "session")
            out = [problem(n, values[n], must) for n in names if values.get(n)]
            if values.get("password"):
                out.append(unusable_secret("password", must))
            if values.get("source_id") == "":
                out.append(missing("source_id", f"{cls.must('source_id')}, with kind nyse"))
            return out
        given = [n for n in cls.NYSE if values.get(n) not in (None, "")]
        return [problem(n, values[n], f"left out with kind {kind}") for n in given if kind]

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of the server."""
        host, _, port = (self.server or "").rpartition(":")
        return host.strip("[]"), int(port)

    def secret(self) -> str:
        """The password; raises :class:`ConfigError` where the environment does not have it."""
        if not self.password_env:
            return self.password
        found = os.environ.get(self.password_env)
        if found is None or len(found) > 10 or not found.isascii():
            raise ConfigError(
                problem(
                    "password_env",
                    self.password_env,
                    "a variable that is set, to at most 10 ASCII characters "
                    f"(export {self.password_env}=…)",
                )
            )
        return found

    def options(self) -> dict[str, Any]:
        """Options of the recovery engine, or of books' recovery, that are given."""
        found = {name: getattr(self, name) for name in (*self.ENGINE, *self.NYSE, "held_records")}
        return {name: value for name, value in found.items() if value not in (None, "")}


class ChannelConfig(Settings):
    """``[[channel]]``: one channel of a venue with all its lines."""

    table: ClassVar[str] = "channel"

    name: Annotated[
        str,
        Field(pattern=r"^[A-Za-z0-9_.-]{1,32}$", description="what the channel is called"),
        Must("1 to 32 letters, digits, dots, dashes or underscores"),
    ]
    protocol: Annotated[
        Protocol,
        Field(description="itch, iex, pitch, cme or pillar"),
        Must("itch (MoldUDP64, ITCH 5.0), iex, pitch, cme or pillar"),
    ] = "itch"
    number: Annotated[
        int,
        Field(ge=0, le=65535, description="number that goes into every record"),
        Must("a whole number from 0 to 65535"),
    ] = 0
    session: Annotated[
        str,
        AfterValidator(_latin),
        Field(max_length=10, description="MoldUDP64 session to begin with; empty: the first"),
        Must("at most 10 ASCII characters"),
    ] = ""
    next_sequence: Annotated[
        int,
        Field(
            ge=0,
            le=(1 << 63) - 1,
            description="first message wanted; 0: begin with the first packet",
        ),
        Must("a whole number from 0 to 9223372036854775807"),
    ] = 0
    session_date: Annotated[
        date | None,
        Field(
            strict=False,
            ge=date(1970, 1, 1),
            le=date(2261, 12, 31),
            description="trading day, which makes event_time Unix time (itch, pitch)",
        ),
        Must("a date such as 2024-01-31, from 1970-01-01 to 2261-12-31"),
    ] = None
    instruments: Annotated[
        tuple[Annotated[int, Field(ge=0, le=(1 << 32) - 1)], ...] | None,
        BeforeValidator(_listed),
        Field(description="instruments wanted, by the venue's number; none: all"),
        Must("a list of whole numbers from 0 to 4294967295"),
    ] = None
    symbols: Annotated[
        tuple[Annotated[str, Field(min_length=1, max_length=16)], ...] | None,
        BeforeValidator(_listed),
        Field(description="instruments wanted, by name; none: all"),
        Must("a list of names of 1 to 16 characters"),
    ] = None
    types: Annotated[
        tuple[Annotated[int, Field(ge=0, le=65535)], ...] | None,
        BeforeValidator(_listed),
        BeforeValidator(_types),
        Field(description='message types wanted, such as "A" or 0x21; none: all'),
        Must('a list of letters, such as "A", or of numbers from 0 to 65535'),
    ] = None
    schema_file: Annotated[
        str | None,
        Field(min_length=1, description="cme: the XML of its templates"),
        Must("the path of an SBE schema"),
    ] = None
    message: Annotated[
        tuple[MessageConfig, ...],
        Tables("message", MessageConfig),
        Field(max_length=1024, description="pillar: message types whose fields are wanted"),
        Must("at most 1024 tables [[channel.message]]"),
    ] = ()
    message_bytes: Annotated[
        int,
        _count("pillar: bytes of rows that may wait to be taken", 1 << 36, least=1 << 18),
    ] = 16 << 20
    arbiter: Annotated[
        ArbiterConfig,
        Table("arbiter", ArbiterConfig),
        Field(description="options of the arbiter"),
        Must("a table [channel.arbiter]"),
    ] = ArbiterConfig()
    line: Annotated[
        tuple[LineConfig, ...],
        Tables("line", LineConfig),
        Field(min_length=1, max_length=16, description="the lines that carry the channel live"),
        Must("1 to 16 tables [[channel.line]]"),
    ]
    recovery: Annotated[
        tuple[RecoveryConfig, ...],
        Tables("recovery", RecoveryConfig),
        Field(description="servers that know what no line brought"),
        Must("a table [channel.recovery], or two of them: one for requests and glimpse"),
    ] = ()

    @classmethod
    def conflicts(cls, values: Mapping[str, Any]) -> list[str]:
        out = []
        protocol = values.get("protocol")
        venue = VENUES.get(str(protocol))
        lines = values.get("line") or ()
        flows = [(line.group, line.port) for line in lines]
        out += [
            problem(
                f"line[{i}].port",
                flow[1],
                f"of another flow than line[{flows.index(flow)}], which has {flow[0]} too",
            )
            for i, flow in enumerate(flows)
            if flow in flows[:i]
        ]
        labels = [label(line, i) for i, line in enumerate(lines)]
        out += [
            problem(f"line[{i}].name", name, "another name than the other lines'")
            for i, name in enumerate(labels)
            if name in labels[:i]
        ]
        if venue is None:
            return out
        recovery = values.get("recovery") or ()
        for i, each in enumerate(recovery):
            if each.kind not in venue.recovery:
                known = " or ".join(venue.recovery) or "left out: there is none"
                must = f"{known} with protocol {protocol}"
                out.append(problem(f"recovery[{i}].kind", each.kind, must))
        for kinds, what in ((REQUESTS, "requests"), (("glimpse", "cme_snapshot"), "snapshots")):
            of_kind = [i for i, each in enumerate(recovery) if each.kind in kinds]
            out += [
                problem(f"recovery[{i}].kind", recovery[i].kind, f"the only one for {what}")
                for i in of_kind[1:]
            ]
        if len(values.get("session") or "") > venue.session_bytes:
            must = (
                f"at most {venue.session_bytes} characters with protocol {protocol}"
                if venue.session_bytes
                else f"left out with protocol {protocol}: its sessions have no name"
            )
            out.append(problem("session", values["session"], must))
        if values.get("session_date") is not None and not venue.dated:
            must = f"left out with protocol {protocol}: its messages have a date"
            out.append(problem("session_date", str(values["session_date"]), must))
        if any(each.kind == "cme_snapshot" for each in recovery):
            must = "left out with recovery cme_snapshot, which needs every message"
            if values.get("types") is not None:
                out.append(problem("types", list(values["types"]), must))
            arbiter = values.get("arbiter")
            if arbiter is not None and arbiter.in_order is False:
                must = "true with recovery cme_snapshot"
                out.append(problem("arbiter.in_order", "false", must))
        out += _of_messages(values)
        if protocol == "cme" and values.get("schema_file", "") is None:
            out.append(missing("schema_file", "the path of CME's templates, with protocol cme"))
        if protocol != "cme" and values.get("schema_file"):
            must = f"left out with protocol {protocol}"
            out.append(problem("schema_file", values["schema_file"], must))
        return out

    @classmethod
    def suggestion(cls, field: str, value: object) -> str:
        return nearest(str(value), VENUES) if field == "protocol" else ""

    @property
    def requests(self) -> RecoveryConfig | None:
        """The server that answers requests for messages."""
        return next((r for r in self.recovery if r.kind in REQUESTS), None)

    @property
    def snapshot(self) -> RecoveryConfig | None:
        """The server that sends the state."""
        return next((r for r in self.recovery if r.kind == "glimpse"), None)

    @property
    def loop(self) -> RecoveryConfig | None:
        """The snapshot feeds that send the state over and over."""
        return next((r for r in self.recovery if r.kind == "cme_snapshot"), None)


def _of_messages(values: Mapping[str, Any]) -> list[str]:
    """Messages that the user declares, and what is chosen of them."""
    protocol, messages = values.get("protocol"), values.get("message") or ()
    if protocol != "pillar":
        must = f"left out with protocol {protocol}, whose messages are known"
        return [problem("message", [each.label for each in messages], must)] if messages else []
    out = declared_problems(messages)
    if values.get("symbols") is not None:
        must = "left out with protocol pillar, whose symbols are not known: name instruments"
        out.append(problem("symbols", list(values["symbols"]), must))
    if values.get("instruments") is not None and not any(each.instrument for each in messages):
        must = "left out, or a [[channel.message]] says which field is its instrument"
        out.append(problem("instruments", list(values["instruments"]), must))
    return out


def label(line: LineConfig, index: int) -> str:
    """What a line is called: its name, or A, B, … by its place."""
    return line.name or chr(ord("A") + index % 26)


class FeedSettings(PortSettings):
    """``[feed]``: the port, the worker, the ring and the state file."""

    table: ClassVar[str] = "feed"
    one_device: ClassVar[bool] = False  # lines may name theirs

    ring_capacity: Annotated[
        int,
        Field(ge=2, le=1 << 30, description="records that the ring holds, a power of two"),
        AfterValidator(_power_of_two),
        Must("a power of two from 2 to 1073741824"),
    ] = 65536
    ring_policy: Annotated[
        Literal["block", "drop"],
        Field(description="what a full ring does: let the feed wait, or drop the newest"),
        Must('"block" or "drop"'),
    ] = "block"
    ring_name: Annotated[
        str,
        Field(
            pattern=r"^[A-Za-z0-9_.-]{0,64}$",
            description="makes the ring visible to other processes",
        ),
        Must("at most 64 letters, digits, dots, dashes or underscores"),
    ] = ""
    state: Annotated[
        str | None,
        Field(
            min_length=1,
            description="file of sessions and next numbers, so that a restart goes on from there",
        ),
        Must("the path of a file"),
    ] = None
    state_max_age: Annotated[
        float, _seconds("an older state is of another day: it is not gone on from", 1, 10 * 86_400)
    ] = 43_200.0
    state_interval: Annotated[
        float, _seconds("time between two writes of the state file", 0.05, 3600)
    ] = 1.0


class FeedConfig(Settings):
    """All of a feed: ``[feed]``, ``[[channel]]`` with its lines and recovery, ``[[sink]]``.

    Raises :class:`~wirepath.errors.ConfigError` naming every unusable field with its path, such as
    ``channel[0].line[1].port``, its value and what is allowed, a line each.
    """

    feed: Annotated[
        FeedSettings,
        Table("feed", FeedSettings),
        Field(description="the port, the worker, the ring and the state file"),
        Must("a table [feed]"),
    ] = FeedSettings()
    channel: Annotated[
        tuple[ChannelConfig, ...],
        Tables("channel", ChannelConfig),
        Field(min_length=1, max_length=256, description="the channels"),
        Must("1 to 256 tables [[channel]]"),
    ]

    sink: Annotated[
        tuple[CallbackConfig | FileConfig | KafkaConfig | RingConfig, ...],
        Tables("sink", lambda **values: sink_config(values)),
        Field(max_length=64, description="where records go besides the ring"),
        Must("at most 64 tables [[sink]]"),
    ] = ()

    @classmethod
    def conflicts(cls, values: Mapping[str, Any]) -> list[str]:
        out = []
        feed: FeedSettings | None = values.get("feed")
        channels: tuple[ChannelConfig, ...] = values.get("channel") or ()
        names = [channel.name for channel in channels]
        out += [
            problem(f"channel[{i}].name", name, "another name than the other channels'")
            for i, name in enumerate(names)
            if name in names[:i]
        ]
        called = [sink.name for sink in values.get("sink") or ()]
        out += [
            problem(f"sink[{i}].name", name, "another name than the other sinks'")
            for i, name in enumerate(called)
            if name in called[:i]
        ]
        taken: dict[tuple[str, int], str] = {}
        for i, channel in enumerate(channels):
            places = [(f"channel[{i}].line[{j}]", x) for j, x in enumerate(channel.line)]
            for k, recovery in enumerate(channel.recovery):
                path = f"channel[{i}].recovery[{k}].line"
                places += [(f"{path}[{j}]", x) for j, x in enumerate(recovery.line)]
            for path, line in places:
                other = taken.setdefault((line.group, line.port), path)
                # Two lines of one channel are told about by the channel.
                if other != path and other.partition(".line")[0] != path.partition(".line")[0]:
                    out.append(problem(f"{path}.port", line.port, f"of another flow than {other}"))
                if feed is None:
                    continue
                if feed.backend == "pcap" and line.interface:
                    out.append(
                        problem(f"{path}.interface", line.interface, "empty with backend pcap")
                    )
                elif feed.backend in ("af_xdp", "ef_vi", "ef_vi_sim", "dpdk", "auto") and not (
                    line.interface or feed.interface_name
                ):
                    must = f"the interface of the line, or feed.interface_name, with {feed.backend}"
                    out.append(missing(f"{path}.interface", must))
        return out

    @classmethod
    def from_toml(cls, path: str | Path) -> Self:
        """Read a TOML file. Raises :class:`ConfigError`: it cannot be read, is not TOML, or a
        value is not usable."""
        document = read_document(path)
        try:
            return cls(**document)
        except ConfigError as error:
            lines = str(error).split("\n")
            raise ConfigError("\n".join(f"{path}: {line}" for line in lines)) from None

    @classmethod
    def of_ingestion(
        cls,
        config: IngestionConfig,
        *,
        lines: tuple[LineConfig, ...] = (),
        recovery: tuple[RecoveryConfig, ...] = (),
        **feed: object,
    ) -> Self:
        """The feed of one ITCH channel that ``config`` describes, with further ``lines``, servers
        and options of ``[feed]``."""
        if config.host is None or config.port is None:
            raise ConfigError(missing("port", "that of GROUP:PORT, for a feed of several lines"))
        shared = {
            name: getattr(config, name)
            for name in PortSettings.model_fields
            if name in config.model_fields_set
        }
        channel = {
            "name": "itch",
            "number": config.channel,
            "session": config.session,
            "next_sequence": config.next_sequence,
            "session_date": config.session_date,
            "line": [LineConfig(group=config.host, port=config.port), *lines],
            "recovery": recovery,
        }
        made: dict[str, Any] = {"feed": {**shared, **feed}, "channel": [channel]}
        return cls(**made)


def is_feed(document: Mapping[str, Any]) -> bool:
    """A TOML file that describes channels, and not one flow in ``[ingestion]``."""
    return "channel" in document or "feed" in document


__all__ = [
    "ArbiterConfig",
    "ChannelConfig",
    "FeedConfig",
    "FeedSettings",
    "LineConfig",
    "MessageConfig",
    "RecoveryConfig",
    "is_feed",
    "label",
]
