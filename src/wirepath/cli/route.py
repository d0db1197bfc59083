"""`wirepath route`: what the routing tables say, and what becomes of a packet."""

from __future__ import annotations

from dataclasses import asdict
from enum import StrEnum
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import ConfigError
from ..route import (
    Forwarding,
    KernelSource,
    Route,
    RouteTable,
    RouteType,
    Trace,
    read_fpm_dump,
    read_prefixes,
    trace,
)
from ..route.model import Path as Way
from ..route.model import Prefix, address_text, prefix_text
from ..route.trace import table_name
from ..settings import missing, problem
from . import output
from .options import Json

if TYPE_CHECKING:
    from ..route.probe import Ran

app = typer.Typer(
    help="Routing tables: show, look up, explain; and forward by them.", no_args_is_help=True
)

_SOURCE = "Source (without: the kernel's tables of this network namespace)"
FpmDump = Annotated[
    Path | None,
    typer.Option(
        "--fpm-dump",
        metavar="FILE",
        help="A recorded FPM stream of FRR (dplane_fpm_nl), gzip or not.",
        rich_help_panel=_SOURCE,
    ),
]
PrefixFile = Annotated[
    Path | None,
    typer.Option(
        "--prefixes",
        metavar="FILE",
        help="A file of prefixes, one a line, gzip or not; look-ups answer with the line.",
        rich_help_panel=_SOURCE,
    ),
]
Vrf = Annotated[str | None, typer.Option("--vrf", metavar="NAME", help="The tables of this VRF.")]
Addresses = Annotated[list[str], typer.Argument(metavar="ADDRESS...", help="IPv4 or IPv6.")]


class Family(StrEnum):
    """Which addresses."""

    IPV4 = "4"
    IPV6 = "6"


class _Source:
    """Tables of one of the three sources, compiled to forwarding tables."""

    def __init__(self, fpm_dump: Path | None, prefixes: Path | None, vrf: str | None) -> None:
        if fpm_dump is not None and prefixes is not None:
            raise ConfigError(problem("--prefixes", prefixes, "given without --fpm-dump"))
        self.table = RouteTable()
        self.facts: dict[str, Any] = {}
        self.lines: list[Prefix] | None = None
        if fpm_dump is not None:
            self.facts = {"source": str(fpm_dump), **read_fpm_dump(fpm_dump, self.table)}
        elif prefixes is not None:
            self.lines = read_prefixes(prefixes)
            self.facts = {"source": str(prefixes), "prefixes": len(self.lines)}
        else:
            with KernelSource(self.table) as kernel:
                kernel.sync()
            self.facts = {"source": "kernel"}
        self.forwarding = Forwarding(self.table, vrf=vrf)
        if self.lines is not None:
            self._number_lines(self.lines)
        else:
            self.forwarding.refresh()
            self.facts["unexpressed"] = self.forwarding.unexpressed()

    def _number_lines(self, lines: list[Prefix]) -> None:
        for size, fib in self.forwarding.fibs.items():
            rows = [(p, n) for n, p in enumerate(lines, 1) if len(p[0]) == size]
            packed = b"".join(address for (address, _), _ in rows)
            lengths = bytes(length for (_, length), _ in rows)
            numbers = b"".join(n.to_bytes(4, "little") for _, n in rows)
            fib.native.add(packed, lengths, numbers)

    def lookup(self, text: str) -> dict[str, Any]:
        try:
            address = ip_address(text).packed
        except ValueError:
            raise ConfigError(problem("address", text, "an IPv4 or IPv6 address")) from None
        fib = self.forwarding.fibs[len(address)]
        found = fib.match(text)
        out: dict[str, Any] = {"address": text, "prefix": None, "number": 0}
        if found is None:
            return out
        out["prefix"], number = found
        out["number"] = number
        if self.lines is None:
            members = self.forwarding.groups.group_members(number)
            out["members"] = [
                {
                    "kind": hop.kind.name.lower(),
                    "interface": self._name(hop.interface),
                    "gateway": None if hop.gateway is None else address_text(hop.gateway),
                    "weight": weight,
                }
                for hop, weight in members.items()
            ]
        return out

    def _name(self, index: int) -> str | None:
        if not index:
            return None
        link = self.table.links.get(index)
        return link.name if link else str(index)

    def shown(self, table: int, prefix: Prefix, route: Route) -> dict[str, Any]:
        paths = self._paths(route)
        return {
            "table": table_name(table),
            "prefix": prefix_text(prefix),
            "type": RouteType(route.type).name.lower(),
            "metric": route.metric,
            "protocol": route.protocol,
            "next_hop_id": route.next_hop_id or None,
            "paths": [
                {
                    "gateway": None if p.gateway is None else address_text(p.gateway),
                    "interface": self._name(p.interface),
                    "weight": p.weight,
                }
                for p in paths
            ],
        }

    def _paths(self, route: Route) -> list[Way]:
        if not route.next_hop_id:
            return list(route.paths)
        hop = self.table.next_hops.get((route.source, route.next_hop_id))
        if hop is None:
            return []
        if hop.path is not None:
            return [hop.path]
        out = []
        for number, weight in hop.members:
            member = self.table.next_hops.get((route.source, number))
            if member is not None and member.path is not None:
                p = member.path
                out.append(Way(p.interface, p.gateway, weight, p.flags, p.encap))
        return out


