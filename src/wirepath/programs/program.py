"""Loaded packet programs: in the kernel, and natively."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _core
from ..errors import ConfigError
from ..settings import problem
from ..stages import Stage
from . import btf, kernel, values
from .maps import Map, MapOwner, add_up
from .source import Source, find

if TYPE_CHECKING:
    from .attach import Attachment

VERDICTS = ("aborted", "drop", "pass", "tx", "redirect", "keep", "next")
NEXT = 6
# Maps that are the layer's, not the program's.
_HIDDEN = ("wp_chain", "wp_notes")

Types = dict[str, tuple[np.dtype[Any] | None, np.dtype[Any] | None]]


@dataclass(frozen=True)
class Outcome:
    """What a program did with one frame. verdict: a name of :data:`VERDICTS`. ns: mean over the
    repeats, by the kernel's measure; None natively. target: port number of a native REDIRECT."""

    verdict: str
    frame: bytes
    ns: int | None = None
    target: int | None = None


@dataclass(frozen=True)
class Layout:
    """What an object says of its types: maps, configuration, and where the constants are."""

    maps: Types
    config: np.dtype[Any] | None
    rodata: bytes
    variables: dict[str, btf.Variable]

    @classmethod
    def of(cls, image: bytes) -> Layout:
        """Reads an eBPF object; without type information in it, maps hold plain bytes."""
        sections = btf.sections(image)
        if ".BTF" not in sections:
            return cls({}, None, sections.get(".rodata", b""), {})
        types = btf.Btf(sections[".BTF"])
        at = btf.symbols(sections)  # the compiler leaves the offsets in type information zero
        variables = {
            v.name: replace(v, offset=at.get(v.name, v.offset)) for v in types.section(".rodata")
        }
        config = variables.get("wp_config_data")
        return cls(
            types.maps(),
            None if config is None else types.dtype(config.type),
            sections.get(".rodata", b""),
            variables,
        )

    def constants(self, config: bytes | None, link: Mapping[str, int]) -> bytes | None:
        """The bytes of ``.rodata`` with a configuration and what the layer sets."""
        if not self.variables:
            return None
        out = bytearray(self.rodata)
        if config is not None and "wp_config_data" in self.variables:
            at = self.variables["wp_config_data"].offset
            out[at : at + len(config)] = config
        if "wp_link" in self.variables:
            fields = [link.get(n, 0) for n in ("next", "slot", "verdict", "test_mode")]
            at = self.variables["wp_link"].offset
            out[at : at + 16] = np.array(fields, "<u4").tobytes()
        return bytes(out)

    def pack_config(self, name: str, config: object) -> bytes | None:
        """The bytes of a configuration. Raises :class:`ConfigError`."""
        if config is None:
            return None
        if self.config is None:
            if isinstance(config, (bytes, bytearray)):
                return bytes(config)
            raise ConfigError(f"program {name} has no configuration (WP_CONFIG)")
        return values.pack(config, self.config, "config")


class AnyProgram:
    """What kernel and native programs have alike."""

    name: str
    _owner: MapOwner

    def __init__(self, name: str, owner: MapOwner, types: Types) -> None:
        self.name = name
        self._owner = owner
        self.maps: dict[str, Map] = {
            shape["name"]: Map(owner, shape, *types.get(shape["name"], (None, None)))
            for shape in owner.maps
            if shape["name"] not in _HIDDEN and not shape["name"].endswith((".rodata", ".bss"))
        }

    def counters(self) -> dict[str, int]:
        """``verdict.*`` and what the program declares, summed over CPUs or workers. A drop without
        a name of its own is in ``drop_unnamed``."""
        if "counters" not in self.maps:
            return {}
        counters = self.maps["counters"]
        if counters.value_dtype.names is None:
            return {}
        total = add_up(np.atleast_1d(counters[0]))
        verdicts = total.pop("verdict")
        out = {f"verdict.{n}": int(v) for n, v in zip(VERDICTS, verdicts, strict=False)}
        out.update({name: int(value) for name, value in total.items()})
        named = sum(v for name, v in out.items() if name.startswith("drop_"))
        out["drop_unnamed"] = out["verdict.drop"] - named
        return out

    def map(self, name: str) -> Map:
        """A map by name. Raises :class:`ConfigError` naming those there are."""
        if name not in self.maps:
            raise ConfigError(problem("map", name, f"one of {', '.join(self.maps)}"))
        return self.maps[name]

    def reset_counters(self) -> None:
        """All counters back to zero."""
        self.maps["counters"].clear()


