# SPDX-License-Identifier: Apache-2.0
"""OpenTelemetry spans of control operations: opening, tuning, measuring, converting, recovery.

A program that traces has imported OpenTelemetry and set a tracer provider; its spans then get ours
as children. Where nobody has imported it nobody would receive a span: none is made, and nothing is
imported. The command line exports by the standard OTEL_* variables (:func:`export`).
"""

from __future__ import annotations

import functools
import importlib
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ParamSpec, TypeVar

from . import logs
from ._core import __version__

_P = ParamSpec("_P")
_T = TypeVar("_T")

_NOTHING: AbstractContextManager[None] = nullcontext()
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_RESOURCE = "OTEL_RESOURCE_ATTRIBUTES"
_FLUSH_MS = 5000  # at a command's end, for a collector that does not answer


def span(name: str, **attributes: object) -> AbstractContextManager[Any]:
    """A span ``wirepath.<name>`` around a ``with`` block; what it raises is recorded.

    attributes: become ``wirepath.<attribute>``; None is left out. Gives the span, None where
    nothing traces.
    """
    trace = sys.modules.get("opentelemetry.trace")
    if trace is None:
        return _NOTHING
    found: AbstractContextManager[Any] = trace.get_tracer(
        "wirepath", __version__
    ).start_as_current_span(f"wirepath.{name}", attributes=_attributes(attributes))
    return found


def note(found: Any, **attributes: object) -> None:  # noqa: ANN401 -- a span, or None
    """More attributes for what :func:`span` gave."""
    if found is not None:
        found.set_attributes(_attributes(attributes))


def spanned(name: str) -> Callable[[Callable[_P, _T]], Callable[_P, _T]]:
    """Decorator: each call of the function is a span."""

    def wrap(function: Callable[_P, _T]) -> Callable[_P, _T]:
        @functools.wraps(function)
        def inside(*args: _P.args, **kwargs: _P.kwargs) -> _T:
            with span(name):
                return function(*args, **kwargs)

        return inside

    return wrap


def _attributes(values: Mapping[str, object]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for name, value in values.items():
        if value is None:
            continue
        if isinstance(value, (list, tuple)):
            value = [str(each) for each in value]  # noqa: PLW2901
        elif not isinstance(value, (str, bool, int, float)):
            value = str(value)  # noqa: PLW2901
        out[f"wirepath.{name}"] = value
    return out


def wanted(environ: Mapping[str, str] = os.environ) -> str | None:
    """Which exporter the standard variables ask for: ``otlp``, ``console`` or None.

    OTLP only where an endpoint is named: without one nobody is written to.
    """
    if environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return None
    exporter = environ.get("OTEL_TRACES_EXPORTER", "").strip()
    if exporter in ("none", "console"):
        return None if exporter == "none" else exporter
    return "otlp" if exporter == "otlp" or any(environ.get(e) for e in _ENDPOINTS) else None


def export(environ: Mapping[str, str] = os.environ) -> Callable[[], object]:
    """Export this process's spans as the OTEL_* variables say; gives what ends it.

    The SDK reads the rest of the variables (service name, resource, sampler, headers, timeouts)
    itself. Where a package is missing, that is told as the event ``traces.unavailable``, and
    nothing is exported.
    """
    exporter = wanted(environ)
    if exporter is None:
        return lambda: None
    try:
        made = _exporter(
            exporter,
            environ.get(
                "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", environ.get("OTEL_EXPORTER_OTLP_PROTOCOL", "")
            ),
        )
        trace = importlib.import_module("opentelemetry.trace")
        sdk = importlib.import_module("opentelemetry.sdk.trace")
        resources = importlib.import_module("opentelemetry.sdk.resources")
        processors = importlib.import_module("opentelemetry.sdk.trace.export")
    except ImportError as error:
        logs.emit(
            "traces.unavailable",
            reason=f"{error}: pip install 'wirepath[otel]'",
        )
        return lambda: None
    named = "OTEL_SERVICE_NAME" in environ or "service.name=" in environ.get(_RESOURCE, "")
    about = {"service.version": __version__} | ({} if named else {"service.name": "wirepath"})
    provider = sdk.TracerProvider(resource=resources.Resource.create(about), shutdown_on_exit=False)
    provider.add_span_processor(processors.BatchSpanProcessor(made))
    trace.set_tracer_provider(provider)

    def end() -> None:
        provider.force_flush(_FLUSH_MS)
        provider.shutdown()

    return end


def _exporter(kind: str, protocol: str) -> Any:  # noqa: ANN401
    if kind == "console":
        module = importlib.import_module("opentelemetry.sdk.trace.export")
        return module.ConsoleSpanExporter(out=sys.stderr)
    way = "grpc" if protocol == "grpc" else "http"
    module = importlib.import_module(f"opentelemetry.exporter.otlp.proto.{way}.trace_exporter")
    return module.OTLPSpanExporter()
