"""Carts whose order is held: repeated, replaced, confirmed, expired."""

from datetime import UTC, datetime, timedelta

import pytest

from app.domain.commands import Allocate, CheckOutCart, CreateBatch, RemoveCartItem, SetCartItem
from app.domain.errors import CartClosedError, CheckoutConflictError, InvalidSkuError, NotHeldError, OutOfStockError
from app.service_layer.cart_results import CartOrdered
from tests.support.messages import Service
from tests.unit.test_handlers_carts import order_of, put

NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)
END = NOW + timedelta(seconds=60)


def check_out(
    hold_for: int | None = 60, *, if_unavailable: str = "backorder", order_id: str | None = None
) -> CheckOutCart:
    return CheckOutCart.model_validate(
        {
            "cart_id": "cart-1",
            "order_id": order_id,
            "new_order_id": "order-1",
            "hold_for": hold_for,
            "if_unavailable": if_unavailable,
        }
    )


def lines_of(ordered: CartOrdered) -> list[tuple[str, int, str, datetime | None]]:
    return [(line.sku, line.qty, line.status, line.held_until) for line in ordered.order.lines]


@pytest.fixture
async def service() -> Service:
    """Ten chairs and two tables; two chairs are in the cart."""
    service = Service()
    service.store.now = NOW
    await service.send(CreateBatch(ref="chairs", sku="CHAIR", qty=10), CreateBatch(ref="tables", sku="TABLE", qty=2))
    await service.send(put("CHAIR", 2))
    service.heard()
    return service


def tick(service: Service, seconds: float) -> None:
    assert service.store.now is not None
    service.store.now += timedelta(seconds=seconds)


async def test_a_hold_is_published_with_its_end_and_a_repetition_never_extends_it(service: Service) -> None:
    held = await order_of(service, check_out())

    assert (held.created, lines_of(held)) == (True, [("CHAIR", 2, "held", END)])
    heard = dict(service.heard())
    assert set(heard) == {"cart_checked_out.v1", "line_held.v1"}
    assert datetime.fromisoformat(heard["cart_checked_out.v1"]["held_until"]) == END
    tick(service, 30)
    again = await order_of(service, check_out())
    assert (again.created, again.order, again.tag) == (False, held.order, held.tag)
    assert service.heard() == []


async def test_a_held_cart_is_confirmed_and_closed(service: Service) -> None:
    await service.send(check_out())
    service.heard()

    firm = await order_of(service, check_out(None))

    assert (firm.created, lines_of(firm)) == (True, [("CHAIR", 2, "allocated", None)])
    heard = service.heard()
    assert [kind for kind, _ in heard] == ["order_placed.v1", "cart_checked_out.v1", "line_allocated.v1"]
    assert heard[1][1]["held_until"] is None
    assert not (await order_of(service, check_out(None))).created
    with pytest.raises(CartClosedError):
        await service.send(check_out(60))


async def test_a_changed_cart_replaces_its_hold(service: Service) -> None:
    await service.send(check_out(), put("CHAIR", 9), put("TABLE", 2))
    service.heard()
    tick(service, 30)

    replaced = await order_of(service, check_out())

    end = END + timedelta(seconds=30)
    assert (replaced.created, lines_of(replaced)) == (True, [("CHAIR", 9, "held", end), ("TABLE", 2, "held", end)])
    assert service.types_heard().count("cart_checked_out.v1") == 1
    await service.send(RemoveCartItem(cart_id="cart-1", sku="CHAIR"))
    assert lines_of(await order_of(service, check_out())) == [("TABLE", 2, "held", end)]
    assert service.store.tables.batches["chairs"].allocated_qty == 0
    assert service.store.tables.carts["cart-1"].order_id == "order-1"


async def test_a_changed_cart_that_no_longer_fits_keeps_its_hold_as_it_was(service: Service) -> None:
    await service.send(check_out(), put("CHAIR", 11))
    before = service.store.tables.carts["cart-1"].version
    service.heard()

    with pytest.raises(OutOfStockError):
        await service.send(check_out())
    with pytest.raises(OutOfStockError):
        await service.send(check_out(None, if_unavailable="reject"))

    assert service.store.tables.lines["order-1", "CHAIR"].held_until == END
    assert service.store.tables.lines["order-1", "CHAIR"].qty == 2
    assert service.store.tables.carts["cart-1"].version == before
    assert set(service.types_heard()) == {"allocation_failed.v1"}


async def test_a_changed_cart_is_placed_firm_as_it_is_now(service: Service) -> None:
    # Only the pieces that the order holds are left for it.
    await service.send(check_out(), Allocate(order_id="other", sku="CHAIR", qty=8), put("CHAIR", 1), put("TABLE", 1))
    service.heard()

    firm = await order_of(service, check_out(None))

    assert lines_of(firm) == [("CHAIR", 1, "allocated", None), ("TABLE", 1, "allocated", None)]
    types = service.types_heard()
    assert (types.count("order_placed.v1"), types.count("cart_checked_out.v1")) == (1, 1)
    assert "order_cancelled.v1" not in types
    assert service.store.tables.carts["cart-1"].status == "closed"


