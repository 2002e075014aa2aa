"""The repository of carts over PostgreSQL."""

from collections.abc import Collection, Iterable, Mapping

import asyncpg
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.adapters.postgresql import statements
from app.adapters.postgresql.messages import prune
from app.adapters.postgresql.pipelined_connection import PipelinedConnection
from app.adapters.postgresql.rows import CartItemKey, CartItemRow, CartRow
from app.adapters.postgresql.writes import DELETE_CART_ITEMS, UPSERT_CART_ITEMS, UPSERT_CARTS, Writes
from app.domain.carts import Cart
from app.service_layer.lock_sets import LockSet

PRUNE_PAGE = 500
"""Carts that one transaction deletes. Each has up to 100 items."""

# A cart that a transaction has read is locked, so it is left out here.
_PRUNE = text("""
    DELETE FROM carts WHERE cart_id IN (
        SELECT cart_id FROM carts WHERE changed_on < (CAST(:time AS timestamptz) AT TIME ZONE 'UTC')::date
        ORDER BY changed_on LIMIT :limit FOR UPDATE SKIP LOCKED
    )
""")


class SqlCartRepository:
    """Implements `CartRepository` in the transaction of the connection.

    A cart may be locked before there is a row of it, so the lock is one on its name, as for orders.
    """

    def __init__(self, connection: PipelinedConnection) -> None:
        self._connection = connection
        self._stored: dict[str, dict[str, CartItemRow]] = {}
        self._rows: dict[str, CartRow] = {}
        self._carts: dict[str, Cart] = {}
        self._orders: Mapping[str, Collection[str]] = {}

    async def load(self, locks: LockSet) -> None:
        """Lock and fetch the carts, before any order and product."""
        self._orders = locks.add_checkouts(await self.fetch(locks.carts))

    async def fetch(self, cart_ids: Collection[str]) -> Mapping[str, Cart]:
        """Lock and fetch the carts; the locks in an order that is the same everywhere."""
        lock_numbers = sorted({statements.lock_number("cart", cart_id) for cart_id in cart_ids})
        await self._connection.execute(statements.LOCK_NAMES, lock_numbers)
        self._attach(await self._connection.fetch(statements.CARTS, list(cart_ids)))
        return self._carts

    def get(self, cart_id: str) -> Cart | None:
        """The cart as this group has changed it."""
        return self._carts.get(cart_id)

    def add(self, cart: Cart) -> None:
        """Store a new cart."""
        self._carts[cart.cart_id] = cart

    def orders_of_checkout(self, cart_id: str) -> Collection[str]:
        """The order ids that `load` has found."""
        return self._orders.get(cart_id, ())

    def changes(self) -> Writes:
        """The writes of carts that have changed, and of their items."""
        changed = [cart for cart in self._carts.values() if self._rows.get(cart.cart_id) != CartRow.of(cart)]
        new: list[CartItemRow] = []
        removed: list[CartItemKey] = []
        for cart in changed:
            stored = self._stored.get(cart.cart_id, {})
            items = {item.sku: CartItemRow.of(cart.cart_id, item) for item in cart.items}
            new += [row for sku, row in items.items() if stored.get(sku) != row]
            removed += [CartItemKey(cart.cart_id, sku) for sku in stored if sku not in items]
        return {
            UPSERT_CARTS: [CartRow.of(cart) for cart in changed],
            DELETE_CART_ITEMS: removed,
            UPSERT_CART_ITEMS: new,
        }

    def _attach(self, rows: Iterable[asyncpg.Record]) -> None:
        """Make the carts: each row has the columns of a cart, and those of an item or nulls."""
        width = len(CartRow._fields)
        items: dict[str, dict[str, CartItemRow]] = {}
        for row in rows:
            cart = CartRow._make(row[:width])
            self._rows[cart.cart_id] = cart
            of_cart = items.setdefault(cart.cart_id, {})
            if row[width] is not None:
                item = CartItemRow._make(row[width:])
                of_cart[item.sku] = item
        self._stored = items
        for cart_id, row in self._rows.items():
            self._carts[cart_id] = row.to_cart(items[cart_id].values())


async def prune_carts(engine: AsyncEngine, days: int) -> None:
    """Delete the carts that have not changed for more than `days` days."""
    await prune(engine, _PRUNE, 24 * days, page=PRUNE_PAGE)
