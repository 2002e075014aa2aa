"""Mail over real SMTP: who hears of what, and how often."""

import pytest

from tests.e2e.conftest import WAREHOUSE, World
from tests.support.api import new
from tests.support.waiting import eventually

pytestmark = pytest.mark.kafka

STOCK = "stock@made.com"


async def warehouse_hears(world: World, sku: str) -> None:
    """Place a line that fits and wait for its mail: mails about a SKU come in the order of its events."""
    order = await world.api.order(sku, 1)
    ref = await world.api.batch_of(order)
    assert ref is not None, "the line has to fit"

    async def arrived() -> bool:
        return f"Order {order} allocated to {ref}" in world.mail_box.bodies_to(WAREHOUSE)

    await eventually(arrived)


def news_of(world: World, sku: str) -> int:
    """How often the buyers have been told that a SKU has run out."""
    return world.mail_box.bodies_to(STOCK).count(f"Out of stock for {sku}")


async def test_a_line_that_waits_is_news_to_the_buyers(world: World) -> None:
    sku = new("sku")
    await world.api.record(sku, 5)
    await world.api.order(sku, 6)
    await warehouse_hears(world, sku)
    (mail,) = [mail for mail in world.mail_box.mails if sku in mail.get_content()]
    assert (mail["From"], mail["To"]) == ("allocations@example.com", STOCK)
    assert mail.get_content().strip() == f"Out of stock for {sku}"
    assert mail.get_content_type() == "text/plain"
    assert mail["Subject"]
    assert mail["Date"]
    assert mail["Message-ID"]


async def test_a_refused_line_is_news_too(world: World) -> None:
    sku = new("sku")
    await world.api.record(sku, 5)
    await world.api.allocate(sku, 6, if_unavailable="reject")
    await warehouse_hears(world, sku)
    assert news_of(world, sku) == 1


async def test_a_released_line_that_waits_is_news_too(world: World) -> None:
    sku = new("sku")
    ref = await world.api.record(sku, 5)
    await world.api.order(sku, 4)
    await world.api.change(ref, qty=3)
    await warehouse_hears(world, sku)
    assert news_of(world, sku) == 1


async def test_an_unknown_sku_is_no_news(world: World) -> None:
    sku = new("sku")
    await world.api.allocate(sku, 6, if_unavailable="reject")
    await world.api.record(sku, 5)
    await warehouse_hears(world, sku)
    assert news_of(world, sku) == 0


async def test_the_buyers_are_told_once_until_the_sku_has_been_restocked(world: World) -> None:
    sku = new("sku")
    ref = await world.api.record(sku, 10)
    for qty in (20, 21, 22):
        await world.api.order(sku, qty)
    await warehouse_hears(world, sku)
    assert news_of(world, sku) == 1

    # Neither a cut nor a cancellation nor an arrival restocks.
    held = await world.api.order(sku, 2)
    await world.api.change(ref, qty=8)
    await world.api.cancel(held, sku)
    await world.api.change(ref, eta="2011-01-01")
    await world.api.change(ref, eta=None)
    await world.api.allocate(sku, 30, if_unavailable="reject")
    await warehouse_hears(world, sku)
    assert news_of(world, sku) == 1

    # A new batch does.
    await world.api.record(sku, 3)
    await warehouse_hears(world, sku)
    assert news_of(world, sku) == 1
    await world.api.order(sku, 23)
    await world.api.order(sku, 24)
    await warehouse_hears(world, sku)
    assert news_of(world, sku) == 2

    # And so does a larger quantity, even one that is still smaller than the first.
    await world.api.change(ref, qty=9)
    await world.api.order(sku, 25)
    await warehouse_hears(world, sku)
    assert news_of(world, sku) == 3


async def test_low_stock_is_news_to_the_buyers_once_each_time_that_it_has_become_so(world: World) -> None:
    sku = new("sku")
    await world.api.record(sku, 10)
    await world.api.watch(sku, 5)
    for qty in (5, 1, 1):
        await world.api.order(sku, qty)
    await warehouse_hears(world, sku)
    (mail,) = [mail for mail in world.mail_box.mails if mail["To"] == STOCK and sku in mail.get_content()]
    assert mail.get_content().strip() == mail["Subject"] == f"Low stock for {sku}: 4 left"

    await world.api.record(sku, 3)
    await world.api.order(sku, 2)
    await warehouse_hears(world, sku)
    told = [body for body in world.mail_box.bodies_to(STOCK) if sku in body]
    assert told == [f"Low stock for {sku}: 4 left", f"Low stock for {sku}: 3 left"]


async def test_one_sku_says_nothing_of_another(world: World) -> None:
    skus = [new("sku"), new("sku")]
    for sku in skus:
        await world.api.record(sku, 5)
        await world.api.order(sku, 6)
    await world.api.record(skus[0], 5)
    await world.api.order(skus[1], 7)
    for sku in skus:
        await warehouse_hears(world, sku)
    assert [news_of(world, sku) for sku in skus] == [1, 1]


async def test_the_warehouse_hears_of_each_allocation_once(world: World) -> None:
    sku = new("sku")
    first = await world.api.record(sku, 5)
    order = await world.api.order(sku, 5)
    second = await world.api.record(sku, 6, eta="2011-01-01")
    await world.api.allocate(sku, 5, order_id=order)
    await world.api.change(first, qty=4)
    await warehouse_hears(world, sku)
    told = [body for body in world.mail_box.bodies_to(WAREHOUSE) if order in body]
    assert told == [f"Order {order} allocated to {first}", f"Order {order} allocated to {second}"]
    (mail, _) = [mail for mail in world.mail_box.mails if order in mail.get_content()]
    assert (mail["From"], mail["To"]) == ("allocations@example.com", WAREHOUSE)
