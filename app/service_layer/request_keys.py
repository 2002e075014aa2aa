"""The rows that requests work on: requests with a common row keep their order, others are independent."""

import itertools
from collections.abc import Sequence

from app.domain.commands import Command
from app.service_layer.lock_sets import LockSet
from app.service_layer.ports import TemporarilyUnavailableError, UnitOfWork
from app.service_layer.requests import Request

Key = tuple[str, str]
"""What a request works on: "sku", "ref", "order" or "message", and its name."""


def parts_of(group: Sequence[Request], error: TemporarilyUnavailableError) -> list[Sequence[Request]]:
    """The parts to run one after another after a fault of some rows; one part where splitting does not help.

    Requests keep their order, so a part is a sequence of consecutive requests.
    """
    if error.timed_out and len(group) > 1:
        half = len(group) // 2
        return [group[:half], group[half:]]
    return [list(part) for _, part in itertools.groupby(group, lambda request: request.command.routing_key)]


def keys_of(command: Command, uow: UnitOfWork | None = None) -> set[Key]:
    """What the command works on: products, batches and orders; with the products that `uow` has resolved these to."""
    locks = LockSet.of([command])
    keys = {("ref", ref) for ref in locks.batch_refs} | {("order", order_id) for order_id in locks.orders}
    skus = set(locks.skus)
    if uow is not None:
        skus.update(sku for ref in locks.batch_refs if (sku := uow.products.sku_of_batch(ref)) is not None)
        skus.update(sku for order_id in locks.orders for sku in uow.orders.skus(order_id))
    return keys | {("sku", sku) for sku in skus}
