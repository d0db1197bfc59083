"""A compiled filter in one of its two builds, with its tables in place: counts, blocks, samples."""

from __future__ import annotations

import ipaddress
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from .. import programs
from ..errors import ConfigError, PortError
from ..programs.maps import MapOwner
from ..settings import problem
from . import cookies
from .compile import CONFIG, Tables, watched

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_COUNT = np.dtype(
    [("packets", "u8"), ("bytes", "u8"), ("over_packets", "u8"), ("over_bytes", "u8")]
)
#: The counters of src/programs/filter.c behind the eight of verdicts.
COUNTERS = (
    "not_ip", "too_many_tags", "would_drop", "sampled", "samples_lost", "buckets_missed",
    "cookies_sent", "cookies_right", "cookies_declined", "drop.rule", "drop.signature",
    "drop.limit", "drop.blocked", "drop.cookie", "drop.cookie_room", "drop.malformed",
    "drop.unmatched",
)  # fmt: skip
BLOCK = np.dtype([("until", "u8"), ("packets", "u8")])
_SAMPLE = np.dtype(
    [("time", "u8"), ("length", "u4"), ("name", "u4"), ("drop", "u4"), ("captured", "u4")]
)
_NEXT = 6
_E2BIG = 7


@dataclass(frozen=True)
class Sample:
    """A packet that was copied out: when (ns of the engine's clock), by which rule, its first
    bytes."""

    time: int
    rule: str
    dropped: bool
    length: int
    data: bytes


