# SPDX-License-Identifier: Apache-2.0
"""A machine made of files for the tests of tuning: trees like /proc and /sys below a folder, and
interfaces and services in a JSON file beside them, so that other processes see the same machine."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from wirepath.tune._knobs import Gone, Knob, Refused
from wirepath.tune._links import Identity
from wirepath.tune._machine import Machine

NIC = Identity("eth1", "02:00:00:00:00:01", 7)

TREE = {
    "proc/sys/net/core/netdev_max_backlog": "1000",
    "proc/sys/net/core/rmem_max": "212992",
    "proc/sys/net/core/wmem_max": "134217728",
    "proc/sys/net/core/busy_poll": "0",
    "proc/sys/net/core/busy_read": "0",
    "proc/sys/net/core/bpf_jit_enable": "1",
    "proc/sys/net/core/optmem_max": "20480",
    "proc/sys/net/ipv4/tcp_autocorking": "1",
    "proc/sys/net/ipv4/tcp_slow_start_after_idle": "1",
    "proc/sys/net/ipv4/tcp_rmem": "4096\t131072\t6291456",
    "proc/sys/net/ipv4/igmp_max_memberships": "20",
    "proc/sys/kernel/numa_balancing": "1",
    "proc/sys/vm/stat_interval": "1",
    "proc/sys/vm/swappiness": "60",
    "sys/devices/system/cpu/online": "0-3",
    "sys/devices/system/node/node0/cpulist": "0-1",
    "sys/devices/system/node/node1/cpulist": "2-3",
    "sys/kernel/mm/transparent_hugepage/enabled": "always [madvise] never",
    "sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages": "0",
    "sys/class/net/eth1/address": NIC.mac,
    "sys/class/net/eth1/napi_defer_hard_irqs": "0",
    "sys/class/net/eth1/gro_flush_timeout": "0",
    "sys/class/net/eth1/device/numa_node": "1",
    "sys/class/net/eth1/device/msi_irqs/40": "",
    "sys/class/net/eth1/device/msi_irqs/41": "",
    "sys/class/net/eth1/device/msi_irqs/42": "",
    "proc/irq/40/smp_affinity_list": "0-3",
    "proc/irq/41/smp_affinity_list": "0-3",
    "proc/irq/42/smp_affinity_list": "0-3",
    "proc/interrupts": "      CPU0 CPU1 CPU2 CPU3\n"
    " 40:  1 0 0 0  PCI-MSIX-0000:03:00.0  0-edge  eth1-mgmt\n"
    " 41:  1 0 0 0  PCI-MSIX-0000:03:00.0  1-edge  eth1-TxRx-0\n"
    " 42:  1 0 0 0  PCI-MSIX-0000:03:00.0  2-edge  eth1-TxRx-1\n",
} | {
    f"sys/devices/system/cpu/cpu{cpu}/cpufreq/{name}": value
    for cpu in range(4)
    for name, value in (
        ("scaling_governor", "powersave"),
        ("scaling_available_governors", "performance powersave"),
    )
}

DEVICE: dict[str, Any] = {
    "interfaces": [["lo", "00:00:00:00:00:00", 1], [NIC.name, NIC.mac, NIC.ifindex]],
    "default_routes": ["eth0"],
    "values": {
        "eth1 channels combined": "1",
        "eth1 ring rx": "512",
        "eth1 ring tx": "512",
        "eth1 feature rx-gro": "on",
        "eth1 feature rx-lro": "off",
        "eth1 coalesce adaptive-rx": "on",
        "eth1 coalesce rx-usecs": "50",
        "eth1 coalesce rx-frames": "64",
    },
    "limits": {"eth1 channels combined": 8, "eth1 ring rx": 4096, "eth1 ring tx": 4096},
    "fixed": ["eth1 feature rx-lro"],
    "stuck": {},
    "services": {"irqbalance": "running"},
}


class FakeMachine(Machine):
    """A machine whose every part is in files below ``root``."""

    def __init__(self, root: Path, *, boot: str = "boot-1", namespace: str = "netns-1") -> None:
        self.device = FakeDevice(root)
        super().__init__(
            root,
            links=self.device,
            services=self.device,
            namespace=namespace,
            boot=boot,
            netsys=root / "sys",
        )

    def put(self, path: str, text: str) -> None:
        """Write a file as somebody else would."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{text}\n")

    def snapshot(self) -> dict[str, str]:
        """Every value there is."""
        out = {
            str(f.relative_to(self.root)): f.read_text()
            for top in ("proc", "sys")
            for f in sorted((self.root / top).rglob("*"))
            if f.is_file()
        }
        state = self.device.load()
        return out | state["values"] | state["services"]


