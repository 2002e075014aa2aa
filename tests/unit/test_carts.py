"""The cart: items in one currency, a total that is computed, and what a checkout makes of it."""

from collections.abc import Callable
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.carts import MAX_ITEMS, Cart, CartItem
from app.domain.errors import (
    CartClosedError,
    CartEmptyError,
    CartLimitExceededError,
    CheckoutConflictError,
    CurrencyMismatchError,
    DomainError,
    PriceChangedError,
)
from app.domain.limits import MAX_PRICE, MAX_QUANTITY

CHAIR, TABLE = CartItem("CHAIR", 2, 4990), CartItem("TABLE", 1, 12_000)


@pytest.fixture
def cart() -> Cart:
    return Cart("cart-1", "EUR")


def state(cart: Cart) -> tuple[object, ...]:
    return cart.items, cart.version, cart.status, cart.order_id, cart.currency


def refused(cart: Cart, error: type[DomainError], change: Callable[[], object], match: str | None = None) -> None:
    """The change is refused and leaves the cart as it was."""
    before = state(cart)
    with pytest.raises(error, match=match):
        change()
    assert state(cart) == before


def test_items_are_shown_by_sku_and_their_amounts_are_the_total(cart: Cart) -> None:
    assert cart.total == 0
    assert cart.set_item(TABLE)
    assert cart.set_item(CHAIR)

    assert (cart.items, cart.total) == ([CHAIR, TABLE], 2 * 4990 + 12_000)
    assert not cart.set_item(CartItem("CHAIR", 1, 0))
    assert cart.total == 12_000


def test_the_version_counts_changes_and_no_repetitions(cart: Cart) -> None:
    cart.set_item(CHAIR)
    cart.set_item(CHAIR)
    assert cart.version == 1
    cart.add_item(CHAIR)
    cart.remove_item("CHAIR", 1)
    cart.remove_item("TABLE")
    assert (cart.version, cart.items) == (3, [CartItem("CHAIR", 3, 4990)])


def test_added_pieces_are_added_to_those_of_the_same_price(cart: Cart) -> None:
    cart.add_item(CHAIR)
    cart.add_item(CHAIR)
    assert cart.items == [CartItem("CHAIR", 4, 4990)]

    refused(cart, PriceChangedError, lambda: cart.add_item(CartItem("CHAIR", 1, 4991)), "unit price 4990")
    cart.set_item(CartItem("CHAIR", 1, 4991))
    assert cart.total == 4991


@pytest.mark.parametrize(("taken", "left"), [(1, [CartItem("CHAIR", 1, 4990)]), (2, []), (3, []), (None, [])])
def test_pieces_are_removed_and_the_last_ones_remove_the_item(
    cart: Cart, taken: int | None, left: list[CartItem]
) -> None:
    cart.set_item(CHAIR)

    cart.remove_item("CHAIR", taken)

    assert cart.items == left


def test_a_cart_has_one_currency(cart: Cart) -> None:
    cart.set_item(CHAIR, "EUR")
    refused(cart, CurrencyMismatchError, lambda: cart.set_item(CHAIR, "USD"), "has the currency EUR")
    refused(cart, CurrencyMismatchError, lambda: cart.add_item(CHAIR, "USD"), "has the currency EUR")


def test_a_cart_has_at_most_100_items(cart: Cart) -> None:
    for number in range(MAX_ITEMS):
        cart.set_item(CartItem(f"SKU-{number}", 1, 1))

    refused(cart, CartLimitExceededError, lambda: cart.set_item(CHAIR), "at most 100 items")
    refused(cart, CartLimitExceededError, lambda: cart.add_item(CHAIR), "at most 100 items")
    cart.set_item(CartItem("SKU-7", 2, 1))
    assert cart.total == MAX_ITEMS + 1


def test_quantity_and_total_are_bounded(cart: Cart) -> None:
    cart.set_item(CartItem("CHAIR", MAX_QUANTITY, 0))
    refused(cart, CartLimitExceededError, lambda: cart.add_item(CartItem("CHAIR", 1, 0)), "pieces")
    cart.set_item(CartItem("TABLE", 1, MAX_PRICE))
    assert cart.total == MAX_PRICE
    refused(cart, CartLimitExceededError, lambda: cart.set_item(CartItem("LAMP", 1, 1)), "total")
    refused(cart, CartLimitExceededError, lambda: cart.set_item(CartItem("TABLE", 2, MAX_PRICE)), "total")
    cart.set_item(CartItem("TABLE", 1, MAX_PRICE - 1))
    cart.set_item(CartItem("LAMP", 1, 1))
    assert cart.total == MAX_PRICE


