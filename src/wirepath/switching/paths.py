"""Opening the ports behind a switch: which options go to which, and which refusals last."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from .. import _core, registry
from .._core import Steering
from ..errors import (
    BackendUnavailable,
    ConfigError,
    PermissionDenied,
    Unsupported,
    WirepathError,
)
from ..ports import Port
from ..ports import open as open_port
from ..settings import nearest, problem
from .config import Way

#: Refusals that will be the same the next time.
LASTING = (BackendUnavailable, ConfigError, PermissionDenied, Unsupported)
# Options of the auto port that go to every path that has them.
_SHARED = ("rx_ring_size", "zero_copy")


@dataclass(frozen=True)
class Opener:
    """Opens ways for one device and steering. options: of the paths, ``BACKEND_NAME`` or shared."""

    device: str
    steer: Steering
    batch_size: int
    idle: Literal["sleep", "spin"]
    options: Mapping[str, str]

    def open(self, way: Way) -> Port:
        """Raises as :func:`wirepath.open`."""
        registry.load(way.backend)
        known = {name for name, _, _ in _core.loaded_backends()[way.backend]["options"]}
        options = {n: v for n, v in self.options.items() if n in _SHARED and n in known}
        prefix = f"{way.backend}_"
        options |= {
            n.removeprefix(prefix): v for n, v in self.options.items() if n.startswith(prefix)
        }
        options |= way.options
        if "share" in known:
            options["share"] = "0"  # nothing is taken before somebody reads
        device = way.device or self.device
        spec = f"{way.backend}:{device}"
        return open_port(
            spec,
            steer=self.steer,
            batch_size=self.batch_size,
            idle=self.idle,
            **options,  # type: ignore[arg-type]  # texts
        )

    def check(self, ways: list[Way]) -> None:
        """Raises :class:`~wirepath.errors.ConfigError` for an option that none of them takes."""
        problems = []
        for name, value in self.options.items():
            if name in _SHARED:
                continue
            owners = [w.backend for w in ways if name.startswith(f"{w.backend}_")]
            if not owners:
                must = "one of a way in the policy, such as af_xdp_queues"
                hint = nearest(name, [*_SHARED, "policy", "share", "flows", "config", "queues"])
                problems.append(problem(name, value, f"{must}{hint}"))
                continue
            try:
                registry.load(owners[0])
            except WirepathError:
                continue  # the refusal of the way says it
            entry = _core.loaded_backends()[owners[0]]
            known = [option for option, _, _ in entry["options"]]
            inner = name.removeprefix(f"{owners[0]}_")
            if inner not in known and not entry["passes_on"]:
                must = f"an option of {owners[0]}: {', '.join(known)}"
                problems.append(problem(name, value, must) + nearest(inner, known))
        if problems:
            raise ConfigError("\n".join(problems))
