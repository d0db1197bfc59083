"""The base of wirepath's configuration models: one shape of error, TOML in and out.

Every problem of a configuration is reported at once, a line each:
``batch_size = 0 is not usable: it must be a whole number from 1 to 4096``.
"""

from __future__ import annotations

import difflib
import json
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from annotated_types import Ge, Le
from pydantic import BaseModel, ConfigDict, ValidationError

from .errors import ConfigError


@dataclass(frozen=True)
class Must:
    """What a field's value must be, as the error says it: ``it must be <text>``."""

    text: str


def problem(field: str, value: object, must: str) -> str:
    """One line of a configuration error."""
    shown = f'"{value}"' if isinstance(value, str) else repr(value)
    return f"{field} = {shown} is not usable: it must be {must}"


def missing(field: str, must: str) -> str:
    """One line of a configuration error about a field that was left out."""
    return f"{field} is missing: it must be {must}"


def unusable_secret(field: str, must: str) -> str:
    """As :func:`problem`, of a value that messages and logs must not have."""
    return f"{field} is not usable: it must be {must}"


def nearest(name: str, known: Iterable[str]) -> str:
    """`` (did you mean x?)``, or nothing when no known name is near."""
    found = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" (did you mean {found[0]}?)" if found else ""


def within(path: str, error: ConfigError) -> str:
    """The lines of an error about a table within another one, its fields with their path."""
    return "\n".join(
        f"{path}: {line}" if line.startswith("there is no ") else f"{path}.{line}"
        for line in str(error).split("\n")
    )


@dataclass(frozen=True)
class Tables:
    """Of a field: its items are settings, made of the tables of an array ``[[name]]``; one table
    alone is an array of one. build: takes the values of a table, such as their class."""

    name: str
    build: Callable[..., Settings]

    def make(self, value: object) -> object:
        if isinstance(value, (Mapping, Settings)):
            value = [value]
        if not isinstance(value, Sequence) or isinstance(value, str):
            raise ConfigError(problem(self.name, value, f"tables [[{self.name}]]"))
        made: list[Settings] = []
        problems: list[str] = []
        for i, each in enumerate(value):
            path = f"{self.name}[{i}]"
            if isinstance(each, Settings):
                made.append(each)
            elif not isinstance(each, Mapping):
                problems.append(problem(path, each, "a table"))
            else:
                try:
                    made.append(self.build(**each))
                except ConfigError as error:
                    problems.append(within(path, error))
        if problems:
            raise ConfigError("\n".join(problems))
        return tuple(made)


@dataclass(frozen=True)
class Table:
    """Of a field: its value is settings, made of a table ``[name]``."""

    name: str
    cls: type[Settings]

    def make(self, value: object) -> object:
        if not isinstance(value, Mapping):
            return value
        try:
            return self.cls(**value)
        except ConfigError as error:
            raise ConfigError(within(self.name, error)) from None


