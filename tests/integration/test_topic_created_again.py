"""A consumer whose topic is deleted and created again handles the records of the new topic from the first one on."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest
from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.structs import OffsetAndMetadata

from app.adapters.kafka import clients, lifecycle
from app.adapters.kafka.group_consumer import GroupConsumer
from app.bootstrap import Service, bootstrap
from app.embedded.broker import EmbeddedBroker
from app.entrypoints import components
from app.entrypoints.kafka.subscription import Subscription
from app.settings import Settings
from tests.support.apache_kafka import ApacheKafka
from tests.support.feed import Topic, topic_of
from tests.support.waiting import eventually

pytestmark = pytest.mark.kafka

OLD, NEW = 5, 20
"""Records of the old and the new topic. The new one soon has more, so that the old offset is a valid one."""


@pytest.fixture
async def service(kafka_settings: Settings) -> AsyncIterator[Service]:
    async with bootstrap(kafka_settings) as wired:
        yield wired


@pytest.fixture
async def topic(service: Service) -> AsyncIterator[Topic]:
    async with topic_of(service) as events:
        yield events


class Reader:
    """Reads the topic in a group. It can be made to wait after it has received a batch."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self.seen: list[tuple[str, int]] = []
        self.may_go_on = asyncio.Event()
        self.may_go_on.set()

    def subscription(self) -> Subscription:
        return Subscription(self.start_consumer, self._handle, name="reader", max_records=100)

    async def has_seen(self, sku: str, number: int) -> None:
        async def it_has() -> bool:
            return {sequence for name, sequence in self.seen if name == sku} == set(range(1, number + 1))

        await eventually(it_has, seconds=30)

    async def commit(self, positions: dict[TopicPartition, OffsetAndMetadata]) -> dict[str, str]:
        """Commit positions of the group; returns the ids of the topics."""
        consumer = await self.start_consumer()

        async def is_compared() -> bool:
            return bool(consumer.topic_ids)

        try:
            await eventually(is_compared)
            if positions:
                await consumer.commit(positions)
            return dict(consumer.topic_ids)
        finally:
            await lifecycle.stop(consumer)

    async def start_consumer(self) -> GroupConsumer:
        return await clients.start_consumer(
            self._service.kafka,
            [self._service.settings.kafka_events_topic],
            self._service.settings.kafka_notifier_group,
        )

    async def _handle(self, records: Sequence[ConsumerRecord]) -> None:
        for record in records:
            self.seen.append((record.key.decode(), int(dict(record.headers)["ce_sequence"])))
        await self.may_go_on.wait()


async def test_records_of_the_new_topic_are_not_skipped_while_the_consumer_handles_old_ones(
    service: Service, topic: Topic, broker: EmbeddedBroker | ApacheKafka
) -> None:
    if isinstance(broker, EmbeddedBroker):
        pytest.skip("it keeps the offsets of a deleted topic")
    reader = Reader(service)
    reader.may_go_on.clear()
    await topic.publish("OLD", range(1, OLD + 1), partition=0)
    async with components.running([reader.subscription().run]):
        await reader.has_seen("OLD", OLD)
        await topic.create_again()
        await topic.publish("NEW", range(1, NEW + 1), partition=0)
        reader.may_go_on.set()
        await reader.has_seen("NEW", NEW)


async def test_an_offset_of_the_old_topic_that_is_committed_for_the_new_one_is_not_used(
    service: Service, topic: Topic, broker: EmbeddedBroker | ApacheKafka
) -> None:
    """A commit that is under way is repeated until the topic exists again, and then succeeds."""
    if isinstance(broker, EmbeddedBroker):
        pytest.skip("it does not keep the metadata of an offset")
    reader = Reader(service)
    await topic.publish("OLD", range(1, OLD + 1), partition=0)
    async with components.running([reader.subscription().run]):
        await reader.has_seen("OLD", OLD)
    old_id = (await reader.commit({})).get(topic.name, "")
    await topic.create_again()
    await topic.publish("NEW", range(1, NEW + 1), partition=0)
    await reader.commit({TopicPartition(topic.name, 0): OffsetAndMetadata(OLD, old_id)})
    async with components.running([reader.subscription().run]):
        await reader.has_seen("NEW", NEW)


async def test_a_restart_goes_on_behind_the_records_that_were_handled(service: Service, topic: Topic) -> None:
    reader = Reader(service)
    await topic.publish("OLD", range(1, OLD + 1), partition=0)
    async with components.running([reader.subscription().run]):
        await reader.has_seen("OLD", OLD)
    async with components.running([reader.subscription().run]):
        await topic.publish("MORE", range(1, OLD + 1), partition=0)
        await reader.has_seen("MORE", OLD)
    assert len(reader.seen) == 2 * OLD
