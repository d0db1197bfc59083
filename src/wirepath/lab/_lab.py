# SPDX-License-Identifier: Apache-2.0
"""`Lab` and `Host`, and the functions behind `wirepath lab up|status|down`."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, Unpack

from .. import logs, traces
from . import _build, _lifetime, _netns, _state, _status
from ._errors import LabError, LabUnavailable
from ._plan import NETNS_DIR, Interface, LabOptions, LabSpec, Topology, check_name
from ._status import LabStatus

Argument = str | bytes | os.PathLike[str] | os.PathLike[bytes]


class Host:
    """One namespace of a lab, standing for a machine of its own."""

    def __init__(self, spec: LabSpec, name: str) -> None:
        self.name: Final = name
        self.netns: Final = spec.netns(name)
        self.interfaces: Final = spec.interfaces[name]

    def __repr__(self) -> str:
        return f"Host({self.name!r}, netns={str(self.netns)!r})"

    @property
    def interface(self) -> Interface:
        """The first interface, wp0: the only one in a lab of two hosts."""
        if not self.interfaces:
            raise LabError(f"host {self.name!r} is on no link")
        return self.interfaces[0]

    def enter(self) -> _netns.Entered:
        """A context manager that moves the *calling thread* into this host's network.

        Sockets, ports and processes that the thread makes meanwhile belong to this host and
        stay so afterwards. Other threads are not affected. /sys/class/net keeps showing the
        network of where the process came from; netlink, ioctl and /proc/sys/net show the host's.

        Raises:
            LabUnavailable: CAP_SYS_ADMIN is missing (setns(2)).
            LabError: the lab is down.
        """
        return _netns.Entered(self.netns)

    def popen(
        self,
        command: Sequence[Argument],
        **options: Any,  # noqa: ANN401 -- passed on
    ) -> subprocess.Popen[Any]:
        """Starts a command on this host; `options` are those of `subprocess.Popen`.

        Only the network namespace is changed, as by `nsenter --net`: mounts, bpffs among them,
        stay visible, which `ip netns exec` would hide. The lab ends the process when it goes down.
        """
        with self.enter():
            return subprocess.Popen(command, **options)

    def run(
        self,
        command: Sequence[Argument],
        *,
        check: bool = False,
        **options: Any,  # noqa: ANN401 -- passed on
    ) -> subprocess.CompletedProcess[Any]:
        """Runs a command on this host to its end; `options` are those of `subprocess.run`."""
        with self.enter():
            return subprocess.run(command, check=check, **options)

    def command(self, command: Sequence[str]) -> list[str]:
        """The same command as something to type into a shell, with util-linux's nsenter."""
        return ["nsenter", f"--net={self.netns}", *command]


