"""Hand-written stand-ins for the adapters: a store in memory, and a unit of work over it.

They keep the same promises as PostgreSQL (`tests/integration/test_unit_of_work_contract.py` runs one contract over
both), and they are as strict: a product holds only what was named or fetched, so a handler that forgets to fetch fails
here too.
"""

import asyncio
import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from types import TracebackType
from typing import Self

from app.domain.carts import Cart
from app.domain.events import Event
from app.domain.orders import PlacedOrder
from app.domain.product import Product
from app.domain.stock import Allocation, Batch, OrderLine
from app.integration.dead_letters import DeadLetter
from app.integration.inbound import ReceivedMessage
from app.integration.outbound import OutboundMessage, to_message
from app.service_layer.idempotency import IdempotencyKey, IdempotencyKeyReusedError, StoredAnswer
from app.service_layer.lock_sets import LockSet
from app.service_layer.ports import Cause, OverdueHolds, Receipt
from tests.support.fake_carts import FakeCartRepository


@dataclass
class ProductRow:
    sequence: int = 0
    backordered_qty: int = 0
    reorder_point: int | None = None
    held_qty: int = 0
    earliest_hold_end: datetime | None = None
    hold_clock: datetime | None = None


@dataclass
class BatchRow:
    sku: str
    number: int
    qty: int
    eta: date | None
    first_qty: int
    first_eta: date | None
    allocated_qty: int
    allocated_lines: int
    shipped_qty: int
    held_qty: int


@dataclass
class LineRow:
    qty: int
    requested: int
    batch_ref: str | None
    allocated: int | None
    shipped: int | None
    held_until: datetime | None


@dataclass
class Tables:
    products: dict[str, ProductRow] = field(default_factory=dict)
    batches: dict[str, BatchRow] = field(default_factory=dict)
    lines: dict[tuple[str, str], LineRow] = field(default_factory=dict)
    orders: dict[str, PlacedOrder] = field(default_factory=dict)
    carts: dict[str, Cart] = field(default_factory=dict)
    answers: dict[tuple[str, str], tuple[bytes, StoredAnswer]] = field(default_factory=dict)
    outbox: list[tuple[OutboundMessage, Cause]] = field(default_factory=list)
    inbox: dict[tuple[str, str], Receipt] = field(default_factory=dict)
    dead_letters: list[DeadLetter] = field(default_factory=list)


class InMemoryStore:
    """What is committed. `faults` are raised by the commits to come, one each; None lets one pass.

    `now` is the time of the units of work to come; None: that of the machine.
    """

    def __init__(self) -> None:
        self.tables = Tables()
        self.faults: list[Exception | None] = []
        self.begun = 0
        self.commits = 0
        self.lock = asyncio.Lock()
        self.now: datetime | None = None

    def unit_of_work(self) -> "FakeUnitOfWork":
        return FakeUnitOfWork(self)

    @property
    def published(self) -> list[OutboundMessage]:
        """The messages committed to the outbox, oldest first."""
        return [message for message, _ in self.tables.outbox]


