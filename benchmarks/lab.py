# SPDX-License-Identifier: Apache-2.0
"""The lab of the packet benchmarks: two hosts on a veth pair, traffic from the kernel.

Host a sends with the in-kernel source `live_frames`, pinned to one processor; on a veth the
receiving softirq (driver, XDP program, copy into the socket's memory, or the UDP stack) runs there
too. The receiver on host b has the other processor to itself.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from . import build, process
from .harness import Refused, Settings, Unavailable, two_processors

GROUP, PORT = "239.1.1.1", 9001
FIELD_OFFSET = 42  # of the sequence number: behind Ethernet, IPv4 and UDP headers


class Bench:
    """The lab while it is up."""

    def __init__(self, lab: Any, settings: Settings) -> None:
        self._lab = lab
        self.settings = settings

    def on(self, host: str) -> Any:
        """What starts a process there, as subprocess.Popen does."""
        return self._lab[host].popen

    def receive(self, receiver: Sequence[str]) -> dict[str, Any]:
        """Offers `settings.seconds` of traffic as fast as the source can to a fresh receiver.

        Raises:
            Refused: one of them failed, or packets are missing that no counter names.
        """
        who = Path(receiver[0]).name if "-m" not in receiver else f"wirepath ({receiver[3]})"
        source_cpu, seconds = self.settings.cpus[0], self.settings.seconds
        child = self._lab["b"].popen(
            receiver,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=process.ROOT,
            env=process.ENVIRONMENT,
        )
        try:
            if child.stderr.readline().strip() != "ready":
                out, err = child.communicate(timeout=30)
                process.parse(who, child.returncode or 1, out, err)
            source = [build.reference("live_frames"), "--ifname", "wp0", "--dst-ip", GROUP]
            source += ["--dport", str(PORT), "--seconds", str(seconds), "--cpu", str(source_cpu)]
            done = self._lab["a"].run(source, capture_output=True, text=True, timeout=seconds + 30)
            sent = process.parse("live_frames", done.returncode, done.stdout, done.stderr)
            out, err = child.communicate(timeout=30)
            got = process.parse(who, child.returncode, out, err)
        except subprocess.TimeoutExpired:
            raise Refused(f"{who} or its traffic source did not end") from None
        finally:
            if child.poll() is None:
                child.kill()
                child.wait()
        self._check(who, sent, got)
        return got

    @staticmethod
    def _check(who: str, sent: dict[str, Any], got: dict[str, Any]) -> None:
        offered = sent["packets"] - sent["drops"]
        accounted = got["packets"] + got["drops"]
        if offered != accounted:
            raise Refused(
                f"{who}: {offered} packets were offered, but {got['packets']} received + "
                f"{got['drops']} dropped = {accounted} (the veth took {sent['device_tx_packets']}, "
                f"{sent['calls']} calls)"
            )
        if not got["packets"]:
            raise Refused(f"{who} received nothing")

    def transmit(self, sender: Sequence[str], who: str) -> dict[str, Any]:
        """Runs a sender on host a; host b listens to nothing and throws the packets away.

        Raises:
            Refused: it failed, or its packets are not those that the interface counted.
        """
        limit = self.settings.seconds + 30
        before = self._sent()
        done = self._lab["a"].run(
            sender,
            capture_output=True,
            text=True,
            timeout=limit,
            cwd=process.ROOT,
            env=process.ENVIRONMENT,
        )
        got = process.parse(who, done.returncode, done.stdout, done.stderr)
        after = self._sent()
        if after - before != got["packets"] or not got["packets"]:
            raise Refused(f"{who} says {got['packets']} packets, its interface {after - before}")
        return got

    def _sent(self) -> int:
        """Frames that left host a's interface, refused ones included: the sender counts them."""
        done = self._lab["a"].run(
            ["ip", "-s", "-j", "link", "show", "wp0"], capture_output=True, check=True
        )
        (link,) = json.loads(done.stdout)
        return int(link["stats64"]["tx"]["packets"]) + int(link["stats64"]["tx"]["dropped"])


@contextmanager
def lab(settings: Settings) -> Iterator[Bench]:
    """Lays the lab out.

    Raises:
        Unavailable: no privilege, no support in the kernel, or too few processors.
    """
    from wirepath import errors  # noqa: PLC0415 -- --list and --help need no built package
    from wirepath.lab import Lab, LabError, unavailable_reason  # noqa: PLC0415

    two_processors(settings)
    if reason := unavailable_reason():
        raise Unavailable(f"no lab here: {reason}")
    build.reference("live_frames")
    try:
        # Without IPv6 nothing but the benchmark's own packets is on the wire.
        with Lab(f"wpbench{os.getpid() % 10000}", ipv6=False) as up:
            for host in ("a", "b"):
                # Live frames vanish unless the peer has GRO or XDP, and GRO only counts when it
                # is switched on while the interface is up.
                for state in ("off", "on"):
                    command = ["ethtool", "-K", "wp0", "gro", state]
                    _require(up[host].run(command, capture_output=True))
            yield Bench(up, settings)
    except (LabError, errors.LabUnavailable) as error:
        raise Unavailable(str(error)) from None
    except FileNotFoundError as error:
        raise Unavailable(f"{error.filename} is missing (apt install {error.filename})") from None


def _require(done: subprocess.CompletedProcess[bytes]) -> None:
    if done.returncode:
        raise Unavailable(f"ethtool: {done.stderr.decode(errors='replace').strip()}")
