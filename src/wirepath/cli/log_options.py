# SPDX-License-Identifier: Apache-2.0
"""``--log-format`` and ``--log-level``: of every command, before its name or behind it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Annotated

import typer

from .. import logs

_NAMES = {"--log-format": "log_format", "--log-level": "level"}

LogFormat = Annotated[
    str | None,
    typer.Option(
        "--log-format",
        metavar="json|console",
        help="How events are written to standard error; also of every command.",
    ),
]
LogLevel = Annotated[
    str | None,
    typer.Option(
        "--log-level",
        metavar="debug|info|warning|error",
        help="The least that is written. \\[default: error, or info with --log-format]",
    ),
]


def taken(given: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Both options out of the words of a command, and the other words."""
    found: dict[str, str] = {}
    rest: list[str] = []
    words = iter(given)
    for word in words:
        if word == "--" or rest[:2] == ["lab", "exec"]:  # what follows is another program's
            return found, [*rest, word, *words]
        name, equals, value = word.partition("=")
        if name not in _NAMES:
            rest.append(word)
        elif equals or (value := next(words, "")):
            found[_NAMES[name]] = value
        else:
            rest.append(word)  # the parser says what is missing
    return found, rest


def apply(log_format: str | None = None, level: str | None = None) -> None:
    """Write events as the options and WIREPATH_LOG say: by default only errors that nobody else
    tells. Raises :class:`~wirepath.errors.ConfigError`."""
    variable = logs.VARIABLE in os.environ and os.environ[logs.VARIABLE] != ""
    if log_format is None and level is None and not variable:
        level = "error"
    logs.configure(log_format, level)


def name_of(words: Sequence[str]) -> str:
    """The command among the words of a command line: "feed", "bench run"; "" without one."""
    names = [word for word in words if not word.startswith("-")][:2]
    return " ".join(names if names[:1] in (["bench"], ["lab"]) else names[:1])
