"""A filter's rules: the same words in TOML, on the command line and in Python."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from ..errors import ConfigError
from ..settings import Must, Settings, Tables, missing, problem
from . import fields, signatures

#: Rules that one filter holds once signatures are spelled out: the width of the bit vectors.
MAX_RULES = 512
ACTIONS = ("drop", "pass", "limit", "sample")

_PREFIXES = "prefixes such as 10.0.0.0/8 or 2001:db8::/32, or @NAME of a set, with commas between"


def _text(check: Callable[[str], object], must: str, description: str) -> Any:  # noqa: ANN401
    def checked(text: str | None) -> str | None:
        if text is not None:
            try:
                check(text)
            except KeyError as error:
                raise ValueError(str(error)) from None
        return text

    return Annotated[
        str | None,
        BeforeValidator(fields.joined),
        AfterValidator(checked),
        Must(must),
        Field(description=description),
    ]


def _ranges(top: int, what: str, description: str) -> Any:  # noqa: ANN401
    return _text(
        lambda text: fields.ranges(text, top),
        f"{what} from 0 to {top}, ranges (A-B) or several with commas between",
        description,
    )


def _vlan(text: str) -> None:
    if text not in ("none", "any"):
        fields.ranges(text, 4095)


def _per(text: str) -> None:
    if text not in ("source", "rule"):
        fields.per_lengths(text)


class Set(Settings):
    """Prefixes under a name: ``@name`` in a rule."""

    name: Annotated[
        str, Field(pattern=r"^[A-Za-z0-9_.-]+$", max_length=63, description="name of the set"),
        Must("letters, digits, _, . and -"),
    ]  # fmt: skip
    prefixes: _text(
        lambda t: [fields.network(p) for p in fields.parts(t)], "prefixes with commas between",
        "prefixes, with commas between",
    ) = None  # type: ignore[valid-type]  # fmt: skip
    file: Annotated[
        str | None, Field(min_length=1, description="file with a prefix a line; # begins a comment"),
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
        Literal["drop", "pass", "limit", "sample"],
        Field(description="drop, pass, limit (pass up to a rate) or sample (pass, and copy some)"),
        Must('"drop", "pass", "limit" or "sample"'),
    ] = "drop"
    signature: Annotated[
        Literal[tuple(signatures.SIGNATURES)] | None,
        Field(description="named signature that the packet must have as well"),
        Must("the name of a signature (see `wirepath filter signatures`)"),
    ] = None
    family: Annotated[
        Literal[4, 6] | None, Field(description="4 or 6: IPv4 or IPv6 only"), Must("4 or 6")
    ] = None
    source: _text(fields.prefixes, _PREFIXES, "source prefixes") = None  # type: ignore[valid-type]
    source_not: _text(fields.prefixes, _PREFIXES, "source prefixes left out") = None  # type: ignore[valid-type]
    destination: _text(fields.prefixes, _PREFIXES, "destination prefixes") = None  # type: ignore[valid-type]
    destination_not: _text(fields.prefixes, _PREFIXES, "destination prefixes left out") = None  # type: ignore[valid-type]
    protocol: _text(
        fields.protocols, "tcp, udp, icmp, icmpv6 … or numbers from 0 to 255, with commas between",
        "protocols",
    ) = None  # type: ignore[valid-type]  # fmt: skip
    source_port: _ranges(65535, "ports", "source ports") = None  # type: ignore[valid-type]
    destination_port: _ranges(65535, "ports", "destination ports") = None  # type: ignore[valid-type]
    tcp_flags: _text(
        fields.tcp_flags,
        "flags that are set, or with ! not set, such as syn,!ack; or none, or all",
        "TCP flags: syn,!ack",
    ) = None  # type: ignore[valid-type]
    icmp_type: _ranges(255, "types", "ICMP or ICMPv6 types") = None  # type: ignore[valid-type]
    icmp_code: _ranges(255, "codes", "ICMP or ICMPv6 codes") = None  # type: ignore[valid-type]
    fragment: _text(
        fields.fragments, "no, first, later or yes (first and later), with commas between",
        "which pieces of datagrams: no, first, later, yes",
    ) = None  # type: ignore[valid-type]  # fmt: skip
    ip_options: Annotated[
        bool | None,
        Field(description="with, or without, IPv4 options or IPv6 hop-by-hop, routing or destination headers"),
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
    ttl: _ranges(255, "numbers", "TTL or hop limit") = None  # type: ignore[valid-type]
    length: _ranges(65535, "bytes", "length of the IP packet, bytes") = None  # type: ignore[valid-type]
    vlan: _text(
        _vlan, "VLAN numbers from 0 to 4095, ranges, none or any", "outermost VLAN number"
    ) = None  # type: ignore[valid-type]
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
        Field(ge=600, le=1_000_000_000_000, description="limit: bits at once; none: a tenth of a second's, at least one jumbo frame"),
    ] = None
    per: _text(
        _per, "source, rule, or lengths of source prefixes: /24 (IPv4), /24,/56 (IPv4, IPv6)",
        "limit: what has a bucket of its own: source, rule, or prefixes: /24 or /24,/56",
    ) = "source"  # type: ignore[valid-type]  # fmt: skip
    sample: Annotated[
        int | None, Field(ge=1, le=1_000_000, description="copy one in this many to the samples"),
    ] = None  # fmt: skip

    @classmethod
    def conflicts(cls, values: Mapping[str, Any]) -> list[str]:
        out = []
        action = values.get("action")
        if action == "limit" and values.get("packets", 1) is None and values.get("bits", 1) is None:
            out.append(missing("packets", "given with action limit: packets a second, or bits"))
        if action in ("drop", "pass", "sample"):
            out += [
                problem(name, values[name], "left out unless action is limit")
                for name in ("packets", "bits", "burst_bits")
                if values.get(name) is not None
            ]
        if values.get("icmp_code") is not None and values.get("icmp_type") is None:
            out.append(missing("icmp_type", "given with icmp_code"))
        return out

    @classmethod
    def from_text(cls, text: str) -> Rule:
        """``"drop protocol=udp source_port=53"``: the action, then field=value pairs."""
        words = shlex.split(text)
        values: dict[str, object] = {}
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
        return {n: getattr(self, n) for n in CONDITIONS if getattr(self, n) is not None}

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


def _known_signatures(text: str) -> None:
    for name in fields.parts(text):
        if name != "all" and name not in signatures.SIGNATURES:
            raise ValueError("no such signature")


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
        Field(description="what is done with IP packets whose headers are cut short or contradict themselves"),
        Must('"pass" or "drop"'),
    ] = "drop"
    dry_run: Annotated[
        bool, Field(description="count, but let every packet pass"), Must("true or false")
    ] = False
    signatures: _text(
        _known_signatures, "names of signatures (see `wirepath filter signatures`), or all",
        "signatures dropped, after the rules",
    ) = None  # type: ignore[valid-type]  # fmt: skip
    blocks: Annotated[
        int,
        Field(ge=0, le=10_000_000, description="most temporary blocks of addresses; 0: none, and no price"),
    ] = 0
    sources: Annotated[
        int, Field(ge=1, le=16_000_000, description="buckets of limits by source or prefix; the longest unused goes"),
    ] = 65536  # fmt: skip
    sets: Annotated[
        tuple[Set, ...], Tables("sets", Set), Field(description="sets of prefixes"),
        Must("tables [[filter.sets]]"),
    ] = ()  # fmt: skip
    rules: Annotated[
        tuple[Rule, ...], Tables("rules", Rule), Field(description="rules, the first that fits wins"),
        Must("tables [[filter.rules]]"),
    ] = ()  # fmt: skip

    @classmethod
    def conflicts(cls, values: Mapping[str, Any]) -> list[str]:
        out = []
        sets = values.get("sets")
        rules = values.get("rules")
        names = [each.name for each in sets or ()]
        out += [problem("sets.name", n, "given once") for n in {n for n in names if names.count(n) > 1}]
        if sets is not None:
            for i, rule in enumerate(rules or ()):
                for field in ("source", "source_not", "destination", "destination_not"):
                    for name in fields.prefixes(text)[1] if (text := getattr(rule, field)) else ():
                        if name not in names:
                            known = ", ".join(names) or "none"
                            must = f"a set of [[filter.sets]] (there is {known})"
                            out.append(problem(f"rules[{i}].{field}", f"@{name}", must))
        given = [rule.name for rule in rules or () if rule.name]
        out += [problem("rules.name", n, "given once") for n in {n for n in given if given.count(n) > 1}]
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
        return out + [
            (f"signature {name}", Rule(signature=name)) for name in self.signature_names
        ]
