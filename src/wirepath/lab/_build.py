# SPDX-License-Identifier: Apache-2.0
"""Making what a `LabSpec` says, and removing it again, whatever state it is in."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Final

from . import _links, _netns, _processes
from ._errors import LabError, LabUnavailable
from ._plan import NETNS_DIR, SWITCH, LabSpec

_FIRST_INDEX: Final = 10  # of interfaces; loopback and a switch's bridge have lower ones


def build(spec: LabSpec) -> None:
    """Makes the namespaces and links. On failure some may be left: call `destroy`.

    Raises:
        LabUnavailable: the machine refuses (privilege, kernel).
    """
    try:
        _build(spec)
    except OSError as error:
        reason = _netns.explain(error)
        if reason is None:
            raise LabError(f"the lab {spec.name!r} could not be laid out: {error}") from error
        raise LabUnavailable(f"no lab here: {reason}") from error


def _build(spec: LabSpec) -> None:
    forwarders = {route.forwarder for route in spec.static_routes}
    for name in spec.namespaces:
        _netns.create(NETNS_DIR / name)
    for host in spec.hosts:
        prepare = partial(_links.prepare_namespace, spec, forwarding=host in forwarders)
        _netns.inside(spec.netns(host), prepare)
    if spec.lan:
        _build_lan(spec)
    else:
        _build_pairs(spec)
    for host in spec.hosts:
        _netns.inside(spec.netns(host), _configurator(spec, host))
    for host in spec.hosts:
        names = [interface.name for interface in spec.interfaces[host]]
        _netns.inside(spec.netns(host), partial(_links.wait_for_carrier, names))


def _configurator(spec: LabSpec, host: str) -> Callable[[], None]:
    def work() -> None:
        for interface in spec.interfaces[host]:
            _links.configure(spec, interface)
        _links.add_routes([route for route in spec.static_routes if route.host == host])

    return work


def _build_pairs(spec: LabSpec) -> None:
    index = _FIRST_INDEX
    for host in spec.hosts:
        for interface in spec.interfaces[host]:
            peer = interface.peer
            if spec.segments[interface.segment][0] == host:  # one end makes both
                near = _links.End(interface.name, index, interface.mac)
                far = _links.End(peer.interface, index + 1, peer.mac)
                _add_veth(spec, host, near, peer.host, far)
                index += 2


def _build_lan(spec: LabSpec) -> None:
    switch = spec.netns(SWITCH)
    _netns.inside(switch, partial(_links.add_bridge, spec))
    for number, host in enumerate(spec.hosts, start=1):
        (interface,) = spec.interfaces[host]
        index = _FIRST_INDEX + 2 * number
        near = _links.End(interface.name, index, interface.mac)
        far = _links.End(f"port{number}", index + 1, None)
        _add_veth(spec, host, near, SWITCH, far)
        _netns.inside(switch, partial(_links.plug_into_bridge, far.name))


def _add_veth(spec: LabSpec, host: str, near: _links.End, far_host: str, far: _links.End) -> None:
    fd = os.open(spec.netns(far_host), os.O_RDONLY | os.O_CLOEXEC)
    try:
        _netns.inside(spec.netns(host), partial(_links.add_veth, spec, near, far, fd))
    finally:
        os.close(fd)


def destroy(spec: LabSpec) -> None:
    """Ends the processes inside and removes links and namespaces, as far as they exist."""
    paths = [NETNS_DIR / name for name in spec.namespaces]
    mounted = [path for path in paths if _netns.is_namespace(path)]
    try:
        _processes.terminate(_processes.namespace_id(path) for path in mounted)
    finally:
        for path in mounted:
            _netns.inside(path, _links.delete_links)
        for path in paths:
            _netns.remove(path)
