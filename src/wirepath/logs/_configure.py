# SPDX-License-Identifier: Apache-2.0
"""Where events go and how they look: one handler, JSON or text, made with structlog."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping, MutableMapping
from datetime import UTC, datetime
from typing import Any, Literal, TextIO

from ..errors import ConfigError
from ..settings import problem
from ._emit import ROOT

Format = Literal["json", "console"]
FORMATS = ("json", "console")
LEVELS = ("debug", "info", "warning", "error")
VARIABLE = "WIREPATH_LOG"

_handler: logging.Handler | None = None


def parse(text: str, name: str = VARIABLE) -> tuple[str | None, str | None]:
    """Format and level of ``json``, ``info`` or ``json:info``; None where one is left out.

    Raises :class:`ConfigError`.
    """
    log_format = level = None
    for word in text.lower().split(":"):
        if word in FORMATS and log_format is None:
            log_format = word
        elif word in LEVELS and level is None:
            level = word
        else:
            must = f"FORMAT, LEVEL or FORMAT:LEVEL of {', '.join(FORMATS)} and {', '.join(LEVELS)}"
            raise ConfigError(problem(name, text, must))
    return log_format, level


def configure(
    log_format: str | None = None,
    level: str | None = None,
    *,
    stream: TextIO | None = None,
    environ: Mapping[str, str] | None = None,
) -> logging.Handler:
    """Write wirepath's events, a line each; a second call takes the place of the first.

    log_format: ``"json"`` or ``"console"``. level: ``"debug"``, ``"info"``, ``"warning"`` or
    ``"error"``. What is None is what the environment variable WIREPATH_LOG says, else ``console``
    and ``info``. stream: None is what is standard error at the time of each event. Returns the
    handler. A program with handlers of its own needs none of this: events reach the loggers below
    ``wirepath`` of :mod:`logging` in any case.

    Raises :class:`ConfigError` for another format or level.
    """
    global _handler  # noqa: PLW0603 -- one handler a process
    variable = (os.environ if environ is None else environ).get(VARIABLE, "")
    told = parse(variable) if variable else (None, None)
    chosen = log_format or told[0] or "console"
    least = level or told[1] or "info"
    if chosen not in FORMATS:
        raise ConfigError(problem("log_format", chosen, f"one of {', '.join(FORMATS)}"))
    if least not in LEVELS:
        raise ConfigError(problem("level", least, f"one of {', '.join(LEVELS)}"))
    quiet()
    handler: logging.Handler = _Stderr() if stream is None else logging.StreamHandler(stream)
    handler.setFormatter(_Late(chosen, stream))
    root = logging.getLogger(ROOT)
    root.addHandler(handler)
    root.setLevel(least.upper())
    root.propagate = False  # else handlers of the program would have each event a second time
    _handler = handler
    return handler


def quiet() -> None:
    """Undo :func:`configure`."""
    global _handler  # noqa: PLW0603
    root = logging.getLogger(ROOT)
    if _handler is not None:
        root.removeHandler(_handler)
        root.setLevel(logging.NOTSET)
        root.propagate = True
        _handler = None


class _Stderr(logging.StreamHandler[TextIO]):
    """To what is sys.stderr now: a live table takes its place while it is shown."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        return sys.stderr


class _Late(logging.Formatter):
    """Imports structlog with the first event: most commands have none to tell."""

    def __init__(self, log_format: str, stream: TextIO | None) -> None:
        super().__init__()
        self._made: logging.Formatter | None = None
        self._make = (log_format, stream)

    def format(self, record: logging.LogRecord) -> str:
        if self._made is None:
            self._made = _formatter(*self._make)
        return self._made.format(record)


def _formatter(log_format: str, stream: TextIO | None) -> logging.Formatter:
    import structlog  # noqa: PLC0415 -- only for those who want events written

    if log_format == "json":
        last: Any = structlog.processors.JSONRenderer(ensure_ascii=False)
    else:
        terminal = (stream or sys.stderr).isatty()
        last = structlog.dev.ConsoleRenderer(colors=terminal, timestamp_key="time")
    return structlog.stdlib.ProcessorFormatter(
        processors=[_event, structlog.processors.format_exc_info, last]
    )


def _event(logger: object, method: str, values: MutableMapping[str, Any]) -> dict[str, Any]:
    """The record as the line has it: time, level, event, the event's fields, logger, pid."""
    del logger, method
    record: logging.LogRecord = values["_record"]
    time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="microseconds")
    out: dict[str, Any] = {
        "time": time.replace("+00:00", "Z"),
        "level": record.levelname.lower(),
        "event": getattr(record, "event", None) or "log",
    }
    if out["event"] == "log":  # of a library that was given one of our loggers
        out["message"] = values["event"]
    out |= getattr(record, "fields", None) or {}
    out |= {"logger": record.name, "pid": record.process} | _trace()
    if values.get("exc_info"):
        out["exc_info"] = values["exc_info"]
    return out


def _trace() -> dict[str, str]:
    """The span that the event happened in, where the program traces."""
    trace = sys.modules.get("opentelemetry.trace")
    context = trace.get_current_span().get_span_context() if trace is not None else None
    if context is None or not context.is_valid:
        return {}
    return {"trace_id": f"{context.trace_id:032x}", "span_id": f"{context.span_id:016x}"}
