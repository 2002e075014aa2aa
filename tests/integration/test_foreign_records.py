"""Records that others write: in any codec, with headers of any name."""

import asyncio
import uuid

import confluent_kafka
import pytest

from app.bootstrap import bootstrap
from app.domain.commands import CreateBatch
from app.entrypoints import components
from app.service_layer.ports import Cause
from app.settings import Settings
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

        await eventually(all_there, seconds=20)


@pytest.mark.parametrize("codec", ["none", "gzip", "snappy", "lz4", "zstd"])
async def test_records_in_any_codec_are_read(kafka_settings: Settings, codec: str) -> None:
    orders = {"order-0", "order-1", "order-2"}
    await _orders_arrive(kafka_settings, f"sku-{uuid.uuid4().hex}", orders, {"compression.type": codec})
