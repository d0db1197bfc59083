"""The types of a rule's fields: text that :mod:`.fields` reads, and what it must be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator

from ..settings import Must
from . import fields, signatures

_PREFIXES = "prefixes such as 10.0.0.0/8 or 2001:db8::/32, or @NAME of a set, with commas between"


def _checked(check: Callable[[str], object]) -> AfterValidator:
    """Takes a text where `check` reads it."""

    def checked(text: str | None) -> str | None:
        if text is not None:
            try:
                check(text)
            except KeyError as error:
                raise ValueError(str(error)) from None
        return text

    return AfterValidator(checked)


def _in(top: int) -> AfterValidator:
    return _checked(lambda text: fields.ranges(text, top))


def _vlan(text: str) -> None:
    if text not in ("none", "any"):
        fields.ranges(text, 4095)


def _per(text: str) -> None:
    if text not in ("source", "rule"):
        fields.per_lengths(text)


def _known_signatures(text: str) -> None:
    for name in fields.parts(text):
        if name != "all" and name not in signatures.SIGNATURES:
            raise ValueError("no such signature")


_JOINED = BeforeValidator(fields.joined)
Prefixes = Annotated[str | None, _JOINED, _checked(fields.prefixes), Must(_PREFIXES)]
SetPrefixes = Annotated[
    str | None,
    _JOINED,
    _checked(lambda text: [fields.network(part) for part in fields.parts(text)]),
    Must("prefixes with commas between"),
]
Protocols = Annotated[
    str | None,
    _JOINED,
    _checked(fields.protocols),
    Must("tcp, udp, icmp, icmpv6 … or numbers from 0 to 255, with commas between"),
]
_AND_RANGES = "ranges (A-B) or several with commas between"
Ports = Annotated[str | None, _JOINED, _in(65535), Must(f"ports from 0 to 65535, {_AND_RANGES}")]
Bytes = Annotated[str | None, _JOINED, _in(65535), Must(f"bytes from 0 to 65535, {_AND_RANGES}")]
Octets = Annotated[str | None, _JOINED, _in(255), Must(f"numbers from 0 to 255, {_AND_RANGES}")]
Flags = Annotated[
    str | None,
    _JOINED,
    _checked(fields.tcp_flags),
    Must("flags that are set, or with ! not set, such as syn,!ack; or none, or all"),
]
Fragments = Annotated[
    str | None,
    _JOINED,
    _checked(fields.fragments),
    Must("no, first, later or yes (first and later), with commas between"),
]
Vlans = Annotated[
    str | None, _JOINED, _checked(_vlan), Must("VLAN numbers from 0 to 4095, ranges, none or any")
]
Per = Annotated[
    str,
    _checked(_per),
    Must("source, rule, or lengths of source prefixes: /24 (IPv4), /24,/56 (IPv4, IPv6)"),
]
Signature = Annotated[
    str | None,
    _checked(signatures.SIGNATURES.__getitem__),
    Must("the name of a signature (see `wirepath filter signatures`)"),
]
Signatures = Annotated[
    str | None,
    _JOINED,
    _checked(_known_signatures),
    Must("names of signatures (see `wirepath filter signatures`), or all"),
]
