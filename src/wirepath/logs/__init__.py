# SPDX-License-Identifier: Apache-2.0
"""What happens, told as events with stable names: JSON, text, or the standard library's loggers.

::

    import wirepath as wp

    wp.logs.configure("json", "info")       # a line of JSON an event, to standard error

Without that, a program hears nothing, unless it has handlers of its own: events are records of the
loggers ``wirepath.port``, ``wirepath.feed``, …, with ``record.event`` and ``record.fields``.
"""

from __future__ import annotations

from ._configure import FORMATS, LEVELS, VARIABLE, configure, parse, quiet
from ._emit import Told, emit, wanted
from ._events import EVENTS, Kind

__all__ = [
    "EVENTS",
    "FORMATS",
    "LEVELS",
    "VARIABLE",
    "Kind",
    "Told",
    "configure",
    "emit",
    "parse",
    "quiet",
    "wanted",
]
