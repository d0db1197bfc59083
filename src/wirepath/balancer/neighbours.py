"""Addresses of an interface, and the Ethernet address of the next hop on the way to a server.

pyroute2 runs a loop of its own: not to be called from within another one.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
from dataclasses import dataclass

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from ..errors import ConfigError, PortError
from ..settings import problem

_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
_DISCARD = 9
_USABLE = (
    0x02 | 0x04 | 0x08 | 0x10 | 0x40 | 0x80
)  # reachable, stale, delay, probe, noarp, permanent


@dataclass(frozen=True)
class Link:
    """An interface: what kind of virtual one it is ("": a NIC), and an address of each family."""

    kind: str
    addresses: dict[int, str]


def link(name: str) -> Link:
    """What the kernel says of an interface. Raises ConfigError: there is none of that name."""
    with IPRoute() as ip:
        found = ip.link_lookup(ifname=name)
        if not found:
            raise ConfigError(problem("interface", name, "an interface of this network namespace"))
        about = ip.link("get", index=found[0])[0]
        addresses: dict[int, str] = {}
        for number, family in _FAMILIES.items():
            for each in ip.get_addr(index=found[0], family=family):
                text = each.get_attr("IFA_LOCAL") or each.get_attr("IFA_ADDRESS")
                if not ipaddress.ip_address(text).is_link_local:
                    addresses.setdefault(number, text)
    details = about.get_attr("IFLA_LINKINFO")
    kind = (details.get_attr("IFLA_INFO_KIND") if details is not None else None) or ""
    return Link(kind, addresses)


def next_hop(address: str, interface: str) -> str:
    """The address of the next station on the way to `address` out of `interface`. Raises PortError:
    the routes lead elsewhere, or nowhere."""
    family = _FAMILIES[ipaddress.ip_address(address).version]
    with IPRoute() as ip:
        index = ip.link_lookup(ifname=interface)
        try:
            found = ip.route("get", family=family, dst=address)
        except NetlinkError as error:
            raise PortError(f"there is no route to {address}: {error.args[-1]}") from None
        route = found[0]
        if not index or route.get_attr("RTA_OIF") != index[0]:
            raise PortError(
                f"{address} is not reached through {interface}, where the balancer sends "
                f"(ip route get {address} says how; give the server's mac to overrule it)"
            )
        return str(route.get_attr("RTA_GATEWAY") or address)


def known(address: str, interface: str) -> bytes | None:
    """The Ethernet address that the kernel has for a neighbour, or None."""
    family = _FAMILIES[ipaddress.ip_address(address).version]
    with IPRoute() as ip:
        index = ip.link_lookup(ifname=interface)
        if not index:
            return None
        for each in ip.get_neighbours(family=family, ifindex=index[0], dst=address):
            mac = each.get_attr("NDA_LLADDR")
            if mac and each["state"] & _USABLE:
                return bytes.fromhex(mac.replace(":", ""))
    return None


def ask(address: str) -> None:
    """Have the kernel look for a neighbour: a datagram to its discard port makes it."""
    family = _FAMILIES[ipaddress.ip_address(address).version]
    with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.sendto(b"", (address, _DISCARD))
