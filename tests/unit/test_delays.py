"""A batch that is late: its lines stay, or move to batches that serve them sooner."""

from datetime import date

from tests.support.products import Shop, moved

MONDAY, TUESDAY, FRIDAY = date(2030, 1, 7), date(2030, 1, 8), date(2030, 1, 11)


def shop_with_two_shipments() -> Shop:
    shop = Shop()
    shop.batch("monday", 6, MONDAY)
    shop.batch("tuesday", 4, TUESDAY)
    for order_id, qty in (("first", 3), ("second", 2), ("third", 1)):
        shop.order(order_id, qty)
    shop.forget_story()
    return shop


def test_a_delay_alone_moves_nothing() -> None:
    shop = shop_with_two_shipments()

    assert shop.change("monday", 6, FRIDAY) == []
    assert shop.story() == ["6 BatchEtaChanged monday: 6, 2030-01-11"]


def test_the_oldest_lines_move_to_what_serves_them_sooner_as_long_as_they_fit() -> None:
    shop = shop_with_two_shipments()

    assert moved(shop.change("monday", 6, FRIDAY, reallocate=True)) == [
        ("first", "monday", "tuesday"),
        ("third", "monday", "tuesday"),
    ]
    assert shop.story() == [
        "6 BatchEtaChanged monday: 6, 2030-01-11",
        "7 LineDeallocated first: 3 from monday, batch_eta_changed",
        "8 LineDeallocated third: 1 from monday, batch_eta_changed",
        "9 LineAllocated first: 3 from tuesday",
        "10 LineAllocated third: 1 from tuesday",
    ]
    assert shop.available() == {"tuesday": 0, "monday": 4}


def test_what_a_move_frees_serves_the_queue() -> None:
    shop = shop_with_two_shipments()
    shop.order("waits", 5)

    shop.change("monday", 6, FRIDAY, reallocate=True)

    assert shop.where("waits") is None  # Four pieces are free now, and it wants five.
    shop.cancel("second")
    assert shop.where("waits") == "monday"


def test_nothing_moves_where_the_batch_comes_sooner_or_nothing_serves_sooner() -> None:
    shop = shop_with_two_shipments()

    assert shop.change("monday", 6, None, reallocate=True) == []
    assert shop.change("tuesday", 4, FRIDAY, reallocate=True) == []


def test_a_shipped_line_does_not_move() -> None:
    shop = shop_with_two_shipments()
    shop.ship("first")

    assert moved(shop.change("monday", 6, FRIDAY, reallocate=True)) == [
        ("second", "monday", "tuesday"),
        ("third", "monday", "tuesday"),
    ]


def test_with_a_cut_at_once_each_line_moves_at_most_once() -> None:
    shop = shop_with_two_shipments()

    moves = moved(shop.change("monday", 1, FRIDAY, reallocate=True))

    assert moves == [("first", "monday", "tuesday"), ("second", "monday", None), ("third", "monday", "tuesday")]


def test_a_changed_eta_names_the_orders_that_are_not_shipped() -> None:
    shop = shop_with_two_shipments()
    shop.ship("second")

    shop.change("monday", 6, FRIDAY)

    (event,) = shop.product.take_events()[-1:]
    assert (event.order_ids, event.order_count) == (("first", "third"), 2)  # type: ignore[attr-defined]
