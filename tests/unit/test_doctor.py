# SPDX-License-Identifier: Apache-2.0
"""Every check of the doctor fires on a machine that has its fault, and on no other."""

from __future__ import annotations

import dataclasses
import json

import pytest
from machines import (
    ALL_CAPABILITIES,
    CPU,
    ENO1,
    PCI,
    READY,
    Change,
    FakeLinks,
    build,
    limits,
    status,
    tuned_server,
    write,
)

from wirepath import doctor
from wirepath.doctor import Severity
from wirepath.errors import ConfigError
from wirepath.machine import (
    Channels,
    Features,
    Link,
    Machine,
    Nic,
    Rings,
    Rss,
    Timestamping,
    XdpFeatures,
)
from wirepath.registry import BackendStatus

B, W, A = Severity.BLOCKER, Severity.WARNING, Severity.ADVICE
SYSCTL = "proc/sys/net/core"
VIRTIO = "0000:00:03.0"


def features(*on, changeable=()):
    return Features(frozenset(on), frozenset(changeable))


def xdp(*names):
    return XdpFeatures(frozenset(names))


def bits(*numbers):
    """A virtio device's features file."""
    return "".join("1" if bit in numbers else "0" for bit in range(64))


def virtio(*offered, release="6.12.9-server", **channels):
    return Change(
        {
            f"sys/bus/pci/devices/{VIRTIO}/virtio2/features": bits(*offered),
            "proc/sys/kernel/osrelease": release,
        },
        {"driver": "virtio_net", "bus": VIRTIO, "channels": Channels(**channels)},
    )


def driver(name, link=None, **channels):
    return Change({}, {"driver": name, "channels": Channels(**channels)}, link or {})


def each_core(file, value):
    return {f"{CPU}/cpu{core}/{file}": value for core in range(8)}


NOT_MINE = BackendStatus("af_xdp", "", False, "this process lacks CAP_BPF", "run as root")
NOT_BUILT = BackendStatus("dpdk", "", False, "libdpdk-dev missing", "apt install libdpdk-dev")
SOLARFLARE = {"driver": "sfc"}
WITH_EF_VI = [BackendStatus("ef_vi", "", True), *(each for each in READY if each.name != "ef_vi")]

