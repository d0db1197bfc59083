"""The balancer's counters in this process's segment, for ``wirepath top`` and Prometheus."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..cells import CellGroups
from .state import Vip

_VIP = ("packets", "bytes", "new_flows", "drops")
_REAL = ("packets", "bytes", "new_flows", "up", "weight")


class Cells:
    """Cells named ``balancer/<interface>/…``, ``balancer_vip/<service>/…`` and
    ``balancer_server/<service>/<server>/…``; written once a second."""

    def __init__(self, interface: str) -> None:
        self._interface = interface
        self._groups = CellGroups()

    def write(
        self,
        vips: Mapping[str, Vip],
        of_vips: Any,  # noqa: ANN401  # structured arrays
        of_reals: Any,  # noqa: ANN401
        totals: Mapping[str, int],
    ) -> None:
        """The values as they are now; what is not among them any more goes."""
        groups: dict[str, dict[str, int]] = {}
        if totals:
            # As ports name theirs: a series of drops by cause.
            named = {n.replace("drop_", "drop.", 1): value for n, value in totals.items()}
            groups[f"balancer/{self._interface}"] = named
        for name, vip in vips.items():
            groups[f"balancer_vip/{name}"] = {n: int(of_vips[n][vip.number]) for n in _VIP}
            for real in vip.reals.values():
                values = {n: int(of_reals[n][real.number]) for n in of_reals.dtype.names}
                values["up"], values["weight"] = int(real.state == 1), real.weight
                groups[f"balancer_server/{name}/{real.server.name}"] = {n: values[n] for n in _REAL}
        self._groups.write(groups)

    def close(self) -> None:
        """Take the cells out of the segment."""
        self._groups.close()
