"""Records that others write: in any codec, with headers of any name."""

import asyncio
import random
import uuid
from collections import Counter
from collections.abc import Sequence

import confluent_kafka
import pytest

from app.adapters.kafka import clients
from app.bootstrap import bootstrap
from app.domain.commands import CreateBatch
from app.entrypoints import components
from app.service_layer.ports import Cause
from app.settings import Settings
from faults.foreign import LARGEST, Record
from faults.poison import POISON
from tests.support.database import raw_connection
from tests.support.waiting import eventually

pytestmark = pytest.mark.kafka


def _send(settings: Settings, records: list[list[tuple[bytes | str, bytes]]], sku: str, **config: str) -> None:
    producer = confluent_kafka.Producer({"bootstrap.servers": settings.kafka_bootstrap_servers, **config})
    for number, headers in enumerate(records):
        producer.produce(
            settings.kafka_inbound_topics[0],
            f'{{"order_id":"order-{number}","sku":"{sku}","qty":1}}'.encode(),
            key=sku,
            headers=headers,  # type: ignore[arg-type]
        )
    producer.flush(10)


def _message(*more: tuple[bytes | str, bytes]) -> list[tuple[bytes | str, bytes]]:
    return [("ce_id", uuid.uuid4().hex.encode()), ("ce_type", b"allocation_required.v1"), *more]


async def _orders_arrive(settings: Settings, sku: str, orders: set[str], send: dict[str, str]) -> None:
    async with bootstrap(settings) as service, service.bus, components.running([components.consumer(service)]):
        await service.bus.handle(CreateBatch(ref=f"batch-{sku}", sku=sku, qty=100), Cause("test", "test"))
        records = [_message(), _message(("name-\N{WHITE SMILING FACE}", b"x")), _message()]
        await asyncio.to_thread(_send, settings, records, sku, **send)

        async def all_there() -> bool:
            product = await service.queries.product(sku)
            return product.allocated_qty == len(orders)

        await eventually(all_there)


@pytest.mark.parametrize("codec", ["none", "gzip", "snappy", "lz4", "zstd"])
async def test_records_in_any_codec_are_read(kafka_settings: Settings, codec: str) -> None:
    orders = {"order-0", "order-1", "order-2"}
    await _orders_arrive(kafka_settings, f"sku-{uuid.uuid4().hex}", orders, {"compression.type": codec})


# librdkafka cannot send a header whose name is not text; the round `poison` of `make faults` does.
CORPUS = [POISON[kind].record(f"poison-{kind}") for kind in sorted(set(POISON) - {"header-no-text"})]
# Additional headers of valid messages. They must not change how the messages are handled.
EXTRA_HEADERS: list[list[tuple[bytes | str, bytes]]] = [
    [(f"header-{number}", b"x") for number in range(2000)],
    [("large", b"\xff" * 200_000)],
    [("", b""), ("empty", b""), ("x" * 10_000, b"\x00")],
    [("ce_correlationid", b"\x00\xff" * 5000), ("traceparent", b"00-" + b"f" * 10_000)],
    [("ce_correlationid", b"\r\nset-cookie: a=b"), ("ce_sequence", b"-1"), ("ce_subject", b"\xff")],
    [("content-type", b"text/html; charset=utf-7"), ("content-encoding", b"gzip")],
]


def _noise(count: int) -> list[Record]:
    """Records of random bytes, the same each time."""
    chance = random.Random(7)
    names = ["ce_id", "ce_type", "ce_specversion", "content-type", "traceparent", "x"]
    return [
        Record(
            None,
            chance.randbytes(chance.randrange(300)),
            [(chance.choice(names), chance.randbytes(chance.randrange(40))) for _ in range(chance.randrange(5))],
        )
        for _ in range(count)
    ]


def _send_among_messages(settings: Settings, hostile: Sequence[Record], sku: str) -> None:
    """Send the records, and behind each of them a message about the SKU; all to one partition."""
    producer = confluent_kafka.Producer(
        {"bootstrap.servers": settings.kafka_bootstrap_servers, "message.max.bytes": 2 * LARGEST}
    )
    topic = settings.kafka_inbound_topics[0]
    for number, record in enumerate(hostile):
        producer.produce(topic, key=sku, value=record.value, headers=record.named())
        data = f'{{"order_id":"order-{number}","sku":"{sku}","qty":1}}'
        extra = EXTRA_HEADERS[number % len(EXTRA_HEADERS)]
        producer.produce(topic, key=sku, value=data, headers=_message(*extra))  # type: ignore[arg-type]
        producer.poll(0)
    assert producer.flush(20) == 0


async def _letters(settings: Settings) -> list[tuple[bytes, str]]:
    async with raw_connection(settings.database_url.get_secret_value()) as connection:
        return [tuple(row) for row in await connection.fetch("SELECT value, reason FROM dead_letters")]


async def test_hostile_records_become_letters_and_messages_between_them_take_effect(kafka_settings: Settings) -> None:
    sku, hostile = f"sku-{uuid.uuid4().hex}", [*CORPUS, *_noise(100)]
    async with bootstrap(kafka_settings) as service:
        await clients.create_topics(service.kafka, kafka_settings.kafka_inbound_topics)
        async with service.bus, components.running([components.consumer(service)]):
            await service.bus.handle(CreateBatch(ref=f"batch-{sku}", sku=sku, qty=1000), Cause("test", "test"))
            await asyncio.to_thread(_send_among_messages, kafka_settings, hostile, sku)

            async def all_handled() -> bool:
                letters = await _letters(kafka_settings)
                return (await service.queries.product(sku)).allocated_qty == len(letters) == len(hostile)

            # Letters are of no cell, so with several cells their transaction may be later than that of the last record.
            await eventually(all_handled)
    letters = await _letters(kafka_settings)
    assert Counter(value for value, _ in letters) == Counter(record.value for record in hostile)
    assert all(reason for _, reason in letters)
