"""``wirepath bench baseline``, ``run``, ``compare`` and ``send``."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import typer

from .. import bench
from ..bench.channel import tcp_address
from ..bench.ends import Message, SenderEnd, serve_sender
from ..bench.zero_loss import Search
from ..errors import ConfigError
from ..hdr import check_path
from ..measure import unique_port
from ..publish import flow_of
from ..settings import problem
from . import options as o
from . import output

_TRAFFIC = "Traffic"
_ENDS = "Ends"
_SEARCH = "Zero-loss search"


def _traffic(flag: str, text: str, metavar: str | None = None) -> Any:  # noqa: ANN401
    return typer.Option(flag, help=text, rich_help_panel=_TRAFFIC, metavar=metavar)


def _ends(flag: str, text: str, metavar: str | None = None) -> Any:  # noqa: ANN401
    return typer.Option(flag, help=text, rich_help_panel=_ENDS, metavar=metavar)


Size = Annotated[
    str,
    _traffic(
        "--size",
        "Bytes of the Ethernet frames without frame check sequence: one size, imix, or a mix as "
        "SIZE:WEIGHT,SIZE:WEIGHT.",
        "SIZES",
    ),
]
Rate = Annotated[
    float | None,
    _traffic(
        "--rate",
        "Packets a second on average. \\[default: 10000, or the capture's own]",
    ),
]
Burst = Annotated[int, _traffic("--burst", "Packets that are due at the same instant.")]
Arrivals = Annotated[
    str,
    _traffic("--arrivals", "Gaps between bursts: all alike, or random.", "even|poisson"),
]
Seed = Annotated[int, _traffic("--seed", "Of random sizes and gaps.")]
Like = Annotated[
    Path | None,
    _traffic("--like", "Capture (pcap, pcapng) whose sizes and gaps to send instead.", "FILE"),
]
Speed = Annotated[float | None, _traffic("--speed", "Times as fast as the capture. \\[default: 1]")]
Seconds = Annotated[float, _traffic("--seconds", "Of a repeat.")]
Repeats = Annotated[int, _traffic("--repeats", "Measured runs; a comparison needs 3 or more.")]
Warmup = Annotated[float, _traffic("--warmup", "Seconds before each repeat, not measured.")]
Stall = Annotated[
    float,
    _traffic(
        "--stall",
        "Stand still for this many ms in the middle of each repeat, as the receiver: to see that "
        "a stall shows.",
        "MS",
    ),
]
LabFlag = Annotated[
    bool, _ends("--lab", "Between two hosts of a lab made for it; interfaces are called wp0.")
]
Queues = Annotated[int, _ends("--queues", "Of the lab's interfaces.")]
To = Annotated[
    str | None,
    _ends("--to", "Group or address and UDP port. \\[default: a group of ours]", "GROUP:PORT"),
]
Via = Annotated[
    str | None,
    _ends("--via", "Port that sends, such as socket:eth1. \\[default: the lab's, or lo]", "PORT"),
]
SenderAt = Annotated[
    str | None,
    _ends("--sender", "A `wirepath bench send` on another host, instead of --via.", "HOST:PORT"),
]
Idle = Annotated[str, _ends("--idle", "What the receiver does without packets.", "sleep|spin")]
BatchSize = Annotated[int, _ends("--batch-size", "Largest burst that the receiver takes.")]
Core = Annotated[
    int, _ends("--cpu-core", "Of the receiver. -1: the last usable one; -2: none in particular.")
]
SenderCore = Annotated[
    int, _ends("--sender-core", "Of the sender. -1: the first usable one; -2: none.")
]
SourceIp = Annotated[
    str | None,
    _ends("--source-ip", "Of whole frames. \\[default: the interface's]"),
]
DestinationMac = Annotated[
    str | None,
    _ends("--destination-mac", "Of whole frames to an address that is no group."),
]
Option = Annotated[
    list[str] | None,
    typer.Option(
        "--option",
        "-o",
        metavar="NAME=VALUE",
        help="Option of the receiving backend (see `wirepath backends`); may be repeated.",
        rich_help_panel=_ENDS,
    ),
]
ZeroLossFlag = Annotated[
    bool,
    typer.Option(
        "--zero-loss",
        help="Also search for the highest rate without loss (RFC 2544).",
        rich_help_panel=_SEARCH,
    ),
]
Lowest = Annotated[
    float, typer.Option("--lowest", help="Packets a second.", rich_help_panel=_SEARCH)
]
Highest = Annotated[
    float, typer.Option("--highest", help="Packets a second.", rich_help_panel=_SEARCH)
]
Resolution = Annotated[
    float,
    typer.Option("--resolution", help="Share at which the search ends.", rich_help_panel=_SEARCH),
]
TrialSeconds = Annotated[
    float, typer.Option("--trial-seconds", help="Of a trial.", rich_help_panel=_SEARCH)
]
Confirm = Annotated[
    int,
    typer.Option(
        "--confirm", help="Trials in a row that a rate must pass.", rich_help_panel=_SEARCH
    ),
]
Output = Annotated[Path, typer.Option("--output", "-O", help="Result file.", metavar="FILE")]
Name = Annotated[
    str | None, typer.Option("--name", help="What to call it in reports. \\[default: the port]")
]
PortArgument = Annotated[
    str,
    typer.Argument(
        metavar="PORT",
        help="Port that receives: socket:eth0, af_xdp:eth0; without an interface that of the lab, "
        "or lo.",
    ),
]
ResultFile = Annotated[Path, typer.Argument(metavar="FILE", help="Result file.")]


def _core(core: int) -> int | None:
    return None if core == -2 else core


def _shape(
    size: str,
    rate: float | None,
    burst: int,
    arrivals: str,
    seed: int,
    *,
    like: Path | None,
    speed: float | None,
) -> bench.Shape:
    if like is None:
        if speed is not None:
            raise ConfigError(problem("--speed", speed, "left out unless --like gives a capture"))
        return bench.Shape.of(
            size,
            rate=10_000.0 if rate is None else rate,
            burst=burst,
            arrivals=cast(Literal["even", "poisson"], arrivals),
            seed=seed,
        )
    if rate is not None and speed is not None:
        raise ConfigError(
            problem("--speed", speed, "left out when --rate is given: they say the same")
        )
    return bench.Shape.from_capture(like, speed=1.0 if speed is None else speed, rate=rate)


def _brief(result: bench.Result) -> dict[str, Any]:
    """A result without its histograms and timelines."""
    return {
        "kind": result.kind,
        "name": result.name,
        "where": result.where,
        "shape": result.shape,
        "port": result.receiver["info"],
        "summary": result.summary,
        "planned": result.planned,
        "lost": result.lost,
        "account": [
            {**r.account.model_dump(), "equation": r.account.equation()} for r in result.repeats
        ],
        "zero_loss": result.zero_loss.model_dump() if result.zero_loss else None,
        "notes": result.notes,
    }


def show_result(result: bench.Result) -> None:
    """A result as tables."""
    console = output.stdout()
    figures = {m.label: m.text(result.summary.get(m.key)) for m in bench.METRICS}
    head = {
        "traffic": result.shape["describe"],
        "where": result.where,
        "mode": result.receiver["info"].get("mode"),
        "repeats": f"{len(result.repeats)} of {result.seconds:g} s",
    }
    console.print(output.facts(f"{result.kind} {result.name}", head | figures))
    for repeat in result.repeats:
        style = "bold red" if repeat.account.residual else "green"
        console.print(repeat.account.equation(), style=style)
    if result.zero_loss is not None:
        found = result.zero_loss
        rate = "none" if found.rate is None else f"{found.rate:,.0f} packets/s"
        console.print(
            f"zero loss: {rate} to within {found.resolution * 100:g} %, limit: {found.limit}"
        )
    for note in result.notes:
        console.print(note, style="dim", markup=False)


def _command(kind: Literal["baseline", "run"], port_default: Any, out_default: str) -> Any:  # noqa: ANN401
    """Both commands have the same options, so that they measure alike."""

    def measured(
        port: PortArgument = port_default,
        *,
        size: Size = "128",
        rate: Rate = None,
        burst: Burst = 1,
        arrivals: Arrivals = "even",
        seed: Seed = 1,
        like: Like = None,
        speed: Speed = None,
        seconds: Seconds = 2.0,
        repeats: Repeats = 5,
        warmup: Warmup = 0.2,
        stall: Stall = 0.0,
        lab: LabFlag = False,
        queues: Queues = 1,
        to: To = None,
        via: Via = None,
        sender: SenderAt = None,
        idle: Idle = "sleep",
        batch_size: BatchSize = 64,
        cpu_core: Core = -1,
        sender_core: SenderCore = -1,
        source_ip: SourceIp = None,
        destination_mac: DestinationMac = None,
        option: Option = None,
        zero_loss: ZeroLossFlag = False,
        lowest: Lowest = 1_000.0,
        highest: Highest = 2_000_000.0,
        resolution: Resolution = 0.02,
        trial_seconds: TrialSeconds = 1.0,
        confirm: Confirm = 1,
        out: Output = Path(out_default),
        name: Name = None,
        as_json: o.Json = False,
        quiet: o.Quiet = False,
    ) -> None:
        check_path(out)
        host, udp_port = flow_of(to, "--to") if to is not None else (bench.GROUP, unique_port())
        whole = {"source_ip": source_ip, "destination_mac": destination_mac}
        setup = bench.Setup(
            port,
            via=via,
            host=host,
            udp_port=udp_port,
            sender=sender,
            lab=lab,
            queues=queues,
            idle=cast(Literal["sleep", "spin"], idle),
            batch_size=batch_size,
            cpu_core=_core(cpu_core),
            sender_core=_core(sender_core),
            options=o.backend_options(option).get("options", {}),
            sender_options={key: value for key, value in whole.items() if value is not None},
        )
        shape = _shape(size, rate, burst, arrivals, seed, like=like, speed=speed)
        load = bench.Load(shape, seconds, repeats, warmup, stall / 1e3)
        search = Search(lowest, highest, resolution, trial_seconds, confirm) if zero_loss else None
        with _progress(f"bench {kind} {port}", quiet=quiet) as tell:
            measure = bench.baseline if kind == "baseline" else bench.run
            result = measure(setup, load, name=name, zero_loss=search, on_progress=tell)
        result.save(out)
        if as_json:
            output.emit({"file": str(out), **_brief(result)})
        else:
            show_result(result)
            output.stdout().print(f"written to {out}", markup=False, soft_wrap=True)

    measured.__doc__ = _HELP[kind]
    return measured


@contextmanager
def _progress(title: str, *, quiet: bool) -> Iterator[Callable[[str], object] | None]:
    if quiet or not output.stderr.is_terminal:
        yield None
        return
    with output.stderr.status(title) as status:
        yield lambda text: status.update(f"{title}: {text}")


_HELP = {
    "baseline": """Record the kernel's path under a load of your traffic's shape, into a file.

    The load is open-loop: packets have absolute deadlines, and latency counts from the deadline,
    so that a stall shows in the tail with its full length.

    Example:  [bold]sudo wirepath bench baseline --lab --like day.pcapng[/bold]
    """,
    "run": """Measure any port as `wirepath bench baseline` does the kernel's path.

    Example:  [bold]sudo wirepath bench run af_xdp --lab --like day.pcapng[/bold]
    """,
}
baseline = _command("baseline", "socket", "baseline.json")
run = _command("run", ..., "run.json")


def compare(
    a: ResultFile,
    b: ResultFile,
    *,
    anyway: Annotated[
        bool,
        typer.Option("--anyway", help="Show results of different traffic, too; without a verdict."),
    ] = False,
    as_json: o.Json = False,
) -> None:
    """Put two result files side by side, with intervals over the repeats and a plain verdict.

    A is the path in use today, B the one in question. Exit code 0 whatever the verdict is.

    Example:  [bold]wirepath bench compare baseline.json run.json[/bold]
    """
    both = bench.compare(bench.Result.load(a), bench.Result.load(b), anyway=anyway)
    if as_json:
        output.emit(both.to_dict())
        return
    console = output.stdout()
    rows = []
    for row in both.rows:
        if row.a is None and row.b is None:
            continue
        text = row.metric.text
        low_high = row.ratio_interval
        rows.append(
            (
                row.metric.label,
                text(row.a),
                text(row.b),
                "–" if row.ratio is None else f"×{row.ratio:.3g}",
                "–" if low_high is None else f"{low_high[0]:.3g} to {low_high[1]:.3g}",
                "" if row.sign in ("unknown", "same") else row.sign,
            )
        )
    columns = ("", f"A: {both.a.name}", f"B: {both.b.name}", "B / A", "95 %", "")
    console.print(output.table(both.a.shape["describe"], columns, rows))
    if both.nics:
        found = output.table("interfaces differ", ("setting", "A", "B"), both.nics)
        console.print(found, style="yellow")
    for note in both.notes:
        console.print(note, style="dim", markup=False)
    console.print(both.verdict.text, style="bold", markup=False)
    for reason in both.verdict.reasons:
        console.print(f"  · {reason}", markup=False)


def send(
    *,
    via: Annotated[str, typer.Option("--via", help="Port that sends, such as socket:eth1.")],
    to: Annotated[
        str, typer.Option("--to", metavar="GROUP:PORT", help="Where to: fixed here, not by others.")
    ],
    listen: Annotated[
        str,
        typer.Option(
            "--listen",
            metavar="HOST:PORT",
            help="Address on which `wirepath bench run --sender` reaches it. Whoever does can have "
            "load sent to --to, so keep it off networks that you do not trust.",
        ),
    ],
    source_ip: SourceIp = None,
    destination_mac: DestinationMac = None,
    cpu_core: Annotated[int | None, typer.Option("--cpu-core", help="Of the sender.")] = None,
    once: Annotated[bool, typer.Option("--once", help="End after the first conversation.")] = False,
    quiet: o.Quiet = False,
) -> None:
    """Send loads for a `wirepath bench run --sender` on another host, until interrupted.

    Example:  [bold]wirepath bench send --via socket:eth1 --to 239.1.1.1:9001
    --listen 10.0.0.2:9200[/bold]
    """
    host, port = flow_of(to, "--to")
    address = tcp_address(listen, "--listen")
    options = {"source_ip": source_ip, "destination_mac": destination_mac, "cpu_core": cpu_core}
    end = SenderEnd(via, host, port, options)
    try:
        with socket.create_server(address) as server:
            if not quiet:
                output.stderr.print(
                    f"sends to {to} via {via} for whoever asks at {listen}",
                    markup=False,
                    soft_wrap=True,
                )
            while True:
                connection, _ = server.accept()
                with connection:
                    _converse(end, connection)
                if once:
                    return
    finally:
        end.close()


def _converse(end: SenderEnd, connection: socket.socket) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def write(message: Message) -> None:
        connection.sendall(json.dumps(message).encode() + b"\n")

    def gone() -> bool:
        # Nothing is sent to us while we work: what can be read is the end.
        try:
            return not connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False

    try:
        with connection.makefile("r", encoding="utf-8") as lines:
            serve_sender(end, lines, write, gone)
    except (ConnectionError, BrokenPipeError) as error:
        output.stderr.print(f"the conversation broke off: {error}", style="dim")
