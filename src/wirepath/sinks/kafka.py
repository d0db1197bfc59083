"""Records to a Kafka topic."""

from __future__ import annotations

import logging
import math
import time
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError, ExtraMissing
from . import config
from .base import Sink
from .queue import Taken

_log = logging.getLogger("wirepath.sink")  # librdkafka's own words

_PURGE_SECONDS = 5.0  # for librdkafka to tell what became of messages that are given up
_RESTART_SECONDS = 1.0  # between attempts to make a producer


def _confluent_kafka() -> Any:  # noqa: ANN401  # a module that is untyped
    try:
        import confluent_kafka  # noqa: PLC0415
    except ImportError as error:
        raise ExtraMissing(
            f"confluent-kafka is needed and cannot be imported ({error}): "
            "pip install 'wirepath[kafka]', or pip install confluent-kafka"
        ) from None
    return confluent_kafka


class KafkaSink(Sink):
    """Messages keyed by instrument, so that the records of each stay in order in one partition.

    The key is the instrument's number in decimal; the value one or more records of 64 bytes as
    :data:`wirepath.RECORD` has them (``np.frombuffer(value, wp.RECORD)``). The producer is
    idempotent: what is delivered is delivered once and in order. ``written`` counts records whose
    message the brokers acknowledged, ``failed`` those whose delivery failed for good.
    """

    def __init__(self, settings: config.KafkaSink) -> None:
        super().__init__(
            settings.name, policy=settings.policy, queue_records=settings.queue_records
        )
        self._settings = settings
        self._most = settings.message_records if settings.message == "batch" else 1
        self._producer: Any = None
        self._kafka: Any = None
        self._messages = 0
        self._delivered = 0
        self._failures = 0
        self._restarts = 0
        self._full = 0
        self._fatal = False
        self._taken: Taken | None = None  # what is being produced
        self._restart_at = 0.0
        self._end_by = math.inf

    def open(self) -> None:
        self._kafka = _confluent_kafka()
        self._producer = self._make()

    def _make(self) -> Any:  # noqa: ANN401
        s = self._settings
        options = {
            "bootstrap.servers": s.brokers,
            "client.id": "wirepath",
            "enable.idempotence": True,
            "compression.type": "lz4",
            "linger.ms": 5,
            "queue.buffering.max.messages": s.in_flight,
            "queue.buffering.max.kbytes": 1 << 20,
            "delivery.timeout.ms": round(s.delivery_seconds * 1000),
            "error_cb": self._broker_error,
            "logger": _log,
            **s.options,
        }
        try:
            return self._kafka.Producer(options)
        except (self._kafka.KafkaException, ValueError, TypeError) as error:
            raise ConfigError(f"options of librdkafka are not usable: {error}") from None

    def write(self, records: NDArray[np.void]) -> None:
        self._taken = self.queue.latest
        if self._fatal and not self._restart():
            self.queue.failed(len(records), self._taken)
            return
        if self._most == 1:
            ordered = records
            bounds = list(range(len(records) + 1))
        else:
            instruments = records["instrument"]
            order = np.argsort(instruments, kind="stable")
            ordered = records[order]
            instruments = instruments[order]
            edges = np.flatnonzero(instruments[1:] != instruments[:-1]) + 1
            bounds = [0, *edges.tolist(), len(records)]
        keys = ordered["instrument"][bounds[:-1]].tolist()
        data = np.ascontiguousarray(ordered).view(np.uint8)
        size = records.dtype.itemsize
        for (begin, end), key in zip(pairwise(bounds), keys, strict=True):
            name = str(key).encode()
            for at in range(begin, end, self._most):
                stop = min(at + self._most, end)
                self._produce(name, data[at * size : stop * size].tobytes(), stop - at)
        self._producer.poll(0)

    def _produce(self, key: bytes, value: bytes, records: int) -> None:
        told = partial(self._on_delivery, records, self._taken)
        while True:
            try:
                self._producer.produce(self._settings.topic, value, key, on_delivery=told)
            except BufferError:  # librdkafka's queue is full: deliveries make room, or time out
                self._full += 1
                if time.monotonic() >= self._end_by:
                    self._fail(
                        records, self._taken, "the sink was closed before there was room for them"
                    )
                    return
                self._producer.poll(0.1)
                continue
            except self._kafka.KafkaException as error:
                self._fail(records, self._taken, error)
                self._fatal = self._fatal or bool(error.args and error.args[0].fatal())
                return
            self._messages += 1
            return

    def _fail(self, records: int, taken: Taken | None, error: BaseException | str) -> None:
        self._failures += 1
        self.queue.failed(records, taken)
        self.queue.error(error)

    def settle(self, records: NDArray[np.void], error: Exception | None) -> None:
        pass  # _on_delivery does, message by message

    def _on_delivery(
        self,
        records: int,
        taken: Taken | None,
        error: Any,  # noqa: ANN401
        message: Any,  # noqa: ANN401
    ) -> None:
        del message
        if error is None:
            self._delivered += 1
            self.queue.wrote(records, taken)
            return
        self._fail(records, taken, f"delivery failed: {error}")
        self._fatal = self._fatal or error.fatal()

    def _broker_error(self, error: Any) -> None:  # noqa: ANN401
        # Not the loss of anything: librdkafka tries again until delivery_seconds are over.
        self.queue.error(str(error))
        self._fatal = self._fatal or error.fatal()

    def _restart(self) -> bool:
        """After an error that an idempotent producer cannot go on from: a new one. What the old
        one had not delivered is lost, and counted. False: there is none; tried again later."""
        now = time.monotonic()
        if now < self._restart_at:
            return False
        self._restart_at = now + _RESTART_SECONDS
        self._give_up()
        try:
            self._producer = self._make()
        except Exception as error:  # librdkafka's own, or of the machine: no thread, no memory
            self.queue.error(f"a new producer cannot be made: {error}")
            return False
        self._restarts += 1
        self._fatal = False
        return True

    def _give_up(self) -> None:
        self._producer.purge()
        self._producer.flush(_PURGE_SECONDS)

    def idle(self) -> None:
        self._producer.poll(0)

    def close(self) -> None:
        if self._producer is None:
            return
        deadline = min(
            time.monotonic() + self._settings.delivery_seconds + _PURGE_SECONDS, self._end_by
        )
        while self._producer.flush(0.2) and not self._fatal and time.monotonic() < deadline:
            pass
        self._give_up()

    def end_by(self, deadline: float) -> None:
        """So early that what is given up is counted in time."""
        left = max(deadline - time.monotonic(), 0.0)
        self._end_by = deadline - min(2 * _PURGE_SECONDS, left / 2)

    @property
    def extra_counters(self) -> dict[str, Any]:
        """``messages`` produced, ``delivered``, ``delivery_failures``; ``producer_full``: times
        that librdkafka had no room; ``producer_restarts``."""
        return {
            "messages": self._messages,
            "delivered": self._delivered,
            "delivery_failures": self._failures,
            "producer_full": self._full,
            "producer_restarts": self._restarts,
        }
