"""Capture filters: tcpdump's syntax, compiled by libpcap to classic BPF."""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

from ..errors import BackendUnavailable, ConfigError
from ..settings import problem
from .config import MAX_SNAPLEN

_ETHERNET = 1  # DLT_EN10MB
_NETMASK_UNKNOWN = 0xFFFFFFFF
_NAMES = ("libpcap.so.0.8", "libpcap.so.1", "libpcap.so", "libpcap.dylib")


class _Program(ctypes.Structure):
    """struct bpf_program of pcap/bpf.h; an instruction is 8 bytes."""

    _fields_ = (("length", ctypes.c_uint), ("instructions", ctypes.c_void_p))


@cache
def _library() -> Any:  # noqa: ANN401 -- a ctypes.CDLL, whose functions are not typed
    for name in _NAMES:
        try:
            library = ctypes.CDLL(name)
        except OSError:
            continue
        library.pcap_open_dead.restype = ctypes.c_void_p
        library.pcap_open_dead.argtypes = [ctypes.c_int, ctypes.c_int]
        library.pcap_compile.argtypes = [
            ctypes.c_void_p,
            ctypes.POINTER(_Program),
            ctypes.c_char_p,
            ctypes.c_int,
            ctypes.c_uint32,
        ]
        library.pcap_geterr.restype = ctypes.c_char_p
        library.pcap_geterr.argtypes = [ctypes.c_void_p]
        library.pcap_freecode.argtypes = [ctypes.POINTER(_Program)]
        library.pcap_close.argtypes = [ctypes.c_void_p]
        return library
    raise BackendUnavailable(
        "capture filters need libpcap, which is not installed (apt install libpcap0.8)"
    )


def compile_filter(text: str) -> bytes:
    """The classic BPF program, 8 bytes an instruction, of a filter such as ``udp port 9001``.

    Empty text is the empty program: every frame. The syntax is pcap-filter(7)'s; frames are
    Ethernet, so ``inbound`` and the like are not known.

    Raises :class:`~wirepath.errors.ConfigError` with libpcap's words where the filter is wrong,
    :class:`~wirepath.errors.BackendUnavailable` where libpcap is not installed.
    """
    if not text.strip():
        return b""
    if "\0" in text:
        raise ConfigError(problem("filter", text, "text without NUL"))
    library = _library()
    handle = library.pcap_open_dead(_ETHERNET, MAX_SNAPLEN)
    program = _Program()
    try:
        if library.pcap_compile(handle, program, text.encode(), 1, _NETMASK_UNKNOWN) != 0:
            why = library.pcap_geterr(handle).decode(errors="replace")
            raise ConfigError(
                problem("filter", text, f"a filter as of pcap-filter(7) (libpcap: {why})")
            )
        code = ctypes.string_at(program.instructions, 8 * program.length)
        library.pcap_freecode(program)
        return code
    finally:
        library.pcap_close(handle)
