"""The hold of an order."""

from datetime import timedelta

from tests.support.api import assert_problem, new
from tests.support.hold_shop import Shop, end_of


async def test_an_order_is_held_as_a_whole_or_not_at_all(shop: Shop) -> None:
    chairs, tables = new("sku"), new("sku")
    await shop.api.record(chairs, 5)
    await shop.api.record(tables, 1, eta="2030-01-01")

    refused = await shop.post_order(new("order"), (chairs, 2), (tables, 2), hold_for=60)
    order = await shop.hold_order((chairs, 2), (tables, 1))

    assert assert_problem(refused, 409, "out-of-stock")["skus"] == [tables]
    assert (order["complete"], order["earliest_eta"]) == (False, "2030-01-01")
    assert {line["status"] for line in order["lines"]} == {"held"}
    assert len({line["held_until"] for line in order["lines"]}) == 1
    assert (await shop.kinds(chairs)) == ["batch_created.v1", "line_held.v1"]
    assert (await shop.kinds(tables)) == ["batch_created.v1", "allocation_failed.v1", "line_held.v1"]


async def test_a_held_order_is_confirmed_as_a_whole(shop: Shop) -> None:
    chairs, tables = new("sku"), new("sku")
    await shop.api.record(chairs, 2)
    await shop.api.record(tables, 1)
    order = await shop.hold_order((chairs, 2), (tables, 1))
    lines = ((chairs, 2), (tables, 1))

    again = await shop.post_order(order["order_id"], *lines, hold_for=900)
    other = await shop.post_order(order["order_id"], (chairs, 1))
    answers = [await shop.post_order(order["order_id"], *lines) for _ in range(2)]

    assert (again.status_code, again.json()) == (200, order)
    assert_problem(other, 409, "order-conflict")
    assert [answer.status_code for answer in answers] == [201, 200]
    assert {line["status"] for line in answers[0].json()["lines"]} == {"allocated"}
    assert answers[0].json()["complete"]
    assert answers[1].json() == answers[0].json()


async def test_a_hold_is_extended(shop: Shop) -> None:
    sku = new("sku")
    await shop.api.record(sku, 5)
    order = await shop.hold_order((sku, 2), seconds=60)

    longer = await shop.put_hold(order["order_id"], seconds=900)
    shorter = await shop.put_hold(order["order_id"], seconds=300)

    (before,), (after,), (last,) = order["lines"], longer.json()["lines"], shorter.json()["lines"]
    assert (longer.status_code, shorter.status_code) == (200, 200)
    assert timedelta(seconds=839) < end_of(after) - end_of(before) < timedelta(seconds=860)
    assert end_of(before) < end_of(last) < end_of(after)
    assert await shop.kinds(sku) == ["batch_created.v1", *["line_held.v1"] * 3]


async def test_with_a_key_an_extension_counts_once(shop: Shop) -> None:
    sku, key = new("sku"), {"Idempotency-Key": new("key")}
    await shop.api.record(sku, 5)
    order = await shop.hold_order((sku, 2))

    answers = [await shop.put_hold(order["order_id"], headers=key) for _ in range(2)]

    assert answers[0].content == answers[1].content
    assert await shop.kinds(sku) == ["batch_created.v1", "line_held.v1", "line_held.v1"]


async def test_the_lines_of_a_hold_are_replaced_and_its_own_pieces_are_available_to_it(shop: Shop) -> None:
    chairs, tables, lamps = new("sku"), new("sku"), new("sku")
    for sku in (chairs, tables, lamps):
        await shop.api.record(sku, 5)
    order = await shop.hold_order((chairs, 3), (tables, 5))
    waiting = await shop.api.order(tables, 5)

    answer = await shop.put_hold(order["order_id"], (chairs, 5), (lamps, 1))

    assert answer.status_code == 200, answer.text
    assert [(line["sku"], line["qty"], line["status"]) for line in answer.json()["lines"]] == sorted(
        [(chairs, 5, "held"), (lamps, 1, "held")]
    )
    assert len({line["held_until"] for line in answer.json()["lines"]}) == 1
    assert await shop.api.batch_of(waiting) is not None
    assert (await shop.history(tables))[-2]["reason"] == "replaced"
    assert (await shop.post_order(order["order_id"], (chairs, 5), (lamps, 1))).status_code == 201


async def test_a_replacement_that_is_refused_leaves_the_hold_as_it_was(shop: Shop) -> None:
    chairs, tables = new("sku"), new("sku")
    await shop.api.record(chairs, 5)
    await shop.api.record(tables, 5)
    order = await shop.hold_order((chairs, 3))

    answer = await shop.put_hold(order["order_id"], (chairs, 1), (tables, 6))
    unknown = await shop.put_hold(order["order_id"], (chairs, 1), (new("sku"), 6))

    assert assert_problem(answer, 409, "out-of-stock")["skus"] == [tables]
    assert_problem(unknown, 400, "invalid-sku")
    assert await shop.api.lines(order["order_id"]) == order["lines"]
    assert await shop.kinds(tables) == ["batch_created.v1", "allocation_failed.v1"]


async def test_a_firm_order_or_line_is_not_held(shop: Shop) -> None:
    chairs, tables = new("sku"), new("sku")
    await shop.api.record(chairs, 5)
    await shop.api.record(tables, 5)
    firm = await shop.api.order(chairs, 1)
    order = await shop.hold_order((chairs, 1), (tables, 1))
    assert (await shop.api.allocate(chairs, 1, order_id=order["order_id"])).status_code == 201

    again = await shop.api.allocate(chairs, 1, order_id=firm, hold_for=60)
    answers = [
        await shop.put_hold(firm),
        await shop.put_hold(firm, (tables, 1)),
        await shop.put_hold(order["order_id"], (chairs, 2), (tables, 1)),
    ]
    extended = await shop.put_hold(order["order_id"])

    assert (again.status_code, again.json()["status"]) == (200, "allocated")
    for answer in answers:
        assert (answer.status_code, answer.json()["code"]) == (409, "not-held")
    assert answers[2].json()["skus"] == [chairs]
    assert sorted(line["status"] for line in extended.json()["lines"]) == ["allocated", "held"]
