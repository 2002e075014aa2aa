"""The inbound consumer while another session locks a product: only the partition of its messages waits."""

import zlib
from collections.abc import AsyncIterator, Iterator

import pytest

from app.adapters.kafka import clients
from app.bootstrap import Service, bootstrap
from app.domain.errors import OrderNotFoundError
from app.entrypoints import components
from app.settings import Settings
from tests.support.database import raw_connection
from tests.support.waiting import eventually
from tests.support.wire import Wire

pytestmark = pytest.mark.kafka

SKUS = [f"SKU-{n}" for n in range(24)]
"""Enough for every partition to have some."""


@pytest.fixture
async def service(kafka_settings: Settings) -> AsyncIterator[Service]:
    async with bootstrap(kafka_settings) as wired:
        await clients.create_topics(wired.kafka, kafka_settings.kafka_inbound_topics)
        yield wired


@pytest.fixture
def wire(kafka_settings: Settings) -> Iterator[Wire]:
    settings = kafka_settings
    upstream = Wire(settings.kafka_bootstrap_servers, settings.kafka_inbound_topics[0], settings.kafka_events_topic)
    yield upstream
    upstream.close()


async def all_have_lines(service: Service, orders: list[str]) -> None:
    async def they_are_there() -> bool:
        try:
            for order in orders:
                await service.queries.allocations(order)
        except OrderNotFoundError:
            return False
        return True

    await eventually(they_are_there)


async def test_messages_for_other_products_are_handled_while_one_product_is_locked(
    service: Service, wire: Wire, database_url: str
) -> None:
    for sku in SKUS:
        wire.send("batch_created.v1", {"ref": f"batch-{sku}", "sku": sku, "qty": 100})
    locked, *others = SKUS
    async with components.running([components.consumer(service)]):
        for sku in SKUS:
            wire.send("allocation_required.v1", {"order_id": f"before-{sku}", "sku": sku, "qty": 1})
        await all_have_lines(service, [f"before-{sku}" for sku in SKUS])

        async with raw_connection(database_url, cell_of=locked) as other, other.transaction():
            await other.execute("SELECT FROM products WHERE sku = $1 FOR UPDATE", locked)
            wire.send("allocation_required.v1", {"order_id": "held", "sku": locked, "qty": 1})
            wire.send("allocation_cancelled.v1", {"order_id": "held", "sku": locked})
            wire.send("allocation_required.v1", {"order_id": "held", "sku": locked, "qty": 2})
            for number in range(3):
                for sku in others:
                    wire.send("allocation_required.v1", {"order_id": f"{number}-{sku}", "sku": sku, "qty": 1})
                # Earlier messages in the partition of the locked product have taken effect as well.
                await all_have_lines(service, [f"{number}-{sku}" for sku in others if not shares(sku, locked)])
            with pytest.raises(OrderNotFoundError):
                await service.queries.allocations("held")

        await all_have_lines(service, ["held", *(f"{number}-{sku}" for number in range(3) for sku in others)])
        (line,) = await service.queries.allocations("held")
        assert line.qty == 2


def shares(sku: str, other: str) -> bool:
    """Whether both SKUs are in one of six partitions, as librdkafka chooses them."""
    return zlib.crc32(sku.encode()) % 6 == zlib.crc32(other.encode()) % 6
