"""The repository of orders over PostgreSQL: what was placed under which id."""

from collections import defaultdict
from collections.abc import Sequence

import asyncpg

from app.adapters import statements
from app.adapters.statements import Row
from app.domain.commands import Names
from app.domain.orders import Order


class SqlOrderRepository:
    """Implements `OrderRepository` in the transaction of the connection.

    An order may be locked before there is a row of it, so the lock is one on its name: an advisory lock, which ends
    with the transaction.
    """

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection
        self._stored: dict[str, bytes] = {}
        self._contents: dict[str, bytes] = {}
        self._skus: dict[str, set[str]] = defaultdict(set)

    async def load(self, names: Names) -> None:
        """Lock and fetch the orders; the locks in an order that is the same everywhere, as those of the products are.

        Orders come before products, for whoever holds a product waits for nothing else.
        """
        await self._connection.execute(
            statements.LOCK_ORDERS, sorted({statements.lock_number("order", order) for order in names.orders})
        )
        for order_id, content, sku in await self._connection.fetch(statements.ORDERS, list(names.orders)):
            if content is not None:
                self._stored[order_id] = content
            if sku is not None:
                names.skus.add(sku)
                names.lines.add((order_id, sku))
        self._contents = dict(self._stored)
        for order_id, sku in names.lines:
            if order_id in names.orders:
                self._skus[order_id].add(sku)

    def content(self, order_id: str) -> bytes | None:
        """What was placed under the id."""
        return self._contents.get(order_id)

    def skus(self, order_id: str) -> Sequence[str]:
        """The SKUs of which the order had a line or gets one in this group."""
        return sorted(self._skus[order_id])

    def place(self, order: Order) -> None:
        """Remember what the order is made of."""
        self._contents[order.order_id] = order.content

    def forget(self, order_id: str) -> None:
        """Forget what the order was made of."""
        self._contents.pop(order_id, None)

    def changes(self) -> dict[str, list[Row]]:
        """What has to be written."""
        stored = self._stored
        return {
            "delete_orders": [(order_id,) for order_id in stored if order_id not in self._contents],
            "upsert_orders": [row for row in self._contents.items() if stored.get(row[0]) != row[1]],
        }
