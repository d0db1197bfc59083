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
        "apt install libxdp-dev libbpf-dev clang",
    ),
    "ef_vi": (
        "wirepath._ef_vi",
        "Solarflare and Alveo X3 NICs through Onload's ef_vi",
        "install Onload 8.0 or newer with its headers (etherfabric/vi.h) and libciul1",
    ),
    "ef_vi_sim": ("wirepath._ef_vi_sim", "a simulator of ef_vi, for tests", ""),
    "dpdk": (
        "wirepath._dpdk",
        "DPDK's poll-mode drivers: PCI NICs, and memif, af_packet, tap, virtio (22.11 or newer)",
        "apt install libdpdk-dev",
    ),
}
# Named in lists only where they were built: nobody needs to be told to install them.
_FOR_TESTS = {"ef_vi_sim": "WIREPATH_EF_VI=SIM"}

# What was missing when the modules were built: package names, "off", or "".
_BUILT_WITHOUT = {
    "af_xdp": _core.AF_XDP_MISSING,
    "dpdk": _core.DPDK_MISSING,
    "ef_vi": _core.EF_VI_MISSING,
}

# Capabilities(7) that a backend needs to open, besides what everybody has.
CAPABILITIES: dict[str, tuple[str, ...]] = {
    "af_xdp": ("CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_BPF"),
    "ef_vi": (),  # filters by flow need none, only access to Onload's driver
    "ef_vi_sim": ("CAP_NET_RAW",),
    # Those of its devices differ: a memif needs none.
    "dpdk": (),
}


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
    try:
        extension = importlib.import_module(_EXTENSIONS[name][0])
    except ImportError as error:
        why, mend = _why_missing(name, error)
        raise BackendUnavailable(f"the {name} backend is not available: {why} ({mend})") from None
    _core.register_backend(extension.backend())


def _why_missing(name: str, error: ImportError) -> tuple[str, str]:
    install = _EXTENSIONS[name][2]
    if name in _FOR_TESTS:
        return "it is for tests and was not built", f"build wirepath with {_FOR_TESTS[name]}"
    built_without = _BUILT_WITHOUT[name]
    if built_without == "off":
        return (
            "it was switched off at build time",
            f"reinstall without WIREPATH_{name.upper()}=OFF",
        )
    if built_without:
        what = f"apt install {built_without}" if name in ("af_xdp", "dpdk") else install
        return (
            f"{built_without.replace(' ', ', ')} missing when wirepath was built",
            f"{what}, then reinstall wirepath",
        )
    return f"its module does not load: {error}", f"{install}, reinstall wirepath"


def backends() -> list[BackendStatus]:
    """Every backend that wirepath knows, in the order of preference for a live interface."""
    out = []
    for name, (module, text, _) in _EXTENSIONS.items():
        try:
            importlib.import_module(module)
        except ImportError as error:
            if name in _FOR_TESTS:
                continue
            why, mend = _why_missing(name, error)
            out.append(BackendStatus(name, text, False, why, mend))
        else:
            load(name)
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
    order = ["auto", "af_xdp", "ef_vi", "dpdk", "socket", "pcap", "null"]
    return sorted(out, key=lambda b: order.index(b.name) if b.name in order else len(order))
