"""From rules to what the filter's program looks up (src/programs/filter_shared.h)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _core
from ..errors import ConfigError
from . import fields, sets
from .classes import DIMENSIONS, WORDS, Conditions, Vectors, first_rules
from .rules import MAX_RULES, FilterConfig, Rule
from .signatures import SIGNATURES

_FEATURES = {
    "limits": 1 << 16, "blocks": 1 << 17, "samples": 1 << 18, "ip4": 1 << 19, "ip6": 1 << 20,
    "watch": 1 << 21, "default_drop": 1 << 22, "malformed_drop": 1 << 23, "dry_run": 1 << 24,
    "transport": 1 << 25, "direct": 1 << 26, "cookies": 1 << 27,
}  # fmt: skip
_FEATURES |= {name: 1 << i for i, (name, _) in enumerate(DIMENSIONS)}
_FEATURES |= {"source": 1 << len(DIMENSIONS), "destination": 2 << len(DIMENSIONS)}
_PROVEN = 16384  # clients that may have shown their cookies in the last second
_ACTIONS = {"drop": 0, "pass": 1, "limit": 2, "sample": 1, "syncookie": 3}
_BY_SIGNATURE, _PER_RULE = 1, 2
#: IPv4 prefixes from which on a table over the first 24 bits (64 MiB) is the one that random
#: addresses find in fewer misses of the processor's caches.
_LARGE = 131_072
#: What is counted behind the rules' own names.
TAIL = ("default", "malformed", "blocked")

RULE = np.dtype([
    ("action", "u4"), ("flags", "u4"), ("name", "u4"), ("sample", "u4"),
    ("packet_ns", "u8"), ("packet_burst_ns", "u8"), ("byte_ns", "u8"), ("byte_burst_ns", "u8"),
    ("mask6_high", "u8"), ("mask6_low", "u8"), ("mask4", "u4"), ("reserved", "u4"),
])  # fmt: skip
CONFIG = np.dtype([
    ("features", "u4"), ("words", "u4"), ("base", "u4", (len(DIMENSIONS),)), ("names", "u4"),
    ("watch_every", "u4"), ("source_root_bits", "u4"), ("destination_root_bits", "u4"),
    ("source4_vector", "u4"), ("destination4_vector", "u4"),
    ("source6_vector", "u4"), ("destination6_vector", "u4"),
    ("source_lengths", "u4"), ("destination_lengths", "u4"), ("only", "u4"),
    ("source_length", "u1", (129,)), ("destination_length", "u1", (129,)),
], align=True)  # fmt: skip


@dataclass
class Tables:
    """A compiled filter.

    names: under which packets are counted, in the order of the map ``counts``.
    config: one value of :data:`CONFIG`. arrays: what array maps hold from index 0. hashes: keys
    and values of hash maps. sizes: entries of each map.
    drops: of each name whether all its packets are dropped; of a limit, those over it are.
    features: what is compiled in; the rest of the program is removed when it is loaded.
    """

    names: tuple[str, ...]
    config: NDArray[Any]
    features: tuple[str, ...]
    rules: int
    prefixes: int
    drops: tuple[bool, ...] = ()
    arrays: dict[str, NDArray[Any]] = field(default_factory=dict)
    hashes: dict[str, tuple[NDArray[Any], NDArray[Any]]] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)

    @property
    def bytes(self) -> int:
        """Bytes of the tables' contents."""
        both = [a for pair in self.hashes.values() for a in pair]
        return sum(a.nbytes for a in (*self.arrays.values(), *both))


@dataclass(frozen=True)
class _Bit:
    """One bit of the vectors: a rule, or one of the alternatives of its signature."""

    name: int
    rule: Rule
    conditions: tuple[Conditions, ...]


