"""``wirepath filter``: rules checked, imported, tried out; filter_run.py has those in force."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from .. import filter as filtering
from ..errors import ConfigError
from ..filter import cookies
from ..filter.trial import try_out
from ..settings import problem
from . import output
from .exits import Exit
from .options import Json

app = typer.Typer(
    help="Drop packets in the driver, or as a stage: rules, signatures, limits.",
    no_args_is_help=True,
)

ConfigArgument = Annotated[
    Path | None,
    typer.Option("--config", "-c", metavar="FILE", help="TOML file with a table \\[filter]."),
]
RuleOptions = Annotated[
    list[str] | None,
    typer.Option(
        "--rule",
        "-r",
        metavar='"ACTION FIELD=VALUE…"',
        help='A rule, such as "drop protocol=udp source_port=53"; may be repeated. Rules given '
        "here stand in front of the file's.",
    ),
]
SignatureOption = Annotated[
    str | None,
    typer.Option("--signatures", "-s", metavar="NAME,…", help="Signatures to drop, or all."),
]
DefaultOption = Annotated[
    str | None,
    typer.Option("--default", metavar="pass|drop", help="What is done with what no rule fits."),
]
DryRun = Annotated[
    bool | None, typer.Option("--dry-run/--no-dry-run", help="Count, but let everything pass.")
]


def configured(
    file: Path | None,
    rules: list[str] | None,
    signatures: str | None,
    default: str | None,
    dry_run: bool | None,
    **more: object,
) -> tuple[filtering.FilterConfig, Path]:
    """The filter that options ask for, and the folder of its sets' files."""
    fields: dict[str, Any] = {}
    if file is not None:
        fields = filtering.FilterConfig.read_toml(file)
    if rules:
        own = fields.get("rules", [])
        fields["rules"] = [*map(filtering.Rule.from_text, rules), *own]
    given = {"signatures": signatures, "default": default, "dry_run": dry_run, **more}
    fields |= {name: value for name, value in given.items() if value is not None}
    if not fields:
        raise ConfigError("there is nothing to filter: give --config, --rule or --signatures")
    return filtering.FilterConfig(**fields), Path() if file is None else file.parent


@app.command()
def check(
    config: ConfigArgument = None,
    rule: RuleOptions = None,
    signatures: SignatureOption = None,
    default: DefaultOption = None,
    as_json: Json = False,
) -> None:
    """Read a filter and say what it comes to; nothing is put in force.

    Example:  [bold]wirepath filter check --config filter.toml[/bold]
    """
    found, folder = configured(config, rule, signatures, default, None)
    tables = filtering.compile_filter(found, folder=folder)
    facts = {
        "rules": len(found.rules),
        "signatures": list(found.signature_names),
        "spelled_out": tables.rules,
        "prefixes": tables.prefixes,
        "features": list(tables.features),
        "bytes": tables.bytes,
        "default": found.default,
    }
    if cookies.used(tables):
        facts["syn_cookies"] = cookies.explained()
    if as_json:
        listed = [{"name": name, "rule": each.text()} for name, each in found.named_rules()]
        output.emit({**facts, "order": listed, "toml": found.to_toml()})
        return
    rows = [[i, name, each.text()] for i, (name, each) in enumerate(found.named_rules(), 1)]
    console = output.stdout()
    console.print(output.facts("filter", facts))
    console.print(
        output.table("in this order; the first that fits wins", ["", "name", "rule"], rows)
    )


@app.command("signatures")
def list_signatures(as_json: Json = False) -> None:
    """The signatures of amplification, reflection and scan traffic: what they look at, and what
    honest traffic they take along.

    Example:  [bold]wirepath filter signatures[/bold]
    """
    rows = {
        name: {
            "help": each.help,
            "but": each.but,
            "any_of": [filtering.Rule(**c).text().removeprefix("drop ") for c in each.conditions],
        }
        for name, each in filtering.SIGNATURES.items()
    }
    if as_json:
        output.emit(rows)
        return
    listed = [
        [name, row["help"], row["but"], "\n".join(row["any_of"])] for name, row in rows.items()
    ]
    columns = ["signature", "is", "takes along", "any of"]
    output.stdout().print(output.table("signatures", columns, listed))


@app.command("import")
def import_rules(
    file: Annotated[
        Path,
        typer.Argument(
            help="Output of `nft -j list ruleset`, `nft list ruleset`, `iptables-save`."
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="Write the filter there, not to stdout."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """The stateless part of an nftables or iptables rule set as a filter.

    Each rule that has no equal is named on standard error, with the reason; then the exit code
    is 1.

    Example:  [bold]wirepath filter import ruleset.json -o filter.toml[/bold]
    """
    found = filtering.read_ruleset(file)
    text = found.config().to_toml()
    if out is not None:
        try:
            out.write_text(text, encoding="utf-8")
        except OSError as error:
            must = f"a file that can be written ({error.strerror})"
            raise ConfigError(problem("--output", str(out), must)) from None
    if as_json:
        left = [{"rule": rule, "why": why} for rule, why in found.left_out]
        output.emit({"rules": len(found.rules), "left_out": left, "toml": text})
    else:
        if out is None:
            print(text, end="")
        for rule, why in found.left_out:
            output.stderr.print(f"left out: {rule}\n          {why}", markup=False, soft_wrap=True)
    if found.left_out:
        raise typer.Exit(Exit.FAILED)


@app.command()
def test(
    capture: Annotated[Path, typer.Argument(help="Capture to run through the filter.")],
    *,
    config: ConfigArgument = None,
    rule: RuleOptions = None,
    signatures: SignatureOption = None,
    default: DefaultOption = None,
    as_json: Json = False,
) -> None:
    """What a filter would do with the frames of a capture, by both builds: the driver's
    (BPF_PROG_RUN, where this kernel and user may) and the native one.

    Limits see the capture's own times. The exit code is 1 where the builds differ.

    Example:  [bold]wirepath filter test attack.pcap --signatures snmp,backscatter[/bold]
    """
    found, folder = configured(config, rule, signatures, default, None)
    tables = filtering.compile_filter(found, folder=folder)
    trial = try_out(tables, capture)
    if as_json:
        output.emit(trial)
    else:
        rows = [
            [name, row["packets"], row["bytes"], row["dropped_packets"]]
            for name, row in trial.counts.items()
            if row["packets"]
        ]
        share = trial.dropped / trial.packets if trial.packets else 0.0
        facts = {
            "packets": trial.packets,
            "dropped": f"{trial.dropped:,} ({share:.2%})",
            "not IP, passed": trial.counters["not_ip"],
            "driver": trial.kernel or f"agrees; {trial.ns:.0f} ns a packet",
            "differ": trial.differ,
        }
        console = output.stdout()
        console.print(output.facts(str(capture), facts))
        console.print(output.table("by rule", ["rule", "packets", "bytes", "dropped"], rows))
    if trial.differ:
        raise typer.Exit(Exit.FAILED)
