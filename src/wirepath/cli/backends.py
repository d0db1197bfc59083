"""``wirepath backends``."""

from __future__ import annotations

from rich.markup import escape

from ..registry import backends as all_backends
from . import output
from .options import Json


def backends(as_json: Json = False) -> None:
    """Which backends can be used here, what the others need, and their options.

    Example:  [bold]wirepath backends[/bold]
    """
    found = all_backends()
    if as_json:
        return output.emit({"backends": found})
    console = output.stdout()
    for each in found:
        state = "[green]available[/green]" if each.available else "[red]not available[/red]"
        device = f":{each.device}" if each.device else ":"
        console.print(f"[bold]{each.name}[/bold]{device}  {state}  {each.help}")
        if not each.available:
            console.print(f"    {each.reason}", markup=False)
            console.print(f"    mend: {each.mend}", markup=False)
        if each.options:
            rows = [[escape(str(cell)) for cell in row] for row in each.options]  # [table]s of TOML
            console.print(output.table("", ["option", "default", "meaning"], rows))
    return None
