"""A filter in force: in the driver of interfaces, as stages of workers, or both, under one set of
rules that is changed all at once or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from ..errors import ConfigError, WirepathError
from ..programs import ProgramStage
from . import guard
from .compile import Tables, compile_filter
from .engine import Address, Engine, Sample
from .rules import FilterConfig

_WORKERS = 8


class Refused(WirepathError):
    """The filter would cut a session into this host; the message names session and rule."""


class Filter:
    """Rules, compiled, wherever they are to be enforced.

    config: the rules, or the TOML file that they stand in (table ``[filter]``). folder: where
    files of sets are looked for; without it, beside that file, or here. watch_every: copy one in
    so many packets to :meth:`samples`, whatever rule they fit; 0 for none.

    Raises :class:`~wirepath.errors.ConfigError`.
    """

    def __init__(
        self,
        config: FilterConfig | str | Path,
        *,
        folder: str | Path | None = None,
        watch_every: int = 0,
    ) -> None:
        self._folder = folder
        self._watch_every = watch_every
        self.config, self.tables = self._compiled(config)
        self._native: Engine | None = None
        self._stages: list[ProgramStage] = []
        self._workers = _WORKERS

    def _compiled(self, config: FilterConfig | str | Path) -> tuple[FilterConfig, Tables]:
        folder = Path(self._folder or ".")
        if not isinstance(config, FilterConfig):
            if self._folder is None:
                folder = Path(config).parent
            config = FilterConfig.from_toml(config)
        tables = compile_filter(config, folder=folder, watch_every=self._watch_every)
        return config, tables

    # --- where it is in force ---

    def stage(self, name: str = "filter") -> ProgramStage:
        """A stage for a worker, in front of those that are to see only what passes. Any number,
        up to 64, share one set of tables, counts and limits."""
        if self._native is None:
            self._native = Engine.native(self.tables, workers=self._workers)
        stage = self._native.program.stage(name)
        self._stages.append(stage)
        return stage

    def engines(self) -> list[Engine]:
        """Every place where it is in force."""
        return [self._native] if self._native is not None else []

    # --- changes ---

    def reload(self, config: FilterConfig | str | Path) -> None:
        """Other rules, everywhere at once; blocks stay. Counts begin anew, and so do the buckets
        of limits. Raises as the constructor does: then nothing has changed."""
        new_config, tables = self._compiled(config)
        native = None
        if self._native is not None:
            native = Engine.native(tables, workers=self._workers)
            native.adopt_blocks(self._native)
        if native is not None:
            for stage in self._stages:
                stage.replace(native.program)
        self.config, self.tables, self._native = new_config, tables, native or self._native

    def block(self, address: str | Address, seconds: float) -> None:
        """Drop everything from an address for a time. Raises ConfigError: no address, no room."""
        if not 0 < seconds <= 10**9:
            raise ConfigError(f"seconds = {seconds} is not usable: it must be above 0, at most 1e9")
        for engine in self._in_force():
            engine.block(address, engine.clock() + int(seconds * 1e9))

    def unblock(self, address: str | Address) -> bool:
        """Whether it was blocked."""
        return any([engine.unblock(address) for engine in self._in_force()])

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
        names = self.tables.names
        each = [engine.counts() for engine in self.engines()]
        fields = ("packets", "bytes", "dropped_packets", "dropped_bytes")
        return {n: {f: sum(c[n][f] for c in each) for f in fields} for n in names}

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

    def _in_force(self) -> list[Engine]:
        found = self.engines()
        if not found:
            raise WirepathError("the filter is nowhere in force: attach() it, or use its stage()")
        return found


def refuse_to_cut(tables: Tables, interface: str) -> None:
    """Raises :class:`Refused` where a filter would drop what a session into this host sends."""
    found = guard.sessions(interface)
    if not found or "dry_run" in tables.features:
        return
    judge = Engine.native(tables)
    for session in found:
        for frame in session.frames():
            before = judge.counts()
            verdict = judge.program.run(frame, time=judge.clock()).verdict
            after = judge.counts()
            if verdict != "drop":
                continue
            rule = next(n for n in after if after[n] != before[n])
            raise Refused(
                f"{rule} would cut the session from {session} (put a rule in front: "
                f'"pass source={session.client} protocol=tcp '
                f'destination_port={session.server_port}"; or --force)'
            )
