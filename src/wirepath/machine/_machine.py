# SPDX-License-Identifier: Apache-2.0
"""One machine: its files and its interfaces, with the readings that several askers need."""

from __future__ import annotations

import gzip
import re
from functools import cached_property
from pathlib import Path

from ..placement import node_of_device, parse_list
from ._files import Files, Unseen
from ._interrupts import Interrupt, interrupts_of
from ._links import KernelLinks, Links
from ._nic import Link, Nic

_PCI = re.compile(r"[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]")
_CPU = "sys/devices/system/cpu"


def _parameter_list(text: str, cores: list[int]) -> list[int]:
    """A list of cores as kernel parameters spell it: all, 0-3, 4-N, 0-15:2/4."""
    last = max(cores, default=0)
    out: set[int] = set()
    for part in text.split(","):
        if part == "all":
            out.update(cores)
        found = re.fullmatch(r"(\d+|N)(?:-(\d+|N)(?::(\d+)/(\d+))?)?", part)
        if found is None:
            continue  # the kernel ignores what it does not understand, as well
        first, end = (
            last if each == "N" else int(each) for each in (found[1], found[2] or found[1])
        )
        used, group = int(found[3] or 1), max(int(found[4] or 1), 1)
        out.update(core for core in cores if first <= core <= end and (core - first) % group < used)
    return sorted(out)


