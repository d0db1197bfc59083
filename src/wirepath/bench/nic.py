# SPDX-License-Identifier: Apache-2.0
"""How the interface of a port is set, as ethtool shows it: part of every result."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..machine import Machine, wired
from ..plain import plain

Settings = dict[str, Any]


def settings(device: str) -> Settings | None:
    """Driver, firmware, link, rings, channels, coalescing, pause frames and features of an
    interface of this network namespace; None where the device is none. What the driver has no
    setting for is None."""
    machine = Machine()
    link = machine.link(device) if device else None
    if link is None:
        return None
    nic, wire = machine.links.nic(link), wired(link)
    features = nic.features
    found = {
        "interface": link.name,
        "driver": nic.driver,
        "firmware": wire.firmware,
        "bus": nic.bus or None,
        "mtu": link.mtu,
        "link": {
            "carrier": link.carrier,
            "speed_mbit": wire.speed,
            "duplex": wire.duplex,
            "negotiated": wire.negotiated,
        },
        "pause": wire.pause,
        "rings": nic.rings,
        "channels": nic.channels,
        "coalesce": nic.coalesce,
        "features_on": sorted(features.active) if features is not None else None,
        "features_changeable": sorted(features.changeable) if features is not None else None,
    }
    out: Settings = plain(found)
    return out


def flat(nic: Mapping[str, Any] | None) -> dict[str, str]:
    """Settings by the name that a reader knows, as text: ``ring rx``, ``feature rx-gro``, …"""
    out: dict[str, str] = {}
    for name, value in (nic or {}).items():
        if name.startswith("features"):
            continue
        if isinstance(value, Mapping):
            singular = name.removesuffix("s")
            inner = {part.replace("_", " "): text(each) for part, each in value.items()}
            out |= {f"{singular} {part}": each for part, each in inner.items()}
        else:
            out[name] = text(value)
    on = set((nic or {}).get("features_on") or ())
    known = on | set((nic or {}).get("features_changeable") or ())
    return out | {f"feature {name}": text(name in on) for name in sorted(known)}


def text(value: object) -> str:
    """A setting as people read it."""
    if isinstance(value, bool):
        return "on" if value else "off"
    return "–" if value is None or value == "" else str(value)


def differences(a: Mapping[str, Any] | None, b: Mapping[str, Any] | None) -> dict[str, Any]:
    """Settings that are not alike: name to the texts of A and B, "–" where one has none. Empty
    where either result was made without them."""
    if a is None or b is None:
        return {}
    left, right = flat(a), flat(b)
    names = dict.fromkeys((*left, *right))
    pairs = {name: (left.get(name, "–"), right.get(name, "–")) for name in names}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}
