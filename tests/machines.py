# SPDX-License-Identifier: Apache-2.0
"""Machines made of files: trees of /proc and /sys, and interfaces, to be changed by tests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from wirepath.machine import (
    Channels,
    Features,
    Link,
    Machine,
    Nic,
    QueueVector,
    Rings,
    Rss,
    Timestamping,
    XdpFeatures,
)
from wirepath.registry import BackendStatus

CPU = "sys/devices/system/cpu"
PCI = "sys/bus/pci/devices/0000:3b:00.0"
ALL_CAPABILITIES = "000001ffffffffff"

_STATUS = "Name:\tpython3\nUid:\t{uid}\t{uid}\nCapEff:\t{caps}\nCpus_allowed_list:\t{cpus}\n"
_LIMITS = (
    "Limit                     Soft Limit           Hard Limit           Units     \n"
    "Max open files            1024                 524288               files     \n"
    "Max locked memory         {memlock}            {memlock}            bytes     \n"
)


def status(uid: int = 0, caps: str = ALL_CAPABILITIES, cpus: str = "0-7") -> str:
    """/proc/thread-self/status of a process."""
    return _STATUS.format(uid=uid, caps=caps, cpus=cpus)


def limits(memlock: str) -> str:
    """/proc/self/limits with a limit of locked memory."""
    return _LIMITS.format(memlock=memlock)


def _interrupts() -> str:
    lines = ["           " + "".join(f"CPU{core:<8}" for core in range(8))]
    for number in range(60, 64):
        counts = " ".join("1000" if core == number - 60 else "0" for core in range(8))
        lines.append(f" {number}: {counts} IR-PCI-MSIX {number}-edge ice-eno1-TxRx-{number - 60}")
    lines.append(" 64: " + "7 " * 8 + "IR-PCI-MSIX 64-edge ice-eno1:misc")
    lines.append(" 99: " + "5 " * 8 + "IR-PCI-MSIX 0-edge nvme0q0")
    lines.append("NMI: " + "1 " * 8 + "Non-maskable interrupts")
    return "\n".join(lines) + "\n"


def tuned_server() -> dict[str, str]:
    """A server in order: 8 cores on two nodes, 4-7 isolated, an ice NIC on node 0."""
    files = {
        "proc/sys/kernel/osrelease": "6.12.9-server",
        "proc/cmdline": "quiet isolcpus=managed_irq,domain,4-7 nohz_full=4-7 rcu_nocbs=4-7",
        "proc/thread-self/status": status(),
        "proc/self/limits": limits("unlimited"),
        "proc/interrupts": _interrupts(),
        "proc/1/comm": "systemd",
        "proc/4711/comm": "python3",
        "boot/config-6.12.9-server": (
            "CONFIG_BPF_SYSCALL=y\nCONFIG_XDP_SOCKETS=y\n# CONFIG_X is not set\n"
            "CONFIG_NO_HZ_FULL=y\n"
        ),
        "sys/kernel/btf/vmlinux": "BTF",
        "sys/kernel/security/lockdown": "[none] integrity confidentiality",
        "sys/kernel/iommu_groups/17/type": "DMA",
        "sys/kernel/mm/transparent_hugepage/enabled": "always [madvise] never",
        "sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages": "1024",
        "sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages": "900",
        "sys/devices/system/node/node0/hugepages/hugepages-2048kB/nr_hugepages": "512",
        "sys/devices/system/node/node1/hugepages/hugepages-2048kB/nr_hugepages": "512",
        "sys/devices/system/node/node0/cpulist": "0-1,4-5",
        "sys/devices/system/node/node1/cpulist": "2-3,6-7",
        f"{CPU}/online": "0-7",
        f"{CPU}/isolated": "4-7",
        f"{CPU}/nohz_full": "4-7",
        f"{CPU}/smt/active": "1",
        "sys/devices/system/clocksource/clocksource0/current_clocksource": "tsc",
        "sys/devices/system/clocksource/clocksource0/available_clocksource": "tsc hpet acpi_pm",
        "sys/class/net/eno1/ifindex": "2",
        "sys/class/net/eno1/napi_defer_hard_irqs": "2",
        "sys/class/net/eno1/gro_flush_timeout": "200000",
        f"{PCI}/numa_node": "0",
        f"{PCI}/current_link_speed": "8.0 GT/s PCIe",
        f"{PCI}/max_link_speed": "8.0 GT/s PCIe",
        f"{PCI}/current_link_width": "16",
        f"{PCI}/max_link_width": "16",
    }
    for core in range(8):
        files[f"{CPU}/cpu{core}/cpufreq/scaling_governor"] = "performance"
        files[f"{CPU}/cpu{core}/cpuidle/state0/latency"] = "0"
        files[f"{CPU}/cpu{core}/cpuidle/state1/name"] = "C6"
        files[f"{CPU}/cpu{core}/cpuidle/state1/latency"] = "133"
        files[f"{CPU}/cpu{core}/cpuidle/state1/disable"] = "1"
        files[f"{CPU}/cpu{core}/topology/thread_siblings_list"] = f"{core & ~1}-{core | 1}"
    for number in range(60, 65):
        files[f"{PCI}/msi_irqs/{number}"] = "msix"
        files[f"proc/irq/{number}/effective_affinity_list"] = str(number - 60 if number < 64 else 0)
    sysctls = {
        "kernel.numa_balancing": "0",
        "kernel.nmi_watchdog": "0",
        "net.core.bpf_jit_enable": "1",
        "net.core.bpf_jit_harden": "0",
        "net.core.rmem_max": "67108864",
        "net.core.netdev_max_backlog": "10000",
        "net.core.netdev_budget": "600",
        "net.core.busy_read": "50",
        "net.core.busy_poll": "50",
        "net.ipv4.igmp_max_memberships": "512",
        "net.ipv4.conf.all.rp_filter": "0",
        "net.ipv4.conf.eno1.rp_filter": "2",
    }
    files |= {"proc/sys/" + name.replace(".", "/"): value for name, value in sysctls.items()}
    return files


ENO1 = Nic(
    Link("eno1", 2, rx_queues=4, tx_queues=4, mac="02:00:00:00:00:01"),
    driver="ice",
    bus="0000:3b:00.0",
    features=Features(frozenset({"rx-gro", "rx-hashing"}), frozenset({"rx-gro", "rx-lro"})),
    rings=Rings(2048, 8160, 2048, 8160),
    channels=Channels(combined=4, combined_max=64),
    coalesce={"rx-usecs": 0, "adaptive-rx": 0},
    timestamping=Timestamping(frozenset({"hardware-receive", "software-receive"}), 0),
    rss=Rss((0, 1, 2, 3) * 32),
    xdp=XdpFeatures(
        frozenset({"basic", "redirect", "ndo-xmit", "xsk-zerocopy", "rx-sg"}),
        frozenset({"timestamp", "hash"}),
    ),
    vectors=tuple(QueueVector(queue, 60 + queue) for queue in range(4)),
)


class FakeLinks:
    """Interfaces as a test wants them."""

    def __init__(self, nics: list[Nic], default_routes: set[str] = frozenset()) -> None:
        self._nics = {nic.name: nic for nic in nics}
        self._default_routes = set(default_routes)

    def links(self) -> list[Link]:
        return [nic.link for nic in self._nics.values()]

    def default_routes(self) -> set[str]:
        return self._default_routes

    def nic(self, link: Link) -> Nic:
        return self._nics[link.name]


READY = [
    BackendStatus("af_xdp", "", True),
    BackendStatus("dpdk", "", True),
    BackendStatus("ef_vi", "", False, "not built", "install Onload"),
    BackendStatus("socket", "", True),
]


@dataclass
class Change:
    """What a test changes of a machine that is in order. A file that is None is taken away."""

    files: Mapping[str, str | None] = field(default_factory=dict)
    nic: Mapping[str, object] = field(default_factory=dict)
    link: Mapping[str, object] = field(default_factory=dict)
    backends: list[BackendStatus] | None = None
    default_route: bool = False


def write(root: Path, files: Mapping[str, str]) -> None:
    """Makes the tree."""
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text + "\n")


def build(root: Path, change: Change | None = None, base: Nic = ENO1) -> Machine:
    """The server in order, with a change."""
    change = change or Change()
    files = {**tuned_server(), **change.files}
    write(root, {path: text for path, text in files.items() if text is not None})
    link = replace(base.link, **change.link)
    nic = replace(base, **{"link": link, **change.nic})
    return Machine(root, FakeLinks([nic], {nic.name} if change.default_route else set()))
