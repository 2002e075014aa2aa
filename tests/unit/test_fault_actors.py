"""The load of `make faults`, played through the use cases in memory: what it sees, and that the oracle is silent."""

import asyncio
import copy
import functools
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import date, datetime
from typing import Literal

import pytest

from app.domain.batches import Batches
from app.domain.carts import Cart
from app.domain.choice import ANY_BATCH, DEFAULT_PRIORITY, Requirements
from app.domain.counts import Adjustment
from app.domain.orders import Order
from app.domain.product import Product
from app.domain.stock import Allocation, Batch, BatchTerms, OrderLine
from app.domain.stock_keeping import StockKeeping
from app.integration.order_messages import CartCheckedOutV1
from app.integration.outbound import OUTBOUND_MESSAGES
from app.integration.product_messages import BackInStockV1, HoldReleasedV1, LowStockV1
from app.service_layer import batch_handlers
from faults.journal import Answer
from faults.oracle import judge
from faults.story import Story
from tests.support.theatre import Theatre

TURNS, FEW_TURNS = 200, 150
SEEDS = (17, 7)

ship, cancel, make_order = Product.ship, Product.cancel, Order.of
serve, make_requirements = Product.serve_backorders, Requirements.of
best, change_terms = Batches.best, StockKeeping.change_terms
allocate, expire = Product.allocate, Product.expire_holds
set_reorder_point, check_out = Product.set_reorder_point, Cart.check_out


@functools.cache
def played(seed: int) -> Story:
    """What there is to judge after a performance."""
    return asyncio.run(Theatre(seed).play(TURNS))


@pytest.mark.parametrize("seed", SEEDS)
def test_the_oracle_is_silent_about_what_the_use_cases_do(seed: int) -> None:
    story = played(seed)

    judgement = judge(story)

    assert judgement.complaints == []
    assert judgement.reruns == []


def test_the_load_gets_to_see_every_answer_and_every_event() -> None:
    entries = [entry for seed in SEEDS for entry in played(seed).entries]
    events = [event for seed in SEEDS for event in played(seed).events]

    seen = {(each.kind, each.final.body["code"]) for each in entries if each.final and _is_refusal(each.final)}
    assert seen == {
        ("allocate", "allocation-conflict"),
        ("allocate", "invalid-sku"),
        ("allocate", "out-of-stock"),
        ("cancel", "allocation-not-found"),
        ("cancel", "already-shipped"),
        ("ship", "allocation-not-found"),
        ("ship", "not-allocated"),
        ("ship", "not-confirmed"),
        ("place_order", "order-conflict"),
        ("place_order", "invalid-sku"),
        ("place_order", "out-of-stock"),
        ("cancel_order", "order-not-found"),
        ("hold_order", "order-not-found"),
        ("hold_order", "not-held"),
        ("hold_order", "out-of-stock"),
        ("change_batch", "below-shipped"),
        ("set_item", "cart-closed"),
        ("check_out", "out-of-stock"),
        ("check_out", "order-not-found"),
    }
    published = {(event.type, event.cause[0]) for event in events}
    types = {message.ce_type for message in OUTBOUND_MESSAGES.values()}
    # There are no messages for carts.
    of_both = types - {BackInStockV1.ce_type, LowStockV1.ce_type, CartCheckedOutV1.ce_type}
    assert published >= {(ce_type, client) for ce_type in of_both for client in "hk"}
    assert {ce_type for ce_type, _ in published} == types
    ends = {event.data["reason"] for event in events if event.type == HoldReleasedV1.ce_type}
    assert ends == {"expired", "cancelled", "replaced", "batch_quantity_changed", "batch_blocked"}


def test_stock_runs_short_and_queues_move() -> None:
    story = played(SEEDS[0])

    types = Counter(event.type for event in story.events)
    left = sum(line.status == "backordered" for line in story.lines.values())
    assert types["line_backordered.v1"] > types["line_allocated.v1"] / 10
    assert 0 < left < types["line_backordered.v1"] / 2


def forget_to_ship(product: Product, order_id: str) -> Allocation:
    ship(copy.deepcopy(product), order_id)
    return product.allocations[order_id]


def ship_twice(product: Product, order_id: str) -> Allocation:
    ship(product, order_id).shipped_sequence = None
    return ship(product, order_id)


