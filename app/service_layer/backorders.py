"""The last part of every use case that frees stock: the queue of the product is served."""

from app.domain.model import Product
from app.service_layer.ports import UnitOfWork

PAGE = 1000
"""How many lines are fetched at a time."""


async def serve_queue(product: Product, uow: UnitOfWork) -> None:
    """Allocate free stock to the queued lines, the oldest request first, each line that fits."""
    after = 0
    while product.backordered_qty and (room := product.largest_available_qty):
        waiting = await uow.products.fetch_backorders(product, max_qty=room, after=after, limit=PAGE)
        product.serve_backorders(waiting)
        if len(waiting) < PAGE:
            return
        after = product.allocations[waiting[-1]].requested
        await uow.flush(product, done=waiting)
