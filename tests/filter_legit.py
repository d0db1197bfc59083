"""Frames of a host that serves and asks, as they come in through its interface: what no filter
against attacks may drop."""

from __future__ import annotations

from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    ICMPv6ND_NS,
    ICMPv6PacketTooBig,
    IPv6,
)
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.packet import Raw

HOST, HOST6 = "10.10.10.10", "2a00:1450::10"
_OPTIONS = [("MSS", 1460), ("SAckOK", b""), ("Timestamp", (1, 0)), ("NOP", None), ("WScale", 7)]
_LATER = [("NOP", None), ("NOP", None), ("Timestamp", (2, 1))]


def _session(ip, port: int) -> list:
    """A client's half of a connection to a port of this host."""
    ends = {"sport": 50123, "dport": port}
    return [
        ip / TCP(**ends, flags="S", options=_OPTIONS),
        ip / TCP(**ends, flags="A", options=_LATER),
        ip / TCP(**ends, flags="PA", options=_LATER) / Raw(b"GET / HTTP/1.1\r\n\r\n"),
        ip / TCP(**ends, flags="A", options=_LATER) / Raw(bytes(1400)),
        ip / TCP(**ends, flags="FA", options=_LATER),
        ip / TCP(**ends, flags="R"),
    ]


def frames(ports: tuple[int, ...] = (22, 80, 443)) -> list[bytes]:
    """What comes in when the host serves `ports`, asks its resolver and clock, and is pinged."""
    four, six = (
        IP(src="81.2.69.142", dst=HOST, ttl=55),
        IPv6(src="2a02:8100::7", dst=HOST6, hlim=55),
    )
    server = IP(src="104.16.1.1", dst=HOST, ttl=57)
    out = [packet for port in ports for ip in (four, six) for packet in _session(ip, port)]
    out += [
        # Answers to what the host asked for.
        server / UDP(sport=53, dport=40000) / Raw(bytes(120)),
        server / UDP(sport=123, dport=123) / Raw(bytes(48)),
        server / UDP(sport=443, dport=40001) / Raw(bytes(1250)),
        server / TCP(sport=8443, dport=40002, flags="SA", options=_OPTIONS),
        server / TCP(sport=443, dport=40003, flags="PA", options=_LATER) / Raw(bytes(1000)),
        four / ICMP(type=8) / Raw(bytes(56)),
        four / ICMP(type=0) / Raw(bytes(56)),
        four / ICMP(type=3, code=4) / Raw(bytes(28)),
        six / ICMPv6PacketTooBig() / Raw(bytes(48)),
        six / ICMPv6EchoRequest(),
        IPv6(src="fe80::1", dst="ff02::1:ff00:10", hlim=255) / ICMPv6ND_NS(tgt=HOST6),
        IP(src="81.2.69.142", dst=HOST, flags="MF")
        / UDP(sport=4000, dport=5000)
        / Raw(bytes(1000)),
        IP(src="81.2.69.142", dst=HOST, frag=126, proto=17) / Raw(bytes(300)),
    ]
    ethernet = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
    whole = [ethernet / packet for packet in out]
    whole += [ethernet / Dot1Q(vlan=7) / packet for packet in _session(four, 443)]
    whole.append(ethernet / ARP(pdst=HOST))
    return [bytes(packet).ljust(60, b"\0") for packet in whole]
