"""The seven rules over HTTP: which batch serves which line, and which lines wait."""

from itertools import permutations

import pytest

from tests.support.api import Api, new


async def test_a_line_is_never_split_over_batches(api: Api) -> None:
    sku = new("sku")
    await api.record(sku, 6)
    await api.record(sku, 6)
    order = await api.order(sku, 7)
    assert await api.batch_of(order) is None
    assert (await api.product(sku))["available_qty"] == 12


async def test_a_line_takes_no_batch_of_another_sku(api: Api) -> None:
    sku, other = new("sku"), new("sku")
    await api.record(sku, 1)
    await api.record(other, 100)
    assert await api.batch_of(await api.order(sku, 2)) is None


@pytest.mark.parametrize("recorded", list(permutations(["2012-01-01", "2011-12-31", None])), ids=str)
async def test_prefers_the_warehouse_then_the_earliest_eta(api: Api, recorded: tuple[str | None, ...]) -> None:
    sku = new("sku")
    refs = {eta: await api.record(sku, 10, eta=eta) for eta in recorded}
    taken = [await api.batch_of(await api.order(sku, 10)) for _ in recorded]
    assert taken == [refs[None], refs["2011-12-31"], refs["2012-01-01"]]


@pytest.mark.parametrize("eta", [None, "2011-01-01"])
async def test_among_equals_prefers_the_batch_recorded_first(api: Api, eta: str | None) -> None:
    sku = new("sku")
    # The refs sort the other way round, so that their order cannot decide.
    refs = [await api.record(sku, 10, eta=eta, ref=f"{letter}-{new('batch')}") for letter in "zya"]
    assert [await api.batch_of(await api.order(sku, 10)) for _ in refs] == refs


async def test_recorded_first_stays_recorded_first_whatever_was_changed(api: Api) -> None:
    sku = new("sku")
    first = await api.record(sku, 10, eta="2011-01-09")
    second = await api.record(sku, 10, eta="2011-01-01")
    await api.change(first, eta="2011-01-01")
    await api.change(second, qty=11)
    assert await api.batch_of(await api.order(sku, 10)) == first


async def test_an_arrival_makes_a_batch_the_preferred_one(api: Api) -> None:
    sku = new("sku")
    await api.record(sku, 10, eta="2011-01-01")
    late = await api.record(sku, 10, eta="2012-01-01")
    await api.change(late, eta=None)
    assert await api.batch_of(await api.order(sku, 10)) == late


async def test_passes_over_the_preferred_batch_where_it_is_too_small(api: Api) -> None:
    sku = new("sku")
    small = await api.record(sku, 5)
    large = await api.record(sku, 10, eta="2011-01-01")
    assert await api.batch_of(await api.order(sku, 6)) == large
    assert await api.batch_of(await api.order(sku, 5)) == small


async def test_a_batch_can_be_used_up_to_the_last_piece(api: Api) -> None:
    sku = new("sku")
    await api.record(sku, 3)
    statuses = [(await api.allocate(sku, 1, if_unavailable="reject")).status_code for _ in range(4)]
    assert statuses == [201, 201, 201, 409]


async def test_a_new_batch_serves_the_queue_oldest_request_first(api: Api) -> None:
    sku = new("sku")
    await api.record(sku, 1)
    orders = [await api.order(sku, 5) for _ in range(3)]
    ref = await api.record(sku, 10, eta="2011-01-01")
    assert [await api.batch_of(order) for order in orders] == [ref, ref, None]
    assert (await api.batch(ref))["allocated_qty"] == 10


async def test_the_answer_to_a_new_batch_shows_what_the_queue_took_of_it(api: Api) -> None:
    sku, ref = new("sku"), new("batch")
    await api.record(sku, 1)
    await api.order(sku, 5)
    answer = await api.client.post("/v1/batches", json={"ref": ref, "sku": sku, "qty": 9})
    assert (answer.json()["allocated_qty"], answer.json()["available_qty"]) == (5, 4)


