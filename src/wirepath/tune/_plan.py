# SPDX-License-Identifier: Apache-2.0
"""From a profile to a plan: every setting with what it is, what it shall be and why."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ..errors import ConfigError
from ..settings import nearest
from ._knobs import (
    Gone,
    Kind,
    Knob,
    Unreadable,
    canonical,
    cpu_list,
    cpus_of,
    mask,
)
from ._links import Identity
from ._machine import Machine, this_machine
from ._profile import Profile, load
from ._reasons import reason

State = Literal["change", "same", "impossible"]


@dataclass(frozen=True, slots=True)
class Setting:
    """One line of a plan.

    ``state`` is ``change``, ``same`` (it has the value already) or ``impossible``; then
    ``obstacle`` says why. ``current`` is None where there is no such knob now; a knob of a queue
    that the plan's own ``channels`` bring is ``change`` all the same. Values are texts in the
    kernel's spelling: masks of cores in hexadecimal, features ``on`` or ``off``.
    """

    kind: Kind
    name: str
    interface: str
    current: str | None
    wanted: str
    why: str
    state: State
    obstacle: str | None = None

    @property
    def knob(self) -> Knob:
        """What is set."""
        return Knob(self.kind, self.name, self.interface)


@dataclass(frozen=True, slots=True)
class Plan:
    """What :func:`wirepath.tune.apply` would do, in its order.

    ``interface`` is None where only the machine is tuned. ``namespace`` and ``boot`` are where and
    when the plan was made; it is refused anywhere else.
    """

    profile: str
    description: str
    interface: Identity | None
    carries_default_route: bool
    driver: str
    cores: str
    namespace: str
    first_namespace: bool
    boot: str
    settings: tuple[Setting, ...]
    notes: tuple[str, ...] = ()

    @property
    def changes(self) -> tuple[Setting, ...]:
        """The settings that have another value now."""
        return tuple(each for each in self.settings if each.state == "change")


def plan(
    profile: str | Path | Profile = "latency",
    interface: str | None = None,
    *,
    machine: Machine | None = None,
) -> Plan:
    """Work out what a profile means here. Nothing is changed, and no privilege is needed; what
    cannot be read without one is ``impossible`` with that reason.

    Args:
        profile: ``latency``, ``throughput``, ``kafka``, a TOML file with a table ``[tune]``, or a
            :class:`Profile`.
        interface: the NIC to tune with the machine; None: the machine alone.
        machine: another one than this, for tests.

    Raises:
        ConfigError: the profile is not usable, or there is no such interface.
    """
    name, wanted = load(profile)
    with this_machine() if machine is None else nullcontext(machine) as here:
        return _Planner(here, name, wanted, interface).plan()


class _Planner:
    def __init__(self, machine: Machine, name: str, profile: Profile, nic: str | None) -> None:
        self.machine = machine
        self.name = name
        self.profile = profile
        self.identity = None if nic is None else self._identity(nic)
        self.nic = nic or ""
        self.notes: list[str] = []
        self.cores = self._cores()
        self.new_queues: dict[str, int] = {}

    def _identity(self, nic: str) -> Identity:
        found = self.machine.interface(nic)
        if found is None:
            have = [each.name for each in self.machine.links.interfaces()]
            raise ConfigError(
                f'there is no network interface "{nic}"{nearest(nic, have)} '
                f"(the interfaces here are: {', '.join(sorted(have))})"
            )
        return found

    def _cores(self) -> list[int]:
        if self.profile.cores is not None:
            online = self.machine.facts.cores
            asked = cpus_of(self.profile.cores)
            absent = sorted(set(asked) - set(online))
            if absent and online:
                raise ConfigError(
                    f'cores = "{self.profile.cores}" is not usable: it must be cores that are '
                    f"online here, which are {cpu_list(online)}"
                )
            return asked
        if isolated := self.machine.facts.isolated:
            self.notes.append(
                f"cores {cpu_list(isolated)} are isolated and left to the programs that they are "
                "for; cores in the profile says otherwise"
            )
        if not self.nic:
            return self.machine.cpus()
        return self.machine.cpus(self.machine.node(self.nic))

    def plan(self) -> Plan:
        settings = list(self._settings())
        carries = bool(self.nic) and self.machine.carries_default_route(self.nic)
        if carries:
            self.notes.append(
                f"{self.nic} carries the default route: --apply wants --yes-this-one as well"
            )
        if not self.machine.first_namespace:
            self.notes.append(
                "this is not the machine's own network namespace: what belongs to the whole "
                "machine is left alone"
            )
        return Plan(
            profile=self.name,
            description=self.profile.description,
            interface=self.identity,
            carries_default_route=carries,
            driver=self.machine.driver(self.nic) if self.nic else "",
            cores=cpu_list(self.cores),
            namespace=self.machine.namespace,
            first_namespace=self.machine.first_namespace,
            boot=self.machine.boot,
            settings=tuple(settings),
            notes=tuple(self.notes),
        )

    def _settings(self) -> Iterator[Setting]:
        # In the order of applying: what brings queues and interrupts comes before their masks,
        # and who would move interrupts is stopped before they are placed.
        if self.profile.irqbalance == "stop":
            yield from self._irqbalance()
        if self.nic:
            yield from self._channels()
            yield from self._rings()
            yield from self._features()
            yield from self._coalescing()
            yield from self._napi()
            yield from self._masks("tx", "xps_cpus", self.profile.xps)
            yield from self._masks("rx", "rps_cpus", self.profile.rps)
            if self.profile.irq_affinity == "spread":
                yield from self._interrupts()
        yield from self._memory_and_clock()
        yield from self._sysctls()

    def _setting(self, kind: Kind, name: str, wanted: str, *, at_least: bool = False) -> Setting:
        own = kind not in ("sysctl", "sysfs", "service")
        knob = Knob(kind, name, self.nic if own else "")
        wanted = canonical(knob, wanted)
        current, obstacle = self._current(knob)
        if at_least and current is not None and current.isdigit():
            wanted = str(max(int(current), int(wanted)))
        state: State = "same" if current == wanted else "change"
        if state == "change" and obstacle is None:
            obstacle = self._obstacle(knob, wanted)
        if obstacle is not None:
            state = "impossible"
        return Setting(
            kind, name, knob.interface, current, wanted, reason(knob, wanted), state, obstacle
        )

    def _current(self, knob: Knob) -> tuple[str | None, str | None]:
        try:
            return self.machine.read(knob), None
        except Gone as gone:
            return None, None if self._will_appear(knob) else str(gone)
        except Unreadable as error:
            return None, str(error)

    def _will_appear(self, knob: Knob) -> bool:
        queue = knob.name.split("/")[1] if knob.name.startswith("queues/") else ""
        direction, _, number = queue.partition("-")
        if not number or int(number) in self.machine.queues(self.nic, direction):
            return False
        return int(number) < self.new_queues.get(direction, 0)

    def _obstacle(self, knob: Knob, wanted: str) -> str | None:
        machine_wide = knob.kind in ("sysfs", "service") or (
            knob.kind == "sysctl" and not knob.name.startswith(("net.", "net/"))
        )
        if machine_wide and not self.machine.first_namespace:
            return "it is the whole machine's, and this is a network namespace on it"
        if knob.kind == "feature" and self.machine.links.fixed(knob):
            return f"the driver of {self.nic} has it fixed"
        if self._will_appear(knob):
            return None
        if (reason := self.machine.unwritable(knob)) is not None:
            return reason
        if knob.kind == "sysfs" and knob.name.endswith("scaling_governor"):
            return self._governor_obstacle(knob, wanted)
        return None

    def _governor_obstacle(self, knob: Knob, wanted: str) -> str | None:
        place = Knob("sysfs", knob.name.replace("scaling_gov", "scaling_available_gov") + "s")
        try:
            known = self.machine.path(place).read_text().split()
        except OSError:
            return None
        if wanted in known:
            return None
        return f"the driver of this core's clock has only {', '.join(known)}"

    def _irqbalance(self) -> Iterator[Setting]:
        knob = Knob("service", "irqbalance")
        if self.machine.read(knob) == "running":
            yield self._setting("service", "irqbalance", "stopped")

    def _channels(self) -> Iterator[Setting]:
        asked = self.profile.channels
        if asked is None:
            return
        count = len(self.cores) if asked == "cores" else int(asked)
        names: tuple[str, ...] = ("combined",)
        limits = {name: self._limit("channels", name) for name in ("combined", "rx", "tx")}
        if limits["combined"] is None and limits["rx"] is not None:
            names = ("rx", "tx")
        for name in names:
            most = limits[name]
            wanted = min(count, most) if most is not None else count
            if most is not None and wanted < count and asked != "cores":
                self.notes.append(
                    f"channels = {count} is more than {self.nic} has: {name} {most} it is"
                )
            setting = self._setting("channels", name, str(wanted))
            if setting.state != "impossible":
                for direction in ("rx", "tx") if name == "combined" else (name,):
                    self.new_queues[direction] = wanted
            yield setting

    def _limit(self, kind: Kind, name: str) -> int | None:
        try:
            return self.machine.links.limit(Knob(kind, name, self.nic))
        except Unreadable:
            return None

    def _rings(self) -> Iterator[Setting]:
        for name, asked in (("rx", self.profile.rx_ring), ("tx", self.profile.tx_ring)):
            if asked is None:
                continue
            most = self._limit("ring", name)
            if asked == "max":
                wanted = most or 0
            else:
                wanted = min(int(asked), most) if most is not None else int(asked)
            if asked == "max" and most is None:
                yield self._without_limit(name)
                continue
            yield self._setting("ring", name, str(wanted))

    def _without_limit(self, name: str) -> Setting:
        knob = Knob("ring", name, self.nic)
        obstacle = self._current(knob)[1] or "the driver does not say how large it may be"
        why = reason(knob, "max")
        return Setting("ring", name, self.nic, None, "max", why, "impossible", obstacle)

    def _features(self) -> Iterator[Setting]:
        for name, on in self.profile.wanted("features").items():
            yield self._setting("feature", name, "on" if on else "off")

    def _coalescing(self) -> Iterator[Setting]:
        for name, value in self.profile.wanted("coalescing").items():
            text = ("on" if value else "off") if isinstance(value, bool) else str(value)
            yield self._setting("coalesce", name, text)

    def _napi(self) -> Iterator[Setting]:
        for name, value in (
            ("gro_flush_timeout", self.profile.gro_flush_timeout_ns),
            ("napi_defer_hard_irqs", self.profile.napi_defer_hard_irqs),
        ):
            if value is not None:
                yield self._setting("netdev", name, str(value))

    def _masks(self, direction: str, file: str, asked: str | None) -> Iterator[Setting]:
        if asked is None:
            return
        count = self.new_queues.get(direction) or len(self.machine.queues(self.nic, direction))
        for number in range(count):
            cpus: list[int] = []
            if asked == "spread" and self.cores:
                # A queue may have several cores, but every core has a queue.
                cpus = [c for i, c in enumerate(self.cores) if i % count == number % count]
                cpus = cpus or [self.cores[number % len(self.cores)]]
            elif asked == "cores":
                cpus = self.cores
            yield self._setting("netdev", f"queues/{direction}-{number}/{file}", mask(cpus))

    def _interrupts(self) -> Iterator[Setting]:
        labels = self.machine.interrupts(self.nic)
        if not labels or not self.cores:
            self.notes.append(
                f"{self.nic} has no interrupts of its own to place"
                + (f" (driver {driver})" if (driver := self.machine.driver(self.nic)) else "")
            )
            return
        for order, label in enumerate(labels):
            digits = label[len(label.rstrip("0123456789")) :]
            queue = int(digits) if digits and not label.isdigit() else order
            core = self.cores[queue % len(self.cores)]
            yield self._setting("irq", label, str(core))
        if any(
            each.kind == "channels" and each.state == "change" for each in self._channels_again()
        ):
            self.notes.append(
                "the interrupts of queues that the channels bring are not there yet: "
                "run wirepath tune --apply once more to place them"
            )

    def _channels_again(self) -> list[Setting]:
        notes = list(self.notes)
        found = list(self._channels())
        self.notes = notes
        return found

    def _memory_and_clock(self) -> Iterator[Setting]:
        pages: list[tuple[str, Any, bool]] = [
            ("kernel/mm/transparent_hugepage/enabled", self.profile.transparent_hugepages, False),
            ("kernel/mm/hugepages/hugepages-2048kB/nr_hugepages", self.profile.hugepages_2m, True),
            (
                "kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages",
                self.profile.hugepages_1g,
                True,
            ),
        ]
        for name, value, at_least in pages:
            if value is not None:
                yield self._setting("sysfs", name, str(value), at_least=at_least)
        governor = self.profile.governor
        if governor is None:
            return
        place = "devices/system/cpu/cpu{}/cpufreq/scaling_governor"
        # Without a choice all of them: the isolated ones, of programs that poll, need it most.
        cores = self.machine.facts.cores if self.profile.cores is None else self.cores
        found = [self._setting("sysfs", place.format(core), governor) for core in cores]
        if found and all(each.current is None for each in found):
            # One line says it for all.
            knob = Knob("sysfs", place.format("*"))
            why, obstacle = reason(knob, governor), found[0].obstacle
            found = [Setting("sysfs", knob.name, "", None, governor, why, "impossible", obstacle)]
        yield from found

    def _sysctls(self) -> Iterator[Setting]:
        for name, value in self.profile.wanted("sysctls").items():
            yield self._setting("sysctl", name, str(value))
        for name, value in self.profile.wanted("sysctls_at_least").items():
            yield self._setting("sysctl", name, str(value), at_least=True)
