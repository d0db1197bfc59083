# SPDX-License-Identifier: Apache-2.0
"""Where knobs are read and written: this machine, as the calling thread's network namespace shows
it, or trees below a directory that look like one."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Protocol

from .. import machine
from ..privileges import missing_capabilities
from ._knobs import ETHTOOL, Gone, Knob, Refused, Unreadable, canonical, spelled
from ._links import Identity, KernelLinks, Links, namespace_name

#: Exists in the machine's first network namespace only (net/core/sysctl_net_core.c).
_FIRST_NAMESPACE_ONLY: Final = "netdev_max_backlog"

# Not queues: interrupts of a NIC's control path, which stay where they are.
_CONTROL: Final = re.compile(
    r"config|mgmt|mgmnt|async|event|cmd|admin|fdir|ptp|aq\b|misc|ctrl", re.I
)


class Services(Protocol):
    """Daemons that would undo a setting."""

    def state(self, name: str) -> str:
        """``running``, ``stopped`` or ``absent``."""

    def obstacle(self, name: str) -> str | None:
        """Why it cannot be started and stopped here, or None."""

    def set(self, name: str, state: str) -> None:
        """``running`` or ``stopped``. Raises Refused."""


class SystemServices:
    """Those of the service manager; running is whatever has a process."""

    def state(self, name: str) -> str:
        if machine.Machine().running(name):
            return "running"
        return "stopped" if shutil.which(name) else "absent"

    def obstacle(self, name: str) -> str | None:
        if Path("/run/systemd/system").is_dir():
            return None
        return f"{name} is not managed by systemd here: stop it by hand"

    def set(self, name: str, state: str) -> None:
        if (reason := self.obstacle(name)) is not None:
            raise Refused(reason)
        verb = "stop" if state == "stopped" else "start"
        done = subprocess.run(
            ["systemctl", verb, name], capture_output=True, text=True, timeout=30, check=False
        )
        if done.returncode != 0:
            raise Refused(f"systemctl {verb} {name}: {done.stderr.strip() or done.returncode}")


class Machine:
    """Readers and writers over one root. Use :func:`this_machine` for the real one.

    ``netsys`` is the /sys whose class/net is that of the network namespace meant; None: it cannot
    be seen. ``namespace`` and ``boot`` identify the network namespace and the boot.
    """

    def __init__(
        self,
        root: Path,
        *,
        links: Links,
        services: Services,
        namespace: str,
        boot: str,
        netsys: Path | None,
    ) -> None:
        self.root = root
        self.facts = machine.Machine(root)
        self.links = links
        self.services = services
        self.namespace = namespace
        self.boot = boot
        self._netsys = netsys

    @property
    def real(self) -> bool:
        """This machine, not a tree of files."""
        return self.root == Path("/")

    @property
    def first_namespace(self) -> bool:
        """The namespace that the machine booted with, whose knobs are those of the machine."""
        return (self.root / "proc/sys/net/core" / _FIRST_NAMESPACE_ONLY).exists()

    @property
    def journal_name(self) -> str:
        """Begins the name of the journal; the first namespace is the same after a reboot."""
        return "machine" if self.first_namespace else self.namespace

    def missing_privileges(self) -> str | None:
        """What this process lacks to change settings, or None."""
        if not self.real:
            return None
        lacking = missing_capabilities(["CAP_NET_ADMIN"])
        if os.geteuid() != 0:
            lacking.append("root's ownership of /proc/sys and /sys")
        return " and ".join(lacking) or None

    # Interfaces.

    def interface(self, name: str) -> Identity | None:
        """Which one has this name now."""
        return next((each for each in self.links.interfaces() if each.name == name), None)

    def beneath(self, name: str) -> set[str]:
        """The interface and those that it stands on: ports of a bridge, members of a bond."""
        found: set[str] = set()
        todo = [name]
        while todo:
            each = todo.pop()
            if each in found:
                continue
            found.add(each)
            if self._netsys is not None:
                place = self._netsys / "class/net" / each
                todo += [lower.name.removeprefix("lower_") for lower in place.glob("lower_*")]
        return found

    def carries_default_route(self, name: str) -> bool:
        """A default route leaves by this interface, or by one that stands on it."""
        return any(name in self.beneath(each) for each in self.links.default_routes())

    def queues(self, interface: str, direction: str) -> list[int]:
        """Numbers of the queues, ``rx`` or ``tx``."""
        if self._netsys is None:
            return []
        found = (self._netsys / "class/net" / interface / "queues").glob(f"{direction}-*")
        return sorted(int(each.name.partition("-")[2]) for each in found)

    def driver(self, interface: str) -> str:
        """Name of the driver, empty where the interface has no device."""
        if self._netsys is None:
            return ""
        return _target(self._netsys / "class/net" / interface / "device/driver")

    def node(self, interface: str) -> int | None:
        """NUMA node of the NIC; None where the machine does not say."""
        if self._netsys is None:
            return None
        for place in ("device/numa_node", "device/../numa_node"):
            with contextlib.suppress(OSError, ValueError):
                text = (self._netsys / "class/net" / interface / place).read_text()
                return int(text) if int(text) >= 0 else None
        return None

    def interrupts(self, interface: str) -> dict[str, int]:
        """Interrupts of the interface's queues by label, in the order of their numbers."""
        if self._netsys is None:
            return {}
        device = self._netsys / "class/net" / interface / "device"
        owners = [device / "msi_irqs"]
        if re.match(r"virtio\d+$", _target(device)):
            owners.append(device / "../msi_irqs")  # of the PCI function below
        numbers = sorted({int(f.name) for d in owners if d.is_dir() for f in d.iterdir()})
        labels = self._labels()
        named = [(labels.get(number, str(number)), number) for number in numbers]
        out: dict[str, int] = {}
        for label, number in named:
            if _CONTROL.search(label):
                continue
            unique = sum(label == other for other, _ in named) == 1
            out[label if unique else str(number)] = number
        return out

    def _labels(self) -> dict[int, str]:
        try:
            lines = (self.root / "proc/interrupts").read_text().splitlines()
        except OSError:
            return {}
        out = {}
        for line in lines[1:]:
            number, colon, rest = line.strip().partition(":")
            if colon and number.isdigit() and rest.split():
                out[int(number)] = rest.split()[-1]
        return out

    # Cores.

    def cpus(self, node: int | None = None) -> list[int]:
        """Cores that are online and not isolated for programs of their own, of one NUMA node or
        all; where all are isolated, all."""
        online = [cpu for cpu in self.facts.cores if cpu not in self.facts.isolated]
        online = online or self.facts.cores
        if node is None:
            return online
        local = set(self.facts.nodes.get(node, []))
        return [cpu for cpu in online if cpu in local] or online

    # Values.

    def path(self, knob: Knob) -> Path:
        """The file behind a knob that is one. Raises Unreadable."""
        match knob.kind:
            case "sysctl":
                name = knob.name if "/" in knob.name else knob.name.replace(".", "/")
                return self.root / "proc/sys" / name
            case "sysfs":
                return self.root / "sys" / knob.name
            case "netdev":
                if self._netsys is None:
                    raise Unreadable(
                        "this network namespace's /sys cannot be seen: it takes CAP_SYS_ADMIN"
                    )
                return self._netsys / "class/net" / knob.interface / knob.name
            case "irq":
                number = self.interrupts(knob.interface).get(knob.name)
                if number is None:
                    raise Gone(f"{knob.interface} has no interrupt {knob.name}")
                return self.root / "proc/irq" / str(number) / "smp_affinity_list"
            case _:
                raise ValueError(f"{knob} is not a file")

    def read(self, knob: Knob) -> str:
        """The value now, canonical. Raises Unreadable, or Gone where there is no such knob."""
        if knob.kind == "service":
            return self.services.state(knob.name)
        if knob.kind in ETHTOOL:
            return canonical(knob, self.links.read(knob))
        path = self.path(knob)
        try:
            return canonical(knob, path.read_text())
        except FileNotFoundError:
            if knob.is_mask and path.exists():
                raise Gone(f"{knob.interface} has one queue: there is nothing to spread") from None
            raise Gone(self._why_absent(knob)) from None
        except OSError as error:
            raise Unreadable(f"{_shown(path)} cannot be read ({error.strerror})") from None
        except ValueError:
            raise Unreadable(f"{_shown(path)} holds no value that wirepath understands") from None

    def _why_absent(self, knob: Knob) -> str:
        if knob.kind == "sysctl" and knob.name.startswith(("net.", "net/")):
            if not self.first_namespace:
                return "this sysctl is the machine's, not one of this network namespace"
            return "this kernel has no such sysctl (its module may not be loaded)"
        if knob.kind == "netdev" and self.interface(knob.interface) is None:
            return f"there is no interface {knob.interface}"
        if knob.kind == "netdev" and knob.name.startswith("queues/"):
            return f"{knob.interface} has no {knob.name.split('/')[1]} or no such setting for it"
        if "cpufreq" in knob.name:
            return "no frequency scaling here: firmware or hypervisor governs the clock"
        return "this kernel does not have it"

    def unwritable(self, knob: Knob) -> str | None:
        """Why a knob that can be read cannot be written by anybody, or None."""
        if knob.kind == "service":
            return self.services.obstacle(knob.name)
        if knob.kind in ETHTOOL:
            return None
        try:
            path = self.path(knob)
            if not path.stat().st_mode & 0o222:
                where = "" if self.first_namespace else " from this network namespace"
                return f"the kernel lets nobody write it{where}"
            if os.statvfs(path).f_flag & os.ST_RDONLY:
                return "it is mounted read-only here, as containers have it"
        except (OSError, Unreadable) as error:
            return str(error)
        return None

    def write(self, knob: Knob, value: str) -> None:
        """Set a canonical value. Raises Refused."""
        if knob.kind == "service":
            return self.services.set(knob.name, value)
        if knob.kind in ETHTOOL:
            return self.links.write(knob, value)
        try:
            path = self.path(knob)
            descriptor = os.open(path, os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC)
            try:
                os.write(descriptor, f"{spelled(knob, value)}\n".encode())
            finally:
                os.close(descriptor)
        except Unreadable as error:
            raise Refused(str(error)) from None
        except OSError as error:
            raise Refused(f"{knob} = {value}: the kernel refused ({error.strerror})") from None
        return None


