"""``wirepath convert``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ..conversion import Conversion, ConvertConfig
from ..conversion import convert as convert_captures
from . import output
from .exits import Exit
from .options import Json, Quiet, help_of

_WHAT, _WHICH, _FILES, _WHERE = "What is in it", "What is kept", "Files", "Where it runs"


def _field(name: str, panel: str, *flags: str, metavar: str | None = None) -> Any:  # noqa: ANN401
    return typer.Option(
        *(flags or (f"--{name.replace('_', '-')}",)),
        help=help_of(ConvertConfig, name),
        rich_help_panel=panel,
        show_default=False,
        metavar=metavar,
    )


def _words(given: list[str] | None) -> tuple[str, ...] | None:
    if given is None:
        return None
    return tuple(word.strip() for each in given for word in each.split(",") if word.strip())


def convert(
    *,
    captures: Annotated[
        list[Path], typer.Argument(metavar="CAPTURE…", help="pcap, pcapng, ITCH day files; .gz.")
    ],
    out: Annotated[str, _field("out", _FILES, metavar="DIR")],
    to: Annotated[str | None, _field("to", _FILES, metavar="parquet|arrow|csv|npy")] = None,
    protocol: Annotated[
        str | None, _field("protocol", _WHAT, metavar="itch|iex|pitch|cme|raw")
    ] = None,
    flow: Annotated[
        list[str] | None, _field("flows", _WHAT, "--flow", metavar="GROUP:PORT")
    ] = None,
    session_date: Annotated[str | None, _field("session_date", _WHAT, metavar="YYYY-MM-DD")] = None,
    schema: Annotated[
        str | None, _field("schema_file", _WHAT, "--schema", "--schema-file", metavar="XML")
    ] = None,
    dtype: Annotated[str | None, _field("dtype", _WHAT, metavar="NAME:TYPE,…")] = None,
    header: Annotated[str | None, _field("header", _WHAT, metavar="NAME:TYPE,…")] = None,
    sequence: Annotated[str | None, _field("sequence", _WHAT, metavar="NAME")] = None,
    raw: Annotated[bool | None, _field("raw", _WHICH, "--raw/--records")] = None,
    types: Annotated[list[str] | None, _field("types", _WHICH, metavar="TYPE,…")] = None,
    instruments: Annotated[
        list[str] | None, _field("instruments", _WHICH, metavar="NAME,…")
    ] = None,
    partial: Annotated[bool | None, _field("partial", _WHICH, "--partial/--no-partial")] = None,
    by_type: Annotated[bool | None, _field("by_type", _FILES, "--by-type/--together")] = None,
    period: Annotated[str | None, _field("period", _FILES, metavar="minute|hour|day|none")] = None,
    compression: Annotated[str | None, _field("compression", _FILES)] = None,
    group_rows: Annotated[int | None, _field("group_rows", _FILES)] = None,
    force: Annotated[bool | None, _field("force", _FILES, "--force/--no-force")] = None,
    jobs: Annotated[
        int | None,
        typer.Option(
            "--jobs",
            "-j",
            help="Captures at a time, in processes. \\[default: the number of cores]",
            rich_help_panel=_WHERE,
        ),
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(
            "--ray",
            metavar="ADDRESS",
            help="Ray cluster to run on: HOST:PORT, ray://HOST:PORT or auto.",
            rich_help_panel=_WHERE,
        ),
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Decode captures and day files into Parquet, Arrow, CSV or NumPy files, in parallel.

    The lines of a channel that a capture holds are put together; a broken capture costs nothing
    but itself.

    Example:  [bold]wirepath convert *.pcapng --to parquet --out records --protocol iex[/bold]
    """
    fields = {
        "out": out, "to": to, "protocol": protocol, "flows": None if flow is None else tuple(flow),
        "session_date": session_date, "schema_file": schema, "dtype": dtype, "header": header,
        "sequence": sequence, "raw": raw, "types": _words(types),
        "instruments": _words(instruments), "partial": partial, "by_type": by_type,
        "period": period, "compression": compression, "group_rows": group_rows, "force": force,
    }  # fmt: skip
    given = {name: value for name, value in fields.items() if value is not None}
    with output.progress(quiet=quiet) as bar:
        tasks: dict[str, Any] = {}

        def show(capture: str, rows: int) -> None:
            if capture not in tasks:
                tasks[capture] = bar.add_task(Path(capture).name, total=None)
            bar.update(tasks[capture], completed=rows)

        done = convert_captures(captures, jobs=jobs, ray=ray, on_progress=show, **given)
    if as_json:
        output.emit(done.as_dict())
    else:
        _show(done)
    if done.ok and not done.rows:
        output.stderr.print(
            "no rows: nothing in there is of this protocol, flow and filter (see --protocol, "
            "--flow, --types, --instruments)",
            markup=False,
        )
        raise typer.Exit(Exit.FAILED)
    if not done.ok:
        raise typer.Exit(Exit.FAILED)


def _show(done: Conversion) -> None:
    console = output.stdout()
    columns = ["capture", "rows", "messages", "gaps", "missing", "files", "MB out", "rows/s"]
    rows = [
        [
            Path(each["capture"]).name,
            each["rows"],
            each["messages"],
            each["gaps"],
            each["missing"],
            each["files"],
            each["output_bytes"] / 1e6,
            round(each["rows_per_second"]),
        ]
        for each in done.captures
    ]
    if len(rows) > 1:
        totals = [done.total(name) for name in ("rows", "messages", "gaps", "missing", "files")]
        rate = round(done.rows / done.seconds) if done.seconds else 0
        rows.append(["all", *totals, done.total("output_bytes") / 1e6, rate])
    console.print(output.table("converted", columns, rows))
    by_type = sorted(done.rows_by_type.items(), key=lambda row: -row[1])
    console.print(output.table("rows by type", ["type", "rows"], by_type))
    lines = [
        [Path(each["capture"]).name, line["line"], line["packets"], line["messages"],
         line["duplicates"], line["missing"]]
        for each in done.captures
        for line in each["lines"]
        if len(each["lines"]) > 1
    ]  # fmt: skip
    if lines:
        names = ["capture", "line", "packets", "messages", "duplicates", "missing"]
        console.print(output.table("lines", names, lines))
    for each in done.captures:
        if each["error"]:
            output.stderr.print(f"{each['capture']}: {each['error']}", markup=False)
