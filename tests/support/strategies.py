"""Commands at random, out of alphabets so small that they keep meeting the same orders, batches and products."""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Any, TypeVar

from hypothesis import strategies as st

from app.domain.commands import (
    Allocate,
    CancelAllocation,
    CancelOrder,
    ChangeBatch,
    ChangeBatchEta,
    ChangeBatchQuantity,
    ChangeBatchTerms,
    ChangeLineQuantity,
    Command,
    CountBatch,
    CountProduct,
    CreateBatch,
    HoldOrder,
    OrderedLine,
    PlaceOrder,
    SetReorderPoint,
    ShipLine,
)
from tests.support.holds import NOON

SKUS = ("CHAIR", "TABLE")
REFS = ("b1", "b2", "b3")
ORDERS = ("o1", "o2", "o3", "o4", "o5", "o6", "o7", "o8")

etas = st.sampled_from([None, date(2030, 1, 1), date(2030, 1, 2)])
batch_quantities = st.sampled_from([3, 3, 6])
new_quantities = st.integers(0, 6)
counted_quantities = st.integers(0, 12)
reorder_points = st.integers(0, 8)
# Most lines have no name.
names_of_lines = st.sampled_from(["", "", "", "", "a", "b"])
line_quantities = st.sampled_from([1, 2, 2, 4])
hold_times = st.sampled_from([10, 60])
"""Seconds."""
FIRST_DAY = NOON.date()
some_days = [FIRST_DAY + timedelta(days=distance) for distance in (-1, 0, 1, 2)]
locations = st.sampled_from(["main", "main", "main", "north", "south"])
best_befores = st.sampled_from([None, None, None, *some_days])
# What lines want of their batch. Many want nothing, so that batches fill up.
wishes = st.sampled_from(
    [
        *[{}] * 6,
        {"priority": 8},
        {"priority": 2},
        {"from": ["main"], "priority": 9},
        {"from": ["north", "main"]},
        {"from": ["south", "north", "main"]},
        {"from": ["north"], "good_until": FIRST_DAY},
        *({"good_until": day} for day in some_days),
    ]
)
# How far the clock moves: to a microsecond before the end of a hold, to the end, or back, as after a failover.
moments = st.sampled_from([timedelta(seconds=seconds) for seconds in (10, 9.999_999, 0.000_001, 50, 60, -10, -60)])
TO_MIDNIGHT = timedelta(days=1)
JUST_BEFORE_MIDNIGHT = TO_MIDNIGHT - timedelta(microseconds=1)
midnights = st.sampled_from([TO_MIDNIGHT, TO_MIDNIGHT, JUST_BEFORE_MIDNIGHT])

Model = TypeVar("Model")


def later(now: datetime, step: timedelta) -> datetime:
    """The time after the step. The steps above lead to midnight, whatever the time is; no step leads back over it."""
    today = now.replace(hour=0, minute=0, second=0, microsecond=0)
    if step in {TO_MIDNIGHT, JUST_BEFORE_MIDNIGHT}:
        return today + step
    return max(now + step, today)


def wishing(model: type[Model], **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Model]:
    """Lines that want something of their batch."""
    return st.builds(lambda wish, **named: model(**named, **wish), wish=wishes, **fields)