def compile_filter(config: FilterConfig, *, folder: str | Path = ".") -> Tables:
    """The tables of a filter. folder: where files of sets are looked for.

    Raises ConfigError: a set cannot be read, or there are more rules than 512, signatures spelled
    out.
    """
    named = config.named_rules()
    bits = _spelled(named)
    if len(bits) > MAX_RULES:
        must = f"at most {MAX_RULES}, signatures spelled out (prefixes of one rule go into a set)"
        raise ConfigError(f"rules = {len(bits)} is not usable: it must be {must}")
    names = (*(name for name, _ in named), *TAIL)
    value = np.zeros((), CONFIG)
    out = Tables(names, value, (), len(bits), 0)
    vectors = Vectors(len(bits))
    features = _dimensions(out, vectors, [bit.conditions for bit in bits])
    loaded = {each.name: sets.load(each, Path(folder)) for each in config.sets}
    families = np.array([[_family(bit, 4), _family(bit, 6)] for bit in bits], bool).reshape(-1, 2)
    for side in ("source", "destination"):
        if any(side in c or f"{side}_not" in c for bit in bits for c in bit.conditions):
            features.append(side)
            families &= _prefixes(out, vectors, side, bits, loaded)
    if len(features) == 1 and not _fits_no_prefix(out, vectors, features[0]):
        _direct(out, vectors)
        value["only"] = _FEATURES[features[0]].bit_length() - 1
        features.append("direct")
    else:
        for side in ("source", "destination"):
            for family in ("4", "6"):
                value[f"{side}{family}_vector"] += len(vectors)  # those of prefixes come behind
        out.arrays["vectors"] = vectors.array()
    out.drops = (
        *(rule.action == "drop" for _, rule in named),
        *(config.default == "drop", config.malformed == "drop", True),
    )
    value["words"] = vectors.words
    value["names"] = len(named)
    features += _actions(out, bits, config)
    features += [f"ip{family}" for i, family in enumerate((4, 6)) if families[:, i].any()]
    if config.blocks:
        features.append("blocks")
    looks = {"source_port", "destination_port", "flags", "icmp"} & set(features)
    same_port = any("same_port" in c for bit in bits for c in bit.conditions)
    if looks or same_port or config.malformed == "drop" or "cookies" in features:
        features.append("transport")
    features += ["default_drop"] * (config.default == "drop")
    features += ["malformed_drop"] * (config.malformed == "drop")
    features += ["dry_run"] * config.dry_run
    out.features = tuple(features)
    value["features"] = sum(_FEATURES[name] for name in set(features))
    out.arrays["described"] = _described(out, config)
    out.sizes |= {name: max(1, len(array)) for name, array in out.arrays.items()}
    out.sizes |= {name: max(1, len(keys)) for name, (keys, _) in out.hashes.items()}
    per_source = any(b.rule.action == "limit" and b.rule.per != "rule" for b in bits)
    out.sizes |= {
        "counts": len(names),
        "rule_buckets": max(1, len(named)),
        "source_buckets": config.sources if per_source else 1,
        "blocks": max(1, config.blocks),
        "proven": _PROVEN if "cookies" in out.features else 1,
    }
    return out


def watched(config: NDArray[Any], every: int) -> NDArray[Any]:
    """A configuration that copies one in `every` packets to the samples; 0: as it is."""
    out = config.copy()
    if every:
        out["features"] |= _FEATURES["watch"]
        out["watch_every"] = every
    return out


def _described(out: Tables, config: FilterConfig) -> NDArray[np.uint8]:
    """The filter as text, for whoever finds it in the kernel (:meth:`Engine.adopted`)."""
    about: dict[str, object] = {
        "names": out.names,
        "features": out.features,
        "toml": config.to_toml(),
    }
    about |= {
        "rules": out.rules,
        "prefixes": out.prefixes,
        "drops": out.drops,
        "config": out.config.tobytes().hex(),
    }
    text = json.dumps(about).encode()
    return np.frombuffer(text + bytes(-len(text) % 256), np.uint8).reshape(-1, 256)


