"""Carries the controller's changes into the maps of the program, and reads its counters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError
from . import layout
from .config import BalancerConfig, ServerConfig, VipConfig
from .controller import RemoveVip, SetReal, SetTable
from .state import RealState, Room

Rows = NDArray[Any]


class Maps(Protocol):
    """What the plane needs of a program's maps: those of the driver, or of a native stage."""

    def write(self, name: str, keys: Rows, values: Rows) -> None: ...
    def delete(self, name: str, keys: Rows) -> None: ...
    def read(self, name: str) -> tuple[Rows, Rows]: ...
    def sums(self, name: str) -> Rows: ...


@dataclass(frozen=True)
class _Service:
    config: VipConfig
    number: int
    ring: int


def entries(config: BalancerConfig) -> dict[str, int]:
    """How large the maps have to be, with room for services that come later."""
    vips = max(16, 2 * len(config.vip))
    reals = sum(len(config.servers_of(vip)) for vip in config.vip)
    return {
        "flows": config.connections,
        "vips": 4 * vips,
        "prefixes4": vips,
        "prefixes6": vips,
        "rings": 2 * vips * config.table_size,
        "servers": min(4096, max(256, 2 * reals)),
        "quic_servers": 65536,
        "vip_counters": vips,
        "server_counters": min(4096, max(256, 2 * reals)),
    }


