"""Carts: commands in, outcomes and published messages out."""

import pytest

from app.domain.commands import (
    AddCartItem,
    CancelOrder,
    CheckOutCart,
    Command,
    PlaceOrder,
    RemoveCartItem,
    SetCartItem,
)
from app.domain.errors import CartNotFoundError, DomainError, OrderNotFoundError, OutOfStockError
from app.service_layer.cart_results import CartOrdered
from tests.support.messages import Service


def put(sku: str, qty: int, unit_price: int = 100, *, cart: str = "cart-1") -> SetCartItem:
    return SetCartItem(cart_id=cart, sku=sku, qty=qty, unit_price=unit_price, default_currency="EUR")


def add(sku: str, qty: int, unit_price: int = 100) -> AddCartItem:
    return AddCartItem(cart_id="cart-1", sku=sku, qty=qty, unit_price=unit_price, default_currency="EUR")


def check_out(new_order_id: str = "new-1", *, order_id: str | None = None, **more: str) -> CheckOutCart:
    values = {"cart_id": "cart-1", "new_order_id": new_order_id, **more}
    return CheckOutCart.model_validate(values if order_id is None else {**values, "order_id": order_id})


@pytest.fixture
async def service() -> Service:
    return await Service.with_chairs_and_tables()


async def order_of(service: Service, command: Command) -> CartOrdered:
    ordered = await service.send(command)
    assert isinstance(ordered, CartOrdered)
    return ordered


async def test_a_checkout_publishes_the_order_and_the_cart_and_a_repetition_nothing(service: Service) -> None:
    await service.send(put("TABLE", 3, 5), put("CHAIR", 2))
    assert service.heard() == []

    ordered = await order_of(service, check_out())

    assert (ordered.created, ordered.order.order_id, ordered.order.total) == (True, "new-1", 215)
    heard = service.heard()
    assert heard[:2] == [
        (
            "order_placed.v1",
            {"order_id": "new-1", "lines": [{"sku": "CHAIR", "qty": 2}, {"sku": "TABLE", "qty": 3}]},
        ),
        (
            "cart_checked_out.v1",
            {
                "order_id": "new-1",
                "cart_id": "cart-1",
                "currency": "EUR",
                "total": 215,
                "items": [
                    {"sku": "CHAIR", "qty": 2, "unit_price": 100},
                    {"sku": "TABLE", "qty": 3, "unit_price": 5},
                ],
                "held_until": None,
            },
        ),
    ]
    assert sorted(kind for kind, _ in heard[2:]) == ["line_allocated.v1", "line_backordered.v1", "out_of_stock.v1"]
    assert service.store.published[-5].subject == service.store.published[-4].subject == "new-1"
    again = await order_of(service, check_out("new-2"))
    assert (again.created, again.order, again.tag) == (False, ordered.order, ordered.tag)
    assert service.heard() == []


async def test_the_commands_of_one_group_see_each_other(service: Service) -> None:
    answers = await service.send_group(
        put("CHAIR", 2), add("CHAIR", 1), put("TABLE", 1), check_out("new-1"), put("LAMP", 1), check_out("new-2")
    )

    assert answers[4] == "cart-closed"
    assert [(line.sku, line.qty) for line in answers[3].order.lines] == [("CHAIR", 3), ("TABLE", 1)]
    assert (answers[5].created, answers[5].order) == (False, answers[3].order)


async def test_a_refused_first_item_makes_no_cart(service: Service) -> None:
    answers = await service.send_group(put("CHAIR", 2, 2**53 - 1), RemoveCartItem(cart_id="cart-1", sku="CHAIR"))
    assert answers == ["cart-limit-exceeded", None]
    with pytest.raises(CartNotFoundError):
        await service.send(check_out())


async def test_a_refused_checkout_keeps_no_order_id(service: Service) -> None:
    await service.send(put("TABLE", 3))
    with pytest.raises(OutOfStockError):
        await service.send(check_out("new-1", order_id="order-1", if_unavailable="reject"))
    assert service.types_heard() == ["order_refused.v1", "out_of_stock.v1", "allocation_failed.v1"]

    ordered = await order_of(service, check_out("new-2"))
    assert ordered.order.order_id == "new-2"


async def test_an_order_that_was_placed_before_closes_the_cart(service: Service) -> None:
    lines = [{"sku": "CHAIR", "qty": 2}]
    await service.send(put("CHAIR", 2), PlaceOrder.model_validate({"order_id": "order-1", "lines": lines}))
    service.heard()

    ordered = await order_of(service, check_out(order_id="order-1"))

    assert ordered.created
    assert service.types_heard() == ["cart_checked_out.v1"]


async def test_a_cancelled_order_is_not_placed_again(service: Service) -> None:
    await service.send(put("CHAIR", 2), check_out(), CancelOrder(order_id="new-1"))
    service.heard()

    with pytest.raises(OrderNotFoundError):
        await service.send(check_out())
    assert service.heard() == []


async def test_another_order_id_is_refused(service: Service) -> None:
    await service.send(put("CHAIR", 2), check_out(order_id="order-1"))
    with pytest.raises(DomainError, match="order-1"):
        await service.send(check_out(order_id="order-2"))
