"""Announcing VIPs over BGP: network statements of FRR's bgpd, through its shell.

FRR has to be running with a ``router bgp`` of the AS named, and with ``no bgp network
import-check``, since nothing on the balancer routes the VIP.
"""

from __future__ import annotations

import asyncio
import shlex
import shutil
from collections.abc import Sequence

from ..errors import ConfigError, PortError
from ..settings import problem
from .config import BalancerConfig, Network

_SECONDS = 10.0


def commands(asn: int, network: Network, wanted: bool) -> list[str]:
    """What is said to vtysh to announce a network, or to withdraw it."""
    return [
        "configure terminal",
        f"router bgp {asn}",
        f"address-family ipv{network.version} unicast",
        ("" if wanted else "no ") + f"network {network}",
    ]


class Announcer:
    """Says to FRR what is to be announced."""

    def __init__(self, config: BalancerConfig) -> None:
        self._shell: Sequence[str] = shlex.split(config.announce_vtysh)
        self._asn = config.announce_as or 0
        if not self._shell or shutil.which(self._shell[0]) is None:
            must = "the command of FRR's shell (apt install frr)"
            raise ConfigError(problem("announce_vtysh", config.announce_vtysh, must))

    async def say(self, network: Network, wanted: bool) -> None:
        """Announce or withdraw. Raises PortError with what FRR answered."""
        arguments = [arg for line in commands(self._asn, network, wanted) for arg in ("-c", line)]
        process = await asyncio.create_subprocess_exec(
            *self._shell,
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            out, _ = await asyncio.wait_for(process.communicate(), _SECONDS)
        except TimeoutError:
            process.kill()
            await process.wait()
            raise PortError(f"vtysh did not answer in {_SECONDS:g} s (is FRR running?)") from None
        text = out.decode(errors="replace").strip()
        # A network that is withdrawn and was not there is no news.
        if process.returncode and wanted:
            raise PortError(f"FRR did not announce {network}: {text or process.returncode}")
