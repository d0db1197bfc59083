# SPDX-License-Identifier: Apache-2.0
"""NUMA: where the NIC, the cores and the memory are to each other."""

from __future__ import annotations

from ._model import Case, Outcome, advice, interface_check, listing, machine_check, ok, warning


@interface_check(
    "numa.cores",
    reads="/sys/bus/pci/devices/*/numa_node, /sys/devices/system/node/*/cpulist, "
    "/proc/thread-self/status: Cpus_allowed_list",
    why="A worker on another node than the NIC reads every frame across the link between sockets.",
)
def cores(case: Case) -> Outcome:
    machine, nic = case.machine, case.nic
    nodes = machine.nodes
    if len(nodes) < 2:
        return ok("one NUMA node")
    node = machine.node(nic)
    if node is None:
        return ok(f"{nic.name} is on no NUMA node, or its firmware does not say")
    near = nodes.get(node, [])
    allowed = machine.allowed_cores
    if set(near) & set(allowed):
        return ok(f"{nic.name} is on node {node}, with cores {listing(near)}")
    return warning(
        f"{nic.name} is on node {node} (cores {listing(near) or 'none'}), and this process may run "
        f"on {listing(allowed)} only",
        f"taskset -c {listing(near)} … (or the container's cpuset), and cpu_core={near[0]}"
        if near
        else f"move the card to a slot of node {min(nodes)}",
    )


@machine_check(
    "numa.balancing",
    reads="/proc/sys/kernel/numa_balancing, /sys/devices/system/node",
    why="The kernel unmaps pages from time to time to see who uses them: each costs a fault.",
)
def balancing(case: Case) -> Outcome:
    if len(case.machine.nodes) < 2 or case.machine.sysctl("kernel.numa_balancing") in (None, "0"):
        return ok("one NUMA node, or kernel.numa_balancing is off")
    return warning("kernel.numa_balancing is on", "sysctl -w kernel.numa_balancing=0")


@interface_check(
    "numa.hugepages",
    reads="/sys/devices/system/node/*/hugepages, /sys/bus/pci/devices/*/numa_node",
    why="Packet buffers on another node than the NIC are read and written across sockets.",
)
def hugepages(case: Case) -> Outcome:
    machine = case.machine
    nodes = machine.nodes
    node = machine.node(case.nic)
    if len(nodes) < 2 or node is None:
        return ok("one NUMA node, or the interface is on none")
    base = "sys/devices/system/node/node{}/hugepages"
    have = {
        each: sum(
            machine.number(f"{base.format(each)}/{size}/nr_hugepages") or 0
            for size in machine.names(base.format(each))
        )
        for each in nodes
    }
    if have[node] or not any(have.values()):
        return ok(f"hugepages by node: {have}")
    return advice(
        f"{case.nic.name} is on node {node}, and all hugepages are on others: {have}",
        f"echo 512 > /{base.format(node)}/hugepages-2048kB/nr_hugepages",
    )


CHECKS = (cores, balancing, hugepages)
