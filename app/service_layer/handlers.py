"""The use cases, listed in the table at the end.

Each is an async function of a command and a unit of work. `GroupRun` begins and commits the unit of work.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from datetime import date
from typing import TypeVar

from app.domain import events
from app.domain.commands import (
    Allocate,
    AllocateMany,
    CancelAllocation,
    CancelOrder,
    ChangeBatch,
    ChangeBatchEta,
    ChangeBatchQuantity,
    ChangeLineQuantity,
    Command,
    CreateBatch,
    CreateBatches,
    CreateBatchIfMatch,
    PlaceOrder,
    ServeBackorders,
    SetReorderPoint,
    ShipLine,
    WhyStockChanged,
)
from app.domain.errors import (
    AllocationNotFoundError,
    BatchConflictError,
    BatchNotFoundError,
    DomainError,
    InvalidSkuError,
    PreconditionFailedError,
    ProductNotFoundError,
)
from app.domain.product import Product
from app.domain.relocation import Move, Relocation, reserve_sooner
from app.domain.stock import Allocation, Batch, OrderLine
from app.integration.dead_letters import KeepDeadLetter
from app.service_layer.backorders import serve_queue
from app.service_layer.entity_tags import check_tag
from app.service_layer.order_handlers import cancel_order, place_order
from app.service_layer.ports import CommandHandler, UnitOfWork
from app.service_layer.results import (
    AllocationState,
    BatchChanged,
    BatchRecorded,
    BatchState,
    LineAccepted,
    LineMove,
    StockState,
)

LATE_LINES = 5000
"""How many lines of a late batch are fetched at a time. Each page sorts all lines of the batch, so pages are large."""

NAMED_ORDERS = 100
"""How many orders an event about a batch names."""

EVENTS_AT_A_TIME = 5000
"""How many events the items of one command raise before what they have changed is written."""

ITEMS_AT_A_TIME = 100
"""How many items of one command run before other tasks get a turn."""

Item = TypeVar("Item", bound=Command)
Result = TypeVar("Result")


async def create_batch(command: CreateBatch, uow: UnitOfWork) -> BatchRecorded:
    """Record a batch and serve the queue. Raises BatchConflictError."""
    if uow.products.sku_of_batch(command.ref) not in {None, command.sku}:
        raise BatchConflictError(command.ref)
    product = uow.products.get_or_create(command.sku)
    batch, created = product.create_batch(command.ref, command.qty, command.eta)
    if created:
        await serve_queue(product, uow)
    return BatchRecorded(BatchState.of(product.sku, batch), created)


async def create_batch_if_match(command: CreateBatchIfMatch, uow: UnitOfWork) -> BatchRecorded:
    """Repeat the recording of a batch.

    Raises PreconditionFailedError if the batch does not exist or has another tag, BatchConflictError if it differs.
    """
    if uow.products.sku_of_batch(command.ref) is None:
        raise PreconditionFailedError
    product, batch = _find_batch(command.ref, uow)
    check_tag(command.if_match, BatchState.of(product.sku, batch))
    return await create_batch(command, uow)


async def allocate(command: Allocate, uow: UnitOfWork) -> LineAccepted:
    """Allocate a line, or queue it. Raises InvalidSkuError, AllocationConflictError, OutOfStockError."""
    product = uow.products.get(command.sku)
    if product is None:
        uow.raise_event(
            events.AllocationFailed(
                sku=command.sku, sequence=None, order_id=command.order_id, qty=command.qty, reason="invalid_sku"
            )
        )
        raise InvalidSkuError(command.sku)
    line = OrderLine(command.order_id, command.sku, command.qty)
    allocation, created = product.allocate(line, command.if_unavailable)
    return LineAccepted(AllocationState.of(allocation), created)


async def create_batches(command: CreateBatches, uow: UnitOfWork) -> list[BatchRecorded | DomainError]:
    """Record batches one after another; a refusal is the answer to its own item and touches no other."""
    return await _each(command.items, create_batch, uow)


async def allocate_many(command: AllocateMany, uow: UnitOfWork) -> list[LineAccepted | DomainError]:
    """Allocate lines one after another; a refusal is the answer to its own item and touches no other."""
    return await _each(command.items, allocate, uow)


async def cancel_allocation(command: CancelAllocation, uow: UnitOfWork) -> None:
    """Remove a line and serve the queue with its stock. Raises AllocationNotFoundError, AlreadyShippedError."""
    product = uow.products.get(command.sku)
    if product is None:
        raise AllocationNotFoundError(command.order_id, command.sku)
    product.cancel(command.order_id)
    await serve_queue(product, uow)


async def change_line_quantity(command: ChangeLineQuantity, uow: UnitOfWork) -> AllocationState:
    """Change a line, and serve the queue. Raises AllocationNotFoundError, AlreadyShippedError, OutOfStockError."""
    product = uow.products.get(command.sku)
    if product is None:
        raise AllocationNotFoundError(command.order_id, command.sku)
    allocation = product.change_line_quantity(command.order_id, command.qty)
    await serve_queue(product, uow)
    return AllocationState.of(allocation)


async def ship_line(command: ShipLine, uow: UnitOfWork) -> AllocationState:
    """Mark a line as shipped. Raises AllocationNotFoundError, NotAllocatedError."""
    product = uow.products.get(command.sku)
    if product is None:
        raise AllocationNotFoundError(command.order_id, command.sku)
    return AllocationState.of(product.ship(command.order_id))


async def change_batch_quantity(command: ChangeBatchQuantity, uow: UnitOfWork) -> BatchChanged:
    """Set the quantity of a batch; lines that no longer fit move. Raises BatchNotFoundError, BelowShippedError."""
    product, batch = _find_batch(command.ref, uow)
    product.check_quantity(batch.ref, command.qty)
    moves = await _change_quantity(product, batch, command.qty, command, uow)
    return await _after_change(product, batch, moves, uow)


async def change_batch_eta(command: ChangeBatchEta, uow: UnitOfWork) -> BatchChanged:
    """Set when a batch arrives. Raises BatchNotFoundError."""
    product, batch = _find_batch(command.ref, uow)
    moves = await _change_eta(product, batch, command.eta, uow, reallocate=command.reallocate)
    return await _after_change(product, batch, moves, uow)


async def change_batch(command: ChangeBatch, uow: UnitOfWork) -> BatchChanged:
    """Set the quantity, the ETA, or both. The ETA is set first, so released lines are placed by the new ETA.

    Raises BatchNotFoundError, PreconditionFailedError, QuantityChangedError, BelowShippedError.
    """
    product, batch = _find_batch(command.ref, uow)
    check_tag(command.if_match, BatchState.of(product.sku, batch))
    given = command.model_fields_set
    if "qty" in given:
        product.check_quantity(batch.ref, command.qty, command.expected_qty)
    moves: list[Move] = []
    if "eta" in given:
        moves += await _change_eta(product, batch, command.eta, uow, reallocate=command.reallocate)
    if "qty" in given:
        moves += await _change_quantity(product, batch, command.qty, command, uow)
    return await _after_change(product, batch, moves, uow)


async def set_reorder_point(command: SetReorderPoint, uow: UnitOfWork) -> StockState:
    """Set the reorder point of a product. Raises ProductNotFoundError, PreconditionFailedError."""
    product = uow.products.get(command.sku)
    if product is None:
        raise ProductNotFoundError(command.sku)
    check_tag(command.if_match, StockState.of(product))
    product.set_reorder_point(command.qty)
    return StockState.of(product)


async def serve_backorders(command: ServeBackorders, uow: UnitOfWork) -> None:
    """Let the stock of a product serve its queue; nothing where there is no such product."""
    product = uow.products.get(command.sku)
    if product is not None:
        await serve_queue(product, uow)


async def keep_dead_letter(command: KeepDeadLetter, uow: UnitOfWork) -> bool:
    """Store a message that cannot be handled. Returns whether it is new."""
    return await uow.dead_letters.add(command.letter)


async def _each(
    items: Iterable[Item], handler: Callable[[Item, UnitOfWork], Awaitable[Result]], uow: UnitOfWork
) -> list[Result | DomainError]:
    answers: list[Result | DomainError] = []
    written = uow.published
    for number, item in enumerate(items, start=1):
        try:
            answers.append(await handler(item, uow))
        except DomainError as refusal:
            answers.append(refusal)
        # The stock level is judged after each item, as if the item came alone.
        uow.publish_events()
        if uow.published - written > EVENTS_AT_A_TIME:
            written = uow.published
            await uow.flush_all()
        if number % ITEMS_AT_A_TIME == 0:
            # The handlers wait only where there are backorders, so other tasks could wait until the last item.
            await asyncio.sleep(0)
    return answers


def _find_batch(ref: str, uow: UnitOfWork) -> tuple[Product, Batch]:
    sku = uow.products.sku_of_batch(ref)
    product = uow.products.get(sku) if sku is not None else None
    if product is None:
        raise BatchNotFoundError(ref)
    return product, product.batches.find(ref)


async def _change_quantity(
    product: Product, batch: Batch, qty: int, why: WhyStockChanged, uow: UnitOfWork
) -> list[Move]:
    overrun = batch.allocated_qty + batch.shipped_qty - qty
    if overrun > 0:
        await uow.products.fetch_last_allocated(product, batch, overrun)
    return await _run(product.change_quantity(batch.ref, qty, why.reason, why.reference), product, uow)


async def _change_eta(
    product: Product, batch: Batch, eta: date | None, uow: UnitOfWork, *, reallocate: bool
) -> list[Move]:
    if batch.eta == eta:
        return []
    order_ids = await uow.products.first_orders(product, batch, limit=NAMED_ORDERS) if batch.allocated_lines else ()
    is_late = product.change_eta(batch.ref, eta, order_ids)
    if not reallocate or not is_late:
        return []
    targets: dict[Allocation, Batch] = {}
    after = 0
    while batch.allocated_lines and (room := product.batches.room_before(batch)):
        held = await uow.products.fetch_allocated(product, batch, max_qty=room, after=after, limit=LATE_LINES)
        lines = [product.allocations[order_id] for order_id in held]
        targets |= reserve_sooner(product.batches, batch, lines)
        if len(lines) < LATE_LINES:
            break
        after = lines[-1].requested_sequence
    return await _run(Relocation.to_targets(product, targets, "batch_eta_changed"), product, uow)


async def _run(relocation: Relocation, product: Product, uow: UnitOfWork) -> list[Move]:
    """Take every step of the relocation; a long one is written after each step. Returns what moved."""
    if not relocation.is_long:
        return relocation.run()
    for done in relocation.steps:
        await uow.flush(product, done=done)
    return relocation.moves


async def _after_change(product: Product, batch: Batch, moves: list[Move], uow: UnitOfWork) -> BatchChanged:
    moves.sort(key=lambda move: move.requested_sequence)
    await serve_queue(product, uow)
    return BatchChanged(BatchState.of(product.sku, batch), [LineMove.of(move) for move in moves])


COMMAND_HANDLERS: list[tuple[type[Command], CommandHandler]] = [
    (CreateBatch, create_batch),
    (CreateBatchIfMatch, create_batch_if_match),
    (CreateBatches, create_batches),
    (ChangeBatchQuantity, change_batch_quantity),
    (ChangeBatchEta, change_batch_eta),
    (ChangeBatch, change_batch),
    (Allocate, allocate),
    (AllocateMany, allocate_many),
    (ChangeLineQuantity, change_line_quantity),
    (CancelAllocation, cancel_allocation),
    (ShipLine, ship_line),
    (PlaceOrder, place_order),
    (CancelOrder, cancel_order),
    (SetReorderPoint, set_reorder_point),
    (ServeBackorders, serve_backorders),
    (KeepDeadLetter, keep_dead_letter),
]