class Plane:
    """The data path as the controller's changes make it.

    Args:
        maps: of the program, empty or as a process before has left them.
        stations: gives the Ethernet address of a server's next hop, or None.
    """

    def __init__(
        self,
        maps: Maps,
        config: BalancerConfig,
        stations: Callable[[ServerConfig], bytes | None],
    ) -> None:
        self._maps = maps
        self._config = config
        self._stations = stations
        self._room = entries(config)
        self._features = layout.features(config)
        self._services: dict[str, _Service] = {}
        self._groups: dict[str, int] = {}
        self._records: dict[int, SetReal] = {}
        self._generations: dict[int, int] = {}  # of each number, whose counters its are
        self._vips: dict[bytes, bytes] = {}
        self._quic: dict[int, int] = {}

    def check(self, config: BalancerConfig) -> None:
        """Raises ConfigError: the program was loaded without what this configuration needs."""
        if layout.features(config) & ~self._features:
            raise ConfigError(
                "the new services need what the running program was loaded without: prefixes, "
                "QUIC or a kind of service that there was none of (restart the balancer)"
            )

    @property
    def room(self) -> Room:
        """How many services and servers there can be."""
        # Number 0 is no server.
        return Room(self._room["vip_counters"], self._room["servers"] - 1)

    def configure(self, config: BalancerConfig) -> None:
        """Another configuration, whose changes follow. What is not theirs is written here."""
        before, self._config = self._config, config
        if (before.mode, before.gue_port) != (config.mode, config.gue_port):
            for change in list(self._records.values()):
                self.real(change)
        if before.echo != config.echo:
            self._services_changed()

    def adopt(self, groups: Mapping[str, int]) -> None:
        """The maps are those of a process before; `groups` is what its :attr:`groups` were."""
        self._groups = dict(groups)
        keys, values = self._maps.read("vips")
        self._vips = {k.tobytes(): v.tobytes() for k, v in zip(keys, values, strict=True)}
        numbers, records = self._maps.read("servers")
        there = zip(numbers, records["generation"], strict=True)
        self._generations = {int(number): int(generation) for number, generation in there}
        keys, values = self._maps.read("quic_servers")
        self._quic = {int(k): int(v) for k, v in zip(keys, values, strict=True)}

    def stations(self) -> dict[str, bytes]:
        """Of each server's address the Ethernet address that its record has."""
        _, records = self._maps.read("servers")
        return {
            layout.address(row["address"], int(row["family"])): row["mac"].tobytes()
            for row in records
            if row["family"] and row["mac"].any()
        }

    @property
    def groups(self) -> dict[str, int]:
        """Of each prefix the number that stands for it."""
        return dict(self._groups)

    # --- changes -----------------------------------------------------------------------------

    def real(self, change: SetReal) -> None:
        """Write a server's record."""
        self._records[change.number] = change
        if self._generations.get(change.number) != change.generation:
            # Packets of who had the number before are not this one's.
            nothing = np.zeros(1, layout.SERVER_COUNTERS)
            self._maps.write("server_counters", np.asarray([change.number], "<u4"), nothing)
            self._generations[change.number] = change.generation
        row = np.zeros(1, layout.SERVER)
        row["generation"] = change.generation
        mac = self._stations(change.server)
        # Where no station is known nothing can be sent; the checks will tell.
        row["state"] = change.state if mac is not None else RealState.DOWN
        row["mode"] = layout.MODES[self._config.mode_of(change.server)]
        row["family"] = 6 if ":" in change.server.address else 4
        row["address"] = layout.words(change.server.address)
        row["gue_port"] = layout.port(self._config.gue_port)
        row["mac"] = np.frombuffer(mac or bytes(6), np.uint8)
        self._maps.write("servers", np.asarray([change.number], "<u4"), row)

    def station(self, server: ServerConfig) -> None:
        """A server's next hop has another Ethernet address."""
        for change in list(self._records.values()):
            if change.server == server:
                self.real(change)

    def table(self, change: SetTable) -> None:
        """Write a table beside the one in use, then take it."""
        size = len(change.table)
        ring = (2 * change.number + change.half) * size
        slots = np.arange(ring, ring + size, dtype="<u4")
        self._maps.write("rings", slots, change.table.astype("<u4"))
        self._services[change.vip.name] = _Service(change.vip, change.number, ring)
        self._services_changed()

    def remove(self, change: RemoveVip) -> None:
        """Packets for the service go on to whatever comes behind the balancer."""
        if self._services.pop(change.vip.name, None) is not None:
            self._services_changed()

    def settle(self) -> None:
        """After the first changes: what a process before has left, and nobody wants, goes."""
        self._services_changed()
        known = np.asarray(sorted(self._records), "<u4")
        numbers, _ = self._maps.read("servers")
        stale = np.setdiff1d(numbers.astype("<u4"), known)
        if len(stale):
            self._maps.write("servers", stale, np.zeros(len(stale), layout.SERVER))

    def _services_changed(self) -> None:
        self._write_prefixes()
        wanted: dict[bytes, bytes] = {}
        for service in self._services.values():
            key, value = self._rows(service)
            wanted[key.tobytes()] = value.tobytes()
        if self._config.echo:
            for service in self._services.values():
                key, value = self._rows(service)
                key["protocol"], key["port"] = layout.ICMP[service.config.network.version], 0
                value["flags"], value["size"] = layout.ECHO, 0
                wanted.setdefault(key.tobytes(), value.tobytes())
        changed = {k: v for k, v in wanted.items() if self._vips.get(k) != v}
        if changed:
            keys = np.frombuffer(b"".join(changed), layout.VIP_KEY)
            self._maps.write("vips", keys, np.frombuffer(b"".join(changed.values()), layout.VIP))
        gone = [k for k in self._vips if k not in wanted]
        if gone:
            self._maps.delete("vips", np.frombuffer(b"".join(gone), layout.VIP_KEY))
        self._vips = wanted
        self._write_quic()

    def _rows(self, service: _Service) -> tuple[Rows, Rows]:
        config = service.config
        key, value = np.zeros(1, layout.VIP_KEY), np.zeros(1, layout.VIP)
        if config.network.num_addresses > 1:
            key["address"][0, 0] = self._groups[config.address]
        else:
            key["address"] = layout.words(config.address)
            key["family"] = config.network.version
        key["port"], key["protocol"] = layout.port(config.port), layout.PROTOCOLS[config.protocol]
        value["number"], value["ring"] = service.number, service.ring
        value["size"] = self._config.table_size
        flags = layout.QUIC if config.quic else 0
        value["flags"] = flags | (layout.STATELESS if config.stateless else 0)
        return key, value

    def _write_prefixes(self) -> None:
        wanted = {
            s.config.address: s.config.network
            for s in self._services.values()
            if s.config.network.num_addresses > 1
        }
        for text, network in wanted.items():
            if text not in self._groups:
                number = next(n for n in range(1, 1 << 20) if n not in self._groups.values())
                self._groups[text] = number
            name = f"prefixes{network.version}"
            value = np.asarray([self._groups[text]], "<u4")
            self._maps.write(name, layout.prefix_key(network), value)
        for text in [t for t in self._groups if t not in wanted]:
            network = VipConfig(name="x", address=text, check="none").network
            self._maps.delete(f"prefixes{network.version}", layout.prefix_key(network))
            del self._groups[text]

    def _write_quic(self) -> None:
        wanted: dict[int, int] = {}
        for service in self._services.values():
            if not service.config.quic:
                continue
            # Of two records with an ID, one of a server that left or moved, the later one.
            for record in sorted(self._records.values(), key=lambda r: r.generation):
                same = record.vip.name == service.config.name
                if same and record.server.quic_id is not None:
                    wanted[service.number << 16 | record.server.quic_id] = record.number
        changed = {k: v for k, v in wanted.items() if self._quic.get(k) != v}
        if changed:
            keys = np.asarray(list(changed), "<u4")
            self._maps.write("quic_servers", keys, np.asarray(list(changed.values()), "<u4"))
        gone = [k for k in self._quic if k not in wanted]
        if gone:
            self._maps.delete("quic_servers", np.asarray(gone, "<u4"))
        self._quic = wanted

    # --- counters ----------------------------------------------------------------------------

    def vip_counters(self) -> Rows:
        """Of each service's number packets, bytes, new_flows and drops."""
        return self._maps.sums("vip_counters")

    def server_counters(self) -> Rows:
        """Of each server's number packets, bytes and new_flows."""
        return self._maps.sums("server_counters")
