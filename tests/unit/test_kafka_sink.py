"""Records to Kafka: librdkafka against its own mock cluster."""

from __future__ import annotations

import sys
import time

import numpy as np
import pytest
from test_sinks import balanced, records

import wirepath as wp
from wirepath import sinks
from wirepath.sinks import Fanout, open_sink

MOCK = {"test.mock.num.brokers": 3}


@pytest.fixture
def kafka():
    return pytest.importorskip(
        "confluent_kafka", reason="confluent-kafka is not installed (extra kafka)"
    )


def config(**more):
    options = MOCK | more.pop("options", {})
    fields = {"name": "k", "brokers": "mock:1", "topic": "records"} | more
    return sinks.KafkaConfig(options=options, **fields)


def consume(kafka, sink, wanted):
    """(partition, key, value) of messages, read from the sink's own cluster."""
    deadline = time.monotonic() + 60
    while sink.queue.counters["written"] < wanted:
        assert time.monotonic() < deadline, sink.queue.counters
        time.sleep(0.05)
    told = sink._producer.list_topics("records", timeout=20)
    consumer = kafka.Consumer(
        {
            "bootstrap.servers": ",".join(f"{b.host}:{b.port}" for b in told.brokers.values()),
            "group.id": "test",
        }
    )
    partitions = told.topics["records"].partitions
    # Assigned, not subscribed: no waiting for a group to form.
    consumer.assign([kafka.TopicPartition("records", p, 0) for p in partitions])
    out = []
    try:
        while sum(len(value) for _, _, value in out) < wanted * 64:
            assert time.monotonic() < deadline, f"{len(out)} messages came"
            message = consumer.poll(1)
            if message is None:
                continue
            assert message.error() is None, message.error()
            out.append((message.partition(), message.key(), message.value()))
    finally:
        consumer.close()
    return out


@pytest.mark.parametrize("message", ["batch", "record"])
def test_every_record_arrives_once_keyed_and_in_order(kafka, message):
    sink = open_sink(config(message=message, message_records=50))
    some = records(3000, instruments=7)
    some["price"] = np.arange(3000)
    out = Fanout([sink])
    for at in range(0, 3000, 600):
        out.write(some[at : at + 600])
    got = consume(kafka, sink, 3000)
    assert out.close()
    counters = out.counters["k"]
    assert counters["written"] == counters["offered"] == 3000
    assert counters["delivered"] == counters["messages"] == len(got)
    assert counters["delivery_failures"] == counters["dropped"] == 0
    assert len(got) == 3000 if message == "record" else 60 <= len(got) < 3000
    partitions = {}
    by_instrument = {}
    for partition, key, value in got:
        rows = np.frombuffer(value, wp.RECORD)
        assert set(rows["instrument"]) == {int(key)}
        assert partitions.setdefault(key, partition) == partition
        by_instrument.setdefault(int(key), []).append(rows)
    assert sorted(by_instrument) == list(range(1, 8))
    for number, parts in by_instrument.items():
        assert np.array_equal(np.concatenate(parts), some[some["instrument"] == number])


def test_the_producer_is_idempotent(kafka, monkeypatch):
    given = []
    real = kafka.Producer
    monkeypatch.setattr(
        kafka, "Producer", lambda options: (given.append(options), real(options))[1]
    )
    with Fanout([open_sink(config())]):
        pass
    assert given[0]["enable.idempotence"] is True
    with pytest.raises(wp.ConfigError, match="acks"):
        Fanout([open_sink(config(options={"acks": 0}))])


def test_a_cluster_that_does_not_answer_is_counted_record_by_record(kafka):
    dead = sinks.KafkaConfig(name="k", brokers="127.0.0.1:1", topic="records", delivery_seconds=0.5)
    got = []
    other = open_sink(sinks.CallbackConfig(name="other", function=got.append))
    with Fanout([open_sink(dead), other]) as out:
        out.write(records(1000, instruments=10))
        assert out.counters["k"]["held"] + out.counters["k"]["waiting"] == 1000
    counters = out.counters["k"]
    assert counters["failed"] == counters["dropped"] == 1000
    assert counters["delivery_failures"] == counters["messages"] == 10
    assert counters["written"] == counters["queued"] == 0
    assert counters["errors"] >= 10
    assert balanced(counters)
    assert sum(map(len, got)) == 1000


