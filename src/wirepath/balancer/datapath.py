"""Where the balancer's program runs: in the driver of an interface, or natively as a stage."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .. import programs
from ..errors import ConfigError
from ..settings import missing
from . import control, layout, neighbours
from .config import BalancerConfig
from .maps import ProgramMaps
from .plane import entries

SLOT = "balancer"
# What a table or map is made with cannot be taken over by a process that wants another.
_SAME = ("table_size", "connections", "algorithm")
_VERSION = 2  # of the state that one process leaves to the next


def sources_of(config: BalancerConfig) -> dict[int, str]:
    """Of each family the address that tunnelled packets come from.

    Raises ConfigError: a server's family has none.
    """
    given = {4: config.source4, 6: config.source6}
    needed = config.tunnel_families()
    if all(given[family] for family in needed):
        return {family: address for family, address in given.items() if address}
    found = neighbours.link(config.interface).addresses
    for family in sorted(needed):
        if not given[family] and family not in found:
            must = f"an IPv{family} address, as {config.interface} has none"
            raise ConfigError(missing(f"source{family}", must))
    return {
        family: address
        for family in (4, 6)
        if (address := given[family] or found.get(family)) is not None
    }


def mode_of(config: BalancerConfig) -> str:
    """Where the program is attached. Of a veth pair the driver leaves what XDP sends lying, until
    its ring is full for good, unless the other end has an XDP program too (veth_xdp_flush): there
    "auto" is the generic hook, which sends as the host does."""
    if config.attach == "auto" and neighbours.link(config.interface).kind == "veth":
        return "generic"
    return config.attach


class DriverPath:
    """The program in the chain of an interface, by itself or as a process before has left it."""

    def __init__(self, config: BalancerConfig, sources: dict[int, str]) -> None:
        self._config = config
        self._state = control.path_of(config.interface, "json")
        self._chain = programs.Chain(config.interface, mode_of(config))
        try:
            self.kept = self._remembered()
            self.program = self._load(sources)
            self._chain.put(self.program, stays=config.pin, force=self.kept is not None)
            if config.pin:
                self._chain.pin()
        except BaseException:
            self._chain.close()
            raise
        self.maps = ProgramMaps(self.program)

    def _load(self, sources: dict[int, str]) -> programs.Program:
        options: dict[str, Any] = {
            "config": layout.program_config(self._config, sources).tobytes(),
            "entries": entries(self._config),
        }
        if self.kept is not None:
            before = self._chain.program(SLOT)
            sizes = {name: m.max_entries for name, m in before.maps.items()}
            if all(sizes.get(name) == size for name, size in options["entries"].items()):
                # The maps hold what the state says; where they went on alone is theirs to know.
                options["share"] = dict.fromkeys(options["entries"], before)
            else:
                self.kept = None
                self._chain.remove(SLOT, force=True)
        return self._chain.load(SLOT, "maglev", **options)

    def _remembered(self) -> Mapping[str, Any] | None:
        """What the process before has written down, if its program is still there."""
        held = {slot.slot: slot.pid for slot in self._chain.slots()}
        if SLOT not in held or held[SLOT] is not None:
            return None
        kept: dict[str, Any] | None = None
        with contextlib.suppress(OSError, ValueError):
            kept = json.loads(self._state.read_text())
        same = {"version": _VERSION} | {name: getattr(self._config, name) for name in _SAME}
        if kept is None or any(kept.get(name) != value for name, value in same.items()):
            self._chain.remove(SLOT, force=True)
            return None
        return kept

    def remember(self, kept: dict[str, Any]) -> None:
        """Write down what the next process has to know."""
        if not self._config.pin:
            return
        same = {name: getattr(self._config, name) for name in _SAME}
        values = kept | same | {"version": _VERSION}
        control.folder()
        beside = self._state.with_suffix(".new")
        beside.write_text(json.dumps(values))
        beside.chmod(0o600)
        beside.replace(self._state)

    @property
    def mode(self) -> str:
        """``native`` or ``generic``, as the kernel says."""
        return self._chain.mode

    def close(self) -> None:
        """The program leaves the interface, unless it is pinned."""
        self._chain.close(keep=self._config.pin)
        if not self._config.pin:
            self._state.unlink(missing_ok=True)


class StagePath:
    """The program as native code, in stages of workers of this process."""

    kept: Mapping[str, Any] | None = None
    mode = "stage"

    def __init__(self, config: BalancerConfig, sources: dict[int, str]) -> None:
        self.program = programs.native(
            "maglev",
            config=layout.program_config(config, sources).tobytes(),
            entries=entries(config),
        )
        self.maps = ProgramMaps(self.program)

    def remember(self, kept: dict[str, Any]) -> None:
        """Nothing outlives this process."""

    def close(self) -> None:
        """The stages keep the program."""


def unpin(interface: str) -> bool:
    """Take a pinned balancer off an interface. Returns whether there was one."""
    state: Path = control.path_of(interface, "json")
    state.unlink(missing_ok=True)
    if not any(each.wirepath for each in programs.attached(interface)):
        return False
    chain = programs.Chain(interface)
    try:
        held = {slot.slot: slot.pid for slot in chain.slots()}
        if SLOT not in held:
            return False
        chain.remove(SLOT)
        if len(held) == 1:
            chain.unpin()
        return True
    finally:
        chain.close()