# check, what is wrong, severity, a piece of the evidence, a piece of the mend
FIRES = [
    ("backends.bypass", Change(backends=[NOT_MINE, NOT_BUILT, READY[2], READY[3]]), B,
     "af_xdp: this process lacks CAP_BPF; dpdk: libdpdk-dev missing", "for af_xdp: run as root"),
    ("backends.ef_vi", Change(nic=SOLARFLARE), W, "not built", "install Onload"),
    ("backends.built", Change(backends=[READY[0], NOT_BUILT, *READY[2:]]), A,
     "dpdk: libdpdk-dev missing", "apt install"),
    ("kernel.version", Change({"proc/sys/kernel/osrelease": "5.4.0-42"}), B, "5.4.0-42", "5.11"),
    ("kernel.version", Change({"proc/sys/kernel/osrelease": "6.1.0-18"}), A, "6.1.0-18", "6.3"),
    ("kernel.config", Change({"boot/config-6.12.9-server": "CONFIG_BPF_SYSCALL=y"}), B,
     "CONFIG_XDP_SOCKETS (AF_XDP)", "CONFIG_XDP_SOCKETS=y"),
    ("kernel.btf", Change({"sys/kernel/btf/vmlinux": None}), W, "no /sys/kernel/btf", "BTF=y"),
    ("kernel.lockdown", Change({"sys/kernel/security/lockdown": "none [integrity]"}), W,
     "[integrity]", "lockdown=none"),
    ("privileges.capabilities", Change({"proc/thread-self/status": status(1000, "0")}), B,
     "user 1000 lacks CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF", "cap_net_admin,cap_net_raw,cap_bpf"),
    ("privileges.capabilities", Change({"proc/thread-self/uid_map": "0 100000 65536"}), B,
     "user namespace", "no rootless container"),
    ("nic.link", Change(link={"up": False}), B, "eno1 is down", "ip link set dev eno1 up"),
    ("nic.link", Change(link={"carrier": False}), W, "no carrier", "cable"),
    ("nic.frame-size", Change(link={"mtu": 9000}), B, "9018 bytes", "mtu 1500"),
    ("nic.native-xdp", Change(nic={"xdp": xdp()}), W, "features of eno1: none", "a NIC"),
    ("nic.native-xdp", Change(nic={"xdp": xdp("basic")}), W, "features of eno1: basic", "a NIC"),
    ("nic.native-xdp", virtio(1, 7), W, "offers eno1 GUEST_TSO4 and not", "guest_tso4=off"),
    ("nic.native-xdp", virtio(1, release="6.1.0-18"), W, "offers eno1 GUEST_CSUM and not",
     "guest_csum=off"),
    ("nic.native-xdp", Change(nic={"driver": "ena", "xdp": xdp(), "bus": "",
     "channels": Channels(combined=8, combined_max=8)}), W, "8 of 8", "ethtool -L eno1 combined 4"),
    ("nic.native-xdp", Change(nic={"driver": "gve", "xdp": xdp(),
     "channels": Channels(rx=8, tx=8, rx_max=8, tx_max=8)}), W, "8 receive", "rx 4 tx 4"),
    ("nic.native-xdp", Change(nic={"xdp": xdp()}, link={"kind": "veth"}), W, "its peer", "rx N"),
    ("nic.zero-copy", Change(nic={"xdp": xdp("basic", "redirect")}), A, "no zero-copy", "ice"),
    ("nic.xdp-program", Change(link={"xdp": "generic"}), A, "generic mode", "xdp-loader"),
    ("nic.timestamps", Change(nic={"timestamping": Timestamping(frozenset({"software-receive"}))}),
     A, "software-receive", "PTP clock"),
    ("nic.rings", Change(nic={"rings": Rings(256, 4096)}), A, "256 of 4096", "-G eno1 rx 1024"),
    ("nic.rings", Change(nic={"rings": Rings(2048, 4096)}, link={"rx_missed": 7}), W,
     "7 frames missed", "-G eno1 rx 4096"),
    ("nic.coalescing", Change(nic={"coalesce": {"rx-usecs": 50, "adaptive-rx": 0}}), W,
     "50 µs", "-C eno1 rx-usecs 0"),
    ("nic.coalescing", Change(nic={"coalesce": {"rx-usecs": 0, "adaptive-rx": 1}}), W,
     "adaptive-rx is on", "-C eno1 adaptive-rx off"),
    ("nic.merging", Change(nic={"features": features("rx-lro", changeable=["rx-lro"])}), W,
     "rx-lro on", "ethtool -K eno1 rx-lro off"),
    ("nic.merging", Change(nic={"features": features("rx-gro-hw")}), A, "does not switch", "host"),
    ("nic.vlan-offload", Change(nic={"features": features("rx-vlan-hw-parse")}), A,
     "rx-vlan-hw-parse is on", "-K eno1 rx-vlan-hw-parse off"),
    ("nic.veth", Change(nic={"features": features()}, link={"kind": "veth"}), W,
     "GRO is off", "gro on"),
    ("nic.veth", Change(nic={"features": features("rx-gro", "tx-checksum-ip-generic")},
     link={"kind": "veth"}), W, "checksum offload is on", "tx off"),
    ("nic.pcie", Change({f"{PCI}/current_link_width": "4"}), W, "x4, of 8 GT/s x16", "lspci"),
    ("nic.pcie", Change({f"{PCI}/current_link_speed": "2.5 GT/s PCIe"}), W, "2.5 GT/s", "lspci"),
    ("cloud.virtio", virtio(2, 22, combined=4, combined_max=4), A, "4 at most", "queues=12"),
    ("cloud.ena", driver("ena", combined=8, combined_max=8), W, "8 of 8", "combined 4"),
    ("cloud.ena", driver("ena", {"mtu": 9001}, combined=4, combined_max=8), W, "9001", "mtu 3498"),
    ("cloud.gve", driver("gve", rx=8, tx=8, rx_max=8, tx_max=8), W, "8 of 8", "rx 4 tx 4"),
    ("cloud.gve", driver("gve", rx=4, tx=2, rx_max=8, tx_max=8), W, "4 receive", "rx 4 tx 4"),
    ("cloud.gve", driver("gve", {"mtu": 8896}, rx=4, tx=4, rx_max=8, tx_max=8), W, "8896", "1460"),
    ("cloud.gve", Change(nic={"driver": "gve", "features": features("rx-lro"),
     "channels": Channels(rx=4, tx=4, rx_max=8, tx_max=8)}), W, "LRO is on", "lro off"),
    ("irqs.spread", Change({f"proc/irq/{n}/effective_affinity_list": "3" for n in range(60, 64)}),
     W, "all 4 interrupts go to core 3", "for i in 60 61 62 63"),
    ("irqs.queues", Change(nic={"channels": Channels(combined=1, combined_max=64)}), A,
     "1 of 64 receive queues, 8 cores", "ethtool -L eno1 combined 8"),
    ("irqs.rss", Change(nic={"rss": Rss((0, 1) * 64)}), A, "queue 0-1 of 4", "-X eno1 equal 4"),
    ("irqs.isolated", Change({"proc/irq/61/effective_affinity_list": "5"}), A,
     "ice-eno1-TxRx-1 (irq 61)", "echo 0-3 > /proc/irq/61/smp_affinity_list"),
    ("irqs.deferral", Change({"sys/class/net/eno1/gro_flush_timeout": "0"}), A,
     "gro_flush_timeout 0", "echo 200000"),
    ("numa.cores", Change({"proc/thread-self/status": status(cpus="2-3,6-7")}), W,
     "node 0 (cores 0-1,4-5), and this process may run on 2-3,6-7", "taskset -c 0-1,4-5"),
    ("numa.balancing", Change({"proc/sys/kernel/numa_balancing": "1"}), W, "is on", "balancing=0"),
    ("numa.hugepages",
     Change({"sys/devices/system/node/node0/hugepages/hugepages-2048kB/nr_hugepages": "0"}), A,
     "{0: 0, 1: 512}", "node0/hugepages"),
    ("services.irqbalance", Change({"proc/812/comm": "irqbalance"}), W, "process 812", "disable"),
    ("services.irqbalance", Change({"proc/812/comm": "irqbalance",
     "proc/812/environ": "A=b\0IRQBALANCE_BANNED_CPULIST=4-7\0"}), A, "some cores", "BANNED"),
    ("memory.memlock", Change({"proc/thread-self/status": status(1000, "0"),
     "proc/self/limits": limits("8388608")}), B, "8 MiB may be locked", "ulimit -l unlimited"),
    ("memory.memlock", Change({"proc/thread-self/status": status(1000, "0"),
     "proc/self/limits": limits("16777216")}), W, "enough for 1", "ulimit -l unlimited"),
    ("memory.memlock", Change({"proc/thread-self/uid_map": "0 100000 65536",
     "proc/self/limits": limits("65536")}), B, "0.0625 MiB may be locked", "ulimit"),
    ("memory.thp", Change({"sys/kernel/mm/transparent_hugepage/enabled": "[always] madvise never"}),
     W, "[always]", "echo madvise"),
    ("memory.hugepages", Change({"sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages": "0"}), A,
     "none", "vm.nr_hugepages=512"),
    ("memory.hugepages", Change({"sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages": "0"}),
     W, "all in use", "more of them"),
    ("cpu.clocksource",
     Change({"sys/devices/system/clocksource/clocksource0/current_clocksource": "hpet"}), W,
     "hpet (available: tsc", "echo tsc >"),
    ("cpu.governor", Change({f"{CPU}/cpu3/cpufreq/scaling_governor": "powersave"}), W,
     "powersave on cores 3", "-g performance"),
    ("cpu.c-states", Change(each_core("cpuidle/state1/disable", "0")), W, "C6 133 µs", "-D 10"),
    ("cpu.nohz-full", Change({f"{CPU}/nohz_full": "(null)"}), W, "cores 4-7", "nohz_full=4-7"),
    ("cpu.nohz-full", Change({f"{CPU}/nohz_full": None, "boot/config-6.12.9-server": "CONFIG_A=y"}),
     W, "this kernel has no nohz_full", "CONFIG_NO_HZ_FULL=y"),
    ("cpu.rcu-nocbs", Change({f"{CPU}/nohz_full": None, "proc/cmdline": "rcu_nocbs=4-5"}), W,
     "cores 6-7", "rcu_nocbs=4-7"),
    ("cpu.isolated", Change({f"{CPU}/isolated": ""}), A, "none of cores 0-7", "domain,4-7"),
    ("cpu.isolated", Change({f"{CPU}/isolated": "", f"{CPU}/online": "0"}), A, "one core", "more"),
    ("cpu.smt", Change({f"{CPU}/isolated": "5-7"}), W, "isolated cores 5 share", "smt/control"),
    ("cpu.smt", Change({f"{CPU}/isolated": ""}), A, "none isolated", "smt/control"),
    ("sysctls.net.core.bpf_jit_enable", Change({f"{SYSCTL}/bpf_jit_enable": "0"}), W, "= 0", "=1"),
    ("sysctls.net.core.rmem_max", Change({f"{SYSCTL}/rmem_max": "212992"}), A, "may exceed",
     "rmem_max=8388608"),
    ("sysctls.net.core.rmem_max", Change({f"{SYSCTL}/rmem_max": "212992",
     "proc/thread-self/status": status(1000, "0")}), W, "= 212992", "rmem_max=8388608"),
    ("sysctls.net.core.bpf_jit_harden", Change({f"{SYSCTL}/bpf_jit_harden": "2"}), A, "= 2", "=1"),
    ("sysctls.net.core.netdev_max_backlog", Change({f"{SYSCTL}/netdev_max_backlog": "300"}), A,
     "= 300", "=1000"),
    ("sysctls.net.core.netdev_budget", Change({f"{SYSCTL}/netdev_budget": "64"}), A, "= 64",
     "=300"),
    ("sysctls.net.core.busy_read", Change({f"{SYSCTL}/busy_read": "0"}), A, "= 0", "read=50"),
    ("sysctls.net.core.busy_poll", Change({f"{SYSCTL}/busy_poll": "0"}), A, "= 0", "poll=50"),
    ("sysctls.net.ipv4.igmp_max_memberships",
     Change({"proc/sys/net/ipv4/igmp_max_memberships": "20"}), A, "= 20", "=64"),
    ("sysctls.kernel.nmi_watchdog", Change({"proc/sys/kernel/nmi_watchdog": "1"}), A, "= 1", "=0"),
    ("sysctls.rp_filter", Change({"proc/sys/net/ipv4/conf/eno1/rp_filter": "1"}), A,
     "strict (1) on eno1", "rp_filter=2"),
]  # fmt: skip

