"""A small shop for the pages of the board."""

import uuid

from tests.support.api import Api, new

CHARACTERS = "aZ9.b_c:d-e"


async def shop(api: Api) -> tuple[str, str]:
    """A product with stock, an arrival, a hold and a queue, and an order whose id has every allowed character."""
    sku, order = new("sku"), f"{CHARACTERS}{uuid.uuid4().hex}"
    await api.record(sku, 10)
    await api.record(sku, 5, eta="2011-01-01")
    await api.order(sku, 4, order_id=order)
    await api.allocate(sku, 2, hold_for=600)
    await api.order(sku, 50)
    return sku, order
