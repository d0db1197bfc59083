"""``wirepath tune``."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from .. import tune as tuning
from ..errors import ConfigError, StateError
from ..plain import plain
from ..settings import problem
from . import output
from .exits import Exit
from .options import Json


def tune(  # noqa: PLR0911  # one a mode
    interface: Annotated[
        str | None,
        typer.Argument(
            metavar="[IFACE]", help="Network interface; without one, the machine alone is tuned."
        ),
    ] = None,
    *,
    profile: Annotated[
        str,
        typer.Option(
            "--profile",
            "-p",
            metavar="latency|throughput|kafka|FILE",
            help="What to tune for: a profile, or a TOML file with a table \\[tune].",
        ),
    ] = "latency",
    apply: Annotated[
        bool,
        typer.Option("--apply/--dry-run", help="Make the changes; without, they are only shown."),
    ] = False,
    restore: Annotated[
        bool, typer.Option("--restore", help="Put back what was there before tuning.")
    ] = False,
    status: Annotated[
        bool, typer.Option("--status", help="What was tuned and not restored.")
    ] = False,
    emit: Annotated[
        str | None,
        typer.Option(
            "--emit",
            metavar="script|sysctl|tuned|udev|systemd",
            help="Print the plan in this form, changing nothing.",
        ),
    ] = None,
    yes_this_one: Annotated[
        bool,
        typer.Option("--yes-this-one", help="With --apply: even if it carries the default route."),
    ] = False,
    force: Annotated[
        bool,
        typer.Option("--force", help="With --restore: even what somebody else has changed since."),
    ] = False,
    state_dir: Annotated[
        Path | None,
        typer.Option(
            "--state-dir",
            metavar="DIR",
            help="Of the journal; default /var/lib/wirepath, or below $XDG_STATE_HOME.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Tune a NIC and its machine for a profile: shown first, written down, undone by --restore.

    Without --apply nothing is changed. Each value that is changed is written to a journal on disk
    before, and read back after; --restore works from the journal, also after a crash or reboot.

    Example:  [bold]wirepath tune eth1 --profile latency[/bold]
    """
    _one_of(apply=apply, restore=restore, status=status, emit=emit is not None)
    if force and not restore:
        raise ConfigError(problem("--force", True, "left out, or given with --restore"))
    if yes_this_one and not apply:
        raise ConfigError(problem("--yes-this-one", True, "left out, or given with --apply"))
    if (restore or status) and interface is not None:
        what = "left out with --restore and --status: they are of all that was tuned here"
        raise ConfigError(problem("IFACE", interface, what))
    if status:
        return _status(state_dir, as_json=as_json)
    if restore:
        return restore_now(state_dir, force=force, as_json=as_json)
    plan = tuning.plan(profile, interface)
    if emit is not None:
        text = tuning.emit(plan, emit)
        if as_json:
            return output.emit({"format": emit, "text": text})
        return print(text, end="")
    if apply:
        return _apply(plan, state_dir, yes_this_one=yes_this_one, as_json=as_json)
    if as_json:
        return output.emit({"applied": False, "plan": plan})
    return _show(plan, state_dir)


def _one_of(**given: bool) -> None:
    chosen = [f"--{name}" for name, value in given.items() if value]
    if len(chosen) > 1:
        raise ConfigError(f"{' and '.join(chosen)} cannot go together: give one of them")


def _show(plan: tuning.Plan, state_dir: Path | None) -> None:
    console = output.stdout()
    console.print(_title(plan), markup=False)
    for state, title, columns in (
        ("change", "to change", ("setting", "now", "wanted", "why")),
        ("same", "as wanted already", ("setting", "now")),
        ("impossible", "not possible here", ("setting", "wanted", "because")),
    ):
        found = [s for s in plan.settings if s.state == state]
        if not found:
            continue
        rows = []
        for each in found:
            cells = {
                "setting": str(each.knob),
                "now": each.current,
                "wanted": each.wanted,
                "why": each.why,
                "because": each.obstacle,
            }
            rows.append([cells[name] for name in columns])
        console.print(output.table(title, columns, rows))
    for note in (*plan.notes, *_earlier(plan, state_dir)):
        console.print(f"note: {note}", markup=False)
    if plan.changes:
        nic = f" {plan.interface.name}" if plan.interface else ""
        yes = " --yes-this-one" if plan.carries_default_route else ""
        console.print(
            f"Nothing was changed. To do it: sudo wirepath tune{nic} "
            f"--profile {shlex.quote(plan.profile)} --apply{yes}",
            markup=False,
        )