# Where the machine in order has nothing to judge, or a near miss must stay quiet.
QUIET = [
    ("backends.bypass", Change(backends=[READY[0], NOT_BUILT, *READY[2:]]), "zero-copy"),
    ("backends.ef_vi", Change(nic=SOLARFLARE, backends=WITH_EF_VI), "can be used"),
    ("backends.built", Change(backends=[NOT_MINE, *READY[1:]]), "af_xdp, dpdk"),
    ("privileges.capabilities", Change({"proc/thread-self/status": status(1000, "8000003000")}),
     "user 1000 has"),
    ("privileges.capabilities", Change({"proc/thread-self/status": status(1000, "203000")}),
     "user 1000 has"),
    ("privileges.capabilities", Change({"proc/thread-self/uid_map": "0 0 4294967295"}), "has"),
    ("nic.native-xdp", virtio(1, 2, 7), "basic"),
    ("nic.native-xdp", virtio(1), "basic"),
    ("nic.native-xdp", Change(nic={"xdp": xdp("basic", "redirect")}), "basic, redirect"),
    ("nic.zero-copy", Change(nic={"xdp": xdp()}), "no native XDP"),
    ("nic.frame-size", Change(link={"mtu": 3806}), "3806"),
    ("nic.timestamps",
     Change(nic={"bus": "", "timestamping": Timestamping(frozenset({"software-receive"}))}),
     "virtual"),
    ("nic.rings", Change(nic={"rings": Rings(256, 256)}, link={"rx_missed": 7}), "7 frames missed"),
    ("nic.rings", Change(nic={"rings": None}), "has no ring sizes"),
    ("nic.veth", Change(nic={"features": features("rx-gro")}, link={"kind": "veth"}), "GRO on"),
    ("nic.pcie", Change({f"{PCI}/current_link_speed": "Unknown"}), "no link speed"),
    ("cloud.virtio", virtio(2, 22, combined=4, combined_max=12), "to spare"),
    ("cloud.ena", driver("ena", combined=4, combined_max=8), "leave room"),
    ("cloud.gve", driver("gve", rx=4, tx=4, rx_max=8, tx_max=8), "leave room"),
    ("irqs.spread", Change(nic={"bus": ""}), "no interrupts of its own"),
    ("irqs.queues", Change(nic={"channels": Channels(combined=1, combined_max=1)}), "1 of 1"),
    ("numa.cores", Change({"proc/thread-self/status": status(cpus="1-3,6-7")}), "0-1,4-5"),
    ("numa.balancing", Change({"proc/sys/kernel/numa_balancing": None}), "off"),
    ("services.irqbalance", Change({"proc/812/comm": "irqbalancer"}), "does not run"),
    ("memory.memlock", Change({"proc/thread-self/status": status(1000, "0"),
     "proc/self/limits": limits("67108864")}), "64 MiB may be locked"),
    ("memory.thp", Change({"sys/kernel/mm/transparent_hugepage/enabled": None}), "no transparent"),
    ("cpu.c-states", Change({**each_core("cpuidle/state1/disable", "0"),
     "proc/cmdline": "idle=poll rcu_nocbs=4-7"}), "never sleep"),
    ("cpu.clocksource", Change(
     {"sys/devices/system/clocksource/clocksource0/current_clocksource": "kvm-clock",
      "sys/devices/system/clocksource/clocksource0/available_clocksource": "kvm-clock acpi_pm"}),
     "kvm-clock"),
    ("cpu.smt", Change({f"{CPU}/smt/active": "0"}), "one hardware thread"),
    ("cpu.rcu-nocbs", Change({"proc/cmdline": "quiet"}), "no RCU callbacks"),
    ("sysctls.kernel.nmi_watchdog", Change({"proc/sys/kernel/nmi_watchdog": None}), "has no"),
    ("sysctls.rp_filter", Change({"proc/sys/net/ipv4/conf/all/rp_filter": "2",
     "proc/sys/net/ipv4/conf/eno1/rp_filter": "1"}), "not strict"),
]  # fmt: skip

