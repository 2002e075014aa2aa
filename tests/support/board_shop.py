"""A small shop for the pages of the board."""

import uuid

from tests.support.api import Api, new

CHARACTERS = "aZ9.b_c:d-e"


async def shop(api: Api) -> tuple[str, str]:
    """A product with stock, an arrival, a hold, a queue and an unfit batch with a line, and an order.

    The order's id has every allowed character.
    """
    sku, order = new("sku"), f"{CHARACTERS}{uuid.uuid4().hex}"
    await api.record(sku, 10)
    await api.record(sku, 5, eta="2011-01-01")
    await api.order(sku, 4, order_id=order)
    await api.allocate(sku, 2, hold_for=600)
    await api.order(sku, 50)
    ref = await api.record(sku, 4)
    await api.change(ref, best_before="9999-01-01")
    # It expires first, so it is preferred.
    assert await api.batch_of(await api.order(sku, 3)) == ref
    await api.change(ref, location="berlin", best_before="2011-01-01", blocked=True)
    return sku, order
