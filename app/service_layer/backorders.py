"""The last part of every use case that frees stock: the queue of the product is served."""

from app.domain.product import Product
from app.domain.relocation import STEP
from app.service_layer.ports import UnitOfWork

FIRST_PAGE = 64
PAGE = 512
"""Lines that are fetched at a time. The first pages are smaller, because most restocks serve few lines."""


async def serve_queue(product: Product, uow: UnitOfWork) -> None:
    """Allocate free stock to the queued lines, in the order of the queue, each line that fits.

    A long queue is written after every `STEP` lines.
    """
    after, limit = (0, 0), FIRST_PAGE
    while product.backordered_qty and (room := product.batches.largest_available_qty):
        waiting = await uow.products.fetch_backorders(product, max_qty=room, after=after, limit=limit)
        is_last = len(waiting) < limit
        if is_last and len(waiting) < STEP:
            product.serve_backorders(waiting)
            return
        after = product.allocations[waiting[-1]].place_in_queue
        for start in range(0, len(waiting), STEP):
            part = waiting[start : start + STEP]
            product.serve_backorders(part)
            await uow.flush(product, done=part)
        if is_last:
            return
        limit = min(4 * limit, PAGE)
