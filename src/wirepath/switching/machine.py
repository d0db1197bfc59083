"""Which way around the kernel is open, and its share: a state machine without I/O.

:meth:`Machine.step` says what to do next, one action at a time; whoever does it answers with
:meth:`opened`, :meth:`refused`, :meth:`diverted` or :meth:`closed`. Health comes in with
:meth:`look`. Times are passed in, ns of a clock that only goes forward.

One way is open at a time, beside the kernel's, which always is. A way that is opened for the first
time gets its share at once. One that failed is left alone for ``hold_down`` seconds, twice as long
with each failure that follows before it was fit for ``stable`` seconds; then it is opened with a
share of 0, and gets its own after ``successes`` good looks in a row.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from .config import ALL_FLOWS, SwitchConfig
from .health import Health

_SECOND = 1_000_000_000


class Phase(StrEnum):
    """Of a way: not open; open without frames, to see whether it is fit; in use."""

    CLOSED = "closed"
    TRIAL = "trial"
    ACTIVE = "active"


class Kind(StrEnum):
    """What happened to a switch."""

    OPENED = "opened"
    REFUSED = "refused"
    ACTIVE = "active"
    RETURN = "return"
    SHARE = "share"
    FALL_BACK = "fall_back"
    TRIAL_FAILED = "trial_failed"
    CLOSED = "closed"
    CONFIG = "config"
    CONFIG_ERROR = "config_error"
    ERROR = "error"


@dataclass(frozen=True)
class Open:
    """Open this way, with no flow taken yet where it can leave them to the host."""

    way: str


@dataclass(frozen=True)
class Divert:
    """Have this way take the share (65536ths) and the flows that are named; 0 and no name: none."""

    way: str
    share: int
    flows: tuple[str, ...]


@dataclass(frozen=True)
class Close:
    """Have this way take no flow, read what it holds, close it."""

    way: str
    reason: str


Action: TypeAlias = Open | Divert | Close


@dataclass(frozen=True)
class Happened:
    """kind, the way (empty: all), and why."""

    kind: Kind
    way: str
    reason: str


@dataclass
class Candidate:
    """What is known of a way."""

    failures: int = 0
    not_before: int = 0
    reason: str = ""  # of its latest failure or refusal
    given_up: bool = False  # it cannot be had here: not tried again until the configuration changes


class Machine:
    """Decides for one port. happened: collects what was decided, oldest first."""

    def __init__(self, config: SwitchConfig) -> None:
        self.config = config
        self.candidates: dict[str, Candidate] = {way: Candidate() for way in config.bypass}
        self.happened: list[Happened] = []
        self.current: str | None = None
        self.phase = Phase.CLOSED
        self.share = 0
        self.flows: tuple[str, ...] = ()
        self._good = 0
        self._since = 0  # when it became active, or last was unfit
        self._splits = True
        self._close: str | None = None
        self._busy = False  # an action is under way

    # --- what is in force --------------------------------------------------------------------
    @property
    def target(self) -> tuple[int, tuple[str, ...]]:
        """What an active way is to take."""
        return self.config.wanted, self.config.flows

    @property
    def idle(self) -> bool:
        """The configuration leaves every flow to the kernel."""
        return self.target == (0, ())

    # --- input -------------------------------------------------------------------------------
    def configure(self, config: SwitchConfig) -> None:
        """Another configuration. What was given up is tried anew."""
        self.config = config
        old = self.candidates
        self.candidates = {way: old.get(way, Candidate()) for way in config.bypass}
        for candidate in self.candidates.values():
            if candidate.given_up:
                candidate.given_up, candidate.failures, candidate.not_before = False, 0, 0
        self._note(Kind.CONFIG, "", self._described())

    def look(self, health: Health, now: int) -> None:
        """Health of the way that is open."""
        if self.current is None or self._busy or self._close is not None:
            return
        if health.fit is False:
            trial = self.phase is Phase.TRIAL
            kind = Kind.TRIAL_FAILED if trial else Kind.FALL_BACK
            self._failed(self.current, health.reason, now)
            self._note(kind, self.current, health.reason)
            self._close = health.reason
            return
        if self.phase is Phase.TRIAL:
            self._good = self._good + 1 if health.fit else 0
        elif now - self._since >= self.config.stable * _SECOND:
            self.candidates[self.current].failures = 0

    def opened(self, way: str, splits: bool, now: int) -> None:
        """The way is open; splits: it can leave a share of the flows to the host."""
        self._busy = False
        self.current, self._splits, self._since = way, splits, now
        self.share, self.flows = (0, ()) if splits else (ALL_FLOWS, ())
        self._good = 0
        self.phase = Phase.TRIAL
        self._note(Kind.OPENED, way, "")
        if not splits:
            self._note(Kind.ACTIVE, way, "it takes all flows as soon as it is open")
            self.phase = Phase.ACTIVE

    def refused(self, way: str, reason: str, lasting: bool, now: int) -> None:
        """It could not be opened. lasting: nor will it be as long as nothing is changed."""
        self._busy = False
        self._failed(way, reason, now)
        if way in self.candidates:
            self.candidates[way].given_up = lasting
        self._note(Kind.REFUSED, way, reason)

    def diverted(self, way: str, share: int, flows: tuple[str, ...], now: int) -> None:
        """It takes this share from now on."""
        del way
        self._busy = False
        self.share, self.flows = share, flows
        self._since = now

    def failed(self, reason: str, now: int) -> None:
        """An action on the open way went wrong."""
        self._busy = False
        if self.current is not None:
            self._failed(self.current, reason, now)
            self._note(Kind.FALL_BACK, self.current, reason)
            self._close = reason

    def closed(self, way: str, now: int) -> None:
        """It is closed, and what it held was read."""
        del now
        self._busy = False
        self._note(Kind.CLOSED, way, self._close or "")
        self.current, self._close, self.phase = None, None, Phase.CLOSED
        self.share, self.flows = 0, ()

    # --- output ------------------------------------------------------------------------------
    def step(self, now: int) -> Action | None:
        """What to do now; None: nothing."""
        if self._busy:
            return None
        action = self._next(now)
        self._busy = action is not None
        return action

    def _next(self, now: int) -> Action | None:
        if self.current is not None and self._close is None:
            self._close = self._why_close(now)
        if self.current is not None and self._close is not None:
            return Close(self.current, self._close)
        if self.current is None:
            way = self._best(now)
            return Open(way) if way is not None else None
        if self.phase is Phase.TRIAL:
            candidate = self.candidates[self.current]
            if candidate.failures and self._good < self.config.successes:
                return None
            self.phase = Phase.ACTIVE
            if candidate.failures:
                self._note(Kind.RETURN, self.current, f"{self._good} good looks in a row")
            else:
                self._note(Kind.ACTIVE, self.current, self._described())
            self._since = now
            return Divert(self.current, *self.target)
        if (self.share, self.flows) != self.target:
            self._note(Kind.SHARE, self.current, self._described())
            return Divert(self.current, *self.target)
        return None

    def _why_close(self, now: int) -> str | None:
        current = self.current
        if current not in self.candidates:
            return "it is no longer in the policy"
        if not self._splits and self.config.wanted < ALL_FLOWS:
            # Opened again it would take all of them again.
            self.candidates[current].given_up = True
            self.candidates[current].reason = "it cannot leave a share of the flows to the kernel"
            return self.candidates[current].reason
        if self.idle and not self.config.standby:
            return "its share is 0"
        best = self._best(now)
        order = list(self.candidates)
        if best is not None and order.index(best) < order.index(current):
            return f"{best} is to be tried again"
        return None

    def _best(self, now: int) -> str | None:
        if self.idle and not self.config.standby:
            return None
        for way, candidate in self.candidates.items():
            if not candidate.given_up and now >= candidate.not_before:
                return way
        return None

    def _failed(self, way: str, reason: str, now: int) -> None:
        candidate = self.candidates.get(way)
        if candidate is None:
            return
        candidate.failures += 1
        candidate.reason = reason
        hold = self.config.hold_down * 2.0 ** min(candidate.failures - 1, 32)
        candidate.not_before = now + round(min(hold, self.config.max_hold_down) * _SECOND)

    def _described(self) -> str:
        flows = f" and {', '.join(self.config.flows)}" if self.config.flows else ""
        return f"{self.config.share:g} % of the flows{flows}"

    def _note(self, kind: Kind, way: str, reason: str) -> None:
        self.happened.append(Happened(kind, way, reason))
