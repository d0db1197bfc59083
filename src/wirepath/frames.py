"""Building frames to send, for tests, examples and small tools. Scapy does far more."""

from __future__ import annotations

import ipaddress
import struct

from .errors import ConfigError


def _checksum(data: bytes) -> int:
    """Internet checksum (RFC 1071)."""
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _mac(text: str) -> bytes:
    try:
        out = bytes.fromhex(text.replace(":", ""))
    except ValueError:
        out = b""
    if len(out) != 6:
        raise ConfigError(f"mac = {text!r} is not usable: it must be like 02:00:00:00:00:01")
    return out


def multicast_mac(group: str) -> str:
    """The Ethernet address of an IP multicast group (RFC 1112 §6.4, RFC 2464 §7). 32 IPv4 groups
    share each one."""
    address = ipaddress.ip_address(group)
    if not address.is_multicast:
        raise ConfigError(f"group = {group!r} is not usable: it must be a multicast address")
    if address.version == 4:
        low = int(address) & 0x7FFFFF
        return ":".join(f"{b:02x}" for b in b"\x01\x00\x5e" + low.to_bytes(3, "big"))
    return ":".join(f"{b:02x}" for b in b"\x33\x33" + address.packed[-4:])


def udp(
    payload: bytes,
    *,
    dst: tuple[str, int],
    src: tuple[str, int] = ("0.0.0.0", 0),
    dst_mac: str | None = None,
    src_mac: str = "02:00:00:00:00:01",
    vlan: int | None = None,
    ttl: int = 64,
) -> bytes:
    """An Ethernet frame with ``payload`` in UDP over IPv4 or IPv6, checksums filled in.

    dst, src: (address, port). dst_mac: derived for a multicast group, needed otherwise. vlan:
    identifier of an 802.1Q tag, 1 to 4094. Raises :class:`ConfigError` for values that do not
    fit.
    """
    target = ipaddress.ip_address(dst[0])
    source = ipaddress.ip_address("::" if target.version == 6 and src[0] == "0.0.0.0" else src[0])
    if target.version != source.version:
        raise ConfigError(f"src {src[0]} and dst {dst[0]} are of different IP versions")
    if dst_mac is None:
        if not target.is_multicast:
            raise ConfigError(f"dst_mac is needed for the unicast address {dst[0]}")
        dst_mac = multicast_mac(dst[0])
    for name, port in (("dst", dst[1]), ("src", src[1])):
        if not 0 <= port <= 0xFFFF:
            raise ConfigError(f"{name} port = {port} is not usable: it must be from 0 to 65535")
    length = 8 + len(payload)
    if length + 20 > 0xFFFF:
        raise ConfigError(f"payload of {len(payload)} bytes does not fit: at most 65507")
    header = struct.pack(">HHHH", src[1], dst[1], length, 0)
    pseudo = source.packed + target.packed + struct.pack(">HH", 17, length)
    checksum = _checksum(pseudo + header + payload) or 0xFFFF
    datagram = header[:6] + struct.pack(">H", checksum) + payload
    if target.version == 4:
        ip = struct.pack(">BBHIBBH", 0x45, 0, 20 + length, 0x4000, ttl, 17, 0)
        ip += source.packed + target.packed
        ip = ip[:10] + struct.pack(">H", _checksum(ip)) + ip[12:]
        ethertype = 0x0800
    else:
        ip = struct.pack(">IHBB", 0x60000000, length, 17, ttl) + source.packed + target.packed
        ethertype = 0x86DD
    tag = b""
    if vlan is not None:
        if not 1 <= vlan <= 4094:
            raise ConfigError(f"vlan = {vlan} is not usable: it must be from 1 to 4094")
        tag = struct.pack(">HH", 0x8100, vlan)
    ethernet = _mac(dst_mac) + _mac(src_mac) + tag + struct.pack(">H", ethertype)
    return (ethernet + ip + datagram).ljust(60, b"\0")
