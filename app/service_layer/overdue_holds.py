"""The first part of every unit of work: overdue holds end, and their stock serves the queue; batches expire.

So every decision of the unit of work is made as if each hold and each batch had ended at its time.
"""

import uuid

from app.service_layer.backorders import serve_queue
from app.service_layer.ports import Cause, UnitOfWork

AT_A_TIME = 500
"""How many holds one unit of work ends, besides those of the lines that its commands name."""

BESIDE_REQUESTS = 200
"""The same while callers wait for the commands of a shared unit of work."""


async def end_overdue_holds(uow: UnitOfWork, *, limit: int = AT_A_TIME) -> frozenset[str]:
    """End the overdue holds of the locked products.

    Returns the SKUs that have more of them than one unit of work ends. Raises TooLargeToShareError where the stock
    serves so long a queue that others would wait.
    """
    expired = uow.products.take_expired()
    overdue = await uow.products.fetch_overdue_holds(limit=limit)
    if not overdue and not expired:
        return frozenset()
    name = f"expiry-{uuid.uuid4().hex}"
    uow.cause = Cause(name, name)
    for holds in overdue:
        uow.products.start_command()
        holds.product.expire_holds(holds.keys, holds.earliest_end)
        # The batch of a waiting line is certain only after all of them have ended.
        if not holds.product.has_overdue_holds:
            await serve_queue(holds.product, uow)
    # Once for all products: this takes the events of each product that was fetched, also of those later in the loop.
    uow.collect_events()
    return frozenset(holds.product.sku for holds in overdue if holds.product.has_overdue_holds)
