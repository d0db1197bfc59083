"""Rules of nftables as its JSON has them (libnftables-json(5))."""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

from ..errors import ConfigError
from . import fields
from .importing import Builder, Imported, NotExpressible
from .rules import Set

_HOOKS = ("ingress", "prerouting", "input")  # in the order in which packets come by
_PRIORITIES = {"raw": -300, "mangle": -150, "dstnat": -100, "filter": 0, "security": 50}
_PREFIX_FIELDS = {"saddr": "source", "daddr": "destination"}
_NUMBERS = {
    ("ip", "ttl"): ("ttl", 255), ("ip6", "hoplimit"): ("ttl", 255),
    ("ip", "length"): ("length", 65535), ("vlan", "id"): ("vlan", 4095),
}  # fmt: skip
_ICMP = {
    "echo-reply": 0, "destination-unreachable": 3, "source-quench": 4, "redirect": 5,
    "echo-request": 8, "router-advertisement": 9, "router-solicitation": 10, "time-exceeded": 11,
    "parameter-problem": 12, "timestamp-request": 13, "timestamp-reply": 14,
}  # fmt: skip
_ICMPV6 = {
    "destination-unreachable": 1, "packet-too-big": 2, "time-exceeded": 3, "parameter-problem": 4,
    "echo-request": 128, "echo-reply": 129, "mld-listener-query": 130, "mld-listener-report": 131,
    "mld-listener-done": 132, "nd-router-solicit": 133, "nd-router-advert": 134,
    "nd-neighbor-solicit": 135, "nd-neighbor-advert": 136, "nd-redirect": 137,
}  # fmt: skip
_SERVICES = {"ssh": 22, "domain": 53, "http": 80, "ntp": 123, "snmp": 161, "https": 443}


def from_json(text: str) -> Imported:  # noqa: PLR0912  # one a reason
    """The output of ``nft -j list ruleset``. Raises ConfigError where it is not that."""
    try:
        items = json.loads(text)["nftables"]
        found = [(kind, value) for item in items for kind, value in item.items()]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"this is no output of `nft -j list ruleset`: {error!r}") from None
    out = Imported()
    chains = {}
    sets = _Sets(out, [value for kind, value in found if kind == "set"])
    for kind, value in found:
        if kind == "chain" and value.get("hook") in _HOOKS:
            chains[value["family"], value["table"], value["name"]] = value
            if value.get("policy") == "drop":
                out.policies.add({"ip": 4, "ip6": 6}.get(value["family"], 0))
    rules = [value for kind, value in found if kind == "rule"]
    order = sorted(chains, key=lambda key: _place(chains[key]))  # stable
    used = {_chain_of(rule) for rule in rules}
    ends = [key for key in order if key in used or chains[key].get("policy") == "drop"]
    rules.sort(key=lambda rule: order.index(key) if (key := _chain_of(rule)) in chains else -1)
    for value in rules:
        shown = value.get("text") or json.dumps(value.get("expr"))
        shown = f"{value['family']} {value['table']} {value['chain']}: {shown}"
        if _chain_of(value) not in chains:
            why = "its chain does not stand at input, prerouting or ingress; jumps are not followed"
            out.left_out.append((shown, why))
            continue
        try:
            values = _rule(value["expr"], value["family"])
            if values["action"] == "pass" and _is_followed(_chain_of(value), ends):
                raise NotExpressible("accept ends its own chain only, and another one follows")
            if values["action"] == "pass" and _drops_before(_chain_of(value), order, chains):
                raise NotExpressible("the policy of a chain in front of its own drops")
            sets.need(values, (value["family"], value["table"]))
        except NotExpressible as error:
            out.left_out.append((shown, str(error)))
        except (AttributeError, LookupError, TypeError, ValueError):
            out.left_out.append((shown, "it cannot be read"))
        else:
            if isinstance(value.get("comment"), str):
                values["name"] = value["comment"][:63]
            if values.get("name") in {rule.name for rule in out.rules}:
                del values["name"]
            out.add(shown, values)
    out.end()
    return out


_Chain = tuple[str, str, str]


def _chain_of(rule: dict[str, Any]) -> _Chain:
    return rule["family"], rule["table"], rule["chain"]


def _place(chain: dict[str, Any]) -> tuple[int, int]:
    """Where packets come by a chain: by its hook, then by its priority."""
    priority = chain.get("prio", 0)
    if not isinstance(priority, int):
        priority = _PRIORITIES.get(str(priority), 0)
    return _HOOKS.index(chain["hook"]), priority


def _is_followed(chain: _Chain, ends: list[_Chain]) -> bool:
    """Whether a later chain has a say in packets that this one accepts."""
    later = ends[ends.index(chain) + 1 :]
    return any({chain[0], other[0]} != {"ip", "ip6"} for other in later)


