# SPDX-License-Identifier: Apache-2.0
"""Arbitration: two lines of MoldUDP64 packets in memory to one sequence of messages.

Both sides take the same datagrams in the same order from a ring that stays in the cache: a packet
on line A, then on line B the one that A had three packets before. The yardstick compares numbers
and walks the blocks; wirepath's arbiter also keeps each line's losses, holds what is out of order,
measures skew and watches sessions, restarts and timers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from . import build, process
from .harness import Contestant, Group, Line, Refused, Sample, Settings, Unavailable

_MESSAGES = 1_000_000
_BUDGET_NS = 15.0


@contextmanager
def _open(settings: Settings) -> Iterator[Mapping[str, Contestant | Unavailable]]:
    bare, ours = build.reference("dedup_lines"), build.native("arbiter_bench")
    cpu = settings.cpus[1]

    def program(path: str, *more: str) -> Contestant:
        def run() -> Sample:
            words = ["--messages", str(_MESSAGES), "--cpu", str(cpu), *more]
            got = process.run([path, *words])
            if got["messages"] != _MESSAGES:
                raise Refused(f"{path} took {got['messages']} of {_MESSAGES} messages")
            cost = got["ns_per_message"]
            return Sample({"rate": got["rate"], "cost": cost}, note=f"{cost:.1f} ns a message")

        return run

    yield {
        "yardstick": program(bare),
        "yardstick, single": program(bare, "--per-packet", "1"),
        "native": program(ours),
        "native, single": program(ours, "--per-packet", "1"),
        "native, losing": program(ours, "--lose", "100"),
        "budget": lambda: Sample({"cost": _BUDGET_NS}),
    }


ARBITER = Group(
    "arbiter",
    (
        Line(
            "arbiter_cost",
            "two lines, 4 messages a packet: time a message, against a budget of 15 ns",
            "ns",
            "native",
            "budget",
            figure="cost",
            goal=1.0,
            better="lower",
        ),
        Line(
            "arbiter_loss_cost",
            "the same with 1 % of the packets of each line lost, held and delivered in order",
            "ns",
            "native, losing",
            "budget",
            figure="cost",
            goal=1.0,
            better="lower",
        ),
        Line(
            "arbiter_native",
            "two lines, 4 messages a packet, against dedup_lines",
            "messages/s",
            "native",
            "yardstick",
        ),
        Line(
            "arbiter_single",
            "two lines, one message a packet, against dedup_lines",
            "messages/s",
            "native, single",
            "yardstick, single",
        ),
    ),
    _open,
)
