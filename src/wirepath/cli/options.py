"""Options that several commands share, so that they are spelled and explained once.

None means "not given": ranges and defaults are those of the configuration classes, which say what
is wrong with a value.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ..config import IngestionConfig, merged
from ..errors import ConfigError
from ..publish import flow_of
from ..settings import Settings, problem

_INGESTION = "Ingestion"
_LIMITS = "Limits"


def help_of(settings: type[Settings], name: str) -> str:
    """Help of the option that sets a field: its description and default."""
    field = settings.model_fields[name]
    text, default = field.description or "", field.get_default()
    if isinstance(default, bool):
        default = "on" if default else "off"
    shown = "none" if default in (None, "") else default
    # The backslash keeps rich from taking the bracket for markup.
    return f"{text[:1].upper()}{text[1:]}. \\[default: {shown}]"


def _option(name: str, *flags: str, metavar: str | None = None) -> Any:  # noqa: ANN401
    flags = flags or (f"--{name.replace('_', '-')}",)
    return typer.Option(
        *flags,
        help=help_of(IngestionConfig, name),
        rich_help_panel=_INGESTION,
        show_default=False,
        metavar=metavar,
    )


Json = Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress on standard error.")]

Pids = Annotated[
    list[int] | None,
    typer.Argument(metavar="[PID]...", help="Processes to look at. [default: all of this user]"),
]

ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config",
        help="TOML file with a table \\[ingestion]; options given here win.",
        rich_help_panel=_INGESTION,
        metavar="FILE",
    ),
]
RxRingSize = Annotated[int | None, _option("rx_ring_size")]
BatchSize = Annotated[int | None, _option("batch_size")]
CpuCore = Annotated[int | None, _option("cpu_core")]
ZeroCopy = Annotated[
    bool | None, _option("enable_zero_copy", "--enable-zero-copy/--no-enable-zero-copy")
]
Numa = Annotated[
    bool | None,
    _option("enable_numa_awareness", "--enable-numa-awareness/--no-enable-numa-awareness"),
]
ZeroCopyThreshold = Annotated[int | None, _option("zero_copy_threshold", metavar="BYTES")]
PollTimeout = Annotated[int | None, _option("poll_timeout_us", metavar="US")]
Idle = Annotated[str | None, _option("idle", metavar="sleep|spin")]
Session = Annotated[str | None, _option("session")]
NextSequence = Annotated[int | None, _option("next_sequence")]
Channel = Annotated[int | None, _option("channel")]
SessionDate = Annotated[str | None, _option("session_date", metavar="YYYY-MM-DD")]
BackendOptions = Annotated[
    list[str] | None,
    typer.Option(
        "--option",
        "-o",
        metavar="NAME=VALUE",
        help="Option of the backend (see `wirepath backends`); may be repeated.",
        rich_help_panel=_INGESTION,
    ),
]
MaxSeconds = Annotated[
    float | None,
    typer.Option("--max-seconds", help="End after this long.", rich_help_panel=_LIMITS),
]
MaxMessages = Annotated[
    int | None,
    typer.Option(
        "--max-messages",
        help="End with the burst that brings this many messages.",
        rich_help_panel=_LIMITS,
    ),
]
BufferCapacity = Annotated[
    int,
    typer.Option(
        "--buffer-capacity",
        help="Records that the ring holds, a power of two.",
        rich_help_panel=_INGESTION,
    ),
]
Policy = Annotated[
    str,
    typer.Option(
        "--policy",
        metavar="block|drop",
        help="What a full ring does: let the feed wait, or drop the newest.",
        rich_help_panel=_INGESTION,
    ),
]
HistogramFile = Annotated[
    Path | None,
    typer.Option(
        "--latency-histogram",
        metavar="FILE",
        help="Write both histograms: *.hgrm as percentile tables, else as an HdrHistogram log.",
    ),
]


def backend_options(pairs: list[str] | None) -> dict[str, Any]:
    """``--option NAME=VALUE`` as the configuration's ``options``; empty when none was given."""
    out = {}
    for pair in pairs or []:
        name, equals, value = pair.partition("=")
        if not name or not equals:
            raise ConfigError(problem("--option", pair, "NAME=VALUE, such as mode=native"))
        out[name] = value
    return {"options": out} if out else {}


def ingestion_config(
    spec: str | None, flow: str | None, file: Path | None, pairs: list[str] | None, **flags: object
) -> IngestionConfig:
    """A configuration from a file, a port spec, a GROUP:PORT and flags, later ones winning."""
    layers: list[dict[str, Any]] = []
    if file is not None:
        layers.append(IngestionConfig.read_toml(file))
    if spec is not None:
        layers.append(IngestionConfig.fields_of_spec(spec))
    if flow is not None:
        host, port = flow_of(flow, "GROUP:PORT")
        layers.append({"host": host, "port": port})
    layers.append({name: value for name, value in flags.items() if value is not None})
    layers.append(backend_options(pairs))
    return IngestionConfig(**merged(*layers))


def check_limits(max_seconds: float | None, max_messages: int | None) -> None:
    """Raises :class:`ConfigError` for a limit that is none."""
    problems = []
    if max_seconds is not None and not 0 < max_seconds <= 1e9:
        problems.append(problem("--max-seconds", max_seconds, "above 0, at most 1e9 seconds"))
    if max_messages is not None and max_messages < 1:
        problems.append(problem("--max-messages", max_messages, "at least 1"))
    if problems:
        raise ConfigError("\n".join(problems))