# What cannot be seen is said, and is no fault.
UNSEEN = [
    ("kernel.version", Change({"proc/sys/kernel/osrelease": None}), "does not tell"),
    ("cpu.isolated", Change({f"{CPU}/isolated": "some"}), "holds no list of cores: 'some'"),
    ("kernel.config", Change({"boot/config-6.12.9-server": None}), "/boot/config-6.12.9-server"),
    ("nic.native-xdp", Change(nic={"xdp": None, "refused": {"xdp": "no family netdev"}}),
     "no family netdev"),
    ("nic.coalescing", Change(nic={"coalesce": None, "refused": {"coalesce": "Not permitted"}}),
     "interrupt coalescing of eno1: Not permitted"),
    ("irqs.deferral", Change({"sys/class/net/eno1/ifindex": "3"}), "another network namespace"),
    ("sysctls.net.core.busy_poll", Change({f"{SYSCTL}/busy_poll": None}), "does not show"),
    ("memory.memlock", Change({"proc/self/limits": "", "proc/thread-self/status": status(1, "0")}),
     "limit of locked memory"),
]  # fmt: skip


def judged(tmp_path, check, change):
    report = doctor.examine(
        "eno1",
        machine=build(tmp_path, change),
        backends=READY if change.backends is None else change.backends,
    )
    (finding,) = [each for each in report.findings if each.check == check]
    return finding


