"""What a publisher sends, where to, and how fast: its options, validated."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from .errors import ConfigError
from .flows import flow_of
from .publish_lines import LineConfig, lines_of
from .settings import Must, Settings, missing, problem, unusable_secret

DEFAULT_RATE = 100_000.0


def _address(text: str) -> str:
    ipaddress.ip_address(text)
    return text


def _mac(text: str) -> str:
    if len(bytes.fromhex(text.replace(":", ""))) != 6:
        raise ValueError("not six bytes")
    return text


def _ascii(text: str) -> str:
    if not text.isascii():
        raise ValueError("not ASCII")
    return text


def _flow(text: str) -> str:
    flow_of(text)
    return text


def _server(text: str | None) -> str | None:
    """HOST:PORT of this host."""
    if text is not None:
        try:
            host, _ = flow_of(text)
        except ConfigError:
            host = "*"
        if host == "*" or ipaddress.ip_address(host).is_multicast:
            raise ValueError("not an address to listen on")
    return text


def _at_least_one_in_1000_s(rate: float) -> float:
    if 0 < rate < 0.001:
        raise ValueError("too slow")
    return rate


_SERVER = Must("HOST:PORT of this host, such as 127.0.0.1:9500 or [::1]:9500")


def _server_field(text: str) -> Any:  # noqa: ANN401  # a pydantic field
    return Field(description=text)


class PublishConfig(Settings):
    """What to publish, where to, and how fast.

    Pacing is by absolute deadlines. At most one of ``rate``, ``packet_rate``, ``speed`` and
    ``fast`` is given; by none of them a capture goes at its original pace and messages at
    100,000 a second.
    """

    table: ClassVar[str] = "publish"

    source: Annotated[
        str,
        Field(
            min_length=1, description="generated, or the path of an ITCH file or capture (.gz too)"
        ),
    ] = "generated"
    host: Annotated[
        str,
        AfterValidator(_address),
        Must("an IPv4 or IPv6 group or address"),
        Field(description="group or address to send to"),
    ] = "239.1.1.1"
    port: Annotated[
        int,
        Field(ge=1, le=65535, description="UDP port to send to"),
        Must("a whole number from 1 to 65535"),
    ] = 9001
    via: Annotated[
        str,
        Field(pattern=r"^[a-z0-9_]+:", description="port spec to send through"),
        Must("a port spec such as socket:eth0, socket: or af_xdp:eth0"),
    ] = "socket:"
    rate: Annotated[
        float | None,
        Field(ge=0.001, le=1e9, description="messages a second"),
        Must("a number of messages a second from 0.001 to 1e9"),
    ] = None
    packet_rate: Annotated[
        float | None,
        Field(ge=0.001, le=1e9, description="packets a second"),
        Must("a number of packets a second from 0.001 to 1e9"),
    ] = None
    speed: Annotated[
        float | None,
        Field(ge=1e-6, le=1e6, description="original pacing, this many times as fast"),
        Must("a factor from 1e-6 to 1e6"),
    ] = None
    fast: Annotated[
        bool, Field(description="as fast as the port takes packets"), Must("true or false")
    ] = False
    messages: Annotated[
        int,
        Field(ge=1, le=1 << 40, description="of the generated day"),
        Must("a whole number of messages from 1 to 2^40"),
    ] = 1_000_000
    seed: Annotated[
        int,
        Field(ge=0, le=(1 << 64) - 1, description="of the generated day"),
        Must("a whole number from 0 to 2^64 - 1"),
    ] = 1
    symbols: Annotated[
        int,
        Field(ge=1, le=20_000, description="of the generated day"),
        Must("a whole number from 1 to 20000"),
    ] = 500
    day_burst: Annotated[
        int,
        Field(
            ge=1,
            le=100,
            description="worst millisecond of the generated day, in averages of its second",
        ),
        Must("a whole number from 1 to 100"),
    ] = 50
    flow: Annotated[
        str | None,
        AfterValidator(lambda v: v if v is None else _flow(v)),
        Field(description="GROUP:PORT to take of a capture; none: all of UDP"),
        Must("GROUP:PORT, such as 239.1.1.1:9001"),
    ] = None
    session: Annotated[
        str,
        Field(min_length=1, max_length=10, description="MoldUDP64 session"),
        AfterValidator(_ascii),
        Must("1 to 10 ASCII characters"),
    ] = "WIREPATH"
    first_sequence: Annotated[
        int,
        Field(ge=1, le=(1 << 63), description="number of the first message"),
        Must("a whole number from 1 to 2^63"),
    ] = 1
    max_payload: Annotated[
        int,
        Field(ge=72, le=65507, description="UDP payload, bytes"),
        Must("a whole number of bytes from 72 to 65507"),
    ] = 1400
    max_messages: Annotated[
        int,
        Field(ge=1, le=65534, description="messages in a packet"),
        Must("a whole number from 1 to 65534"),
    ] = 65534
    pack_window_us: Annotated[
        int,
        Field(ge=0, le=10_000_000, description="messages due within this share a packet"),
        Must("a whole number of microseconds from 0 to 10000000"),
    ] = 100
    heartbeat: Annotated[
        float,
        Field(ge=0, le=3600, description="seconds of silence before a heartbeat, 0 = none"),
        Must("0 to 3600 seconds"),
    ] = 1.0
    linger: Annotated[
        float,
        Field(ge=0, le=3600, description="seconds of heartbeats before the end of session"),
        Must("0 to 3600 seconds"),
    ] = 0.0
    end_of_session: Annotated[
        int,
        Field(ge=0, le=1000, description="packets that say so"),
        Must("a whole number of packets from 0 to 1000"),
    ] = 3
    end_of_session_interval: Annotated[
        float, Field(ge=0, le=60, description="seconds between them"), Must("0 to 60 seconds")
    ] = 0.1
    ttl: Annotated[
        int,
        Field(ge=0, le=255, description="TTL or hop limit; 1 stays on the link"),
        Must("a whole number from 0 to 255"),
    ] = 1
    loop: Annotated[
        bool,
        Field(description="multicast is also delivered on this host (socket)"),
        Must("true or false"),
    ] = True
    source_host: Annotated[
        str | None,
        AfterValidator(lambda v: v if v is None else _address(v)),
        Field(description="address to send from (af_xdp); none: the interface's"),
        Must("an IPv4 or IPv6 address"),
    ] = None
    source_port: Annotated[
        int,
        Field(
            ge=0, le=65535, description="UDP port to send from, 0 = the kernel's choice (socket)"
        ),
        Must("a whole number from 0 to 65535"),
    ] = 0
    destination_mac: Annotated[
        str | None,
        AfterValidator(lambda v: v if v is None else _mac(v)),
        Field(description="Ethernet address to send to (af_xdp, unicast)"),
        Must("an Ethernet address such as 02:00:00:00:00:01"),
    ] = None
    cpu_core: Annotated[
        int | None,
        Field(ge=0, le=1023, description="core to pin the sender to"),
        Must("the number of a core, 0 to 1023"),
    ] = None
    burst: Annotated[
        int,
        Field(ge=1, le=1024, description="packets handed to the port at once"),
        Must("a whole number from 1 to 1024"),
    ] = 32
    on_refused: Annotated[
        Literal["retry", "drop"],
        Field(description="what the port does not take is tried again, or dropped and counted"),
        Must('"retry" or "drop"'),
    ] = "retry"
    spin_us: Annotated[
        int,
        Field(ge=0, le=1_000_000, description="spin instead of sleeping when a deadline is nearer"),
        Must("a whole number of microseconds from 0 to 1000000"),
    ] = 10

    line: Annotated[
        tuple[LineConfig, ...],
        BeforeValidator(lines_of),
        Must("up to 16 lines: GROUP:PORT[,name=value,…], or tables of these"),
        Field(description="the same messages by several lines, in the place of host and port"),
    ] = ()
    reset_at: Annotated[
        int | None,
        Field(ge=2, le=1 << 63, description="the message of this number gets number 1 instead"),
        Must("a whole number from 2 to 2^63, above first_sequence"),
    ] = None
    reset_by: Annotated[
        Literal["data", "heartbeat"],
        Field(description="what shows the reset first: the message itself, or a heartbeat"),
        Must('"data" or "heartbeat"'),
    ] = "data"
    rollover_at: Annotated[
        int | None,
        Field(ge=2, le=1 << 63, description="the message of this number begins a new session"),
        Must("a whole number from 2 to 2^63, above first_sequence"),
    ] = None
    next_session: Annotated[
        str | None,
        Field(min_length=1, max_length=10, description="name of the session after the rollover"),
        AfterValidator(lambda v: v if v is None else _ascii(v)),
        Must("1 to 10 ASCII characters, another name than session"),
    ] = None
    rollover_end: Annotated[
        bool,
        Field(description="the old session's end is said at the rollover"),
        Must("true or false"),
    ] = True
    changeover: Annotated[
        float,
        Field(
            ge=0,
            le=3600,
            description="seconds between old numbers and new ones, in which the old session's end "
            "is repeated, or heartbeats of the old numbers go on",
        ),
        Must("0 to 3600 seconds"),
    ] = 0.0
    history_mb: Annotated[
        int,
        Field(ge=4, le=1 << 20, description="MiB of messages that servers and lines can go back"),
        Must("a whole number of MiB from 4 to 1048576"),
    ] = 64
    retransmit: Annotated[
        str | None,
        AfterValidator(_server),
        _SERVER,
        _server_field("HOST:PORT that answers MoldUDP64 requests (UDP)"),
    ] = None
    retransmit_rate: Annotated[
        float,
        Field(ge=0, le=1e6, description="requests a second that are answered, 0 = all"),
        AfterValidator(_at_least_one_in_1000_s),
        Must("0 for all, or a number of requests a second from 0.001 to 1e6"),
    ] = 0.0
    retransmit_delay_us: Annotated[
        int,
        Field(ge=0, le=60_000_000, description="microseconds from request to answer"),
        Must("a whole number of microseconds from 0 to 60000000"),
    ] = 0
    retransmit_loss: Annotated[
        float,
        Field(ge=0, le=1, description="answers lost, each by itself"),
        Must("a number from 0 to 1"),
    ] = 0.0
    retransmit_silent: Annotated[
        bool,
        Field(description="requests are counted and never answered"),
        Must("true or false"),
    ] = False
    soup: Annotated[
        str | None,
        AfterValidator(_server),
        _SERVER,
        _server_field("HOST:PORT that replays the messages over SoupBinTCP"),
    ] = None
    glimpse: Annotated[
        str | None,
        AfterValidator(_server),
        _SERVER,
        _server_field("HOST:PORT that gives GLIMPSE snapshots of the books over SoupBinTCP"),
    ] = None
    username: Annotated[
        str,
        Field(max_length=6, pattern=r"^[ -~]*$", description="that soup and glimpse ask for"),
        Must("at most 6 printable ASCII characters; empty: any client may log in"),
    ] = ""
    password: Annotated[
        str,
        Field(
            max_length=10,
            pattern=r"^[ -~]*$",
            description="that soup and glimpse ask for",
            repr=False,
        ),
        Must("at most 10 printable ASCII characters; empty: any"),
    ] = ""
    serve_linger: Annotated[
        float,
        Field(ge=0, le=3600, description="seconds that servers go on after the last packet"),
        Must("0 to 3600 seconds"),
    ] = 1.0

    @classmethod
    def conflicts(cls, values: Mapping[str, Any]) -> list[str]:
        out = []
        paces = [n for n in ("rate", "packet_rate", "speed") if values.get(n) is not None]
        if values.get("fast"):
            paces.append("fast")
        if len(paces) > 1:
            out.append(problem(paces[1], values[paces[1]], f"left out where {paces[0]} is given"))
        if values.get("flow") is not None and values.get("source") == "generated":
            out.append(
                problem(
                    "flow",
                    values["flow"],
                    "left out with a generated day: only a capture holds several flows",
                )
            )
        messages, symbols = values.get("messages"), values.get("symbols")
        if values.get("source") == "generated" and messages and symbols:
            least = 4 * symbols + 16
            if messages < least:
                must = f"at least {least} with {symbols} symbols"
                if messages >= 20:
                    must += f", or symbols (--symbols) at most {(messages - 16) // 4}"
                out.append(problem("messages", messages, must))
        return out + _line_conflicts(values) + _epoch_conflicts(values) + _server_conflicts(values)

    def epochs(self) -> list[dict[str, Any]]:
        """Where the stream's numbers begin anew: the native publisher's epochs."""
        out = []
        if self.reset_at is not None:
            out.append(
                {
                    "at": self.reset_at - self.first_sequence,
                    "session": self.session,
                    "sequence": 1,
                    "heartbeat": self.reset_by == "heartbeat",
                    "pause_ns": round(self.changeover * 1e9),
                }
            )
        if self.rollover_at is not None and self.next_session is not None:
            if self.reset_at is not None and self.reset_at > self.rollover_at:
                out[0]["session"] = self.next_session
            out.append(
                {
                    "at": self.rollover_at - self.first_sequence,
                    "session": self.next_session,
                    "sequence": 1,
                    "end_of_session": self.rollover_end,
                    "pause_ns": round(self.changeover * 1e9),
                }
            )
        return sorted(out, key=lambda epoch: int(str(epoch["at"])))

    @property
    def served(self) -> bool:
        """Some server is asked for."""
        return any(each is not None for each in (self.retransmit, self.soup, self.glimpse))

    @property
    def own_numbers(self) -> list[str]:
        """Options given that need messages, not packets that go out as they are."""
        names = (
            "line", "reset_at", "rollover_at", "changeover", "retransmit", "soup", "glimpse"
        )  # fmt: skip
        return [name for name in names if getattr(self, name)]

    def pacing(self, kind: str) -> dict[str, Any]:
        """The native publisher's pacing options."""
        if self.fast:
            return {"pacing": "fast"}
        if self.packet_rate is not None:
            return {"pacing": "packets", "rate": self.packet_rate}
        if self.speed is not None:
            return {"pacing": "original", "speed": self.speed}
        if self.rate is not None:
            return {"pacing": "messages", "rate": self.rate}
        if kind == "capture":
            return {"pacing": "original", "speed": 1.0}
        return {"pacing": "messages", "rate": DEFAULT_RATE}