def commands(prefix: str = "", skus: Sequence[str] = SKUS) -> st.SearchStrategy[Command]:
    """Any command on products; every SKU, batch and order starts with the prefix, to keep those of one run apart."""

    def one_of(names: Sequence[str]) -> st.SearchStrategy[str]:
        return st.sampled_from([f"{prefix}{name}" for name in names])

    # The first SKU comes more often than the others, so that lines and batches meet.
    some_skus, refs, orders = one_of([*[skus[0]] * 3, *skus]), one_of(REFS), one_of(ORDERS)
    create = st.builds(
        CreateBatch,
        ref=refs,
        sku=some_skus,
        qty=batch_quantities,
        eta=etas,
        location=locations,
        best_before=best_befores,
        blocked=st.sampled_from([False, False, False, False, True]),
    )
    allocate = wishing(
        Allocate,
        order_id=orders,
        sku=some_skus,
        line=names_of_lines,
        qty=line_quantities,
        if_unavailable=st.sampled_from(["backorder", "backorder", "reject"]),
    )
    named = {"order_id": orders, "sku": some_skus, "line": names_of_lines}
    hold = wishing(Allocate, **named, qty=line_quantities, hold_for=hold_times)
    change = st.one_of(
        st.builds(ChangeBatchQuantity, ref=refs, qty=new_quantities),
        st.builds(ChangeBatchEta, ref=refs, eta=etas),
        st.builds(ChangeBatch, ref=refs, qty=new_quantities, eta=etas),
        st.builds(ChangeBatchEta, ref=refs, eta=etas, reallocate=st.just(True)),
        st.builds(ChangeBatch, ref=refs, qty=new_quantities, eta=etas, reallocate=st.booleans()),
        st.builds(ChangeBatch, ref=refs, qty=new_quantities, expected_qty=new_quantities, reason=st.just("recount")),
        st.builds(ChangeBatch, ref=refs, qty=new_quantities),
        st.builds(ChangeBatch, ref=refs, eta=etas),
    )
    change_terms = st.one_of(
        st.builds(ChangeBatchTerms, ref=refs, location=locations),
        st.builds(ChangeBatchTerms, ref=refs, best_before=best_befores),
        st.builds(ChangeBatchTerms, ref=refs, blocked=st.booleans()),
        st.builds(ChangeBatchTerms, ref=refs, blocked=st.just(True), reallocate=st.just(True)),
        st.builds(ChangeBatch, ref=refs, location=locations, eta=etas, reallocate=st.booleans()),
        st.builds(ChangeBatch, ref=refs, best_before=best_befores, blocked=st.booleans(), qty=new_quantities),
        st.builds(ChangeBatch, ref=refs, blocked=st.booleans(), eta=etas, reallocate=st.booleans(), qty=new_quantities),
    )
    count = st.one_of(
        st.builds(CountBatch, ref=refs, on_hand_qty=new_quantities),
        st.builds(CountBatch, ref=refs, on_hand_qty=new_quantities, shipped_qty=new_quantities),
        st.builds(ChangeBatch, ref=refs, on_hand_qty=new_quantities, shipped_qty=new_quantities, eta=etas),
        st.builds(ChangeBatch, ref=refs, on_hand_qty=new_quantities, expected_qty=new_quantities),
        st.builds(CountProduct, sku=some_skus, on_hand_qty=counted_quantities),
        st.builds(CountProduct, sku=some_skus, on_hand_qty=counted_quantities, reason=st.just("found")),
        st.builds(CountProduct, sku=some_skus, on_hand_qty=counted_quantities, expected_on_hand_qty=counted_quantities),
    )
    resize = st.builds(ChangeLineQuantity, **named, qty=line_quantities)
    cancel = st.builds(CancelAllocation, **named)
    ship = st.builds(ShipLine, **named)
    watch = st.builds(SetReorderPoint, sku=some_skus, qty=reorder_points)
    # Lines come more often than anything else, so that batches fill up and queues form. (`one_of` would flatten the
    # alternatives and take each of them equally often.)
    changes, others = [*[change] * 2, *[change_terms] * 2], [count, resize, cancel, ship, watch]
    kinds = [*[create] * 2, *[allocate] * 4, *[hold] * 2, *changes, *others]
    return st.sampled_from(kinds).flatmap(lambda kind: kind)


def commands_and_orders(prefix: str = "") -> st.SearchStrategy[Command]:
    """Any command, those on orders of several lines included."""
    skus = st.sampled_from([f"{prefix}{sku}" for sku in SKUS])
    orders = st.sampled_from([f"{prefix}{order_id}" for order_id in ORDERS])
    line = wishing(OrderedLine, sku=skus, qty=line_quantities, line=names_of_lines)
    lines = st.lists(line, min_size=1, max_size=3, unique_by=lambda line: (line.sku, line.line))
    if_unavailable = st.sampled_from(["backorder", "reject"])
    place = st.builds(PlaceOrder, order_id=orders, lines=lines, if_unavailable=if_unavailable)
    hold = st.builds(PlaceOrder, order_id=orders, lines=lines, hold_for=hold_times)
    hold_anew = st.one_of(
        st.builds(HoldOrder, order_id=orders, hold_for=hold_times),
        st.builds(HoldOrder, order_id=orders, hold_for=hold_times, lines=lines),
    )
    cancel_order = st.builds(CancelOrder, order_id=orders)
    kinds = [*[place] * 2, hold, hold_anew, cancel_order, *[commands(prefix)] * 7]
    # By number, because the text of `sampled_from` would contain all of these strategies.
    return st.integers(0, len(kinds) - 1).flatmap(lambda number: kinds[number])