class Program(AnyProgram):
    """A program in the kernel. Its maps live as long as it does: until nobody holds the object,
    no interface runs it and no pin keeps it."""

    def __init__(
        self,
        native: Any,  # noqa: ANN401 -- _programs.KernelProgram
        name: str,
        layout: Layout,
        *,
        image: bytes | None = None,
        slot: int | None = None,
        test: bool = False,
    ) -> None:
        super().__init__(name, native, layout.maps)
        self.native = native
        self.layout = layout
        self.image = image
        self.slot = slot
        self.test = test

    @property
    def id(self) -> int:
        """Its number in the kernel."""
        return int(self.native.id)

    @property
    def fd(self) -> int:
        """A descriptor of it, open as long as this object."""
        return int(self.native.fd)

    def info(self) -> dict[str, Any]:
        """name, id, tag, function, jited_bytes, and kind, entries and kernel memory of each map."""
        return {
            "name": self.name,
            "id": self.id,
            "tag": self.native.tag,
            "function": self.native.name,
            "jited_bytes": self.native.jited_bytes,
            "maps": {
                m.name: {
                    "kind": m.kind,
                    "max_entries": m.max_entries,
                    "memory": self.native.map_memory(m.name),
                }
                for m in self.maps.values()
            },
        }

    def run(
        self, frame: bytes, *, repeat: int = 1, interface: str | None = None, queue: int = 0
    ) -> Outcome:
        """One frame through BPF_PROG_RUN, counters and maps included. What goes on to the next
        program comes back as ``pass``.

        repeat: the kernel runs the program so often over the same buffer, as the last run left
        it, and gives the mean time. interface, queue: where the frame is said to come from.

        Raises :class:`PortError` for a frame that the kernel does not take: 14 to 3520 bytes.
        """
        index = kernel.interface_index(interface) if interface else (1 if queue else 0)
        verdict, out, ns = self.native.run(frame, repeat, index, queue)
        return Outcome(VERDICTS[verdict] if verdict < 5 else "aborted", out, ns)

    def set_time(self, ns: int) -> None:
        """What ``wp_now`` gives. Raises :class:`ConfigError` unless loaded with ``test=True``."""
        if not self.test:
            raise ConfigError(f"program {self.name} follows the clock (load it with test=True)")
        bss = next(m["name"] for m in self.native.maps if m["name"].endswith(".bss"))
        self.native.put(bss, bytes(4), int(ns).to_bytes(8, "little"))

    def attach(self, interface: str, mode: str = "auto") -> Attachment:
        """Alone onto an interface; see :func:`wirepath.programs.attach`."""
        from .attach import attach  # noqa: PLC0415 -- it imports this module

        return attach(self, interface, mode)

    def __repr__(self) -> str:
        return f"<wirepath.programs.Program {self.name}, number {self.id}>"


class NativeProgram(AnyProgram):
    """A program built to native code, with maps of its own."""

    def __init__(self, instance: _core.ProgramInstance, layout: Layout | None) -> None:
        super().__init__(instance.name, instance, layout.maps if layout else {})
        self.native = instance
        self.layout = layout

    def run(self, frame: bytes, *, queue: int = 0, port: int = 0, time: int = 0) -> Outcome:
        """One frame, within the limits of :meth:`Program.run`. time: what ``wp_now`` gives."""
        verdict, target, out = self.native.run(frame, queue, port, time)
        return Outcome(VERDICTS[verdict], out, None, target if verdict == 4 else None)

    def stage(self, name: str | None = None) -> ProgramStage:
        """A stage that runs it over each batch of one worker. Several stages may share a program:
        one slot each."""
        return ProgramStage(self, name or self.name)

    @cached_property
    def memory(self) -> int:
        """Bytes reserved for its maps; pages not yet touched cost none."""
        return self.native.memory

    def __repr__(self) -> str:
        return f"<wirepath.programs.NativeProgram {self.name}>"