class FakeProductRepository:
    """Implements `ProductRepository` over the tables."""

    def __init__(self, tables: Tables, now: datetime) -> None:
        self._tables = tables
        self._now = now
        self._products: dict[str, Product] = {}
        self._owners: dict[str, str] = {}
        self._batches_to_create: set[tuple[str, str]] = set()
        self._seen: set[tuple[str, str]] = set()
        self._touched: dict[str, Product] = {}
        self._named: set[tuple[str, str]] = set()

    async def load(self, locks: LockSet, *, shared: bool = False) -> None:
        self._named = locks.lines
        batches = self._tables.batches
        self._owners = {ref: batches[ref].sku for ref in locks.batch_refs if ref in batches}
        self._batches_to_create = {(ref, sku) for ref, sku in locks.batches_to_create if ref not in batches}
        for _, sku in self._batches_to_create:
            self._products[sku] = Product(sku)
        for sku in locks.skus_to_create:
            self._products[sku] = Product(sku)
        for sku in locks.skus | set(self._owners.values()):
            if sku in self._tables.products:
                row = self._tables.products[sku]
                self._products[sku] = Product(sku, **vars(row))
        for ref, batch in batches.items():
            if batch.sku in self._products and (
                batch.allocated_qty + batch.shipped_qty < batch.qty or ref in locks.batch_refs
            ):
                self._attach_batch(ref)
        for order_id, sku in locks.lines:
            if (order_id, sku) in self._tables.lines and sku in self._products:
                self._attach_line(order_id, sku)
        for product in self._products.values():
            product.set_time(self._now)

    async def fetch_overdue_holds(self, *, limit: int) -> Sequence[OverdueHolds]:
        found = []
        for product in self._products.values():
            if not product.has_overdue_holds:
                continue
            held = sorted(
                (row.held_until, row.allocated or 0, order_id)
                for (order_id, sku), row in self._tables.lines.items()
                if sku == product.sku and row.held_until is not None
            )
            overdue = [order_id for held_until, _, order_id in held if held_until <= product.now][:limit]
            limit -= len(overdue)
            for order_id in overdue:
                self._attach_line(order_id, product.sku)
            left = held[len(overdue) :]
            found.append(OverdueHolds(self.get_or_create(product.sku), overdue, left[0][0] if left else None))
        return found

    def get(self, sku: str) -> Product | None:
        product = self._products.get(sku)
        return self.get_or_create(sku) if product and product.sequence else None

    def get_or_create(self, sku: str) -> Product:
        return self._touched.setdefault(sku, self._products[sku])

    def sku_of_batch(self, ref: str) -> str | None:
        named = [sku for to_create, sku in self._batches_to_create if to_create == ref]
        recorded = (sku for sku in named if sku in self._products and ref in self._products[sku].batches)
        return self._owners.get(ref) or next(recorded, None)

    @property
    def locked_elsewhere(self) -> frozenset[str]:
        return frozenset()  # Units of work run one at a time.

    async def fetch_on_hand(self, product: Product) -> None:
        here = {ref: row for ref, row in self._tables.batches.items() if row.sku == product.sku and row.eta is None}
        last = max((row.number for row in here.values()), default=0)
        for ref, row in here.items():
            if row.shipped_qty < row.qty or row.number == last:
                self._attach_batch(ref)

    async def fetch_last_allocated(self, product: Product, batch: Batch, qty: int) -> None:
        held = [
            (row.held_until is not None, row.allocated or 0, order_id, row.qty)
            for order_id, row in self._held(product, batch)
        ]
        for _, _, order_id, line_qty in sorted(held, reverse=True):
            if qty <= 0:
                break
            self._attach_line(order_id, product.sku)
            qty -= line_qty

    async def fetch_allocated(
        self, product: Product, batch: Batch, *, max_qty: int, after: int, limit: int
    ) -> Sequence[str]:
        held = [(row.requested, order_id) for order_id, row in self._held(product, batch) if row.qty <= max_qty]
        orders = [order_id for requested, order_id in sorted(held) if requested > after][:limit]
        for order_id in orders:
            self._attach_line(order_id, product.sku)
        return orders

    async def first_orders(self, product: Product, batch: Batch, *, limit: int) -> Sequence[str]:
        firm = [(order_id, row) for order_id, row in self._held(product, batch) if row.held_until is None]
        held = sorted((row.allocated or 0, order_id) for order_id, row in firm)
        return [order_id for _, order_id in held[:limit]]

    def _held(self, product: Product, batch: Batch) -> list[tuple[str, LineRow]]:
        self.flush()
        return [
            (order_id, row)
            for (order_id, sku), row in self._tables.lines.items()
            if sku == product.sku and row.batch_ref == batch.ref and row.shipped is None
        ]

    async def fetch_backorders(self, product: Product, *, max_qty: int, after: int, limit: int) -> Sequence[str]:
        self.flush()
        waiting = [
            (row.requested, order_id)
            for (order_id, sku), row in self._tables.lines.items()
            if sku == product.sku and row.batch_ref is None and row.requested > after and row.qty <= max_qty
        ]
        orders = [order_id for _, order_id in sorted(waiting)[:limit]]
        for order_id in orders:
            self._attach_line(order_id, product.sku)
        return orders

    def start_command(self) -> None:
        pass

    def take_events(self) -> list[Event]:
        return [event for product in self._touched.values() for event in product.take_events()]

    def flush(self) -> None:
        """Write what the products hold into the tables."""
        for sku, product in self._touched.items():
            self._tables.products[sku] = ProductRow(
                product.sequence,
                product.backordered_qty,
                product.reorder_point,
                product.held_qty,
                product.earliest_hold_end,
                product.hold_clock,
            )
            for batch in product.batches.values():
                self._tables.batches[batch.ref] = BatchRow(
                    sku,
                    batch.number,
                    batch.qty,
                    batch.eta,
                    batch.first_qty,
                    batch.first_eta,
                    batch.allocated_qty,
                    batch.allocated_lines,
                    batch.shipped_qty,
                    batch.held_qty,
                )
            for order_id, held in product.allocations.items():
                ref = held.batch.ref if held.batch else None
                sequences = (held.requested_sequence, ref, held.allocated_sequence, held.shipped_sequence)
                self._tables.lines[order_id, sku] = LineRow(held.line.qty, *sequences, held.held_until)
                self._seen.add((order_id, sku))
        for order_id, sku in [key for key in self._seen if key[0] not in self._products[key[1]].allocations]:
            self._tables.lines.pop((order_id, sku), None)

    def forget(self, product: Product, order_ids: Iterable[str]) -> None:
        unnamed = [order_id for order_id in order_ids if (order_id, product.sku) not in self._named]
        product.forget_lines(unnamed)
        self._seen -= {(order_id, product.sku) for order_id in unnamed}

    def discard_unused(self) -> None:
        for sku in [sku for sku, row in self._tables.products.items() if not row.sequence]:
            del self._tables.products[sku]

    def _attach_batch(self, ref: str) -> Batch:
        row = self._tables.batches[ref]
        sums = (row.allocated_qty, row.allocated_lines, row.shipped_qty, row.held_qty)
        batch = Batch(row.number, ref, row.qty, row.eta, row.first_qty, row.first_eta, *sums)
        return self._products[row.sku].attach_batch(batch)

    def _attach_line(self, order_id: str, sku: str) -> None:
        row = self._tables.lines[order_id, sku]
        batch = self._attach_batch(row.batch_ref) if row.batch_ref else None
        line = OrderLine(order_id, sku, row.qty)
        sequences = (row.requested, batch, row.allocated, row.shipped)
        self._products[sku].attach_allocation(Allocation(line, *sequences, row.held_until))
        self._seen.add((order_id, sku))


