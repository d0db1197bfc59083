"""What a balancer is told: services, servers, checks; a table ``[balancer]`` of a TOML file."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from ..settings import Must, Settings, Tables, missing, nearest, problem

Mode = Literal["ipip", "gue", "dsr"]
MAX_WEIGHT = 10_000
#: Records of servers, one for each service that a server has.
MAX_REALS = 4095

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def _address(text: str) -> str:
    return str(ipaddress.ip_address(text))


def _prefix(text: str) -> str:
    network = ipaddress.ip_network(text)
    return str(network.network_address) if network.num_addresses == 1 else str(network)


def _mac(text: str) -> str:
    raw = bytes.fromhex(text.replace(":", ""))
    if len(raw) != 6 or not any(raw) or raw[0] & 1:
        raise ValueError("not a station's address")
    return raw.hex(":")


def _names(value: object) -> object:
    return tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else value


def _is_prime(number: int) -> int:
    if number < 2 or any(number % i == 0 for i in range(2, int(number**0.5) + 1)):
        raise ValueError("not a prime")
    return number


_NAME = Field(min_length=1, max_length=63, pattern=r"^[A-Za-z0-9_.:\[\]-]+$")
_NAME_MUST = Must("1 to 63 letters, digits, . _ : - or brackets")


class ServerConfig(Settings):
    """A server that takes a share of the services' flows."""

    table: ClassVar[str] = "balancer.server"

    name: Annotated[str, _NAME, _NAME_MUST]
    address: Annotated[
        str,
        AfterValidator(_address),
        Must("an IPv4 or IPv6 address"),
        Field(description="where tunnelled packets go, and checks"),
    ]
    weight: Annotated[
        int,
        Field(ge=0, le=MAX_WEIGHT, description="share of new flows against others'; 0: none"),
    ] = 1
    mode: Annotated[
        Mode | None,
        Field(description="how it is reached, where not as the others"),
        Must('"ipip", "gue" or "dsr"'),
    ] = None
    mac: Annotated[
        str | None,
        AfterValidator(lambda text: None if text is None else _mac(text)),
        Must("the Ethernet address of a station, such as 02:00:00:00:00:01"),
        Field(description="of the server (dsr) or of the next hop; none: the kernel is asked"),
    ] = None
    quic_id: Annotated[
        int | None,
        Field(ge=0, le=65535, description="the server ID that its QUIC connection IDs carry"),
        Must("a whole number from 0 to 65535"),
    ] = None


class VipConfig(Settings):
    """A service: an address or prefix, a protocol, a port, and which servers it has."""

    table: ClassVar[str] = "balancer.vip"

    name: Annotated[str, _NAME, _NAME_MUST]
    address: Annotated[
        str,
        AfterValidator(_prefix),
        Must("an IPv4 or IPv6 address, or a prefix such as 192.0.2.0/28 without host bits"),
    ]
    protocol: Annotated[
        Literal["tcp", "udp", "any"],
        Field(description="tcp, udp, or any"),
        Must('"tcp", "udp" or "any"'),
    ] = "tcp"
    port: Annotated[int, Field(ge=0, le=65535, description="port; 0: every port")] = 0
    servers: Annotated[
        tuple[str, ...],
        BeforeValidator(_names),
        Must("a list of names of servers"),
        Field(description="names of its servers; none: all of them"),
    ] = ()
    quic: Annotated[
        bool, Field(description="short QUIC headers go by connection ID"), Must("true or false")
    ] = False
    stateless: Annotated[
        bool,
        Field(description="no connection table: each packet by the Maglev table alone"),
        Must("true or false"),
    ] = False
    min_servers: Annotated[
        int, Field(ge=1, le=MAX_REALS, description="servers up below which it is withdrawn")
    ] = 1
    check: Annotated[
        Literal["none", "tcp", "http", "udp", "grpc"],
        Field(description="how its servers are checked"),
        Must('"none", "tcp", "http", "udp" or "grpc"'),
    ] = "tcp"
    check_port: Annotated[
        int | None,
        Field(ge=1, le=65535, description="port to check; none: that of the service"),
        Must("a whole number from 1 to 65535"),
    ] = None
    check_through: Annotated[
        Literal["tunnel", "direct"],
        Field(description="tunnel: to the VIP, as the service's packets go; direct: to the server"),
        Must('"tunnel" or "direct"'),
    ] = "tunnel"
    check_path: Annotated[
        str,
        Field(pattern=r"^/[!-~]*$", max_length=1024, description="of an http check"),
        Must("a path that begins with /"),
    ] = "/"
    check_status: Annotated[
        int, Field(ge=100, le=599, description="status that an http check wants")
    ] = 200
    check_send: Annotated[
        str,
        Field(min_length=1, max_length=1024, description="text that a udp check sends"),
        Must("1 to 1024 characters"),
    ] = "wirepath"
    check_service: Annotated[
        str,
        Field(max_length=255, description="service that a grpc check asks for; empty: all of it"),
        Must("at most 255 characters"),
    ] = ""
    check_interval: Annotated[
        float, Field(ge=0.05, le=3600, description="seconds from check to check")
    ] = 2.0
    check_timeout: Annotated[
        float, Field(ge=0.01, le=60, description="seconds that an answer may take")
    ] = 1.0
    rise: Annotated[int, Field(ge=1, le=100, description="checks that bring a server up")] = 2
    fall: Annotated[int, Field(ge=1, le=100, description="failed checks that take it down")] = 3

    @property
    def network(self) -> Network:
        """The address or prefix."""
        return ipaddress.ip_network(self.address)

    @property
    def checked_port(self) -> int:
        """The port that checks go to; 0: there is none to go to."""
        return self.check_port or self.port

    @classmethod
    def conflicts(cls, values: Mapping[str, Any]) -> list[str]:
        out = []
        protocol, port = values.get("protocol"), values.get("port", 0)
        if protocol == "any" and port:
            out.append(problem("port", port, "0 with protocol any, of which not all have ports"))
        if values.get("quic") and protocol in ("tcp", "any"):
            out.append(problem("quic", True, 'false unless protocol is "udp"'))
        check = values.get("check")
        if check not in (None, "none") and not port and values.get("check_port", 0) is None:
            out.append(missing("check_port", "the port to check, as the service has no port"))
        timeout, interval = values.get("check_timeout"), values.get("check_interval")
        if timeout is not None and interval is not None and timeout > interval:
            must = f"at most check_interval, which is {interval}"
            out.append(problem("check_timeout", timeout, must))
        if values.get("check_through") == "tunnel" and "address" in values:
            try:
                network = ipaddress.ip_network(values["address"])
            except ValueError:
                return out
            if network.num_addresses > 1 and check not in (None, "none"):
                out.append(
                    problem(
                        "check_through", "tunnel", 'given as "direct" where address is a prefix'
                    )
                )
        return out


