"""The rows that commands lock and read before their handlers run.

A whole group of commands is locked and read with a fixed number of statements, so the rows of all of them are collected
first.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from app.domain.carts import Cart
from app.domain.commands import (
    AddCartItem,
    Allocate,
    AllocateMany,
    CancelAllocation,
    CancelOrder,
    ChangeBatch,
    ChangeBatchEta,
    ChangeBatchIfMatch,
    ChangeBatchQuantity,
    ChangeBatchTerms,
    ChangeLineQuantity,
    CheckOutCart,
    Command,
    CountBatch,
    CountProduct,
    CountProductIfMatch,
    CreateBatch,
    CreateBatches,
    CreateBatchIfMatch,
    ExpireHolds,
    HoldOrder,
    PlaceOrder,
    Redistribute,
    RemoveCartItem,
    ServeBackorders,
    SetCartItem,
    SetReorderPoint,
    ShipLine,
    TransferBatch,
)
from app.domain.stock import line_key
from app.integration.dead_letters import KeepDeadLetter


@dataclass(slots=True)
class LockSet:
    """The rows that a group of commands needs.

    `skus` are products to lock, `batch_refs` batches whose product is to be found and locked, `batches_to_create`
    pairs of ref and SKU that a handler may record, `skus_to_create` products that a handler may create without naming
    a batch, `lines` pairs of the key of a line and SKU. `orders` are orders as a whole:
    they are locked, and the repository of orders adds each of their lines to `lines`.

    `locations` are pairs of SKU and location: products to lock as well, for lines that may come from these locations
    only. Of a product that is not in `skus`, batches elsewhere need not be read.

    `carts` are locked by name. `cart_items` are pairs of cart id and SKU that a handler may put into the cart,
    `checkouts` pairs of cart id and the order id for a cart that has none: the repository of carts adds the orders,
    products and lines that these checkouts need.

    A pair in `batches_to_create` records nothing yet: its command may be refused, and another command may record the
    ref for another SKU.
    """

    skus: set[str] = field(default_factory=set)
    batch_refs: set[str] = field(default_factory=set)
    batches_to_create: set[tuple[str, str]] = field(default_factory=set)
    skus_to_create: set[str] = field(default_factory=set)
    lines: set[tuple[str, str]] = field(default_factory=set)
    locations: set[tuple[str, str]] = field(default_factory=set)
    orders: set[str] = field(default_factory=set)
    carts: set[str] = field(default_factory=set)
    cart_items: set[tuple[str, str]] = field(default_factory=set)
    checkouts: set[tuple[str, str]] = field(default_factory=set)

    @property
    def products(self) -> set[str]:
        """The SKUs of all products to lock, but those of `batch_refs`."""
        return self.skus.union(sku for sku, _ in self.locations)

    @property
    def has_unknown_products(self) -> bool:
        """Whether some products are found only by reading rows: those of a batch ref, of an order or of a cart."""
        return bool(self.batch_refs or self.orders or self.checkouts)

    @classmethod
    def of(cls, commands: Iterable[Command]) -> Self:
        """The rows that the commands need."""
        locks = cls()
        for command in commands:
            locks.add(command)
        return locks

    def add(self, command: Command) -> None:
        """Add the rows that the command needs, by the table `LOCKS` below. A command without an entry locks nothing."""
        add = LOCKS.get(type(command))
        if add is not None:
            add(command, self)

    def add_checkouts(self, stored: Mapping[str, Cart]) -> dict[str, set[str]]:
        """Add what the checkouts need of these carts, as they are stored; returns the orders that each may place.

        A handler that runs before the checkout may put further SKUs into the cart.
        """
        skus: defaultdict[str, set[str]] = defaultdict(set)
        for cart_id, sku in self.cart_items:
            skus[cart_id].add(sku)
        orders: defaultdict[str, set[str]] = defaultdict(set)
        for cart_id, new_order_id in self.checkouts:
            cart = stored.get(cart_id)
            order_id = new_order_id
            if cart is not None:
                order_id = cart.order_id or new_order_id
                skus[cart_id].update(item.sku for item in cart.items)
            orders[cart_id].add(order_id)
            self.orders.add(order_id)
            self.skus |= skus[cart_id]
            self.lines.update((order_id, sku) for sku in skus[cart_id])
        return orders


def _placed(sku: str, locations: tuple[str, ...], locks: LockSet) -> None:
    if locations:
        locks.locations.update((sku, location) for location in locations)
    else:
        locks.skus.add(sku)


def _product(
    command: CountProductIfMatch | ExpireHolds | Redistribute | ServeBackorders | SetReorderPoint, locks: LockSet
) -> None:
    locks.skus.add(command.sku)


def _new_product(command: CountProduct, locks: LockSet) -> None:
    locks.skus.add(command.sku)
    locks.skus_to_create.add(command.sku)


def _line(command: CancelAllocation | ChangeLineQuantity | ShipLine, locks: LockSet) -> None:
    locks.skus.add(command.sku)
    locks.lines.add((command.key, command.sku))


def _placed_line(command: Allocate, locks: LockSet) -> None:
    _placed(command.sku, command.requirements.locations, locks)
    locks.lines.add((command.key, command.sku))


def _batch(command: ChangeBatch | ChangeBatchEta | ChangeBatchQuantity | CountBatch, locks: LockSet) -> None:
    locks.batch_refs.add(command.ref)


def _two_batches(command: TransferBatch, locks: LockSet) -> None:
    locks.batch_refs.update((command.source_ref, command.ref))


def _new_batch(command: CreateBatch, locks: LockSet) -> None:
    locks.skus.add(command.sku)
    locks.batch_refs.add(command.ref)
    locks.batches_to_create.add((command.ref, command.sku))


def _ordered_lines(command: HoldOrder | PlaceOrder, locks: LockSet) -> None:
    locks.orders.add(command.order_id)
    for line in command.lines or ():
        # A hold of other lines releases stock.
        locations = line.requirements.locations if isinstance(command, PlaceOrder) else ()
        _placed(line.sku, locations, locks)
        locks.lines.add((line_key(command.order_id, line.line), line.sku))


def _order(command: CancelOrder, locks: LockSet) -> None:
    locks.orders.add(command.order_id)


def _cart_item(command: AddCartItem | SetCartItem, locks: LockSet) -> None:
    locks.carts.add(command.cart_id)
    locks.cart_items.add((command.cart_id, command.sku))


def _cart(command: RemoveCartItem, locks: LockSet) -> None:
    locks.carts.add(command.cart_id)


def _checkout(command: CheckOutCart, locks: LockSet) -> None:
    locks.carts.add(command.cart_id)
    locks.checkouts.add((command.cart_id, command.order_id or command.new_order_id))


def _items(command: AllocateMany | CreateBatches, locks: LockSet) -> None:
    for item in command.items:
        locks.add(item)


def _nothing(command: KeepDeadLetter, locks: LockSet) -> None:
    """The database keeps each dead letter once without a lock."""


LOCKS: dict[type[Command], Callable[[Any, LockSet], None]] = {
    AddCartItem: _cart_item,
    Allocate: _placed_line,
    AllocateMany: _items,
    CancelAllocation: _line,
    CancelOrder: _order,
    ChangeBatch: _batch,
    ChangeBatchEta: _batch,
    ChangeBatchIfMatch: _batch,
    ChangeBatchQuantity: _batch,
    ChangeBatchTerms: _batch,
    ChangeLineQuantity: _line,
    CountBatch: _batch,
    CountProduct: _new_product,
    CountProductIfMatch: _product,
    CheckOutCart: _checkout,
    CreateBatch: _new_batch,
    CreateBatches: _items,
    CreateBatchIfMatch: _new_batch,
    ExpireHolds: _product,
    HoldOrder: _ordered_lines,
    KeepDeadLetter: _nothing,
    PlaceOrder: _ordered_lines,
    Redistribute: _product,
    RemoveCartItem: _cart,
    ServeBackorders: _product,
    SetCartItem: _cart_item,
    SetReorderPoint: _product,
    ShipLine: _line,
    TransferBatch: _two_batches,
}
"""What each command locks, by its type."""
