# SPDX-License-Identifier: Apache-2.0
"""The kernel: version, what it was built with, BTF, lockdown."""

from __future__ import annotations

from ..machine import Unseen
from ._model import Case, Outcome, advice, blocker, machine_check, ok, warning

_NEEDED = {
    "CONFIG_BPF_SYSCALL": "XDP programs",
    "CONFIG_XDP_SOCKETS": "AF_XDP",
}


@machine_check(
    "kernel.version",
    reads="/proc/sys/kernel/osrelease",
    why="AF_XDP ports need Linux 5.11; from 6.3 on the kernel tells a driver's XDP features.",
)
def version(case: Case) -> Outcome:
    found, release = case.machine.version, case.machine.release
    if found == (0, 0):
        raise Unseen("/proc/sys/kernel/osrelease does not tell the kernel's version")
    if found < (5, 11):
        return blocker(f"Linux {release}", "Linux 5.11 or newer for af_xdp; socket ports work")
    if found < (6, 3):
        return advice(f"Linux {release}", "Linux 6.3 or newer")
    return ok(f"Linux {release}")


@machine_check(
    "kernel.btf",
    reads="/sys/kernel/btf/vmlinux",
    why="Programs that fit themselves to the running kernel (CO-RE), libxdp's dispatcher among "
    "them, need the kernel's own type information.",
)
def btf(case: Case) -> Outcome:
    if case.machine.exists("sys/kernel/btf/vmlinux"):
        return ok("/sys/kernel/btf/vmlinux is there")
    return warning(
        "no /sys/kernel/btf/vmlinux",
        "a kernel with CONFIG_DEBUG_INFO_BTF=y (distributions' kernels have it)",
    )


@machine_check(
    "kernel.config",
    reads="/proc/config.gz, /boot/config-*",
    why="What the kernel was built without cannot be switched on.",
)
def config(case: Case) -> Outcome:
    found = case.machine.config
    if found is None:
        raise Unseen(
            "how this kernel was built: neither /proc/config.gz nor "
            f"/boot/config-{case.machine.release} is there"
        )
    missing = [name for name in _NEEDED if found.get(name) not in ("y", "m")]
    if missing:
        return blocker(
            f"built without {', '.join(f'{name} ({_NEEDED[name]})' for name in missing)}",
            f"a kernel with {' '.join(f'{name}=y' for name in missing)}",
        )
    return ok(", ".join(f"{name}={found[name]}" for name in _NEEDED))


@machine_check(
    "kernel.lockdown",
    reads="/sys/kernel/security/lockdown",
    why="In lockdown the kernel forbids some of BPF (confidentiality) and access to PCI devices "
    "from user space (integrity), which DPDK needs.",
)
def lockdown(case: Case) -> Outcome:
    text = case.machine.text("sys/kernel/security/lockdown")
    if text is None or "[none]" in text:
        return ok("no lockdown")
    return warning(
        f"lockdown: {text}",
        "kernel parameter lockdown=none, or Secure Boot off; vfio-pci with an IOMMU goes with "
        "integrity",
    )


CHECKS = (version, config, btf, lockdown)