class Engine:
    """One loaded filter. Not for two threads at a time."""

    def __init__(
        self,
        program: programs.Program | programs.NativeProgram,
        tables: Tables,
        clock: Callable[[], int],
    ) -> None:
        self.program = program
        self.raw: MapOwner = program.native
        self.tables = tables
        self.clock = clock  # that of wp_now()
        self._slots = {each["name"]: int(each["slots"]) for each in self.raw.maps}

    @classmethod
    def native(cls, tables: Tables, *, workers: int = 1, test: bool = False) -> Engine:
        """The native build, for a stage or for single frames. workers: that may run it at a time.
        Its clock is the time stamps of frames. A rule with action syncookie passes what it fits."""
        program = programs.native(
            "filter", config=tables.config.tobytes(), entries=tables.sizes, slots=workers, test=test
        )
        return cls(program, tables, time.time_ns).filled()

    @classmethod
    def kernel(cls, tables: Tables, *, test: bool = False) -> Engine:
        """Into the kernel, attached nowhere. Its clock is CLOCK_MONOTONIC."""
        with cookies.helpers_told(tables):
            program = programs.load(
                "filter", config=tables.config.tobytes(), entries=tables.sizes, test=test
            )
        return cls(program, tables, time.monotonic_ns).filled()

    @classmethod
    def in_chain(cls, chain: programs.Chain, tables: Tables) -> Engine:
        """Into the kernel for the slot of filters, not yet in it. Raises ConfigError where the
        host lacks what a rule asks of it (:mod:`.cookies`)."""
        cookies.require(tables)
        with cookies.helpers_told(tables):
            program = chain.load(
                "filter", "filter", config=tables.config.tobytes(), entries=tables.sizes
            )
        return cls(program, tables, time.monotonic_ns).filled()

    def watching(self, chain: programs.Chain, every: int) -> Engine:
        """The same program over the same maps, which copies one in `every` packets to the samples
        whatever rule they fit; 0: none. Not yet in the slot."""
        held = cast(programs.Program, self.program)
        own = {name: held for name in held.maps if "." not in name}  # without data sections
        program = chain.load(
            "filter", "filter", config=watched(self.tables.config, every).tobytes(),
            entries=self.tables.sizes, share=own,
        )  # fmt: skip
        return Engine(program, self.tables, self.clock)

    @classmethod
    def adopted(cls, program: programs.Program) -> tuple[Engine, str]:
        """A filter that is in the kernel already, and the TOML of its rules.

        Raises ConfigError: the program is no filter of this version of wirepath.
        """
        if "described" not in program.maps:
            raise ConfigError(f"program {program.name} is no filter of wirepath's")
        try:
            text = program.native.dump("described")[1].rstrip(b"\0")
            about = json.loads(text)
            tables = Tables(
                tuple(about["names"]),
                np.frombuffer(bytes.fromhex(about["config"]), CONFIG).reshape(()),
                tuple(about["features"]),
                about["rules"],
                about["prefixes"],
                tuple(about["drops"]),
                sizes={
                    name: each.max_entries for name, each in program.maps.items() if "." not in name
                },
            )
            toml = str(about["toml"])
        except (KeyError, TypeError, ValueError):
            raise ConfigError(
                f"program {program.name} is the filter of another version of wirepath's "
                "(wirepath filter stop, then run it anew)"
            ) from None
        return cls(program, tables, time.monotonic_ns), toml

    def filled(self) -> Engine:
        """Puts the tables into the maps."""
        for name, values in self.tables.arrays.items():
            self._load(name, np.arange(len(values), dtype=np.uint32), values)
        for name, (keys, found) in self.tables.hashes.items():
            if len(keys):
                self._load(name, keys, found)
        return self

    def _load(self, name: str, keys: NDArray[Any], values: NDArray[Any]) -> None:
        done, error = self.raw.load(name, np.ascontiguousarray(keys), np.ascontiguousarray(values))
        if error:
            raise PortError(
                -error, f"table {name} of the filter took {done} of {len(keys)} entries"
            )

    # --- counts ---

    def counts(self) -> dict[str, dict[str, int]]:
        """By rule, in the order of the tables' names: ``packets`` and ``bytes`` that it fitted,
        ``dropped_packets`` and ``dropped_bytes`` of these (in a dry run: that would have been)."""
        _, values = self.raw.dump("counts")
        rows = np.frombuffer(values, _COUNT).reshape(len(self.tables.names), -1)
        out = {}
        for name, drops, row in zip(self.tables.names, self.tables.drops, rows, strict=True):
            packets, size = int(row["packets"].sum()), int(row["bytes"].sum())
            over = (int(row["over_packets"].sum()), int(row["over_bytes"].sum()))
            dropped = (packets, size) if drops else over
            out[name] = {
                "packets": packets,
                "bytes": size,
                "dropped_packets": dropped[0],
                "dropped_bytes": dropped[1],
            }
        return out

    def counters(self) -> dict[str, int]:
        """What became of packets, by reason; ``packets`` is all that were seen."""
        _, values = self.raw.dump("counters")
        rows = np.frombuffer(values, "u8").reshape(self._slots["counters"], -1)
        total = [int(n) for n in rows.sum(axis=0)]
        named = dict(zip(COUNTERS, total[8:], strict=False))
        return {"packets": sum(total[:8]), "passed": total[2] + total[_NEXT], **named}

    # --- blocks ---

    def block(self, address: str | Address, until: int) -> None:
        """Drop what comes from an address until a time, in ns of the engine's clock.

        Raises ConfigError: no address, or the filter has no room for blocks.
        """
        if "blocks" not in self.tables.features:
            raise ConfigError("this filter has no room for blocks: set blocks = 1000 in [filter]")
        key, value = _key(address), np.array([(until, 0)], BLOCK).tobytes()
        error = self.raw.put("blocks", key, value)
        if error == -_E2BIG and self.expire(self.clock()):
            error = self.raw.put("blocks", key, value)
        if error == -_E2BIG:
            must = f"one of at most {self.tables.sizes['blocks']} at a time (blocks in [filter])"
            raise ConfigError(problem("address", str(address), must))
        if error:
            raise PortError(-error, f"{address} could not be blocked")

    def unblock(self, address: str | Address) -> bool:
        """Whether it was blocked."""
        return self.raw.remove("blocks", _key(address)) == 0

    def blocks(self) -> dict[Address, tuple[int, int]]:
        """Address to (until, packets dropped)."""
        keys, values = self.raw.dump("blocks")
        rows = np.frombuffer(values, BLOCK)
        return {
            _address(keys[16 * i : 16 * i + 16]): (int(row["until"]), int(row["packets"]))
            for i, row in enumerate(rows)
        }

    def expire(self, now: int) -> int:
        """Takes out the blocks whose time is over; how many."""
        over = [address for address, (until, _) in self.blocks().items() if until <= now]
        for address in over:
            self.unblock(address)
        return len(over)

    def adopt_blocks(self, other: Engine) -> None:
        """The blocks of the filter that this one replaces, but those whose time is over.

        Raises ConfigError: there are more of them than this one has room for.
        """
        if "blocks" not in self.tables.features or "blocks" not in other.tables.features:
            return
        raw_keys, raw_values = other.raw.dump("blocks")
        keys = np.frombuffer(raw_keys, "u8").reshape(-1, 2)
        values = np.frombuffer(raw_values, BLOCK)
        left = values["until"] > other.clock()
        room = self.tables.sizes["blocks"]
        if left.sum() > room:
            raise ConfigError(
                problem("blocks", room, f"at least {left.sum()}: so many are blocked")
            )
        if left.any():
            self._load("blocks", keys[left], values[left])

    # --- samples ---

    def samples(self, most: int = 1024) -> Iterator[Sample]:
        """Packets copied out since the last call."""
        for record in self.raw.read_ring("samples", most):
            head = np.frombuffer(record[: _SAMPLE.itemsize], _SAMPLE)[0]
            data = record[_SAMPLE.itemsize :][: int(head["captured"])]
            name = self.tables.names[int(head["name"])]
            yield Sample(int(head["time"]), name, bool(head["drop"]), int(head["length"]), data)


def _key(address: str | Address) -> bytes:
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        raise ConfigError(problem("address", str(address), "an IPv4 or IPv6 address")) from None
    value = int(found)
    if found.version == 4:
        value |= 0xFFFF << 32
    return np.array([value >> 64, value & (2**64 - 1)], "u8").tobytes()


def _address(key: bytes) -> Address:
    high, low = (int(n) for n in np.frombuffer(key, "u8"))
    if high == 0 and low >> 32 == 0xFFFF:
        return ipaddress.IPv4Address(low & 0xFFFFFFFF)
    return ipaddress.IPv6Address(high << 64 | low)
