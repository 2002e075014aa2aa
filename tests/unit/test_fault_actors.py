"""The load of `make faults`, played through the use cases in memory: what it sees, and that the oracle is silent."""

import asyncio
import copy
import functools
import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import pytest
from pydantic import TypeAdapter

from app.domain.commands import ChangeBatch, Command, ExpireHolds, HoldOrder
from app.domain.errors import DomainError
from app.domain.orders import Order
from app.domain.product import Product
from app.domain.stock import Allocation, OrderLine
from app.entrypoints.http.answers import ALLOCATION, BATCH, CHANGED_BATCH, ORDER, ChangedBatch
from app.entrypoints.http.problems import KINDS
from app.integration.inbound import INBOUND_MESSAGES
from app.integration.order_messages import CartCheckedOutV1
from app.integration.outbound import OUTBOUND_MESSAGES
from app.integration.product_messages import BackInStockV1, BatchChangedV1, HoldReleasedV1, LowStockV1
from app.service_layer.handlers import COMMAND_HANDLERS
from app.service_layer.idempotency import IdempotencyKey, StoredAnswer
from app.service_layer.messagebus import MessageBus
from app.service_layer.ports import Cause
from app.service_layer.requests import Outcome, Request
from app.service_layer.results import BatchChanged, BatchRecorded, LineAccepted, OrderAccepted, OrderState, status_of
from faults.actors import SKUS, Actor
from faults.hold_actions import LONGEST
from faults.journal import Answer, Entry
from faults.load import as_message
from faults.oracle import SWEEP_SECONDS, judge
from faults.story import BatchSeen, Event, LineSeen, ProductSeen, Story
from tests.support.fakes import InMemoryStore

TURNS, FEW_TURNS = 200, 60
SEEDS = (1, 2)
NOW, TURN = datetime(2030, 1, 1, tzinfo=UTC), timedelta(seconds=0.3)

ship, cancel, make_order = Product.ship, Product.cancel, Order.of
allocate, expire = Product.allocate, Product.expire_holds


class Theatre:
    """The service without database and broker, and a few clients who take turns."""

    def __init__(self, seed: int) -> None:
        self.store = InMemoryStore()
        self.now = self.store.now = NOW
        self.bus = MessageBus(self.store.unit_of_work, COMMAND_HANDLERS)
        http = [Actor(f"h{number}", "http", seed) for number in range(4)]
        self.actors = [*http, *(Actor(f"k{number}", "kafka", seed) for number in range(2))]
        self.story = Story([], [])

    async def play(self, turns: int) -> Story:
        """Return after `turns` turns of each actor."""
        for entry in self.actors[0].opening(SKUS):
            await self._run([entry])
        for _ in range(turns):
            self._pass(TURN)
            entries = [actor.next() for actor in self.actors]
            await self._run(entries)
            for actor, entry in zip(self.actors, entries, strict=True):
                actor.learn(entry)
        self._pass(timedelta(seconds=LONGEST))
        await self.bus.run_shared([Request(ExpireHolds(sku=sku), Cause("sweeper", "sweeper")) for sku in SKUS])
        self._publish()
        self._look()
        return self.story

    def _pass(self, time: timedelta) -> None:
        self.now += time
        self.store.now = self.now

    async def _run(self, entries: Sequence[Entry]) -> None:
        outcomes = await self.bus.handle_group([_request(each) for each in entries])
        for entry, outcome in zip(entries, outcomes, strict=True):
            status, body = _answer(outcome) if entry.via == "http" else (200, None)
            entry.answers.append(Answer(0.0, 0.0, status, body))
            self.story.entries.append(entry)
        self._publish()

    def _publish(self) -> None:
        outbox = self.store.tables.outbox
        for number, (message, cause) in enumerate(outbox, start=len(self.story.events)):
            data = json.loads(message.data)
            facts = (message.type, message.subject, message.sequence, data, cause.causation_id)
            self.story.events.append(Event(f"e{number}", *facts, created=self.now.timestamp()))
        outbox.clear()

    def _look(self) -> None:
        """Fill in what the read side would show."""
        tables, story = self.store.tables, self.story
        for ref, row in tables.batches.items():
            available = row.qty - row.allocated_qty - row.shipped_qty
            eta = str(row.eta) if row.eta else None
            quantities = (row.allocated_qty, available, row.shipped_qty, row.held_qty)
            story.batches[ref] = BatchSeen(ref, row.sku, row.qty, eta, *quantities)
        for (order_id, sku), line in tables.lines.items():
            eta = story.batches[line.batch_ref].eta if line.batch_ref else None
            status = status_of(
                is_allocated=line.batch_ref is not None,
                is_shipped=line.shipped is not None,
                is_held=line.held_until is not None,
            )
            until = line.held_until.isoformat() if line.held_until else None
            story.lines[order_id, sku] = LineSeen(order_id, sku, line.qty, status, line.batch_ref, eta, until)
        for sku, product in tables.products.items():
            own = [batch for batch in story.batches.values() if batch.sku == sku]
            story.products[sku] = ProductSeen(
                sku,
                sum(batch.available_qty for batch in own),
                sum(batch.allocated_qty for batch in own),
                product.backordered_qty,
                sum(batch.shipped_qty for batch in own),
                held_qty=product.held_qty,
            )
        story.now = self.now.timestamp() + SWEEP_SECONDS
        story.inbound = story.inbox = [entry.id for entry in story.entries if entry.via == "kafka"]


