"""``wirepath feed``."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import typer

from .. import hdr
from ..accounting import by_type, dropped, feed_totals, gaps
from ..config import IngestionConfig
from ..errors import ConfigError
from ..ingestion import IngestionClient, RingBuffer
from ..measure import Consumer
from ..settings import missing, problem
from ..stats import IngestionStats
from . import options as o
from . import output
from .exits import Exit
from .feed_channels import NOTHING_CAME, Limits, feed_channels, feed_config
from .live import live
from .records import RecordFile
from .stopping import stop_asked


def feed(
    *,
    port: Annotated[
        str | None, typer.Argument(metavar="[PORT]", help="Port spec; or --config says it.")
    ] = None,
    flow: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[GROUP:PORT]...",
            help="The feed's group or address, and UDP port; further ones are further lines.",
        ),
    ] = None,
    config: o.ConfigFile = None,
    session: o.Session = None,
    next_sequence: o.NextSequence = None,
    channel: o.Channel = None,
    session_date: o.SessionDate = None,
    rx_ring_size: o.RxRingSize = None,
    batch_size: o.BatchSize = None,
    cpu_core: o.CpuCore = None,
    enable_zero_copy: o.ZeroCopy = None,
    enable_numa_awareness: o.Numa = None,
    zero_copy_threshold: o.ZeroCopyThreshold = None,
    poll_timeout_us: o.PollTimeout = None,
    idle: o.Idle = None,
    option: o.BackendOptions = None,
    recovery: Annotated[
        str | None,
        typer.Option(
            "--recovery", metavar="HOST:PORT", help="MoldUDP64 request server to ask for gaps."
        ),
    ] = None,
    state: Annotated[
        Path | None,
        typer.Option(
            "--state",
            metavar="FILE",
            help="Go on from the session and number in this file, and keep them there.",
        ),
    ] = None,
    buffer_capacity: o.BufferCapacity = 1 << 16,
    policy: o.Policy = "block",
    max_seconds: o.MaxSeconds = None,
    max_messages: o.MaxMessages = None,
    follow: Annotated[
        bool, typer.Option("--follow", help="Go on when the session has ended.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="Write the records: *.npy or *.csv."),
    ] = None,
    rows: Annotated[
        Path | None,
        typer.Option(
            "--rows",
            metavar="DIR",
            help="Write the fields of declared messages (\\[\\[channel.message]]): *.npy.",
        ),
    ] = None,
    latency_histogram: o.HistogramFile = None,
    fail_on_loss: Annotated[
        bool, typer.Option("--fail-on-loss", help="Exit 1 when a message is missing or lost.")
    ] = False,
    as_json: o.Json = False,
    quiet: o.Quiet = False,
) -> None:
    """Take in a feed and say what came, what was lost, and how fast.

    PORT and GROUP:PORT take one MoldUDP64/ITCH 5.0 channel in, with as many lines as are named. A
    TOML file (--config) may describe many channels and venues, their lines, recovery servers and
    sinks. A capture is read to its end. A live feed ends with its sessions, at a limit, or at
    Ctrl-C. A capture without GROUP:PORT gives every UDP frame.

    Example:  [bold]wirepath feed af_xdp:eth0 239.1.1.1:9001 --max-seconds 60 --json[/bold]
    Example:  [bold]wirepath feed socket:eth0 239.1.1.1:9001 239.1.1.2:9001 --recovery
    10.0.0.9:9100[/bold]
    """
    o.check_limits(max_seconds, max_messages)
    if latency_histogram is not None:
        hdr.check_path(latency_histogram)
    flags = {
        "session": session,
        "next_sequence": next_sequence,
        "channel": channel,
        "session_date": session_date,
        "rx_ring_size": rx_ring_size,
        "batch_size": batch_size,
        "cpu_core": cpu_core,
        "enable_zero_copy": enable_zero_copy,
        "enable_numa_awareness": enable_numa_awareness,
        "zero_copy_threshold": zero_copy_threshold,
        "poll_timeout_us": poll_timeout_us,
        "idle": idle,
    }
    flows = flow or []
    if port is None and config is None:
        raise ConfigError(
            missing("PORT", "a port spec such as socket:eth0 before GROUP:PORT, or --config FILE")
        )
    several = feed_config(
        port,
        flows,
        config,
        option,
        flags,
        recovery=recovery,
        state=state,
        ring=(buffer_capacity, policy),
    )
    if several is not None:
        feed_channels(
            several,
            limits=Limits(max_seconds, max_messages, follow=follow),
            out=out,
            rows=rows,
            histogram=latency_histogram,
            fail_on_loss=fail_on_loss,
            as_json=as_json,
            quiet=quiet,
        )
        return
    if rows is not None:
        raise ConfigError(problem("--rows", str(rows), "with a --config that declares messages"))
    settings = o.ingestion_config(port, flows[0] if flows else None, config, option, **flags)
    ring, stats = RingBuffer(buffer_capacity, policy), IngestionStats()
    client = IngestionClient(settings)
    with ExitStack() as stack:
        records = stack.enter_context(RecordFile(out)) if out is not None else None
        stop = stack.enter_context(stop_asked())
        stack.enter_context(client)
        client.start_ingestion(ring, stats)
        if settings.live_timestamps and not quiet:
            output.stderr.print(f"listening on {settings.port_spec}", markup=False)
        consumer = Consumer(
            client,
            stats,
            ring,
            max_seconds=max_seconds,
            max_messages=max_messages,
            follow=follow,
            on_records=records.write if records else None,
            stop=stop,
        )
        with live(f"feed {settings.port_spec}", quiet=quiet) as show:
            interrupted = consumer.run(show)
        client.stop_ingestion()
        consumer.drain()
    summary = summarise(client, stats, settings)
    summary["consumed"] = consumer.consumed
    summary["interrupted"] = interrupted
    if latency_histogram is not None:
        hdr.write(
            latency_histogram,
            {"wire_to_ring": stats.wire_to_ring, "ring_to_consumer": stats.ring_to_consumer},
            start=consumer.started,
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


def summarise(
    client: IngestionClient, stats: IngestionStats, config: IngestionConfig
) -> dict[str, Any]:
    """The object that ``--json`` ends with."""
    snapshot = client.snapshot()
    total = feed_totals(snapshot)
    (feed,) = snapshot["channels"]
    return {
        "packets": client.packets_received,
        "messages": total["messages"],
        "delivered": snapshot["delivered"],
        "by_type": by_type(snapshot),
        "gaps": [list(gap) for gap in gaps(snapshot)],
        "gaps_forgotten": total["gaps_abandoned"],
        "missing": total["missing"],
        "duplicates": total["duplicates"],
        "unknown": total["unknown"],
        "malformed": total["malformed"] + total["malformed_packets"],
        "filtered": total["filtered"],
        "ring_full": snapshot["ring_full"],
        "late": total["late"],
        "heartbeats": total["heartbeats"],
        "end_of_session": total["end_of_session"],
        "session": feed["session"],
        "session_changes": total["session_changes"],
        "next_sequence": feed["next_sequence"],
        "ended": snapshot["ended"],
        "elapsed": stats.elapsed,
        "rate": stats.rate,
        "dropped": dropped(client.port_stats(), snapshot),
        "latency_ns": stats.latency_ns(),
        "latency_note": ""
        if config.live_timestamps
        else "frames carry the capture's timestamps, so wire-to-ring latency cannot be told "
        "(--option timestamps=replay stamps them as they are handed out)",
        "port": client.backend_info,
        "port_stats": client.port_stats(),
    }


def _show(summary: dict[str, Any]) -> None:
    console = output.stdout()
    names = ("session", "packets", "messages", "rate", "missing", "duplicates", "unknown")
    facts = {name: summary[name] for name in (*names, "malformed", "late", "ring_full", "elapsed")}
    console.print(output.facts(f"feed {summary['port']['backend']}", facts))
    types = sorted(summary["by_type"].items(), key=lambda row: -row[1])
    console.print(output.table("messages", ["type", "count"], types))
    lost = [(name, n) for name, n in summary["dropped"].items() if n]
    if lost:
        console.print(output.table("lost or left out", ["layer", "count"], lost))
    gaps = summary["gaps"]
    if gaps:
        console.print(output.table("gaps", ["first", "last"], gaps[:20]))
        if len(gaps) > 20:
            console.print(f"and {len(gaps) - 20:,} more")
    latency = summary["latency_ns"]
    quantiles = list(latency["ring_to_consumer"] or latency["wire_to_ring"])
    if quantiles:
        rows = [
            (name, *[output.duration(values[q]) if values else "–" for q in quantiles])
            for name, values in latency.items()
        ]
        console.print(output.table("latency", ["", *quantiles], rows))
    if summary["latency_note"]:
        console.print(summary["latency_note"], style="dim")
    for each in summary["port"]["not_honoured"]:
        if not each["asked"]:  # a default that does not apply here is no news
            continue
        console.print(
            f"not honoured: {each['option']} = {each['value']}: {each['reason']}",
            style="dim",
            markup=False,
        )