def _earlier(plan: tuning.Plan, state_dir: Path | None) -> Iterator[str]:
    """What was tuned before here, if it was not restored."""
    try:
        found = tuning.pending(state_dir=state_dir)
    except StateError as error:
        yield str(error)
        return
    for each in found:
        if each.namespace == plan.namespace:
            yield (
                f"{len(each.entries)} settings of an earlier tune ({each.profile}) were not "
                "restored: wirepath tune --status shows them, --restore puts them back"
            )


def _title(plan: tuning.Plan) -> str:
    driver = f", driver {plan.driver}" if plan.driver else ""
    nic = f"{plan.interface}{driver}" if plan.interface else "the machine, no interface"
    what = f": {plan.description}" if plan.description else ""
    return f"profile {plan.profile}{what}\n{nic}; cores {plan.cores or 'unknown'}\n"


def _apply(plan: tuning.Plan, state_dir: Path | None, *, yes_this_one: bool, as_json: bool) -> None:
    try:
        outcome = tuning.apply(plan, yes_this_one=yes_this_one, state_dir=state_dir)
    except KeyboardInterrupt:
        output.stderr.print("interrupted: sudo wirepath tune --restore puts back what was changed")
        raise
    if as_json:
        settings = [plain(each) for each in outcome.settings]
        output.emit(
            {"applied": True, "ok": outcome.ok, "journal": outcome.journal, "settings": settings}
        )
    else:
        console = output.stdout()
        console.print(_title(plan), markup=False)
        rows = [
            [str(a.setting.knob), a.before, a.now, a.result, a.message]
            for a in outcome.settings
            if a.result != "impossible"
        ]
        columns = ("setting", "before", "now", "result", "")
        console.print(output.table("settings", columns, rows))
        impossible = sum(a.result == "impossible" for a in outcome.settings)
        if impossible:
            console.print(f"{impossible} are not possible here; without --apply it says why")
        for note in plan.notes:
            console.print(f"note: {note}", markup=False)
        console.print("To put everything back: sudo wirepath tune --restore")
    if not outcome.ok:
        raise typer.Exit(Exit.FAILED)


def restore_now(
    state_dir: Path | None = None, *, force: bool = False, as_json: bool = False
) -> None:
    """Restores and tells; also behind ``wirepath doctor --restore``."""
    done = tuning.restore(force=force, state_dir=state_dir)
    if as_json:
        output.emit({"ok": done.ok, **plain(done)})
    else:
        _show_restored(done, state_dir)
    if not done.ok:
        raise typer.Exit(Exit.FAILED)


def _show_restored(done: tuning.Restoration, state_dir: Path | None) -> None:
    console = output.stdout()
    if done.journal is None:
        where = state_dir or tuning.state_directory()
        console.print(
            f"nothing to restore: {where} has no journal of this network namespace", markup=False
        )
        if os.geteuid() != 0 and state_dir is None:
            console.print("(what root tuned, root restores: sudo wirepath tune --restore)")
    elif done.rebooted:
        console.print("The machine was started anew since it was tuned:")
    if done.knobs:
        rows = [[str(k.knob), k.before, k.tuned, k.now, k.result, k.message] for k in done.knobs]
        columns = ("setting", "before", "tuned", "now", "result", "")
        console.print(output.table("settings", columns, rows))
    for other in done.others:
        console.print(
            f"note: {other} is of another network namespace: restore it there", markup=False
        )
    if not done.ok:
        console.print(
            "Left alone, and still in the journal: what somebody else has changed, or the kernel "
            "refused. --force puts those values back as well."
        )


def _status(state_dir: Path | None, *, as_json: bool) -> None:
    found: list[Any] = [plain(each) for each in tuning.pending(state_dir=state_dir)]
    if as_json:
        return output.emit({"journals": found})
    console = output.stdout()
    if not found:
        console.print("nothing is tuned that was not restored")
    for each in found:
        rows = [
            [
                f"{e['knob']['interface']} {e['knob']['kind']} {e['knob']['name']}".strip(),
                e["before"],
                ", ".join(e["ours"]),
            ]
            for e in each["entries"]
        ]
        title = escape(f"{each['path']}: profile {each['profile']}")
        console.print(output.table(title, ("setting", "before", "tuned"), rows))
    return None