class Machine(Files):
    """Reads /proc and /sys below ``root``, and interfaces through ``links``.

    What cannot be seen raises `Unseen`; what is not there is None or empty.
    """

    def __init__(self, root: Path = Path("/"), links: Links | None = None) -> None:
        super().__init__(root)
        self.links: Links = links if links is not None else KernelLinks()

    # The kernel ------------------------------------------------------------------------------

    @property
    def release(self) -> str:
        """Of the kernel: 6.1.0-18-amd64."""
        return self.text("proc/sys/kernel/osrelease") or ""

    @property
    def version(self) -> tuple[int, int]:
        """Of the kernel, (6, 1); (0, 0) where it does not say."""
        found = re.match(r"(\d+)\.(\d+)", self.release)
        return (int(found[1]), int(found[2])) if found else (0, 0)

    @cached_property
    def command_line(self) -> dict[str, str]:
        """The kernel's parameters; the last of equal ones counts."""
        words = (self.text("proc/cmdline") or "").split()
        return {name: value for name, _, value in (word.partition("=") for word in words)}

    @cached_property
    def config(self) -> dict[str, str] | None:
        """How the kernel was built, CONFIG_X -> y, m or a value; None where that is not kept."""
        text = self._config_text()
        if text is None:
            return None
        pairs = (line.partition("=") for line in text.splitlines() if line.startswith("CONFIG_"))
        return {name: value for name, _, value in pairs}

    def _config_text(self) -> str | None:
        try:
            return gzip.decompress((self.root / "proc/config.gz").read_bytes()).decode()
        except (OSError, EOFError):
            return self.text(f"boot/config-{self.release}")

    def sysctl(self, name: str) -> str | None:
        """A sysctl by its dotted name, in the calling thread's network namespace."""
        return self.text("proc/sys/" + name.replace(".", "/"))

    # Cores -----------------------------------------------------------------------------------

    @cached_property
    def cores(self) -> list[int]:
        """Online."""
        return self._cores_in(f"{_CPU}/online")

    @cached_property
    def isolated(self) -> list[int]:
        """Out of the scheduler's hands (isolcpus=)."""
        return self._cores_in(f"{_CPU}/isolated")

    @property
    def nohz_full(self) -> list[int]:
        """Without a timer tick while one task runs."""
        text = self.text(f"{_CPU}/nohz_full") or ""
        # "(null)" where it is not in use
        return self._cores_in(f"{_CPU}/nohz_full") if text[:1].isdigit() else []

    @property
    def rcu_nocbs(self) -> list[int]:
        """Whose RCU callbacks run elsewhere: of rcu_nocbs=, and all of nohz_full=."""
        named = _parameter_list(self.command_line.get("rcu_nocbs", ""), self.cores)
        return sorted({*named, *self.nohz_full})

    def _cores_in(self, path: str) -> list[int]:
        text = self.text(path) or ""
        try:
            return parse_list(text)
        except ValueError:
            raise Unseen(f"/{path} holds no list of cores: {text[:40]!r}") from None

    def siblings(self, core: int) -> list[int]:
        """Hardware threads of the same core, itself among them."""
        return self._cores_in(f"{_CPU}/cpu{core}/topology/thread_siblings_list")

    @property
    def nodes(self) -> dict[int, list[int]]:
        """NUMA nodes and their cores."""
        base = "sys/devices/system/node"
        return {
            int(name[4:]): self._cores_in(f"{base}/{name}/cpulist")
            for name in self.names(base)
            if re.fullmatch(r"node\d+", name)
        }

    # This process ----------------------------------------------------------------------------

    @cached_property
    def status(self) -> dict[str, str]:
        """/proc/thread-self/status: Uid, CapEff, Cpus_allowed_list, …"""
        lines = (self.text("proc/thread-self/status") or "").splitlines()
        return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}

    @property
    def allowed_cores(self) -> list[int]:
        """That this process may run on."""
        return parse_list(self.status.get("Cpus_allowed_list", ""))

    @property
    def capabilities(self) -> int:
        """Effective ones, as a mask."""
        return int(self.status.get("CapEff", "0") or "0", 16)

    @property
    def in_user_namespace(self) -> bool:
        """Not in the first user namespace: the kernel asks for capabilities there for BPF, locked
        memory and hardware, and those in /proc/self/status do not count."""
        text = self.text("proc/thread-self/uid_map")
        return text is not None and text.split() != ["0", "0", "4294967295"]

    @property
    def memlock(self) -> int | None:
        """Bytes that this process may lock; None: without limit."""
        for line in (self.text("proc/self/limits") or "").splitlines():
            if line.startswith("Max locked memory"):
                soft = line.split()[3]
                return None if soft == "unlimited" else int(soft)
        raise Unseen("/proc/self/limits does not tell the limit of locked memory")

    def running(self, command: str) -> list[int]:
        """Processes of this name that can be seen (comm, at most 15 letters)."""
        pids = (int(name) for name in self.names("proc") if name.isdigit())
        return sorted(pid for pid in pids if self._command(pid) == command[:15])

    def _command(self, pid: int) -> str | None:
        try:
            return self.text(f"proc/{pid}/comm")
        except Unseen:
            return None

    # Interfaces ------------------------------------------------------------------------------

    def link(self, name: str) -> Link | None:
        """An interface of this network namespace."""
        return next((link for link in self.links.links() if link.name == name), None)

    def folder(self, nic: Nic) -> Path | None:
        """Below the root, /sys/class/net/<name>, if it is this very interface.

        /sys shows the network namespace that it was mounted in, which need not be the caller's:
        then the folder is missing, or another interface's of the same name.
        """
        path = Path("sys/class/net") / nic.name
        return path if self.number(path / "ifindex") == nic.link.index else None

    def setting(self, nic: Nic, name: str) -> str | None:
        """A file of the interface in /sys/class/net; `Unseen` where /sys shows another network."""
        folder = self.folder(nic)
        if folder is None:
            raise Unseen(
                f"/sys here shows another network namespace than that of {nic.name} "
                "(ip netns exec NAME wirepath doctor mounts the right one)"
            )
        return self.text(folder / name)

    def device(self, nic: Nic) -> str | None:
        """How the device behind an interface is found in /sys: PCI address or interface name;
        None for virtual interfaces."""
        if _PCI.fullmatch(nic.bus):
            return nic.bus
        folder = self.folder(nic)
        return nic.name if folder is not None and self.exists(folder / "device") else None

    def node(self, nic: Nic) -> int | None:
        """NUMA node of an interface; None for virtual ones, and where the firmware is silent."""
        device = self.device(nic)
        return node_of_device(device, self.root) if device is not None else None

    def interrupts(self, nic: Nic) -> list[Interrupt]:
        """Of an interface; none for virtual ones."""
        device = self.device(nic)
        return interrupts_of(self, device) if device is not None else []
