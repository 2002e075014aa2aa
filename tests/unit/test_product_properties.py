"""`Product` against the naive model: whatever is asked of it, in whatever order, both say and do the same."""

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.commands import (
    Allocate,
    CancelAllocation,
    ChangeBatch,
    ChangeBatchEta,
    ChangeBatchQuantity,
    ChangeBatchTerms,
    ChangeLineQuantity,
    Command,
    CountBatch,
    CountProduct,
    CreateBatch,
    SetReorderPoint,
    ShipLine,
)
from app.domain.counts import counted_qty
from app.domain.errors import DomainError
from app.domain.product import Product
from app.domain.relocation import Move
from app.integration.outbound import to_message
from app.service_layer.results import AllocationState, BatchState, LineMove
from tests.support.holds import NOON
from tests.support.naive import NaiveService, OutboxEvent
from tests.support.products import Shop
from tests.support.strategies import SKUS, best_befores, commands, etas, later, locations, midnights, moments

SKU = SKUS[0]
# Hypothesis makes lists about twice as long as the minimum: long enough for queues to form and batches to be cut.
stories = st.lists(commands(skus=[SKU]), min_size=12, max_size=40)
blocking = st.sampled_from([False, False, True])
# Each command comes some time after the one before it; most of them at once.
timed_stories = st.lists(
    st.tuples(st.one_of(*[st.just(timedelta())] * 4, moments, moments, midnights), commands(skus=[SKU])),
    min_size=12,
    max_size=40,
)


def play(shop: Shop, command: Command) -> str | None:
    """Do to the product what the handlers do. Returns the code of a refusal."""
    try:
        match command:
            case CreateBatch():
                shop.batch(command.ref, command.qty, command.eta, command.terms)
            case Allocate():
                allocate(shop, command)
            case ChangeLineQuantity():
                shop.resize(command.key, command.qty)
            case CancelAllocation():
                shop.cancel(command.key)
            case ShipLine():
                shop.ship(command.key)
            case SetReorderPoint():
                shop.watch(command.qty)
            case CountProduct():
                ref = f"count-{shop.product.sequence + 1}-{SKU}"
                shop.count(command.on_hand_qty, command.expected_on_hand_qty, ref, command.reason)
            case ChangeBatchQuantity() | ChangeBatchEta() | ChangeBatchTerms() | ChangeBatch() | CountBatch():
                change(shop, command)
            case _:
                raise TypeError(type(command).__name__)
    except DomainError as refusal:
        return refusal.code
    return None


def allocate(shop: Shop, command: Allocate) -> None:
    if command.hold_seconds is None:
        shop.order(command.key, command.qty, command.if_unavailable, command.requirements)
    else:
        shop.hold(command.key, command.qty, command.hold_seconds, command.requirements)


Change = ChangeBatchQuantity | ChangeBatchEta | ChangeBatchTerms | ChangeBatch | CountBatch


def change(shop: Shop, command: Change) -> list[Move]:
    batch = shop.product.batches.find(command.ref)
    given = command.model_dump(exclude_unset=True)
    if "on_hand_qty" in given:
        given["qty"] = counted_qty(batch, given["on_hand_qty"], given.get("shipped_qty"))
    if "qty" in given:
        shop.product.check_quantity(command.ref, given["qty"], given.get("expected_qty"))
    terms: dict[str, Any] = {name: given[name] for name in ("location", "best_before") if name in given}
    terms["is_blocked"] = given.get("blocked", batch.is_blocked)
    return shop.change(
        command.ref,
        given.get("qty", batch.qty),
        given.get("eta", batch.eta),
        reallocate=given.get("reallocate", False),
        reason=given.get("reason"),
        terms=replace(batch.terms, **terms),
    )


def new_events(shop: Shop) -> list[OutboxEvent]:
    messages = [to_message(event) for event in shop.product.take_events()]
    return [(message.sequence, message.type, json.loads(message.data)) for message in messages]


