"""FRR in the namespaces of a lab: zebra and bgpd of a path space of their own."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from wirepath.lab import Host

DAEMONS = Path("/usr/lib/frr")
_TIMERS = " timers bgp 1 3\n no bgp ebgp-requires-policy\n no bgp network import-check\n"


def missing() -> str | None:
    """Why FRR can't run here, or None."""
    if not (DAEMONS / "bgpd").exists() or shutil.which("vtysh") is None:
        return "unsupported: FRR is not installed (apt install frr)"
    return None


def speaker(asn: int, router_id: str, neighbours: dict[str, int]) -> str:
    """A configuration of bgpd: its AS, and its neighbours' addresses with theirs."""
    lines = f"router bgp {asn}\n bgp router-id {router_id}\n{_TIMERS}"
    lines += " bgp bestpath as-path multipath-relax\n"
    lines += "".join(f" neighbor {a} remote-as {n}\n" for a, n in neighbours.items())
    return lines + " address-family ipv4 unicast\n  maximum-paths 8\n"


class Frr:
    """zebra and bgpd on a host, until the ``with`` block ends."""

    def __init__(self, host: Host, space: str, config: str) -> None:
        self._host = host
        self._config = config
        self.space = space
        self._folders = [Path("/var/run/frr") / space, Path("/etc/frr") / space]
        self._daemons: list[subprocess.Popen[Any]] = []

    def __enter__(self) -> Self:
        for folder in self._folders:
            folder.mkdir(parents=True, exist_ok=True)
            shutil.chown(folder, "frr", "frr")
        etc = self._folders[1]
        (etc / "zebra.conf").write_text("")
        (etc / "bgpd.conf").write_text(self._config)
        (etc / "vtysh.conf").write_text("")
        for name in ("zebra", "bgpd"):
            config = str(etc / f"{name}.conf")
            pid = str(self._folders[0] / f"{name}.pid")
            command = [str(DAEMONS / name), "-N", self.space, "-f", config, "-i", pid]
            quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
            self._daemons.append(self._host.popen([*command, "-A", "127.0.0.1"], **quiet))
        return self

    def stop(self) -> None:
        """As if the host had died."""
        for daemon in reversed(self._daemons):
            daemon.kill()
            daemon.wait(10)
        self._daemons.clear()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
        for folder in self._folders:
            shutil.rmtree(folder, ignore_errors=True)
