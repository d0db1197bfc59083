# SPDX-License-Identifier: Apache-2.0
"""A laboratory on one machine: network namespaces and veth pairs that stand for real hosts.

    with Lab("demo", queues=2) as lab:
        with lab["b"].enter():
            ...                               # this thread is on host b: open sockets, ports
        lab["a"].run(["ping", "-c1", lab["b"].interface.ipv4])

Needs CAP_NET_ADMIN and CAP_SYS_ADMIN; without them `LabUnavailable` says so. Whatever ends the
program, nothing stays behind: a killed one's leftovers are removed by the next lab or by `down`.
"""

from ._errors import LabError, LabUnavailable
from ._lab import Host, Lab, attach, down, status, unavailable_reason, up
from ._links import LinkState
from ._plan import Interface, LabSpec, Peer, Topology
from ._status import HostStatus, InterfaceStatus, LabStatus

__all__ = [
    "Host",
    "HostStatus",
    "Interface",
    "InterfaceStatus",
    "Lab",
    "LabError",
    "LabSpec",
    "LabStatus",
    "LabUnavailable",
    "LinkState",
    "Peer",
    "Topology",
    "attach",
    "down",
    "status",
    "unavailable_reason",
    "up",
]
