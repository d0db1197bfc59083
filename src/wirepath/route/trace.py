"""What becomes of a packet to an address, and why."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from ..errors import ConfigError
from ..settings import problem
from .forwarding import Forwarding
from .groups import HopKey, HopKind
from .model import RouteType, address_text, prefix_text

__all__ = ["Trace", "trace"]

_TABLES = {255: "local", 254: "main", 253: "default"}
_FATE = {
    HopKind.FORWARD: "forwarded",
    HopKind.HOST: "to the host",
    HopKind.BLACKHOLE: "dropped: blackhole",
    HopKind.UNREACHABLE: "to the host, which answers: unreachable",
    HopKind.PROHIBIT: "to the host, which answers: prohibited",
}


@dataclass(frozen=True)
class Trace:
    """The way of a packet; fields that do not apply are None."""

    address: str
    table: str | None
    prefix: str | None
    type: str | None
    metric: int | None
    next_hop_id: int | None
    group: int | None
    members: list[dict[str, Any]]
    member: dict[str, Any] | None
    fate: str
    why: str | None


def table_name(number: int) -> str:
    """As `ip route` names it."""
    return _TABLES.get(number, str(number))


def trace(forwarding: Forwarding, address: str, flow_hash: int = 0) -> Trace:
    """Follows a packet to ``address`` through tables, group and next hop.

    Args:
        forwarding: brought up to date with ``refresh()``.
        address: IPv4 or IPv6, as text.
        flow_hash: which of a group's buckets the packet falls to.

    Raises:
        ConfigError: not an address.
    """
    try:
        packed = ip_address(address).packed
    except ValueError:
        raise ConfigError(problem("address", address, "an IPv4 or IPv6 address")) from None
    decision = forwarding.match(packed)
    number = forwarding.group_of(packed)
    if not number:
        why = "no route holds it"
        if decision is not None:
            why = forwarding.refused.get(
                decision.prefix, "its route is not in the forwarding table"
            )
        return Trace(
            address, None, None, None, None, None, None, [], None, "to the host, which answers", why
        )
    groups = forwarding.groups
    weights = groups.group_members(number)
    members = [_described(forwarding, hop, weight) for hop, weight in weights.items()]
    hop = groups.hop_key(groups.native.select(number, flow_hash))
    if hop is None:
        raise ConfigError(f"group {number} has no members (refresh() first)")
    chosen = _described(forwarding, hop, weights.get(hop, 0))
    now = groups.rewrite(hop)
    route = decision.route if decision else None
    return Trace(
        address,
        table_name(decision.table) if decision else None,
        prefix_text(decision.prefix) if decision else None,
        RouteType(route.type).name.lower() if route else None,
        route.metric if route else None,
        (route.next_hop_id or None) if route else None,
        number,
        members,
        chosen,
        _FATE[now.kind],
        now.why or None,
    )


def _described(forwarding: Forwarding, hop: HopKey, weight: int) -> dict[str, Any]:
    now = forwarding.groups.rewrite(hop)
    links = forwarding.table.links
    name = links[hop.interface].name if hop.interface in links else str(hop.interface)
    out: dict[str, Any] = {"kind": now.kind.name.lower(), "weight": weight}
    if hop.interface:
        out["interface"] = name
    if hop.gateway is not None:
        out["neighbour"] = address_text(hop.gateway)
    if now.kind is HopKind.FORWARD:
        out["destination_mac"] = now.destination.hex(":")
        out["source_mac"] = now.source.hex(":")
        out["mtu"] = now.mtu
        if now.vlan:
            out["vlan"] = now.vlan
            out["out_of"] = links[now.interface].name if now.interface in links else now.interface
    if now.why:
        out["why"] = now.why
    return out
