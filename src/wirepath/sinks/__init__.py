"""Where records go besides the ring: functions, files, Kafka; each at its own pace.

::

    from wirepath import sinks

    files = sinks.open_sink(sinks.FileConfig(name="day", folder="records"))
    with sinks.Fanout([files]) as out:
        for records in client.batches():
            out.write(records)
    print(out.counters["day"]["written"])
"""

from __future__ import annotations

from .base import Sink
from .config import CallbackSink as CallbackConfig
from .config import FileSink as FileConfig
from .config import KafkaSink as KafkaConfig
from .config import Policy, SinkConfig, sink_config
from .config import RingSink as RingConfig
from .fanout import Fanout
from .files import FileSink
from .kafka import KafkaSink
from .queue import Queue, newest
from .simple import CallbackSink, RingSink

__all__ = [
    "CallbackConfig",
    "CallbackSink",
    "Fanout",
    "FileConfig",
    "FileSink",
    "KafkaConfig",
    "KafkaSink",
    "Policy",
    "Queue",
    "RingConfig",
    "RingSink",
    "Sink",
    "SinkConfig",
    "newest",
    "open_sink",
    "sink_config",
]


def open_sink(config: CallbackConfig | FileConfig | KafkaConfig | RingConfig) -> Sink:
    """The sink that a configuration describes, for a :class:`Fanout`, which starts it."""
    if isinstance(config, CallbackConfig):
        return CallbackSink(config)
    if isinstance(config, FileConfig):
        return FileSink(config)
    return KafkaSink(config) if isinstance(config, KafkaConfig) else RingSink(config)
