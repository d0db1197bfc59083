"""Rules of nftables and iptables as a filter's: the stateless part, and the rest by name."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import ConfigError
from ..settings import problem
from . import fields
from .rules import FilterConfig, Rule, Set


class NotExpressible(Exception):
    """This rule, or this part of it, has no equal in a filter; the text says why."""


@dataclass
class Imported:
    """What came of a rule set. left_out: (the rule as it stood, why) of each that has no equal."""

    rules: list[Rule] = field(default_factory=list)
    sets: list[Set] = field(default_factory=list)
    default: str = "pass"
    left_out: list[tuple[str, str]] = field(default_factory=list)
    policies: set[int] = field(default_factory=set)  #: families whose policy is drop; 0: both

    def config(self) -> FilterConfig:
        """The filter."""
        return FilterConfig(default=self.default, rules=tuple(self.rules), sets=tuple(self.sets))  # type: ignore[arg-type]

    def add(self, text: str, values: dict[str, Any]) -> None:
        """One more rule; one that does not come to a usable rule is left out."""
        try:
            self.rules.append(Rule(**values))
        except ConfigError as error:
            self.left_out.append((text, str(error).replace("\n", "; ")))

    def end(self) -> None:
        """What is left for the policies: the default, or a last rule for one family."""
        if 0 in self.policies or {4, 6} <= self.policies:
            self.default = "drop"
        else:
            for family in self.policies:
                self.add(
                    f"policy of IPv{family}", {"name": f"policy IPv{family}", "family": family}
                )


class Builder:
    """The fields of one rule as they are found."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}

    def put(self, name: str, value: object) -> None:
        """Raises NotExpressible where the field was given with another value."""
        if self.values.get(name, value) != value:
            raise NotExpressible(f"{name} is asked for twice")
        self.values[name] = value

    def numbers(
        self, name: str, items: Iterable[fields.Range], top: int, *, inverted: bool
    ) -> None:
        """Ranges of numbers, or everything but them."""
        found = list(items)
        if any(not 0 <= low <= high <= top for low, high in found):
            raise NotExpressible(f"{name} is outside 0 to {top}")
        if inverted:
            found = fields.complement(found, top)
        if not found:
            raise NotExpressible(f"no {name} is left")
        self.put(name, fields.range_text(found))


def read(path: str | Path) -> Imported:
    """The rules of a file: ``nft -j list ruleset``, ``nft list ruleset`` or ``iptables-save``.

    Raises ConfigError: the file cannot be read, or is none of the three.
    """
    from . import import_iptables, import_nft, import_nft_text  # noqa: PLC0415 -- they import this module

    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        must = f"a file that can be read ({error.strerror})"
        raise ConfigError(problem("file", str(path), must)) from None
    except UnicodeDecodeError:
        raise ConfigError(problem("file", str(path), "UTF-8 text")) from None
    start = text.lstrip()
    if start.startswith("{"):
        return import_nft.from_json(text)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if any(line.startswith("*") for line in lines):
        return import_iptables.from_save(text)
    if any(line.startswith("table ") for line in lines):
        return import_nft_text.from_text(text)
    must = "the output of `nft -j list ruleset`, `nft list ruleset` or `iptables-save`"
    raise ConfigError(problem("file", str(path), must))