def name(value):
    return value if isinstance(value, str) and "." in value and " " not in value else ""


@pytest.mark.parametrize("row", FIRES, ids=lambda row: row[0])
def test_a_fault_is_found(tmp_path, row):
    check, change, severity, evidence, mend = row
    finding = judged(tmp_path, check, change)
    assert (finding.severity, finding.check) == (severity, check)
    assert evidence in finding.evidence
    assert mend in finding.mend
    assert finding.why and finding.reads


@pytest.mark.parametrize("check", doctor.CHECKS, ids=lambda check: check.name)
def test_a_machine_in_order_is_quiet(tmp_path, check):
    finding = judged(tmp_path, check.name, Change())
    assert finding.severity is Severity.OK, finding
    assert finding.mend == ""


@pytest.mark.parametrize(("check", "change", "evidence"), QUIET, ids=name)
def test_a_near_miss_is_quiet(tmp_path, check, change, evidence):
    finding = judged(tmp_path, check, change)
    assert finding.severity is Severity.OK, finding
    assert evidence in finding.evidence


@pytest.mark.parametrize(("check", "change", "evidence"), UNSEEN, ids=name)
def test_what_is_not_seen_is_said(tmp_path, check, change, evidence):
    finding = judged(tmp_path, check, change)
    assert finding.severity is Severity.UNSEEN, finding
    assert evidence in finding.evidence


