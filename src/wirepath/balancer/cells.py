"""The balancer's counters in this process's segment, for ``wirepath top`` and Prometheus."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .._core import CounterBlock
from .state import Vip

_VIP = ("packets", "bytes", "new_flows", "drops")
_REAL = ("packets", "bytes", "new_flows", "up", "weight")


class Cells:
    """Cells named ``balancer/<interface>/…``, ``balancer_vip/<service>/…`` and
    ``balancer_server/<service>/<server>/…``; written once a second."""

    def __init__(self, interface: str) -> None:
        self._interface = interface
        self._blocks: dict[str, tuple[tuple[str, ...], CounterBlock]] = {}

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
        for group in [g for g in self._blocks if g not in groups]:
            self._blocks.pop(group)[1].release()
        for group, values in groups.items():
            names = tuple(values)
            have = self._blocks.get(group)
            if have is None or have[0] != names:
                if have is not None:
                    have[1].release()
                have = (names, CounterBlock(group, list(names)))
                self._blocks[group] = have
            have[1].set(list(values.values()))

    def close(self) -> None:
        """Take the cells out of the segment."""
        for _, block in self._blocks.values():
            block.release()
        self._blocks.clear()
