# SPDX-License-Identifier: Apache-2.0
"""The parts of the documentation that are made from the code: docs/cli.md, and between the marks
``<!-- made from NAME -->`` and ``<!-- end -->`` of other pages."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import typer.main

from wirepath import Action, _core, feed_config, logs, registry, sinks
from wirepath.config import IngestionConfig
from wirepath.conversion import ConvertConfig
from wirepath.doctor import CHECKS
from wirepath.settings import Settings
from wirepath.tune import BUILT_IN, Profile

ROOT = Path(__file__).resolve().parents[1]

_BLOCK = re.compile(r"(<!-- made from (.+?) -->\n).*?(<!-- end -->)", re.DOTALL)
_ITCH_ROW = re.compile(
    r"\{'(?P<type>\w)',\s*(?P<length>\d+),\s*\"(?P<name>\w+)\",\s*itch50_detail::\w+,\s*"
    r"\{WP_ACTION_(?P<action>\w+),\s*(?P<fields>(?:\"\w*\",?\s*){6})\}\}"
)


def _table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "".join("| " + " | ".join(_cell(c) for c in line) + " |\n" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _options(backend: str) -> str:
    for status in registry.backends():
        if status.name == backend and status.options:
            rows = [[f"`{n}`", f"`{d}`" if d else "", text] for n, d, text in status.options]
            return _table(["option", "default", "meaning"], rows)
    raise SystemExit(f"docs: the options of {backend} are not to be had: its module is not built")


def _itch_records() -> str:
    text = (ROOT / "src/native/feed/itch50_tables.h").read_text("utf-8")
    rows = []
    for found in _ITCH_ROW.finditer(text):
        fields = re.findall(r'"(\w*)"', found["fields"])[:5]  # the sixth is a flag's, see the page
        cells = [f"`{found['type']}` {found['name']}", found["length"], found["action"].lower()]
        rows.append(cells + [f"`{field}`" if field else "" for field in fields])
    if len(rows) != 23:
        raise SystemExit(f"docs: {len(rows)} of the 23 message types found in itch50_tables.h")
    header = ["message", "bytes", "action", "order_id", "aux", "price", "qty", "side"]
    return _table(header, rows)


def _venue_records(layouts: dict[Any, Any]) -> str:
    rows = []
    for kind, (name, lengths, _, _, records) in layouts.items():
        text = kind if isinstance(kind, str) else f"0x{kind:02X}"
        for record in records:
            cells = [f"`{text}` {name}", " or ".join(map(str, lengths))]
            cells.append(Action(record["action"]).name.lower())
            for member in ("order_id", "aux", "price", "qty", "side"):
                cells.append(f"`{record[member]}`" if record[member] else "")
            cells[-1] = cells[-1] or record["fixed_side"]
            rows.append(cells)
    header = ["message", "bytes", "action", "order_id", "aux", "price", "qty", "side"]
    return _table(header, rows)


_SETTINGS: dict[str, type[Settings]] = {
    "IngestionConfig": IngestionConfig,
    "FeedSettings": feed_config.FeedSettings,
    "ChannelConfig": feed_config.ChannelConfig,
    "LineConfig": feed_config.LineConfig,
    "ArbiterConfig": feed_config.ArbiterConfig,
    "RecoveryConfig": feed_config.RecoveryConfig,
    "MessageConfig": feed_config.MessageConfig,
    "ConvertConfig": ConvertConfig,
    "sinks.FileConfig": sinks.FileConfig,
    "sinks.KafkaConfig": sinks.KafkaConfig,
    "sinks.RingConfig": sinks.RingConfig,
}
_EVERY_SINK = ("name", "policy", "queue_records")


def _settings(settings: type[Settings], left_out: tuple[str, ...] = ()) -> str:
    rows = []
    for name, field in settings.model_fields.items():
        if name in left_out:
            continue
        nothing = field.default in (None, "", {}, ()) or field.is_required()
        nothing = nothing or isinstance(field.default, Settings)
        default = "" if nothing else f"`{field.default}`"
        rows.append([f"`{name}`", default, field.description or "", settings.must(name)])
    return _table(["field", "default", "meaning", "must be"], rows)


def _tune_profile() -> str:
    rows = [
        [f"`{name}`", field.description or "", Profile.must(name)]
        for name, field in Profile.model_fields.items()
    ]
    return _table(["field", "meaning", "must be"], rows)


def _tune_built_in() -> str:
    parts = []
    for name, profile in BUILT_IN.items():
        parts.append(f"\n**`{name}`**: {profile.description}\n\n```toml\n{profile.to_toml()}```\n")
    return "".join(parts) + "\n"


def _doctor_checks() -> str:
    rows = [[f"`{check.name}`", check.why, check.reads.replace("*", "\\*")] for check in CHECKS]
    return _table(["check", "why it matters", "reads"], rows)


def _log_events() -> str:
    rows = [
        [f"`{name}`", logging.getLevelName(kind.level).lower(),
         ", ".join(f"`{field}`" for field in kind.fields), kind.when]
        for name, kind in logs.EVENTS.items()
    ]  # fmt: skip
    return _table(["event", "level", "fields", "when"], rows)


_TABLES: dict[str, Callable[[], str]] = {
    "the ITCH table": _itch_records,
    "the IEX table": lambda: _venue_records(_core.iex_layouts()),
    "the PITCH table": lambda: _venue_records(_core.pitch_layouts()),
    "doctor.CHECKS": _doctor_checks,
    "logs.EVENTS": _log_events,
    "tune.Profile": _tune_profile,
    "tune.BUILT_IN": _tune_built_in,
}


def block(source: str) -> str:
    """The text between the marks of ``<!-- made from SOURCE -->``."""
    kind, _, name = source.partition(" of ")
    if kind == "the options" and name:
        return _options(name)
    if source in _TABLES:
        return _TABLES[source]()
    if source in _SETTINGS:
        left_out = (*_EVERY_SINK, "kind") if source.startswith("sinks.") else ()
        return _settings(_SETTINGS[source], left_out)
    raise SystemExit(f"docs: nothing is known about 'made from {source}'")


def with_blocks(text: str) -> str:
    """A page with its blocks made anew."""
    return _BLOCK.sub(lambda m: m[1] + block(m[2]) + m[3], text)


def root_command() -> Any:  # noqa: ANN401 -- click's group, or the one that typer carries along
    """The command line, as a click command."""
    from wirepath.cli.app import app  # noqa: PLC0415 -- the rest works while it is broken

    return typer.main.get_command(app)


def commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:  # noqa: ANN401
    """Every command that does something, with its words, as ``wirepath lab up``."""
    for name, command in group.commands.items():
        if command.hidden:
            continue
        words = (*path, name)
        if hasattr(command, "commands"):
            yield from commands(command, words)
        else:
            yield " ".join(("wirepath", *words)), command


_MARKUP = re.compile(r"(?<!\\)\[/?(?:bold|dim|italic|green|red|yellow|cyan|code)\]")


def _plain(text: str) -> str:
    """Help without rich's marks and click's paragraph marks."""
    return _MARKUP.sub("", text).replace("\\[", "[").replace("\b", "")


def _parameters(command: Any) -> str:  # noqa: ANN401
    rows = []
    for parameter in command.params:
        if parameter.param_type_name == "option":
            if parameter.hidden or parameter.name == "help":
                continue
            names = ", ".join(f"`{o}`" for o in (*parameter.opts, *parameter.secondary_opts))
        else:
            names = f"`{parameter.metavar or parameter.name.upper()}`"
        text = _plain(getattr(parameter, "help", None) or "")
        default = parameter.default
        shown = "" if callable(default) or default in (None, "", (), []) else str(default)
        if isinstance(default, bool):
            shown = ""  # a switch; off unless given
        if told := re.search(r" ?\[default: (.*)\]$", text):
            text, shown = text[: told.start()], told[1].removesuffix("none")
        rows.append([names, f"`{shown}`" if shown else "", text])
    return _table(["argument or option", "default", "meaning"], rows) if rows else ""


def cli_page(intro: str) -> str:
    """docs/cli.md: the hand-written beginning, then each command as its help has it."""
    parts = [intro]
    for name, command in commands(root_command()):
        usage, _, rest = _plain(command.help or "").strip().partition("\n\n")
        parts.append(f"\n## {name}\n\n{' '.join(usage.split())}\n")
        if rest:
            example = re.sub(r"^ {0,4}", "", rest.strip("\n"), flags=re.MULTILINE)
            parts.append(f"\n```text\n{example}\n```\n")
        if table := _parameters(command):
            parts.append(f"\n{table}")
    return "".join(parts)


CLI_MARK = "<!-- from here on made from the commands' help -->\n"
