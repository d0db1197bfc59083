# SPDX-License-Identifier: Apache-2.0
"""Telling events to the standard library's loggers, which keep quiet until somebody listens."""

from __future__ import annotations

import logging

from ..plain import plain
from ._events import EVENTS

ROOT = "wirepath"

# As libraries should: without it, what is a warning or worse would go to standard error.
logging.getLogger(ROOT).addHandler(logging.NullHandler())

_loggers = {name: logging.getLogger(f"{ROOT}.{name.partition('.')[0]}") for name in EVENTS}


class Told:
    """An event as a log record's message: made into text only where somebody reads it as text."""

    __slots__ = ("event", "fields")

    def __init__(self, event: str, fields: dict[str, object]) -> None:
        self.event, self.fields = event, fields

    def __str__(self) -> str:
        words = (f"{name}={value!r}" for name, value in self.fields.items())
        return " ".join((self.event, *words))


def wanted(name: str) -> bool:
    """Whether anybody hears events of this name: ask before what is costly to find out."""
    return _loggers[name].isEnabledFor(EVENTS[name].level)


def emit(name: str, *, trace: bool = False, **fields: object) -> None:
    """Tell an event of :data:`EVENTS` with its fields. trace: with the exception being handled.

    The record's ``event`` and ``fields`` have them as they are, its message as text.
    """
    kind, logger = EVENTS[name], _loggers[name]
    if not logger.isEnabledFor(kind.level):
        return
    values = {field: plain(fields.get(field)) for field in kind.fields}
    extra = {"event": name, "fields": values}
    logger.log(kind.level, Told(name, values), extra=extra, exc_info=trace, stacklevel=2)
