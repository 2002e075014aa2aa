"""Reads carts."""

from sqlalchemy import text

from app.adapters.postgresql.rows import CartItemRow, CartRow
from app.domain.errors import CartNotFoundError
from app.read_model.reader import Reader
from app.service_layer.cart_results import CartState

_CART = text("""
    SELECT c.cart_id, c.currency, c.version, c.status, c.order_id, i.sku, i.qty, i.unit_price
    FROM carts c LEFT JOIN cart_items i ON i.cart_id = c.cart_id
    WHERE c.cart_id = :cart_id
""")


class Carts:
    """The queries of carts."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def get(self, cart_id: str) -> CartState:
        """A cart. Raises CartNotFoundError."""
        rows = await self._reader.fetch(_CART, {"cart_id": cart_id}, of=cart_id)
        if not rows:
            raise CartNotFoundError(cart_id)
        first = rows[0]
        cart = CartRow(first.cart_id, first.currency, first.version, first.status, first.order_id)
        items = (CartItemRow(cart_id, row.sku, row.qty, row.unit_price) for row in rows if row.sku is not None)
        return CartState.of(cart.to_cart(items))