def _drops_before(chain: _Chain, order: list[_Chain], chains: dict[_Chain, dict[str, Any]]) -> bool:
    """Whether an earlier chain drops, by its policy, what it does not accept itself."""
    earlier = order[: order.index(chain)]
    dropping = [each for each in earlier if chains[each].get("policy") == "drop"]
    return any({chain[0], each[0]} != {"ip", "ip6"} for each in dropping)


class _Sets:
    """Sets of addresses, by the family and the table that they belong to."""

    def __init__(self, out: Imported, found: list[dict[str, Any]]) -> None:
        self._names: dict[tuple[str, str, str], str] = {}
        names = [value.get("name") for value in found]
        for value in found:
            key = (value.get("family", ""), value.get("table", ""), value.get("name", ""))
            one = names.count(key[2]) == 1
            name = re.sub(r"[^A-Za-z0-9_.-]", "_", key[2] if one else ".".join(key))[-63:]
            name = _unlike(name, self._names.values())
            if _set(out, value, name):
                self._names[key] = name

    def need(self, values: dict[str, Any], table: tuple[str, str]) -> None:
        """Brings a rule's sets to the names that they have here."""
        for field in ("source", "source_not", "destination", "destination_not"):
            parts = str(values.get(field, "")).split(",")
            for i, part in enumerate(parts):
                if part.startswith("@"):
                    if (*table, part[1:]) not in self._names:
                        raise NotExpressible(f"set {part[1:]} is not there, or was left out")
                    parts[i] = f"@{self._names[(*table, part[1:])]}"
            if field in values:
                values[field] = ",".join(parts)


def _unlike(name: str, others: Iterable[str]) -> str:
    """The name, with a number behind it where another set has it: what nft tells apart by a
    character that is not allowed here, or by one in front of the last 63, would be one."""
    taken, number, found = set(others), 1, name
    while found in taken:
        number += 1
        found = f"{name[: 62 - len(str(number))]}_{number}"
    return found


def _set(out: Imported, value: dict[str, Any], name: str) -> bool:
    """Whether it is a set of addresses with something in it."""
    if value.get("type") not in ("ipv4_addr", "ipv6_addr"):
        out.left_out.append((f"set {value.get('name')}", f"its type is {value.get('type')}"))
        return False
    items = [
        e["elem"]["val"] if isinstance(e, dict) and "elem" in e else e
        for e in value.get("elem", [])
    ]
    prefixes = [text for item in items for text in _prefix_texts(item)]
    if not prefixes:
        out.left_out.append((f"set {value['name']}", "it is empty: what fills it is not here"))
        return False
    out.sets.append(Set(name=name, prefixes=",".join(prefixes)))
    return True


def _rule(expressions: list[dict[str, Any]], family: str) -> dict[str, Any]:
    found = Builder()
    if family in ("ip", "ip6"):
        found.put("family", 4 if family == "ip" else 6)
    action = None
    for expression in expressions:
        ((kind, value),) = expression.items()
        match kind:
            case "match":
                _match(found, value)
            case "accept":
                action = "pass"
            case "drop":
                action = "drop"
            case "counter" | "comment":
                pass
            case "reject":
                raise NotExpressible("reject answers; drop is the nearest")
            case "limit":
                raise NotExpressible(
                    'below its rate a limit goes on to the next rule; action = "limit" ends there'
                )
            case _:
                raise NotExpressible(f"{kind} has no equal")
    if action is None:
        raise NotExpressible("it neither accepts nor drops")
    return {**found.values, "action": action}


def _match(found: Builder, value: dict[str, Any]) -> None:
    left, op, right = value["left"], value["op"], value["right"]
    if "payload" in left and "field" in left["payload"]:
        protocol, name = left["payload"]["protocol"], left["payload"]["field"]
        _payload(found, protocol, name, op, right)
    elif "meta" in left and left["meta"]["key"] == "l4proto":
        _protocol(found, op, right)
    elif "meta" in left and left["meta"]["key"] in ("nfproto", "protocol"):
        names = {"ipv4": 4, "ip": 4, "ipv6": 6, "ip6": 6}
        if op != "==" or right not in names:
            raise NotExpressible(f"meta {left['meta']['key']} {op} {right}")
        found.put("family", names[right])
    elif "&" in left and _is_flags(left["&"][0]):
        mask, want = _flags(left["&"][1]), _flags(right)
        if op != "==":
            raise NotExpressible("flags that are not a pattern")
        looked_at = {n: bit for n, bit in fields.TCP_FLAGS.items() if mask & bit}
        named = [n if want & bit else f"!{n}" for n, bit in looked_at.items()]
        found.put("tcp_flags", ",".join(named))
    elif "ct" in left:
        raise NotExpressible("it asks for the state of a connection, which a filter does not keep")
    else:
        raise NotExpressible(f"{json.dumps(left)} has no equal")


def _is_flags(left: object) -> bool:
    return left == {"payload": {"protocol": "tcp", "field": "flags"}}