class BalancerConfig(Settings):
    """A balancer on one interface.

    Raises :class:`~wirepath.errors.ConfigError` naming every unusable field, its value and what
    is allowed, a line each.
    """

    table: ClassVar[str] = "balancer"

    interface: Annotated[
        str,
        Field(min_length=1, max_length=15, pattern=r"^[^\s/]+$"),
        Must("the name of a network interface"),
    ]
    vip: Annotated[tuple[VipConfig, ...], Tables("vip", VipConfig), Must("tables [[vip]]")] = ()
    server: Annotated[
        tuple[ServerConfig, ...], Tables("server", ServerConfig), Must("tables [[server]]")
    ] = ()
    mode: Annotated[
        Mode,
        Field(description="how servers are reached: ipip, gue (UDP), dsr (their MAC)"),
        Must('"ipip", "gue" or "dsr"'),
    ] = "ipip"
    attach: Annotated[
        Literal["auto", "native", "generic"],
        Field(description="where the program runs: in the driver, or in the kernel's generic hook"),
        Must('"auto", "native" or "generic"'),
    ] = "auto"
    table_size: Annotated[
        int,
        AfterValidator(_is_prime),
        Field(ge=2, le=1_048_573, description="slots of each service's table, a prime"),
        Must("a prime from 2 to 1048573, such as 65537"),
    ] = 65537
    algorithm: Annotated[
        Literal["wirepath", "cilium"],
        Field(description="whose tables"),
        Must('"wirepath" or "cilium"'),
    ] = "wirepath"
    connections: Annotated[
        int, Field(ge=1024, le=1 << 26, description="flows that are remembered")
    ] = 1 << 20
    new_flows_per_second: Annotated[
        int,
        Field(ge=0, le=1 << 30, description="new flows a CPU remembers in a second"),
    ] = 125_000
    udp_timeout: Annotated[
        float,
        Field(ge=0, le=86400, description="seconds after which a silent UDP flow is new; 0: never"),
        Must("a number of seconds from 0 to 86400"),
    ] = 60.0
    mtu: Annotated[
        int, Field(ge=1280, le=65535, description="bytes of an IP packet on the way to servers")
    ] = 1500
    icmp_errors_per_second: Annotated[
        int,
        Field(ge=0, le=1_000_000, description="packet-too-big errors a CPU sends in a second"),
    ] = 1000
    echo: Annotated[
        bool,
        Field(description="the balancer answers echo requests for VIPs"),
        Must("true or false"),
    ] = True
    source4: Annotated[
        str | None,
        AfterValidator(lambda text: None if text is None else str(ipaddress.IPv4Address(text))),
        Must("an IPv4 address"),
        Field(description="source of tunnelled packets; none: the interface's"),
    ] = None
    source6: Annotated[
        str | None,
        AfterValidator(lambda text: None if text is None else str(ipaddress.IPv6Address(text))),
        Must("an IPv6 address"),
        Field(description="source of tunnelled packets; none: the interface's"),
    ] = None
    gue_port: Annotated[int, Field(ge=1, le=65535, description="UDP port of GUE")] = 6080
    quic_config: Annotated[
        int, Field(ge=0, le=6, description="first three bits of routable connection IDs")
    ] = 0
    slow_start: Annotated[
        float,
        Field(ge=0, le=86400, description="seconds in which a server that came up gets its share"),
        Must("a number of seconds from 0 to 86400"),
    ] = 0.0
    drain_seconds: Annotated[
        float,
        Field(ge=0, le=7 * 86400, description="longest drain, after which flows are moved"),
        Must("a number of seconds from 0 to 604800"),
    ] = 3600.0
    drain_idle: Annotated[
        float,
        Field(ge=0.1, le=86400, description="seconds without a packet that end a drain"),
        Must("a number of seconds from 0.1 to 86400"),
    ] = 60.0
    pin: Annotated[
        bool,
        Field(description="the data path outlives the control process"),
        Must("true or false"),
    ] = False
    announce: Annotated[
        Literal["none", "frr"],
        Field(description="how VIPs are announced: frr, network statements of its bgpd"),
        Must('"none" or "frr"'),
    ] = "none"
    announce_as: Annotated[
        int | None,
        Field(ge=1, le=(1 << 32) - 1, description="AS number of FRR's router bgp"),
        Must("an AS number from 1 to 4294967295"),
    ] = None
    announce_vtysh: Annotated[
        str,
        Field(min_length=1, description="the command of FRR's shell, with options"),
        Must("a command such as vtysh"),
    ] = "vtysh"

    @classmethod
    def conflicts(cls, values: Mapping[str, Any]) -> list[str]:
        out = []
        vips: Sequence[VipConfig] = values.get("vip") or ()
        servers: Sequence[ServerConfig] = values.get("server") or ()
        out += _twice("vip", [v.name for v in vips]) + _twice("server", [s.name for s in servers])
        known = [s.name for s in servers]
        for i, vip in enumerate(vips):
            for name in vip.servers:
                if "server" in values and name not in known:
                    must = "the name of a [[balancer.server]]" + nearest(name, known)
                    out.append(problem(f"vip[{i}].servers", name, must))
        taken: dict[tuple[str, str, int], str] = {}
        for vip in vips:
            what = (vip.address, vip.protocol, vip.port)
            if what in taken:
                text = f"{vip.address} {vip.protocol} {vip.port}"
                out.append(problem(f"vip {vip.name}", text, f"another than that of {taken[what]}"))
            taken[what] = vip.name
        ids = [s.quic_id for s in servers if s.quic_id is not None]
        out += [
            problem("server.quic_id", each, "different for each server")
            for each in sorted({i for i in ids if ids.count(i) > 1})
        ]
        if values.get("announce") == "frr" and values.get("announce_as", 0) is None:
            out.append(missing("announce_as", "the AS number of FRR's router bgp"))
        reals = sum(len(v.servers) or len(servers) for v in vips)
        if reals > MAX_REALS:
            out.append(f"{reals} servers of services are too many: at most {MAX_REALS}")
        return out

    def servers_of(self, vip: VipConfig) -> list[ServerConfig]:
        """The servers of a service, as it names them."""
        if not vip.servers:
            return list(self.server)
        by_name = {s.name: s for s in self.server}
        return [by_name[name] for name in vip.servers]

    def checks_through_tunnel(self) -> list[VipConfig]:
        """Services whose checks go as their packets do."""
        return [v for v in self.vip if v.check_through == "tunnel" and v.check != "none"]

    def tunnel_families(self) -> set[int]:
        """Families of which tunnelled packets and checks need a source address."""
        tunnelled = [s for s in self.server if self.mode_of(s) != "dsr"]
        needed = {6 if ":" in s.address else 4 for s in tunnelled}
        return needed | {v.network.version for v in self.checks_through_tunnel()}

    def mode_of(self, server: ServerConfig) -> Mode:
        """How a server is reached."""
        return server.mode or self.mode


def _twice(field: str, names: Sequence[str]) -> list[str]:
    return [
        problem(f"{field}.name", name, "different for each")
        for name in sorted({n for n in names if names.count(n) > 1})
    ]