def test_messages_that_are_too_large_fail_and_the_others_arrive(kafka):
    sink = open_sink(config(options={"message.max.bytes": 2000, "compression.type": "none"}))
    some = records(130, instruments=1)
    some["instrument"][:30] = 2
    with Fanout([sink]) as out:
        out.write(some)  # 100 records of instrument 1: 6,400 bytes
    counters = out.counters["k"]
    assert (counters["written"], counters["failed"]) == (30, 100)
    assert counters["delivery_failures"] == 1
    assert "too large" in counters["last_error"].lower() or "SIZE" in counters["last_error"]
    assert balanced(counters)


def test_what_may_be_in_flight_is_bounded_and_the_policy_acts(kafka):
    dead = sinks.KafkaConfig(
        name="k", brokers="127.0.0.1:1", topic="records", delivery_seconds=1.0,
        in_flight=10, message="record", policy="drop_newest", queue_records=100,
    )  # fmt: skip
    with Fanout([open_sink(dead)]) as out:
        for i in range(50):
            out.write(records(20, 1 + 20 * i))
    counters = out.counters["k"]
    assert counters["offered"] == 1000
    assert counters["producer_full"] > 0
    assert counters["high_water"] <= 100
    assert counters["dropped"] == 1000
    assert 0 < counters["failed"] < 1000
    assert balanced(counters)


def test_without_the_package_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "confluent_kafka", None)
    with pytest.raises(wp.ExtraMissing, match=r"pip install 'wirepath\[kafka\]'"):
        Fanout([open_sink(config())])


@pytest.mark.parametrize("in_flight", [10, 100_000])
def test_closing_ends_in_its_own_time_whatever_delivery_may_take(kafka, in_flight):
    """Nobody answers for an hour: messages that librdkafka has, and those it has no room for."""
    dead = sinks.KafkaConfig(
        name="k", brokers="127.0.0.1:1", topic="records", delivery_seconds=3600.0,
        in_flight=in_flight, message="record",
    )  # fmt: skip
    out = Fanout([open_sink(dead)])
    out.write(records(500))
    began = time.monotonic()
    assert out.close(timeout=4)
    assert time.monotonic() - began < 4
    counters = out.counters["k"]
    assert counters["failed"] == counters["dropped"] == 500
    assert counters["queued"] == 0
    assert counters["delivery_failures"] == 500
    assert balanced(counters)


def test_a_producer_that_cannot_be_made_again_fails_records_and_is_tried_later(kafka, monkeypatch):
    monkeypatch.setattr("wirepath.sinks.kafka._RESTART_SECONDS", 0.5)
    sink = open_sink(config())
    out = Fanout([sink])
    out.write(records(100))
    consume(kafka, sink, 100)
    real, attempts = kafka.Producer, []

    def refused(options):
        attempts.append(time.monotonic())
        raise RuntimeError("no thread for it")

    monkeypatch.setattr(kafka, "Producer", refused)
    sink._fatal = True  # as after an error that an idempotent producer cannot go on from
    for i in range(5):
        out.write(records(10, 101 + 10 * i))
        time.sleep(0.05)
    counters = out.counters["k"]
    assert (counters["failed"], counters["queued"]) == (50, 0)
    assert counters["producer_restarts"] == 0
    assert "a new producer cannot be made: no thread for it" in counters["last_error"]
    assert len(attempts) == 1
    monkeypatch.setattr(kafka, "Producer", real)
    time.sleep(0.5)
    out.write(records(30, 151))
    deadline = time.monotonic() + 30
    while out.counters["k"]["written"] < 130:
        assert time.monotonic() < deadline, out.counters["k"]
        time.sleep(0.05)
    assert out.close()
    counters = out.counters["k"]
    assert counters["producer_restarts"] == 1
    assert balanced(counters)