def _flags(value: object) -> int:
    if isinstance(value, int):
        return value
    if isinstance(value, dict) and "|" in value:
        return sum(_flags(v) for v in value["|"])
    if isinstance(value, list):
        return sum(_flags(v) for v in value)
    if value in fields.TCP_FLAGS:
        return fields.TCP_FLAGS[str(value)]
    raise NotExpressible(f"flags {value}")


def _flags_alone(op: str, want: int) -> str:
    """Flags without a mask: just these, or (``in``) any of them."""
    if op == "in" and want.bit_count() == 1:
        return next(n for n, bit in fields.TCP_FLAGS.items() if bit == want)
    if op != "==":
        raise NotExpressible("any of several flags" if op == "in" else f"flags {op}")
    return ",".join(n if want & bit else f"!{n}" for n, bit in fields.TCP_FLAGS.items())


def _payload(found: Builder, protocol: str, name: str, op: str, right: object) -> None:
    if protocol in ("ip", "ip6") and name in _PREFIX_FIELDS:
        found.put("family", 4 if protocol == "ip" else 6)
        if op not in ("==", "!=", "in"):
            raise NotExpressible(f"addresses {op}")
        suffix = "_not" if op == "!=" else ""
        texts = [text for item in _items(right) for text in _prefix_texts(item)]
        found.put(_PREFIX_FIELDS[name] + suffix, ",".join(texts))
    elif name in ("sport", "dport") and protocol in ("tcp", "udp", "th", "sctp", "dccp", "udplite"):
        if protocol != "th":
            found.put("protocol", protocol)
        field = "source_port" if name == "sport" else "destination_port"
        found.numbers(field, _ranges(op, right, 65535, _SERVICES), 65535, inverted=op == "!=")
    elif (protocol, name) in (("ip", "protocol"), ("ip6", "nexthdr")):
        found.put("family", 4 if protocol == "ip" else 6)
        _protocol(found, op, right)
    elif (protocol, name) in (("icmp", "type"), ("icmpv6", "type")):
        found.put("protocol", protocol)
        known = _ICMP if protocol == "icmp" else _ICMPV6
        found.numbers("icmp_type", _ranges(op, right, 255, known), 255, inverted=op == "!=")
    elif (protocol, name) in (("icmp", "code"), ("icmpv6", "code")):
        found.numbers("icmp_code", _ranges(op, right, 255, {}), 255, inverted=op == "!=")
    elif (protocol, name) in _NUMBERS:
        if protocol in ("ip", "ip6"):
            found.put("family", 4 if protocol == "ip" else 6)
        field, top = _NUMBERS[protocol, name]
        found.numbers(field, _ranges(op, right, top, {}), top, inverted=op == "!=")
    elif (protocol, name) == ("tcp", "flags"):
        found.put("tcp_flags", _flags_alone(op, _flags(right)))
    else:
        raise NotExpressible(f"{protocol} {name} has no equal")


def _protocol(found: Builder, op: str, right: object) -> None:
    numbers = _ranges(op, right, 255, {**fields.PROTOCOLS, "ipv6-icmp": 58})
    listed = {n for low, high in numbers for n in range(low, high + 1)}
    if op == "!=":
        listed = set(range(256)) - listed
    names = {n: name for name, n in fields.PROTOCOLS.items()}
    found.put("protocol", ",".join(names.get(n, str(n)) for n in sorted(listed)))


def _items(right: object) -> list[Any]:
    if isinstance(right, dict) and "set" in right:
        return list(right["set"])
    return list(right) if isinstance(right, list) else [right]


def _prefix_texts(item: object) -> Iterator[str]:
    if isinstance(item, str):
        yield item
    elif isinstance(item, dict) and "prefix" in item:
        yield f"{item['prefix']['addr']}/{item['prefix']['len']}"
    elif isinstance(item, dict) and "range" in item:
        first, last = map(ipaddress.ip_address, item["range"])
        for each in ipaddress.summarize_address_range(first, last):
            yield str(each)
    else:
        raise NotExpressible(f"addresses {json.dumps(item)}")


def _ranges(op: str, right: object, top: int, names: dict[str, int]) -> Iterator[fields.Range]:
    for item in _items(right):
        if isinstance(item, dict) and "range" in item:
            low, high = (_number(each, names) for each in item["range"])
        else:
            low = high = _number(item, names)
            if op in ("<", "<="):
                low, high = 0, high - (op == "<")
            elif op in (">", ">="):
                low, high = low + (op == ">"), top
            elif op not in ("==", "!=", "in"):
                raise NotExpressible(f"comparison {op}")
        yield low, high


def _number(value: object, names: dict[str, int]) -> int:
    if isinstance(value, int):
        return value
    if isinstance(value, str) and value in names:
        return names[value]
    if isinstance(value, str) and value.isdigit():
        return int(value)
    raise NotExpressible(f"{json.dumps(value)} is no number known here")
