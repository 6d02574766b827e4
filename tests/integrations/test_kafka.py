"""Messages of a real client, from the broker that its library carries for tests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connections

from django_connmgr import pools
from django_connmgr.integrations.kafka import units

from .conftest import require

require("confluent_kafka")

from confluent_kafka import Consumer, Producer, TopicPartition

ALIASES = ("default", "replica_1", "replica_2")


@pytest.fixture(scope="module")
def producer() -> Iterator[Producer]:
    producer = Producer({"test.mock.num.brokers": 1, "log_level": 0})
    yield producer
    producer.flush(10)


@pytest.fixture
def consumer(producer: Producer, request: pytest.FixtureRequest) -> Iterator[Consumer]:
    """It has five messages to read; the third has no value, as those that delete a key."""
    topic = request.node.name
    brokers = producer.list_topics(timeout=10).brokers.values()
    for number in range(5):
        value = None if number == 2 else b"%d" % number
        producer.produce(topic, value, key=b"key", partition=0)
    assert producer.flush(10) == 0
    consumer = Consumer(
        {
            "bootstrap.servers": ",".join(f"{broker.host}:{broker.port}" for broker in brokers),
            "group.id": topic,
            "enable.auto.commit": False,
        }
    )
    consumer.assign([TopicPartition(topic, 0, 0)])
    yield consumer
    consumer.close()


@pytest.fixture(autouse=True)
def replicas(database: None) -> Iterator[None]:
    for alias in ALIASES[1:]:
        connections.databases[alias] = connections.databases["default"].copy()
    yield
    for alias in ALIASES[1:]:
        connections[alias].close()
        connections[alias].close_pool()  # type: ignore[attr-defined]
        del connections[alias]
        del connections.databases[alias]


def query() -> None:
    for alias in ALIASES:
        with connections[alias].cursor() as cursor:
            cursor.execute("SELECT 1")


def leased() -> list[int]:
    """By alias: how many connections are leased, or warm for a unit of work."""
    numbers = [pools[alias].stats() for alias in ALIASES]
    return [stats.leased + stats.warm for stats in numbers]


def test_nothing_is_leased_on_any_alias_between_batches(consumer: Consumer) -> None:
    seen: list[int] = []

    class Watched:
        """Looks at the pools whenever the loop asks for more."""

        def consume(self, *args: Any) -> Any:
            assert leased() == [0, 0, 0]
            return consumer.consume(*args)

    for messages in units(Watched(), size=2, until=lambda: len(seen) == 5):
        seen.extend(message.offset() for message in messages)
        query()
        assert leased() == [1, 1, 1]
    assert (seen, leased()) == ([0, 1, 2, 3, 4], [0, 0, 0])
    assert [pools[alias].stats().opened for alias in ALIASES[1:]] == [1, 1]


def test_every_message_is_a_unit_also_one_without_a_value(consumer: Consumer) -> None:
    values = []
    polls = iter(range(20))
    for message in units(consumer, until=lambda: len(values) == 5 or next(polls) == 19):
        assert leased() == [0, 0, 0]
        query()
        values.append(message.value())
        consumer.commit(message, asynchronous=False)
        if message.offset() < 2:
            continue
    assert (values, leased()) == ([b"0", b"1", None, b"3", b"4"], [0, 0, 0])


def test_leaving_the_loop_ends_the_unit(consumer: Consumer) -> None:
    for _ in units(consumer):
        query()
        break
    assert leased() == [0, 0, 0]


def test_what_the_body_raises_comes_out_and_ends_the_unit(consumer: Consumer) -> None:
    """Also if the caller keeps a reference to what it loops over, and to the error."""
    messages = units(consumer)
    with pytest.raises(ValueError, match="as it should") as error:
        for _ in messages:
            query()
            raise ValueError("as it should")
    assert leased() == [0, 0, 0]
    assert error.value.__traceback__ is not None


def test_a_unit_cannot_be_opened_outside_a_loop(consumer: Consumer) -> None:
    with pytest.raises(TypeError, match="not an iterator"):
        next(units(consumer))  # type: ignore[call-overload]
