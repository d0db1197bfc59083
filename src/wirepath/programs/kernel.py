"""The extension module for programs in the kernel, loaded when it is first needed."""

from __future__ import annotations

import importlib
import os
import socket
from types import ModuleType

from .. import _core
from ..errors import BackendUnavailable, ConfigError


def module() -> ModuleType:
    """``wirepath._programs``. Raises :class:`BackendUnavailable` with what to install."""
    try:
        return importlib.import_module("wirepath._programs")
    except ImportError as error:
        missing = _core.PROGRAMS_MISSING
        if missing == "off":
            why, mend = (
                "it was switched off at build time",
                "reinstall without WIREPATH_PROGRAMS=OFF",
            )
        elif missing:
            why = f"{missing.replace(' ', ', ')} missing when wirepath was built"
            mend = f"apt install {missing}, then reinstall wirepath"
        else:
            why, mend = f"its module does not load: {error}", "apt install libbpf-dev"
        raise BackendUnavailable(f"packet programs in the kernel: {why} ({mend})") from None


def unavailable_reason() -> str | None:
    """Why no program can be loaded into this kernel by this process, or None."""
    try:
        module()
    except BackendUnavailable as error:
        return str(error)
    return None if os.geteuid() == 0 else "it takes root, or cap_bpf and cap_net_admin"


def interface_index(interface: str) -> int:
    """The kernel's number of an interface. Raises :class:`ConfigError`."""
    try:
        return socket.if_nametoindex(interface)
    except OSError:
        there = ", ".join(name for _, name in socket.if_nameindex())
        raise ConfigError(
            f'interface = "{interface}" is not usable: it must be one of {there}'
        ) from None
