# SPDX-License-Identifier: Apache-2.0
"""The exceptions of the lab: what was wrong, and the command that mends it."""

from __future__ import annotations

from ..errors import ConfigError, LabUnavailable, WirepathError


class LabError(WirepathError, RuntimeError):
    """The lab cannot do what was asked; the message says why and what to run instead."""


__all__ = ["ConfigError", "LabError", "LabUnavailable"]
