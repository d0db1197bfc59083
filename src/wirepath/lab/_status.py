# SPDX-License-Identifier: Apache-2.0
"""What is there of a lab now, read back from the kernel and not from the request."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from . import _links, _netns, _processes, _state
from ._errors import LabError
from ._plan import LabSpec


@dataclass(frozen=True, slots=True)
class InterfaceStatus:
    """One interface as read back from the kernel; `state` is None if it is gone."""

    name: str
    peers: tuple[str, ...]  # host:interface
    state: _links.LinkState | None


@dataclass(frozen=True, slots=True)
class HostStatus:
    """One host: `up` is False if its namespace is gone."""

    name: str
    netns: str
    up: bool
    pids: tuple[int, ...]
    interfaces: tuple[InterfaceStatus, ...]


@dataclass(frozen=True, slots=True)
class LabStatus:
    """One lab. `kind`: "owned" by a living process, "persistent", "stale" (its owner
    was killed) or "damaged" (its state file cannot be read; `status(name)` says why).

    `dataclasses.asdict` gives what `json.dumps` takes.
    """

    name: str
    kind: str
    owner_pid: int | None
    queues: int | None
    mtu: int | None
    hosts: tuple[HostStatus, ...]


def read_back(name: str, record: _state.Record | LabError) -> LabStatus:
    """Asks the kernel about everything that the lab consists of."""
    if isinstance(record, LabError):
        return LabStatus(name, "damaged", None, None, None, ())
    spec = record.spec
    kind = "persistent" if record.owner is None else "stale" if record.stale else "owned"
    return LabStatus(
        name=spec.name,
        kind=kind,
        owner_pid=record.owner.pid if record.owner else None,
        queues=spec.queues,
        mtu=spec.mtu,
        hosts=tuple(_read_host(spec, host) for host in spec.hosts),
    )


def _read_host(spec: LabSpec, host: str) -> HostStatus:
    netns = spec.netns(host)
    there = _netns.is_namespace(netns)
    pids = _processes.processes_in([_processes.namespace_id(netns)]) if there else []
    interfaces = []
    for each in spec.interfaces[host]:
        read = partial(_links.read_state, each.name)
        state = _netns.inside(netns, read) if there else None
        peers = tuple(f"{peer.host}:{peer.interface}" for peer in each.peers)
        interfaces.append(InterfaceStatus(each.name, peers, state))
    return HostStatus(host, str(netns), there, tuple(pids), tuple(interfaces))
