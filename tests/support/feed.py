"""The events topic as its owner and its producer see it, and the feed as its readers do."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic, RecordsToDelete

from app.adapters.kafka import clients, lifecycle
from app.adapters.kafka.clients import KafkaConfig
from app.adapters.kafka.feed import KafkaFeed
from app.adapters.kafka.feed_ring import Ring
from app.adapters.kafka.topic_log import TopicState
from app.adapters.kafka.topic_metadata import TopicIdentity
from app.bootstrap import Service
from app.entrypoints.server import http_application
from app.integration.cloudevents import CloudEvent
from tests.support.api import Api
from tests.support.records import record
from tests.support.waiting import eventually

Json = dict[str, Any]

TOPIC_EXISTS = 36


def event(sku: str = "CHAIR", sequence: int = 1, type_: str = "line_allocated.v1", **data: object) -> CloudEvent:
    """An event as the relay publishes it."""
    return CloudEvent(
        id=str(uuid.uuid4()),
        type=type_,
        data=json.dumps({"sku": sku, **data}).encode(),
        source="/allocation",
        time="2030-01-01T12:00:00Z",
        subject=sku,
        correlation_id="conversation-1",
        causation_id="request-1",
        sequence=str(sequence),
    )


@dataclass
class Topic:
    """The events topic."""

    service: Service
    admin: AIOKafkaAdminClient
    producer: AIOKafkaProducer

    @property
    def name(self) -> str:
        return self.service.settings.kafka_events_topic

    async def publish(
        self, sku: str, sequences: Sequence[int], type_: str = "line_allocated.v1", partition: int | None = None
    ) -> None:
        """Publish events of a SKU."""
        for sequence in sequences:
            headers, value = event(sku, sequence, type_).to_record()
            await self.producer.send(self.name, value, key=sku.encode(), partition=partition, headers=headers)
        await self.producer.flush()

    async def create_again(self) -> None:
        """Delete the topic, and create it with the same name."""
        await self.admin.delete_topics([self.name])

        async def is_created() -> bool:
            answer = await self.admin.create_topics([NewTopic(self.name, 3, 1)])
            # Or the feed has created it.
            return answer.topic_errors[0][1] in {0, TOPIC_EXISTS}

        await eventually(is_created)

    async def add_partitions(self, count: int) -> None:
        await self.admin.create_partitions({self.name: NewPartitions(count)})

    async def delete_before(self, offsets: dict[int, int]) -> None:
        """Delete the records before the offsets, as retention does."""
        before = {TopicPartition(self.name, number): RecordsToDelete(offset) for number, offset in offsets.items()}
        await self.admin.delete_records(before)


@asynccontextmanager
async def topic_of(service: Service, partitions: int = 3) -> AsyncIterator[Topic]:
    """The events topic of the service, created."""
    admin = AIOKafkaAdminClient(**service.kafka.connection())
    await admin.start()
    await admin.create_topics([NewTopic(service.settings.kafka_events_topic, partitions, 1)])
    producer = await clients.start_producer(service.kafka)
    try:
        yield Topic(service, admin, producer)
    finally:
        await lifecycle.stop(producer)
        await lifecycle.stop(admin)


@asynccontextmanager
async def starting(service: Service) -> AsyncIterator[Api]:
    """The application in process, which begins to follow the topic."""
    app = http_application(service, [service.feed.run])
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=60) as client,
    ):
        yield Api(client)


@asynccontextmanager
async def following(service: Service) -> AsyncIterator[Api]:
    """The application in process, which follows the topic."""
    async with starting(service) as api:
        await available(api)
        yield api


async def available(api: Api) -> None:
    """Wait until the feed is available."""

    async def is_available() -> bool:
        return (await api.client.get("/v1/events")).status_code == 200

    await eventually(is_available)


async def page(api: Api, **parameters: str | int) -> Json:
    """A page of the feed."""
    answer = await api.client.get("/v1/events", params=parameters)
    assert answer.status_code == 200, answer.text
    found: Json = answer.json()
    return found


async def read(api: Api, cursor: str, count: int, **parameters: str | int) -> tuple[list[Json], str]:
    """Read on from the cursor until there are `count` events. Returns them, and the cursor behind them."""
    events: list[Json] = []

    async def enough() -> bool:
        nonlocal cursor
        found = await page(api, cursor=cursor, **parameters)
        cursor = found["next_cursor"]
        events.extend(found["events"])
        return len(events) >= count

    await eventually(enough)
    return events, cursor


def sequences(events: Sequence[Json], sku: str) -> list[int]:
    """The sequences of the events of a SKU."""
    return [int(each["sequence"]) for each in events if each["subject"] == sku]


class StillFeed(KafkaFeed):
    """A feed with two events in memory and without a broker."""

    def __init__(self) -> None:
        super().__init__(KafkaConfig("localhost:1"), "events")
        self._ring = Ring(bytes(16), [0, 0])
        records = [event("RED-CHAIR", sequence).to_record() for sequence in (1, 2)]
        self._ring.append([record(headers, value, offset=number) for number, (headers, value) in enumerate(records)])
        self._is_available = True
        self._attempted.set()

    async def run(self) -> None:
        await asyncio.Event().wait()

    async def _state_of(self, ring: Ring) -> TopicState:
        return TopicState(TopicIdentity(ring.topic_id, 2), ring.start, tuple(ring.end))
