"""NYSE XDP / Pillar packets: the session, and headers of packets and messages."""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import NamedTuple

from .._core import Pillar
from .reading import Buffer, bytes_of

__all__ = ["Delivery", "MessageHeader", "PacketHeader", "Pillar", "message_header", "packet_header"]

_PACKET = struct.Struct("<HBBIII")
_MESSAGE = struct.Struct("<HH")


class Delivery(IntEnum):
    """The delivery flag of a packet (NYSE XDP / Pillar common client specification 2.4)."""

    HEARTBEAT = 1
    FAILOVER = 10
    ORIGINAL = 11
    SEQUENCE_RESET = 12
    RETRANSMISSION_ONLY = 13
    RETRANSMISSION_PART = 15
    REFRESH_ONLY = 17
    REFRESH_START = 18
    REFRESH_PART = 19
    REFRESH_END = 20
    UNAVAILABLE = 21


class PacketHeader(NamedTuple):
    """``size``: bytes of the packet with this header. ``delivery``: see :class:`Delivery`.
    ``sequence``: of the first of ``message_count`` messages. ``send_time``: ns since the Unix
    epoch."""

    size: int
    delivery: int
    message_count: int
    sequence: int
    send_time: int


class MessageHeader(NamedTuple):
    """``size``: bytes of the message with this header."""

    size: int
    type: int


def packet_header(packet: Buffer) -> PacketHeader | None:
    """The header of a packet; None: too short."""
    view = bytes_of(packet)
    if len(view) < _PACKET.size:
        return None
    size, delivery, count, sequence, seconds, ns = _PACKET.unpack_from(view)
    return PacketHeader(size, delivery, count, sequence, seconds * 1_000_000_000 + ns)


def message_header(message: Buffer) -> MessageHeader | None:
    """The header of a message, as :class:`~wirepath.feed.Message` has it; None: too short."""
    view = bytes_of(message)
    return MessageHeader(*_MESSAGE.unpack_from(view)) if len(view) >= _MESSAGE.size else None