@app.command("show")
def show(
    *,
    fpm_dump: FpmDump = None,
    prefixes: PrefixFile = None,
    vrf: Vrf = None,
    family: Annotated[
        Family | None, typer.Option("--family", help="Only addresses of this family.")
    ] = None,
    limit: Annotated[
        int, typer.Option("--limit", help="Show at most this many routes; 0 = all.")
    ] = 100,
    json: Json = False,
) -> None:
    """Shows routes, and how much memory their forwarding tables take."""
    if limit < 0:
        raise ConfigError(problem("--limit", limit, "at least 0"))
    source = _Source(fpm_dump, prefixes, vrf)
    sizes = {None: (4, 16), Family.IPV4: (4,), Family.IPV6: (16,)}[family]
    if source.lines is not None:
        rows: list[dict[str, Any]] = [
            {"prefix": prefix_text(p), "line": n}
            for n, p in enumerate(source.lines, 1)
            if len(p[0]) in sizes
        ]
    else:
        tables = {t for size in sizes for t in source.forwarding.stacks[size].tables}
        rows = [
            source.shown(t, p, r)
            for t, p, r in source.table.routes()
            if t in tables and len(p[0]) in sizes
        ]
    kept = rows[: limit or None]
    forwarding = {
        f"ipv{4 if size == 4 else 6}": {
            "prefixes": len(source.forwarding.fibs[size]),
            **source.forwarding.fibs[size].memory(),
        }
        for size in sizes
    }
    if json:
        facts = {**source.facts, "routes": kept, "shown": len(kept), "of": len(rows)}
        output.emit({**facts, "forwarding": forwarding})
        return
    out = output.stdout()
    columns = ["prefix", *[name for name in (kept[0] if kept else {}) if name != "prefix"]]
    out.print(output.table("Routes", columns, [[_cell(row[c]) for c in columns] for row in kept]))
    if len(kept) < len(rows):
        out.print(f"{len(kept):,} of {len(rows):,} routes (--limit 0 shows all)")
    for name, memory in forwarding.items():
        out.print(f"{name}: {memory['prefixes']:,} prefixes in {memory['bytes'] / 2**20:.1f} MiB")
    for text in source.facts.get("unexpressed", []):
        out.print(f"not followed: {text}")


def _cell(value: object) -> object:
    """Paths and members as `ip route` writes them."""
    if not isinstance(value, list):
        return value
    return "\n".join(
        " ".join(
            f"{word} {path[name]}"
            for name, word in (("gateway", "via"), ("interface", "dev"), ("weight", "weight"))
            if path[name] is not None
        )
        for path in value
    )


