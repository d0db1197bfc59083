"""What wirepath raises. Every message says what was wrong and how to mend it."""

from __future__ import annotations


class WirepathError(Exception):
    """Base of every error that wirepath raises on purpose."""


class ConfigError(WirepathError, ValueError):
    """A field has an unusable value; the message names field, value and what is allowed."""


class BackendUnavailable(WirepathError):
    """The backend cannot be used here; the message says what to install or change."""


class PermissionDenied(WirepathError, PermissionError):
    """A capability is missing; the message names it."""


class DeviceBusy(WirepathError):
    """Somebody else holds the device, the queue or the name."""


class Unsupported(WirepathError):
    """The backend does not do this; see ``port.capabilities``."""


class PortError(WirepathError, OSError):
    """The kernel or a device refused."""


class StateError(WirepathError, RuntimeError):
    """A call came out of order; the message says what comes first."""


class CompileError(WirepathError):
    """A stage cannot be compiled; ``filename`` and ``lineno`` are the user's line, where known."""

    def __init__(
        self, message: str, filename: str | None = None, lineno: int | None = None
    ) -> None:
        super().__init__(message)
        self.filename = filename
        self.lineno = lineno


class ReleasedError(WirepathError):
    """A batch or port was used after its end."""


class LabUnavailable(WirepathError):
    """Network namespaces cannot be made here; the message names what is missing."""


class ExtraMissing(WirepathError, ImportError):
    """An optional package is not installed; the message says which and how to get it."""
