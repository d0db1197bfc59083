"""Where each packet of a run went: taps at both peers, counters of the kernels on the way, and
what was known when. The numbers are those that `route_traffic` sends.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from bgp_lab import HOSTS, BgpLab
from bgp_processes import Asked, Traffic
from numpy.typing import NDArray
from route_tap import RECORD

TAP = Path(__file__).with_name("route_tap.py")
DRIVER = Path(__file__).with_name("route_driver.py")
_OTHER_STATION = 3  # PACKET_OTHERHOST
_PEERS = ("p1", "p2")


@dataclass(frozen=True)
class Rest:
    """A time in which nothing changed: what was sent in it goes where the kernel's tables say."""

    first: int  # ns
    last: int
    ways: list[Any]  # of each destination, as route_driver has them


@dataclass(frozen=True)
class Moved:
    """p1 gets another Ethernet address."""

    begun: int  # ns: from here on p1 may have the new one
    known: int  # the router's kernel has it
    followed: int  # and so does the driver's table
    mac: str


def kernel_counters(lab: BgpLab, host: str) -> dict[str, int]:
    """What a host's kernel dropped, by the names that it has for it."""
    out: dict[str, int] = {}
    for name in ("snmp", "netstat"):
        lines = lab.run(host, "cat", f"/proc/net/{name}").splitlines()
        for names, values in zip(lines[::2], lines[1::2], strict=True):
            kind = names.split(":")[0]
            for field, value in zip(names.split()[1:], values.split()[1:], strict=True):
                out[f"{kind}.{field}"] = int(value)
    for line in lab.run(host, "cat", "/proc/net/snmp6").splitlines():
        name, value = line.split()
        out[name] = int(value)
    for line in lab.run(host, "cat", "/proc/net/dev").splitlines()[2:]:
        name, _, rest = line.partition(":")
        numbers = [int(value) for value in rest.split()]
        out[f"{name.strip()}.rx_dropped"] = numbers[2] + numbers[3]
        out[f"{name.strip()}.tx_dropped"] = numbers[10] + numbers[11]
    return out


def machine_counters() -> dict[str, int]:
    """What all namespaces have in common: queues of processors that were full, and packets that
    waited in vain for a neighbour's address."""
    rows = [line.split() for line in Path("/proc/net/softnet_stat").read_text().splitlines()]
    out = {"softnet.dropped": sum(int(row[1], 16) for row in rows)}
    neighbours = Path("/proc/net/stat/arp_cache")
    if neighbours.exists():  # in the machine's own namespace alone
        names, *lines = neighbours.read_text().splitlines()
        at = names.split().index("unresolved_discards")
        out["arp.unresolved_discards"] = sum(int(line.split()[at], 16) for line in lines)
    return out


#: Where a kernel drops a packet that is whole and small, on its way through or to its end.
LOSSES = (
    "Ip.InDiscards",
    "Ip.InAddrErrors",
    "Ip.InHdrErrors",
    "Ip.OutDiscards",
    "Ip.OutNoRoutes",
    "IpExt.InNoRoutes",
    "IpExt.InCsumErrors",
    "Udp.NoPorts",
    "Udp.InErrors",  # a full socket's among them
    "Udp.SndbufErrors",
    "TcpExt.IPReversePathFilter",
    "Ip6InDiscards",
    "Ip6InAddrErrors",
    "Ip6InHdrErrors",
    "Ip6InNoRoutes",
    "Ip6OutDiscards",
    "Ip6OutNoRoutes",
    "Udp6NoPorts",
    "Udp6InErrors",
    "Udp6SndbufErrors",
)


