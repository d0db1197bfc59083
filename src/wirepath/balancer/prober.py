"""Runs the checks of all servers, and keeps their next hops' Ethernet addresses known."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass

from pyroute2.netlink.exceptions import NetlinkError

from ..errors import WirepathError
from . import neighbours
from .config import BalancerConfig, ServerConfig, VipConfig
from .health import Outcome, check, failed
from .tunnel import CheckTunnel, Way

#: Seconds for which an Ethernet address is taken as known.
_FRESH = 10.0
#: Seconds after a check in which its last packets may still go out.
_LINGER = 3.0
_STEP = 0.05


@dataclass(frozen=True)
class _Known:
    mac: bytes
    until: float


class Stations:
    """The Ethernet addresses that packets for servers go to."""

    def __init__(self, interface: str) -> None:
        self._interface = interface
        self._known: dict[str, _Known] = {}

    def mac(self, server: ServerConfig) -> bytes | None:
        """The last that was found, or what the configuration gives."""
        if server.mac is not None:
            return bytes.fromhex(server.mac.replace(":", ""))
        known = self._known.get(server.address)
        return known.mac if known else None

    def remember(self, address: str, mac: bytes) -> None:
        """What a process before knew, until the kernel is asked."""
        self._known[address] = _Known(mac, 0.0)

    async def find(self, server: ServerConfig, direct: bool, seconds: float) -> bytes:
        """Asks the kernel. direct: the server itself, on the same link, not a router to it.

        Raises PortError, or OSError where nobody answers.
        """
        given = self.mac(server)
        loop = asyncio.get_running_loop()
        known = self._known.get(server.address)
        if given is not None and (server.mac or (known and loop.time() < known.until)):
            return given
        # In a thread, since pyroute2 has a loop of its own; it is born into our network namespace.
        hop = await asyncio.to_thread(neighbours.next_hop, server.address, self._interface)
        if direct and hop != server.address:
            raise OSError(0, f"it is behind {hop}, and dsr needs it on the same link")
        end = loop.time() + seconds
        neighbours.ask(hop)
        while (mac := await asyncio.to_thread(neighbours.known, hop, self._interface)) is None:
            if loop.time() >= end:
                raise OSError(0, f"{hop} does not answer on {self._interface}")
            await asyncio.sleep(_STEP)
        self._known[server.address] = _Known(mac, loop.time() + _FRESH)
        return mac


class Prober:
    """A task for each server of a service; what its checks come to goes to `checked`.

    Args:
        checked: takes service, server and outcome.
        moved: takes a server whose Ethernet address is another than before, or known at last.
        tunnel: None where no service is checked through it.
    """

    def __init__(
        self,
        config: BalancerConfig,
        stations: Stations,
        tunnel: CheckTunnel | None,
        checked: Callable[[str, str, Outcome], None],
        moved: Callable[[ServerConfig], None],
    ) -> None:
        self.config = config
        self._stations = stations
        self._tunnel = tunnel
        self._checked = checked
        self._moved = moved
        self._tasks: dict[tuple[VipConfig, ServerConfig], asyncio.Task[None]] = {}

    def watch(self, config: BalancerConfig) -> None:
        """Check what this configuration has, and nothing else any more."""
        self.config = config
        wanted = {(vip, server) for vip in config.vip for server in config.servers_of(vip)}
        for pair in [p for p in self._tasks if p not in wanted]:
            self._tasks.pop(pair).cancel()
        new = sorted(wanted - set(self._tasks), key=lambda p: (p[0].name, p[1].name))
        for i, (vip, server) in enumerate(new):
            # Not all at once.
            wait = vip.check_interval * i / max(1, len(new)) if len(new) > 50 else 0.0
            self._tasks[vip, server] = asyncio.create_task(self._watch(vip, server, wait))

    async def stop(self) -> None:
        """The end of all checks."""
        tasks = list(self._tasks.values())
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _watch(self, vip: VipConfig, server: ServerConfig, wait: float) -> None:
        await asyncio.sleep(wait)
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            outcome = await self._once(vip, server)
            self._checked(vip.name, server.name, outcome)
            due = max(due + vip.check_interval, loop.time())
            await asyncio.sleep(due - loop.time())

    async def _once(self, vip: VipConfig, server: ServerConfig) -> Outcome:
        mode = self.config.mode_of(server)
        before = self._stations.mac(server)
        try:
            mac = await self._stations.find(server, mode == "dsr", vip.check_timeout)
            if mac != before:
                self._moved(server)
            if vip.check == "none":
                return Outcome(True)
            kind = socket.SOCK_DGRAM if vip.check == "udp" else socket.SOCK_STREAM
            if vip.check_through == "tunnel" and self._tunnel is not None:
                way = Way(mode, server.address, mac, self.config.gue_port)
                return await self._through(self._tunnel, vip, kind, way)
            family = socket.AF_INET6 if ":" in server.address else socket.AF_INET
            sock = socket.socket(family, kind)
            sock.setblocking(False)
            return await check(vip, sock, server.address, vip.checked_port)
        except OSError as error:
            return failed(error)
        except (WirepathError, NetlinkError) as error:
            return Outcome(False, str(error) or type(error).__name__)

    async def _through(
        self, tunnel: CheckTunnel, vip: VipConfig, kind: socket.SocketKind, way: Way
    ) -> Outcome:
        family = vip.network.version
        sock = tunnel.open_socket(family, kind, way)
        port = sock.getsockname()[1]
        try:
            return await check(vip, sock, vip.address, vip.checked_port)
        finally:
            loop = asyncio.get_running_loop()
            loop.call_later(_LINGER, tunnel.forget, family, kind, port)
