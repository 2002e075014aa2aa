"""The rows that requests work on: requests with a common row keep their order, others are independent."""

import itertools
from collections.abc import Sequence

from app.domain.commands import Command
from app.service_layer.lock_sets import LockSet
from app.service_layer.ports import TemporarilyUnavailableError, UnitOfWork
from app.service_layer.requests import Request

Key = tuple[str, str]
"""What a request works on: "sku", "ref", "order", "cart" or "message", and its name."""


def parts_of(group: Sequence[Request], error: TemporarilyUnavailableError) -> list[Sequence[Request]]:
    """The parts to run one after another after a fault of some rows; one part where splitting does not help.

    Requests keep their order, so a part is a sequence of consecutive requests.
    """
    if error.timed_out and len(group) > 1:
        half = len(group) // 2
        return [group[:half], group[half:]]
    return [list(part) for _, part in itertools.groupby(group, lambda request: request.command.routing_key)]


def keys_of(command: Command, uow: UnitOfWork | None = None) -> set[Key]:
    """What the command works on: products, batches, orders and carts.

    With `uow` also what that has resolved these to: the products, and the order of a cart that is checked out.
    """
    locks = LockSet.of([command])
    skus = locks.products
    keys = {("ref", ref) for ref in locks.batch_refs} | {("cart", cart_id) for cart_id in locks.carts}
    if uow is not None:
        for cart_id, _ in locks.checkouts:
            locks.orders.update(uow.carts.orders_of_checkout(cart_id))
        skus.update(sku for ref in locks.batch_refs if (sku := uow.products.sku_of_batch(ref)) is not None)
        skus.update(sku for order_id in locks.orders for sku, _ in uow.orders.lines(order_id))
    return keys | {("order", order_id) for order_id in locks.orders} | {("sku", sku) for sku in skus}
