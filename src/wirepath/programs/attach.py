"""Programs on interfaces: what is there, and one alone by a bpf_link."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ..errors import ConfigError, Unsupported
from ..settings import problem
from . import btf, kernel
from .program import Layout, Program

MODES = ("auto", "native", "generic", "offload")


@dataclass(frozen=True)
class Attached:
    """An XDP program on an interface. mode: as the kernel says. held_by: ``"bpf_link N"``,
    ``"netlink"`` for one that stays until somebody removes it, or ``"dispatcher N"`` for one that
    libxdp's dispatcher runs beside others. wirepath: a chain of ours."""

    mode: str
    program_id: int
    name: str
    tag: str
    held_by: str
    wirepath: bool


def attached(interface: str) -> list[Attached]:
    """The XDP programs on ``interface``, foreign ones too, as the kernel says."""
    rows = kernel.module().attached(kernel.interface_index(interface))
    return [
        Attached(
            mode=row["mode"],
            program_id=row["program_id"],
            name=row["name"],
            tag=row["tag"],
            held_by=_held_by(row),
            wirepath=row["name"].startswith("wirepath_"),
        )
        for row in rows
    ]


def _held_by(row: dict[str, Any]) -> str:
    if row["dispatcher_id"]:
        return f"dispatcher {row['dispatcher_id']}"
    return f"bpf_link {row['link_id']}" if row["link_id"] else "netlink"


def link_to(fd: int, interface: str, mode: str) -> Any:  # noqa: ANN401 -- _programs.XdpLink
    """A bpf_link of a program to an interface; ``auto`` tries native first."""
    if mode not in MODES:
        raise ConfigError(problem("mode", mode, f"one of {', '.join(MODES)}"))
    module = kernel.module()
    index = kernel.interface_index(interface)
    if mode != "auto":
        return module.XdpLink(fd, index, interface, mode)
    try:
        return module.XdpLink(fd, index, interface, "native")
    except Unsupported:
        return module.XdpLink(fd, index, interface, "generic")


class Attachment:
    """One program on an interface, there until :meth:`close` or the end of the process; with
    :meth:`pin` for longer. A context manager."""

    def __init__(self, program: Program, interface: str, link: Any) -> None:  # noqa: ANN401
        self.program = program
        self.interface = interface
        self._link = link
        self.pinned: Path | None = None

    @property
    def mode(self) -> str:
        """``native``, ``generic`` or ``offload``, as read back; ``none`` once detached."""
        number = self._link.program_id if self._link is not None else 0
        return next((a.mode for a in attached(self.interface) if a.program_id == number), "none")

    def replace(self, program: Program) -> None:
        """Another program, atomically: no packet passes without one."""
        self._link.update(program.fd)
        self.program = program

    def pin(self, path: str | Path) -> None:
        """Keep it attached beyond this process, under a name in a bpf file system."""
        kernel.module().pin(self._link.fd, str(path))
        self.pinned = Path(path)

    def close(self) -> None:
        """Detach; a pin goes too."""
        if self._link is None:
            return
        if self.pinned is not None:
            self.pinned.unlink(missing_ok=True)
        self._link.detach()
        self._link = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def attach(program: Program, interface: str, mode: str = "auto") -> Attachment:
    """``program`` alone onto ``interface``.

    mode: ``native`` (in the driver), ``generic`` (in the kernel's stack, slower), ``offload`` (on
    the NIC, for a program loaded with ``offload=``), or ``auto``: native where the driver has it.

    Raises :class:`DeviceBusy` naming the program in the way, :class:`Unsupported` where the driver
    has no such mode.
    """
    return Attachment(program, interface, link_to(program.fd, interface, mode))


def adopt(program_id: int, *, name: str = "", slot: int | None = None) -> Program:
    """A program that is in the kernel already, by its number, with its maps and their types as the
    kernel keeps them. Raises :class:`ConfigError` where there is none."""
    native = kernel.module().KernelProgram.by_id(program_id)
    types = {}
    for shape in native.maps:
        data, key, value = native.map_types(shape["name"])
        if data:
            parsed = btf.Btf(data)
            types[shape["name"]] = (
                parsed.dtype(key) if key else None,
                parsed.dtype(value) if value else None,
            )
    layout = Layout(types, None, b"", {})
    return Program(native, name or native.name.removeprefix("wirepath_"), layout, slot=slot)