class Lab:
    """Network namespaces joined by veth pairs: real hosts and NICs, as far as sockets can tell.

    >>> with Lab(queues=2) as lab:                                        # doctest: +SKIP
    ...     receiver = lab["b"].popen(["wirepath", "feed", "af_xdp:wp0"])
    ...     lab["a"].run(["ping", "-c1", lab["b"].interface.ipv4])

    Args:
        name: begins the names of the namespaces, /run/netns/<name>-<host>. Labs of different
            names do not disturb each other, though all use the same addresses.
        hosts: names, or a number of hosts (a, b, c, …).
        topology: for more than two hosts. "line": each host is linked to the next; "star": the
            first one to every other; "lan": all on one switch (a bridge in <name>-lan).
        links: instead of a topology, the pairs to link; two hosts may be linked twice.
        queues: receive and transmit queues of every interface, 1..64.
        mtu: bytes, 1280..65535. Above about 3,500 the kernel attaches only XDP programs that
            can take frames in fragments.
        ipv6: addresses of both families; False switches IPv6 off in the lab.
        routes: static routes between hosts that share no link, forwarded by those between.

    Interfaces are called wp0, wp1, … on each host, in the order of the links. Link number k is
    10.77.k.0/24 and fd57:6972:6570:k::/64; its stations are numbered from 1, as their MAC
    addresses 02:57:50:00:<k>:<n> are. Neighbours are entered for good, so no ARP or ND is needed.

    Raises:
        ConfigError: an argument is out of range.
    """

    def __init__(
        self,
        name: str = "wirepath",
        hosts: int | Sequence[str] = ("a", "b"),
        *,
        links: Iterable[tuple[str, str]] | None = None,
        topology: Topology = "line",
        queues: int = 1,
        mtu: int = 1500,
        ipv6: bool = True,
        routes: bool = True,
    ) -> None:
        spec = LabSpec.make(
            name,
            hosts,
            links=links,
            topology=topology,
            queues=queues,
            mtu=mtu,
            ipv6=ipv6,
            routes=routes,
        )
        self._take(spec)

    def _take(self, spec: LabSpec, *, attached: bool = False) -> None:
        self._spec = spec
        self._attached = attached  # laid out by somebody else, and not ours to remove
        self._owner: _state.Owner | None = None
        self._children: list[subprocess.Popen[Any]] = []
        self.hosts: Mapping[str, Host] = {host: _LabHost(self, host) for host in spec.hosts}

    @classmethod
    def _attach(cls, spec: LabSpec) -> Self:
        lab = cls.__new__(cls)
        lab._take(spec, attached=True)
        return lab

    @property
    def name(self) -> str:
        """The name that begins those of the namespaces."""
        return self._spec.name

    @property
    def spec(self) -> LabSpec:
        """What the lab was asked to be."""
        return self._spec

    def __getitem__(self, host: str) -> Host:
        try:
            return self.hosts[host]
        except KeyError:
            known = ", ".join(self.hosts)
            raise LabError(f"lab {self.name!r} has no host {host!r}, only {known}") from None

    def __repr__(self) -> str:
        return f"Lab({self.name!r}, hosts={list(self.hosts)})"

    def start(self) -> Self:
        """Lays the lab out, owned by this process; `with` does this.

        Raises:
            LabUnavailable: no privilege, or no support in the kernel; says what to do.
            LabError: a lab of this name is up.
        """
        if self._attached or self._owner is not None:
            raise LabError(f"lab {self.name!r} is up already")
        owner = _state.Owner.this_process()
        _lifetime.opened(self)
        try:
            self._owner = owner
            _lay_out(_state.Record(self._spec, owner))
        except BaseException:
            self._owner = None
            _lifetime.closed(self)
            raise
        return self

    def close(self) -> None:
        """Ends the processes in the lab and removes it, if this process owns it."""
        owner = self._owner
        if owner is None or owner.pid != os.getpid():
            return
        with _state.locked():
            record = _state.read(self.name)
            if record is not None and record.owner == owner:
                _clear(record)
        self._owner = None
        _lifetime.closed(self)
        for child in self._children:
            child.poll()  # ended above: takes the exit status, so that no zombie stays

    def __enter__(self) -> Self:
        return self if self._attached else self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def status(self) -> LabStatus:
        """What the kernel says of this lab now."""
        found = status(self.name)
        if not found:
            raise LabError(f"lab {self.name!r} is not up")
        return found[0]

    @staticmethod
    def up(
        name: str = "wirepath",
        hosts: int | Sequence[str] = ("a", "b"),
        **options: Unpack[LabOptions],
    ) -> Lab:
        """The function `up`."""
        return up(name, hosts, **options)

    @staticmethod
    def down(name: str = "wirepath", *, force: bool = False) -> bool:
        """The function `down`."""
        return down(name, force=force)


class _LabHost(Host):
    """A host that tells its lab which processes it started."""

    def __init__(self, lab: Lab, name: str) -> None:
        super().__init__(lab.spec, name)
        self._lab = lab

    def popen(
        self,
        command: Sequence[Argument],
        **options: Any,  # noqa: ANN401 -- passed on
    ) -> subprocess.Popen[Any]:
        child = super().popen(command, **options)
        self._lab._children.append(child)
        return child