def test_every_check_has_a_fault_to_find():
    names = [check.name for check in doctor.CHECKS]
    assert len(set(names)) == len(names)
    assert {row[0] for row in FIRES} == set(names)


def test_the_list_is_ranked_and_nothing_is_left_out(tmp_path):
    change = Change(
        {f"{SYSCTL}/bpf_jit_enable": "0", "proc/sys/kernel/osrelease": "6.1.0",
         "boot/config-6.1.0": "CONFIG_BPF_SYSCALL=y\nCONFIG_XDP_SOCKETS=y",
         "sys/kernel/mm/transparent_hugepage/enabled": "[always] madvise never"},
        link={"up": False, "xdp": "native"},
    )  # fmt: skip
    report = doctor.examine("eno1", machine=build(tmp_path, change), backends=READY)
    ranks = [each.severity.rank for each in report.findings]
    assert ranks == sorted(ranks)
    assert [each.check for each in report.findings if each.severity is not Severity.OK] == [
        "nic.link",  # blocker; after it warnings, then advice, each in the order of the catalogue
        "memory.thp", "sysctls.net.core.bpf_jit_enable",
        "kernel.version", "nic.xdp-program",
    ]  # fmt: skip
    assert len(report.findings) == len(doctor.CHECKS)
    assert report.worst is Severity.BLOCKER


def test_queue_to_interrupt_to_core(tmp_path):
    report = doctor.examine("eno1", machine=build(tmp_path), backends=READY)
    (eno1,) = report.interfaces
    assert [(m.queue, m.interrupt, m.name, m.cores, m.count) for m in eno1.queue_map] == [
        (n, 60 + n, f"ice-eno1-TxRx-{n}", (n,), 1000) for n in range(4)
    ]
    assert eno1.node == 0


