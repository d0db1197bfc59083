# SPDX-License-Identifier: Apache-2.0
"""Where the frames and messages of a running process are: one table from the NIC to the consumer.

Made of the counters in shared memory alone. Of every layer ``entered = passed + Σ lost + Σ left +
waiting + unexplained``, and what one layer passed the next one enters. ``entered`` is a counter of
its own wherever there is one; what the counters do not explain stands in ``unexplained``, and is
not hidden. While frames are on their way, and as counters are told some 1,000 times a second and
those of the kernel twice, it is a burst or so; of a process at rest it is 0.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from .series import series
from .telemetry import Snapshot

Unit = Literal["frames", "messages", "records"]

_NAMESAKE = re.compile(r"#\d+$")
# Of a NIC: not in its rx_packets.
_NIC = ("rx_missed", "rx_overruns")
# Frames of other flows: a port that sees all of them counts them, and no flow of ours lost them.
_NOT_OURS = ("filtered", "fragment")
_OF_PACKETS = ("malformed_packet", "wrong_session", "unknown_unit", "stale", "doubted")
_OF_MESSAGES = ("unknown", "malformed_message")


@dataclass(frozen=True)
class Layer:
    """One layer. lost: by cause. left: what went another way or was not wanted. waiting: in a ring
    or buffer of the layer."""

    name: str
    unit: Unit
    entered: int
    passed: int
    lost: dict[str, int] = field(default_factory=dict)
    left: dict[str, int] = field(default_factory=dict)
    waiting: int = 0

    @property
    def unexplained(self) -> int:
        """What no counter says."""
        gone = sum(self.lost.values()) + sum(self.left.values())
        return self.entered - self.passed - gone - self.waiting

    def to_dict(self) -> dict[str, Any]:
        """Plain values; causes without a count are left out."""
        return {
            "layer": self.name,
            "unit": self.unit,
            "entered": self.entered,
            "passed": self.passed,
            "lost": {cause: n for cause, n in self.lost.items() if n},
            "left": {cause: n for cause, n in self.left.items() if n},
            "waiting": self.waiting,
            "unexplained": self.unexplained,
        }


def layers(snapshot: Snapshot) -> list[Layer]:
    """The layers of a process, in the order that frames pass them. Ports that receive nothing
    (publishers') and layers that a process does not have are left out; feeds of one
    name are summed.
    """
    objects = _objects(snapshot)
    ports = [_port(name, o) for name, o in objects["port"].items()]
    ports = [each for each in ports if each.entered]
    workers = [_worker(name, o) for name, o in objects["worker"].items() if o["frames"]]
    stages = {name: o for name, o in objects["feed"].items() if "frames" in o}
    channels = {name: o for name, o in objects["feed"].items() if "wire_packets" in o}
    out = [*ports, *workers]
    for name, stage in stages.items():
        mine = {
            channel.removeprefix(f"{name}/"): o
            for channel, o in channels.items()
            if channel.startswith(f"{name}/")
        }
        out += _feed(name, stage, mine)
    return out


class _Counts(dict[str, int]):
    """Counters of an object, queues summed; those that are missing are 0."""

    def __missing__(self, name: str) -> int:
        return 0

    def of(self, causes: Iterable[str]) -> dict[str, int]:
        return {cause: self[f"drop.{cause}"] for cause in causes}


def _objects(snapshot: Snapshot) -> dict[str, dict[str, _Counts]]:
    out: dict[str, dict[str, _Counts]] = {"port": {}, "worker": {}, "feed": {}}
    for each in series(snapshot):
        if each.kind not in out:
            continue
        name = each.label(each.kind)
        if each.kind == "feed":  # feeds of one name are one: which channel is whose is not told
            name = _NAMESAKE.sub("", name)
        counts = out[each.kind].setdefault(name, _Counts())
        cause, verdict = each.label("cause"), each.label("verdict")
        cell = f"drop.{cause}" if cause else f"verdict.{verdict}" if verdict else each.name
        counts[cell] += each.value
    return out


def _port(name: str, o: _Counts) -> Layer:
    causes = [n.removeprefix("drop.") for n in o if n.startswith("drop.")]
    causes = [cause for cause in causes if not cause.startswith("tx_") and cause not in _NOT_OURS]
    lost = o.of(causes) | {f"nic.{cause}": o[f"nic.{cause}"] for cause in _NIC}
    left = o.of(cause for cause in _NOT_OURS if f"drop.{cause}" in o)
    passed = o["rx_packets"]
    if "steer.matched" in o:  # the program in the driver counts by itself
        left["steer.no_socket"] = o["steer.no_socket"]
        entered = o["steer.matched"] + o["steer.no_socket"] + sum(o[f"nic.{c}"] for c in _NIC)
        return Layer(f"port {name}", "frames", entered, passed, lost, left)
    entered = passed + sum(lost.values()) + sum(left.values())
    return Layer(f"port {name}", "frames", entered, passed, lost, left)


def _worker(name: str, o: _Counts) -> Layer:
    causes = ("pass_unsupported", "bad_verdict", "bad_target", "tx_unsupported", "keep_unsupported")
    lost = o.of(causes)
    verdicts = sum(n for cell, n in o.items() if cell.startswith("verdict."))
    # Carried out, or dropped by a stage on purpose: a feed drops every frame that it has read.
    passed = verdicts + lost["bad_verdict"] - sum(lost.values())
    return Layer(f"worker {name}", "frames", o["frames"], passed, lost)


def _feed(name: str, stage: _Counts, channels: dict[str, _Counts]) -> list[Layer]:
    packets = sum(o["wire_packets"] for o in channels.values())
    lost = stage.of(("not_udp", "other_flow"))
    out = [Layer(f"feed {name}", "frames", stage["frames"], packets, lost)]
    for channel, o in channels.items():
        out += _channel(channel, o)
    made = sum(o["records"] for o in channels.values())
    lost = stage.of(("ring_full",))
    delivered, consumed = stage["delivered"], stage["consumed"]
    out.append(Layer(f"ring of {name}", "records", made, delivered, lost))
    waiting = max(delivered - consumed, 0)
    out.append(Layer(f"consumer of {name}", "records", delivered, consumed, waiting=waiting))
    return out


def _channel(channel: str, o: _Counts) -> list[Layer]:
    lost = o.of(_OF_PACKETS)
    read = o["packets"] - sum(lost.values()) - o["ignored"]
    messages, held, missing = o["messages"], o["held"], o["missing"]
    unread = o.of(_OF_MESSAGES)
    return [
        Layer(f"channel {channel}", "frames", o["packets"], read, lost, {"ignored": o["ignored"]}),
        Layer(
            f"lines of {channel}",
            "messages",
            messages + held + missing,
            messages,
            {"missing": missing},
            waiting=held,
        ),
        Layer(
            f"decoder of {channel}",
            "messages",
            messages,
            o["decoded"],
            unread,
            {"filtered": o["filtered"] - o["filtered_records"]},
        ),
    ]
