"""Which flows leave the kernel. Joined with ``|``; everything else keeps reaching the host."""

from __future__ import annotations

from ._core import Steering, flow


def udp(address: str = "*", port: int = 0) -> Steering:
    """UDP datagrams to ``address`` (IPv4 or IPv6, unicast or multicast; ``"*"`` any) and
    destination ``port`` (0 any). A multicast group is joined when a port opens with it.

    Raises :class:`~wirepath.errors.ConfigError` for a bad address or port, and when neither is
    given: that would be everything.
    """
    return flow("udp", address, port)


def tcp(address: str = "*", port: int = 0) -> Steering:
    """TCP segments to ``address`` and destination ``port``, as :func:`udp`."""
    return flow("tcp", address, port)