def unavailable_reason() -> str | None:
    """Why no lab can be made here, with what to do about it; None if one can."""
    return _netns.probe()


def _require() -> None:
    missing = _netns.missing_capabilities()
    if missing:
        raise LabUnavailable(f"no lab here: {_netns.lacking(missing)}")


def up(
    name: str = "wirepath", hosts: int | Sequence[str] = ("a", "b"), **options: Unpack[LabOptions]
) -> Lab:
    """Lays out a lab that stays until `down(name)`; arguments as for `Lab`.

    Raises:
        ConfigError, LabUnavailable: as for `Lab`.
        LabError: a lab of this name is up.
    """
    spec = LabSpec.make(name, hosts, **options)
    _lay_out(_state.Record(spec, owner=None))
    return Lab._attach(spec)


def attach(name: str = "wirepath") -> Lab:
    """The lab `name` that `up` or another process laid out; closing it does nothing.

    Raises:
        LabError: there is none, or its owner was killed.
    """
    _require()
    with _state.locked():
        record = _state.read(name)
    if record is None or record.stale:
        raise LabError(f"no lab {name!r} is up: sudo wirepath lab up --name {name}")
    return Lab._attach(record.spec)


def down(name: str = "wirepath", *, force: bool = False) -> bool:
    """Removes a lab, or what a killed owner left of it. False if there was nothing.

    Raises:
        LabUnavailable: no privilege.
        LabError: it belongs to another living process, and `force` was not given.
    """
    check_name(name)
    _require()
    with _state.locked():
        record = _state.read(name)
        if record is None:
            return False
        owner = record.owner
        if owner is not None and owner.alive() and owner.pid != os.getpid() and not force:
            raise LabError(
                f"lab {name!r} belongs to the running process {owner.pid}: end that first "
                f"(kill {owner.pid}), or use force"
            )
        _clear(record)
    return True


def status(name: str | None = None) -> list[LabStatus]:
    """Reads all labs, or one, back from the kernel. Empty if there is none.

    Raises:
        LabUnavailable: no privilege to look into the namespaces.
        LabError: the state file of the one asked for is damaged.
    """
    if name is not None:
        check_name(name)
    _require()
    with _state.locked():  # a lab that is half made or half removed has no state worth telling
        if name is None:
            return [_status.read_back(*item) for item in _state.read_all().items()]
        record = _state.read(name)
        return [] if record is None else [_status.read_back(name, record)]


def _lay_out(record: _state.Record) -> None:
    _require()
    spec = record.spec
    try:
        with traces.span("lab.up", lab=spec.name, hosts=spec.hosts), _state.locked():
            _reap()
            _refuse_taken(spec)
            _state.write(record)
            try:
                _build.build(spec)
            except BaseException:
                _clear(record)
                raise
    except PermissionError as error:
        raise LabUnavailable(f"no lab here: {_netns.explain(error)}") from error
    logs.emit("lab.made", lab=spec.name, hosts=spec.hosts, queues=spec.queues)


def _reap() -> None:
    for record in _state.read_all().values():
        if isinstance(record, _state.Record) and record.stale:
            _clear(record)


def _refuse_taken(spec: LabSpec) -> None:
    other = _state.read(spec.name)
    if other is not None:
        whose = f"process {other.owner.pid}" if other.owner else "`wirepath lab up`"
        raise LabError(
            f"a lab {spec.name!r} is up, made by {whose}: choose another name, or remove it with "
            f"sudo wirepath lab down --name {spec.name}"
        )
    for name in spec.namespaces:
        path: Path = NETNS_DIR / name
        if path.exists():
            raise LabError(
                f"{path} exists and is not a lab's: choose another name, or remove it with "
                f"sudo ip netns delete {name}"
            )


def _clear(record: _state.Record) -> None:
    # The state file goes last: if this is interrupted, the next start takes over.
    with traces.span("lab.down", lab=record.spec.name):
        _build.destroy(record.spec)
        _state.forget(record.spec.name)
    logs.emit("lab.removed", lab=record.spec.name)
