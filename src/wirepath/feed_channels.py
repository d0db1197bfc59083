"""Native channels and their servers, as a configuration describes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ._core import SoupBinTCP, SymbolTable
from .feed.channel import FeedChannel, make_channel
from .feed.itch50 import midnight_ns
from .feed.sbe_schema import SbeSchema
from .feed_config import ChannelConfig, RecoveryConfig
from .feed_state import ChannelState
from .recovery import (
    GapRequestProxy,
    Glimpse,
    Recovering,
    RequestServer,
    Server,
    StreamServer,
    UdpServer,
)
from .recovery.sides import SECOND

# Of a channel with recovery: what may come while a gap is being filled.
_HOLD_MESSAGES, _HOLD_BYTES = 1 << 18, 32 << 20
# And while a snapshot is under way, which takes seconds.
_SNAPSHOT_MESSAGES, _SNAPSHOT_BYTES = 1 << 21, 256 << 20
# Without recovery: as wirepath.feed.Arbiter has it.
_HOLD_NS = 10_000_000
# Of a channel that may be waiting for a snapshot: only recovery gives gaps up, for it knows.
_UNTIL_TOLD = 1 << 61


def native_channel(
    config: ChannelConfig,
    state: ChannelState | None,
    table: SymbolTable | None,
    requests: Mapping[int, int] | None = None,
) -> tuple[FeedChannel, bool]:
    """The channel, going on from ``state``; and whether it waits for a snapshot first.

    requests: by hour, those that were made before: they count against the venue's quota of a day.
    """
    arbiter = config.arbiter.options()
    kind: str = config.requests.kind if config.requests is not None else ""
    options = config.requests.options() if config.requests is not None else {}
    if config.loop is not None:
        kind, options = config.loop.kind, config.loop.options()
    if config.session:
        arbiter["session"] = config.session.ljust(10).encode("ascii")
    if config.next_sequence:
        arbiter["next_sequence"] = config.next_sequence
    if state is not None and state.units:
        arbiter["resumed"] = True
        if [unit.unit for unit in state.units] == [0]:
            arbiter["session"] = state.units[0].session
            arbiter["next_sequence"] = state.units[0].next_sequence
        else:
            arbiter["next_of_units"] = [(u.unit, u.next_on_wire) for u in state.units]
    asks = config.requests is not None
    if asks and requests:
        options["requests_by_hour"] = dict(requests)
    if asks and config.protocol != "pitch":  # pitch: many units, and each holds its own
        arbiter.setdefault("hold_messages", _HOLD_MESSAGES)
        arbiter.setdefault("hold_bytes", _HOLD_BYTES)
    wants = False
    if config.snapshot is not None:
        wants = not (kind and "next_sequence" in arbiter)
        kind = kind or _snapshots_only(config, arbiter, options)
        _expect_snapshot(config, arbiter)
    elif not kind and len(config.line) == 1:
        arbiter.setdefault("in_order", False)  # one line has nothing to wait for
    schema = SbeSchema.load(config.schema_file) if config.schema_file is not None else None
    channel = make_channel(
        config.protocol,
        name=config.name,
        channel=config.number,
        lines=[line.flow for line in config.line],
        recovery_lines=[line.flow for r in config.recovery for line in r.line],
        midnight_ns=midnight_ns(config.session_date) if config.session_date else 0,
        arbiter=arbiter,
        recovery=kind,
        recovery_options=options,
        instruments=config.instruments,
        symbols=config.symbols,
        types=config.types,
        schema=schema,
        symbol_table=table,
        messages=[each.native for each in config.message],
        message_bytes=config.message_bytes,
    )
    return channel, wants


def _snapshots_only(config: ChannelConfig, arbiter: dict[str, Any], options: dict[str, Any]) -> str:
    """Nobody to ask: gaps are waited for as without recovery, but not while a snapshot is under
    way, for which recovery is paused. So it asks once, and nobody carries the request."""
    hold = config.arbiter.hold_ns or _HOLD_NS
    options |= {"hold_ns": hold, "retry_ns": hold, "max_retry_ns": hold, "max_attempts": 1}
    options["deadline_ns"] = 3 * hold
    return "mold_udp64"


def _expect_snapshot(config: ChannelConfig, arbiter: dict[str, Any]) -> None:
    """What is live is held behind a gap from the session's first message on."""
    arbiter["hold_ns"] = _UNTIL_TOLD
    arbiter.setdefault("next_sequence", 1)
    arbiter.setdefault("max_jump", 1 << 62)
    # And so is what comes after a change of session or a reset.
    arbiter["await_snapshot"] = bool(
        arbiter.get("in_order", True) and arbiter.get("session_begin", 1)
    )
    if config.arbiter.hold_messages is None:
        arbiter["hold_messages"] = _SNAPSHOT_MESSAGES
    if config.arbiter.hold_bytes is None:
        arbiter["hold_bytes"] = _SNAPSHOT_BYTES


def servers(config: ChannelConfig, channel: FeedChannel) -> Recovering:
    """The servers that a channel asks. Raises :class:`~wirepath.errors.ConfigError`."""
    requests: Server | None = None
    snapshot: StreamServer | None = None
    if (asked := config.requests) is not None:
        if asked.kind == "pitch":
            requests = _stream(
                asked,
                GapRequestProxy(
                    channel,
                    session=asked.session,
                    username=asked.username,
                    password=asked.secret(),
                    timeout=asked.timeout,
                ),
            )
        elif asked.kind == "nyse":
            stream = RequestServer(channel, source_id=asked.source_id, timeout=asked.timeout)
            requests = _stream(asked, stream)
        else:
            requests = UdpServer(channel, asked.address, source=asked.source)
    if (found := config.snapshot) is not None:
        password = found.secret()

        def session() -> SoupBinTCP:
            return SoupBinTCP(
                found.username,
                password,
                found.session,
                next_sequence=1,
                heartbeat_ns=min(SECOND, int(found.timeout * SECOND / 3)),
                timeout_ns=int(found.timeout * SECOND),
            )

        deadline = int(found.snapshot_deadline * SECOND)
        snapshot = _stream(found, Glimpse(channel, session, deadline=deadline))
    return Recovering(config.name, channel, requests, snapshot)


def _stream(
    config: RecoveryConfig, stream: GapRequestProxy | Glimpse | RequestServer
) -> StreamServer:
    return StreamServer(
        stream,
        config.address,
        source=config.source,
        timeout=config.timeout,
        backoff=config.backoff,
        max_backoff=config.max_backoff,
    )
