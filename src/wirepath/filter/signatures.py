"""Signatures of amplification, reflection and scan traffic, under names.

Each is one or several sets of conditions, in the words of rules: a packet has the signature when
it fits any one of them. They judge single packets, so what an honest host also sends is told in
`but`; a rule with ``action = "pass"`` in front of them, or a rule of one's own with ``signature``
and ``source_not``, leaves that out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Signature:
    """What it is, what honest traffic it also takes, and what it looks at."""

    help: str
    but: str
    conditions: tuple[Mapping[str, Any], ...]


def _from_port(port: int, length: str | None = None) -> Mapping[str, Any]:
    found: dict[str, Any] = {"protocol": "udp", "source_port": str(port), "fragment": "no,first"}
    return found | ({"length": length} if length else {})


# RFC 6890's special-purpose registry: what is never the source of a packet from the Internet.
BOGONS = (
    "0.0.0.0/8,10.0.0.0/8,100.64.0.0/10,127.0.0.0/8,169.254.0.0/16,172.16.0.0/12,192.0.0.0/24,"
    "192.0.2.0/24,192.168.0.0/16,198.18.0.0/15,198.51.100.0/24,203.0.113.0/24,224.0.0.0/4,"
    "240.0.0.0/4,::/128,::1/128,::ffff:0:0/96,100::/64,2001:2::/48,2001:db8::/32,fc00::/7,ff00::/8"
)

SIGNATURES: Mapping[str, Signature] = {
    "dns": Signature(
        "answers of DNS servers longer than 512 bytes, as amplification makes them",
        "long answers of the resolvers that this host asks itself",
        (_from_port(53, "541-"),),
    ),
    "ntp": Signature(
        "answers of NTP servers that are longer than the time: monlist and other private ones",
        "nothing but ntpq and ntpdc",
        (_from_port(123, "97-"),),
    ),
    "memcached": Signature(
        "answers of memcached over UDP", "memcached clients over UDP", (_from_port(11211),)
    ),
    "ssdp": Signature("answers of UPnP devices", "UPnP from other networks", (_from_port(1900),)),
    "cldap": Signature(
        "answers of LDAP over UDP",
        "members of a Windows domain that look for its controllers",
        (_from_port(389),),
    ),
    "snmp": Signature(
        "answers of SNMP agents", "monitoring by SNMP from this host", (_from_port(161),)
    ),
    "chargen": Signature("what CHARGEN servers send", "nothing in use", (_from_port(19),)),
    "isakmp": Signature(
        "answers of IKE servers on port 500", "IPsec tunnels of this host", (_from_port(500),)
    ),
    "syn-ack": Signature(
        "SYN/ACK of servers' ports, as a reflector sends them to a forged source",
        "connections that this host opens to ports below 1024",
        ({"protocol": "tcp", "tcp_flags": "syn,ack", "source_port": "0-1023"},),
    ),
    "bare-syn": Signature(
        "SYN without any TCP option, which no system of this century sends",
        "nothing but generators",
        (
            {"family": 4, "tcp_flags": "syn,!ack", "length": "40", "ip_options": False},
            {"family": 6, "tcp_flags": "syn,!ack", "length": "60", "ip_options": False},
        ),
    ),
    "syn-scan": Signature(
        "SYN with the maximum segment size as its only option, as port scanners send it",
        "small embedded devices without window scaling",
        (
            {"family": 4, "tcp_flags": "syn,!ack", "length": "44", "ip_options": False},
            {"family": 6, "tcp_flags": "syn,!ack", "length": "64", "ip_options": False},
        ),
    ),
    "xmas": Signature(
        "FIN, PSH and URG at once, or SYN with FIN or RST: no state of TCP",
        "nothing",
        (
            {"protocol": "tcp", "tcp_flags": "fin,psh,urg"},
            {"protocol": "tcp", "tcp_flags": "syn,fin"},
            {"protocol": "tcp", "tcp_flags": "syn,rst"},
        ),
    ),
    "null": Signature(
        "TCP without a flag", "nothing", ({"protocol": "tcp", "tcp_flags": "none"},)
    ),
    "fin-scan": Signature(
        "FIN without ACK", "nothing", ({"protocol": "tcp", "tcp_flags": "fin,!ack"},)
    ),
    "land": Signature("source and destination are the same address", "nothing", ({"land": True},)),
    "bogons": Signature(
        "source addresses that the Internet has no route to",
        "private networks: not for an interface that faces one; IPv6 hosts that look for a "
        "duplicate of their address",
        ({"source": BOGONS},),
    ),
    "backscatter": Signature(
        "ICMP errors (but those of path MTU discovery) and redirects, as victims of forged sources "
        "and routers on the way send them",
        "being told at once that a host or port does not answer, and traceroute",
        (
            {"family": 4, "protocol": "icmp", "icmp_type": "3", "icmp_code": "0-3,5-15"},
            {"family": 4, "protocol": "icmp", "icmp_type": "5,11"},
            {"family": 6, "protocol": "icmpv6", "icmp_type": "1,3"},
        ),
    ),
    "tiny-fragment": Signature(
        "first fragments shorter than the smallest MTU of IPv4, 68 bytes",
        "nothing",
        ({"fragment": "first", "length": "0-67"},),
    ),
}  # fmt: skip
