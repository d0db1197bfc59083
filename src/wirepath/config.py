"""How a feed is taken in: which backend, which flow, which core, how large the rings."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from datetime import date
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field

from . import _core, registry
from .errors import ConfigError
from .settings import Must, Settings, missing, nearest, problem
from .steering import udp

OptionValue = str | int | float | bool

#: Backends whose device is an interface of this machine.
INTERFACE_BACKENDS = ("socket", "af_xdp", "ef_vi", "ef_vi_sim", "auto")
#: Backends that receive what is on the wire now.
LIVE_BACKENDS = (*INTERFACE_BACKENDS, "dpdk")


def _power_of_two(value: int) -> int:
    if value & (value - 1):
        raise ValueError("not a power of two")
    return value


def _known_backend(name: str) -> str:
    if name not in known_backends():
        raise ValueError("unknown backend")
    return name


def _address(text: str) -> str:
    if text != "*":
        ipaddress.ip_address(text)
    return text


def _latin(text: str) -> str:
    if not text.isascii():
        raise ValueError("not ASCII")
    return text


def known_backends() -> list[str]:
    """Names of every backend that wirepath knows, loaded or not."""
    return [
        *_core.loaded_backends(),
        *(n for n in registry.CAPABILITIES if n not in _core.loaded_backends()),
    ]


class PortSettings(Settings):
    """How a port is opened and polled: what every configuration of an ingestion has."""

    #: The device is named here, and nowhere else.
    one_device: ClassVar[bool] = True

    backend: Annotated[
        str,
        AfterValidator(_known_backend),
        Must("the name of a backend (see `wirepath backends`)"),
        Field(description="socket, af_xdp, auto, pcap, null or another of `wirepath backends`"),
    ] = "socket"
    interface_name: Annotated[
        str,
        Field(
            max_length=63,
            pattern=r"^[^\s/,]*$",
            description="network interface, or device (dpdk); empty: the kernel's choice (socket)",
        ),
        Must("the name of a network interface: at most 15 characters, no space, /, : or comma"),
    ] = ""
    capture: Annotated[
        str | None,
        Field(min_length=1, description="file to replay (pcap)"),
        Must("the path of a capture"),
    ] = None
    rx_ring_size: Annotated[
        int,
        Field(
            ge=64,
            le=1 << 20,
            description="receive descriptors or frame buffers per queue, a power of two",
        ),
        AfterValidator(_power_of_two),
        Must("a power of two from 64 to 1048576"),
    ] = 2048
    batch_size: Annotated[
        int,
        Field(ge=1, le=4096, description="largest burst, frames"),
        Must("a whole number from 1 to 4096, at most rx_ring_size"),
    ] = 32
    cpu_core: Annotated[
        int | None,
        Field(ge=0, le=1023, description="core to pin the worker to; none = no affinity"),
        Must("the number of a core, 0 to 1023"),
    ] = None
    enable_zero_copy: Annotated[
        bool,
        Field(
            description="take frames from the driver without a copy where it can (af_xdp, ef_vi)"
        ),
        Must("true or false"),
    ] = True
    enable_numa_awareness: Annotated[
        bool,
        Field(description="put receive memory on the NIC's NUMA node, and report mismatches"),
        Must("true or false"),
    ] = True
    poll_timeout_us: Annotated[
        int,
        Field(ge=1, le=10_000_000, description="longest sleep of the worker, microseconds"),
        Must("a whole number of microseconds from 1 to 10000000"),
    ] = 100
    idle: Annotated[
        Literal["sleep", "spin"],
        Field(description="what the worker does without frames: spin burns a core for latency"),
        Must('"sleep" or "spin"'),
    ] = "sleep"
    options: Annotated[
        Mapping[str, OptionValue],
        Field(description="further options of the backend, see `wirepath backends`"),
        Must("a table of option = text, number, true or false"),
    ] = {}

    @classmethod
    def conflicts(cls, values: Mapping[str, Any]) -> list[str]:
        out = []
        ring, batch = values.get("rx_ring_size"), values.get("batch_size")
        if ring is not None and batch is not None and batch > ring:
            out.append(problem("batch_size", batch, f"at most rx_ring_size, which is {ring}"))
        backend = values.get("backend")
        live = backend in LIVE_BACKENDS
        nameless = cls.one_device and values.get("interface_name") == ""
        if live and backend not in ("socket", "dpdk") and nameless:
            out.append(
                missing("interface_name", f"the network interface to bind, with backend {backend}")
            )
        if backend == "null" and values.get("interface_name"):
            out.append(
                problem("interface_name", values["interface_name"], "empty: null has no NIC")
            )
        if backend == "dpdk" and nameless:
            out.append(
                missing(
                    "interface_name",
                    "the device, with backend dpdk: dpdk:0000:3b:00.0, or dpdk:net_memif0",
                )
            )
        name = values.get("interface_name") or ""
        if backend not in (None, "dpdk") and (len(name) > 15 or ":" in name):
            out.append(problem("interface_name", name, cls.must("interface_name")))
        if backend == "pcap":
            if values.get("capture", "") is None:
                out.append(missing("capture", "the path of a capture, with backend pcap"))
            if values.get("interface_name"):
                out.append(
                    problem("interface_name", values["interface_name"], "empty with backend pcap")
                )
        elif backend is not None and values.get("capture") is not None:
            out.append(
                problem(
                    "capture",
                    values["capture"],
                    f"left out with backend {backend}: only pcap replays",
                )
            )
        options = values.get("options") or {}
        if "rx_ring_size" in options:
            out.append(
                problem("options.rx_ring_size", options["rx_ring_size"], "given as rx_ring_size")
            )
        if options.get("zero_copy", "never") != "never" and not values.get(
            "enable_zero_copy", True
        ):
            must = f"true where options.zero_copy is {options['zero_copy']}"
            out.append(problem("enable_zero_copy", False, must))
        return out

    @classmethod
    def suggestion(cls, field: str, value: object) -> str:
        if field != "backend":
            return ""
        return f"{nearest(str(value), known_backends())}: {', '.join(known_backends())}"

    @property
    def device(self) -> str:
        """What stands after the colon of :attr:`port_spec`."""
        return (self.capture or "") if self.backend == "pcap" else self.interface_name

    @property
    def port_spec(self) -> str:
        """The spec of the port, without its options."""
        return f"{self.backend}:{self.device}"

    @property
    def live_timestamps(self) -> bool:
        """Receive timestamps are of now, so that latencies can be told from them."""
        return self.backend != "pcap" or self.options.get("timestamps") == "replay"

    @classmethod
    def fields_of_spec(cls, spec: str) -> dict[str, Any]:
        """The fields that a port spec gives: backend, interface or capture, options."""
        backend, device, given = _core.parse_port_spec(spec)
        fields: dict[str, Any] = {"backend": backend}
        if device:
            fields["capture" if backend == "pcap" else "interface_name"] = device
        options: dict[str, OptionValue] = dict(given)
        ring = options.pop("rx_ring_size", None)
        if ring is not None:
            try:
                fields["rx_ring_size"] = int(ring)
            except ValueError:
                raise ConfigError(problem("rx_ring_size", ring, cls.must("rx_ring_size"))) from None
        if options:
            fields["options"] = options
        return fields


class IngestionConfig(PortSettings):
    """Options of :class:`wirepath.IngestionClient`.

    Raises :class:`~wirepath.errors.ConfigError` naming every unusable field, its value and what
    is allowed, a line each.
    """

    table: ClassVar[str] = "ingestion"

    host: Annotated[
        str | None,
        AfterValidator(_address),
        Must('an IPv4 or IPv6 address: the group or this host\'s address, or "*" for any'),
        Field(description="multicast group or address, * for any"),
    ] = None
    port: Annotated[
        int | None,
        Field(ge=1, le=65535, description="UDP destination port"),
        Must("a whole number from 1 to 65535"),
    ] = None
    zero_copy_threshold: Annotated[
        int,
        Field(
            ge=0,
            le=65536,
            description="bytes from which frames go to a consumer by reference (wirepath.HandOff); "
            "the feed hands none over, it decodes them in place whatever their size",
        ),
        Must("a whole number of bytes from 0 to 65536"),
    ] = 64
    session: Annotated[
        str,
        Field(
            max_length=10, description="MoldUDP64 session to accept; empty: the first that comes"
        ),
        AfterValidator(_latin),
        Must("at most 10 ASCII characters"),
    ] = ""
    next_sequence: Annotated[
        int,
        Field(
            ge=0,
            le=(1 << 64) - 1,
            description="first message wanted; 0: begin with the first packet",
        ),
        Must("a whole number from 0 to 18446744073709551615"),
    ] = 0
    channel: Annotated[
        int,
        Field(ge=0, le=65535, description="number that goes into every record"),
        Must("a whole number from 0 to 65535"),
    ] = 0
    session_date: Annotated[
        date | None,
        Field(
            strict=False,
            ge=date(1970, 1, 1),
            le=date(2261, 12, 31),  # later times do not fit in int64 nanoseconds
            description="trading day, which makes event_time Unix time",
        ),
        Must("a date such as 2024-01-31, from 1970-01-01 to 2261-12-31"),
    ] = None

    @classmethod
    def conflicts(cls, values: Mapping[str, Any]) -> list[str]:
        backend = values.get("backend")
        if backend in LIVE_BACKENDS and values.get("port", 0) is None:
            must = f"{cls.must('port')} with backend {backend}: that of GROUP:PORT"
            return [missing("port", must), *super().conflicts(values)]
        return super().conflicts(values)

    @property
    def flow(self) -> _core.Steering:
        """The flow to take; everything when neither host nor port is given."""
        if self.port is None and self.host in (None, "*"):
            return _core.everything()
        return udp(self.host or "*", self.port or 0)

    @classmethod
    def from_spec(cls, spec: str, **values: Any) -> IngestionConfig:  # noqa: ANN401  # validated
        """From a port spec such as ``af_xdp:eth0,mode=native`` and further fields."""
        return cls(**merged(cls.fields_of_spec(spec), values))


def merged(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of several sources, later ones winning; their options are joined."""
    out: dict[str, Any] = {}
    options: dict[str, Any] = {}
    for layer in layers:
        out |= layer
        given = layer.get("options")
        if isinstance(given, Mapping):
            options |= given
    if options:
        out["options"] = options
    return out
