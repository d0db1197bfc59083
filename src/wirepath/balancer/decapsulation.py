"""On a server: tunnel headers off, natively in the driver."""

from __future__ import annotations

import ipaddress
import threading
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from .. import programs
from ..errors import ConfigError, StateError
from ..running import Running
from ..settings import problem
from . import layout
from .maps import ProgramMaps

SLOT = "decap"


def rows(field: str, addresses: Iterable[str]) -> Any:  # noqa: ANN401  # a structured array
    """Keys of the program's maps. Raises ConfigError naming ``field``."""
    given = list(addresses)
    out = np.zeros(len(given), layout.ENDPOINT)
    for row, text in zip(out, given, strict=True):
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            raise ConfigError(problem(field, text, "an IPv4 or IPv6 address")) from None
        row["address"], row["family"] = layout.words(address), address.version
    if not len(out):
        raise ConfigError(f"{field} is missing: it must be at least one address")
    return out


class Decapsulation(Running):
    """Takes the balancer's headers off packets for ``endpoints``, if what is within is for one of
    ``vips``; the host gets what was within. From entering a ``with`` block to its end.

    Args:
        interface: where the packets come in.
        endpoints: this server's addresses that balancers send to.
        vips: addresses that may stand within.
        gue_port: UDP port of GUE; 0: none.
        native: no program in the driver; :attr:`program` gives stages instead.

    Raises (at :meth:`start`):
        ConfigError, DeviceBusy, Unsupported, BackendUnavailable: as they say.
    """

    def __init__(
        self,
        interface: str,
        endpoints: Iterable[str],
        vips: Iterable[str],
        *,
        gue_port: int = 6080,
        attach: str = "auto",
        native: bool = False,
    ) -> None:
        self._interface = interface
        self._keys = {
            "endpoints": rows("endpoint", endpoints),
            "services": rows("vip", vips),
        }
        if not 0 <= gue_port <= 65535:
            raise ConfigError(problem("gue_port", gue_port, "a whole number from 0 to 65535"))
        self._config = {"gue_port": layout.port(gue_port)}
        self._attach = attach
        self._native = native
        self._chain: programs.Chain | None = None
        self.program: programs.Program | programs.NativeProgram | None = None
        self._ended = threading.Event()

    def start(self) -> None:
        sizes = {name: max(64, len(keys)) for name, keys in self._keys.items()}
        options: dict[str, Any] = {"config": self._config, "entries": sizes}
        if self._native:
            self.program = programs.native("decap", **options)
            self._fill(self.program)
            return
        chain = programs.Chain(self._interface, self._attach)
        try:
            program = chain.load(SLOT, "decap", **options)
            self._fill(program)
            chain.put(program)
        except BaseException:
            chain.close()
            raise
        self.program, self._chain = program, chain

    def _fill(self, program: programs.Program | programs.NativeProgram) -> None:
        maps = ProgramMaps(program)
        for name, keys in self._keys.items():
            maps.write(name, keys, np.ones(len(keys), "<u4"))

    def stop(self) -> None:
        self._ended.set()

    def join(self) -> None:
        if self._chain is not None:
            self._chain.close()
            self._chain = None

    def wait(self, seconds: float | None = None) -> bool:
        """Until Ctrl-C (False), or for so long, or to the end (True)."""
        try:
            self._ended.wait(seconds)
        except KeyboardInterrupt:
            return False
        return True

    def counters(self) -> Mapping[str, int]:
        """``taken_off``, drops by reason, verdicts."""
        if self.program is None:
            raise StateError("the decapsulation does not run (start it first)")
        return self.program.counters()
