"""The interfaces that handlers and bus need. The adapters implement them; tests have fakes."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Any, Protocol, Self

from app.domain.events import Event
from app.domain.orders import PlacedOrder
from app.domain.product import Product
from app.integration.dead_letters import DeadLetter
from app.integration.inbound import ReceivedMessage
from app.integration.outbound import OutboundMessage
from app.service_layer.cart_ports import CartRepository
from app.service_layer.idempotency import IdempotencyKey, StoredAnswer
from app.service_layer.lock_sets import LockSet
from app.service_layer.product_ports import ProductRepository


class TemporarilyUnavailableError(Exception):
    """An outside system did not answer or requested a retry: the same work may succeed soon.

    `is_local` says that the fault concerns some rows only (a lock that others hold, a unique value that others insert),
    so that the rest of the group succeeds without them. `timed_out` says that the work was stopped at a time limit,
    so that less at once succeeds.
    """

    def __init__(self, reason: str, *, is_local: bool = False, timed_out: bool = False) -> None:
        super().__init__(reason)
        self.timed_out = timed_out
        self.is_local = is_local or timed_out


class TooLargeToShareError(Exception):
    """A command needs more lines of a product than a shared unit of work may read."""

    def __init__(self, sku: str) -> None:
        super().__init__(sku)
        self.sku = sku


@dataclass(frozen=True, slots=True)
class Cause:
    """The origin of a command. Each event that follows from the command carries it.

    `causation_id` is the id of the message or request itself, `correlation_id` that of the whole conversation,
    `traceparent` the W3C trace context where there is one, and `principal` the authenticated caller, where it is known.
    """

    causation_id: str
    correlation_id: str
    traceparent: str | None = None
    principal: str | None = None

    def by(self, principal: str) -> "Cause":
        """The same cause with a principal. `dataclasses.replace` is slow, and each request needs this."""
        return Cause(self.causation_id, self.correlation_id, self.traceparent, principal)


class OrderRepository(Protocol):
    """The orders that the group names, each locked until the unit of work ends.

    Call `load` before that of the products, because it adds lines to the lock set.
    """

    async def load(self, locks: LockSet) -> None:
        """Lock and fetch the orders, and add to the names every line that they have."""

    def placed(self, order_id: str) -> PlacedOrder | None:
        """What was placed under the id last; None where nothing is stored."""

    def lines(self, order_id: str) -> Sequence[tuple[str, str]]:
        """SKU and key of each line that the order had or gets in this group, sorted."""

    def place(self, order: PlacedOrder) -> None:
        """Store what the order consists of."""

    def forget(self, order_id: str) -> None:
        """Delete what the order consisted of."""


class Answers(Protocol):
    """The stored answers to requests with an idempotency key. Load them first."""

    async def load(self, keys: Iterable[IdempotencyKey]) -> None:
        """Lock the keys until the unit of work ends, and fetch the stored answers."""

    def find(self, key: IdempotencyKey) -> StoredAnswer | None:
        """The stored answer; None where this is the first request with the key.

        Raises IdempotencyKeyReusedError where it was stored for another request, and IdempotencyKeyInUseError where
        another unit of work is about to store it.
        """

    def keep(self, key: IdempotencyKey, answer: StoredAnswer) -> None:
        """Store the answer to the first request with the key."""


class Outbox(Protocol):
    """What the transaction stores for the relay."""

    def add(self, message: OutboundMessage, cause: Cause) -> None:
        """Store the message. The relay publishes it after the commit."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """The record of a message that was received before.

    `content` is its digest, None where a release that kept none had received it; `received_at` is None for a message
    of the same group.
    """

    content: bytes | None
    received_at: datetime | None = None


class MessageConflictError(Exception):
    """A message has the source and the id of an earlier one, but another content. It took no effect."""

    def __init__(self, message: ReceivedMessage, earlier: Receipt) -> None:
        when = f"at {earlier.received_at.isoformat(timespec='seconds')}" if earlier.received_at else "just before it"
        source = f"of the source {message.source!r}" if message.source else "without a source"
        super().__init__(f"the id {message.id!r} {source} belongs to another message, which was received {when}")


class Inbox(Protocol):
    """The messages that have taken effect, by source and id."""

    async def accept(self, messages: Sequence[ReceivedMessage]) -> dict[tuple[str, str], Receipt]:
        """Insert the messages, no two of one identity; they become visible with the commit.

        Returns the receipts of those that were known before, by identity. A message that a release without sources
        has received is known whatever its source is now.
        """

    async def withdraw(self, messages: Sequence[ReceivedMessage]) -> None:
        """Undo `accept` for messages that this transaction does not handle."""


class DeadLetterBox(Protocol):
    """Messages that could not be handled, stored until an operator has fixed the cause."""

    async def add(self, letter: DeadLetter) -> bool:
        """Store the letter, once for each record and once for each message; returns whether it is new.

        A message is known by its id and its content (`DeadLetter.content`).
        """


class UnitOfWork(Protocol):
    """One transaction. All its changes become visible at the commit, or none."""

    @property
    def products(self) -> ProductRepository:
        """The products of this transaction."""

    @property
    def orders(self) -> OrderRepository:
        """The orders of this transaction."""

    @property
    def carts(self) -> CartRepository:
        """The carts of this transaction."""

    @property
    def answers(self) -> Answers:
        """The answers that are stored with this transaction."""

    @property
    def outbox(self) -> Outbox:
        """The outbox of this transaction."""

    @property
    def inbox(self) -> Inbox:
        """The messages that take effect with this transaction."""

    @property
    def dead_letters(self) -> DeadLetterBox:
        """The messages that become dead letters with this transaction."""

    cause: Cause
    """Where the command being handled came from."""

    event_count: int
    """How many events this transaction stores so far."""

    def raise_event(self, event: Event) -> None:
        """Raise an event that belongs to no product."""

    def collect_events(self) -> None:
        """End a command: put its events into the outbox. Those of one subject keep their order."""

    async def flush(self, product: Product, done: Iterable[str] = ()) -> None:
        """Write what a long command has changed of the product so far, with its events, and give other tasks a turn.

        The lines of the orders `done` are dropped from memory, unless a command of the group names them.
        """

    async def flush_all(self) -> None:
        """Write everything that has changed so far, between two items of a command that has many."""

    async def commit(self) -> None:
        """Write what changed and commit. Raises TemporarilyUnavailableError where it should be tried again."""

    async def __aenter__(self) -> Self:
        """Begin. Raises TemporarilyUnavailableError."""

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Roll back what was not committed. Raises TemporarilyUnavailableError in place of a transient error."""


UnitOfWorkFactory = Callable[[int], UnitOfWork]
"""Makes a unit of work for commands of this cell, or `OVER_CELLS`. It does not have to stay in that cell."""

CommandHandler = Callable[[Any, UnitOfWork], Awaitable[Any]]
