"""The text of ``nft list ruleset``, brought to the form of its JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from .import_nft import from_json
from .importing import Imported

_TOKEN = re.compile(r'"[^"]*"|[{};]|!=|<=|>=|==|[<>=]|[^\s{};,"]+|,')


def from_text(text: str) -> Imported:
    """The output of ``nft list ruleset``, brought to the form of its JSON."""
    items: list[dict[str, Any]] = []
    stack: list[tuple[str, ...]] = []
    lines = [line.split("#")[0].strip() for line in text.splitlines()]
    queue = [line for line in "\n".join(lines).replace("\t", " ").split("\n") if line]
    while queue:
        line = queue.pop(0)
        if line == "}":
            if stack:
                stack.pop()
            continue
        words = line.rstrip("{").split()
        if line.endswith("{") and words[0] in ("table", "chain", "set", "map"):
            stack.append(tuple(words))
            if words[0] == "set":
                family, table = _table(stack)
                one = {"family": family, "table": table, "name": words[1], "elem": []}
                items.append({"set": one})
            continue
        while line.count("{") > line.count("}") and queue:
            line += " " + queue.pop(0)
        _line(items, stack, line)
    return from_json(json.dumps({"nftables": items}))


def _table(stack: list[tuple[str, ...]]) -> tuple[str, str]:
    """Family and name of the table that this stands in; without a family it is ip."""
    words = stack[0]
    return (words[1], words[2]) if len(words) > 2 else ("ip", words[1])


def _line(items: list[dict[str, Any]], stack: list[tuple[str, ...]], line: str) -> None:
    inner = stack[-1] if stack else ("",)
    if inner[0] == "set":
        name, _, value = line.partition(" ")
        target = items[-1]["set"]
        if name == "type":
            target["type"] = value.strip(" ;")
        elif name == "elements":
            listed = value.strip(" ={}").split(",")
            # Behind an address: how long it is in there, what it counts.
            target["elem"] = [_value(words[0]) for each in listed if (words := each.split())]
    elif inner[0] == "chain":
        family, table = _table(stack)
        if line.startswith("type "):
            hook = re.search(r"hook (\w+)", line)
            policy = re.search(r"policy (\w+)", line)
            chain: dict[str, Any] = {"family": family, "table": table, "name": inner[1]}
            chain |= {"hook": hook[1]} if hook else {}
            if priority := re.search(r"priority (-?\d+|\w+)", line):
                chain["prio"] = _value(priority[1])
            items.append({"chain": chain | ({"policy": policy[1]} if policy else {})})
        else:
            try:
                expr = list(_statements(_TOKEN.findall(line)))
            except (IndexError, ValueError):
                expr = [{"this": None}]  # has no equal
            rule = {"family": family, "table": table, "chain": inner[1], "expr": expr, "text": line}
            comment = re.search(r'comment "([^"]*)"', line)
            items.append({"rule": rule | ({"comment": comment[1]} if comment else {})})


def _value(token: str) -> Any:  # noqa: ANN401  # as nft's JSON has it
    token = token.strip('"')
    if token.isdigit():
        return int(token)
    if re.fullmatch(r"0x[0-9a-f]+", token):
        return int(token, 16)
    if "/" in token and not token.startswith("@"):
        address, _, length = token.partition("/")
        return {"prefix": {"addr": address, "len": length}}
    ends = token.split("-")
    if len(ends) == 2 and all(re.fullmatch(r"[0-9.]+|[0-9a-f:]*:[0-9a-f:]*", e) for e in ends):
        return {"range": [int(e) if e.isdigit() else e for e in ends]}
    return token


def _statements(tokens: list[str]) -> Iterator[dict[str, Any]]:
    at = 0

    def values() -> Any:  # noqa: ANN401
        nonlocal at
        if tokens[at : at + 1] == ["{"]:
            end = tokens.index("}", at)
            listed = [_value(t) for t in tokens[at + 1 : end] if t != ","]
            at = end + 1
            return {"set": listed}
        out = [_value(tokens[at])]
        at += 1
        while tokens[at : at + 1] == [","]:
            out.append(_value(tokens[at + 1]))
            at += 2
        return out[0] if len(out) == 1 else out

    while at < len(tokens):
        word = tokens[at]
        if word in ("accept", "drop"):
            yield {word: None}
            at += 1
        elif word == "counter":
            yield {"counter": None}
            at += 1
            while tokens[at : at + 1] in (["packets"], ["bytes"]):
                at += 2
        elif word == "comment":
            at += 2
        elif word in ("ip", "ip6", "tcp", "udp", "th", "icmp", "icmpv6", "vlan", "sctp", "meta"):
            name = tokens[at + 1] if at + 1 < len(tokens) else ""
            at += 2
            if at >= len(tokens):
                yield {f"{word} {name}": None}
                return
            left: dict[str, Any] = {"payload": {"protocol": word, "field": name}}
            if word == "meta":
                left = {"meta": {"key": name}}
            if (word, name) == ("tcp", "flags") and (
                "&" in tokens or "/" in "".join(tokens[at : at + 4])
            ):
                yield {" ".join(tokens): None}
                return
            # Without an operator flags are asked for any of them, all else for being equal.
            op = "in" if (word, name) == ("tcp", "flags") else "=="
            if tokens[at] in ("!=", "==", "<", ">", "<=", ">="):
                op = tokens[at]
                at += 1
            yield {"match": {"op": op, "left": left, "right": values()}}
        elif word == "ct":
            yield {"match": {"op": "==", "left": {"ct": {}}, "right": None}}
            return
        else:
            yield {word: None}
            return