@pytest.mark.parametrize(
    ("name", "is_queue"),
    [
        ("mlx5_comp3@pci:0000:3b:00.0", True),
        ("mlx5_async0@pci:0000:3b:00.0", False),
        ("ena-mgmnt@pci:0000:00:05.0", False),
        ("eth0-Tx-Rx-2", True),
        ("admin0-TxRx-2", True),
        ("virtio2-config", False),
        ("virtio2-input.0", True),
        ("i40e-0000:3b:00.0:misc", False),
    ],
)
def test_which_interrupts_carry_packets(tmp_path, name, is_queue):
    head, _, rest = tuned_server()["proc/interrupts"].partition("\n")
    text = f"{head}\n{rest.replace('ice-eno1-TxRx-1', name)}"
    machine = build(tmp_path, Change({"proc/interrupts": text}, {"vectors": ()}))
    (eno1,) = doctor.examine("eno1", machine=machine, backends=READY).interfaces
    assert (61 in [line.interrupt for line in eno1.queue_map]) is is_queue
    assert {line.queue for line in eno1.queue_map} == {None}


WAYS = [
    ("af_xdp", Change(), "native XDP, zero-copy", []),
    ("af_xdp", Change(nic={"xdp": xdp("basic", "redirect")}), "native XDP, copy", []),
    ("af_xdp", virtio(8), "generic XDP, copy", []),
    ("af_xdp", Change(nic={"xdp": None}), "native or generic XDP: this kernel does not tell", []),
    ("af_xdp", Change(link={"mtu": 9000}), "native", ["MTU 9000 is too large"]),
    ("af_xdp", Change(backends=[NOT_MINE]), "native", ["this process lacks CAP_BPF"]),
    ("af_xdp", Change({"proc/thread-self/uid_map": "0 100000 65536"}), "native",
     ["a user namespace"]),
    ("dpdk", Change(link={"up": False}), "the whole", []),
    ("dpdk", Change(), "the whole device, away from the kernel: dpdk:0000:3b:00.0", []),
    ("dpdk", Change(nic={"driver": "mlx5_core"}, default_route=True), "beside the kernel's", []),
    ("dpdk", Change(nic={"bus": ""}), "net_af_packet0,iface=eno1", []),
    ("dpdk", Change(default_route=True), "whole", ["the default route goes by it"]),
    ("dpdk", Change({"sys/kernel/iommu_groups/17/type": None}), "whole", ["no IOMMU"]),
    ("dpdk", Change({"sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages": "0"}), "whole",
     ["no free hugepages"]),
    ("dpdk", Change({"proc/thread-self/status": status(7, ALL_CAPABILITIES)}), "whole",
     ["this user is not root"]),
    ("ef_vi", Change(backends=WITH_EF_VI, nic=SOLARFLARE), "ef_vi:eno1", []),
    ("ef_vi", Change(backends=WITH_EF_VI), "ef_vi:eno1", ["no Solarflare or Alveo NIC"]),
    ("socket", Change(), "the kernel's stack", []),
    ("socket", Change(link={"up": False}), "the kernel's stack", ["eno1 is down"]),
]  # fmt: skip


@pytest.mark.parametrize(("backend", "change", "mode", "in_the_way"), WAYS)
def test_which_backends_will_work(tmp_path, backend, change, mode, in_the_way):
    report = doctor.examine(
        "eno1", machine=build(tmp_path, change), backends=change.backends or READY
    )
    (way,) = [way for way in report.interfaces[0].ways if way.backend == backend]
    assert mode in way.mode
    assert len(way.in_the_way) == len(in_the_way) == len(way.mend)
    for found, wanted in zip(way.in_the_way, in_the_way, strict=True):
        assert wanted in found
    assert way.works is not bool(in_the_way)


def test_an_unknown_interface_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r'no network interface "eno9".*here are: eno1'):
        doctor.examine("eno9", machine=build(tmp_path), backends=READY)