class ProgramStage(Stage):
    """A program as a stage for :meth:`wirepath.Worker.add_stage`.

    Frames that it leaves with WP_NEXT go on to the stages behind it, as they came; the others are
    decided, and those stages do not see them. Where no stage is behind it, WP_NEXT is DROP.
    """

    def __init__(self, program: NativeProgram, name: str) -> None:
        self._stage = _core.ProgramStage(program.native, name)
        super().__init__(self._stage, None, f"packet program {program.name}")
        self.program = program

    def replace(self, program: NativeProgram, seconds: float = 5.0) -> None:
        """Run another instance from the worker's next batch on; returns once the old one is free.
        Nothing is lost in between.

        Raises :class:`DeviceBusy`, and the old one stays, where the worker has not come to its next
        batch within ``seconds``: a stage beside this one blocks it.
        """
        self._stage.replace(program.native, seconds)
        self.program = program


def load(
    source: str | Path | Source,
    *,
    config: object = None,
    entries: Mapping[str, int] | None = None,
    share: Mapping[str, Program] | None = None,
    function: str = "",
    offload: str | None = None,
    test: bool = False,
    link: Mapping[str, int] | None = None,
    reuse: Mapping[str, int] | None = None,
    shared_chain: bool = False,
) -> Program:
    """A program into the kernel, attached nowhere yet.

    source: name of a built-in program, a C file or an eBPF object. config: of WP_CONFIG, a mapping
    of its fields. entries: sizes of maps. share: maps to have in common with a program that is
    loaded already, such as the one it is to replace. function: which one, where an object holds
    several. offload: load it onto this interface's NIC. test: ``wp_now`` and ``wp_random`` are
    what :meth:`Program.set_time` says. link, reuse, shared_chain: for :class:`Chain`.

    Raises :class:`PortError` with the verifier's log where the kernel refuses it, and what
    :func:`find` raises.
    """
    found = find(source, native=False)
    if found.bpf is None:
        raise ConfigError(f"program {found.name} is not there as eBPF: {found.why_no_bpf}")
    layout = Layout.of(found.bpf)
    packed = layout.pack_config(found.name, config)
    fds = dict(reuse or {})
    for name, other in (share or {}).items():
        fds[name] = other.native.map_fd(name)
    given = dict(link or {})
    given.setdefault("next", 15)
    given.setdefault("slot", 15)
    given["test_mode"] = int(test)
    native = kernel.module().KernelProgram(
        found.bpf,
        dict(entries or {}),
        layout.constants(packed, given),
        fds,
        function,
        kernel.interface_index(offload) if offload else 0,
        shared_chain,
    )
    return Program(native, found.name, layout, image=found.bpf, slot=given["slot"], test=test)


def native(
    source: str | Path | Source,
    *,
    config: object = None,
    entries: Mapping[str, int] | None = None,
    slots: int = 8,
    test: bool = False,
) -> NativeProgram:
    """A program built natively, with maps of its own. slots: workers that may run it at a time.

    The types of maps come from the eBPF build; where that cannot be had (no clang, no libbpf) maps
    hold plain bytes. Raises as :func:`load`.
    """
    found = _with_types(source)
    layout = Layout.of(found.bpf) if found.bpf is not None else None
    if not found.builtin and found.native is None:
        raise ConfigError(f"program {found.name} is not there natively: {found.why_no_native}")
    packed = (layout or Layout({}, None, b"", {})).pack_config(found.name, config)
    instance = _core.ProgramInstance(
        found.name, str(found.native or ""), dict(entries or {}), packed, slots, test
    )
    return NativeProgram(instance, layout)


def _with_types(source: str | Path | Source) -> Source:
    from ..errors import BackendUnavailable  # noqa: PLC0415

    try:
        return find(source)
    except BackendUnavailable:
        return find(source, bpf=False)
