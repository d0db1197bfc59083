"""Feeds of many channels and venues in one process: lines put together, gaps asked for, sinks fed.

::

    config = wp.FeedConfig.from_toml("feed.toml")
    with wp.FeedClient(config) as client:
        client.start_ingestion()
        for records in client.batches():               # ndarrays of dtype wirepath.RECORD
            print(len(records), client.events())
    print(client.summary())
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import feed_log, feed_state, logs
from ._core import Ring, Steering, SymbolTable
from ._core import now as clock
from .errors import ConfigError, StateError
from .feed.channel import FeedChannel, make_stage
from .feed_channels import native_channel, servers
from .feed_config import ChannelConfig, FeedConfig, label
from .feed_rows import Rows
from .feed_state import ChannelState, States
from .feed_watch import ChannelWatch, FeedEvent
from .intake import Intake, RingBuffer
from .measure import Consumer, Progress
from .recovery import (
    Control,
    Recovering,
)
from .recovery.sides import SECOND
from .settings import problem
from .sinks import Fanout, open_sink
from .stats import IngestionStats

_KEPT_EVENTS = 65_536


class FeedClient(Intake):
    """Takes every channel of a :class:`FeedConfig` in, on one worker thread, into one ring.

    ``initialize()`` checks the configuration against this machine, ``connect()`` opens a port on
    each interface with the flows of all lines there, ``start_ingestion()`` starts the worker, and
    a control thread that asks servers for what no line brought. ``with`` does the first two, and
    stops and closes at its end. :meth:`run` also empties the ring into the configured sinks.

    on_event: called with each :class:`FeedEvent` on the control thread; what it raises is logged
    as ``feed.callback_failed``. Without it, :meth:`events` has them.

    Raises :class:`~wirepath.errors.ConfigError`, also for a state file that is none, a password
    that the environment does not have and a server whose name is not known.
    """

    def __init__(
        self, config: FeedConfig, *, on_event: Callable[[FeedEvent], object] | None = None
    ) -> None:
        if not isinstance(config, FeedConfig):
            raise ConfigError(
                problem("config", config, "a FeedConfig (FeedConfig.from_toml reads one)")
            )
        super().__init__(config.feed)
        self.config = config
        self.symbols: dict[str, SymbolTable] = {}
        """Numbers of symbols, by protocol (iex, pitch): the same in all its channels."""
        self._on_event = on_event
        self._events: deque[FeedEvent] = deque(maxlen=_KEPT_EVENTS)
        self._channels: list[FeedChannel] = []
        self._recovering: list[Recovering] = []
        self._watches: list[ChannelWatch] = []
        self._rows: dict[str, Rows] = {}
        self._control: Control | None = None
        self._fanout: Fanout | None = None
        self._sinks: dict[str, dict[str, Any]] = {}
        self._begun = self._handled = 0
        self._unsettled: int | None = None  # a run ended, and its sinks have no more than that
        self._pending: tuple[int, States] | None = None
        self._saved: States = {}  # what the file says
        self._saved_at = 0
        self.state_writes = 0
        self.state_errors = 0
        self.event_errors = 0
        self.control_errors = 0
        self.consumed = 0
        """Records that :meth:`run` took."""
        self.started = 0.0
        """When :meth:`run` began, seconds since the Unix epoch."""

    # --- life ------------------------------------------------------------------------------
    def initialize(self) -> None:
        """Load the backend and check what depends on this machine. May be called again."""
        super().initialize()
        if self.config.feed.state is not None:
            feed_state.check_writable(self.config.feed.state)
            feed_state.read(self.config.feed.state)
        for channel in self.config.channel:
            for recovery in channel.recovery:
                recovery.secret()

    def connect(self) -> None:
        """Open the ports: bind, join the groups, attach. Raises as :func:`wirepath.open`."""
        flows: dict[str, Steering] = {}
        for channel in self.config.channel:
            for line in (*channel.line, *(x for r in channel.recovery for x in r.line)):
                flow = flows.get(line.interface)
                flows[line.interface] = line.flow if flow is None else flow | line.flow
        home = self.config.feed.interface_name
        if home and home in flows and "" in flows:  # named in one place and meant in another
            flows[""] = flows[""] | flows.pop(home)
        self._connect(list(flows.items()))

    def start_ingestion(
        self, ring: Ring | None = None, stats: IngestionStats | None = None
    ) -> None:
        """Start the worker and the control thread; returns at once.

        ring: what gets the records; None: one as ``[feed]`` describes it. stats: what gets the
        numbers.
        """
        feed = self.config.feed
        if ring is None:
            ring = RingBuffer(feed.ring_capacity, feed.ring_policy, feed.ring_name)
        self._check_start(ring, stats)
        try:
            wanted = self._make_channels()
            stage = make_stage(
                ring, self._channels, name=feed.port_spec, latency=feed.live_timestamps
            )
            self._control = Control(self._recovering, look=self._look)
            now = clock()
            self._control.open(now)
            self._pending, self._saved_at, self._unsettled = None, now, None
            for each in self._recovering:
                if each.glimpse is not None and each.name in wanted:
                    each.glimpse.begin(now)
            self._launch(stage, ring, stats)
            self._control.start()
        except BaseException:
            control, self._control = self._control, None
            if control is not None:
                control.close()
            self._undo_start(ring)
            self._channels, self._recovering, self._watches = [], [], []
            raise

    def _make_channels(self) -> list[str]:
        """The channels and their servers; returns which of them wait for a snapshot first."""
        found = self._saved = self._read_state()
        self._channels, self._recovering, self._watches = [], [], []
        self._rows = {}
        wanted: list[str] = []
        for config in self.config.channel:
            table = None
            if config.protocol in ("iex", "pitch"):
                table = self.symbols.setdefault(config.protocol, SymbolTable())
            before = found.get(config.name)
            native, wants = native_channel(
                config,
                before if before is not None and self._goes_on(config, before) else None,
                table,
                before.requests if before is not None else None,
            )
            wanted += [config.name] * wants
            self._channels.append(native)
            if config.message:
                self._rows[config.name] = Rows(config.message, native)
            self._recovering.append(servers(config, native))
            self._watches.append(ChannelWatch())
        return wanted

    def stop_ingestion(self) -> None:
        """Stop the worker and the control thread, and wait for them. The ring is closed: what it
        holds can still be popped."""
        before = None
        if self._worker is not None and self.config.feed.state is not None:
            before = [channel.snapshot() for channel in self._channels]
        try:
            super().stop_ingestion()
            if before is not None:
                self._note_state(before)
        finally:
            control, self._control = self._control, None
            if control is not None:
                control.stop()
                self.control_errors = control.errors
                self._watch(clock())

    def close(self) -> None:
        """Stop, write the state file, close the ports; counters stay readable."""
        try:
            super().close()
        finally:
            self._save(clock())
            if self._fanout is not None:
                self._end_sinks()

    def run(
        self,
        *,
        max_seconds: float | None = None,
        max_messages: int | None = None,
        follow: bool = False,
        on_records: Callable[[NDArray[np.void]], object] | None = None,
        on_rows: Callable[[str, dict[str, NDArray[np.void]]], object] | None = None,
        on_progress: Progress | None = None,
        stop: Callable[[], bool] | None = None,
    ) -> bool:
        """Take records out of the ring into the configured sinks and to ``on_records`` until the
        feed has ended, a limit is reached, ``stop`` says so, or Ctrl-C, and stop. True when
        interrupted or told to stop.

        follow: go on when all sessions have ended. on_rows: called with a channel's name and what
        :meth:`rows` has of it. on_progress: called about ten times a second.
        """
        if self._ring is None or self._worker is None:
            raise StateError("run() comes after start_ingestion()")
        if not isinstance(self._ring, RingBuffer):
            raise ConfigError(problem("ring", self._ring, "a wirepath.RingBuffer, for run()"))
        fanout = self._fanout = Fanout([open_sink(sink) for sink in self.config.sink])

        self._begun, self._handled = self._ring.popped, 0

        def hand_rows() -> None:
            if on_rows is None:
                return
            for name in self._rows:
                if found := self.rows(name):
                    on_rows(name, found)

        def take(records: NDArray[np.void]) -> None:
            fanout.write(records)
            if on_records is not None:
                on_records(records)
            hand_rows()
            self._handled += len(records)

        consumer = Consumer(
            self,
            self._stats or IngestionStats(),
            self._ring,
            max_seconds=max_seconds,
            max_messages=max_messages,
            follow=follow,
            on_records=take,
            stop=stop,
        )
        try:
            interrupted = consumer.run(on_progress)
            self.stop_ingestion()
            consumer.drain()
            hand_rows()
        finally:
            self.consumed, self.started = consumer.consumed, consumer.started
            self._end_sinks()
        return interrupted

    def _end_sinks(self) -> None:
        if self._fanout is not None:
            self._fanout.close()
            settled = self._acknowledged()
            if self._ring is not None and settled < self._ring.popped:
                self._unsettled = settled
            self._sinks = self._fanout.counters
            self._fanout = None

    # --- channels --------------------------------------------------------------------------
    def _read_state(self) -> States:
        """What an earlier run wrote of the channels that are still of the same protocol."""
        if self.config.feed.state is None:
            return {}
        found = feed_state.read(self.config.feed.state)
        protocols = {config.name: config.protocol for config in self.config.channel}
        return {n: state for n, state in found.items() if state.protocol == protocols.get(n)}

    def _goes_on(self, config: ChannelConfig, state: ChannelState) -> bool:
        """The sequence of that state is still the channel's."""
        if state.time < clock() - int(self.config.feed.state_max_age * SECOND):
            return False
        sessions = {u.session.decode("latin-1").rstrip() for u in state.units}
        return not config.session or sessions == {config.session}

    # --- looks, on the control thread --------------------------------------------------------
    def _look(self, now: int) -> None:
        for channel, each in zip(self._channels, self._recovering, strict=True):
            if each.glimpse is not None:
                each.look(channel.snapshot(), now)
        self._watch(now)
        feed = self.config.feed
        if feed.state is not None:
            if self._pending is None:
                self._note_state()
            if now - self._saved_at >= int(feed.state_interval * SECOND):
                self._save(now)

    def _watch(self, now: int) -> None:
        for channel, watch, each in zip(
            self._channels, self._watches, self._recovering, strict=True
        ):
            for event in watch.look(channel.snapshot(), each.status()):
                told = FeedEvent(channel.name, now, event)
                feed_log.tell(channel.name, event)
                if self._on_event is None:
                    self._events.append(told)
                    continue
                try:
                    self._on_event(told)
                except Exception as error:
                    self.event_errors += 1
                    logs.emit(
                        "feed.callback_failed", trace=True, channel=channel.name, error=str(error)
                    )

    def events(self) -> list[FeedEvent]:
        """What happened since the last call, oldest first, the newest 65,536: gaps, gaps
        abandoned, messages recovered, resets, session changes, ends of sessions, troubles with
        servers. Seen about 20 times a second; gaps that are filled sooner are only counted."""
        out = []
        while self._events:
            out.append(self._events.popleft())
        return out

    def rows(self, channel: str) -> dict[str, NDArray[np.void]]:
        """Rows of a channel's declared messages since the last call, by name of the message type.

        A row has ``seq``, ``recv_time``, ``send_time`` (ns since the Unix epoch), ``flags`` and
        the fields of its ``[[channel.message]]``. A row is there before its record is in the ring.
        At most ``message_bytes`` wait to be taken; what comes then has its record only, and is
        counted in the channel's ``rows`` of :meth:`summary`. One thread at a time.

        Raises :class:`~wirepath.errors.ConfigError` for a channel that declares no messages.
        """
        if channel not in self._rows and not any(
            c.name == channel and c.message for c in self.config.channel
        ):
            have = ", ".join(c.name for c in self.config.channel if c.message)
            must = f"a channel with [[channel.message]]: {have or 'there is none'}"
            raise ConfigError(problem("channel", channel, must))
        found = self._rows.get(channel)
        return found.take() if found is not None else {}

    # --- the state file --------------------------------------------------------------------
    def _note_state(self, before: list[dict[str, Any]] | None = None) -> None:
        """Remember where the channels stand; written once every sink has it all.

        before: snapshots from before the worker ended. Its end gives up what is missing: there a
        restart goes on from before that, to ask for it, and has what came since a second time.
        """
        if self._ring is None:
            return
        now = clock()
        found = [channel.snapshot() for channel in self._channels]
        for snapshot, earlier in zip(found, before or (), strict=False):
            units = {unit["unit"]: unit for unit in earlier["state"]}
            snapshot["state"] = [
                earlier_unit
                if (earlier_unit := units.get(unit["unit"])) is not None
                and earlier_unit["counters"]["abandoned"] != unit["counters"]["abandoned"]
                else unit
                for unit in snapshot["state"]
            ]
        states = {c["name"]: ChannelState.of(c, now) for c in found}
        if any(state.units for state in states.values()):
            self._pending = (self._ring.pushed, states)

    def _acknowledged(self) -> int:
        """How many records of the ring, from its first, are where they belong: with every sink
        while :meth:`run` feeds them, else with whoever takes them out of the ring."""
        assert self._ring is not None
        fanout = self._fanout
        if fanout is not None:
            return self._begun + min(self._handled, fanout.acknowledged)
        return self._ring.popped if self._unsettled is None else self._unsettled

    def _save(self, now: int) -> None:
        path, pending = self.config.feed.state, self._pending
        if path is None or self._ring is None:
            return
        if pending is not None and self._acknowledged() >= pending[0]:
            self._pending, states = None, pending[1]
        else:  # after a crash the records would be lost, but requests are made for good
            states = self._with_requests(now)
            if states == self._saved:
                return
        self._saved_at = now
        try:
            feed_state.write(path, states)
            self._saved = states
            self.state_writes += 1
        except OSError as error:
            self.state_errors += 1
            logs.emit("feed.state_failed", file=path, error=str(error))

    def _with_requests(self, now: int) -> States:
        """What the file says, with the requests that count against a venue's day as they are."""
        states = dict(self._saved)
        for channel in self._channels:
            found = channel.snapshot()
            requests = found["recovery"]["requests_by_hour"]
            before = states.get(channel.name, ChannelState(found["protocol"], (), now))
            if requests != before.requests:
                states[channel.name] = replace(before, requests=requests)
        return states

    # --- state -----------------------------------------------------------------------------
    @property
    def ended(self) -> bool:
        """Nothing more will come: every session said so and nothing is missing that could still
        be recovered, or the worker has ended by itself."""
        if self._stage is None:
            return False
        if not self.is_running:
            return True
        snapshot = self._stage.snapshot()
        if not snapshot["ended"]:
            return False
        return not any(c["counters"]["gap_open"] for c in snapshot["channels"])

    def summary(self) -> dict[str, Any]:
        """Everything as plain values, ready for JSON: totals, and by channel its lines (packets,
        loss, skew), messages, gaps abandoned, recovery and servers."""
        snapshot = self.snapshot()
        found = {c["name"]: c for c in snapshot.get("channels", ())}
        channels: list[dict[str, Any]] = []
        if found:
            every = zip(self.config.channel, self._recovering, self._watches, strict=True)
            channels = [_summary(c, found[c.name], each, w.covered) for c, each, w in every]
        return {
            "packets": self.packets_received,
            "messages": self.messages_received,
            "frames": {k: snapshot.get(k, 0) for k in ("frames", "other_flow", "not_udp")},
            "ring_full": snapshot.get("ring_full", 0),
            "missing": sum(c["missing"] for c in channels),
            "ended": snapshot.get("ended", False),
            "channels": channels,
            "sinks": self._fanout.counters if self._fanout is not None else self._sinks,
            "state": {
                "file": self.config.feed.state,
                "writes": self.state_writes,
                "errors": self.state_errors,
            },
            "control_errors": self._control.errors if self._control else self.control_errors,
            "event_errors": self.event_errors,
        }


def _summary(
    config: ChannelConfig, found: dict[str, Any], each: Recovering, covered: int
) -> dict[str, Any]:
    counters = found["counters"]
    lines = []
    for i, line in enumerate(found["lines"]):
        name = label(config.line[i], i) if i < len(config.line) else line["label"]
        lines.append({**line, "label": name})
    return {
        "name": config.name,
        "protocol": config.protocol,
        "session": found["session"],
        "next_sequence": found["next_sequence"],
        "messages": found["messages"],
        "delivered": found["delivered"],
        "missing": counters["gap_open"] + counters["abandoned"] - covered,
        "covered_by_snapshots": covered,
        "ended": found["ended"],
        "counters": counters,
        "lines": lines,
        "gaps": [list(gap) for gap in found["gaps"]],
        "abandoned": [list(gap) for gap in found["abandoned"]],
        "by_type": found["by_type"],
        "filtered": found["filtered"],
        "unknown": found["unknown"],
        "malformed": found["malformed"],
        "ring_full": found["ring_full"],
        "recovery": found["recovery"],
        "snapshot_loop": found.get("snapshot_loop"),
        "rows": found.get("rows"),
        "servers": each.status(),
    }
