# SPDX-License-Identifier: Apache-2.0
"""Why a setting is in a profile, in one line each."""

from __future__ import annotations

from typing import Final

from ._knobs import Knob

_SYSCTLS: Final = {
    "net.core.busy_poll": "poll(2) and select(2) ask the NIC for this many µs before they sleep",
    "net.core.busy_read": "a socket's read asks the NIC for this many µs before it sleeps",
    "net.core.bpf_jit_enable": "packet programs run as machine code, not interpreted",
    "net.core.rmem_max": "a receiver may ask for a buffer that survives a burst (SO_RCVBUF)",
    "net.core.wmem_max": "a sender may ask for a buffer that survives a burst (SO_SNDBUF)",
    "net.core.rmem_default": "receive buffer of sockets that do not ask for one",
    "net.core.wmem_default": "send buffer of sockets that do not ask for one",
    "net.core.optmem_max": "zero-copy sends and socket filters need room for their bookkeeping",
    "net.core.netdev_max_backlog": "packets that wait for a core after RPS or on veth; a full "
    "queue drops",
    "net.core.netdev_budget": "packets that one softirq round takes before it yields",
    "net.core.netdev_budget_usecs": "time that one softirq round takes before it yields",
    "net.core.somaxconn": "connections that may wait for accept(2)",
    "net.ipv4.tcp_autocorking": "small writes leave at once, they do not wait for more",
    "net.ipv4.tcp_slow_start_after_idle": "a connection that paused goes on at the rate it had",
    "net.ipv4.tcp_rmem": "receive windows may grow to what a fast, distant peer needs",
    "net.ipv4.tcp_wmem": "send buffers may grow to what a fast, distant peer needs",
    "net.ipv4.tcp_mtu_probing": "a path that swallows large packets in silence is noticed",
    "net.ipv4.tcp_window_scaling": "windows above 64 KiB",
    "net.ipv4.tcp_max_syn_backlog": "connections that may be half open when many clients return",
    "net.ipv4.igmp_max_memberships": "multicast groups that one socket may join",
    "kernel.numa_balancing": "the kernel unmaps pages to see who uses them: page faults in the "
    "middle of a packet",
    "vm.stat_interval": "seconds between the timer's visits to each core for statistics",
    "vm.swappiness": "the page cache gives way before a broker's memory does",
    "vm.dirty_background_ratio": "writing out begins early, so that it stays a trickle",
    "vm.dirty_ratio": "percentage of memory at which writers themselves must wait for the disk",
    "vm.max_map_count": "a broker maps two files for each log segment",
}
_FEATURES: Final = {
    ("rx-gro", "off"): "nothing to merge in datagrams, and merging waits for more",
    ("rx-gro", "on"): "segments of a connection go through the stack as one",
    ("rx-gro-hw", "off"): "merged frames are not what was on the wire, and XDP refuses them",
    ("rx-lro", "off"): "merged frames are not what was on the wire, and XDP refuses them",
    ("tx-generic-segmentation", "on"): "the stack is passed once for many segments",
    ("tx-tcp-segmentation", "on"): "the NIC cuts segments, the CPU does not",
}
_COALESCING: Final = {
    ("adaptive-rx", "off"): "the driver's guess of the rate changes the delay behind your back",
    ("adaptive-tx", "off"): "the driver's guess of the rate changes the delay behind your back",
    ("adaptive-rx", "on"): "fewer interrupts while the rate is high",
    ("adaptive-tx", "on"): "fewer interrupts while the rate is high",
}
_NETDEV: Final = {
    "napi_defer_hard_irqs": "empty polls before the interrupt is armed again: a busy-polling "
    "reader is not interrupted",
    "gro_flush_timeout": "ns after which the kernel polls itself while interrupts are deferred",
}


def reason(knob: Knob, wanted: str) -> str:
    """Why ``knob`` should be ``wanted``; for one that no built-in profile has, who asked."""
    text = _known(knob, wanted)
    return text or "asked for by the profile"


def _known(knob: Knob, wanted: str) -> str | None:  # noqa: PLR0911  # one a kind
    match knob.kind:
        case "sysctl":
            return _SYSCTLS.get(knob.name)
        case "feature":
            return _FEATURES.get((knob.name, wanted))
        case "coalesce":
            if knob.name in ("rx-usecs", "rx-frames") and wanted in ("0", "1"):
                return "an interrupt for the first packet, not for the n-th or after a while"
            return _COALESCING.get((knob.name, wanted))
        case "ring":
            return "room for a burst while the core is elsewhere; larger ones leave the cache"
        case "channels":
            return "a queue for each core that serves the NIC: no sharing, no locks"
        case "irq":
            return "a queue is always served by the same core, whose caches know it"
        case "service":
            return "it would move the interrupts again"
        case "netdev":
            if knob.name.endswith("xps_cpus"):
                return (
                    "a core sends through its own queue" if wanted != "0" else "any queue will do"
                )
            if knob.name.endswith("rps_cpus"):
                return (
                    "a packet stays on the core that took it from the NIC"
                    if wanted == "0"
                    else "fewer queues than cores: the stack's work is spread by software"
                )
            return _NETDEV.get(knob.name)
        case "sysfs":
            return _sysfs(knob.name)


def _sysfs(name: str) -> str | None:
    if name.endswith("scaling_governor"):
        return "the clock does not have to rise first when packets come"
    if "transparent_hugepage" in name:
        return "never: no stall while pages are put together; madvise: for those who ask"
    if "nr_hugepages" in name:
        return "packet memory of DPDK and AF_XDP: few TLB entries, never swapped"
    return None
