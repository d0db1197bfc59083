"""A filter's rules: the same words in TOML, on the command line and in Python."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from ..errors import ConfigError
from ..settings import Must, Settings, Tables, missing, problem
from . import fields, signatures, words

#: Rules that one filter holds once signatures are spelled out: the width of the bit vectors.
MAX_RULES = 512
ACTIONS = ("drop", "pass", "limit", "sample", "syncookie")


class Set(Settings):
    """Prefixes under a name: ``@name`` in a rule."""

    name: Annotated[
        str, Field(pattern=r"^[A-Za-z0-9_.-]+$", max_length=63, description="name of the set"),
        Must("letters, digits, _, . and -"),
    ]  # fmt: skip
    prefixes: Annotated[words.SetPrefixes, Field(description="prefixes, with commas between")] = (
        None
    )
    file: Annotated[
        str | None, Field(min_length=1, description="file, a prefix a line; # begins a comment"),
        Must("the path of a file"),
    ] = None  # fmt: skip
    url: Annotated[
        str | None, Field(pattern=r"^https?://", description="where such a file is fetched"),
        Must("an http:// or https:// URL"),
    ] = None  # fmt: skip

    @classmethod
    def conflicts(cls, values: Mapping[str, Any]) -> list[str]:
        given = [n for n in ("prefixes", "file", "url") if values.get(n) is not None]
        if {"prefixes", "file", "url"} <= set(values) and len(given) != 1:
            return [missing("prefixes", "given, or file, or url: one of the three")]
        return []


class Rule(Settings):
    """What a packet must be, all of it, and what is done with it. The first rule that fits wins."""

    name: Annotated[
        str, Field(max_length=63, description="name under which its packets are counted"),
        Must("at most 63 characters"),
    ] = ""  # fmt: skip
    action: Annotated[
        Literal["drop", "pass", "limit", "sample", "syncookie"],
        Field(
            description="drop, pass, limit (pass up to a rate), sample (pass, and copy some) or "
            "syncookie (answer SYNs for the host's listeners; in the driver only)"
        ),
        Must('"drop", "pass", "limit", "sample" or "syncookie"'),
    ] = "drop"
    signature: Annotated[
        words.Signature, Field(description="named signature that the packet must have as well")
    ] = None
    family: Annotated[
        Literal[4, 6] | None, Field(description="4 or 6: IPv4 or IPv6 only"), Must("4 or 6")
    ] = None
    source: Annotated[words.Prefixes, Field(description="source prefixes")] = None
    source_not: Annotated[words.Prefixes, Field(description="source prefixes left out")] = None
    destination: Annotated[words.Prefixes, Field(description="destination prefixes")] = None
    destination_not: Annotated[
        words.Prefixes, Field(description="destination prefixes left out")
    ] = None
    protocol: Annotated[words.Protocols, Field(description="protocols")] = None
    source_port: Annotated[words.Ports, Field(description="source ports")] = None
    destination_port: Annotated[words.Ports, Field(description="destination ports")] = None
    tcp_flags: Annotated[words.Flags, Field(description="TCP flags: syn,!ack")] = None
    icmp_type: Annotated[words.Octets, Field(description="ICMP or ICMPv6 types")] = None
    icmp_code: Annotated[words.Octets, Field(description="ICMP or ICMPv6 codes")] = None
    fragment: Annotated[
        words.Fragments, Field(description="which pieces of datagrams: no, first, later, yes")
    ] = None
    ip_options: Annotated[
        bool | None,
        Field(description="with, or without, IPv4 options or IPv6 option or routing headers"),
        Must("true or false"),
    ] = None
    land: Annotated[
        bool | None, Field(description="source and destination address are the same"),
        Must("true or false"),
    ] = None  # fmt: skip
    same_port: Annotated[
        bool | None, Field(description="source and destination port are the same"),
        Must("true or false"),
    ] = None  # fmt: skip
    ttl: Annotated[words.Octets, Field(description="TTL or hop limit")] = None
    length: Annotated[words.Bytes, Field(description="length of the IP packet, bytes")] = None
    vlan: Annotated[words.Vlans, Field(description="outermost VLAN number")] = None
    packets: Annotated[
        int | None, Field(ge=1, le=10_000_000, description="limit: packets a second"),
    ] = None  # fmt: skip
    bits: Annotated[
        int | None, Field(ge=1_000, le=1_000_000_000_000, description="limit: bits a second"),
    ] = None  # fmt: skip
    burst: Annotated[
        int, Field(ge=1, le=1_000_000, description="limit: packets let through at once"),
    ] = 64  # fmt: skip
    burst_bits: Annotated[
        int | None,
        Field(
            ge=600,
            le=1_000_000_000_000,
            description="limit: bits at once, of one packet at least; none: those of a tenth of a "
            "second, or a jumbo frame",
        ),
    ] = None
    per: Annotated[
        words.Per,
        Field(description="limit: what has a bucket of its own: source, rule, /24 or /24,/56"),
    ] = "source"
    sample: Annotated[
        int | None, Field(ge=1, le=1_000_000, description="copy one in this many to the samples"),
    ] = None  # fmt: skip

    @classmethod
    def conflicts(cls, values: Mapping[str, Any]) -> list[str]:
        out = []
        action = values.get("action")
        if action == "limit" and values.get("packets", 1) is None and values.get("bits", 1) is None:
            out.append(missing("packets", "given with action limit: packets a second, or bits"))
        if action == "syncookie" and fields.joined(values.get("protocol")) not in (
            None,
            "tcp",
            "6",
        ):
            out.append(problem("protocol", values["protocol"], "tcp with action syncookie"))
        if action == "syncookie" and "destination" in values and values["destination"] is None:
            # A listener on no address in particular is found for every destination.
            must = "given with action syncookie: addresses of this host, not of those behind it"
            out.append(missing("destination", must))
        if action in ("drop", "pass", "sample", "syncookie"):
            out += [
                problem(name, values[name], "left out unless action is limit")
                for name in ("packets", "bits", "burst_bits")
                if values.get(name) is not None
            ]
        bits = values.get("burst_bits")
        if (
            action == "limit"
            and bits is not None
            and bits < 8 * (longest := _longest(values.get("length")))
        ):
            must = f"at least {8 * longest}: else no packet of {longest} bytes fits, ever"
            out.append(problem("burst_bits", bits, must))
        if values.get("icmp_code") is not None and values.get("icmp_type") is None:
            out.append(missing("icmp_type", "given with icmp_code"))
        return out

    @classmethod
    def from_text(cls, text: str) -> Rule:
        """``"drop protocol=udp source_port=53"``: the action, then field=value pairs."""
        words = shlex.split(text)
        values: dict[str, Any] = {}
        if words and "=" not in words[0]:
            values["action"] = words.pop(0)
        for word in words:
            name, equals, value = word.partition("=")
            if not equals:
                raise ConfigError(problem("rule", text, "an action and then field=value pairs"))
            values[name] = _typed(name, value)
        return cls(**values)

    def conditions(self) -> dict[str, Any]:
        """The fields that packets are held against."""
        given = {n: getattr(self, n) for n in CONDITIONS if getattr(self, n) is not None}
        return {"protocol": "tcp", **given} if self.action == "syncookie" else given

    def text(self) -> str:
        """As :meth:`from_text` reads it."""
        given = {
            name: value
            for name, value in self
            if name != "action" and value != type(self).model_fields[name].get_default()
        }
        return " ".join([self.action, *(f"{n}={shlex.quote(_word(v))}" for n, v in given.items())])


#: Fields of a rule that say what a packet must be.
CONDITIONS = (
    "family", "source", "source_not", "destination", "destination_not", "protocol",
    "source_port", "destination_port", "tcp_flags", "icmp_type", "icmp_code", "fragment",
    "ip_options", "land", "same_port", "ttl", "length", "vlan",
)  # fmt: skip
_BOOLS = ("ip_options", "land", "same_port")
_NUMBERS = ("family", "packets", "bits", "burst", "burst_bits", "sample")


def _longest(length: object) -> int:
    """The longest of the packets that a rule fits by their length, up to those of Ethernet."""
    ranges = [(0, 1500)] if length is None else fields.ranges(str(fields.joined(length)), 65535)
    return min(1500, max(high for _, high in ranges))


def _typed(name: str, value: str) -> object:
    if name in _BOOLS and value in ("true", "false"):
        return value == "true"
    if name in _NUMBERS:
        try:
            return int(float(value)) if "e" in value else int(value)
        except ValueError:
            return value
    return value


def _word(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


class FilterConfig(Settings):
    """A filter: rules, then signatures, then the default.

    IPv4 and IPv6 packets are judged; every other frame (ARP, LLDP, …) passes. Raises
    :class:`~wirepath.errors.ConfigError` naming every unusable field, its value and what is
    allowed, a line each.
    """

    table: ClassVar[str] = "filter"

    default: Annotated[
        Literal["pass", "drop"],
        Field(description="what is done with IP packets that no rule fits: pass or drop"),
        Must('"pass" or "drop"'),
    ] = "pass"
    malformed: Annotated[
        Literal["pass", "drop"],
        Field(description="what is done with IP packets whose headers are cut short or do not fit"),
        Must('"pass" or "drop"'),
    ] = "drop"
    dry_run: Annotated[
        bool, Field(description="count, but let every packet pass"), Must("true or false")
    ] = False
    signatures: Annotated[
        words.Signatures, Field(description="signatures dropped, after the rules")
    ] = None
    blocks: Annotated[
        int,
        Field(
            ge=0,
            le=10_000_000,
            description="most temporary blocks of addresses; 0: none, and no price",
        ),
    ] = 0
    sources: Annotated[
        int, Field(ge=1, le=16_000_000, description="buckets of limits; the longest unused goes"),
    ] = 65536  # fmt: skip
    sets: Annotated[
        tuple[Set, ...], Tables("sets", Set), Field(description="sets of prefixes"),
        Must("tables [[filter.sets]]"),
    ] = ()  # fmt: skip
    rules: Annotated[
        tuple[Rule, ...], Tables("rules", Rule), Field(description="rules in their order"),
        Must("tables [[filter.rules]]"),
    ] = ()  # fmt: skip

    @classmethod
    def conflicts(cls, values: Mapping[str, Any]) -> list[str]:
        out = []
        sets = values.get("sets")
        rules = values.get("rules")
        names = [each.name for each in sets or ()]
        out += [
            problem("sets.name", n, "given once") for n in {n for n in names if names.count(n) > 1}
        ]
        if sets is not None:
            for i, rule in enumerate(rules or ()):
                for field in ("source", "source_not", "destination", "destination_not"):
                    for name in fields.prefixes(text)[1] if (text := getattr(rule, field)) else ():
                        if name not in names:
                            known = ", ".join(names) or "none"
                            must = f"a set of [[filter.sets]] (there is {known})"
                            out.append(problem(f"rules[{i}].{field}", f"@{name}", must))
        given = [rule.name for rule in rules or () if rule.name]
        out += [
            problem("rules.name", n, "given once") for n in {n for n in given if given.count(n) > 1}
        ]
        return out

    @property
    def signature_names(self) -> tuple[str, ...]:
        """The signatures that are dropped, in their order."""
        if self.signatures is None:
            return ()
        named = fields.parts(self.signatures)
        return tuple(signatures.SIGNATURES) if "all" in named else tuple(dict.fromkeys(named))

    def named_rules(self) -> list[tuple[str, Rule]]:
        """Rules and signatures in the order in which they are tried, each with its name."""
        out = [(rule.name or f"rule {i}", rule) for i, rule in enumerate(self.rules, 1)]
        return out + [(f"signature {name}", Rule(signature=name)) for name in self.signature_names]
