"""What a sink is and what it does when it is slow, as options and as a table of a TOML file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, Field

from ..errors import ConfigError
from ..settings import Must, Settings, missing, nearest, problem
from ..tables import FORMATS, PERIODS

Policy = Literal["block", "drop_newest", "conflate", "disconnect"]


def _power_of_two(value: int) -> int:
    if value & (value - 1):
        raise ValueError("not a power of two")
    return value


class _SinkSettings(Settings):
    name: Annotated[
        str,
        Field(
            min_length=1,
            max_length=64,
            pattern=r"^[A-Za-z0-9_.-]+$",
            description="of its counters and its thread",
        ),
        Must("1 to 64 letters, digits, _, . and -"),
    ] = "sink"
    policy: Annotated[
        Policy,
        Field(description="what happens to records when queue_records of them wait for the sink"),
        Must('"block", "drop_newest", "conflate" or "disconnect"'),
    ] = "block"
    queue_records: Annotated[
        int,
        Field(ge=1, le=1 << 28, description="records that may wait for the sink"),
        Must("a whole number from 1 to 268435456"),
    ] = 1_048_576


class CallbackSink(_SinkSettings):
    """Calls a Python function with each array of records, on the sink's thread."""

    table = "sink"
    kind: Literal["callback"] = "callback"
    function: Annotated[
        Callable[[NDArray[np.void]], object],
        Field(description="called with an array of wirepath.RECORD"),
        Must("a function of one array of records"),
    ]


class FileSink(_SinkSettings):
    """Writes files by message type and time under a folder; see :class:`wirepath.tables`."""

    table = "sink"
    kind: Literal["parquet", "arrow", "csv", "npy"] = "parquet"
    folder: Annotated[
        str,
        Field(min_length=1, description="where the files go; made when it is not there"),
        Must("the path of a folder"),
    ]
    by_type: Annotated[
        bool,
        Field(description="a folder type=… for each message type; the type is in the path only"),
        Must("true or false"),
    ] = True
    period: Annotated[
        str,
        Field(
            pattern=f"^({'|'.join(PERIODS)})$",
            description="of event time that a file holds, UTC: minute, hour, day or none",
        ),
        Must(f"one of {', '.join(PERIODS)}"),
    ] = "hour"
    rotate_seconds: Annotated[
        int,
        Field(
            ge=1,
            le=86_400 * 7,
            description="a file is finished at this age, whatever its period: what a crash costs",
        ),
        Must("a whole number of seconds from 1 to 604800"),
    ] = 3600
    compression: Annotated[
        Literal["zstd", "snappy", "lz4", "gzip", "none"],
        Field(description="of Parquet files"),
        Must("zstd, snappy, lz4, gzip or none"),
    ] = "zstd"
    group_rows: Annotated[
        int,
        Field(ge=1, le=1 << 24, description="most rows of a row group"),
        Must("a whole number from 1 to 16777216"),
    ] = 131_072
    max_open: Annotated[
        int,
        Field(ge=1, le=4096, description="files that are written at a time"),
        Must("a whole number from 1 to 4096"),
    ] = 64


class KafkaSink(_SinkSettings):
    """Sends records to a Kafka topic through librdkafka, keyed by instrument."""

    table = "sink"
    kind: Literal["kafka"] = "kafka"
    brokers: Annotated[
        str,
        Field(min_length=1, description="bootstrap servers, HOST:PORT, separated by commas"),
        Must("HOST:PORT of a broker, several separated by commas"),
    ]
    topic: Annotated[
        str,
        Field(
            min_length=1,
            max_length=249,
            pattern=r"^[A-Za-z0-9._-]+$",
            description="where records go",
        ),
        Must("a topic: 1 to 249 letters, digits, ., _ and -"),
    ]
    message: Annotated[
        Literal["batch", "record"],
        Field(
            description="what a message holds: batch, the records of an instrument that came "
            "together; record, one"
        ),
        Must('"batch" or "record"'),
    ] = "batch"
    message_records: Annotated[
        int,
        Field(ge=1, le=15_000, description="most records of a message (batch)"),
        Must("a whole number from 1 to 15000"),
    ] = 4096
    in_flight: Annotated[
        int,
        Field(
            ge=1,
            le=10_000_000,
            description="messages that may wait for their delivery",
        ),
        Must("a whole number from 1 to 10000000"),
    ] = 100_000
    delivery_seconds: Annotated[
        float,
        Field(ge=0.1, le=86_400, description="how long delivery of a message is tried"),
        Must("seconds from 0.1 to 86400"),
    ] = 120.0
    options: Annotated[
        Mapping[str, str | int | float | bool],
        Field(description="further options of librdkafka, which go before ours"),
        Must("a table of option = text, number, true or false"),
    ] = {}


class RingSink(_SinkSettings):
    """A named ring in shared memory: other processes take the records out."""

    table = "sink"
    kind: Literal["ring"] = "ring"
    ring: Annotated[
        str,
        Field(
            pattern=r"^[^/]{1,200}$", description="name that wirepath.Ring.attach finds it under"
        ),
        Must("1 to 200 characters without /"),
    ]
    capacity: Annotated[
        int,
        Field(ge=2, le=1 << 28, description="records that it holds, a power of two"),
        AfterValidator(_power_of_two),
        Must("a power of two from 2 to 268435456"),
    ] = 65_536


SinkConfig = Annotated[CallbackSink | FileSink | KafkaSink | RingSink, Field(discriminator="kind")]
"""Any of them, told apart by ``kind``."""

_KINDS: dict[str, type[CallbackSink | FileSink | KafkaSink | RingSink]] = {
    "callback": CallbackSink,
    **dict.fromkeys(FORMATS, FileSink),
    "kafka": KafkaSink,
    "ring": RingSink,
}


def sink_config(values: Mapping[str, Any]) -> CallbackSink | FileSink | KafkaSink | RingSink:
    """The configuration that a table describes, by its ``kind``.

    Raises :class:`~wirepath.errors.ConfigError` naming every unusable field, a line each.
    """
    kind = values.get("kind")
    must = f"one of {', '.join(_KINDS)}"
    if kind is None:
        raise ConfigError(missing("kind", must))
    if not isinstance(kind, str) or kind not in _KINDS:
        raise ConfigError(problem("kind", kind, must) + nearest(str(kind), _KINDS))
    return _KINDS[kind](**values)