async def test_a_larger_quantity_serves_the_queue_without_a_move(api: Api) -> None:
    sku = new("sku")
    ref = await api.record(sku, 1)
    orders = [await api.order(sku, 5), await api.order(sku, 6)]
    changed = await api.change(ref, qty=9)
    assert (changed["allocated_qty"], changed["moved"]) == (5, [])
    assert [await api.batch_of(order) for order in orders] == [ref, None]


async def test_a_cancellation_serves_the_queue(api: Api) -> None:
    sku = new("sku")
    ref = await api.record(sku, 10)
    held = await api.order(sku, 10)
    waiting = await api.order(sku, 4)
    await api.cancel(held, sku)
    assert await api.batch_of(waiting) == ref


async def test_a_queued_line_that_does_not_fit_is_passed_over_and_keeps_its_place(api: Api) -> None:
    sku = new("sku")
    await api.record(sku, 1)
    large, small = await api.order(sku, 8), await api.order(sku, 3)
    first = await api.record(sku, 5)
    assert [await api.batch_of(large), await api.batch_of(small)] == [None, first]
    later = await api.order(sku, 8)
    second = await api.record(sku, 8)
    assert [await api.batch_of(large), await api.batch_of(later)] == [second, None]


async def test_the_queue_takes_from_whichever_batch_is_preferred_not_only_the_new_one(api: Api) -> None:
    sku = new("sku")
    warehouse = await api.record(sku, 4)
    held = await api.order(sku, 4)
    waiting = [await api.order(sku, 4), await api.order(sku, 3)]
    await api.cancel(held, sku)
    shipment = await api.record(sku, 10, eta="2011-01-01")
    assert [await api.batch_of(order) for order in waiting] == [warehouse, shipment]


async def test_a_new_line_that_fits_does_not_wait_behind_those_that_do_not(api: Api) -> None:
    sku = new("sku")
    ref = await api.record(sku, 5)
    await api.order(sku, 6)
    assert (await api.allocate(sku, 5, if_unavailable="reject")).json()["batch_ref"] == ref


async def test_a_cancelled_and_repeated_line_goes_to_the_end_of_the_queue(api: Api) -> None:
    sku = new("sku")
    await api.record(sku, 1)
    first, second = await api.order(sku, 5), await api.order(sku, 5)
    await api.cancel(first, sku)
    await api.order(sku, 5, order_id=first)
    ref = await api.record(sku, 5)
    assert [await api.batch_of(first), await api.batch_of(second)] == [None, ref]


async def test_asking_again_for_a_queued_line_does_not_cost_its_place(api: Api) -> None:
    sku = new("sku")
    await api.record(sku, 1)
    first, second = await api.order(sku, 5), await api.order(sku, 5)
    assert (await api.allocate(sku, 5, order_id=first)).status_code == 200
    ref = await api.record(sku, 5)
    assert [await api.batch_of(first), await api.batch_of(second)] == [ref, None]


async def test_a_cut_releases_the_line_allocated_last_first(api: Api) -> None:
    sku = new("sku")
    ref = await api.record(sku, 10)
    orders = [await api.order(sku, 5), await api.order(sku, 5)]
    assert await api.moved(ref, qty=9) == [(orders[1], None)]


async def test_allocated_last_counts_and_not_requested_last(api: Api) -> None:
    sku = new("sku")
    ref = await api.record(sku, 5)
    held = await api.order(sku, 5)
    asked_first = await api.order(sku, 2)
    await api.order(sku, 5)
    await api.change(ref, qty=6)
    got_first = await api.order(sku, 1)
    await api.cancel(held, sku)
    # `asked_first` came to the batch when the stock was freed, after `got_first`.
    assert (await api.batch(ref))["allocated_qty"] == 3
    assert await api.moved(ref, qty=2) == [(asked_first, None)]
    assert await api.batch_of(got_first) == ref


async def test_a_cut_releases_until_the_rest_fits_and_no_more(api: Api) -> None:
    sku = new("sku")
    ref = await api.record(sku, 12)
    orders = [await api.order(sku, 3) for _ in range(4)]
    assert await api.moved(ref, qty=7) == [(orders[2], None), (orders[3], None)]
    assert (await api.batch(ref))["allocated_qty"] == 6


