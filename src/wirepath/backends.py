"""Which backends there are, which can be used here, and what the others need."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field

from . import _core
from .errors import BackendUnavailable
from .privileges import missing_capabilities

# Backends in extension modules of their own: name -> (module, what it is, what to install).
_EXTENSIONS = {
    "af_xdp": (
        "wirepath._af_xdp",
        "AF_XDP sockets: frames from the driver, past the kernel's stack (Linux 5.4+)",
        "libxdp-dev libbpf-dev clang",
    ),
}

# Capabilities(7) that a backend needs to open, besides what everybody has.
CAPABILITIES = {"af_xdp": ("CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_BPF")}


@dataclass(frozen=True)
class BackendStatus:
    """One backend: whether it can be used by this process, and if not, why and what mends it."""

    name: str
    help: str
    available: bool
    reason: str = ""
    mend: str = ""
    device: str = ""
    options: list[tuple[str, str, str]] = field(default_factory=list)
    """(option, default, help) of each option of its port specs."""


def load(name: str) -> None:
    """Make sure that ``name`` is registered.

    Raises :class:`BackendUnavailable` with what to install when its module was not built or a
    library of its own is missing.
    """
    if name in _core.loaded_backends() or name not in _EXTENSIONS:
        return
    module, _, packages = _EXTENSIONS[name]
    built_without = _core.AF_XDP_MISSING if name == "af_xdp" else ""
    try:
        extension = importlib.import_module(module)
    except ImportError as error:
        why = (
            f"it was not built: {built_without} missing at build time"
            if built_without
            else f"its module does not load: {error}"
        )
        mend = f"apt install {built_without or packages}, then reinstall wirepath"
        raise BackendUnavailable(f"the {name} backend is not available: {why} ({mend})") from None
    _core.register_backend(extension.backend())


def backends() -> list[BackendStatus]:
    """Every backend that wirepath knows, in the order of preference for a live interface."""
    out = []
    for name, (_, text, packages) in _EXTENSIONS.items():
        try:
            load(name)
        except BackendUnavailable as error:
            out.append(
                BackendStatus(
                    name, text, False, str(error), f"apt install {packages}, then reinstall"
                )
            )
    for name, entry in _core.loaded_backends().items():
        missing = missing_capabilities(CAPABILITIES.get(name, ()))
        out.append(
            BackendStatus(
                name,
                entry["help"],
                not missing,
                f"this process lacks {', '.join(missing)}" if missing else "",
                f"run as root, or: setcap {','.join(missing).lower()}+ep $(readlink -f $(which "
                "python3))"
                if missing
                else "",
                entry["device"],
                entry["options"],
            )
        )
    order = ["af_xdp", "socket", "pcap", "null"]
    return sorted(out, key=lambda b: order.index(b.name) if b.name in order else len(order))