class FakeOrderRepository:
    """Implements `OrderRepository` over the tables."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._locks = LockSet()

    async def load(self, locks: LockSet) -> None:
        for order_id, sku in self._tables.lines:
            if order_id in locks.orders:
                locks.skus.add(sku)
                locks.lines.add((order_id, sku))
        self._locks = locks

    def placed(self, order_id: str) -> PlacedOrder | None:
        return self._tables.orders.get(order_id)

    def skus(self, order_id: str) -> Sequence[str]:
        return sorted(sku for named, sku in self._locks.lines if named == order_id)

    def place(self, order: PlacedOrder) -> None:
        self._tables.orders[order.order_id] = order

    def forget(self, order_id: str) -> None:
        self._tables.orders.pop(order_id, None)


class FakeAnswers:
    """Implements `Answers` over the tables; units run one at a time, so no key is ever in use."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    async def load(self, keys: Iterable[IdempotencyKey]) -> None:
        pass

    def find(self, key: IdempotencyKey) -> StoredAnswer | None:
        fingerprint, answer = self._tables.answers.get(key.name, (key.fingerprint, None))
        if fingerprint != key.fingerprint:
            raise IdempotencyKeyReusedError
        return answer

    def keep(self, key: IdempotencyKey, answer: StoredAnswer) -> None:
        self._tables.answers[key.name] = (key.fingerprint, answer)


