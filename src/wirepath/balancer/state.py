"""The services and servers of a balancer as they are now: numbers, health, drains, weights."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from ..errors import ConfigError
from ..settings import problem
from .config import MAX_REALS, BalancerConfig, ServerConfig, VipConfig
from .tables import SCALE, Table

#: Steps in which a slow start raises a weight, each with a table of its own.
RAMP_STEPS = 10


class RealState(IntEnum):
    """What the data path does with a server's flows; the numbers are maglev_shared.h's."""

    DOWN = 0  # none
    UP = 1  # all
    DRAINING = 2  # those that it has


@dataclass
class Real:
    """A server of a service: what the data path has a record and counters for.

    Attributes:
        number: of its record, from 1.
        generation: tells its flows from those of who had the number before.
        healthy: by its checks; None: they have not decided yet.
        good, bad: checks in a row.
        draining: since when, seconds; None: it is not.
        drained: the drain is over.
        leaving: it goes once it is drained.
        late: it came when others were serving already.
        risen: when it came up while others served, for the slow start.
        packets, quiet: packets so far, and since when they have not grown.
    """

    server: ServerConfig
    number: int
    generation: int
    weight: int
    healthy: bool | None = None
    good: int = 0
    bad: int = 0
    reason: str = ""
    draining: float | None = None
    drained: bool = False
    leaving: bool = False
    late: bool = False
    risen: float | None = None
    packets: int = 0
    quiet: float = 0.0

    @property
    def state(self) -> RealState:
        if self.healthy is not True or self.drained:
            return RealState.DOWN
        return RealState.UP if self.draining is None else RealState.DRAINING

    def table_weight(self, now: float, slow_start: float) -> int:
        """Its weight in the table: nothing unless it is up, less while it starts."""
        if self.state is not RealState.UP:
            return 0
        full = self.weight * SCALE
        if self.risen is None or slow_start <= 0 or now - self.risen >= slow_start:
            return full
        step = 1 + int((now - self.risen) / slow_start * RAMP_STEPS)
        return max(1, full * min(step, RAMP_STEPS) // RAMP_STEPS)

    def next_step(self, now: float, slow_start: float) -> float | None:
        """When its weight changes next by itself."""
        if self.risen is None or slow_start <= 0 or now - self.risen >= slow_start:
            return None
        step = 1 + int((now - self.risen) / slow_start * RAMP_STEPS)
        if step >= RAMP_STEPS:
            return None
        # A hair later, so that the division above has arrived at the step.
        return self.risen + slow_start * step / RAMP_STEPS + 1e-6


@dataclass
class Vip:
    """A service and its servers.

    Attributes:
        number: of its counters and its pair of tables.
        half: which of the pair is in use.
    """

    config: VipConfig
    number: int
    reals: dict[str, Real] = field(default_factory=dict)
    table: Table | None = None
    weights: tuple[tuple[str, int], ...] = ()
    half: int = 0
    announced: bool = False

    def up(self) -> int:
        """Servers that take new flows."""
        return sum(r.state is RealState.UP and r.weight > 0 for r in self.reals.values())


@dataclass(frozen=True)
class Kept:
    """Numbers that the data path of an earlier process has given, to be kept by the next."""

    vips: Mapping[str, tuple[int, int]]  # number, half
    # "vip/server": number, generation, state, address
    reals: Mapping[str, tuple[int, int, int, str]]
    generation: int

    @classmethod
    def nothing(cls) -> Kept:
        return cls({}, {}, 0)

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Kept:
        """From plain JSON, as :meth:`plain` gives it."""
        return cls(
            {name: (int(n), int(half)) for name, (n, half) in values["vips"].items()},
            {
                name: (int(n), int(g), int(s), str(address))
                for name, (n, g, s, address) in values["reals"].items()
            },
            int(values["generation"]),
        )

    def plain(self) -> dict[str, Any]:
        return {
            "vips": {name: list(v) for name, v in self.vips.items()},
            "reals": {name: list(v) for name, v in self.reals.items()},
            "generation": self.generation,
        }


@dataclass(frozen=True)
class Room:
    """How many numbers the maps of the data path have room for."""

    vips: int = 1 << 20
    reals: int = MAX_REALS

    def check(self, vips: Mapping[str, Vip], config: BalancerConfig) -> None:
        """Raises ConfigError: `config` needs more, beside the servers that still drain."""
        if len(config.vip) > self.vips:
            must = f"at most {self.vips} without a restart"
            raise ConfigError(problem("vip", len(config.vip), must))
        wanted = servers_wanted(config)
        needed = new = 0
        for name, servers in wanted.items():
            have = vips[name].reals if name in vips else {}
            # A server with another address has both records for a moment.
            fresh = [s for s in servers if s.name not in have or _moved(have[s.name], s)]
            needed, new = needed + len(have) + len(fresh), new + len(fresh)
        if needed > self.reals:
            raise ConfigError(
                f"{new} servers of services are new, beside {needed - new} that there are or that "
                f"still drain: the running program has room for {self.reals} (reload again when "
                "drains are over, or restart the balancer)"
            )


def _moved(real: Real, server: ServerConfig) -> bool:
    return real.server.address != server.address


class Numbers:
    """Gives numbers from `first` on, the lowest that is free; `room` of them."""

    def __init__(self, first: int, room: int, taken: Iterable[int] = ()) -> None:
        self._range = range(first, first + room)
        self._taken = set(taken)

    def take(self) -> int:
        """Raises ConfigError: all are taken."""
        number = next((n for n in self._range if n not in self._taken), None)
        if number is None:
            raise ConfigError(
                f"all {len(self._range)} records of services or servers are taken, by those of the "
                "process before (wirepath lb unpin takes them away)"
            )
        self._taken.add(number)
        return number

    def give_back(self, number: int) -> None:
        self._taken.discard(number)


def reals_of(vips: Mapping[str, Vip]) -> Iterator[tuple[Vip, Real]]:
    """All pairs of a service and one of its servers."""
    for vip in vips.values():
        for real in vip.reals.values():
            yield vip, real


def servers_wanted(config: BalancerConfig) -> dict[str, list[ServerConfig]]:
    """Of each service's name its servers."""
    return {vip.name: config.servers_of(vip) for vip in config.vip}
