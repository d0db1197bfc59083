"""A filter in force: in the driver of interfaces, as stages of workers, or both, under one set of
rules that is changed all at once or not at all."""

from __future__ import annotations

import contextlib
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self, cast

from .. import programs
from ..errors import ConfigError, DeviceBusy, WirepathError
from ..programs import Chain, NativeProgram, Program, ProgramStage
from ..programs.chain import SLOTS
from ..settings import problem
from . import cookies, guard
from .compile import Tables, compile_filter
from .engine import Address, Engine, Sample
from .rules import FilterConfig

_WORKERS = 64  # stages that may share one set of tables
_SLOT = "filter"


class Refused(WirepathError):
    """The filter would cut a session into this host; the message names session and rule."""


class Filter:
    """Rules, compiled, wherever they are to be enforced.

    config: the rules, or the TOML file that they stand in (table ``[filter]``). folder: where
    files of sets are looked for; without it, beside that file, or here.

    Raises :class:`~wirepath.errors.ConfigError`.
    """

    def __init__(
        self,
        config: FilterConfig | str | Path,
        *,
        folder: str | Path | None = None,
    ) -> None:
        self.config, self.tables = self._compiled(config, folder)
        self._native: Engine | None = None
        self._stages: list[ProgramStage] = []
        self._drivers: dict[str, _Driver] = {}

    @classmethod
    def adopt(cls, interface: str) -> Self:
        """The filter that is in force on an interface, whoever put it there: to be looked at,
        reloaded, and for blocks. Raises ConfigError where there is none."""
        chain = _chain_of(interface)
        engine, toml = Engine.adopted(chain.program(_SLOT))
        values = tomllib.loads(toml)[FilterConfig.table]
        self = cls.__new__(cls)
        self.config, self.tables = FilterConfig(**values), engine.tables
        self._native, self._stages = None, []
        self._drivers = {interface: _Driver(chain, engine, stays=True)}
        return self

    def _compiled(
        self, config: FilterConfig | str | Path, folder: str | Path | None
    ) -> tuple[FilterConfig, Tables]:
        if not isinstance(config, FilterConfig):
            folder = Path(config).parent if folder is None else folder
            config = FilterConfig.from_toml(config)
        return config, compile_filter(config, folder=folder or ".")

    # --- where it is in force ---

    def stage(self, name: str = "filter") -> ProgramStage:
        """A stage for a worker, in front of those that are to see only what passes. Any number,
        up to 64, share one set of tables, counts and limits. Raises ConfigError where a rule is
        for the driver only (action syncookie)."""
        cookies.refuse_native(self.tables)
        if self._native is None:
            self._native = Engine.native(self.tables, workers=_WORKERS)
        program = cast(NativeProgram, self._native.program)
        stage = program.stage(name)
        self._stages.append(stage)
        return stage

    def attach(
        self, interface: str, mode: str = "auto", *, pin: bool = False, force: bool = False
    ) -> str:
        """Into the driver of an interface, in the filter's slot of the chain there. Returns the
        mode, as read back: native or generic.

        pin: it stays when this process has ended, until :meth:`detach` or ``wirepath filter stop``.
        force: also where it cuts a session into this host, or another process's filter is there.

        Raises :class:`Refused` for a session that it would cut, :class:`DeviceBusy` where a filter
        is in force, pinned or of a running process, and what :class:`wirepath.programs.Chain`
        raises.
        """
        if interface in self._drivers:
            raise ConfigError(problem("interface", interface, "one that it is not on already"))
        if not force:
            refuse_to_cut(self.tables, interface)
        chain = Chain(interface, mode)
        try:
            if not force and any(each.slot == _SLOT for each in chain.slots()):
                raise DeviceBusy(
                    f"a filter is in force on {interface} already (wirepath filter reload "
                    f"{interface} changes its rules, wirepath filter stop {interface} ends it, "
                    "--force takes its place)"
                )
            engine = Engine.in_chain(chain, self.tables)
            chain.put(cast(Program, engine.program), stays=pin, force=force)
            if pin:
                chain.pin()
        except BaseException:
            chain.close()
            raise
        self._drivers[interface] = _Driver(chain, engine, stays=pin)
        return chain.mode

    def detach(self, interface: str) -> None:
        """Off an interface, pins included."""
        driver = self._drivers.pop(interface, None)
        if driver is None:
            raise ConfigError(problem("interface", interface, "one that the filter is on"))
        driver.chain.remove(_SLOT, force=True)
        if driver.chain.pinned and not driver.chain.slots():
            driver.chain.unpin()
        driver.chain.close()

    def refresh(self) -> None:
        """Takes notice of what another process put in its place (``wirepath filter reload``)."""
        for driver in self._drivers.values():
            program = next((s.program_id for s in driver.chain.slots() if s.slot == _SLOT), None)
            if program is not None and program != cast(Program, driver.engine.program).id:
                driver.engine, toml = Engine.adopted(
                    programs.adopt(program, name="filter", slot=SLOTS[_SLOT])
                )
                self.tables = driver.engine.tables
                self.config = FilterConfig(**tomllib.loads(toml)[FilterConfig.table])

    def engines(self) -> list[Engine]:
        """Every place where it is in force."""
        native = [self._native] if self._native is not None else []
        return native + [driver.engine for driver in self._drivers.values()]

    # --- changes ---

    def reload(
        self,
        config: FilterConfig | str | Path,
        *,
        folder: str | Path | None = None,
        force: bool = False,
    ) -> None:
        """Other rules, in each place between two packets; blocks stay. Counts begin anew, and so
        do the buckets of limits.

        Raises as the constructor and :meth:`attach` do: then nothing has changed.
        """
        new_config, tables = self._compiled(config, folder)
        if not force:
            for interface in self._drivers:
                refuse_to_cut(tables, interface)
        native = None
        if self._native is not None:
            cookies.refuse_native(tables)
            native = Engine.native(tables, workers=_WORKERS)
            native.adopt_blocks(self._native)
        loaded = {}
        for interface, driver in self._drivers.items():
            loaded[interface] = Engine.in_chain(driver.chain, tables)
            loaded[interface].adopt_blocks(driver.engine)
        # From here on nothing is left that could be refused but by a stage whose worker is busy or
        # a chain that is gone: then what was there goes back, or the places would differ.
        back: list[Callable[[], None]] = []
        try:
            if native is not None:
                for stage in self._stages:
                    old = stage.program
                    stage.replace(cast(NativeProgram, native.program))
                    back.append(partial(stage.replace, old))
            for interface, engine in loaded.items():
                driver = self._drivers[interface]
                driver.put(engine)
                back.append(partial(driver.put, driver.engine))
        except BaseException:
            for restore in reversed(back):
                with contextlib.suppress(WirepathError):
                    restore()
            raise
        for interface, engine in loaded.items():
            self._drivers[interface].engine = engine
        self._native = native
        self.config, self.tables = new_config, tables

    def watch(self, every: int) -> None:
        """In the driver: copy one in `every` packets to :meth:`samples`, whatever rule they fit;
        0 ends that. Tables and counts stay."""
        for driver in self._drivers.values():
            engine = driver.engine.watching(driver.chain, every)
            driver.put(engine)
            driver.engine = engine

    def block(self, address: str | Address, seconds: float) -> None:
        """Drop everything from an address for a time. Raises ConfigError: no address, no room."""
        if not 0 < seconds <= 10**9:
            raise ConfigError(f"seconds = {seconds} is not usable: it must be above 0, at most 1e9")
        for engine in self._in_force():
            engine.block(address, engine.clock() + int(seconds * 1e9))

    def unblock(self, address: str | Address) -> bool:
        """Whether it was blocked."""
        was = [engine.unblock(address) for engine in self._in_force()]  # in each of them
        return any(was)

    def blocks(self) -> dict[Address, float]:
        """Blocked addresses and the seconds that are left."""
        out: dict[Address, float] = {}
        for engine in self._in_force():
            now = engine.clock()
            left = {a: (until - now) / 1e9 for a, (until, _) in engine.blocks().items()}
            out |= {a: seconds for a, seconds in left.items() if seconds > 0}
        return out

    # --- what it did ---

    def counts(self) -> dict[str, dict[str, int]]:
        """Packets and bytes that each rule fitted, and those of them that were dropped (in a dry
        run: that would have been), over all places where it is in force."""
        each = [engine.counts() for engine in self.engines()]
        # Another process may have put other rules into one of the places.
        names = dict.fromkeys([*self.tables.names, *(name for counts in each for name in counts)])
        fields = ("packets", "bytes", "dropped_packets", "dropped_bytes")
        return {n: {f: sum(c[n][f] for c in each if n in c) for f in fields} for n in names}

    def counters(self) -> dict[str, int]:
        """``packets``, ``passed``, and ``drop.…`` by reason."""
        out: dict[str, int] = {}
        for engine in self._in_force():
            for name, value in engine.counters().items():
                out[name] = out.get(name, 0) + value
        return out

    def samples(self, most: int = 1024) -> Iterator[Sample]:
        """Packets copied out since the last call, from each place at most so many."""
        for engine in self.engines():
            yield from engine.samples(most)

    def close(self) -> None:
        """Off every interface, unless pinned there; its stages stay as they are."""
        for driver in self._drivers.values():
            driver.chain.close(keep=driver.stays)
        self._drivers.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _in_force(self) -> list[Engine]:
        found = self.engines()
        if not found:
            raise WirepathError("the filter is nowhere in force: attach() it, or use its stage()")
        return found


