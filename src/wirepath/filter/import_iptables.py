"""Rules of ``iptables-save`` and ``ip6tables-save``: INPUT of table filter, PREROUTING of raw."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from typing import Any

from . import fields
from .import_nft import _ICMP, _ICMPV6
from .importing import Builder, Imported, NotExpressible

_CHAINS = (("filter", "INPUT"), ("raw", "PREROUTING"))
_TARGETS = {"ACCEPT": "pass", "DROP": "drop"}
_MODULES = ("tcp", "udp", "icmp", "icmp6", "multiport", "ttl", "hl", "length", "comment", "iprange")


def from_save(text: str) -> Imported:
    """What ``iptables-save`` prints. Rules of other chains and tables are left out by name."""
    out = Imported()
    family = 6 if "ip6tables-save" in text else 4
    found, policies = _on_the_way_in(text, out)
    if policies:
        out.policies.add(family)
    input_follows = ("filter", "INPUT") in policies or any(t == "filter" for t, _, _ in found)
    # Packets see raw before filter, in whatever order the tables stand.
    for table, line, words in sorted(found, key=lambda each: each[0] != "raw"):
        try:
            values = {"family": family, **_rule(words)}
            if table == "raw" and values["action"] == "pass" and input_follows:
                raise NotExpressible("ACCEPT in raw ends that chain only, and INPUT still follows")
            if (
                table == "filter"
                and values["action"] == "pass"
                and ("raw", "PREROUTING") in policies
            ):
                raise NotExpressible("the policy of raw, DROP, comes before it")
        except NotExpressible as error:
            out.left_out.append((line, str(error)))
        except (IndexError, ValueError):
            out.left_out.append((line, "an option's value is missing or cannot be read"))
        else:
            if values.get("name") in {rule.name for rule in out.rules}:
                values.pop("name", None)
            out.add(line, values)
    out.end()
    return out


def _on_the_way_in(
    text: str, out: Imported
) -> tuple[list[tuple[str, str, list[str]]], set[tuple[str, str]]]:
    """(table, line, words of the rule) of each rule, and the chains whose policy is DROP."""
    table = ""
    found: list[tuple[str, str, list[str]]] = []
    policies: set[tuple[str, str]] = set()
    for line in map(str.strip, text.splitlines()):
        if line.startswith("*"):
            table = line[1:]
        elif line.startswith(":"):
            if tuple(line[1:].split()[1:2]) == ("DROP",):
                policies |= {(table, line[1:].split()[0])} & set(_CHAINS)
        elif line.startswith("-A"):
            try:
                words = shlex.split(line)
            except ValueError as error:
                out.left_out.append((line, f"it cannot be read: {error}"))
                continue
            if (table, *words[1:2]) not in _CHAINS:
                where = f"chain {' '.join(words[1:2])} of table {table}"
                why = f"{where} is not on the way in; jumps are not followed"
                out.left_out.append((line, why))
                continue
            found.append((table, line, words[2:]))
    return found, policies


def _rule(words: list[str]) -> dict[str, Any]:  # noqa: PLR0912  # one an option
    found = Builder()
    action = None
    while words:
        inverted = words[0] == "!"
        option = words[1] if inverted else words[0]
        del words[: 2 if inverted else 1]
        if option in ("-j", "--jump", "-g"):
            target = words.pop(0)
            if target not in _TARGETS:
                raise NotExpressible(f"target {target}: only ACCEPT and DROP have equals")
            action = _TARGETS[target]
        elif option in ("-m", "--match"):
            module = words.pop(0)
            if module not in _MODULES:
                raise NotExpressible(f"match {module} has no equal")
        elif option == "--comment":
            found.put("name", words.pop(0)[:63])
        elif option in ("--syn", "-f", "--fragment"):
            if option == "--syn":
                if inverted:
                    raise NotExpressible("! --syn")
                found.put("tcp_flags", "syn,!ack,!rst,!fin")
            else:
                found.put("fragment", "no,first" if inverted else "later")
        elif option in _OPTIONS:
            _OPTIONS[option](found, words, inverted)
        else:
            raise NotExpressible(f"{option} has no equal")
    if action is None:
        raise NotExpressible("it neither accepts nor drops")
    return {**found.values, "action": action}


_Option = Callable[[Builder, list[str], bool], None]


def _address(name: str) -> _Option:
    def option(found: Builder, words: list[str], inverted: bool) -> None:
        found.put(name + "_not" * inverted, words.pop(0))

    return option


def _protocol(found: Builder, words: list[str], inverted: bool) -> None:
    name = words.pop(0).replace("ipv6-icmp", "icmpv6").replace("icmp6", "icmpv6")
    if name == "all" or inverted:
        raise NotExpressible(f"protocol {'! ' * inverted}{name}")
    found.put("protocol", name)


def _numbers(name: str, top: int) -> _Option:
    def option(found: Builder, words: list[str], inverted: bool) -> None:
        items = []
        for part in words.pop(0).split(","):
            first, colon, last = part.partition(":")
            if not (first or "0").isdigit() or not (last or "0").isdigit():
                raise NotExpressible(f"{name} {part} is no number")
            low = int(first or 0)
            items.append((low, int(last or top) if colon else low))
        found.numbers(name, items, top, inverted=inverted)

    return option


def _ttl(compare: str) -> _Option:
    def option(found: Builder, words: list[str], inverted: bool) -> None:
        value = int(words.pop(0))
        ranges = {"eq": (value, value), "lt": (0, value - 1), "gt": (value + 1, 255)}
        found.numbers("ttl", [ranges[compare]], 255, inverted=inverted)

    return option


def _flags(found: Builder, words: list[str], inverted: bool) -> None:
    if inverted:
        raise NotExpressible("! --tcp-flags")

    def listed(text: str) -> list[str]:
        names = text.lower()
        return {"all": ["fin", "syn", "rst", "psh", "ack", "urg"], "none": []}.get(
            names, names.split(",")
        )

    looked_at, set_ = listed(words.pop(0)), listed(words.pop(0))
    if not looked_at or not set(looked_at) <= fields.TCP_FLAGS.keys():
        raise NotExpressible("--tcp-flags")
    found.put("tcp_flags", ",".join(n if n in set_ else f"!{n}" for n in looked_at))


def _icmp(known: dict[str, int]) -> _Option:
    def option(found: Builder, words: list[str], inverted: bool) -> None:
        kind, slash, code = words.pop(0).partition("/")
        number = known.get(kind, int(kind) if kind.isdigit() else -1)
        if number < 0:
            raise NotExpressible(f"ICMP type {kind}")
        if slash and inverted:
            raise NotExpressible("! of a type with a code")
        found.numbers("icmp_type", [(number, number)], 255, inverted=inverted)
        if slash:
            found.put("icmp_code", code)

    return option


_OPTIONS: dict[str, _Option] = {
    "-s": _address("source"), "--source": _address("source"),
    "-d": _address("destination"), "--destination": _address("destination"),
    "-p": _protocol, "--protocol": _protocol,
    "--sport": _numbers("source_port", 65535), "--dport": _numbers("destination_port", 65535),
    "--sports": _numbers("source_port", 65535), "--dports": _numbers("destination_port", 65535),
    "--tcp-flags": _flags, "--icmp-type": _icmp(_ICMP), "--icmpv6-type": _icmp(_ICMPV6),
    "--ttl-eq": _ttl("eq"), "--ttl-lt": _ttl("lt"), "--ttl-gt": _ttl("gt"),
    "--hl-eq": _ttl("eq"), "--hl-lt": _ttl("lt"), "--hl-gt": _ttl("gt"),
    "--length": _numbers("length", 65535),
}  # fmt: skip
