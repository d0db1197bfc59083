# SPDX-License-Identifier: Apache-2.0
"""Checks the documentation against the code. Run by ./dev docs; --write makes what is made anew.

Links lead somewhere; commands in sh blocks exist with the options given; Python blocks compile
and what they name of wirepath exists; what is made from the code is up to date.
"""

from __future__ import annotations

import ast
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from generated_docs import CLI_MARK, ROOT, cli_page, root_command, with_blocks

import wirepath

_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)|!\[[^\]]*\]\(([^)\s]+)\)")
_FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```", re.DOTALL | re.MULTILINE)
_SHELL = ("sh", "bash", "console", "shell")
_SEPARATORS = ("|", "&&", "||", ";", "&", ">", ">>", "2>")


def pages() -> list[Path]:
    """The pages that users read."""
    top = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
    folders = ("docs", "examples", "benchmarks")
    more = [page for folder in folders for page in sorted((ROOT / folder).rglob("*.md"))]
    return [page for page in (*top, *more) if page.exists()]


def broken_links(page: Path, text: str) -> Iterator[str]:
    """Relative links to what is not there, and to headings that are not."""
    for found in _LINK.finditer(_FENCE.sub("", text)):
        target = found[1] or found[2]
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists():
            yield f"link to {target}: no such file"
        elif anchor and file.suffix == ".md" and anchor not in anchors(file.read_text("utf-8")):
            yield f"link to {target}: no such heading"


def anchors(text: str) -> set[str]:
    """The anchors that a page's headings give."""
    headings = re.findall(r"^#+ +(.+?) *$", _FENCE.sub("", text), re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.replace(" ", "-") for heading in plain}


def shell_lines(text: str) -> Iterator[list[str]]:
    """The commands in shell blocks, as words; a pipeline gives several."""
    for language, body in _FENCE.findall(text):
        if language not in _SHELL:
            continue
        prompted = any(line.startswith("$ ") for line in body.splitlines())
        for raw in body.replace("\\\n", " ").splitlines():
            line = raw.strip()
            if prompted and not line.startswith("$ "):
                continue  # what the command printed
            words: list[str] = []
            for word in shlex.split(line.removeprefix("$ "), comments=True):
                if word in _SEPARATORS:
                    yield words
                    words = []
                else:
                    words.append(word)
            yield words


def wrong_commands(text: str) -> Iterator[str]:
    """Commands of ours that do not exist, or not with these options."""
    for line in shell_lines(text):
        words = [w for w in line if not re.fullmatch(r"[A-Z_]+=\S*", w)]
        if words and words[0] == "sudo":
            words = words[1:]
        if not words:
            continue
        if Path(words[0]).name == "wirepath":
            error = try_wirepath(words[1:])
        elif words[0] == "./dev":
            error = try_dev(words[1:])
        elif words[0].startswith("./") and not (ROOT / words[0]).exists():
            error = "no such file"
        else:
            error = ""
        if error:
            yield f"`{shlex.join(words)}`: {error}"


def try_wirepath(words: list[str]) -> str:
    """What is wrong with a command line, "" for nothing. It is parsed, not run."""
    command = root_command()
    context = command.context_class(command, info_name="wirepath")
    rest = list(words)
    while hasattr(command, "commands") and rest and not rest[0].startswith("-"):
        name = rest.pop(0)
        found = command.get_command(context, name)
        if found is None:
            return f"there is no command {name!r}"
        command, context = found, found.context_class(found, info_name=name, parent=context)
    if "--help" in rest or "--version" in rest:
        return ""
    try:
        options, _, _ = command.make_parser(context).parse_args(args=rest)
    except Exception as error:
        if not hasattr(error, "format_message"):  # click's, whichever click it is
            raise
        return str(error.format_message())
    required = [p.name for p in command.params if p.param_type_name == "argument" and p.required]
    absent = [name for name in required if not options.get(name)]
    return f"{absent[0].upper()} is missing" if absent else ""


def try_dev(words: list[str]) -> str:
    """The same for ./dev, by its --help."""
    if not words or words[0].startswith("-"):
        return ""
    if words[0] in ("demo", "bench"):
        return ""  # they pass their arguments on
    asked = [sys.executable, str(ROOT / "dev"), words[0], "--help"]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        return done.stderr.strip().splitlines()[-1]
    known = set(re.findall(r"--[\w-]+", done.stdout))
    passed_on = words[0] == "test"
    unknown = [w for w in words[1:] if w.startswith("--") and w.split("=")[0] not in known]
    return f"{unknown[0]} is not an option" if unknown and not passed_on else ""


def wrong_python(text: str) -> Iterator[str]:
    """Python blocks that do not compile, or name what wirepath does not have."""
    for language, body in _FENCE.findall(text):
        if language != "python":
            continue
        try:
            tree = ast.parse(body)
        except SyntaxError as error:
            yield f"python block: {error}"
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and (path := dotted(node)) and path[0] == "wp":
                have: object = wirepath
                for name in path[1:]:
                    if not hasattr(have, name):
                        yield f"python block: {'.'.join(path)} does not exist"
                        break
                    have = getattr(have, name)


def dotted(node: ast.Attribute) -> list[str]:
    """["wp", "feed", "Itch50"] for wp.feed.Itch50; [] for what is not such a chain."""
    inner: ast.expr = node
    names: list[str] = []
    while isinstance(inner, ast.Attribute):
        names.insert(0, inner.attr)
        inner = inner.value
    return [inner.id, *names] if isinstance(inner, ast.Name) else []


def made_anew(page: Path, text: str) -> str:
    """The page as it should be."""
    text = with_blocks(text)
    if page.name == "cli.md" and CLI_MARK in text:
        text = cli_page(text[: text.index(CLI_MARK) + len(CLI_MARK)])
    return text


def main(words: list[str]) -> int:
    """Checks every page; 1 when something is wrong."""
    wrong = 0
    for page in pages():
        text = page.read_text("utf-8")
        fresh = made_anew(page, text)
        problems = []
        if fresh != text and "--write" in words:
            page.write_text(fresh, "utf-8")
        elif fresh != text:
            problems.append("is stale: ./dev docs --fix")
        problems += [*broken_links(page, fresh), *wrong_commands(fresh), *wrong_python(fresh)]
        for problem in problems:
            print(f"{page.relative_to(ROOT)}: {problem}")
        wrong += len(problems)
    print(f"{len(pages())} pages, {wrong} problems")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