class Settings(BaseModel):
    """A frozen set of validated options, loadable from a table of a TOML file."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    table: ClassVar[str] = ""

    # Hidden from type checkers, so that they see the fields as typed keywords.
    if not TYPE_CHECKING:

        def __init__(self, **values: object) -> None:
            problems: list[str] = []
            bad: set[str] = set()
            for name, field in type(self).model_fields.items():
                inner = next((m for m in field.metadata if isinstance(m, (Table, Tables))), None)
                if inner is not None and name in values:
                    try:
                        values[name] = inner.make(values[name])
                    except ConfigError as error:
                        problems.append(str(error))
                        bad.add(name)
            try:
                super().__init__(**values)
            except ValidationError as error:
                for each in error.errors(include_url=False):
                    field = str(each["loc"][0]) if each["loc"] else ""
                    if field not in bad:
                        problems.append(_explain(type(self), field, each))
                    bad.add(field)
            usable = {
                name: values.get(name, field.default)
                for name, field in type(self).model_fields.items()
                if name not in bad
            }
            problems += self.conflicts(usable)
            if problems:
                raise ConfigError("\n".join(problems))

    @classmethod
    def conflicts(cls, values: Mapping[str, Any]) -> list[str]:
        """Problems between fields. ``values`` holds those that are usable by themselves."""
        del values
        return []

    @classmethod
    def suggestion(cls, field: str, value: object) -> str:
        """What to add to the error about ``value``, e.g. what was probably meant."""
        del field, value
        return ""

    @classmethod
    def must(cls, field: str) -> str:
        """What the values of ``field`` must be."""
        metadata = cls.model_fields[field].metadata
        for each in metadata:
            if isinstance(each, Must):
                return each.text
        least = [each.ge for each in metadata if isinstance(each, Ge)]
        top = [each.le for each in metadata if isinstance(each, Le)]
        if least and top:
            whole = "whole " if isinstance(least[0], int) and isinstance(top[0], int) else ""
            return f"a {whole}number from {least[0]} to {top[0]}"
        return cls.model_fields[field].description or "another value"

    @classmethod
    def from_toml(cls, path: str | Path) -> Self:
        """Read the table ``[ingestion]`` (or what ``table`` says) of a TOML file.

        Raises :class:`ConfigError`: the file cannot be read, is not TOML (with the line), has no
        such table, or a value is not usable.
        """
        values = cls.read_toml(path)
        try:
            return cls(**values)
        except ConfigError as error:
            lines = str(error).split("\n")
            raise ConfigError("\n".join(f"{path}: {line}" for line in lines)) from None

    @classmethod
    def read_toml(cls, path: str | Path) -> dict[str, Any]:
        """The values of a file as they stand there, not validated. Raises as :meth:`from_toml`."""
        document = read_document(path)
        values = document.get(cls.table)
        if not isinstance(values, dict):
            have = ", ".join(f"[{name}]" for name in document) or "nothing"
            raise ConfigError(f"{path} has no table [{cls.table}]: it holds {have}")
        return values

    def to_toml(self) -> str:
        """The options as TOML; :meth:`from_toml` reads it back. What is None is left out."""
        lines = [f"[{self.table}]"]
        tables = []
        for name, value in self:
            if value is None:
                continue
            if isinstance(value, Mapping):
                if value:
                    tables += ["", f"[{self.table}.{name}]"]
                    tables += [f"{_toml(k)} = {_toml(v)}" for k, v in value.items()]
            elif isinstance(value, tuple):  # of Settings: an array of tables
                for each in value:
                    rows = [(k, v) for k, v in each if v is not None]
                    tables += ["", f"[[{self.table}.{name}]]"]
                    tables += [f"{k} = {_toml(v)}" for k, v in rows]
            else:
                lines.append(f"{name} = {_toml(value)}")
        return "\n".join(lines + tables) + "\n"

    def replace(self, **changes: Any) -> Self:  # noqa: ANN401  # validated
        """A copy with other values, validated anew."""
        given = {name: getattr(self, name) for name in self.model_fields_set}
        return type(self)(**{**given, **changes})


def read_document(path: str | Path) -> dict[str, Any]:
    """All of a TOML file. Raises :class:`ConfigError`: it cannot be read, or is not TOML."""
    path = Path(path)
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not TOML: it is not UTF-8 text ({error})") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not TOML: {error}") from None


def is_secret(cls: type[Settings], field: str) -> bool:
    """The field's value is not shown (``repr=False``)."""
    return field in cls.model_fields and not cls.model_fields[field].repr


def _explain(cls: type[Settings], field: str, error: Any) -> str:  # noqa: ANN401  # of pydantic
    if error["type"] == "extra_forbidden":
        known = ", ".join(cls.model_fields)
        near = difflib.get_close_matches(field, list(cls.model_fields), n=1, cutoff=0.6)
        meant_secret = any(is_secret(cls, name) for name in near) or "pass" in field.lower()
        given = "" if meant_secret else f" (given as {field} = {error['input']!r})"
        return (
            f"there is no option {field}{given}"
            f"{nearest(field, cls.model_fields)}: the options are {known}"
        )
    if error["type"] == "missing":
        return missing(field, cls.must(field))
    nested = error.get("ctx", {}).get("error")
    if isinstance(nested, ConfigError):  # of settings within these: it says where
        return str(nested)
    name = ".".join(str(part) for part in error["loc"][:2])
    if is_secret(cls, field):
        return unusable_secret(name, cls.must(field))
    hint = cls.suggestion(field, error["input"])
    return problem(name, error["input"], cls.must(field)) + hint


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, date):
        return value.isoformat()
    # A JSON string is a TOML basic string, but for DEL.
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