def check_invariants(product: Product) -> None:
    for batch in product.batches.values():
        held = [a.line.qty for a in product.allocations.values() if a.batch is batch and a.shipped_sequence is None]
        gone = [a.line.qty for a in product.allocations.values() if a.batch is batch and a.shipped_sequence is not None]
        until = [a.line.qty for a in product.allocations.values() if a.batch is batch and a.is_held]
        assert (batch.allocated_qty, batch.shipped_qty, batch.held_qty) == (sum(held), sum(gone), sum(until))
        assert batch.allocated_lines == len(held) - len(until)
        assert 0 <= sum(held) + sum(gone) <= batch.qty
    waiting = [a.line.qty for a in product.allocations.values() if a.batch is None]
    assert product.backordered_qty == sum(waiting)
    ends = [a.held_until for a in product.allocations.values() if a.held_until is not None]
    assert product.held_qty == sum(a.line.qty for a in product.allocations.values() if a.is_held)
    assert not any(a.batch is None or a.shipped_sequence for a in product.allocations.values() if a.is_held)
    if ends:
        assert product.earliest_hold_end is not None
        assert product.now < product.earliest_hold_end <= min(ends)
    # Nothing waits that could be served.
    lines = [a.line for a in product.allocations.values() if a.batch is None]
    assert [line for line in lines if product.batches.best(line.qty, line.requirements)] == []


@given(timed_stories)
@settings(max_examples=300, deadline=None)
def test_agrees_with_the_naive_model_on_every_command(story: list[tuple[timedelta, Command]]) -> None:
    shop, naive = Shop(SKU), NaiveService()
    heard: list[OutboxEvent] = []
    naive.now = NOON
    for after, command in story:
        naive.now = later(naive.now, after)
        is_first_count = isinstance(command, CountProduct) and command.on_hand_qty > 0
        if isinstance(command, (Allocate, SetReorderPoint, CountProduct)) and not naive.batches and not is_first_count:
            continue  # Without a batch there is no product to ask; the handler refuses.
        naive.let_time_pass(SKU)
        shop.begin(naive.now)
        heard += new_events(shop)
        before = shop.snapshot()
        code = play(shop, command)
        expected = naive.play(command)

        assert code == (expected if isinstance(expected, str) else None)
        if code is not None:
            assert shop.snapshot() == before
        heard += new_events(shop)
        assert heard == naive.outbox[SKU]
        assert [BatchState.of(SKU, b) for b in shop.product.batches.by_preference()] == (
            state.batches if (state := naive.product(SKU)) else []
        )
        for key, allocation in shop.product.allocations.items():
            assert key == allocation.line.key
            assert AllocationState.of(allocation) in naive.allocations(allocation.line.order_id)
        assert len(shop.product.allocations) == len(naive.lines)
        check_invariants(shop.product)
    assert shop.product.sequence == len(naive.outbox[SKU])


@given(stories, st.data())
@settings(max_examples=100, deadline=None)
def test_a_change_moves_what_the_naive_model_moves(story: list[Command], data: st.DataObject) -> None:
    shop, naive = Shop(SKU), NaiveService()
    naive.now = NOON
    shop.begin(NOON)
    for command in [CreateBatch(ref="b1", sku=SKU, qty=9), *story]:
        play(shop, command)
        shop.forget_story()
        naive.play(command)
    ref = data.draw(st.sampled_from(sorted(shop.product.batches)))
    least = shop.product.batches.find(ref).shipped_qty
    reallocate = data.draw(st.booleans())
    terms: dict[str, Any] = {
        "location": data.draw(locations),
        "best_before": data.draw(best_befores),
        "blocked": data.draw(blocking),
    }
    qty, eta = data.draw(st.integers(least, 9)), data.draw(etas)
    cut = ChangeBatch(ref=ref, qty=qty, eta=eta, reallocate=reallocate, **terms)

    moves = change(shop, cut)

    expected = naive.play(cut)
    assert [LineMove.of(move) for move in moves] == getattr(expected, "moved", None)


@given(stories)
@settings(max_examples=100, deadline=None)
def test_doing_it_all_again_at_once_changes_no_line_and_no_batch(story: list[Command]) -> None:
    """Each command that is taken is taken for the same when it comes again at once."""
    shop = Shop(SKU)
    shop.begin(NOON)
    shop.batch("b1", 9)
    for command in story:
        if play(shop, command) is not None or isinstance(command, CancelAllocation):
            continue
        before = shop.snapshot()
        shop.forget_story()

        assert play(shop, command) is None
        assert shop.snapshot() == before
        assert shop.story() == []
