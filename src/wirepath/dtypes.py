"""NumPy dtypes of the records and headers that native code fills.

The layouts are C structs (``core/record.h``, ``net/headers.h``, both installed under
``wirepath/include``); a test compares sizes and offsets.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np


class Verdict(IntEnum):
    """What becomes of a frame. The numbers are XDP's (Linux ``enum xdp_action``)."""

    ABORTED = 0
    DROP = 1
    PASS = 2
    TX = 3
    REDIRECT = 4
    KEEP = 5


class Action(IntEnum):
    """What a market-data message does to the book (``action`` of :data:`RECORD`)."""

    OTHER = 0
    ADD = 1
    MODIFY = 2
    CANCEL = 3
    DELETE = 4
    EXECUTE = 5
    TRADE = 6
    BREAK = 7
    CLEAR = 8
    STATUS = 9


class RecordFlag(IntEnum):
    """Bits of ``flags`` of :data:`RECORD`."""

    LATE = 1
    NON_PRINTABLE = 2
    SATURATED = 4
    RECOVERED = 8
    END_OF_EVENT = 16
    KEEPS_PRIORITY = 32


class BookCheck(IntEnum):
    """The rule that a record broke (``check`` of :data:`OFFENCE`)."""

    CROSSED = 0
    LOCKED = 1
    UNKNOWN_ORDER = 2
    UNKNOWN_LEVEL = 3
    OVER_REDUCED = 4
    DUPLICATE_ORDER = 5
    NEGATIVE_SIZE = 6


class Phase(IntEnum):
    """What the trading state of an instrument means; bid and ask may meet but in TRADING."""

    UNKNOWN = 0
    TRADING = 1
    AUCTION = 2
    HALTED = 3
    CLOSED = 4


NO_PRICE = (1 << 63) - 1
"""``price`` of a record that has none, where the venue knows prices of 0 and below (CME)."""


RECORD = np.dtype(
    [
        ("seq", "<u8"),
        ("event_time", "<i8"),
        ("recv_time", "<i8"),
        ("order_id", "<u8"),
        ("aux", "<u8"),
        ("price", "<i8"),
        ("qty", "<u4"),
        ("instrument", "<u4"),
        ("type", "<u2"),
        ("action", "u1"),
        ("side", "u1"),
        ("flags", "u1"),
        ("venue", "u1"),
        ("channel", "<u2"),
    ]
)
"""The normalised market-data record, 64 bytes.

======================  ============================================================
``seq``                 venue sequence number of the message
``event_time``          venue's event time, ns since the Unix epoch
``recv_time``           arrival of the frame, ns since the Unix epoch (source: ``port.info()``)
``order_id``            order reference, 0 where the message names no order
``aux``                 old order id (modify), match number (execute, trade), symbol bytes
``price``               fixed point, 1e-9 units of currency
``qty``                 shares or contracts
``instrument``          venue's number (ITCH: stock locate), or ours (IEX, Cboe: SymbolTable)
``type``                venue's message type (ITCH, IEX: ``ord`` of the letter)
``action``              :class:`Action`
``side``                ``ord('B')``, ``ord('S')`` or 0
``flags``               :class:`RecordFlag` bits
``venue``               1 Nasdaq, 2 IEX, 3 CME, 4 Cboe, 5 NYSE
``channel``             the user's number for the channel
======================  ============================================================
"""

BBO = np.dtype(
    [
        ("seq", "<u8"),
        ("event_time", "<i8"),
        ("recv_time", "<i8"),
        ("bid", "<i8"),
        ("ask", "<i8"),
        ("bid_qty", "<u8"),
        ("ask_qty", "<u8"),
        ("instrument", "<u4"),
        ("channel", "<u2"),
        ("state", "u1"),
        ("crossed", "u1"),
    ]
)
"""Best prices of an instrument after a record that changed them, 64 bytes. Prices in 1e-9 units of
currency, quantities of all orders at that price; quantity 0: that side is empty. ``state``: the
venue's trading state (ITCH: ``ord`` of H, P, Q or T), 0 = not told. ``crossed``: 1 = bid above ask,
2 = equal."""

LEVEL = np.dtype([("price", "<i8"), ("qty", "<u8"), ("orders", "<u4"), ("reserved", "<u4")])
"""A price level of a book; ``orders`` is 0 where the venue publishes levels, not orders."""

ORDER = np.dtype(
    [
        ("order_id", "<u8"),
        ("price", "<i8"),
        ("qty", "<u4"),
        ("side", "u1"),
        ("reserved", "u1", (3,)),
    ]
)
"""An order that rests in a book."""

OFFENCE = np.dtype(
    [
        ("seq", "<u8"),
        ("event_time", "<i8"),
        ("order_id", "<u8"),
        ("price", "<i8"),
        ("qty", "<u4"),
        ("instrument", "<u4"),
        ("type", "<u2"),
        ("action", "u1"),
        ("check", "u1"),
        ("reserved", "<u4"),
    ]
)
"""A record that broke a rule of its venue, 48 bytes; ``check`` is a :class:`BookCheck`."""

HEADERS = np.dtype(
    [
        ("ethernet_dst", "u1", (6,)),
        ("ethernet_src", "u1", (6,)),
        ("ethertype", "<u2"),
        ("vlan", "<u2"),
        ("ip_version", "u1"),
        ("protocol", "u1"),
        ("ttl", "u1"),
        ("layers", "u1"),
        ("ip_src", "u1", (16,)),
        ("ip_dst", "u1", (16,)),
        ("src_port", "<u2"),
        ("dst_port", "<u2"),
        ("l3_offset", "<u2"),
        ("l4_offset", "<u2"),
        ("payload_offset", "<u2"),
        ("payload_length", "<u2"),
    ]
)
"""A row of ``batch.headers()``, 64 bytes. Addresses are bytes in network order (IPv4 in the
first four), numbers in host order; offsets in bytes from the start of the frame; ``layers`` is
a bit set: 1 Ethernet, 2 VLAN, 4 IPv4, 8 IPv6, 16 UDP, 32 TCP, 64 fragment."""

ROUTE_EVENT = np.dtype(
    [
        ("kind", "u1"),
        ("removed", "u1"),
        ("family", "u1"),
        ("prefix_length", "u1"),
        ("type", "u1"),
        ("protocol", "u1"),
        ("scope", "u1"),
        ("tos", "u1"),
        ("table", "<u4"),
        ("metric", "<u4"),
        ("interface", "<u4"),
        ("next_hop_id", "<u4"),
        ("weight", "<u4"),
        ("flags", "<u4"),
        ("mtu", "<u4"),
        ("master", "<u4"),
        ("state", "<u2"),
        ("message_flags", "<u2"),
        ("members", "<u2"),
        ("gateway_family", "u1"),
        ("bits", "u1"),
        ("address", "V16"),
        ("gateway", "V16"),
        ("mac", "V6"),
        ("vlan", "<u2"),
        ("name", "S16"),
        ("link_kind", "S16"),
        ("error", "<i4"),
        ("parent", "<u4"),
    ]
)
"""What a source of routes said, 128 bytes (src/native/route/route_event.h). ``kind``: 1 route, 2
member of the route or group before it, 3 next hop, 4 neighbour, 5 link, 6 address, 7 rule, 8 end of
a dump, 9 answer to a request. Numbers are the kernel's of linux/rtnetlink.h; addresses are in
network order, IPv4 in the first four bytes."""
