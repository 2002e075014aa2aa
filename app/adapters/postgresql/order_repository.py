"""The repository of orders over PostgreSQL: what was placed under which id."""

import json
from collections import defaultdict
from collections.abc import Container, Iterable, Sequence

from app.adapters.postgresql import statements
from app.adapters.postgresql.pipelined_connection import PipelinedConnection
from app.adapters.postgresql.rows import OrderKey, OrderRow
from app.adapters.postgresql.writes import DELETE_ORDERS, UPSERT_ORDERS, Writes
from app.domain.orders import PlacedOrder
from app.domain.stock import line_key, split_line_key
from app.service_layer.lock_sets import LockSet


class SqlOrderRepository:
    """Implements `OrderRepository` in the transaction of the connection.

    An order may be locked before there is a row of it, so the lock is one on its name: an advisory lock, which ends
    with the transaction.
    """

    def __init__(self, connection: PipelinedConnection, *, locking: bool = True) -> None:
        self._connection = connection
        self._is_locking = locking
        self._stored: dict[str, PlacedOrder] = {}
        self._placed: dict[str, PlacedOrder] = {}
        self._lines: dict[str, set[tuple[str, str]]] = defaultdict(set)

    async def load(self, locks: LockSet) -> None:
        """Lock and fetch the orders, before products: a transaction that holds a product never waits for an order."""
        await self.lock(locks.orders)
        await self.fetch(locks)
        self.take_lines(locks.orders, locks)

    async def lock(self, order_ids: Iterable[str]) -> None:
        """Lock the orders in an order that is the same everywhere, as that of the products is."""
        if self._is_locking:
            lock_numbers = sorted({statements.lock_number("order", order_id) for order_id in order_ids})
            await self._connection.execute(statements.LOCK_NAMES, lock_numbers)

    async def fetch(self, locks: LockSet) -> None:
        """Fetch the orders, and add to the lock set their lines."""
        for order_id, lines, sku, line in await self._connection.fetch(statements.ORDERS, list(locks.orders)):
            if lines is not None and order_id not in self._stored:
                self._stored[order_id] = _decode(order_id, lines)
            if sku is not None:
                locks.skus.add(sku)
                locks.lines.add((line_key(order_id, line), sku))
        self._placed = dict(self._stored)

    def take_lines(self, order_ids: Container[str], locks: LockSet) -> None:
        """Take the lines of the orders from the complete lock set."""
        for key, sku in locks.lines:
            order_id, _ = split_line_key(key)
            if order_id in order_ids:
                self._lines[order_id].add((sku, key))

    def placed(self, order_id: str) -> PlacedOrder | None:
        """What was placed under the id last."""
        return self._placed.get(order_id)

    def lines(self, order_id: str) -> Sequence[tuple[str, str]]:
        """SKU and key of each line that the order had or gets in this group."""
        return sorted(self._lines[order_id])

    def place(self, order: PlacedOrder) -> None:
        """Remember what the order is made of."""
        self._placed[order.order_id] = order

    def forget(self, order_id: str) -> None:
        """Forget what the order was made of."""
        self._placed.pop(order_id, None)

    def changes(self) -> Writes:
        """The writes of orders that were placed or forgotten."""
        stored = self._stored
        return {
            DELETE_ORDERS: [OrderKey(order_id) for order_id in stored if order_id not in self._placed],
            UPSERT_ORDERS: [
                OrderRow(order_id, _encode(order))
                for order_id, order in self._placed.items()
                if stored.get(order_id) != order
            ],
        }


def _encode(order: PlacedOrder) -> str:
    return json.dumps({"held": order.rows} if order.is_held else order.rows, separators=(",", ":"))


def _decode(order_id: str, lines: str) -> PlacedOrder:
    found = json.loads(lines)
    is_held = isinstance(found, dict)
    return PlacedOrder.of_rows(order_id, found["held"] if is_held else found, is_held=is_held)