def call_back(product: Product, order_id: str) -> None:
    if order_id in product.allocations:
        product.allocations[order_id].shipped_sequence = None
    cancel(product, order_id)


def extend_at_a_retry(
    product: Product, line: OrderLine, if_unavailable: Literal["backorder", "reject"], until: datetime | None = None
) -> tuple[Allocation, bool]:
    known = product.allocations.get(line.order_id)
    if known is not None and known.is_held and until is not None and known.line == line:
        return product.hold(line, until), False
    return allocate(product, line, if_unavailable, until)


def forget_the_end(product: Product, order_ids: Iterable[str], _: datetime | None) -> None:
    expire(product, order_ids, None)


def without_wishes(batches: Batches, qty: int, _: Requirements = ANY_BATCH) -> Batch | None:
    return best(batches, qty)


def without_preference(batches: Batches, qty: int, requirements: Requirements = ANY_BATCH) -> Batch | None:
    fitting = (each for each in batches.values() if each.available_qty >= qty and each.meets(requirements))
    return max(fitting, key=lambda each: each.preference, default=None)


def forget_to_change(product: Product, ref: str, terms: BatchTerms) -> bool:
    return change_terms(copy.deepcopy(product), ref, terms)


def serve_the_last_first(product: Product, keys: Iterable[str]) -> None:
    serve(product, reversed(list(keys)))


def without_priority(locations: Iterable[str], good_until: date | None, _: int = DEFAULT_PRIORITY) -> Requirements:
    return make_requirements(locations, good_until)


def forget_to_count(_: Product, location: str, __: int) -> Adjustment:
    return Adjustment(location)


def without_shipped(_: Batch, on_hand_qty: int, __: int | None) -> int:
    return on_hand_qty


def set_twice(product: Product, qty: int) -> None:
    set_reorder_point(product, 2 * qty)


def forget_to_close(cart: Cart, order_id: str, *, is_firm: bool) -> bool:
    return check_out(cart, order_id, is_firm=is_firm and len(cart.items) == 1)


def lose_a_line(order_id: str, wanted: Iterable[OrderLine]) -> Order:
    lines = list(wanted)
    return make_order(order_id, lines[1:] or lines)


@pytest.mark.parametrize(
    ("owner", "method", "spoilt", "complaint"),
    [
        pytest.param(Product, "ship", forget_to_ship, "the line was shipped 0 times", id="a ship lost"),
        pytest.param(Product, "ship", ship_twice, "the line was shipped 2 times", id="a ship twice"),
        pytest.param(Product, "cancel", call_back, "had been shipped, and was cancelled 1 times", id="a ship undone"),
        pytest.param(Product, "allocate", extend_at_a_retry, "was known, and was accepted again", id="a retry extends"),
        pytest.param(Product, "expire_holds", forget_the_end, "its hold was over", id="a hold that never ends"),
        pytest.param(Batches, "best", without_wishes, "the line may not have it", id="wishes forgotten"),
        pytest.param(Batches, "best", without_preference, "comes first", id="another batch preferred"),
        pytest.param(Product, "serve_backorders", serve_the_last_first, "serves a line although", id="the last first"),
        pytest.param(Requirements, "of", without_priority, "serves a line although", id="priority forgotten"),
        pytest.param(StockKeeping, "change_terms", forget_to_change, "the terms were changed 0", id="a block lost"),
        pytest.param(Order, "of", lose_a_line, "was accepted 0 times, not 1", id="an order half placed"),
        pytest.param(Adjustment, "of_count", forget_to_count, "pieces were purchased after it", id="a count lost"),
        pytest.param(batch_handlers, "counted_qty", without_shipped, "it should be (", id="shipped pieces forgotten"),
        pytest.param(Product, "set_reorder_point", set_twice, "the answer says", id="another reorder point"),
        pytest.param(Cart, "check_out", forget_to_close, "end: the cart", id="a cart that stays open"),
    ],
)
def test_the_oracle_sees_what_the_use_cases_do_wrong(
    owner: object, method: str, spoilt: Callable[..., object], complaint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owner, method, spoilt)
    story = asyncio.run(Theatre(SEEDS[0]).play(FEW_TURNS))

    complaints = judge(story).complaints

    assert any(complaint in each for each in complaints), complaints


def _is_refusal(answer: Answer) -> bool:
    return (answer.status or 0) >= 400
