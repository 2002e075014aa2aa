"""Mail over real SMTP: recipients, occasions and the number of mails."""

import pytest

from tests.e2e.conftest import WAREHOUSE, World
from tests.support.api import new
from tests.support.waiting import eventually

pytestmark = pytest.mark.kafka

STOCK = "stock@made.com"


async def warehouse_gets_mail(world: World, sku: str) -> None:
    """Place a line that fits and wait for its mail, which comes after all earlier mail about the SKU."""
    order = await world.api.order(sku, 1)
    ref = await world.api.batch_of(order)
    assert ref is not None, "the line has to fit"

    async def arrived() -> bool:
        return f"Order {order} allocated to {ref}" in world.mail_box.bodies_to(WAREHOUSE)

    await eventually(arrived)


def mails_about(world: World, sku: str) -> int:
    """The number of mails to the buyers saying that a SKU is out of stock."""
    return world.mail_box.bodies_to(STOCK).count(f"Out of stock for {sku}")


async def test_the_buyers_get_mail_about_a_backordered_line(world: World) -> None:
    sku = new("sku")
    await world.api.record(sku, 5)
    await world.api.order(sku, 6)
    await warehouse_gets_mail(world, sku)
    (mail,) = [mail for mail in world.mail_box.mails if sku in mail.get_content()]
    assert (mail["From"], mail["To"]) == ("allocations@example.com", STOCK)
    assert mail.get_content().strip() == f"Out of stock for {sku}"
    assert mail.get_content_type() == "text/plain"
    assert mail["Subject"]
    assert mail["Date"]
    assert mail["Message-ID"]


async def test_the_buyers_get_mail_about_a_refused_line(world: World) -> None:
    sku = new("sku")
    await world.api.record(sku, 5)
    await world.api.allocate(sku, 6, if_unavailable="reject")
    await warehouse_gets_mail(world, sku)
    assert mails_about(world, sku) == 1


async def test_the_buyers_get_mail_about_a_released_line_that_waits(world: World) -> None:
    sku = new("sku")
    ref = await world.api.record(sku, 5)
    await world.api.order(sku, 4)
    await world.api.change(ref, qty=3)
    await warehouse_gets_mail(world, sku)
    assert mails_about(world, sku) == 1


async def test_an_unknown_sku_causes_no_mail(world: World) -> None:
    sku = new("sku")
    await world.api.allocate(sku, 6, if_unavailable="reject")
    await world.api.record(sku, 5)
    await warehouse_gets_mail(world, sku)
    assert mails_about(world, sku) == 0


async def test_the_buyers_get_one_mail_until_the_sku_is_restocked(world: World) -> None:
    sku = new("sku")
    ref = await world.api.record(sku, 10)
    for qty in (20, 21, 22):
        await world.api.order(sku, qty)
    await warehouse_gets_mail(world, sku)
    assert mails_about(world, sku) == 1

    # Neither a cut nor a cancellation nor an arrival restocks.
    held = await world.api.order(sku, 2)
    await world.api.change(ref, qty=8)
    await world.api.cancel(held, sku)
    await world.api.change(ref, eta="2011-01-01")
    await world.api.change(ref, eta=None)
    await world.api.allocate(sku, 30, if_unavailable="reject")
    await warehouse_gets_mail(world, sku)
    assert mails_about(world, sku) == 1

    # A new batch does.
    await world.api.record(sku, 3)
    await warehouse_gets_mail(world, sku)
    assert mails_about(world, sku) == 1
    await world.api.order(sku, 23)
    await world.api.order(sku, 24)
    await warehouse_gets_mail(world, sku)
    assert mails_about(world, sku) == 2

    # And so does a larger quantity, even one that is still smaller than the first.
    await world.api.change(ref, qty=9)
    await world.api.order(sku, 25)
    await warehouse_gets_mail(world, sku)
    assert mails_about(world, sku) == 3


async def test_the_buyers_get_one_mail_each_time_that_stock_becomes_low(world: World) -> None:
    sku = new("sku")
    await world.api.record(sku, 10)
    await world.api.watch(sku, 5)
    for qty in (5, 1, 1):
        await world.api.order(sku, qty)
    await warehouse_gets_mail(world, sku)
    (mail,) = [mail for mail in world.mail_box.mails if mail["To"] == STOCK and sku in mail.get_content()]
    assert mail.get_content().strip() == mail["Subject"] == f"Low stock for {sku}: 4 left"

    await world.api.record(sku, 3)
    await world.api.order(sku, 2)
    await warehouse_gets_mail(world, sku)
    bodies = [body for body in world.mail_box.bodies_to(STOCK) if sku in body]
    assert bodies == [f"Low stock for {sku}: 4 left", f"Low stock for {sku}: 3 left"]


async def test_each_sku_causes_mail_of_its_own(world: World) -> None:
    skus = [new("sku"), new("sku")]
    for sku in skus:
        await world.api.record(sku, 5)
        await world.api.order(sku, 6)
    await world.api.record(skus[0], 5)
    await world.api.order(skus[1], 7)
    for sku in skus:
        await warehouse_gets_mail(world, sku)
    assert [mails_about(world, sku) for sku in skus] == [1, 1]


async def test_the_warehouse_gets_one_mail_per_allocation(world: World) -> None:
    sku = new("sku")
    first = await world.api.record(sku, 5)
    order = await world.api.order(sku, 5)
    second = await world.api.record(sku, 6, eta="2011-01-01")
    await world.api.allocate(sku, 5, order_id=order)
    await world.api.change(first, qty=4)
    await warehouse_gets_mail(world, sku)
    bodies = [body for body in world.mail_box.bodies_to(WAREHOUSE) if order in body]
    assert bodies == [f"Order {order} allocated to {first}", f"Order {order} allocated to {second}"]
    (mail, _) = [mail for mail in world.mail_box.mails if order in mail.get_content()]
    assert (mail["From"], mail["To"]) == ("allocations@example.com", WAREHOUSE)
