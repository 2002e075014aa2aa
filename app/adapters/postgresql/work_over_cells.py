"""A unit of work over several cells: the repositories of each cell, and what chooses among them.

Rows are locked cell by cell in ascending order: all carts, then all orders, then all products. The lines of an order
are in the cells of their products, so an order that is named as a whole is looked up in each cell.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial

from app.adapters.postgresql.calendar import Calendar
from app.adapters.postgresql.cell_work import CellWork, QualifiedConnection
from app.adapters.postgresql.cells import schemas_of
from app.adapters.postgresql.order_repository import SqlOrderRepository
from app.adapters.postgresql.pipelined_connection import PipelinedConnection
from app.adapters.postgresql.products_over_cells import ProductsOverCells, by_cell
from app.adapters.postgresql.rows import BatchRow
from app.adapters.postgresql.writes import INSERT_BATCHES, Writes
from app.domain.carts import Cart
from app.domain.orders import PlacedOrder
from app.domain.product import Product
from app.integration.inbound import ReceivedMessage
from app.integration.outbound import OutboundMessage
from app.service_layer.cells import CellMap
from app.service_layer.idempotency import IdempotencyKey, StoredAnswer
from app.service_layer.lock_sets import LockSet
from app.service_layer.ports import Cause, Receipt

# One row for each statement: a rejected row keeps its error (unique violation) if the cell is on another server.
_INSERT_REF = "INSERT INTO batch_refs (ref, sku) VALUES ($1, $2)"


class CellWorks:
    """The work in each cell, which begins when the cell is first needed.

    A `CellWork` must not refer to this object, which refers to it: see `CellWriter`.
    """

    def __init__(
        self, connection: PipelinedConnection, calendar: Calendar, cells: CellMap, *, is_locking: bool
    ) -> None:
        self._connection = connection
        self._calendar = calendar
        self.schemas = schemas_of(cells.number)
        self._is_locking = is_locking
        self._before_write = partial(_insert_refs, connection, cells)
        self.begun: dict[int, CellWork] = {}

    def __call__(self, cell: int) -> CellWork:
        """The work in the cell."""
        if cell not in self.begun:
            qualified = QualifiedConnection(self._connection, self.schemas[cell])
            self.begun[cell] = CellWork(
                qualified, self._calendar, is_locking=self._is_locking, before_write=self._before_write
            )
        return self.begun[cell]


async def _insert_refs(connection: PipelinedConnection, cells: CellMap, writes: Writes) -> None:
    """Insert the refs of new batches, each in its cell, in an order that is the same in every transaction."""
    schemas = schemas_of(cells.number)
    rows = map(BatchRow._make, writes.get(INSERT_BATCHES, ()))
    for cell, ref, sku in sorted((cells.of(row.ref), row.ref, row.sku) for row in rows):
        await QualifiedConnection(connection, schemas[cell]).execute(_INSERT_REF, ref, sku)


class WorkOverCells:
    """The same as `CellWork`, for several cells."""

    def __init__(
        self, connection: PipelinedConnection, calendar: Calendar, cells: CellMap, *, is_locking: bool
    ) -> None:
        self._cells = cells
        self._works = works = CellWorks(connection, calendar, cells, is_locking=is_locking)
        self.products = ProductsOverCells(cells, works, works.begun)
        self.orders = OrdersOverCells(cells, works)
        self.carts = CartsOverCells(cells, works)
        self.answers = AnswersOverCells(cells, works)
        self.outbox = OutboxOverCells(cells, works)
        self.inbox = InboxOverCells(cells, works)

    async def flush(self, product: Product, done: Iterable[str]) -> None:
        """See `UnitOfWork.flush`."""
        await self._works(self._cells.of(product.sku)).flush(product, done)

    async def flush_all(self) -> None:
        """Start to write what has changed of the products, and the events."""
        for cell in sorted(self._works.begun):
            await self._works(cell).flush_all()

    async def write(self, note: Writes, *, is_needed: bool) -> str | None:
        """Write the changes of each cell in one statement, the first of them with the note of the commit.

        A cell whose changes were all flushed before gets the note if no cell before it has. See `CellWork.write`.
        """
        noted: str | None = None
        for cell in sorted(self._works.begun):
            work = self._works(cell)
            writes = await work.take_writes()
            if any(writes.values()) or (work.writer.has_flushed and noted is None):
                await work.writer.execute(writes if noted is not None else {**writes, **note})
                noted = noted or self._works.schemas[cell]
        if noted is None and is_needed:
            noted = self._works.schemas[0]
            await self._works(0).writer.execute(note)
        return noted


class OrdersOverCells:
    """Implements `OrderRepository`."""

    def __init__(self, cells: CellMap, work: Callable[[int], CellWork]) -> None:
        self._cells = cells
        self._work = work

    async def load(self, locks: LockSet) -> None:
        """Lock the orders, each in its cell, and look for their lines in all cells."""
        for cell, order_ids in by_cell(self._cells, locks.orders):
            await self._work(cell).orders.lock(order_ids)
        for cell in range(self._cells.number):
            await self._work(cell).orders.fetch(locks)
        for cell, order_ids in by_cell(self._cells, locks.orders):
            self._work(cell).orders.take_lines(order_ids, locks)

    def placed(self, order_id: str) -> PlacedOrder | None:
        """What was placed under the id last."""
        return self._of(order_id).placed(order_id)

    def lines(self, order_id: str) -> Sequence[tuple[str, str]]:
        """SKU and key of each line that the order had or gets in this group."""
        return self._of(order_id).lines(order_id)

    def place(self, order: PlacedOrder) -> None:
        """Remember what the order is made of."""
        self._of(order.order_id).place(order)

    def forget(self, order_id: str) -> None:
        """Forget what the order was made of."""
        self._of(order_id).forget(order_id)

    def _of(self, order_id: str) -> SqlOrderRepository:
        return self._work(self._cells.of(order_id)).orders


class CartsOverCells:
    """Implements `CartRepository`."""

    def __init__(self, cells: CellMap, work: Callable[[int], CellWork]) -> None:
        self._cells = cells
        self._work = work
        self._orders: Mapping[str, Collection[str]] = {}

    async def load(self, locks: LockSet) -> None:
        """Lock and fetch the carts, each in its cell, and add to the lock set what their checkouts need."""
        found: dict[str, Cart] = {}
        for cell, cart_ids in by_cell(self._cells, locks.carts):
            found |= await self._work(cell).carts.fetch(cart_ids)
        self._orders = locks.add_checkouts(found)

    def get(self, cart_id: str) -> Cart | None:
        """The cart as this group has changed it."""
        return self._work(self._cells.of(cart_id)).carts.get(cart_id)

    def add(self, cart: Cart) -> None:
        """Store a new cart."""
        self._work(self._cells.of(cart.cart_id)).carts.add(cart)

    def orders_of_checkout(self, cart_id: str) -> Collection[str]:
        """The order ids that `load` has found."""
        return self._orders.get(cart_id, ())


class AnswersOverCells:
    """Implements `Answers`. An answer is in the cell of its key, which is that of no product."""

    def __init__(self, cells: CellMap, work: Callable[[int], CellWork]) -> None:
        self._cells = cells
        self._work = work

    async def load(self, keys: Iterable[IdempotencyKey]) -> None:
        """Lock the keys that are free, and fetch the answers that are stored."""
        found: defaultdict[int, list[IdempotencyKey]] = defaultdict(list)
        for key in keys:
            found[self._cell_of(key)].append(key)
        for cell in sorted(found):
            await self._work(cell).answers.load(found[cell])

    def find(self, key: IdempotencyKey) -> StoredAnswer | None:
        """See `Answers.find`."""
        return self._work(self._cell_of(key)).answers.find(key)

    def keep(self, key: IdempotencyKey, answer: StoredAnswer) -> None:
        """Store the answer with the commit."""
        self._work(self._cell_of(key)).answers.keep(key, answer)

    def _cell_of(self, key: IdempotencyKey) -> int:
        return self._cells.of("\0".join(key.name))


class OutboxOverCells:
    """Implements `Outbox`. An event is in the cell of its subject."""

    def __init__(self, cells: CellMap, work: Callable[[int], CellWork]) -> None:
        self._cells = cells
        self._work = work

    def add(self, message: OutboundMessage, cause: Cause) -> None:
        """Keep the message until it is written."""
        self._work(self._cells.of(message.subject)).outbox.add(message, cause)


class InboxOverCells:
    """Implements `Inbox`. A message is in the cell of the routing key of its command."""

    def __init__(self, cells: CellMap, work: Callable[[int], CellWork]) -> None:
        self._cells = cells
        self._work = work

    async def accept(self, messages: Sequence[ReceivedMessage]) -> dict[tuple[str, str], Receipt]:
        """Insert the messages."""
        receipts: dict[tuple[str, str], Receipt] = {}
        for cell, received in self._by_cell(messages):
            receipts |= await self._work(cell).inbox.accept(received)
        return receipts

    async def withdraw(self, messages: Sequence[ReceivedMessage]) -> None:
        """Delete messages that this transaction has inserted."""
        for cell, received in self._by_cell(messages):
            await self._work(cell).inbox.withdraw(received)

    def _by_cell(self, messages: Iterable[ReceivedMessage]) -> list[tuple[int, list[ReceivedMessage]]]:
        found: defaultdict[int, list[ReceivedMessage]] = defaultdict(list)
        for message in messages:
            found[self._cells.of(message.routing_key)].append(message)
        return sorted(found.items())
