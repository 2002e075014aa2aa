"""The state of the notifier: the products and batches that mail was sent about."""

from collections.abc import Collection, Mapping

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.adapters.postgresql.connections import begin, connect
from app.service_layer.notifications import NotifiedProduct

_PRODUCTS = text("SELECT sku, sequence, out_of_stock FROM notified_products WHERE sku = ANY(CAST(:skus AS text[]))")
_BATCHES = text("SELECT ref, qty FROM notified_batches WHERE ref = ANY(CAST(:refs AS text[]))")
_SAVE_PRODUCTS = text("""
    INSERT INTO notified_products (sku, sequence, out_of_stock)
    SELECT * FROM unnest(CAST(:sku AS text[]), CAST(:sequence AS bigint[]), CAST(:out_of_stock AS boolean[]))
    ON CONFLICT (sku) DO UPDATE SET sequence = excluded.sequence, out_of_stock = excluded.out_of_stock
    WHERE notified_products.sequence < excluded.sequence
""")
_SAVE_BATCHES = text("""
    INSERT INTO notified_batches (ref, qty)
    SELECT * FROM unnest(CAST(:ref AS text[]), CAST(:qty AS int[]))
    ON CONFLICT (ref) DO UPDATE SET qty = excluded.qty
""")


class NotifierMemory:
    """Stores which events the notifier has handled, so that a restart or duplicate sends no second mail."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def load(
        self, skus: Collection[str], refs: Collection[str]
    ) -> tuple[dict[str, NotifiedProduct], dict[str, int]]:
        """The state of all the SKUs (a new state for unknown ones) and of the known batches."""
        async with connect(self._engine) as connection:
            rows = await connection.execute(_PRODUCTS, {"skus": list(skus)})
            products = {row.sku: NotifiedProduct(row.sku, row.sequence, row.out_of_stock) for row in rows}
            batches = {row.ref: row.qty for row in await connection.execute(_BATCHES, {"refs": list(refs)})}
        return {sku: products.get(sku) or NotifiedProduct(sku, 0, out_of_stock=False) for sku in skus}, batches

    async def save(self, products: Collection[NotifiedProduct], batches: Mapping[str, int]) -> None:
        """Store the state."""
        async with begin(self._engine) as connection:
            if products:
                await connection.execute(
                    _SAVE_PRODUCTS,
                    {
                        "sku": [product.sku for product in products],
                        "sequence": [product.sequence for product in products],
                        "out_of_stock": [product.out_of_stock for product in products],
                    },
                )
            if batches:
                await connection.execute(_SAVE_BATCHES, {"ref": list(batches), "qty": list(batches.values())})