def _spelled(named: Sequence[tuple[str, Rule]]) -> list[_Bit]:
    out = []
    for number, (_, rule) in enumerate(named):
        own = rule.conditions()
        if rule.signature is None:
            out.append(_Bit(number, rule, (own,)))
        else:
            alternatives = SIGNATURES[rule.signature].conditions
            out += [_Bit(number, rule, (each, own)) for each in alternatives]
    return out


def _family(bit: _Bit, family: int) -> bool:
    return all(c.get("family", family) == family for c in bit.conditions)


def _dimensions(out: Tables, vectors: Vectors, bits: list[tuple[Conditions, ...]]) -> list[str]:
    blocks: list[NDArray[np.uint16]] = []
    features = []
    for i, (name, size) in enumerate(DIMENSIONS):
        found = vectors.dimension(name, size, bits)
        if found is None and name == "shape" and any(not any(c) for c in bits):
            found = vectors.everything()
        if found is None:
            continue
        features.append(name)
        out.config["base"][i] = sum(map(len, blocks))
        blocks.append(found.vector.reshape(-1, 256))
    out.arrays["classes"] = np.concatenate(blocks) if blocks else np.zeros((1, 256), np.uint16)
    return features


def _prefixes(
    out: Tables,
    vectors: Vectors,
    side: str,
    bits: Sequence[_Bit],
    loaded: Mapping[str, sets.Prefixes],
) -> NDArray[np.bool_]:
    """The tables of one side; which rules an IPv4 and an IPv6 address can fit."""
    maps = "from" if side == "source" else "to"  # the beginning of their names
    planes: dict[str, int] = {}
    needs: list[tuple[list[int], list[int]]] = []  # planes to be in, planes not to be in
    for bit in bits:
        pair: tuple[list[int], list[int]] = ([], [])
        for each, name in zip(pair, (side, f"{side}_not"), strict=True):
            each += [planes.setdefault(c[name], len(planes)) for c in bit.conditions if name in c]
        needs.append(pair)
    contents = [_contents(text, loaded) for text in planes]
    out.prefixes += sum(map(len, contents))
    both = sets.Prefixes.join(contents)
    owner4 = np.repeat(
        np.arange(len(contents), dtype=np.uint32), [len(c.length4) for c in contents]
    )
    owner6 = np.repeat(
        np.arange(len(contents), dtype=np.uint32), [len(c.length6) for c in contents]
    )
    wanted = 24 if len(both.address4) > _LARGE else 16
    root_bits, root, nodes, classes4 = _core.build_prefix4(
        both.address4, both.length4, owner4, root_bits=wanted
    )
    lengths, keys, values, classes6 = _core.build_prefix6(both.address6, both.length6, owner6)
    out.config[f"{side}_root_bits"] = root_bits
    out.config[f"{side}_lengths"] = len(lengths)
    out.config[f"{side}_length"][: len(lengths)] = lengths
    out.config[f"{side}4_vector"] = vectors.append(_rows(vectors, classes4, needs, len(planes)))
    out.config[f"{side}6_vector"] = vectors.append(_rows(vectors, classes6, needs, len(planes)))
    out.arrays[f"{maps}4_root"] = root.reshape(-1, 256)
    out.arrays[f"{maps}4_nodes"] = nodes.reshape(-1, 16)
    out.hashes[f"{maps}6_keys"] = (keys.reshape(-1, 3), values)
    has = [(len(c.length4) > 0, len(c.length6) > 0) for c in contents]
    return np.array(
        [[all(has[p][i] for p in inside) for i in (0, 1)] for inside, _ in needs], bool
    ).reshape(-1, 2)


def _fits_no_prefix(out: Tables, vectors: Vectors, name: str) -> bool:
    """Whether a rule (``source_not``) fits IPv6 addresses in no prefix at all: the search finds
    nothing for them, which only a vector can tell from no rule."""
    if name not in ("source", "destination"):
        return False
    return bool(vectors.array()[len(vectors) + int(out.config[f"{name}6_vector"])].any())


