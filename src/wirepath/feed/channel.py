"""Channels of a feed: what :class:`wirepath.feed.FeedStage` is made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .._core import FeedChannel, FeedStage, Ring, Steering, SymbolTable
from ..errors import ConfigError
from .book import Books
from .mdp3 import native_schema
from .sbe_schema import SbeSchema


def _type(name: int | str) -> int:
    if isinstance(name, int):
        return name
    if len(name) != 1 or not name.isascii():
        raise ConfigError(f"types = {name!r} is not usable: it must be letters or numbers")
    return ord(name)


def make_channel(
    protocol: str,
    *,
    name: str,
    lines: Sequence[Steering],
    recovery_lines: Sequence[Steering] = (),
    channel: int = 0,
    midnight_ns: int = 0,
    arbiter: dict[str, Any] | None = None,
    recovery: str = "",
    recovery_options: dict[str, Any] | None = None,
    instruments: Sequence[int] | None = None,
    symbols: Sequence[str] | None = None,
    types: Sequence[int | str] | None = None,
    schema: SbeSchema | None = None,
    symbol_table: SymbolTable | None = None,
    messages: Sequence[tuple[int, int, int]] = (),
    message_bytes: int = 16 << 20,
) -> FeedChannel:
    """One channel of a venue: its lines through an arbiter, gaps asked for, messages to records.

    protocol: ``"itch"`` (MoldUDP64 and ITCH 5.0), ``"iex"`` (IEX-TP and TOPS, DEEP, DEEP+),
    ``"pitch"`` (Cboe sequenced units and Multicast PITCH), ``"cme"`` (MDP 3.0; needs ``schema``) or
    ``"pillar"`` (NYSE XDP / Pillar packets: a record says which message type came, no more).
    lines: where it comes live, one flow each; ``[wp.everything()]`` alone is every UDP frame.
    recovery_lines: flows on which retransmissions come. channel: number that goes into its records.
    midnight_ns: of ITCH and PITCH, midnight of the session's date in New York
    (:func:`wirepath.feed.itch50.midnight_ns`); 0 leaves event times as ns since midnight.

    arbiter: options of :class:`Arbiter` but ``lines`` and ``recovery_lines``. recovery: how to ask
    for what no line brought, ``"mold_udp64"``, ``"iex"``, ``"pitch"`` or ``"nyse"`` as the protocol
    has it (nyse: with ``source_id``, ``product_id`` and ``channel_id`` in recovery_options);
    ``""`` tells gaps and asks for nothing. recovery_options: those of :class:`Recovery`. In order,
    ``hold_ns`` has to be above recovery's ``deadline_ns``; not given, it is. ``"cme_snapshot"``
    repairs the books of a CME channel from its snapshot feeds, as :class:`CmeRecovery` does
    (recovery_options: its ``held_records`` and ``instruments``): recovery_lines are those feeds'
    flows. Each loop is taken from the line that brings it first, and from another one where that
    is silent for a second.

    symbol_table: of IEX and PITCH, the numbers of their symbols; channels of one worker may share
    one, and another worker is refused it when it starts. None: one of its own.

    instruments: venue's numbers that are wanted (ITCH stock locate, CME security id, a number of
    ``symbol_table``); symbols: by name, for ITCH with what the directory messages say; types:
    message types (a letter, or a number). None: all. What is not wanted is counted in ``filtered``
    and, but for entries of a CME message, not decoded. Messages of the market as a whole are always
    wanted, and for PITCH and IEX those that name no symbol: an order's executions name the order.

    messages: of pillar, types whose bytes are wanted: (type, bytes behind the header of size and
    type, offset in those of a u32 that numbers the instrument or -1) each. ``take_rows()`` has
    them, packed as ``wirepath.feed_rows.ROW_FIELDS`` and those bytes; message_bytes: what may wait
    to be taken, more is counted in ``snapshot()["rows"]["lost"]``. Shorter ones are malformed.

    Raises :class:`wirepath.ConfigError` naming the argument.
    """
    return FeedChannel.make(
        protocol,
        name=name,
        channel=channel,
        lines=list(lines),
        recovery_lines=list(recovery_lines),
        midnight_ns=midnight_ns,
        arbiter=dict(arbiter or {}),
        recovery=recovery,
        recovery_options=dict(recovery_options or {}),
        instruments=None if instruments is None else list(instruments),
        symbols=None if symbols is None else list(symbols),
        types=None if types is None else [_type(t) for t in types],
        schema=None if schema is None else native_schema(schema),
        symbol_table=symbol_table,
        messages=list(messages),
        message_bytes=message_bytes,
    )


def make_stage(
    ring: Ring,
    channels: Sequence[FeedChannel],
    *,
    name: str = "feed",
    latency: bool = True,
    books: Books | None = None,
) -> FeedStage:
    """A stage of a :class:`wirepath.Worker` that takes channels in and puts records into ``ring``.

    A frame belongs to the line whose flow is its destination; the rest is counted in
    ``other_flow``. latency: the port stamps frames as they come (not for a capture with the
    timestamps in it). books: every record is applied to them on the worker's thread, before it is
    in the ring; looking at them meanwhile makes the worker wait while levels are copied.

    Raises :class:`wirepath.ConfigError` for a flow that two lines have, and
    :class:`wirepath.DeviceBusy` for a channel that another stage has.
    """
    native = None if books is None else books._native
    return FeedStage(ring, list(channels), name, latency, native)


__all__ = ["FeedChannel", "FeedStage", "make_channel", "make_stage"]
