"""Products as a whole."""

from tests.support.api import Api, assert_problem, new


async def test_a_product_shows_its_sums_and_its_batches_by_preference(api: Api) -> None:
    sku = new("sku")
    late = await api.record(sku, 10, eta="2012-01-01")
    soon = await api.record(sku, 4, eta="2011-01-01")
    here = await api.record(sku, 5)
    await api.order(sku, 3)
    await api.order(sku, 9)
    await api.order(sku, 20)
    answer = await api.client.get(f"/v1/products/{sku}")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    common = {"sku": sku}
    assert answer.json() == {
        "sku": sku,
        "available_qty": 7,
        "allocated_qty": 12,
        "shipped_qty": 0,
        "held_qty": 0,
        "on_hand_qty": 5,
        "backordered_qty": 20,
        "reorder_point": None,
        "batches": [
            common
            | {
                "ref": here,
                "qty": 5,
                "eta": None,
                "allocated_qty": 3,
                "shipped_qty": 0,
                "held_qty": 0,
                "available_qty": 2,
            },
            common
            | {
                "ref": soon,
                "qty": 4,
                "eta": "2011-01-01",
                "allocated_qty": 0,
                "shipped_qty": 0,
                "held_qty": 0,
                "available_qty": 4,
            },
            common
            | {
                "ref": late,
                "qty": 10,
                "eta": "2012-01-01",
                "allocated_qty": 9,
                "shipped_qty": 0,
                "held_qty": 0,
                "available_qty": 1,
            },
        ],
    }


async def test_among_equals_the_batch_recorded_first_is_listed_first(api: Api) -> None:
    sku = new("sku")
    refs = [await api.record(sku, 1, eta="2011-01-01", ref=f"{letter}-{new('batch')}") for letter in "cab"]
    assert [batch["ref"] for batch in (await api.product(sku))["batches"]] == refs


async def test_used_up_and_empty_batches_are_shown(api: Api) -> None:
    sku = new("sku")
    used, empty = await api.record(sku, 1), await api.record(sku, 1)
    await api.order(sku, 1)
    await api.change(empty, qty=0)
    product = await api.product(sku)
    assert [(batch["ref"], batch["qty"]) for batch in product["batches"]] == [(used, 1), (empty, 0)]
    assert (product["available_qty"], product["allocated_qty"]) == (0, 1)


async def test_sums_beyond_32_bits_are_right(api: Api) -> None:
    sku, most = new("sku"), 2_147_483_647
    for _ in range(2):
        await api.record(sku, most)
    for _ in range(4):
        await api.order(sku, most)
    await api.record(sku, 5)
    product = await api.product(sku)
    sums = {name: product[name] for name in ("available_qty", "allocated_qty", "backordered_qty")}
    assert sums == {"available_qty": 5, "allocated_qty": 2 * most, "backordered_qty": 2 * most}


async def test_a_product_without_any_batch_is_not_found(api: Api) -> None:
    sku = new("sku")
    assert_problem(await api.client.get(f"/v1/products/{sku}"), 404, "product-not-found")
    await api.allocate(sku, 1)
    assert_problem(await api.client.get(f"/v1/products/{sku}"), 404, "product-not-found")
