"""Carts, holds and stock together: whatever happens in whatever order, a refusal changes nothing, and sums agree."""

import asyncio
import copy
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.commands import (
    AddCartItem,
    Allocate,
    CancelAllocation,
    CancelOrder,
    CheckOutCart,
    Command,
    CreateBatch,
    RemoveCartItem,
    SetCartItem,
)
from app.domain.errors import DomainError
from app.service_layer.cart_results import CartOrdered
from tests.support.fake_tables import Tables
from tests.support.messages import Service

SKUS = ("CHAIR", "TABLE")
CARTS = ("cart-1", "cart-2", "cart-3")
skus, carts, few = st.sampled_from(SKUS), st.sampled_from(CARTS), st.integers(1, 6)
orders = st.sampled_from(("order-cart-1", "order-cart-2", "other"))


def items(kind: type[SetCartItem | AddCartItem]) -> st.SearchStrategy[Command]:
    values = {"cart_id": carts, "sku": skus, "qty": few, "unit_price": st.integers(0, 1)}
    return st.builds(kind, **values, default_currency=st.just("EUR"))


def check_out(cart_id: str, hold_for: int | None, if_unavailable: str, order_id: str | None) -> CheckOutCart:
    values = {"cart_id": cart_id, "hold_for": hold_for, "if_unavailable": if_unavailable, "order_id": order_id}
    return CheckOutCart.model_validate({**values, "new_order_id": f"order-{cart_id}"})


terms = (carts, st.sampled_from((10, 10, None)), st.sampled_from(("backorder", "reject")))
checkouts = st.builds(check_out, *terms, st.none()) | st.builds(check_out, *terms, st.none() | orders)
commands = st.one_of(
    items(SetCartItem),
    items(SetCartItem),
    items(AddCartItem),
    checkouts,
    checkouts,
    st.builds(RemoveCartItem, cart_id=carts, sku=skus, qty=st.none() | few),
    checkouts,
    checkouts,
    st.builds(Allocate, order_id=orders, sku=skus, qty=few),
    st.builds(CancelAllocation, order_id=orders, sku=skus),
    st.builds(CancelOrder, order_id=orders),
    st.integers(1, 10),
)


def business_state(tables: Tables) -> tuple[Any, ...]:
    """What callers see of stock and carts."""
    shown = {cart_id: (cart.items, cart.version, cart.status, cart.order_id) for cart_id, cart in tables.carts.items()}
    return copy.deepcopy((tables.batches, tables.lines, shown))


def check(service: Service, command: Command, outcome: Any) -> None:  # noqa: ANN401 - a result of any command
    tables = service.store.tables
    for ref, batch in tables.batches.items():
        lines = [row for row in tables.lines.values() if row.batch_ref == ref]
        assert batch.allocated_qty == sum(row.qty for row in lines) <= batch.qty
    if isinstance(command, CheckOutCart) and isinstance(outcome, CartOrdered):
        cart = tables.carts[command.cart_id]
        order = outcome.order
        assert order.total == cart.total
        assert cart.order_id == order.order_id
        if outcome.created:
            # A line that was placed on its own under the id of the order is one of its lines as well.
            assert {(line.sku, line.qty) for line in order.lines} >= {(item.sku, item.qty) for item in cart.items}
            # Only now: another cart may hold lines under the order id of a cart that is closed.
            is_held = any(line.status == "held" for line in order.lines)
            assert cart.status == ("checked_out" if is_held else "closed")
        assert command.hold_for is not None or cart.status == "closed"


async def play(story: list[Command | int]) -> Counter[str]:
    service = Service()
    service.store.now = datetime(2030, 1, 1, tzinfo=UTC)
    await service.send(*(CreateBatch(ref=f"{sku}-{qty}", sku=sku, qty=qty) for sku in SKUS for qty in (4, 6)))
    first = {"sku": "CHAIR", "qty": 2, "unit_price": 1, "default_currency": "EUR"}
    await service.send(*(SetCartItem.model_validate({"cart_id": cart_id, **first}) for cart_id in CARTS))
    seen: Counter[str] = Counter()
    for command in story:
        if isinstance(command, int):
            service.store.now += timedelta(seconds=command)
            continue
        before = business_state(service.store.tables)
        service.heard()
        try:
            outcome = await service.send(command)
        except DomainError as refusal:
            outcome = refusal
            label = refusal.code
        else:
            label = "ok"
        published = service.types_heard()
        if label != "ok" and "hold_released.v1" not in published:
            # Holds whose time is over end before the command runs.
            assert business_state(service.store.tables) == before, (command, label)
        if label != "ok" or not isinstance(command, CheckOutCart):
            assert "cart_checked_out.v1" not in published
        elif isinstance(outcome, CartOrdered):
            assert published.count("cart_checked_out.v1") == outcome.created
            again = await service.send(command)
            assert (again.created, again.order) == (False, outcome.order) or outcome.order.lines != again.order.lines
        check(service, command, outcome)
        seen[f"{type(command).__name__} {label}"] += 1
    return seen


@settings(max_examples=50, deadline=None)
@given(st.lists(commands, min_size=15, max_size=40))
def test_a_refusal_changes_nothing_and_a_checkout_orders_what_the_cart_has(story: list[Command | int]) -> None:
    asyncio.run(play(story))
