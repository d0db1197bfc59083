# SPDX-License-Identifier: Apache-2.0
"""The balancer: nanoseconds per packet in the driver by BPF_PROG_RUN, and natively on a port that
costs nothing, each against the same measurement without it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from . import process
from .harness import Contestant, Group, Line, Sample, Settings, Unavailable

_DRIVER = (
    ("tcp", "established"),
    ("tcp", "new"),
    ("udp", "established"),
    ("udp", "new"),
    ("ipv6", "established"),
    ("ipv6", "new"),
    ("icmp", "established"),
    ("quic", "established"),
)
_SECONDS = 120
_WHAT = {
    "tcp": "TCP over IPv4",
    "udp": "UDP over IPv4, with its time-out",
    "ipv6": "TCP over IPv6",
    "icmp": "an ICMP error, by the packet that it quotes",
    "quic": "a short QUIC header, by its connection ID",
}


@contextmanager
def _open(settings: Settings) -> Iterator[Mapping[str, Contestant | Unavailable]]:
    cpu = str(settings.cpus[1])

    def runs(*words: str) -> Contestant:
        command = process.module("balancer_run", *words, "--cpu", cpu)

        def run() -> Sample:
            return Sample({"cost": process.run(command, timeout=_SECONDS)["cost"]})

        return run

    contestants: dict[str, Contestant | Unavailable] = {
        f"{kind} {flows}": runs("driver", kind, flows) for kind, flows in _DRIVER
    }
    contestants["gue"] = runs("driver", "tcp", "established", "--mode", "gue")
    contestants["dsr"] = runs("driver", "tcp", "established", "--mode", "dsr")
    contestants["nothing"] = runs("driver", "tcp", "nothing")
    contestants["native"] = runs("null", "udp", "established")
    contestants["worker"] = runs("null", "udp", "nothing")
    lacking = _no_memif()
    contestants["memif"] = lacking or runs("memif", "udp", "established")
    contestants["memif worker"] = lacking or runs("memif", "udp", "nothing")
    yield contestants


def _no_memif() -> Unavailable | None:
    from wirepath import backends  # noqa: PLC0415 -- --list needs no built package

    dpdk = next(each for each in backends() if each.name == "dpdk")
    return None if dpdk.available else Unavailable(f"dpdk: {dpdk.reason} ({dpdk.mend})")


def _line(name: str, what: str, ours: str, yardstick: str, note: str) -> Line:
    return Line(name, what, "ns/packet", ours, yardstick, "cost", better="lower", note=note)


_RUN = (
    "IPIP, 100 servers, table of 65,537; the yardstick only makes the packet what it was before "
    "the run, which ours does as well"
)

BALANCER = Group(
    "balancer",
    (
        *(
            _line(
                f"balancer_{kind}_{flows}",
                f"{_WHAT[kind]}, {flows} flow{'s' if flows == 'new' else ''}, by BPF_PROG_RUN",
                f"{kind} {flows}",
                "nothing",
                _RUN,
            )
            for kind, flows in _DRIVER
        ),
        _line("balancer_gue", "TCP within GUE, by BPF_PROG_RUN", "gue", "nothing", _RUN),
        _line("balancer_dsr", "TCP by Ethernet address, by BPF_PROG_RUN", "dsr", "nothing", _RUN),
        _line(
            "balancer_native",
            "UDP within IPIP as a native stage on the null port",
            "native",
            "worker",
            "the yardstick is the worker without a stage",
        ),
        _line(
            "balancer_memif",
            "UDP within IPIP as a native stage, in and out of a DPDK memif",
            "memif",
            "memif worker",
            "time by the clock; the yardstick is a worker that takes each frame and drops it",
        ),
    ),
    _open,
)
