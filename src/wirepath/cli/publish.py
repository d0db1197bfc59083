"""``wirepath publish``."""

from __future__ import annotations

import signal
import socket
from pathlib import Path
from typing import Annotated, Any

import typer
from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from ..errors import ConfigError
from ..publish import LineConfig, PublishConfig, Publisher, flow_of
from ..settings import problem
from . import output
from .exits import Exit
from .options import Json, Quiet, check_limits, help_of

_PACE, _SOURCE, _STREAM, _PORT = "Pace (one of them)", "Source", "Stream", "Port"
_LINES, _ANEW, _SERVERS = "Lines", "Numbers that begin anew", "Servers"


def _field(name: str, panel: str, *flags: str, metavar: str | None = None) -> Any:  # noqa: ANN401
    return typer.Option(
        *(flags or (f"--{name.replace('_', '-')}",)),
        help=help_of(PublishConfig, name),
        rich_help_panel=panel,
        show_default=False,
        metavar=metavar,
    )


def publish(
    *,
    source: Annotated[
        str | None, typer.Argument(metavar="[generated|FILE]", help="What to publish.")
    ] = None,
    to: Annotated[
        str | None,
        typer.Option(
            "--to",
            metavar="GROUP:PORT",
            help="Where to, multicast or unicast. \\[default: 239.1.1.1:9001]",
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            metavar="FILE",
            help="TOML file with a table \\[publish]; options given here win.",
        ),
    ] = None,
    via: Annotated[str | None, _field("via", _PORT, metavar="PORT")] = None,
    rate: Annotated[float | None, _field("rate", _PACE)] = None,
    packet_rate: Annotated[float | None, _field("packet_rate", _PACE)] = None,
    speed: Annotated[float | None, _field("speed", _PACE)] = None,
    fast: Annotated[bool | None, _field("fast", _PACE, "--fast/--no-fast")] = None,
    messages: Annotated[int | None, _field("messages", _SOURCE)] = None,
    seed: Annotated[int | None, _field("seed", _SOURCE)] = None,
    symbols: Annotated[int | None, _field("symbols", _SOURCE)] = None,
    day_burst: Annotated[int | None, _field("day_burst", _SOURCE)] = None,
    flow: Annotated[str | None, _field("flow", _SOURCE, metavar="GROUP:PORT")] = None,
    session: Annotated[str | None, _field("session", _STREAM)] = None,
    first_sequence: Annotated[int | None, _field("first_sequence", _STREAM)] = None,
    max_payload: Annotated[int | None, _field("max_payload", _STREAM)] = None,
    max_messages: Annotated[int | None, _field("max_messages", _STREAM)] = None,
    pack_window_us: Annotated[int | None, _field("pack_window_us", _STREAM)] = None,
    heartbeat: Annotated[float | None, _field("heartbeat", _STREAM)] = None,
    linger: Annotated[float | None, _field("linger", _STREAM)] = None,
    end_of_session: Annotated[int | None, _field("end_of_session", _STREAM)] = None,
    end_of_session_interval: Annotated[
        float | None, _field("end_of_session_interval", _STREAM)
    ] = None,
    ttl: Annotated[int | None, _field("ttl", _PORT)] = None,
    loop: Annotated[bool | None, _field("loop", _PORT, "--loop/--no-loop")] = None,
    source_host: Annotated[str | None, _field("source_host", _PORT)] = None,
    source_port: Annotated[int | None, _field("source_port", _PORT)] = None,
    destination_mac: Annotated[str | None, _field("destination_mac", _PORT)] = None,
    cpu_core: Annotated[int | None, _field("cpu_core", _PORT)] = None,
    burst: Annotated[int | None, _field("burst", _PORT)] = None,
    on_refused: Annotated[str | None, _field("on_refused", _PORT, metavar="retry|drop")] = None,
    spin_us: Annotated[int | None, _field("spin_us", _PORT)] = None,
    line: Annotated[
        list[str] | None,
        typer.Option(
            "--line",
            metavar="GROUP:PORT[,NAME=VALUE…]",
            rich_help_panel=_LINES,
            help="A line in the place of --to; may be repeated. NAME: "
            + ", ".join(name for name in LineConfig.model_fields if name != "to")
            + ".",
        ),
    ] = None,
    reset_at: Annotated[int | None, _field("reset_at", _ANEW)] = None,
    reset_by: Annotated[str | None, _field("reset_by", _ANEW, metavar="data|heartbeat")] = None,
    rollover_at: Annotated[int | None, _field("rollover_at", _ANEW)] = None,
    next_session: Annotated[str | None, _field("next_session", _ANEW)] = None,
    rollover_end: Annotated[
        bool | None, _field("rollover_end", _ANEW, "--rollover-end/--no-rollover-end")
    ] = None,
    changeover: Annotated[float | None, _field("changeover", _ANEW)] = None,
    history_mb: Annotated[int | None, _field("history_mb", _SERVERS)] = None,
    retransmit: Annotated[str | None, _field("retransmit", _SERVERS, metavar="HOST:PORT")] = None,
    retransmit_rate: Annotated[float | None, _field("retransmit_rate", _SERVERS)] = None,
    retransmit_delay_us: Annotated[int | None, _field("retransmit_delay_us", _SERVERS)] = None,
    retransmit_loss: Annotated[float | None, _field("retransmit_loss", _SERVERS)] = None,
    retransmit_silent: Annotated[
        bool | None,
        _field("retransmit_silent", _SERVERS, "--retransmit-silent/--no-retransmit-silent"),
    ] = None,
    soup: Annotated[str | None, _field("soup", _SERVERS, metavar="HOST:PORT")] = None,
    glimpse: Annotated[str | None, _field("glimpse", _SERVERS, metavar="HOST:PORT")] = None,
    username: Annotated[str | None, _field("username", _SERVERS)] = None,
    password: Annotated[str | None, _field("password", _SERVERS)] = None,
    serve_linger: Annotated[float | None, _field("serve_linger", _SERVERS)] = None,
    max_seconds: Annotated[
        float | None, typer.Option("--max-seconds", help="Stop after this long.")
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Publish a generated day, an ITCH file or a capture over MoldUDP64.

    Without a pace a capture goes at its original one and messages at 100,000 a second. Lines,
    each with losses of its own, and servers make it the test peer of a feed handler.

    Example:  [bold]wirepath publish --to 239.1.1.1:9001 --via socket:eth0 --rate 2e5[/bold]
    """
    given = dict(locals())
    check_limits(max_seconds, None)
    for name in ("as_json", "quiet", "max_seconds", "to", "config"):
        given.pop(name)
    fields = {} if config is None else PublishConfig.read_toml(config)
    fields |= {name: value for name, value in given.items() if value is not None}
    if to is not None:
        if line:
            raise ConfigError(problem("--to", to, "left out with --line"))
        fields["host"], fields["port"] = flow_of(to, "--to")
        fields.pop("line", None)  # a file's
    settings = PublishConfig(**fields)
    publisher = Publisher(settings)
    if settings.via == "socket:" and not quiet:
        _say_where(settings)
    report: dict[str, Any]
    interrupted = False
    about = publisher.source
    try:
        # Who started this process may have held the signal back until there is a report to give.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        with output.progress(quiet=quiet) as bar:
            task = bar.add_task("messages", total=about.messages)
            if about.packets is not None:
                bar.update(task, description="packets", total=about.packets)

            def show(running: Publisher) -> None:
                done = running.packets if about.packets is not None else running.published
                bar.update(task, completed=done)

            report = publisher.run(on_progress=show, max_seconds=max_seconds)
    except KeyboardInterrupt:
        interrupted = True
        report = publisher.join() if publisher.started else publisher.report()
    report["interrupted"] = interrupted
    if as_json:
        output.emit(report)
    else:
        _show(report)
    if interrupted:
        raise typer.Exit(Exit.INTERRUPTED)
    if report["drops"].get("drop.messages") or report["drops"].get("drop.packets"):
        raise typer.Exit(Exit.FAILED)


def _say_where(settings: PublishConfig) -> None:
    """Without an interface the kernel's routes decide, perhaps for one that was not meant."""
    lines = [flow_of(line.to)[0] for line in settings.line]
    for to in dict.fromkeys(lines or [settings.host]):
        try:
            with IPRoute() as routes:
                found = routes.route("get", dst=to)
            name = socket.if_indextoname(found[0].get_attr("RTA_OIF"))
        except (NetlinkError, OSError, IndexError, TypeError):
            continue  # the report tells what became of the packets
        output.stderr.print(
            f"{to} goes out of {name}, as the kernel routes it (--via socket:IFACE: another)",
            markup=False,
        )


def _show(report: dict[str, Any]) -> None:
    console = output.stdout()
    shown = {
        name.replace("_", " "): report[name]
        for name in (
            "source",
            "to",
            "packets",
            "messages",
            "bytes",
            "heartbeats",
            "end_of_session",
            "sending_seconds",
            "messages_per_second",
            "packets_per_second",
            "tx_refused",
            "drops",
        )
    }
    if len(report["lines"]) > 1 or report["lines"][0]["lost"]["messages"]:
        for number, line in enumerate(report["lines"], 1):
            shown[f"line {number}"] = {n: v for n, v in line.items() if v and n != "lost"}
        everywhere = report["lost_everywhere"]
        shown["lost by every line"] = {n: everywhere[n] for n in ("messages", "ranges")}
    for server in ("retransmit", "soup", "glimpse"):
        if report[server] is not None:
            shown[server] = {n: v for n, v in report[server].items() if v}
    shown["lateness"] = {
        name: output.duration(value) for name, value in report["lateness_ns"].items()
    }
    shown["sending NIC dropped"] = report["port_stats"].get("nic.tx_dropped", "not known")
    console.print(output.facts("published", shown))
