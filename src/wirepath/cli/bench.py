"""``wirepath bench``: its commands, and ``ingest``."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Annotated, Any

import typer

from .. import hdr
from ..config import INTERFACE_BACKENDS, IngestionConfig
from ..errors import LabUnavailable
from ..ingestion import RingBuffer
from ..lab import Lab, unavailable_reason
from ..measure import Run, measure, unique_port
from ..publish import PublishConfig
from . import bench_path, output
from . import options as o
from .exits import Exit
from .live import live

app = typer.Typer(help="Measured runs.", no_args_is_help=True)

_GROUP = "239.87.80.1"
_PUBLISHER = "Own publisher"


@app.callback()
def _bench() -> None:
    """Measured runs."""


app.command("baseline")(bench_path.baseline)
app.command("run")(bench_path.run)
app.command("compare")(bench_path.compare)
app.command("send")(bench_path.send)


@app.command()
def ingest(
    *,
    config: o.ConfigFile = None,
    backend: Annotated[
        str | None,
        typer.Option(
            "--backend", help="socket, af_xdp, ef_vi, pcap, null.", rich_help_panel="Ingestion"
        ),
    ] = None,
    interface_name: Annotated[
        str | None,
        typer.Option(
            "--interface-name",
            help="Interface of a feed that somebody else publishes.",
            rich_help_panel="Ingestion",
        ),
    ] = None,
    host: Annotated[
        str | None,
        typer.Option("--host", help="Its group or address.", rich_help_panel="Ingestion"),
    ] = None,
    port: Annotated[
        int | None, typer.Option("--port", help="Its UDP port.", rich_help_panel="Ingestion")
    ] = None,
    capture: Annotated[
        str | None, typer.Option("--capture", help="Capture (pcap).", rich_help_panel="Ingestion")
    ] = None,
    rx_ring_size: o.RxRingSize = None,
    batch_size: o.BatchSize = None,
    cpu_core: o.CpuCore = None,
    enable_zero_copy: o.ZeroCopy = None,
    enable_numa_awareness: o.Numa = None,
    zero_copy_threshold: o.ZeroCopyThreshold = None,
    poll_timeout_us: o.PollTimeout = None,
    idle: o.Idle = None,
    session: o.Session = None,
    next_sequence: o.NextSequence = None,
    channel: o.Channel = None,
    session_date: o.SessionDate = None,
    option: o.BackendOptions = None,
    buffer_capacity: o.BufferCapacity = 1 << 16,
    policy: o.Policy = "block",
    rate: Annotated[
        float | None,
        typer.Option(
            "--rate",
            help="Messages a second. \\[default: as fast as the port takes them]",
            rich_help_panel=_PUBLISHER,
            show_default=False,
        ),
    ] = None,
    messages: Annotated[
        int, typer.Option("--messages", help="To publish.", rich_help_panel=_PUBLISHER)
    ] = 1_000_000,
    seed: Annotated[
        int, typer.Option("--seed", help="Of the day.", rich_help_panel=_PUBLISHER)
    ] = 1,
    max_payload: Annotated[
        int, typer.Option("--max-payload", help="Bytes.", rich_help_panel=_PUBLISHER)
    ] = 1400,
    queues: Annotated[
        int, typer.Option("--queues", help="Of the lab's NICs.", rich_help_panel=_PUBLISHER)
    ] = 1,
    max_seconds: o.MaxSeconds = 60.0,
    max_messages: o.MaxMessages = None,
    latency_histogram: o.HistogramFile = None,
    fail_on_loss: Annotated[
        bool, typer.Option("--fail-on-loss", help="Exit 1 when anything was lost, too.")
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Also every counter and the port's info.")
    ] = False,
    as_json: o.Json = False,
    quiet: o.Quiet = False,
) -> None:
    """Measure ingestion: packets, messages, loss by layer, latency, packets per second per core.

    Given no interface and host it runs against its own publisher: in a lab of two hosts where it
    may make one, over loopback otherwise (socket only). Then
    [bold]published = delivered + Σ counted drops[/bold] is checked for packets and messages, and
    exit code 1 says that it does not add up.

    Example:  [bold]sudo wirepath bench ingest --backend af_xdp --rate 500000[/bold]
    """
    o.check_limits(max_seconds, max_messages)
    if latency_histogram is not None:
        hdr.check_path(latency_histogram)
    fields: dict[str, Any] = {
        "backend": backend,
        "interface_name": interface_name,
        "host": host,
        "port": port,
        "capture": capture,
        "rx_ring_size": rx_ring_size,
        "batch_size": batch_size,
        "cpu_core": cpu_core,
        "enable_zero_copy": enable_zero_copy,
        "enable_numa_awareness": enable_numa_awareness,
        "zero_copy_threshold": zero_copy_threshold,
        "poll_timeout_us": poll_timeout_us,
        "idle": idle,
        "session": session,
        "next_sequence": next_sequence,
        "channel": channel,
        "session_date": session_date,
    }
    base = IngestionConfig.read_toml(config) if config is not None else {}
    chosen = backend or base.get("backend", "socket")
    own = chosen in INTERFACE_BACKENDS and not any(
        name in base or fields[name] is not None for name in ("interface_name", "host")
    )
    ring = RingBuffer(buffer_capacity, policy)
    limits: dict[str, Any] = {"max_seconds": max_seconds, "max_messages": max_messages}
    with ExitStack() as stack:
        show = stack.enter_context(live(f"bench ingest, {chosen}", quiet=quiet))
        if not own:
            settings = o.ingestion_config(None, None, config, option, **fields)
            where = "as configured"
            run = measure(settings, ring=ring, on_progress=show, **limits)
        else:
            net = _lab(chosen, queues)
            where = "lab of two hosts over veth" if net is not None else "loopback"
            fields |= {
                "backend": chosen,
                "host": _GROUP,
                "port": base.get("port", unique_port()) if port is None else port,
            }
            fields["interface_name"] = "lo"
            if net is not None:
                stack.enter_context(net)
                fields["interface_name"] = net["b"].interface.name
            settings = o.ingestion_config(None, None, config, option, **fields)
            publish = PublishConfig(
                host=_GROUP,
                port=fields["port"],
                via=f"socket:{net['a'].interface.name}" if net is not None else "socket:lo",
                messages=messages,
                seed=seed,
                max_payload=max_payload,
                **({"fast": True} if rate is None else {"rate": rate}),
            )
            run = measure(
                settings,
                publish,
                receiver=net["b"] if net is not None else None,
                sender=net["a"] if net is not None else None,
                ring=ring,
                on_progress=show,
                **limits,
            )
    if latency_histogram is not None:
        hdr.write(
            latency_histogram,
            {"wire_to_ring": run.wire_to_ring, "ring_to_consumer": run.ring_to_consumer},
            start=run.started,
            seconds=run.seconds,
        )
    if as_json:
        output.emit({"where": where, **run.to_dict()})
    else:
        show_run(run, where, verbose=verbose)
    if run.interrupted:
        raise typer.Exit(Exit.INTERRUPTED)
    if run.account is not None:
        lost = run.account.packets.dropped + run.account.messages.dropped
        if not run.account.balanced or (fail_on_loss and lost):
            raise typer.Exit(Exit.FAILED)


def _lab(backend: str, queues: int) -> Lab | None:
    """A lab, or None where loopback will do."""
    refusal = unavailable_reason()
    if refusal is None:
        return Lab(f"bench{unique_port()}", queues=queues)
    if backend == "socket":
        return None
    raise LabUnavailable(f"the {backend} backend is measured in a lab: {refusal}")


def show_run(run: Run, where: str, *, verbose: bool) -> None:
    """A run as tables."""
    console = output.stdout()
    figures = run.to_dict()
    shown = {
        "where": where,
        "mode": run.info.get("mode"),
        "timestamps": run.info.get("timestamp_source"),
        "packets": run.packets,
        "messages": run.messages,
        "seconds": run.seconds,
        "packets/s": figures["packets_per_second"],
        "messages/s": figures["messages_per_second"],
        "worker's CPU": f"{run.cpu_seconds:.3f} s",
        "packets/s per core": figures["packets_per_second_per_core"],
        "ring high water": f"{run.ring['high_water']:,} of {run.ring['capacity']:,}",
    }
    console.print(output.facts(f"ingest {run.config.port_spec}", shown))
    rows = []
    quantiles = ("p50", "p90", "p99", "p99.9", "p99.99", "max")
    for name, values in figures["latency_ns"].items():
        if values:
            rows.append((name, *[output.duration(values[q]) for q in quantiles]))
    if rows:
        console.print(output.table("latency", ["", *quantiles], rows))
    if run.account is not None:
        for name, side in (("packets", run.account.packets), ("messages", run.account.messages)):
            lines = [("published", side.published, "")]
            lines += [(line.layer, -line.count, line.why) for line in side.drops if line.count]
            lines += [("delivered", side.delivered, ""), ("residual", side.residual, "must be 0")]
            console.print(output.table(name, ["layer", "count", ""], lines))
            console.print(side.equation(), style="green" if not side.residual else "bold red")
    if verbose:
        counters = {**run.port_stats, **{f"worker.{k}": v for k, v in run.worker_stats.items()}}
        console.print(output.facts("counters", counters))
        console.print(output.facts("port", {k: v for k, v in run.info.items() if k != "config"}))
    for each in run.info["not_honoured"]:
        if not each["asked"]:  # a default that does not apply here is no news
            continue
        console.print(
            f"not honoured: {each['option']} = {each['value']}: {each['reason']}",
            style="dim",
            markup=False,
        )