@app.command("lookup")
def lookup(
    addresses: Addresses,
    fpm_dump: FpmDump = None,
    prefixes: PrefixFile = None,
    vrf: Vrf = None,
    json: Json = False,
) -> None:
    """Looks addresses up in the forwarding table."""
    source = _Source(fpm_dump, prefixes, vrf)
    found = [source.lookup(text) for text in addresses]
    if json:
        output.emit({"source": source.facts["source"], "lookups": found})
        return
    columns = ["address", "prefix", "line" if source.lines is not None else "members"]
    rows = [
        [r["address"], r["prefix"] or "none", r["number"] if source.lines else _members(r)]
        for r in found
    ]
    output.stdout().print(output.table("Look-ups", columns, rows))


def _members(found: dict[str, Any]) -> str:
    return "\n".join(f"{m['kind']} {_cell([m])}" for m in found.get("members", []))


_RUNNING = "Running router"


@app.command("trace")
def trace_command(
    addresses: Addresses,
    *,
    fpm_dump: FpmDump = None,
    vrf: Vrf = None,
    flow_hash: Annotated[
        int, typer.Option("--flow-hash", help="Chooses among the members of a group.")
    ] = 0,
    interface: Annotated[
        str | None,
        typer.Option(
            "--interface",
            metavar="IFACE",
            help="Also ask the running router's program what it does with a UDP packet that comes "
            "in here.",
            rich_help_panel=_RUNNING,
        ),
    ] = None,
    source: Annotated[
        str | None,
        typer.Option(
            "--source",
            metavar="ADDRESS",
            help="Where that packet comes from (without: a neighbour on IFACE).",
            rich_help_panel=_RUNNING,
        ),
    ] = None,
    source_port: Annotated[
        int | None,
        typer.Option(
            "--source-port", help="Its UDP port (without: 1024).", rich_help_panel=_RUNNING
        ),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            "--port",
            help="The UDP port that it goes to (without: 33434).",
            rich_help_panel=_RUNNING,
        ),
    ] = None,
    size: Annotated[
        int | None,
        typer.Option(
            "--size",
            help="Bytes of the IP packet; 0 = headers alone, as without it.",
            rich_help_panel=_RUNNING,
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Explains what becomes of packets: table, prefix, group, member, neighbour, rewrite.

    Example:  [bold]sudo wirepath route trace 192.0.2.1 --interface eth1[/bold]
    """
    if not 0 <= flow_hash < 2**32:
        raise ConfigError(problem("--flow-hash", flow_hash, "from 0 to 2^32-1"))
    if interface is not None and fpm_dump is not None:
        raise ConfigError(problem("--interface", interface, "given without --fpm-dump"))
    flow = {"source": source, "source_port": source_port, "port": port, "size": size}
    asked = {name: value for name, value in flow.items() if value is not None}
    if interface is None and asked:
        of_it = ", ".join(f"--{name.replace('_', '-')}" for name in asked)
        raise ConfigError(missing("--interface", f"given with {of_it}"))
    ran: list[Ran] = []
    unlike: list[str | None] = []
    if interface is not None:
        from ..route.probe import Probe, differs  # noqa: PLC0415 -- programs, for this option only

        probe = Probe(interface)
        ran = [probe.run(text, **asked) for text in addresses]  # type: ignore[arg-type]
    found = _Source(fpm_dump, None, vrf)
    traces = [trace(found.forwarding, text, flow_hash) for text in addresses]
    if ran:
        unlike = [differs(said, did) for said, did in zip(traces, ran, strict=True)]
    if json:
        rows = [asdict(t) for t in traces]
        for row, did, why in zip(rows, ran, unlike, strict=False):
            row["running"] = {**asdict(did), "differs": why}
        output.emit({**found.facts, "traces": rows})
        return
    for number, each in enumerate(traces):
        output.stdout().print(output.facts(each.address, _lines(each)))
        if ran:
            facts = _lines(ran[number]) | {"as the tables say": unlike[number] or "yes"}
            output.stdout().print(output.facts("the running router", facts))


def _lines(found: Trace | Ran) -> dict[str, object]:
    values = asdict(found)
    del values["address"]
    return {name.replace("_", " "): v for name, v in values.items() if v is not None}
