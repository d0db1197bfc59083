"""What a publisher sends, where to, and how fast: its options, validated."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field

from .errors import ConfigError
from .settings import Must, Settings, problem

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


def flow_of(text: str, field: str = "flow") -> tuple[str, int]:
    """``239.1.1.1:9001`` or ``[ff15::1]:9001`` as (address, port)."""
    address, _, port = text.rpartition(":")
    address = address.removeprefix("[").removesuffix("]")
    try:
        if address != "*":
            ipaddress.ip_address(address)
        number = int(port)
    except ValueError:
        number = 0
    if not 1 <= number <= 65535:
        must = "GROUP:PORT, such as 239.1.1.1:9001 or [ff15::1]:9001"
        raise ConfigError(problem(field, text, must))
    return address, number


def flow_text(host: str, port: int) -> str:
    """The inverse of :func:`flow_of`."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _flow(text: str) -> str:
    flow_of(text)
    return text


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
                out.append(
                    problem("messages", messages, f"at least {least} with {symbols} symbols")
                )
        return out

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
