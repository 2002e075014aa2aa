"""The service in memory, and the clients of `make faults`, who take turns."""

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import TypeAdapter

from app.domain.commands import (
    ChangeBatch,
    CheckOutCart,
    Command,
    ExpireHolds,
    HoldOrder,
    SetCartItem,
    SetReorderPoint,
)
from app.domain.errors import DomainError
from app.entrypoints.http.answers import (
    ALLOCATION,
    BATCH,
    CART,
    CHANGED_BATCH,
    CHECKED_OUT_ORDER,
    COUNTED_PRODUCT,
    ORDER,
    STOCK,
    ChangedBatch,
    CountedProduct,
)
from app.entrypoints.http.problems import KINDS
from app.integration.inbound import INBOUND_MESSAGES, StockCount
from app.service_layer.cart_results import CartOrdered, ItemSet
from app.service_layer.handlers import COMMAND_HANDLERS
from app.service_layer.idempotency import IdempotencyKey, StoredAnswer
from app.service_layer.messagebus import MessageBus
from app.service_layer.ports import Cause
from app.service_layer.requests import Outcome, Request
from app.service_layer.results import (
    BatchChanged,
    BatchRecorded,
    LineAccepted,
    OrderAccepted,
    OrderState,
    ProductCounted,
    StockState,
    status_of,
)
from faults.actors import SKUS, Actor
from faults.cart_actions import CURRENCY
from faults.hold_actions import LONGEST
from faults.journal import Answer, Entry, Kind
from faults.load import as_message
from faults.oracle import SWEEP_SECONDS
from faults.story import BatchSeen, CartSeen, Event, LineSeen, ProductSeen, Story
from tests.support.fakes import InMemoryStore

NOW, TURN = datetime(2030, 1, 1, tzinfo=UTC), timedelta(seconds=0.3)
ANSWER_SECONDS = 0.1
"""Less than a turn."""

OVER_HTTP_ONLY: dict[Kind, type[Command]] = {
    "hold_order": HoldOrder,
    "set_reorder_point": SetReorderPoint,
    "set_item": SetCartItem,
    "check_out": CheckOutCart,
}

MADE: dict[type, tuple[TypeAdapter[Any], str, str]] = {
    LineAccepted: (ALLOCATION, "allocation", "changed"),
    OrderAccepted: (ORDER, "order", "changed"),
    BatchRecorded: (BATCH, "batch", "created"),
    ItemSet: (CART, "cart", "created"),
    CartOrdered: (CHECKED_OUT_ORDER, "order", "created"),
}
"""How HTTP shows a result that says whether something is new: the fields with the body, and with that."""

SHOWN: dict[type, tuple[TypeAdapter[Any], Callable[[Any], object]]] = {
    BatchChanged: (CHANGED_BATCH, ChangedBatch.after),
    ProductCounted: (COUNTED_PRODUCT, CountedProduct.after),
    OrderState: (ORDER, lambda order: order),
    StockState: (STOCK, lambda stock: stock),
}


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
            entry.answers.append(Answer(self.now.timestamp(), self.now.timestamp() + ANSWER_SECONDS, status, body))
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
            available = 0 if row.is_blocked else row.qty - row.allocated_qty - row.shipped_qty
            eta = str(row.eta) if row.eta else None
            terms = (row.location, str(row.best_before) if row.best_before else None, row.is_blocked)
            quantities = (row.allocated_qty, available, row.shipped_qty, row.held_qty)
            story.batches[ref] = BatchSeen(ref, row.sku, row.qty, eta, *quantities, *terms)
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
                reorder_point=product.reorder_point,
                held_qty=product.held_qty,
            )
        for cart_id, cart in tables.carts.items():
            items = [{"sku": each.sku, "qty": each.qty, "unit_price": each.unit_price} for each in cart.items]
            story.carts[cart_id] = CartSeen(cart_id, cart.status, cart.order_id, cart.total, items)
        story.now = self.now.timestamp() + SWEEP_SECONDS
        story.inbound = story.inbox = [entry.id for entry in story.entries if entry.via == "kafka"]


def _request(entry: Entry) -> Request:
    key = IdempotencyKey("", entry.idempotency_key, b"") if entry.idempotency_key else None
    return Request(_command(entry), Cause(entry.id, entry.id), key=key, encode=_encode if key else None)


def _command(entry: Entry) -> Command:
    if entry.kind in OVER_HTTP_ONLY:
        more = {"default_currency": CURRENCY, "new_order_id": "none"}
        return OVER_HTTP_ONLY[entry.kind].model_validate({**entry.data, **more}, extra="ignore")
    ce_type, data = as_message(entry)
    if entry.kind == "change_batch" and entry.via == "http":
        return ChangeBatch.model_validate(data)
    command = INBOUND_MESSAGES[ce_type].model_validate_json(json.dumps(data))
    return command.root if isinstance(command, StockCount) else command


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
    if result is None:
        return 204, None
    if type(result) in MADE:
        shown, part, flag = MADE[type(result)]
        body = getattr(result, part)
        waits = isinstance(result, LineAccepted) and result.allocation.batch_ref is None
        status = 200 if not getattr(result, flag) else 202 if waits else 201
        return status, shown.dump_python(body, mode="json")
    shown, view = SHOWN.get(type(result), (ALLOCATION, lambda found: found))
    return 200, shown.dump_python(view(result), mode="json")