async def test_released_lines_are_placed_by_request_and_the_first_takes_the_better_batch(api: Api) -> None:
    sku = new("sku")
    cut = await api.record(sku, 8)
    first, second = await api.order(sku, 4), await api.order(sku, 4)
    soon = await api.record(sku, 4, eta="2011-01-01")
    late = await api.record(sku, 4, eta="2012-01-01")
    assert await api.moved(cut, qty=0) == [(first, soon), (second, late)]


async def test_a_released_line_may_stay_where_the_cut_freed_more_than_it_needed(api: Api) -> None:
    sku = new("sku")
    ref = await api.record(sku, 10)
    small, large = await api.order(sku, 2), await api.order(sku, 8)
    # The line of 8 is released for a cut by 1, and 9 of the batch hold only the line of 2.
    assert await api.moved(ref, qty=9) == [(large, None)]
    # Both leave for a cut to 3, and the line of 2 returns to its own batch: it has not moved.
    third = await api.order(sku, 7)
    assert await api.batch_of(third) == ref
    assert await api.moved(ref, qty=1) == [(small, None), (third, None)]


async def test_a_line_that_returns_to_its_own_batch_has_not_moved(api: Api) -> None:
    sku = new("sku")
    ref = await api.record(sku, 10)
    large, small = await api.order(sku, 7), await api.order(sku, 3)
    # Released are 3 and then 7; placed again by request 7 does not fit into 5, but 3 does.
    assert await api.moved(ref, qty=5) == [(large, None)]
    assert await api.batch_of(small) == ref
    assert (await api.batch(ref))["allocated_qty"] == 3


async def test_a_line_that_returned_is_still_the_one_allocated_before(api: Api) -> None:
    sku = new("sku")
    ref = await api.record(sku, 10)
    large, small = await api.order(sku, 7), await api.order(sku, 3)
    await api.change(ref, qty=5)
    later = await api.order(sku, 2)
    assert await api.moved(ref, qty=3) == [(later, None)]
    assert [await api.batch_of(order) for order in (large, small)] == [None, ref]


async def test_stock_freed_beyond_the_need_of_a_cut_serves_the_queue(api: Api) -> None:
    sku = new("sku")
    ref = await api.record(sku, 10)
    held = await api.order(sku, 10)
    waiting = await api.order(sku, 4)
    assert await api.moved(ref, qty=9) == [(held, None)]
    assert await api.batch_of(waiting) == ref


async def test_released_lines_come_before_the_queue(api: Api) -> None:
    sku = new("sku")
    cut = await api.record(sku, 4)
    held = await api.order(sku, 4)
    waiting = await api.order(sku, 5)
    spare = await api.record(sku, 4, eta="2011-01-01")
    assert await api.moved(cut, qty=3) == [(held, spare)]
    assert await api.batch_of(waiting) is None


async def test_a_released_line_queues_at_the_place_its_request_gives_it(api: Api) -> None:
    sku = new("sku")
    ref = await api.record(sku, 5)
    first = await api.order(sku, 5)
    second = await api.order(sku, 5)
    assert await api.moved(ref, qty=0) == [(first, None)]
    await api.change(ref, qty=5)
    assert [await api.batch_of(order) for order in (first, second)] == [ref, None]


async def test_a_cut_loses_no_line_however_often(api: Api) -> None:
    sku = new("sku")
    refs = [await api.record(sku, 10), await api.record(sku, 10, eta="2011-01-01")]
    orders = [await api.order(sku, qty) for qty in (1, 2, 3, 4, 5, 6)]
    for ref, qty in ((refs[0], 3), (refs[1], 0), (refs[0], 0), (refs[1], 25), (refs[1], 7), (refs[0], 14)):
        await api.change(ref, qty=qty)
    placed = [await api.batch_of(order) for order in orders]
    product = await api.product(sku)
    assert product["backordered_qty"] == sum(qty for qty, ref in enumerate(placed, 1) if ref is None)
    assert product["allocated_qty"] == 21 - product["backordered_qty"]
    for ref in refs:
        held = sum(qty for qty, batch in enumerate(placed, 1) if batch == ref)
        assert held == (await api.batch(ref))["allocated_qty"]
