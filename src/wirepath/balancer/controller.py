"""What a balancer decides, without I/O: checks, drains, weights and times in, changes out.

Nothing here waits, reads a clock or touches a map. The caller applies the changes in their order:
a table never names a server that is not up, and no server goes down before the table let it go.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..errors import ConfigError
from ..settings import nearest, problem
from .config import MAX_WEIGHT, BalancerConfig, ServerConfig, VipConfig
from .state import Kept, Numbers, Real, RealState, Room, Vip, reals_of, servers_wanted
from .tables import Moved, Table, build, hash_name, moved

#: What the running program, its maps or its announcer were made with.
_FIXED = (
    *("interface", "attach", "pin", "table_size", "algorithm", "connections", "udp_timeout"),
    *("new_flows_per_second", "icmp_errors_per_second", "mtu", "source4", "source6"),
    *("quic_config", "announce", "announce_as", "announce_vtysh"),
)


@dataclass(frozen=True)
class SetReal:
    """Write the record of a server of a service."""

    vip: VipConfig
    server: ServerConfig
    number: int
    generation: int
    state: RealState


@dataclass(frozen=True)
class SetTable:
    """Write a service's table into a half of its pair and take that half."""

    vip: VipConfig
    number: int
    half: int
    table: Table
    moved: Moved


@dataclass(frozen=True)
class RemoveVip:
    """The service is no more."""

    vip: VipConfig
    number: int


@dataclass(frozen=True)
class Announce:
    """Announce the service's address, or withdraw it."""

    vip: VipConfig
    wanted: bool


@dataclass(frozen=True)
class Told:
    """Something that happened, for people."""

    text: str


Change = SetReal | SetTable | RemoveVip | Announce | Told