@dataclass
class _Driver:
    """The filter on one interface. stays: it outlives this process."""

    chain: Chain
    engine: Engine
    stays: bool

    def put(self, engine: Engine) -> None:
        """Another one into the slot; what is taken for being there is :attr:`engine` still."""
        self.chain.put(cast(Program, engine.program), stays=self.stays, force=True)


def _chain_of(interface: str) -> Chain:
    """The chain that is there; raises ConfigError where there is no filter in one."""
    if any(each.wirepath for each in programs.attached(interface)):
        chain = Chain(interface)
        if any(slot.slot == _SLOT for slot in chain.slots()):
            return chain
        chain.close(keep=True)
    must = "one with a filter (wirepath filter run puts one there)"
    raise ConfigError(problem("interface", interface, must))


def refuse_to_cut(tables: Tables, interface: str) -> None:
    """Raises :class:`Refused` where a filter would drop what a session into this host sends."""
    found = guard.sessions(interface)
    if not found or "dry_run" in tables.features:
        return
    judge = Engine.native(tables)
    for session in found:
        for frame in session.frames():
            before = judge.counts()
            verdict = cast(NativeProgram, judge.program).run(frame, time=judge.clock()).verdict
            after = judge.counts()
            if verdict != "drop":
                continue
            rule = next(n for n in after if after[n] != before[n])
            raise Refused(
                f"{rule} would cut the session from {session} (put a rule in front: "
                f'"pass source={session.client} protocol=tcp '
                f'destination_port={session.server_port}"; or --force)'
            )