class FakeDevice:
    """Interfaces, ethtool and services, in ``device.json``."""

    def __init__(self, root: Path) -> None:
        self.file = root / "device.json"
        self.root = root

    def load(self) -> dict[str, Any]:
        return json.loads(self.file.read_text())

    def change(self, **parts: Any) -> None:
        self.file.write_text(json.dumps(self.load() | parts))

    def interfaces(self) -> list[Identity]:
        return [Identity(*each) for each in self.load()["interfaces"]]

    def default_routes(self) -> set[str]:
        return set(self.load()["default_routes"])

    def read(self, knob: Knob) -> str:
        if knob.interface not in [each.name for each in self.interfaces()]:
            raise Gone(f"there is no interface {knob.interface}")
        original = replace(knob, interface=NIC.name)
        if str(original) not in (values := self.load()["values"]):
            raise Gone(f"the driver of {knob.interface} has no {knob.kind}")
        return values[str(original)]

    def limit(self, knob: Knob) -> int | None:
        return self.load()["limits"].get(str(replace(knob, interface=NIC.name)))

    def fixed(self, knob: Knob) -> bool:
        return str(knob) in self.load()["fixed"]

    def write(self, knob: Knob, value: str) -> None:
        name = str(replace(knob, interface=NIC.name))
        state = self.load()
        stuck = state["stuck"].get(name)
        if stuck == "refused":
            raise Refused(f"{knob} = {value}: the driver refused (Invalid argument)")
        state["values"][name] = stuck or value
        self.file.write_text(json.dumps(state))
        if knob.kind == "channels":
            self._queues(knob.interface, int(value))

    def _queues(self, interface: str, count: int) -> None:
        """As the kernel: a queue's files come and go with it."""
        place = self.root / "sys/class/net" / interface / "queues"
        for name in ("rx", "tx"):
            for number in range(8):
                file = place / f"{name}-{number}" / ("rps_cpus" if name == "rx" else "xps_cpus")
                if number < count and not file.exists():
                    file.parent.mkdir(parents=True, exist_ok=True)
                    file.write_text("0\n")
                elif number >= count and file.exists():
                    file.unlink()
                    file.parent.rmdir()

    def state(self, name: str) -> str:
        return self.load()["services"].get(name, "absent")

    def obstacle(self, name: str) -> str | None:
        return self.load().get("unmanaged")

    def set(self, name: str, state: str) -> None:
        services = self.load()["services"]
        self.change(services=services | {name: state})


def fake_machine(root: Path) -> FakeMachine:
    """A new machine below ``root``, as it came from the factory."""
    for path, text in TREE.items():
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{text}\n")
    (root / "device.json").write_text(json.dumps(DEVICE))
    shutil.rmtree(root / "sys/class/net/eth1/queues", ignore_errors=True)
    machine = FakeMachine(root)
    machine.device._queues(NIC.name, 1)
    return machine


@contextmanager
def journal_folder() -> Iterator[Path]:
    """A folder for journals that no disk has to be waited for, thousands of times over."""
    memory = Path("/dev/shm")
    place = memory if memory.is_dir() and os.access(memory, os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=place, prefix="wirepath-test-") as name:
        yield Path(name) / "state"
