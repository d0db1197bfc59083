"""Captures: the frames of any port, also a running process's, or of an interface, as pcapng.

::

    from wirepath.capture import Capture, CaptureConfig

    with Capture("4711", CaptureConfig(file="port.pcapng", filter="udp port 9001")) as capture:
        while capture.step(0.5):
            print(capture.summary().frames)

A port's tap shows every frame as it came, with the verdict of the stages, and every frame that
leaves. A capturer that is too slow loses frames, which are counted; it never holds the port up.
"""

from __future__ import annotations

from ._capture import Capture, InterfaceSummary, Summary
from .config import CaptureConfig
from .filters import compile_filter
from .targets import Target, resolve

__all__ = [
    "Capture",
    "CaptureConfig",
    "InterfaceSummary",
    "Summary",
    "Target",
    "compile_filter",
    "resolve",
]