class FakeOutbox:
    """Implements `Outbox`."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    def add(self, message: OutboundMessage, cause: Cause) -> None:
        self._tables.outbox.append((message, cause))


class FakeInbox:
    """Implements `Inbox`."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    async def accept(self, messages: Sequence[ReceivedMessage]) -> dict[tuple[str, str], Receipt]:
        inbox = self._tables.inbox
        known = {each.identity: inbox[each.identity] for each in messages if each.identity in inbox}
        now = datetime.now(UTC)
        for message in messages:
            inbox.setdefault(message.identity, Receipt(message.content, now))
        return known

    async def withdraw(self, messages: Sequence[ReceivedMessage]) -> None:
        for message in messages:
            del self._tables.inbox[message.identity]


class FakeDeadLetterBox:
    """Implements `DeadLetterBox`."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    async def add(self, letter: DeadLetter) -> bool:
        def place(kept: DeadLetter) -> tuple[object, ...]:
            return kept.consumer, kept.topic, kept.partition, kept.offset, kept.timestamp, kept.value

        def message(kept: DeadLetter) -> tuple[object, ...]:
            return kept.consumer, kept.message_id, kept.content

        for kept in self._tables.dead_letters:
            if place(kept) == place(letter) or (letter.message_id is not None and message(kept) == message(letter)):
                return False
        self._tables.dead_letters.append(letter)
        return True


class FakeUnitOfWork:
    """Implements `UnitOfWork` on a copy of the tables, one unit at a time: the copy takes their place at the commit."""

    products: FakeProductRepository
    orders: FakeOrderRepository
    carts: FakeCartRepository
    answers: FakeAnswers
    outbox: FakeOutbox
    inbox: FakeInbox
    dead_letters: FakeDeadLetterBox

    def __init__(self, store: InMemoryStore) -> None:
        self._store = store
        self._tables = Tables()
        self._events: list[Event] = []
        self.published = 0
        self.cause = Cause(causation_id="", correlation_id="")

    async def __aenter__(self) -> Self:
        await self._store.lock.acquire()
        self._store.begun += 1
        self._tables = copy.deepcopy(self._store.tables)
        self.products = FakeProductRepository(self._tables, self._store.now or datetime.now(UTC))
        self.orders = FakeOrderRepository(self._tables)
        self.carts = FakeCartRepository(self._tables.carts)
        self.answers = FakeAnswers(self._tables)
        self.outbox = FakeOutbox(self._tables)
        self.inbox = FakeInbox(self._tables)
        self.dead_letters = FakeDeadLetterBox(self._tables)
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._store.lock.release()

    def raise_event(self, event: Event) -> None:
        self._events.append(event)

    def publish_events(self) -> None:
        events, self._events = self._events, []
        self._publish(events + self.products.take_events())

    async def flush(self, product: Product, done: Iterable[str] = ()) -> None:
        self._publish(product.drain_events())
        self.products.flush()
        self.products.forget(product, done)

    async def flush_all(self) -> None:
        self.products.flush()

    def _publish(self, events: Sequence[Event]) -> None:
        for event in events:
            self.outbox.add(to_message(event), self.cause)
        self.published += len(events)

    async def commit(self) -> None:
        fault = self._store.faults.pop(0) if self._store.faults else None
        if fault is not None:
            raise fault
        self.products.flush()
        self.products.discard_unused()
        self._store.tables = self._tables
        self._store.commits += 1
