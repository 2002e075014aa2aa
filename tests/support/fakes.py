"""Hand-written stand-ins for the adapters: a store in memory, and a unit of work over it.

They keep the same promises as PostgreSQL (`tests/integration/test_unit_of_work_contract.py` runs one contract over
both), and they are as strict: a product holds only what was named or fetched, so a handler that forgets to fetch fails
here too.
"""

import asyncio
import copy
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

from app.domain.events import Event
from app.domain.orders import PlacedOrder
from app.domain.product import Product
from app.domain.stock import split_line_key
from app.integration.dead_letters import DeadLetter
from app.integration.inbound import ReceivedMessage
from app.integration.outbound import OutboundMessage, to_message
from app.service_layer.idempotency import IdempotencyKey, IdempotencyKeyReusedError, StoredAnswer
from app.service_layer.lock_sets import LockSet
from app.service_layer.ports import Cause, Receipt
from tests.support.fake_carts import FakeCartRepository
from tests.support.fake_products import FakeProductRepository
from tests.support.fake_tables import Tables


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

    def unit_of_work(self, _cell: int = 0) -> "FakeUnitOfWork":
        return FakeUnitOfWork(self)

    @property
    def published(self) -> list[OutboundMessage]:
        """The messages committed to the outbox, oldest first."""
        return [message for message, _ in self.tables.outbox]


class FakeOrderRepository:
    """Implements `OrderRepository` over the tables."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._locks = LockSet()

    async def load(self, locks: LockSet) -> None:
        for key, sku in self._tables.lines:
            if split_line_key(key)[0] in locks.orders:
                locks.skus.add(sku)
                locks.lines.add((key, sku))
        self._locks = locks

    def placed(self, order_id: str) -> PlacedOrder | None:
        return self._tables.orders.get(order_id)

    def lines(self, order_id: str) -> Sequence[tuple[str, str]]:
        return sorted((sku, key) for key, sku in self._locks.lines if split_line_key(key)[0] == order_id)

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
        self.event_count = 0
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

    def collect_events(self) -> None:
        events, self._events = self._events, []
        self._add_to_outbox(events + self.products.take_events())

    async def flush(self, product: Product, done: Iterable[str] = ()) -> None:
        self._add_to_outbox(product.drain_events())
        self.products.flush()
        self.products.forget(product, done)

    async def flush_all(self) -> None:
        self.products.flush()

    def _add_to_outbox(self, events: Sequence[Event]) -> None:
        for event in events:
            self.outbox.add(to_message(event), self.cause)
        self.event_count += len(events)

    async def commit(self) -> None:
        fault = self._store.faults.pop(0) if self._store.faults else None
        if fault is not None:
            raise fault
        self.products.flush()
        self.products.discard_unused()
        self._store.tables = self._tables
        self._store.commits += 1
