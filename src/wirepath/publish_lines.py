"""Lines of a publisher: where each goes, and what a bad network does to it."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, Field

from .errors import ConfigError
from .flows import flow_of
from .settings import Must, Settings, problem

_RATE = Must("a number from 0 to 1")


def _rate(text: str) -> Any:  # noqa: ANN401  # a pydantic field
    return Field(ge=0, le=1, description=text)


def _to(text: str) -> str:
    flow_of(text, "to")
    return text


class LineConfig(Settings):
    """One line: the messages of the stream to one group, packed and impaired in its own way.

    Rates are per data packet; heartbeats and ends of session always go out. Which packets are
    hit depends on ``seed`` and the packing alone.
    """

    table: ClassVar[str] = "publish.line"

    to: Annotated[
        str,
        AfterValidator(_to),
        Field(description="GROUP:PORT to send to"),
        Must("GROUP:PORT, such as 239.1.1.1:9001 or [ff15::1]:9001"),
    ]
    loss: Annotated[float, _rate("packets lost, each by itself"), _RATE] = 0.0
    burst_loss: Annotated[float, _rate("packets at which a burst of losses begins"), _RATE] = 0.0
    burst_packets: Annotated[
        int,
        Field(ge=1, le=1_000_000, description="packets lost in a burst"),
        Must("a whole number from 1 to 1000000"),
    ] = 50
    duplicate: Annotated[float, _rate("packets sent twice"), _RATE] = 0.0
    reorder: Annotated[float, _rate("packets that others overtake"), _RATE] = 0.0
    reorder_packets: Annotated[
        int,
        Field(ge=1, le=1000, description="packets that overtake one"),
        Must("a whole number from 1 to 1000"),
    ] = 3
    skew_us: Annotated[
        int,
        Field(ge=0, le=10_000_000, description="microseconds that it is behind"),
        Must("a whole number of microseconds from 0 to 10000000"),
    ] = 0
    max_messages: Annotated[
        int | None,
        Field(ge=1, le=65534, description="messages in a packet; none: as the stream"),
        Must("a whole number from 1 to 65534"),
    ] = None
    seed: Annotated[
        int | None,
        Field(ge=0, le=(1 << 64) - 1, description="of the impairments; none: the line's place"),
        Must("a whole number from 0 to 2^64 - 1"),
    ] = None

    @classmethod
    def parse(cls, text: str) -> LineConfig:
        """``GROUP:PORT[,name=value,…]``, as ``str(line)`` gives it. Raises ConfigError."""
        to, *pairs = text.split(",")
        values: dict[str, Any] = {"to": to}
        for pair in pairs:
            name, equals, value = pair.partition("=")
            if not equals:
                must = "GROUP:PORT,name=value,…, such as 239.1.1.1:9001,loss=0.01"
                raise ConfigError(problem("line", text, must))
            values[name] = _number(value)
        return cls(**values)

    def __str__(self) -> str:
        given = [f"{n}={getattr(self, n)}" for n in type(self).model_fields if n != "to"]
        kept = [pair for pair in given if pair.partition("=")[0] in self.model_fields_set]
        return ",".join([self.to, *(pair for pair in kept if not pair.endswith("=None"))])

    def native(self, index: int) -> dict[str, Any]:
        """Options of the native line but its addresses."""
        return {
            "loss": float(self.loss),
            "burst_loss": float(self.burst_loss),
            "burst_packets": self.burst_packets,
            "duplicate": float(self.duplicate),
            "reorder": float(self.reorder),
            "reorder_packets": self.reorder_packets,
            "skew_ns": self.skew_us * 1000,
            "max_messages": self.max_messages or 0,
            "seed": index + 1 if self.seed is None else self.seed,
        }


def _number(text: str) -> object:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def lines_of(value: object) -> tuple[LineConfig, ...]:
    """Lines from tables of a TOML file, texts, or what they are already. Raises ConfigError that
    says which line; ValueError: not a list of them."""
    if isinstance(value, (str, bytes)) or not isinstance(value, (list, tuple)):
        raise ValueError("not a list")
    out = []
    for number, each in enumerate(value, 1):
        try:
            if isinstance(each, LineConfig):
                out.append(each)
            elif isinstance(each, str):
                out.append(LineConfig.parse(each))
            elif isinstance(each, dict):
                out.append(LineConfig(**each))
            else:
                raise ValueError("not a line")
        except ConfigError as error:
            text = "\n".join(
                f"line {number}: {each_problem}" for each_problem in str(error).split("\n")
            )
            raise ConfigError(text) from None
    if len(out) > 16:
        raise ValueError("too many")
    return tuple(out)