def test_a_checkout_keeps_its_order_and_a_change_opens_the_cart_again(cart: Cart) -> None:
    cart.set_item(CHAIR)
    assert cart.order_of_checkout(None, "new", is_firm=False) == "new"
    assert cart.order_of_checkout("order-1", "new", is_firm=False) == "order-1"

    assert cart.check_out("order-1", is_firm=False)
    assert not cart.check_out("order-1", is_firm=False)
    assert (cart.status, cart.version) == ("checked_out", 2)

    cart.set_item(TABLE)
    assert (cart.status, cart.order_id, cart.version) == ("open", "order-1", 3)
    for given_id in (None, "order-1"):
        assert cart.order_of_checkout(given_id, "new", is_firm=True) == "order-1"
    refused(cart, CheckoutConflictError, lambda: cart.order_of_checkout("order-2", "new", is_firm=True), "order-1")


def test_a_firm_order_closes_the_cart_and_only_its_own_checkout_may_be_repeated(cart: Cart) -> None:
    cart.set_item(CHAIR)
    assert cart.check_out("order-1", is_firm=True)
    assert (cart.status, cart.version) == ("closed", 2)

    for given_id in (None, "order-1"):
        assert cart.order_of_checkout(given_id, "new", is_firm=True) == "order-1"
    changes: list[Callable[[], object]] = [
        lambda: cart.set_item(CHAIR),
        lambda: cart.add_item(CHAIR),
        lambda: cart.remove_item("CHAIR"),
        lambda: cart.remove_item("LAMP"),
        lambda: cart.order_of_checkout(None, "new", is_firm=False),
        lambda: cart.order_of_checkout("order-2", "new", is_firm=True),
    ]
    for change in changes:
        refused(cart, CartClosedError, change, "order-1")


def test_an_empty_cart_is_not_checked_out(cart: Cart) -> None:
    refused(cart, CartEmptyError, lambda: cart.order_of_checkout(None, "new", is_firm=True))


# --- against a naive model ------------------------------------------------------------------------------------------

Call = tuple[Literal["set", "add", "remove"], str, int | None, int]
quantities = st.integers(1, 3) | st.just(MAX_QUANTITY)
calls = st.tuples(
    st.sampled_from(["set", "add", "remove"]),
    st.sampled_from(["CHAIR", "LAMP", "TABLE"]),
    quantities | st.none(),
    st.sampled_from([0, 1, 2, 5_000_000]),
)


def expected(items: dict[str, tuple[int, int]], call: Call) -> dict[str, tuple[int, int]] | str:
    """The items after the call, or the code of its refusal: quantity and price by SKU."""
    kind, sku, qty, price = call
    known_qty, known_price = items.get(sku, (0, price))
    if kind == "remove":
        left = 0 if qty is None else max(0, known_qty - qty)
        after = items | {sku: (left, known_price)}
        return {name: values for name, values in after.items() if values[0]}
    if kind == "add" and known_price != price:
        return "price-changed"
    after = items | {sku: ((qty or 1) + (known_qty if kind == "add" else 0), price)}
    sums = [values[0] * values[1] for values in after.values()]
    if after[sku][0] > MAX_QUANTITY or sum(sums) > MAX_PRICE:
        return "cart-limit-exceeded"
    return after


@given(st.lists(calls, max_size=30))
def test_agrees_with_a_dict(story: list[Call]) -> None:
    cart = Cart("cart-1", "EUR")
    model: dict[str, tuple[int, int]] = {}
    version = 0
    for call in story:
        kind, sku, qty, price = call
        wanted = expected(model, call)
        code: Any = None
        try:
            match kind:
                case "set":
                    cart.set_item(CartItem(sku, qty or 1, price))
                case "add":
                    cart.add_item(CartItem(sku, qty or 1, price))
                case "remove":
                    cart.remove_item(sku, qty)
        except DomainError as refusal:
            code = refusal.code
        if isinstance(wanted, str):
            assert code == wanted
        else:
            assert code is None
            version += wanted != model
            model = wanted
        assert {item.sku: (item.qty, item.unit_price) for item in cart.items} == model
        assert cart.total == sum(qty * price for qty, price in model.values())
        assert 0 <= cart.total <= MAX_PRICE
        assert cart.version == version
