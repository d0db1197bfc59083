"""``wirepath capture``."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from rich.live import Live
from rich.table import Table

from .. import _core
from ..capture import Capture, CaptureConfig, Summary
from ..errors import ConfigError, PortError
from ..flows import flow_of
from ..settings import missing, problem
from ..steering import udp
from . import output
from .options import Json, Quiet, help_of

_LIMITS, _FILES, _PORT = "Limits", "Files", "Ports that are opened for the capture"
_READY_SECONDS = 1.0


def _field(name: str, *flags: str, panel: str | None = None, metavar: str | None = None) -> Any:  # noqa: ANN401
    return typer.Option(
        *(flags or (f"--{name.replace('_', '-')}",)),
        help=help_of(CaptureConfig, name),
        rich_help_panel=panel,
        show_default=False,
        metavar=metavar,
    )


def capture(
    target: Annotated[
        str,
        typer.Argument(
            metavar="PORT|IFACE|PID[:port]",
            help="Port spec, interface, or a running wirepath process.",
        ),
    ],
    bpf: Annotated[
        list[str] | None,
        typer.Argument(metavar="[FILTER]...", help="Frames to keep, in tcpdump's syntax."),
    ] = None,
    *,
    file: Annotated[
        str | None,
        typer.Option("--write", "-w", metavar="FILE", help="File to write; - is standard output."),
    ] = None,
    snaplen: Annotated[int | None, _field("snaplen", "--snaplen", "-s", metavar="BYTES")] = None,
    buffer_size: Annotated[int | None, _field("buffer_size", metavar="MIB")] = None,
    comment: Annotated[str | None, _field("comment", metavar="TEXT")] = None,
    count: Annotated[int | None, _field("count", "--count", "-c", panel=_LIMITS)] = None,
    duration: Annotated[float | None, _field("duration", "--duration", "-d", panel=_LIMITS)] = None,
    ring_files: Annotated[int | None, _field("ring_files", panel=_FILES)] = None,
    file_size: Annotated[float | None, _field("file_size", panel=_FILES, metavar="MB")] = None,
    file_duration: Annotated[float | None, _field("file_duration", panel=_FILES)] = None,
    flow: Annotated[
        str | None,
        typer.Option(
            "--flow", metavar="GROUP:PORT", rich_help_panel=_PORT, help="Flow to open it with."
        ),
    ] = None,
    everything: Annotated[
        bool,
        typer.Option(
            "--everything",
            rich_help_panel=_PORT,
            help="Open it with all of its traffic: SSH over it stops meanwhile.",
        ),
    ] = False,
    xdp_mode: Annotated[
        str,
        typer.Option(
            "--xdp-mode",
            metavar="auto|native|generic",
            help="Of an interface: where the kernel runs the tap.",
        ),
    ] = "auto",
    xdp_at: Annotated[
        str,
        typer.Option(
            "--xdp-at",
            metavar="before|after|both",
            help="Of an interface: on which side of the other programs on it.",
        ),
    ] = "both",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Frames of a port, of a running process or of an interface, as pcapng for Wireshark.

    A port's frames come as they were received, with direction, queue and the verdict of the
    stages; an interface's before and after the XDP programs on it. A slow disk loses frames of
    the capture, which are counted, and never holds the port up. Ctrl-C ends it.

    Example:  [bold]wirepath capture 4711 -w - udp port 9001 | wireshark -k -i -[/bold]
    """
    if file is None:
        raise ConfigError(missing("--write", "the name of a file, or - for standard output"))
    if xdp_mode not in ("auto", "native", "generic"):
        raise ConfigError(problem("--xdp-mode", xdp_mode, "auto, native or generic"))
    if xdp_at not in ("before", "after", "both"):
        raise ConfigError(problem("--xdp-at", xdp_at, "before, after or both"))
    if file == "-":
        _check_stdout(as_json=as_json)
    given: dict[str, Any] = {
        "snaplen": snaplen,
        "buffer_size": buffer_size,
        "comment": comment,
        "count": count,
        "duration": duration,
        "ring_files": ring_files,
        "file_size": file_size,
        "file_duration": file_duration,
        "filter": " ".join(bpf) if bpf else None,
    }
    config = CaptureConfig(file=file, **{k: v for k, v in given.items() if v is not None})
    steer = udp(*flow_of(flow, "--flow")) if flow is not None else None
    if everything:
        steer = _core.everything()
    made = Capture(target, config, steer=steer, xdp_mode=xdp_mode, xdp_at=xdp_at)
    done = _run(made, quiet=quiet)
    if as_json:
        return output.emit(done)
    if not quiet:
        _tell(done)
    return None


def _check_stdout(*, as_json: bool) -> None:
    if as_json:
        raise ConfigError("--json and --write - both want standard output: give a file to one")
    if sys.stdout.isatty():
        raise ConfigError(
            problem("--write", "-", "a pipe, such as | wireshark -k -i -; this is a terminal")
        )


def _run(made: Capture, *, quiet: bool) -> Summary:
    with made, _live(made, quiet=quiet) as show:
        try:
            began, told = time.monotonic(), quiet
            while made.step(0.25):
                if not told and (made.ready or time.monotonic() - began > _READY_SECONDS):
                    told = True
                    _announce(made)
                show()
        except KeyboardInterrupt:
            pass  # how one ends it
        except PortError:
            if made.config.file != "-":
                raise
            output.stderr.print("the reader has gone: the capture ends")
        try:
            return made.finish()
        except PortError:
            if made.config.file != "-":
                raise
            return made.summary()


def _announce(made: Capture) -> None:
    target = made.target
    what = {
        "process": f"{', '.join(target.ports)} of process {target.pid}",
        "port": f"{target.name}, opened for this",
        "interface": f"interface {target.name}",
    }[target.kind]
    queues = f" ({made.queues} queue{'s' if made.queues != 1 else ''})" if made.queues else ""
    wanted = f", frames of: {made.config.filter}" if made.config.filter else ""
    output.stderr.print(f"capturing {what}{queues}{wanted}  (Ctrl-C ends it)", markup=False)
    if not made.ready:
        output.stderr.print("not every queue is polled by its process: those show nothing yet")


@contextmanager
def _live(made: Capture, *, quiet: bool) -> Iterator[Any]:
    if quiet or not output.stderr.is_terminal:
        yield lambda: None
        return
    with Live(console=output.stderr, transient=True, auto_refresh=False) as screen:
        yield lambda: screen.update(_table(made.summary()), refresh=True)


def _table(summary: Summary) -> Table:
    title = f"{summary.frames:,} frames, {summary.bytes:,} bytes in {summary.seconds:.1f} s"
    columns = ["interface", "seen", "filtered", "dropped", "written", "received", "lost by it"]
    rows = [
        (i.name, i.seen, i.filtered, i.dropped, i.delivered, i.received, i.device_drops)
        for i in summary.interfaces
    ]
    return output.table(title, columns, rows)


def _tell(done: Summary) -> None:
    output.stderr.print(_table(done))
    for file in done.files:
        output.stderr.print(file, markup=False, soft_wrap=True)
    if done.removed:
        output.stderr.print(f"{done.removed} older files were removed")