def _request(entry: Entry) -> Request:
    key = IdempotencyKey("", entry.idempotency_key, b"") if entry.idempotency_key else None
    return Request(_command(entry), Cause(entry.id, entry.id), key=key, encode=_encode if key else None)


def _command(entry: Entry) -> Command:
    if entry.kind == "hold_order":
        return HoldOrder.model_validate(entry.data)
    ce_type, data = as_message(entry)
    if entry.kind == "change_batch" and entry.via == "http":
        return ChangeBatch.model_validate(data)
    command = INBOUND_MESSAGES[ce_type].model_validate_json(json.dumps(data))
    assert isinstance(command, Command)
    return command


def _answer(outcome: Outcome) -> tuple[int, Any]:
    """The status and the body with which HTTP would answer."""
    if outcome.answer is not None:
        return outcome.answer.status, json.loads(outcome.answer.body)
    return _rendered(outcome.result if outcome.error is None else None, outcome.error)


def _encode(result: object, refusal: DomainError | None) -> StoredAnswer:
    status, body = _rendered(result, refusal)
    return StoredAnswer(status, (), json.dumps(body).encode())


def _rendered(result: object, error: Exception | None) -> tuple[int, Any]:
    if isinstance(error, DomainError):
        return KINDS[error.code].status, {"code": error.code}
    if error is not None:
        raise error
    status, body = 200, result
    shown: TypeAdapter[Any] = ALLOCATION
    match body:
        case LineAccepted(allocation, created):
            status = 200 if not created else 201 if allocation.batch_ref else 202
            body = allocation
        case OrderAccepted(order, created):
            status, shown, body = 201 if created else 200, ORDER, order
        case OrderState():
            shown = ORDER
        case BatchRecorded(batch, created):
            status, shown, body = 201 if created else 200, BATCH, batch
        case BatchChanged():
            shown, body = CHANGED_BATCH, ChangedBatch.after(body)
        case None:
            return 204, None
        case _:
            pass
    return status, shown.dump_python(body, mode="json")


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
    story = played(SEEDS[0])

    seen = {(each.kind, each.final.body["code"]) for each in story.entries if each.final and _is_refusal(each.final)}
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
    }
    published = {(event.type, event.cause[0]) for event in story.events}
    types = {message.ce_type for message in OUTBOUND_MESSAGES.values()}
    # The load has no reorder points and no carts, and does not change the terms of batches.
    types -= {LowStockV1.ce_type, CartCheckedOutV1.ce_type, BatchChangedV1.ce_type}
    assert published >= {(ce_type, client) for ce_type in types - {BackInStockV1.ce_type} for client in "hk"}
    assert {ce_type for ce_type, _ in published} == types
    ends = {event.data["reason"] for event in story.events if event.type == HoldReleasedV1.ce_type}
    assert ends == {"expired", "cancelled", "replaced", "batch_quantity_changed"}


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
        pytest.param(Order, "of", lose_a_line, "was accepted 0 times, not 1", id="an order half placed"),
    ],
)
def test_the_oracle_sees_what_the_use_cases_do_wrong(
    owner: type, method: str, spoilt: Callable[..., object], complaint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owner, method, spoilt)
    story = asyncio.run(Theatre(SEEDS[0]).play(FEW_TURNS))

    complaints = judge(story).complaints

    assert any(complaint in each for each in complaints), complaints


def _is_refusal(answer: Answer) -> bool:
    return (answer.status or 0) >= 400
