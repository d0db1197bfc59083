"""What a switch is to do: ways to receive in order, the share that leaves the kernel, bounds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Self

from pydantic import AfterValidator, BeforeValidator, Field

from .. import _core, registry
from .._core import Steering
from ..errors import ConfigError
from ..flows import flow_of
from ..settings import Must, Settings, nearest, problem
from ..steering import udp

#: What divert() counts a share in.
ALL_FLOWS = 65536
#: Modes that may stand behind a backend's name.
MODES: dict[str, tuple[str, ...]] = {"af_xdp": ("native", "generic")}
KERNEL = "socket"


def _split(value: object) -> object:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return tuple(value) if isinstance(value, list) else value


def _ways(ways: tuple[str, ...]) -> tuple[str, ...]:
    for way in ways:
        Way.of(way)
    if len(set(ways)) != len(ways):
        raise ConfigError(problem("policy", ", ".join(ways), "of ways that are named once"))
    if KERNEL in (way.partition(":")[0] for way in ways[:-1]):
        must = f"with {KERNEL} as the last: it is what the others fall back to"
        raise ConfigError(problem("policy", ", ".join(ways), must))
    return ways


def _flows(flows: tuple[str, ...]) -> tuple[str, ...]:
    for flow in flows:
        address, _ = flow_of(flow, "flows")
        if address == "*":
            raise ConfigError(problem("flows", flow, "GROUP:PORT with an address, not *"))
    return flows


@dataclass(frozen=True)
class Way:
    """One way to receive: ``backend[/mode][:device]``."""

    text: str
    backend: str
    mode: str
    device: str

    @classmethod
    def of(cls, text: str) -> Self:
        """Raises :class:`~wirepath.errors.ConfigError` for a backend or mode that there is not."""
        name, _, device = text.partition(":")
        backend, slash, mode = name.partition("/")
        known = [n for n in (*_core.loaded_backends(), *registry.CAPABILITIES) if n != "auto"]
        if backend not in known:
            must = f"of backends that there are: {', '.join(dict.fromkeys(known))}"
            raise ConfigError(problem("policy", text, must) + nearest(backend, known))
        if slash and mode not in MODES.get(backend, ()):
            modes = ", ".join(f"{b}/{m}" for b, all_of in MODES.items() for m in all_of)
            raise ConfigError(problem("policy", text, f"without a mode, or one of {modes}"))
        return cls(text, backend, mode, device)

    @property
    def kernel(self) -> bool:
        """The host's own stack: what the others fall back to."""
        return self.backend == KERNEL

    @property
    def options(self) -> dict[str, str]:
        """Those of the port that the mode stands for."""
        return {"mode": self.mode} if self.mode else {}


def _seconds(least: float, most: float, description: str) -> Any:  # noqa: ANN401 -- FieldInfo
    return Field(ge=least, le=most, description=description)


class SwitchConfig(Settings):
    """Options of an ``auto`` port: a table ``[switch]``, which may be changed while it is open.

    Raises :class:`~wirepath.errors.ConfigError` naming every unusable field, its value and what
    is allowed, a line each.
    """

    table: ClassVar[str] = "switch"

    policy: Annotated[
        tuple[str, ...],
        BeforeValidator(_split),
        AfterValidator(_ways),
        Field(min_length=1, description="ways to receive, the best first, the kernel's last"),
        Must('ways to receive such as ["af_xdp/native", "socket"], the best first'),
    ] = ("af_xdp/native", KERNEL)
    share: Annotated[
        float,
        Field(ge=0, le=100, description="percent of the flows that leave the kernel"),
        Must("a percentage from 0 to 100"),
    ] = 100.0
    flows: Annotated[
        tuple[str, ...],
        BeforeValidator(_split),
        AfterValidator(_flows),
        Field(max_length=1024, description="GROUP:PORT that leave the kernel whatever the share"),
        Must('flows such as ["239.1.1.1:9001"], at most 1024'),
    ] = ()
    standby: Annotated[
        bool,
        Field(description="keep the better way open while its share is 0"),
        Must("true or false"),
    ] = True
    interval: Annotated[
        float, _seconds(0.02, 10, "seconds between two looks"), Must("seconds from 0.02 to 10")
    ] = 0.1
    silence: Annotated[
        float,
        _seconds(0.1, 3600, "seconds over which a way is judged"),
        Must("seconds from 0.1 to 3600"),
    ] = 1.0
    silence_frames: Annotated[
        int,
        Field(ge=1, le=1_000_000_000, description="frames that went by a way that brought none"),
        Must("a whole number from 1 to 1000000000"),
    ] = 10
    max_drop: Annotated[
        float,
        Field(ge=0, le=1, description="share of frames that a way may lose"),
        Must("a ratio from 0 to 1"),
    ] = 0.01
    max_errors: Annotated[
        float,
        Field(ge=0, le=1, description="share of frames that the interface may count as errors"),
        Must("a ratio from 0 to 1"),
    ] = 0.01
    min_frames: Annotated[
        int,
        Field(ge=1, le=1_000_000_000, description="frames below which no share is judged"),
        Must("a whole number from 1 to 1000000000"),
    ] = 100
    stalled: Annotated[
        float,
        _seconds(0.1, 3600, "seconds without a poll of a worker that runs"),
        Must("seconds from 0.1 to 3600"),
    ] = 2.0
    hold_down: Annotated[
        float,
        _seconds(0.1, 86400, "seconds before a way that failed is tried again"),
        Must("seconds from 0.1 to 86400"),
    ] = 5.0
    max_hold_down: Annotated[
        float,
        _seconds(0.1, 86400, "hold_down doubles with each failure up to this"),
        Must("seconds from hold_down to 86400"),
    ] = 300.0
    successes: Annotated[
        int,
        Field(ge=0, le=100_000, description="good looks in a row before frames come back"),
        Must("a whole number from 0 to 100000"),
    ] = 10
    stable: Annotated[
        float,
        _seconds(0.1, 86400, "seconds without trouble after which failures are forgotten"),
        Must("seconds from 0.1 to 86400"),
    ] = 60.0

    @classmethod
    def conflicts(cls, values: Mapping[str, Any]) -> list[str]:
        first, most = values.get("hold_down"), values.get("max_hold_down")
        if first is not None and most is not None and most < first:
            must = f"at least hold_down, which is {first:g} seconds"
            return [problem("max_hold_down", most, must)]
        return []

    @property
    def ways(self) -> list[Way]:
        """The policy, parsed."""
        return [Way.of(text) for text in self.policy]

    @property
    def bypass(self) -> list[str]:
        """The ways around the kernel, the best first."""
        return [way.text for way in self.ways if not way.kernel]

    @property
    def kernel(self) -> str | None:
        """The kernel's way; None: there is none to fall back to."""
        return next((way.text for way in self.ways if way.kernel), None)

    @property
    def wanted(self) -> int:
        """The share, in 65536ths."""
        return round(self.share * ALL_FLOWS / 100)

    @property
    def named(self) -> Steering:
        """The flows that are named; empty where none is."""
        out = Steering()
        for flow in self.flows:
            out = out | udp(*flow_of(flow))
        return out


def native_value(value: float) -> int:
    """Percent as hundredths of a percent, as the counter has it."""
    return round(value * 100)
