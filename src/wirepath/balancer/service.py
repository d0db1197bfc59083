"""A running balancer: checks, drains, requests and counters, on one asyncio loop."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from time import time
from typing import Any

from ..errors import ConfigError, WirepathError
from ..settings import missing, nearest, problem
from .announce import Announcer
from .cells import Cells
from .config import BalancerConfig, Network, ServerConfig
from .control import Server
from .controller import Announce, Change, Controller, RemoveVip, SetReal, SetTable, Told
from .health import Outcome
from .plane import Maps, Plane
from .prober import Prober, Stations
from .state import Kept, reals_of
from .tables import shares
from .tunnel import CheckTunnel

_TICK = 1.0
_EVENTS = 1000


class Service:
    """One balancer over the maps of its data path.

    Args:
        maps: of the program.
        sources: of each family the address that packets for servers, and checks, come from.
        kept: numbers that a process before has left in the maps, with its prefixes' groups.
        remember: takes what the next process has to know, as plain JSON, whenever it changes.
        totals: gives the program's own counters by name.
        heard: takes each event's text.
    """

    def __init__(
        self,
        config: BalancerConfig,
        maps: Maps,
        sources: dict[int, str],
        *,
        kept: Mapping[str, Any] | None = None,
        remember: Callable[[dict[str, Any]], None] | None = None,
        totals: Callable[[], Mapping[str, int]] = dict,
        heard: Callable[[str], None] | None = None,
    ) -> None:
        self.config = config
        self._sources = sources
        self._stations = Stations(config.interface)
        self._plane = Plane(maps, config, self._stations.mac)
        self._controller = Controller(config, Kept.of(kept) if kept else None, self._plane.room)
        if kept:
            self._plane.adopt(kept["groups"])
            for address, mac in self._plane.stations().items():
                self._stations.remember(address, mac)
        self._announcer = Announcer(config) if config.announce == "frr" else None
        self._announced: dict[str, bool] = {}  # by network
        self._announcements: asyncio.Queue[tuple[Network, bool]] = asyncio.Queue()
        self._remember = remember or (lambda _: None)
        self._totals = totals
        self._heard = heard or (lambda _: None)
        self._events: deque[tuple[float, str]] = deque(maxlen=_EVENTS)
        self._cells = Cells(config.interface)
        self._moved: dict[str, float] = {}
        self._has_tunnel = False

    # --- life --------------------------------------------------------------------------------

    async def run(self, stop: asyncio.Event, ready: Callable[[], None] | None = None) -> None:
        """Until `stop` is set. Raises WirepathError: it can't begin."""
        loop = asyncio.get_running_loop()
        async with contextlib.AsyncExitStack() as stack:
            tunnel = await self._tunnel(stack, loop)
            server = Server(self.config.interface, self.answer)
            await server.start()
            stack.push_async_callback(server.stop)
            stack.callback(self._cells.close)
            prober = Prober(
                self.config, self._stations, tunnel, self._on_check, self._plane.station
            )
            self._prober = prober
            self._apply(self._controller.start(loop.time()))
            self._plane.settle()
            announcing = asyncio.create_task(self._announce())
            stack.push_async_callback(self._end_announcing, announcing)
            prober.watch(self.config)
            stack.push_async_callback(prober.stop)
            if ready is not None:
                ready()
            await self._tick_until(stop)

    async def _tunnel(
        self, stack: contextlib.AsyncExitStack, loop: asyncio.AbstractEventLoop
    ) -> CheckTunnel | None:
        if not self.config.checks_through_tunnel():
            return None
        self._has_tunnel = True
        tunnel = CheckTunnel(self.config.interface, self._sources)
        await asyncio.to_thread(tunnel.open)
        stack.push_async_callback(asyncio.to_thread, tunnel.close)
        tunnel.start(loop)
        stack.callback(tunnel.stop, loop)
        return tunnel

    async def _tick_until(self, stop: asyncio.Event) -> None:
        loop = asyncio.get_running_loop()
        while not stop.is_set():
            self._tick(loop.time())
            due = self._controller.next_tick(loop.time())
            wait = _TICK if due is None else min(_TICK, max(0.01, due - loop.time()))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), wait)

    def _tick(self, now: float) -> None:
        servers = self._plane.server_counters()
        packets = {real.number: int(servers["packets"][real.number]) for real in self._reals()}
        self._apply(self._controller.tick(now, packets))
        self._cells.write(
            self._controller.vips, self._plane.vip_counters(), servers, self._totals()
        )

    def _reals(self) -> Iterable[Any]:
        return (real for _, real in reals_of(self._controller.vips))

    # --- changes -----------------------------------------------------------------------------

    def _on_check(self, vip: str, server: str, outcome: Outcome) -> None:
        now = asyncio.get_running_loop().time()
        self._apply(self._controller.checked(vip, server, outcome.ok, now, outcome.reason))

    def _apply(self, changes: list[Change]) -> None:
        for change in changes:
            match change:
                case SetReal():
                    self._plane.real(change)
                case SetTable():
                    self._plane.table(change)
                    self._moved[change.vip.name] = change.moved.share
                    if change.moved.share:
                        self._say(
                            f"{change.vip.name}: {change.moved.share:.2%} of flows that no "
                            f"connection table holds go elsewhere, {change.moved.needless:.2%} "
                            "without need"
                        )
                case RemoveVip():
                    self._plane.remove(change)
                case Announce():
                    self._announcement(change)
                case Told(text):
                    self._say(text)
        if changes:
            kept = self._controller.kept().plain()
            self._remember(kept | {"groups": self._plane.groups})

    def _say(self, text: str) -> None:
        self._events.append((time(), text))
        self._heard(text)

    # --- announcements -----------------------------------------------------------------------

    def _announcement(self, change: Announce) -> None:
        """A network is announced as long as one of its services has servers enough."""
        network = change.vip.network
        wanted = any(
            vip.announced for vip in self._controller.vips.values() if vip.config.network == network
        )
        if self._announced.get(str(network), False) == wanted:
            return
        self._announced[str(network)] = wanted
        self._say(f"{network}: {'announced' if wanted else 'withdrawn'}")
        if self._announcer is not None:
            self._announcements.put_nowait((network, wanted))

    async def _announce(self) -> None:
        while self._announcer is not None:
            network, wanted = await self._announcements.get()
            try:
                await self._announcer.say(network, wanted)
            except WirepathError as error:
                self._say(str(error))
            finally:
                self._announcements.task_done()

    async def _end_announcing(self, task: asyncio.Task[None]) -> None:
        if self._announcer is not None and not self.config.pin:
            for text, is_on in self._announced.items():
                network = next((v.network for v in self.config.vip if str(v.network) == text), None)
                if is_on and network is not None:
                    self._announcements.put_nowait((network, False))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._announcements.join(), 10.0)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    # --- requests ----------------------------------------------------------------------------

    def answer(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """What is said to a request ``{"do": …}``. Raises ConfigError."""
        now = asyncio.get_running_loop().time()
        given = {name: value for name, value in request.items() if name != "do"}
        before = len(self._events)
        match request.get("do"):
            case "show":
                return self.show()
            case "drain":
                self._apply(self._controller.drain(now=now, **given))
            case "undrain":
                self._apply(self._controller.undrain(now=now, **given))
            case "weight":
                self._apply(self._controller.weigh(now=now, **given))
            case "reload":
                new = given["config"]
                if not isinstance(new, BalancerConfig):
                    new = BalancerConfig.from_toml(Path(new))
                self.reload(new, now)
            case other:
                known = ("show", "drain", "undrain", "weight", "reload")
                raise ConfigError(
                    problem("do", other, "one of " + ", ".join(known) + nearest(str(other), known))
                )
        return {"events": [text for _, text in list(self._events)[before:]]}

    def reload(self, config: BalancerConfig, now: float) -> None:
        """Go over to another configuration. Raises ConfigError: only a restart can do that; then
        nothing has changed."""
        self._plane.check(config)
        lacking = config.tunnel_families() - self._sources.keys()
        if lacking:
            must = "an address, and the balancer began without one (restart it)"
            raise ConfigError(missing(f"source{min(lacking)}", must))
        if config.checks_through_tunnel() and not self._has_tunnel:
            raise ConfigError(
                'a check with check_through = "tunnel" needs what the balancer began without '
                '(restart it, or give the service check_through = "direct")'
            )
        changes = self._controller.reload(config, now)
        self.config = config
        self._plane.configure(config)
        self._apply(changes)
        self._prober.watch(config)

    def show(self) -> dict[str, Any]:
        """Services, servers and counters, as plain values."""
        servers, vips = self._plane.server_counters(), self._plane.vip_counters()
        out = []
        for vip in self._controller.vips.values():
            part = shares(vip.table) if vip.table is not None else {}
            out.append(
                {
                    "name": vip.config.name,
                    "address": vip.config.address,
                    "protocol": vip.config.protocol,
                    "port": vip.config.port,
                    "announced": vip.announced,
                    "moved": self._moved.get(vip.config.name, 0.0),
                    **{n: int(vips[n][vip.number]) for n in vips.dtype.names or ()},
                    "servers": [
                        self._show_real(real, part.get(real.number, 0.0), servers)
                        for real in vip.reals.values()
                    ],
                }
            )
        return {
            "interface": self.config.interface,
            "vips": out,
            "counters": dict(self._totals()),
            "events": [{"time": at, "text": text} for at, text in list(self._events)[-20:]],
        }

    def _show_real(self, real: Any, share: float, counters: Any) -> dict[str, Any]:  # noqa: ANN401
        server: ServerConfig = real.server
        return {
            "name": server.name,
            "address": server.address,
            "mode": self.config.mode_of(server),
            "state": real.state.name.lower(),
            "reason": real.reason,
            "weight": real.weight,
            "share": share,
            **{n: int(counters[n][real.number]) for n in counters.dtype.names or ()},
        }