async def test_a_changed_cart_that_no_longer_fits_is_backordered_where_that_is_allowed(service: Service) -> None:
    await service.send(check_out(), put("CHAIR", 11), put("TABLE", 1))
    service.heard()

    firm = await order_of(service, check_out(None))

    assert lines_of(firm) == [("CHAIR", 11, "backordered", None), ("TABLE", 1, "allocated", None)]
    assert "allocation_failed.v1" not in service.types_heard()
    assert service.store.tables.batches["chairs"].allocated_qty == 0


async def test_items_that_fit_keep_their_stock_from_waiting_orders_when_another_is_backordered(
    service: Service,
) -> None:
    await service.send(put("TABLE", 2), check_out(), Allocate(order_id="order-2", sku="TABLE", qty=2))
    await service.send(put("CHAIR", 11))
    service.heard()

    firm = await order_of(service, check_out(None))

    assert lines_of(firm) == [("CHAIR", 11, "backordered", None), ("TABLE", 2, "allocated", None)]
    assert service.store.tables.lines["order-2", "TABLE"].batch_ref is None


async def test_an_unknown_sku_refuses_the_change_and_keeps_the_hold(service: Service) -> None:
    await service.send(check_out(), put("CHAIR", 11), put("LAMP", 1))

    for again in (check_out(), check_out(None)):
        with pytest.raises(InvalidSkuError):
            await service.send(again)

    assert service.store.tables.lines["order-1", "CHAIR"].held_until == END


async def test_an_order_of_which_a_part_is_confirmed_is_not_replaced(service: Service) -> None:
    await service.send(put("TABLE", 1), check_out(), Allocate(order_id="order-1", sku="TABLE", qty=1))
    await service.send(RemoveCartItem(cart_id="cart-1", sku="TABLE"), put("CHAIR", 11))
    service.heard()

    for again in (check_out(), check_out(None)):
        with pytest.raises(NotHeldError):
            await service.send(again)

    assert service.heard() == []
    assert service.store.tables.lines["order-1", "TABLE"].qty == 1


@pytest.mark.parametrize("changes", [(), (put("CHAIR", 3),)])
async def test_after_the_end_of_its_hold_a_cart_is_held_anew(
    service: Service, changes: tuple[SetCartItem, ...]
) -> None:
    await service.send(check_out(), *changes)
    tick(service, 60)
    service.heard()

    again = await order_of(service, check_out())

    assert (again.created, again.order.order_id) == (True, "order-1")
    assert [line.held_until for line in again.order.lines] == [END + timedelta(seconds=60)]
    assert service.types_heard().count("cart_checked_out.v1") == 1


@pytest.mark.parametrize("changes", [(), (put("CHAIR", 3),)])
async def test_after_the_end_of_its_hold_a_firm_checkout_is_an_ordinary_placement(
    service: Service, changes: tuple[SetCartItem, ...]
) -> None:
    await service.send(check_out(), *changes)
    tick(service, 60)
    await service.send(Allocate(order_id="other", sku="CHAIR", qty=10))

    with pytest.raises(OutOfStockError):
        await service.send(check_out(None, if_unavailable="reject"))
    late = await order_of(service, check_out(None))

    assert [line.status for line in late.order.lines] == ["backordered"]
    assert service.store.tables.carts["cart-1"].status == "closed"


async def test_another_order_id_is_refused_while_the_cart_is_held(service: Service) -> None:
    await service.send(check_out(order_id="mine"))
    with pytest.raises(CheckoutConflictError, match="mine"):
        await service.send(check_out(order_id="other"))
    assert not (await order_of(service, check_out(order_id="mine"))).created


async def test_an_order_that_is_firm_is_not_held_but_closes_the_cart(service: Service) -> None:
    await service.send(Allocate(order_id="order-1", sku="CHAIR", qty=2))
    service.heard()

    with pytest.raises(NotHeldError):
        await service.send(check_out(order_id="order-1"))
    assert service.heard() == []
    firm = await order_of(service, check_out(None, order_id="order-1"))

    assert (firm.created, lines_of(firm)) == (True, [("CHAIR", 2, "allocated", None)])
    assert service.store.tables.carts["cart-1"].status == "closed"


async def test_a_hold_that_was_confirmed_elsewhere_is_not_taken_back(service: Service) -> None:
    await service.send(check_out(), Allocate(order_id="order-1", sku="CHAIR", qty=2))

    with pytest.raises(NotHeldError):
        await service.send(check_out())

    assert service.store.tables.carts["cart-1"].status == "checked_out"
    assert (await order_of(service, check_out(None))).created