def _target(link: Path) -> str:
    """Name of what a symbolic link leads to; empty where there is none. Not resolve(): a path
    below /proc/self/fd leads out of a file system that is mounted nowhere."""
    try:
        return link.readlink().name
    except OSError:
        return ""


def _shown(path: Path) -> str:
    text = str(path)
    return re.sub(r"^/proc/self/fd/\d+/", "/sys/", text)


@contextlib.contextmanager
def this_machine() -> Iterator[Machine]:
    """The real machine, in the network namespace of the calling thread."""
    with _namespace_sysfs() as netsys:
        yield Machine(
            Path("/"),
            links=KernelLinks(),
            services=SystemServices(),
            namespace=namespace_name(),
            boot=Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
            netsys=netsys,
        )


@contextlib.contextmanager
def _namespace_sysfs() -> Iterator[Path | None]:
    """A /sys whose class/net shows the calling thread's network namespace.

    The mounted /sys shows the namespace of whoever mounted it. A fresh sysfs that is attached
    nowhere (fsopen(2), fsmount(2), Linux 5.2) shows ours, and goes away with its descriptor.
    """
    descriptor = _detached_sysfs()
    if descriptor is not None:
        try:
            yield Path(f"/proc/self/fd/{descriptor}")
        finally:
            os.close(descriptor)
        return
    try:
        shown = {
            (p.name, int((p / "ifindex").read_text())) for p in Path("/sys/class/net").iterdir()
        }
    except (OSError, ValueError):
        shown = set()
    ours = {(name, index) for index, name in socket.if_nameindex()}
    yield Path("/sys") if shown == ours else None


def _detached_sysfs() -> int | None:
    fsopen, fsconfig, fsmount = 430, 431, 432  # asm-generic/unistd.h, the same on every machine
    fsopen_cloexec = fsmount_cloexec = 1
    fsconfig_cmd_create = 6
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    context = libc.syscall(fsopen, b"sysfs", fsopen_cloexec)
    if context < 0:
        return None
    try:
        if libc.syscall(fsconfig, context, fsconfig_cmd_create, None, None, 0) != 0:
            return None
        mount = libc.syscall(fsmount, context, fsmount_cloexec, 0)
        return int(mount) if mount >= 0 else None
    finally:
        os.close(context)
