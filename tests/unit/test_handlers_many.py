"""Many commands in one: one unit of work, an answer for each, and the event loop is not kept from others."""

import asyncio
from typing import Any

from app.domain.commands import MOST_ITEMS, Allocate, AllocateMany, CreateBatch, CreateBatches, SetReorderPoint
from app.domain.errors import DomainError
from app.service_layer.results import BatchRecorded, LineAccepted
from tests.support.messages import Service

SKU = "COMPLICATED-LAMP"


def lines(number: int, qty: int = 1) -> tuple[Allocate, ...]:
    return tuple(Allocate(order_id=f"order-{row}", sku=SKU, qty=qty) for row in range(number))


def codes(found: list[Any]) -> list[Any]:
    """The code of each refusal; of the others, whether something was recorded or changed."""

    def code(answer: BatchRecorded | LineAccepted | DomainError) -> str | bool:
        if isinstance(answer, DomainError):
            return answer.code
        return answer.created if isinstance(answer, BatchRecorded) else answer.changed

    return [code(answer) for answer in found]


async def test_they_share_a_unit_of_work_and_publish_what_single_ones_publish() -> None:
    one_by_one, at_once = Service(), Service()
    batches = (CreateBatch(ref="b1", sku=SKU, qty=2), CreateBatch(ref="b1", sku=SKU, qty=3))
    wanted = (*lines(3), Allocate(order_id="order-1", sku=SKU, qty=9), Allocate(order_id="x", sku="NONE", qty=1))

    expected = [await one_by_one.send_group(*items) for items in (batches, wanted)]
    found = [await at_once.send(many) for many in (CreateBatches(items=batches), AllocateMany(items=wanted))]

    assert codes(found[0]) == [True, "batch-conflict"]
    assert codes(found[1]) == [True, True, True, "allocation-conflict", "invalid-sku"]
    for answers, answered in zip(expected, found, strict=True):
        assert answers == [answer.code if isinstance(answer, DomainError) else answer for answer in answered]
    # There is no order between the events of two products.
    published = [sorted(service.heard(), key=lambda event: event[1]["sku"]) for service in (one_by_one, at_once)]
    assert published[0] == published[1]
    assert at_once.store.commits == 2


async def test_a_batch_serves_the_queue_before_the_next_is_recorded() -> None:
    service = Service()
    await service.send(CreateBatch(ref="b0", sku=SKU, qty=1), *lines(3, qty=2))

    recorded = await service.send(CreateBatches(items=tuple(CreateBatch(ref=f"b{n}", sku=SKU, qty=2) for n in (1, 2))))

    assert [answer.batch.allocated_qty for answer in recorded] == [2, 2]


async def test_others_have_their_turn_while_many_run() -> None:
    service = Service()
    await service.send(CreateBatch(ref="b1", sku=SKU, qty=MOST_ITEMS))
    running = asyncio.create_task(service.send(AllocateMany(items=lines(MOST_ITEMS))))
    turns = 0
    while not running.done():
        await asyncio.sleep(0)
        turns += 1

    assert codes(await running) == [True] * MOST_ITEMS
    assert turns >= 10


async def test_low_stock_follows_the_line_that_caused_it() -> None:
    service = Service()
    await service.send(CreateBatch(ref="b1", sku=SKU, qty=5), SetReorderPoint(sku=SKU, qty=5))
    service.heard()

    await service.send(AllocateMany(items=lines(2, qty=4)))

    assert service.types_heard() == ["line_allocated.v1", "low_stock.v1", "out_of_stock.v1", "line_backordered.v1"]
