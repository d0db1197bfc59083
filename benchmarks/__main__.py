# SPDX-License-Identifier: Apache-2.0
"""The command line: `./dev bench`, or `python -m benchmarks`."""

from __future__ import annotations

import argparse
import dataclasses
import fnmatch
import sys
from collections.abc import Sequence

from .arbiter import ARBITER
from .balancer import BALANCER
from .convert import CONVERT
from .dpdk import DPDK
from .feed_latency import FEED_LATENCY
from .fib import FIB4, FIB6
from .filter import FILTER
from .filter_flood import FILTER_FLOOD
from .harness import Group, Outcome, Settings, favour, processors, run_group
from .itch import ITCH
from .latency import LATENCY
from .null import NULL
from .observe import OBSERVE
from .peers import PEERS
from .receive import AF_XDP, SOCKET
from .report import Report
from .ring import RING
from .route_driver import ROUTE_DRIVER
from .route_memif import ROUTE_MEMIF
from .route_path import ROUTE_PATH, ROUTE_PATH_SMALL
from .route_update import ROUTE_UPDATE
from .route_user import ROUTE_USER
from .sbe import SBE
from .stages import STAGES
from .tap import TAP
from .tops import TOPS
from .transmit import TRANSMIT

GROUPS: tuple[Group, ...] = (
    SOCKET,
    AF_XDP,
    DPDK,
    LATENCY,
    FEED_LATENCY,
    TRANSMIT,
    NULL,
    RING,
    STAGES,
    OBSERVE,
    TAP,
    ITCH,
    ARBITER,
    PEERS,
    TOPS,
    SBE,
    CONVERT,
    FILTER,
    FILTER_FLOOD,
    BALANCER,
    ROUTE_DRIVER,
    ROUTE_USER,
    ROUTE_UPDATE,
    ROUTE_MEMIF,
    ROUTE_PATH_SMALL,
    ROUTE_PATH,
    FIB4,
    FIB6,
)

_EPILOG = """\
Names may be patterns: 'af_xdp*'. Every line is a contestant of wirepath's against a minimal C
program (benchmarks/reference) or a package from PyPI, in turns, each run from a fresh state; the
ratio is the median of the rounds with its extremes. How and why: benchmarks/README.md.

example: ./dev bench 'af_xdp*' ring --rounds 9"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "benchmarks",
        description="Measures wirepath against yardsticks.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="lines to run (default: all)")
    parser.add_argument("--json", action="store_true", help="one object a line on stdout")
    parser.add_argument("--list", action="store_true", help="say which lines there are, and end")
    parser.add_argument("--check", action="store_true", help="exit 1 if a goal is missed")
    parser.add_argument("--rounds", type=int, default=Settings.rounds, metavar="N")
    parser.add_argument(
        "--seconds", type=float, default=Settings.seconds, help="of traffic in each packet run"
    )
    parser.add_argument(
        "--delay-ns",
        type=int,
        default=0,
        help="make wirepath's receivers this much slower a packet, to see that it shows",
    )
    return parser


def _chosen(parser: argparse.ArgumentParser, patterns: Sequence[str]) -> set[str]:
    every = [line.name for group in GROUPS for line in group.lines]
    chosen: set[str] = set()
    for pattern in patterns or ("*",):
        found = fnmatch.filter(every, pattern)
        if not found:
            parser.error(f"no line is called {pattern!r}; there are: {', '.join(every)}")
        chosen.update(found)
    return chosen


def _settings(parser: argparse.ArgumentParser, args: argparse.Namespace) -> Settings:
    if not 1 <= args.rounds <= 1000:
        parser.error(f"--rounds {args.rounds}: must be from 1 to 1000")
    if not 0.1 <= args.seconds <= 600:
        parser.error(f"--seconds {args.seconds}: must be from 0.1 to 600")
    if not 0 <= args.delay_ns <= 1_000_000:
        parser.error(f"--delay-ns {args.delay_ns}: must be from 0 to 1000000")
    settings = Settings(args.rounds, args.seconds, args.delay_ns)
    return dataclasses.replace(settings, cpus=processors())


def main(argv: Sequence[str] | None = None) -> int:
    """Runs what the words ask for; the exit code."""
    parser = _parser()
    args = parser.parse_args(argv)
    chosen = _chosen(parser, args.names)
    if args.list:
        for group in GROUPS:
            for line in group.lines:
                goal = "" if line.goal is None else f" (goal {line.goal:g})"
                print(f"{line.name:22} {line.what}{goal}")
        return 0
    settings = _settings(parser, args)
    outcomes: list[Outcome] = []
    with Report(settings, favour(), as_json=args.json) as report:
        for group in GROUPS:
            for outcome in run_group(group, chosen, settings, report.progress):
                outcomes.append(outcome)
                report.add(outcome)
    if args.json:
        for outcome in outcomes:
            if outcome.skipped or outcome.refused:
                why = outcome.skipped or f"refused: {outcome.refused}"
                print(f"{outcome.line.name}: {why}", file=sys.stderr)
    refused = any(outcome.refused for outcome in outcomes)
    missed = any(outcome.met is False for outcome in outcomes)
    return 1 if refused or (args.check and missed) else 0


if __name__ == "__main__":
    sys.exit(main())