class Controller:
    """The state of a balancer. Every method that changes it returns what has to be done.

    Times are seconds of any clock that never goes back, given by the caller. ``room``: numbers that
    the data path has room for.

    Raises:
        ConfigError: a service, server or value that does not exist or is out of range.
    """

    def __init__(
        self, config: BalancerConfig, kept: Kept | None = None, room: Room | None = None
    ) -> None:
        kept, room = kept or Kept.nothing(), room or Room()
        self.config = config
        self.vips: dict[str, Vip] = {}
        self._kept = kept
        self._room = room
        self._vip_numbers = Numbers(0, room.vips, (n for n, _ in kept.vips.values()))
        self._real_numbers = Numbers(1, room.reals, (known[0] for known in kept.reals.values()))
        self._generation = kept.generation
        self._records: dict[int, SetReal] = {}
        self._left: list[SetReal] = []  # records that servers had before they got another address
        self._started = False

    # --- what there is -----------------------------------------------------------------------

    def start(self, now: float) -> list[Change]:
        """The first changes; with what was kept, those that lead from there."""
        changes = self._sync(self.config, now)
        for name, (number, _) in self._kept.vips.items():
            if name not in self.vips:
                self._vip_numbers.give_back(number)
        used = {real.number for _, real in reals_of(self.vips)}
        for number, *_ in self._kept.reals.values():
            if number not in used:
                self._real_numbers.give_back(number)
        self._kept = Kept.nothing()
        self._started = True
        return changes

    def reload(self, config: BalancerConfig, now: float) -> list[Change]:
        """Go over to another configuration: services and servers come, change and leave. Servers
        that leave a service are drained first. Where it raises, nothing has changed."""
        changed = [name for name in _FIXED if getattr(config, name) != getattr(self.config, name)]
        if changed:
            name = changed[0]
            must = f"{getattr(self.config, name)!r}, as it is: restart the balancer to change it"
            raise ConfigError(problem(name, getattr(config, name), must))
        self._room.check(self.vips, config)
        self.config = config
        return self._sync(config, now)

    def _sync(self, config: BalancerConfig, now: float) -> list[Change]:
        changes: list[Change] = []
        wanted = servers_wanted(config)
        for name in [n for n in self.vips if n not in wanted]:
            changes += self._remove(self.vips.pop(name))
        for vip_config in config.vip:
            vip = self.vips.get(vip_config.name)
            if vip is None:
                vip = self._new_vip(vip_config)
                self.vips[vip_config.name] = vip
            elif vip.config != vip_config:
                if vip.config.address != vip_config.address and vip.announced:
                    changes.append(Announce(vip.config, False))
                    vip.announced = False
                if _keys(vip.config) != _keys(vip_config):
                    changes.append(RemoveVip(vip.config, vip.number))
                vip.config, vip.weights = vip_config, ()
            names = [s.name for s in wanted[vip_config.name]]
            for server in wanted[vip_config.name]:
                self._update_real(vip, server, now)
            for real in vip.reals.values():
                if real.server.name not in names and not real.leaving:
                    real.leaving = True
                    if real.draining is None:
                        real.draining, real.quiet = now, now
        return changes + self._settle(now)

    def _new_vip(self, config: VipConfig) -> Vip:
        known = self._kept.vips.get(config.name)
        if known is not None:
            return Vip(config, known[0], half=known[1])
        return Vip(config, self._vip_numbers.take())

    def _update_real(self, vip: Vip, server: ServerConfig, now: float) -> None:
        real = vip.reals.get(server.name)
        if real is None:
            known = self._kept.reals.get(f"{vip.config.name}/{server.name}")
            if known is None or known[3] != server.address:  # flows of one that moved end with it
                self._generation += 1
                real = Real(server, self._real_numbers.take(), self._generation, server.weight)
                real.late = self._started
            else:
                real = Real(server, known[0], known[1], server.weight)
                # Its checks will tell; until then it is what it was.
                real.healthy = known[2] != RealState.DOWN or None
                if known[2] == RealState.DRAINING:
                    real.draining, real.quiet = now, now
            vip.reals[server.name] = real
            return
        if real.server.address != server.address:
            # A record of its own: the data path might read half of this and half of that one.
            self._left.append(self._record(vip, real, RealState.DOWN))
            self._generation += 1
            real.number, real.generation = self._real_numbers.take(), self._generation
            real.healthy, real.good, real.bad, real.packets = None, 0, 0, 0
        if real.leaving:
            real.leaving, real.drained, real.draining = False, False, None
        if real.server.weight != server.weight:
            real.weight = server.weight
        real.server = server

    def _remove(self, vip: Vip) -> list[Change]:
        changes: list[Change] = []
        if vip.announced:
            changes.append(Announce(vip.config, False))
        changes.append(RemoveVip(vip.config, vip.number))
        for real in vip.reals.values():
            changes.append(self._record(vip, real, RealState.DOWN))
            self._real_numbers.give_back(real.number)
        self._vip_numbers.give_back(vip.number)
        changes.append(Told(f"{vip.config.name}: removed"))
        return changes

    # --- what happens ------------------------------------------------------------------------

    def checked(
        self, vip: str, server: str, ok: bool, now: float, reason: str = ""
    ) -> list[Change]:
        """A check has ended. reason: why it failed. Unknown names are of checks of before."""
        real = self.vips[vip].reals.get(server) if vip in self.vips else None
        if real is None:
            return []
        config = self.vips[vip].config
        real.good, real.bad = (real.good + 1, 0) if ok else (0, real.bad + 1)
        real.reason = "" if ok else reason
        was = real.healthy
        if ok and not was and (real.good >= config.rise or was is None):
            real.healthy = True
            # At the start of it all nobody has flows yet.
            slow = real.late or was is False
            real.risen = now if slow and self.vips[vip].up() > 1 else None
        elif not ok and was is not False and (real.bad >= config.fall or was is None):
            real.healthy = False
        if real.healthy == was:
            return []
        said = "up" if real.healthy else f"down: {reason or 'its checks fail'}"
        return [*self._settle(now), Told(f"{vip}/{server}: {said}")]

    def drain(self, server: str, now: float, vip: str | None = None) -> list[Change]:
        """New flows go elsewhere, those that are stay until they end or the drain's time is up."""
        for real in self._find(server, vip):
            if real.draining is None:
                real.draining, real.quiet, real.drained = now, now, False
        return self._settle(now)

    def undrain(self, server: str, now: float, vip: str | None = None) -> list[Change]:
        """The end of a drain: the server takes new flows again."""
        for real in self._find(server, vip):
            if real.draining is not None and not real.leaving:
                real.draining, real.drained, real.risen = None, False, now
        return self._settle(now)

    def weigh(self, server: str, weight: int, now: float, vip: str | None = None) -> list[Change]:
        """Another weight; 0 gives it no new flows, and keeps those that it has."""
        if not 0 <= weight <= MAX_WEIGHT:
            must = f"a whole number from 0 to {MAX_WEIGHT}"
            raise ConfigError(problem("weight", weight, must))
        for real in self._find(server, vip):
            real.weight = weight
        return self._settle(now)

    def tick(self, now: float, packets: Mapping[int, int] | None = None) -> list[Change]:
        """Time has passed. packets: of each server's number those it was sent so far, by which
        drains end."""
        changes: list[Change] = []
        for vip, real in list(reals_of(self.vips)):
            if packets is not None and packets.get(real.number, 0) != real.packets:
                real.packets, real.quiet = packets.get(real.number, 0), now
            if real.draining is None or real.drained:
                continue
            idle = packets is not None and now - real.quiet >= self.config.drain_idle
            if idle or now - real.draining >= self.config.drain_seconds:
                real.drained = True
                how = "no packets any more" if idle else "its time was up"
                changes.append(Told(f"{vip.config.name}/{real.server.name}: drained, {how}"))
        changes = self._settle(now) + changes
        for vip, real in list(reals_of(self.vips)):
            if real.leaving and real.drained:
                del vip.reals[real.server.name]
                self._real_numbers.give_back(real.number)
        return changes

    def next_tick(self, now: float) -> float | None:
        """When tick() has something to do, at the latest; None: nothing that time brings."""
        times = [real.next_step(now, self.config.slow_start) for _, real in reals_of(self.vips)]
        times += [
            min(real.draining + self.config.drain_seconds, real.quiet + self.config.drain_idle)
            for _, real in reals_of(self.vips)
            if real.draining is not None and not real.drained
        ]
        return min((t for t in times if t is not None), default=None)

    def kept(self) -> Kept:
        """What the next process has to know to go on with the same data path."""
        return Kept(
            {name: (vip.number, vip.half) for name, vip in self.vips.items()},
            {
                f"{vip.config.name}/{real.server.name}": (
                    real.number,
                    real.generation,
                    int(real.state),
                    real.server.address,
                )
                for vip, real in reals_of(self.vips)
            },
            self._generation,
        )

    # --- what follows ------------------------------------------------------------------------

    def _find(self, server: str, vip: str | None) -> list[Real]:
        if vip is not None and vip not in self.vips:
            must = "the name of a service" + nearest(vip, self.vips)
            raise ConfigError(problem("vip", vip, must))
        vips = self.vips.values() if vip is None else [self.vips[vip]]
        found = [v.reals[server] for v in vips if server in v.reals]
        if not found:
            names = {name for v in vips for name in v.reals}
            must = "the name of a server" + nearest(server, names)
            raise ConfigError(problem("server", server, must))
        return found

    def _record(self, vip: Vip, real: Real, state: RealState) -> SetReal:
        return SetReal(vip.config, real.server, real.number, real.generation, state)

    def _settle(self, now: float) -> list[Change]:
        """Tables and records as they follow from the state; only what has changed."""
        rising: list[Change] = []
        tables: list[Change] = []
        falling: list[Change] = []
        announcements: list[Change] = []
        for vip in self.vips.values():
            for real in vip.reals.values():
                record = self._record(vip, real, real.state)
                if self._is_new(record):
                    (rising if record.state is RealState.UP else falling).append(record)
            tables += self._table(vip, now)
            wanted = vip.up() >= vip.config.min_servers
            if wanted != vip.announced:
                vip.announced = wanted
                announcements.append(Announce(vip.config, wanted))
        falling += [record for record in self._left if self._is_new(record)]
        for record in self._left:
            self._real_numbers.give_back(record.number)
        self._left.clear()
        return rising + tables + falling + announcements

    def _is_new(self, record: SetReal) -> bool:
        """The record is not the one that was written last; it will be."""
        last = self._records.get(record.number)
        self._records[record.number] = record
        return last != record

    def _table(self, vip: Vip, now: float) -> list[Change]:
        reals = list(vip.reals.values())
        algorithm = self.config.algorithm
        names = [hash_name(algorithm, vip.config, real.server) for real in reals]
        weights = [real.table_weight(now, self.config.slow_start) for real in reals]
        key = tuple(sorted(zip(names, weights, strict=True)))
        if vip.table is not None and key == vip.weights:
            return []
        table = build(
            names, weights, [real.number for real in reals], self.config.table_size, algorithm
        )
        share = moved(vip.table, table)
        vip.half ^= 1
        vip.table, vip.weights = table, key
        return [SetTable(vip.config, vip.number, vip.half, table, share)]


def _keys(config: VipConfig) -> tuple[str, str, int]:
    return config.address, config.protocol, config.port
