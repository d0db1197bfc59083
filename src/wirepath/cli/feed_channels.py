"""``wirepath feed`` with several lines, channels or servers."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import typer

from .. import hdr
from ..accounting import dropped
from ..config import merged
from ..errors import ConfigError
from ..feed_client import FeedClient
from ..feed_config import FeedConfig, FeedSettings, LineConfig, RecoveryConfig, is_feed
from ..flows import flow_of
from ..intake import RingBuffer
from ..settings import problem, read_document
from ..stats import IngestionStats
from . import options as o
from . import output
from .exits import Exit
from .live import live
from .records import RecordFile, RowFiles
from .stopping import stop_asked


class Limits(NamedTuple):
    """When a feed ends besides its own end."""

    max_seconds: float | None
    max_messages: int | None
    follow: bool


def feed_config(
    spec: str | None,
    flows: list[str],
    file: Path | None,
    pairs: list[str] | None,
    flags: Mapping[str, object],
    *,
    recovery: str | None,
    state: Path | None,
    ring: tuple[int, str],
) -> FeedConfig | None:
    """What the arguments describe, or None where one line without recovery does."""
    shared: dict[str, Any] = {}
    if state is not None:
        shared["state"] = str(state)
    document = read_document(file) if file is not None else {}
    if file is not None and is_feed(document):
        given = {name: value for name, value in flags.items() if value is not None}
        given |= {"flow": flows} if flows else {}
        given |= {"recovery": recovery} if recovery is not None else {}
        return _of_file(file, spec, given, shared | o.backend_options(pairs))
    if len(flows) < 2 and recovery is None and state is None:
        return None
    first = flows[0] if flows else None
    ingestion = o.ingestion_config(spec, first, file, pairs, **flags)
    lines = tuple(
        LineConfig(group=host, port=port)
        for host, port in (flow_of(flow, "GROUP:PORT") for flow in flows[1:])
    )
    servers: tuple[RecoveryConfig, ...] = ()
    if recovery is not None:
        try:
            servers = (RecoveryConfig(kind="mold_udp64", server=recovery),)
        except ConfigError:
            must = RecoveryConfig.must("server")
            raise ConfigError(problem("--recovery", recovery, must)) from None
    return FeedConfig.of_ingestion(
        ingestion,
        lines=lines,
        recovery=servers,
        ring_capacity=ring[0],
        ring_policy=ring[1],
        **shared,
    )


def _of_file(
    file: Path, spec: str | None, given: Mapping[str, object], shared: Mapping[str, Any]
) -> FeedConfig:
    """The file's feed; options of the port and the worker given here win."""
    config = FeedConfig.from_toml(file)
    wrong = [name for name in given if name not in FeedSettings.model_fields]
    if wrong:
        raise ConfigError(
            "\n".join(
                problem(f"--{name.replace('_', '-')}", given[name], f"given in {file}, by channel")
                for name in wrong
            )
        )
    changes = merged(given, FeedSettings.fields_of_spec(spec) if spec is not None else {}, shared)
    return config.replace(feed=config.feed.replace(**changes)) if changes else config


NOTHING_CAME = (
    "nothing came: is this the group, the port and the interface? (wirepath info PORT GROUP:PORT "
    "says what the kernel granted)"
)


def feed_channels(
    config: FeedConfig,
    *,
    limits: Limits,
    out: Path | None,
    rows: Path | None,
    histogram: Path | None,
    fail_on_loss: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Run a feed and say what became of it."""
    feed = config.feed
    ring = RingBuffer(feed.ring_capacity, feed.ring_policy, feed.ring_name)
    stats = IngestionStats()
    client = FeedClient(config)
    with ExitStack() as stack:
        records = stack.enter_context(RecordFile(out)) if out is not None else None
        fields = None
        if rows is not None:
            if not any(channel.message for channel in config.channel):
                must = "left out: no channel declares messages ([[channel.message]])"
                raise ConfigError(problem("--rows", str(rows), must))
            fields = stack.enter_context(RowFiles(rows))
        stop = stack.enter_context(stop_asked())
        stack.enter_context(client)
        client.start_ingestion(ring, stats)
        if not quiet:
            ports = ", ".join(
                str(info["device"] or info["backend"]) for info in client.backend_infos
            )
            output.stderr.print(f"listening on {ports}", markup=False)
        title = f"feed {', '.join(channel.name for channel in config.channel)}"
        with live(title, quiet=quiet) as show:
            interrupted = client.run(
                max_seconds=limits.max_seconds,
                max_messages=limits.max_messages,
                follow=limits.follow,
                on_records=records.write if records else None,
                on_rows=fields.write if fields else None,
                on_progress=show,
                stop=stop,
            )
    summary = client.summary() | {
        "consumed": client.consumed,
        "interrupted": interrupted,
        "elapsed": stats.elapsed,
        "rate": stats.rate,
        "latency_ns": stats.latency_ns(),
        "dropped": dropped(client.port_stats(), client.snapshot()),
        "ports": client.backend_infos,
        "port_stats": client.port_stats(),
    }
    if histogram is not None:
        hdr.write(
            histogram,
            {"wire_to_ring": stats.wire_to_ring, "ring_to_consumer": stats.ring_to_consumer},
            start=client.started,
            seconds=stats.elapsed,
        )
    if as_json:
        output.emit(summary)
    else:
        _show(summary)
    if not summary["packets"] and not quiet:
        output.stderr.print(NOTHING_CAME, markup=False)
    if interrupted:
        raise typer.Exit(Exit.INTERRUPTED)
    if fail_on_loss and (summary["missing"] or summary["ring_full"]):
        raise typer.Exit(Exit.FAILED)


def _show(summary: dict[str, Any]) -> None:
    console = output.stdout()
    names = ("packets", "messages", "rate", "missing", "ring_full", "elapsed")
    console.print(output.facts("feed", {name: summary[name] for name in names}))
    rows = [
        (
            c["name"],
            c["session"],
            c["messages"],
            c["missing"],
            c["counters"]["recovered"],
            c["recovery"]["requests"],
        )
        for c in summary["channels"]
    ]
    columns = ["channel", "session", "messages", "missing", "recovered", "requests"]
    console.print(output.table("channels", columns, rows))
    lines = [
        (
            f"{c['name']} {line['label']}",
            line["packets"],
            line["won"],
            line["missing"],
            f"{line['loss']:.4%}",
            "–" if line["skew_ns"] is None else output.duration(line["skew_ns"]),
        )
        for c in summary["channels"]
        for line in c["lines"]
    ]
    columns = ["line", "packets", "first", "missing", "loss", "skew"]
    console.print(output.table("lines", columns, lines))
    given_up = [(c["name"], *gap[:3]) for c in summary["channels"] for gap in c["abandoned"]]
    if given_up:
        columns = ["channel", "first", "last", "why"]
        console.print(output.table("given up", columns, given_up[-20:]))
        if len(given_up) > 20:
            console.print(f"and {len(given_up) - 20:,} more")
    for channel in summary["channels"]:
        for name, server in channel["servers"].items():
            if server["trouble"]:
                text = f"{channel['name']}: {name} server {server['trouble']}"
                console.print(text, style="dim", markup=False)
    if summary["sinks"]:
        written = [
            (name, s["offered"], s["written"], s["dropped"]) for name, s in summary["sinks"].items()
        ]
        columns = ["sink", "offered", "written", "dropped"]
        console.print(output.table("sinks", columns, written))
    lost = [(name, n) for name, n in summary["dropped"].items() if n]
    if lost:
        console.print(output.table("lost or left out", ["layer", "count"], lost))