def _direct(out: Tables, vectors: Vectors) -> None:
    """With one dimension in use its classes are rules, and no vector is needed."""
    first = first_rules(vectors.array())
    out.arrays["classes"] = first[out.arrays["classes"]].astype(np.uint16)
    for side, maps in (("source", "from"), ("destination", "to")):
        if f"{maps}4_root" not in out.arrays:
            continue
        for family in ("4", "6"):
            begin = int(out.config[f"{side}{family}_vector"]) + len(vectors)
            rules = first[begin:].astype(np.uint32)
            out.config[f"{side}{family}_vector"] = 0
            if family == "6":
                keys, found = out.hashes[f"{maps}6_keys"]
                out.hashes[f"{maps}6_keys"] = (keys, rules[found])
                continue
            for name in (f"{maps}4_root", f"{maps}4_nodes"):
                entries = out.arrays[name]
                node = entries >> 31 != 0
                out.arrays[name] = np.where(node, entries, rules[np.where(node, 0, entries)])


def _contents(text: str, loaded: Mapping[str, sets.Prefixes]) -> sets.Prefixes:
    nets, names = fields.prefixes(text)
    return sets.Prefixes.join(
        [sets.of_lines([str(net) for net in nets], "prefixes"), *(loaded[name] for name in names)]
    )


def _rows(
    vectors: Vectors,
    classes: Sequence[Sequence[int]],
    needs: Sequence[tuple[list[int], list[int]]],
    planes: int,
) -> NDArray[np.uint64]:
    """The vector of each class: rules in all of whose planes an address is, and in none that its
    rule leaves out."""
    member = np.zeros((len(classes), planes), bool)
    for i, owners in enumerate(classes):
        member[i, list(owners)] = True
    rows = np.zeros((len(classes), vectors.words), np.uint64)
    for bit, (inside, outside) in enumerate(needs):
        fits = member[:, inside].all(axis=1) & ~member[:, outside].any(axis=1)
        rows[fits, bit // 64] |= np.uint64(1 << bit % 64)
    return rows


def _actions(out: Tables, bits: Sequence[_Bit], config: FilterConfig) -> list[str]:
    del config
    table = np.zeros(max(1, len(bits)), RULE)
    features = []
    for row, bit in zip(table, bits, strict=False):
        rule = bit.rule
        row["action"], row["name"] = _ACTIONS[rule.action], bit.name
        row["flags"] = _BY_SIGNATURE * (rule.signature is not None)
        row["sample"] = rule.sample or (rule.action == "sample")
        if row["sample"]:
            features.append("samples")
        if rule.action == "syncookie":
            features.append("cookies")
        if rule.action == "limit":
            features.append("limits")
            _limit(row, rule)
    out.arrays["rules"] = table
    return features


def _limit(row: Any, rule: Rule) -> None:  # noqa: ANN401  # a row of RULE
    """Buckets as times: what a packet takes and what the bucket holds. Rounded so that never more
    passes than was asked for."""
    if rule.packets is not None:
        row["packet_ns"] = -(-1_000_000_000 // rule.packets)
        row["packet_burst_ns"] = row["packet_ns"] * np.uint64(rule.burst)
    if rule.bits is not None:
        row["byte_ns"] = -(-(8_000_000_000 << 20) // rule.bits)
        burst = rule.burst_bits or max(rule.bits // 10, 8 * 9216)
        # Rounded up, or a packet as long as the burst would never fit.
        row["byte_burst_ns"] = -(-burst * 1_000_000_000 // rule.bits)
    if rule.per == "rule":
        row["flags"] |= _PER_RULE
        return
    four, six = (32, 128) if rule.per == "source" else fields.per_lengths(str(rule.per))
    mask6 = ((1 << six) - 1) << (128 - six)
    row["mask6_high"], row["mask6_low"] = mask6 >> 64, mask6 & (2**64 - 1)
    row["mask4"] = 0xFFFFFFFF & ~((1 << (32 - four)) - 1)


__all__ = ["CONFIG", "RULE", "TAIL", "WORDS", "Tables", "compile_filter", "watched"]
