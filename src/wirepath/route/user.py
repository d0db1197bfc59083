"""The router's program in user space: a worker over ports of any backend, and behind each port a
TAP device with which the kernel's own stack takes part."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from ipaddress import ip_interface
from typing import Any, Literal, Self

from .. import programs
from .._core import everything
from ..errors import ConfigError
from ..hosts import HostPort, mac_of
from ..ports import Port
from ..ports import open as open_port
from ..settings import problem
from ..worker import Worker, WorkerGroup
from . import program as maps
from .config import RouterConfig
from .interfaces import Interfaces

__all__ = ["Account", "UserPlane"]

_ETHERNET_AND_VLAN = 18
_STEERS_NOTHING = "a backend that takes whole frames off the wire (socket takes UDP alone)"


@dataclass(frozen=True)
class Account:
    """What became of every frame; exact once the workers have ended.

    received: by ports. from_host: sent by the kernel. sent: out of ports. to_host: handed to the
    kernel. dropped: by reason. refused: by the counter of the port that had no room, or said no.
    """

    received: int
    from_host: int
    sent: int
    to_host: int
    dropped: Mapping[str, int] = field(default_factory=dict)
    refused: Mapping[str, int] = field(default_factory=dict)

    @property
    def missing(self) -> int:
        """Frames in none of them: 0."""
        out = self.sent + self.to_host + sum(self.dropped.values()) + sum(self.refused.values())
        return self.received + self.from_host - out


class UserPlane:
    """Ports, TAP devices and workers of a router in user space; forwards from :meth:`attach` on.

    A TAP device has the name of the interface, and is the kernel's interface of that port: it has
    its addresses, its routes lead there, and the kernel speaks ARP, ND and routing protocols
    through it. It has the port's MAC address and MTU, and its carrier follows the port's link.

    Args:
        ports: of each interface's name the port spec, such as ``{"wan": "af_xdp:eth1"}``.
        addresses: of interfaces, such as ``{"wan": ["192.0.2.1/24"]}``; gone with the device.
        entries: sizes of the tables, from :func:`wirepath.route.program.entries`.
        workers: threads; each has one queue (or more) of every port.
        cores: a core for each worker; None = no affinity.
        batch_size, idle: as of :class:`wirepath.Worker`.

    Raises:
        ConfigError, BackendUnavailable, DeviceBusy, PermissionDenied, PortError: as they say.
    """

    def __init__(
        self,
        ports: Mapping[str, str],
        *,
        addresses: Mapping[str, Sequence[str]] | None = None,
        entries: Mapping[str, int] | None = None,
        workers: int = 1,
        cores: Sequence[int] | None = None,
        batch_size: int = 64,
        idle: Literal["sleep", "spin"] = "sleep",
    ) -> None:
        if cores is not None and len(cores) != workers:
            raise ConfigError(
                problem("cores", list(cores), f"a core for each of {workers} workers")
            )
        self._open = contextlib.ExitStack()
        self.ports: dict[str, Port] = {}
        self.hosts: dict[str, HostPort] = {}
        self._carrier: dict[str, bool] = {}
        self._group: WorkerGroup | None = None
        with contextlib.ExitStack() as opened:
            for name, spec in ports.items():
                port = opened.enter_context(
                    open_port(spec, steer=everything(), batch_size=batch_size, idle=idle)
                )
                self._check(name, port, workers)
                self.ports[name] = port
                self.hosts[name] = opened.enter_context(_host_of(name, port, workers, batch_size))
            for name, given in (addresses or {}).items():
                self._give_addresses(name, given)
            self.program = programs.native(
                "route",
                config={"seed": secrets.randbits(64), "port": 0, "kernel_fib": 0},
                entries=dict(entries or maps.entries()),
                slots=workers,
            )
            self.tables = maps.ForwardingTables(self.program)
            self._group = WorkerGroup(
                [self._worker(k, workers, cores, batch_size, idle) for k in range(workers)]
            )
            self._open = opened.pop_all()

    @classmethod
    def of(cls, config: RouterConfig) -> Self:
        """As a router's configuration says."""
        ports = config.ports or {}
        return cls(
            {name: ports[name] for name in config.interfaces},
            addresses=config.addresses,
            entries=maps.entries(
                groups4=config.groups4, groups6=config.groups6, next_hops=config.next_hops
            ),
            workers=config.workers,
            idle=config.idle,
        )

    @staticmethod
    def _check(name: str, port: Port, workers: int) -> None:
        can = port.capabilities
        if not can["rx"] or not can["tx"] or not can["ethernet_headers"]:
            raise ConfigError(problem(f"ports.{name}", port.spec, _STEERS_NOTHING))
        if port.queues < workers:
            raise ConfigError(
                problem("workers", workers, f"at most {port.queues}, the queues of {port.spec}")
            )

    def _give_addresses(self, name: str, addresses: Sequence[str]) -> None:
        from pyroute2 import IPRoute  # noqa: PLC0415 -- slow to import
        from pyroute2.netlink.exceptions import NetlinkError  # noqa: PLC0415

        if name not in self.hosts:
            raise ConfigError(problem("addresses", name, f"one of {', '.join(self.hosts)}"))
        with IPRoute() as kernel:
            for each in addresses:
                must = "an address with its prefix length, such as 192.0.2.1/24"
                try:
                    parsed = ip_interface(each)
                except ValueError:
                    parsed = None
                if parsed is None or not each.partition("/")[2].isdigit():
                    raise ConfigError(problem(f"addresses.{name}", each, must))
                try:
                    kernel.addr(
                        "replace",
                        index=self.hosts[name].ifindex,
                        address=str(parsed.ip),
                        prefixlen=parsed.network.prefixlen,
                    )
                except (NetlinkError, OSError, ValueError) as error:
                    text = f"{must} that the kernel takes ({error})"
                    raise ConfigError(problem(f"addresses.{name}", each, text)) from None

    def _worker(
        self,
        k: int,
        workers: int,
        cores: Sequence[int] | None,
        batch_size: int,
        idle: Literal["sleep", "spin"],
    ) -> Worker:
        worker = Worker(
            f"route-{k}",
            cpu_core=None if cores is None else cores[k],
            batch_size=batch_size,
            idle=idle,
        )
        for port in self.ports.values():
            worker.add_port(port, list(range(k, port.queues, workers)))
        for number, host in enumerate(self.hosts.values()):
            worker.add_host(number, host, [k])  # a device has one queue for each worker
        worker.add_stage(self.program.stage())
        return worker

    # --- as the router drives it ----------------------------------------------------------------
    @property
    def interfaces(self) -> tuple[str, ...]:
        """Names of the kernel's interfaces, in the order of the ports' numbers."""
        return tuple(self.ports)

    def attach(self, interfaces: Interfaces | None = None) -> None:
        """Forward from now on: tables and interfaces are written."""
        del interfaces  # a port's number is its place
        assert self._group is not None
        for number in range(1, len(self.ports) + 1):
            self.program.maps["ports"][number] = number
        self.look()
        self._group.start()

    def look(self) -> None:
        """Has the kernel see at each TAP device whether its port has a link. Raises what stopped a
        worker."""
        for name, port in self.ports.items():
            up = port.info().get("link") not in ("down", "gone")
            if self._carrier.get(name) != up:
                self.hosts[name].set_carrier(up)
                self._carrier[name] = up
        if self._group is not None and self._carrier and not self._group.running:
            self._group.join()

    @property
    def modes(self) -> dict[str, str]:
        """Of each interface the port behind it: spec and mode."""
        return {n: f"{p.spec}, {p.info().get('mode', '')}" for n, p in self.ports.items()}

    def stop(self) -> None:
        """Forward no longer; returns once every frame under way has been dealt with."""
        if self._group is not None:
            self._group.stop()
            self._group.join()

    def close(self) -> None:
        """Stop, and let go of ports and devices."""
        try:
            self.stop()
        finally:
            self._group = None
            self._open.close()

    def workers(self) -> dict[str, int]:
        """Bursts, frames, verdicts and drops of the workers together."""
        return {} if self._group is None else self._group.stats()

    def account(self) -> Account:
        """Where all frames are that came. While the workers run, some are under way."""
        ports = [port.stats() for port in self.ports.values()]
        hosts = [host.stats() for host in self.hosts.values()]
        refused: dict[str, int] = {}
        names = [*self.ports, *(f"host {name}" for name in self.hosts)]
        for name, stats in zip(names, [*ports, *hosts], strict=True):
            for counter, count in stats.items():
                # The kernel refuses descriptors that are counted as sent by then.
                if counter.startswith("drop.tx_") and count and counter != "drop.tx_refused":
                    refused[f"{name}.{counter}"] = count
        dropped = {n: c for n, c in self.program.counters().items() if n.startswith("drop_") and c}
        aborted = self.program.counters().get("verdict.aborted", 0)
        dropped |= {"aborted": aborted} if aborted else {}
        for name, count in self.workers().items():
            if name.startswith("drop.") and count:
                dropped[f"worker.{name[5:]}"] = count
        return Account(
            received=_sum(ports, "rx_packets"),
            from_host=_sum(hosts, "rx_packets"),
            sent=_sum(ports, "tx_packets"),
            to_host=_sum(hosts, "tx_packets"),
            dropped=dropped,
            refused=refused,
        )

    def report(self) -> dict[str, Any]:
        """Counters of ports, devices and workers, and the account, as plain values."""
        account = self.account()
        return {
            "ports": {name: port.stats() for name, port in self.ports.items()},
            "hosts": {name: host.stats() for name, host in self.hosts.items()},
            "workers": self.workers(),
            "account": {**asdict(account), "missing": account.missing},
        }

    def info(self) -> dict[str, Any]:
        """Ports, devices and workers, as read back."""
        return {
            "ports": {name: port.info() for name, port in self.ports.items()},
            "hosts": {name: host.info() for name, host in self.hosts.items()},
            "workers": [] if self._group is None else self._group.info(),
        }


def _sum(stats: Sequence[Mapping[str, int]], name: str) -> int:
    return sum(each.get(name, 0) for each in stats)


def _host_of(name: str, port: Port, queues: int, batch_size: int) -> HostPort:
    info = port.info()
    room = int(port.capabilities["max_frame"]) - _ETHERNET_AND_VLAN
    mtu = int(info.get("mtu") or max(68, min(1500, room)))
    return HostPort(
        name,
        mac=str(info["mac"]) if info.get("mac") else mac_of(str(info.get("device", ""))),
        mtu=mtu,
        queues=queues,
        batch_size=batch_size,
    )