def _line_conflicts(values: Mapping[str, Any]) -> list[str]:
    out = []
    lines = lines_of(values.get("line") or ())
    if values.get("fast"):
        out += [
            problem(f"line {n}: skew_us", line.skew_us, "0 with fast: a delay needs a pace")
            for n, line in enumerate(lines, 1)
            if line.skew_us
        ]
    for n, line in enumerate(lines, 1):
        same = next((m for m, other in enumerate(lines[: n - 1], 1) if other.to == line.to), None)
        if same is not None:
            must = f"another group or port than line {same}'s"
            out.append(problem(f"line {n}: to", line.to, must))
    if values.get("packet_rate") is not None and len({line.max_messages for line in lines}) > 1:
        must = "left out, with rate in its place, where lines pack differently"
        out.append(problem("packet_rate", values["packet_rate"], must))
    return out


def _epoch_conflicts(values: Mapping[str, Any]) -> list[str]:
    out = []
    first = values.get("first_sequence") or 1
    reset, rollover = values.get("reset_at"), values.get("rollover_at")
    for name, at in (("reset_at", reset), ("rollover_at", rollover)):
        if at is not None and at <= first:
            out.append(problem(name, at, f"above first_sequence = {first}"))
    if reset is not None and reset == rollover:
        out.append(problem("reset_at", reset, "another number than rollover_at"))
    if values.get("changeover") and reset is None and rollover is None:
        must = "left out without reset_at and rollover_at"
        out.append(problem("changeover", values["changeover"], must))
    session = values.get("next_session")
    if rollover is not None and session is None:
        out.append(missing("next_session", "given with rollover_at: 1 to 10 ASCII characters"))
    if session is not None and rollover is None:
        out.append(problem("next_session", session, "left out without rollover_at"))
    if session is not None and session == values.get("session"):
        out.append(problem("next_session", session, "another name than session"))
    return out


def _server_conflicts(values: Mapping[str, Any]) -> list[str]:
    out = []
    if values.get("retransmit") is None:
        out += [
            problem(name, values[name], "left out without retransmit")
            for name in (
                "retransmit_rate",
                "retransmit_delay_us",
                "retransmit_loss",
                "retransmit_silent",
            )
            if values.get(name)
        ]
    if values.get("soup") is None and values.get("glimpse") is None:
        must = "left out without soup or glimpse"
        if values.get("username"):
            out.append(problem("username", values["username"], must))
        if values.get("password"):
            out.append(unusable_secret("password", must))
    if values.get("soup") is not None and values.get("soup") == values.get("glimpse"):
        out.append(problem("glimpse", values["glimpse"], "another HOST:PORT than that of soup"))
    return out