def test_without_a_name_hardware_that_is_up_is_judged(tmp_path):
    write(tmp_path, {"proc/sys/kernel/osrelease": "6.12.0"})

    def nic(name, index, **link):
        return dataclasses.replace(ENO1, link=Link(name, index, **link))

    nics = [nic("lo", 1, loopback=True), nic("eno1", 2), nic("veth0", 3, kind="veth"),
            nic("eno2", 4, up=False), nic("eno3", 5)]  # fmt: skip
    report = doctor.examine(machine=Machine(tmp_path, FakeLinks(nics)), backends=READY)
    assert [each.nic.name for each in report.interfaces] == ["eno1", "eno3"]
    machine_checks = [each for each in report.findings if each.subject == "machine"]
    assert len(machine_checks) == len({each.check for each in machine_checks})
    assert {each.subject for each in report.findings} == {"machine", "eno1", "eno3"}


def test_an_empty_machine_raises_nothing(tmp_path):
    bare = Nic(Link("eno1", 2))
    report = doctor.examine("eno1", machine=Machine(tmp_path, FakeLinks([bare])), backends=[])
    assert {each.severity for each in report.findings} >= {Severity.UNSEEN, Severity.OK}
    assert len(report.findings) == len(doctor.CHECKS)


def shown(monkeypatch, tmp_path, change):
    from wirepath.cli import doctor as command

    def examine(interface):
        return doctor.examine(interface, machine=build(tmp_path, change), backends=READY)

    monkeypatch.setattr(command, "examine", examine)


LOUD = Change({"sys/kernel/mm/transparent_hugepage/enabled": "[always] madvise never"})


@pytest.mark.parametrize(
    ("change", "fail_on", "code"),
    [
        (Change(), "advice", 0),
        (LOUD, "blocker", 0),
        (LOUD, "warning", 1),
        (LOUD, "advice", 1),
        (Change(link={"up": False}), "blocker", 1),
        (Change(link={"up": False}), "never", 0),
    ],
)
def test_exit_codes(monkeypatch, tmp_path, change, fail_on, code):
    from wirepath.cli import main

    shown(monkeypatch, tmp_path, change)
    assert main(["doctor", "eno1", "--fail-on", fail_on]) == code


def test_what_the_kernel_says_is_not_taken_for_markup(monkeypatch, tmp_path, capsys):
    from wirepath.cli import main

    shown(monkeypatch, tmp_path, LOUD)
    assert main(["doctor", "eno1"]) == 0
    text = capsys.readouterr().out
    assert "transparent hugepages: [always] madvise never" in text
    assert f"{len(doctor.CHECKS) - 1} checks are quiet" in text
    assert "cpu.governor" not in text
    assert main(["doctor", "eno1", "--all"]) == 0
    assert "cpu.governor" in capsys.readouterr().out


def test_restore_is_of_the_whole_machine(capsys):
    from wirepath.cli import main

    assert main(["doctor", "eth9", "--restore"]) == 2
    assert 'IFACE = "eth9" is not usable: it must be left out' in capsys.readouterr().err


def test_json_has_everything(monkeypatch, tmp_path, capsys):
    from wirepath.cli import main

    shown(monkeypatch, tmp_path, LOUD)
    assert main(["doctor", "eno1", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["worst"] == "warning"
    assert answer["counts"] == {
        "blocker": 0, "warning": 1, "advice": 0, "unseen": 0, "ok": len(doctor.CHECKS) - 1,
    }  # fmt: skip
    first = answer["findings"][0]
    assert first["check"] == "memory.thp"
    assert set(first) == {"check", "subject", "severity", "evidence", "why", "mend", "reads"}
    (eno1,) = answer["interfaces"]
    assert eno1["nic"]["xdp"]["features"] == sorted(ENO1.xdp.features)
    assert [way["works"] for way in eno1["ways"]] == [True, True, False, True]
    assert len(eno1["queue_map"]) == 4