class Account:
    """Packets through the lab's router, with taps where they leave it, until `close`.

    Args:
        lab: forwards already, everything announced.
        destinations: of the packets, in turns.
    """

    def __init__(self, lab: BgpLab, destinations: list[str]) -> None:
        self.lab = lab
        self.destinations = destinations
        self.events: list[tuple[int, str]] = []
        self.rests: list[Rest] = []
        self.moves: list[Moved] = []
        self.unclear = 0
        self.rested = False
        """Whether nothing changed in the last rest."""
        self._stack = ExitStack()
        self._taps: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        try:
            self._driver = Asked(self.lab, DRIVER, "wp0")
            self._stack.callback(self._driver.close)
            for host in _PEERS:
                file = self.lab.folder / f"tap-{host}"
                child = self.lab.popen(host, [sys.executable, str(TAP), "wp0", str(file)], **pipes)
                self._stack.callback(_end, child)
                assert child.stdout is not None
                assert child.stdout.readline() == b"ready\n"
                self._taps[host] = child
            self._before = {host: kernel_counters(self.lab, host) for host in HOSTS}
            self._machine = machine_counters()
            self._counted = self.ask("counters")
            self._traffic = Traffic(self.lab, self.destinations, record=True)
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def ask(self, what: str, **words: object) -> dict[str, Any]:
        """The driver's tables (route_driver)."""
        return self._driver.ask(what, **words)

    # --- what happens meanwhile -------------------------------------------------------------------
    def event(self, name: str) -> None:
        """Begins now."""
        self.events.append((time.monotonic_ns(), name))

    def rest(self, during: Callable[[], int]) -> None:
        """Runs something while nothing changes; `during` returns the moment (ns) of the last change
        that it knows of."""
        before = self.ask("ways", addresses=self.destinations)
        changed = during()
        last = time.monotonic_ns()
        after = self.ask("ways", addresses=self.destinations)
        moved = after["driver"] != before["driver"]
        unclear = before["differ"] or after["differ"] or moved or changed > before["now"]
        self.rested = not unclear
        if unclear:
            self.unclear += 1  # a session that came back by itself, say
        else:
            self.rests.append(Rest(before["now"], last, before["driver"]))

    # --- the account ------------------------------------------------------------------------------
    def close(self) -> dict[str, Any]:
        """Ends the packets and adds up."""
        said = self._traffic.stop()
        lab = self.lab
        taps = {}
        for host, child in self._taps.items():
            out, _ = child.communicate(timeout=120)
            taps[host] = json.loads(out)
        after = {host: kernel_counters(lab, host) for host in HOSTS}
        counted = self.ask("counters")
        sent = np.fromfile(lab.folder / "sent", np.int64)
        arrived = np.zeros(len(sent), bool)
        arrived[np.fromfile(lab.folder / "received", ">u8").astype(np.int64)] = True
        seen = np.concatenate([self._tapped(host) for host in _PEERS])
        account = self._account(sent, arrived, seen)
        router = _more(counted, self._counted)
        machine = _more(machine_counters(), self._machine)
        kernels = {
            host: {
                name: count
                for name, count in _more(after[host], self._before[host]).items()
                if name in LOSSES or name.endswith("x_dropped")
            }
            for host in HOSTS
        }
        dropped = {host: sum(counts.values()) for host, counts in kernels.items()}
        # What no tap saw again is in a counter on that part of the way.
        before = dropped["h1"] + dropped["r"]
        before += sum(count for name, count in router.items() if name.startswith("drop_"))
        behind = dropped["p1"] + dropped["p2"] + dropped["h2"]
        unexplained = max(0, account["lost_before_peers"] - before)
        unexplained += max(0, account["lost_behind_peers"] - behind)
        account["unexplained"] = max(0, unexplained - sum(machine.values()))
        return {
            **said,
            "taps": taps,
            "account": account,
            "stale": self._stale(sent, seen),
            "router": router,
            "machine": machine,
            "kernels": kernels,
        }

    def _tapped(self, host: str) -> NDArray[Any]:
        kind = np.dtype([("number", "i8"), ("mac", "u1", 6), ("mark", "u1"), ("host", "U2")])
        heard = np.fromfile(self.lab.folder / f"tap-{host}", RECORD)
        out = np.zeros(len(heard), kind)
        for name in ("number", "mac", "mark"):
            out[name] = heard[name]
        out["host"] = host
        return out

    def _account(
        self, sent: NDArray[np.int64], arrived: NDArray[np.bool_], seen: NDArray[Any]
    ) -> dict[str, Any]:
        """Every packet sent, once: by the last place where it was seen."""
        refused = sent < 0
        heard = np.zeros(len(sent), bool)
        heard[seen["number"]] = True
        other = np.zeros(len(sent), bool)
        other[seen["number"][seen["mark"] == _OTHER_STATION]] = True
        lost = ~arrived & ~refused
        kinds = {
            "refused_by_sender": refused,
            "arrived": arrived,
            "lost_before_peers": lost & ~heard,
            "lost_other_station": lost & other,
            "lost_behind_peers": lost & heard & ~other,
        }
        after = {
            name: self._events_before(np.abs(sent[mask]))
            for name, mask in kinds.items()
            if name.startswith("lost") and mask.any()
        }
        return {
            **{name: int(mask.sum()) for name, mask in kinds.items()},
            "sent": len(sent),
            "duplicates": len(seen) - int(heard.sum()),
            "lost_after": after,
        }

    def _events_before(self, moments: NDArray[np.int64]) -> dict[str, int]:
        """How many of these moments were after which event."""
        starts = np.array([at for at, _ in self.events], np.int64)
        out: dict[str, int] = {}
        for at in (np.searchsorted(starts, moments, "right") - 1).tolist():
            name = self.events[at][1] if at >= 0 else "start"
            out[name] = out.get(name, 0) + 1
        return out

    def _stale(self, sent: NDArray[np.int64], seen: NDArray[Any]) -> dict[str, Any]:
        """What left the router for a next hop that it no longer had. Judged by when a packet was
        sent: what the tables said before that, they said when it came to the router."""
        when = np.abs(sent[seen["number"]])
        macs = seen["mac"]
        judged = wrong = 0
        for rest in self.rests:
            inside = np.flatnonzero((when > rest.first) & (when < rest.last))
            allowed = [{mac for _, _, mac in ways} for ways in rest.ways]
            for number, mac in zip(seen["number"][inside].tolist(), macs[inside], strict=True):
                judged += 1
                wrong += bytes(mac).hex(":") not in allowed[number % len(allowed)]
        return {
            "rests": len(self.rests),
            "unclear": self.unclear,
            "judged": judged,
            "wrong": wrong,
            **self._moved(when, seen),
        }

    def _moved(self, when: NDArray[np.int64], seen: NDArray[Any]) -> dict[str, Any]:
        """Packets with p1's address of before, from the moment when it had another one."""
        one = seen["host"] == "p1"
        out = {"moves": len(self.moves), "old_not_told": 0, "old_known": 0, "old_followed": 0}
        longest = follows = 0
        for number, move in enumerate(self.moves, 1):
            end = self.moves[number].begun if number < len(self.moves) else 1 << 62
            mine = one & (when >= move.begun) & (when < end)
            mac = np.frombuffer(bytes.fromhex(move.mac.replace(":", "")), np.uint8)
            old = when[mine & (seen["mac"] != mac).any(axis=1)]
            late = old[old > move.known]
            out["old_not_told"] += int((old <= move.known).sum())
            out["old_known"] += int((late <= move.followed).sum())
            out["old_followed"] += int((late > move.followed).sum())
            if len(late):
                longest = max(longest, int(late.max()) - move.known)
            follows = max(follows, move.followed - move.known)
        return out | {"longest_old_ms": longest / 1e6, "longest_until_followed_ms": follows / 1e6}


def _more(after: dict[str, int], before: dict[str, int]) -> dict[str, int]:
    """What was counted in between; what was not is left out."""
    return {k: v - before.get(k, 0) for k, v in after.items() if v != before.get(k, 0)}


def _end(child: subprocess.Popen[bytes]) -> None:
    if child.poll() is None:
        child.terminate()
        child.wait(10)
    for pipe in (child.stdin, child.stdout):
        if pipe is not None:
            pipe.close()
