"""Commands that share a unit of work: one that names its locations does not narrow what the others see."""

from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from app.domain.commands import AddCartItem, Allocate, CheckOutCart, CreateBatch, OrderedLine, PlaceOrder
from app.service_layer.messagebus import MessageBus
from app.service_layer.requests import Outcome, Request
from tests.support.database import bus_over, play
from tests.support.errands import CAUSE


def from_north(order_id: str) -> Allocate:
    return Allocate.model_validate({"order_id": order_id, "sku": "CHAIR", "qty": 1, "from": ["north"]})


async def together(bus: MessageBus, *commands: Any) -> list[Outcome]:
    """The outcomes of the commands in one unit of work."""
    return await bus.handle_group([Request(command, CAUSE) for command in commands])


async def test_a_checkout_beside_a_line_with_locations_finds_stock_anywhere(engine: AsyncEngine) -> None:
    bus = bus_over(engine)
    await play(
        bus,
        CreateBatch(ref="north", sku="CHAIR", qty=3, location="north"),
        CreateBatch(ref="south", sku="CHAIR", qty=10, location="south"),
        AddCartItem(cart_id="cart-1", sku="CHAIR", qty=8, unit_price=1, default_currency="EUR"),
    )
    placed, ordered = await together(bus, from_north("o1"), CheckOutCart(cart_id="cart-1", new_order_id="o2"))
    assert placed.result.allocation.batch_ref == "north"
    assert [line.batch_ref for line in ordered.result.order.lines] == ["south"]


async def test_an_order_beside_a_line_with_locations_finds_stock_anywhere(engine: AsyncEngine) -> None:
    bus = bus_over(engine)
    await play(
        bus,
        CreateBatch(ref="north", sku="CHAIR", qty=3, location="north"),
        CreateBatch(ref="south", sku="CHAIR", qty=10, location="south"),
    )
    order = PlaceOrder(order_id="o2", lines=[OrderedLine(sku="CHAIR", qty=8)])
    placed, ordered = await together(bus, from_north("o1"), order)
    assert placed.result.allocation.batch_ref == "north"
    assert [line.batch_ref for line in ordered.result.order.lines] == ["south"]
