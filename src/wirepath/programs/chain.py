"""Chains: several programs on one interface, in the slots behind a root program."""

from __future__ import annotations

import os
import weakref
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ..errors import ConfigError, DeviceBusy, Unsupported
from ..settings import problem
from . import dispatcher, kernel, pins
from .attach import adopt, attached, link_to
from .program import Program, load
from .source import Source

# Slots in the order in which they are run (enum wp_chain_slot of program.h).
SLOTS = {
    "tap": 0,
    "pre": 1,
    "filter": 2,
    "user": 3,
    "balancer": 4,
    "decap": 5,
    "router": 6,
    "post": 7,
    "steer": 8,
}
_NAMES = {number: name for name, number in SLOTS.items()}
_EXIT = 16
_EXITS = {"aborted": 0, "drop": 1, "pass": 2, "tx": 3, "redirect": 4}


@dataclass(frozen=True)
class Slot:
    """An occupied slot of a chain. pid: the process that holds it, None: it stays without one."""

    slot: str
    program_id: int
    name: str
    pid: int | None


class Chain:
    """The programs on an interface in their order: tap, filter, balancer, router, steering.

    ``Chain(interface)`` makes the root program there, or joins the chain that another process made.
    It lives as long as one of the objects that are in it, in whatever process, or its pin.
    :meth:`put` takes a program that :meth:`load` loaded for a slot, in place of the one that was
    there, without a gap. Leaving the ``with`` block, or :meth:`close`, takes this object's programs
    out.
    """

    def __init__(self, interface: str, mode: str = "auto") -> None:
        module = kernel.module()
        index = kernel.interface_index(interface)
        self.interface = interface
        self._mine: dict[int, Program] = {}
        pins.clean()
        self._share: dispatcher.Share | None = None
        try:
            chain = module.Chain.find(index)
            shared = dispatcher.on(interface) is not None if chain is None else chain.shared
            if shared:
                self._share = dispatcher.Share(interface, mode)
                weakref.finalize(self, self._share.drop)
                chain = self._share.chain
            elif chain is None:
                image = module.builtin_object("root")
                root = module.KernelProgram(image)
                link = link_to(root.fd, interface, mode)
                chain = module.Chain.find(index)
                del link  # the chain holds it
            if mode not in ("auto", found := self._read_mode()):
                raise DeviceBusy(
                    f"{interface} has a chain in mode {found}, and mode {mode} was asked "
                    "for (end the chain that is there first: wirepath program detach)"
                )
        except BaseException:
            self._let_go()
            raise
        self._chain = chain

    def _let_go(self) -> None:
        if self._share is not None:
            self._share.close()
            self._share = None

    def _read_mode(self) -> str:
        return next((a.mode for a in attached(self.interface) if a.name == "wirepath_root"), "none")

    @property
    def mode(self) -> str:
        """``native`` or ``generic``, as the kernel says."""
        return self._read_mode()

    def load(
        self,
        slot: str,
        source: str | Path | Source,
        *,
        config: object = None,
        entries: Mapping[str, int] | None = None,
        share: Mapping[str, Program] | None = None,
    ) -> Program:
        """A program for ``slot`` (a name of :data:`SLOTS`), not yet in it. Else as
        :func:`wirepath.programs.load`."""
        return load(
            source,
            config=config,
            entries=entries,
            share=share,
            link={"next": _number(slot) + 1, "slot": _number(slot)},
            reuse={"wp_chain": self._open().programs_fd},
            shared_chain=self._open().shared,
        )

    def put(self, program: Program, *, stays: bool = False, force: bool = False) -> None:
        """``program`` into the slot that it was loaded for, atomically. stays: also when this
        process has ended, as long as somebody holds the chain. force: in place of a program of
        another process.

        Raises :class:`DeviceBusy` where the slot is another running process's.
        """
        if program.slot is None or program.slot not in _NAMES:
            raise ConfigError(
                f"program {program.name} was not loaded for a slot of a chain (use Chain.load)"
            )
        self._open().put(program.slot, program.fd, program.name, stays, force)
        self._mine[program.slot] = program

    def add(self, slot: str, source: str | Path | Source, **options: Any) -> Program:  # noqa: ANN401
        """:meth:`load` and :meth:`put`."""
        program = self.load(slot, source, **options)
        self.put(program)
        return program

    def add_exit_tap(
        self,
        source: str | Path | Source,
        *,
        config: object = None,
        entries: Mapping[str, int] | None = None,
    ) -> list[Program]:
        """A program that sees every packet once its verdict is final, and cannot change it. It is
        loaded once for each verdict, with maps in common; its source ends with
        ``return wp_exit_verdict(p);``."""
        chain, made = self._open(), list[Program]()
        for verdict in _EXITS.values():
            first = made[0] if made else None
            program = load(
                source,
                config=config,
                entries=entries,
                share=dict.fromkeys(first.maps, first) if first else None,
                link={"next": 15, "slot": _EXIT + verdict, "verdict": verdict},
                reuse={"wp_chain": chain.programs_fd},
                shared_chain=chain.shared,
            )
            made.append(program)
        for program in made:
            assert program.slot is not None
            chain.put(program.slot, program.fd, program.name, False, False)
            self._mine[program.slot] = program
        return made

    def remove(self, slot: str, *, force: bool = False) -> None:
        """Empty a slot (``exit``: the exit taps). force: also of another process's program.

        Raises :class:`ConfigError` where it is empty, :class:`DeviceBusy` where it is not ours.
        """
        numbers = [_EXIT + v for v in _EXITS.values()] if slot == "exit" else [_number(slot)]
        rows = {row["slot"]: row for row in self._open().slots()}
        if not any(n in rows for n in numbers):
            raise ConfigError(f"slot {slot} of the chain on {self.interface} is empty")
        for number in numbers:
            row = rows.get(number)
            if row is None:
                continue
            if row["pid"] not in (0, os.getpid()) and not force:
                raise DeviceBusy(
                    f"slot {slot} of the chain on {self.interface} is process {row['pid']}'s "
                    "(end it, or use force)"
                )
            self._open().remove(number, row["program_id"])
            self._mine.pop(number, None)

    def slots(self) -> list[Slot]:
        """The occupied slots, in order; exit taps as ``exit.VERDICT``."""
        names = _NAMES | {_EXIT + v: f"exit.{n}" for n, v in _EXITS.items()}
        return [
            Slot(names.get(r["slot"], str(r["slot"])), r["program_id"], r["name"], r["pid"] or None)
            for r in self._open().slots()
        ]

    def program(self, slot: str) -> Program:
        """The program in a slot, whoever put it there, with its maps."""
        number = _number(slot)
        if number in self._mine:
            return self._mine[number]
        row = next((r for r in self._open().slots() if r["slot"] == number), None)
        if row is None:
            raise ConfigError(f"slot {slot} of the chain on {self.interface} is empty")
        return adopt(row["program_id"], name=row["name"], slot=number)

    def counters(self) -> dict[str, dict[str, int]]:
        """Counters of every program in the chain, by slot."""
        out = {}
        for slot in self.slots():
            if slot.slot in SLOTS:
                with suppress(ConfigError):  # gone in between
                    out[slot.slot] = self.program(slot.slot).counters()
        return out

    def pin(self) -> Path:
        """Keep the chain beyond this process: root, slots and the programs put with ``stays``.
        Returns the folder of the pins."""
        chain = self._open()
        if chain.shared:
            raise Unsupported(
                f"the chain on {self.interface} is behind libxdp's dispatcher, which holds pins of "
                f"its own: it cannot be pinned (xdp-loader unload {self.interface} --all, then "
                "again)"
            )
        return pins.keep(self.interface, {"link": chain.link_fd, "programs": chain.programs_fd})

    def unpin(self) -> None:
        """Let it end with its last process again."""
        pins.drop(self.interface)

    @property
    def pinned(self) -> bool:
        return pins.kept(self.interface)

    def close(self, *, keep: bool = False) -> None:
        """Take this object's programs out and let go of the chain, which ends with its last holder.
        keep: leave those that were put with ``stays``."""
        if self._chain is not None:
            staying = {r["slot"] for r in self._chain.slots() if keep and r["pid"] == 0}
            for number, program in self._mine.items():
                if number not in staying:
                    self._chain.remove(number, program.id)
            self._mine.clear()
            self._chain = None
        self._let_go()

    def _open(self) -> Any:  # noqa: ANN401 -- _programs.Chain
        if self._chain is None:
            raise ConfigError(f"the chain on {self.interface} is closed")
        return self._chain

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close(keep=self.pinned)


def detach(interface: str, slot: str | None = None, *, force: bool = False) -> list[Slot]:
    """Take programs out of the chain of ``interface``: of one slot, or all of them and the chain's
    pin. force: those of other running processes too. Returns what was taken out.

    Raises :class:`ConfigError` where there is no chain or the slot is empty, :class:`DeviceBusy`
    where a program is another running process's.
    """
    if not any(each.name == "wirepath_root" for each in attached(interface)):
        raise ConfigError(f"there is no chain of wirepath on {interface}")
    with Chain(interface) as chain:
        there = [s for s in chain.slots() if slot is None or s.slot.split(".")[0] == slot]
        for name in dict.fromkeys(s.slot.split(".")[0] for s in there) or [slot]:
            if name is not None:
                chain.remove(name, force=force)
        if slot is None or not chain.slots():
            chain.unpin()
    return there


def _number(slot: str) -> int:
    if slot not in SLOTS:
        raise ConfigError(problem("slot", slot, f"one of {', '.join(SLOTS)}"))
    return SLOTS[slot]
