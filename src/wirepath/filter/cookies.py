"""What SYN cookies in the driver (action ``syncookie``) ask of the host."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import ConfigError, WirepathError
from .compile import Tables

_SYSCTL = Path("/proc/sys/net/ipv4/tcp_syncookies")
_MEANS = {
    0: "none are made; sysctl -w net.ipv4.tcp_syncookies=1",
    1: "made while a listener's queue is full; 2: for every SYN",
    2: "made for every SYN; 1: while a listener's queue is full",
}


def used(tables: Tables) -> bool:
    """Whether a rule answers SYNs."""
    return "cookies" in tables.features


def setting() -> int | None:
    """``net.ipv4.tcp_syncookies`` of this thread's network namespace; None: a kernel without."""
    try:
        return int(_SYSCTL.read_text())
    except OSError:
        return None


def explained() -> str:
    """The setting as text, with what it means (Documentation/networking/ip-sysctl.rst)."""
    found = setting()
    if found is None:
        return "not in this kernel (CONFIG_SYN_COOKIES)"
    return f"net.ipv4.tcp_syncookies = {found}: {_MEANS.get(found, 'unknown')}"


def require(tables: Tables) -> None:
    """Raises ConfigError where a rule answers SYNs and this host's listeners take no cookies."""
    if not used(tables):
        return
    found = setting()
    if found is None:
        raise ConfigError(
            "action syncookie: this kernel has no SYN cookies (one built with CONFIG_SYN_COOKIES)"
        )
    if found == 0:
        raise ConfigError(
            "action syncookie: net.ipv4.tcp_syncookies is 0, and no listener takes cookies "
            "(sysctl -w net.ipv4.tcp_syncookies=1: while its queue is full; 2: always)"
        )


def refuse_native(tables: Tables) -> None:
    """Raises ConfigError where a rule answers SYNs: there is no socket to ask but in XDP."""
    if used(tables):
        raise ConfigError(
            "action syncookie is for the driver (XDP) only: the kernel's helpers make and check "
            "the cookies, for listeners of this host (attach the filter to the interface, or give "
            "the rule action limit)"
        )


@contextmanager
def helpers_told(tables: Tables) -> Iterator[None]:
    """Around loading: a kernel that lacks the helpers is told by their name."""
    try:
        yield
    except WirepathError as error:
        if used(tables) and any(f"{what} func" in str(error) for what in ("unknown", "invalid")):
            raise ConfigError(
                "action syncookie: this kernel lacks the helpers for it (Linux 5.18 or newer has "
                "bpf_tcp_gen_syncookie, bpf_check_mtu and bpf_xdp_load_bytes for XDP; or give the "
                "rule action limit)"
            ) from error
        raise
