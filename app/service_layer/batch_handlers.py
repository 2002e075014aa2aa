"""The use cases of batches of stock. A change of a batch serves the queue of its product."""

from dataclasses import replace
from datetime import date

from app.domain.commands import (
    ChangeBatch,
    ChangeBatchEta,
    ChangeBatchIfMatch,
    ChangeBatchQuantity,
    ChangeBatchTerms,
    CountBatch,
    CreateBatch,
    CreateBatches,
    CreateBatchIfMatch,
    TransferBatch,
    WhyStockChanged,
)
from app.domain.counts import counted_qty
from app.domain.errors import BatchConflictError, BatchNotFoundError, DomainError, PreconditionFailedError
from app.domain.product import Product
from app.domain.relocation import Move, Relocation, reserve_sooner
from app.domain.stock import Allocation, Batch
from app.service_layer.backorders import serve_queue
from app.service_layer.entity_tags import check_tag
from app.service_layer.many import run_each
from app.service_layer.ports import UnitOfWork
from app.service_layer.relocating import fetch_lines_to_release, line_moves, relocate
from app.service_layer.results import BatchChanged, BatchRecorded, BatchState, BatchTransferred

LATE_LINES = 5000
"""How many lines of a late batch are fetched at a time. Each page sorts all lines of the batch, so pages are large."""

NAMED_ORDERS = 100
"""How many orders an event about a batch names."""


async def create_batch(command: CreateBatch, uow: UnitOfWork) -> BatchRecorded:
    """Record a batch and serve the queue. Raises BatchConflictError."""
    if uow.products.sku_of_batch(command.ref) not in {None, command.sku}:
        raise BatchConflictError(command.ref)
    product = uow.products.get_or_create(command.sku)
    batch, created = product.create_batch(command.ref, command.qty, command.eta, command.terms)
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


async def create_batches(command: CreateBatches, uow: UnitOfWork) -> list[BatchRecorded | DomainError]:
    """Record batches one after another; a refusal is the answer to its own item and touches no other."""
    return await run_each(command.items, create_batch, uow)


async def change_batch_quantity(command: ChangeBatchQuantity, uow: UnitOfWork) -> BatchChanged:
    """Set the quantity of a batch; lines that no longer fit move. Raises BatchNotFoundError, BelowShippedError."""
    product, batch = _find_batch(command.ref, uow)
    product.check_quantity(batch.ref, command.qty)
    moves = await _change_quantity(product, batch, command.qty, command, uow)
    return await _after_change(product, batch, moves, uow)


async def count_batch(command: CountBatch, uow: UnitOfWork) -> BatchChanged:
    """Set the quantity of a batch to what a count found.

    Raises BatchNotFoundError, QuantityTooLargeError, BelowShippedError.
    """
    product, batch = _find_batch(command.ref, uow)
    qty = counted_qty(batch, command.on_hand_qty, command.shipped_qty)
    product.check_quantity(batch.ref, qty)
    moves = await _change_quantity(product, batch, qty, command, uow)
    return await _after_change(product, batch, moves, uow)


async def change_batch_eta(command: ChangeBatchEta, uow: UnitOfWork) -> BatchChanged:
    """Change the ETA of a batch as `change_batch` does."""
    return await change_batch(ChangeBatch(**command.model_dump(exclude_unset=True)), uow)


async def change_batch(command: ChangeBatch, uow: UnitOfWork) -> BatchChanged:
    """Change a batch. The quantity is set last, so released lines are placed by everything else that has changed.

    Raises BatchNotFoundError, QuantityTooLargeError, QuantityChangedError, BelowShippedError.
    """
    product, batch = _find_batch(command.ref, uow)
    given = command.model_fields_set
    qty = command.qty if "qty" in given else batch.qty
    if "on_hand_qty" in given:
        qty = counted_qty(batch, command.on_hand_qty, command.shipped_qty)
    product.check_quantity(batch.ref, qty, command.expected_qty)
    moves: list[Move] = []
    changed = {name: getattr(command, name) for name in given & {"location", "best_before"}}
    if "blocked" in given:
        changed["is_blocked"] = command.blocked
    product.change_terms(batch.ref, replace(batch.terms, **changed))
    is_emptied = command.reallocate and batch.is_blocked
    if "eta" in given:
        reallocate = command.reallocate and not is_emptied
        moves += await _change_eta(product, batch, command.eta, uow, reallocate=reallocate)
    if is_emptied:
        moves += await _empty(product, batch, uow)
    moves += await _change_quantity(product, batch, qty, command, uow)
    return await _after_change(product, batch, moves, uow)


async def change_batch_terms(command: ChangeBatchTerms, uow: UnitOfWork) -> BatchChanged:
    """Change the terms of a batch as `change_batch` does."""
    return await change_batch(ChangeBatch(**command.model_dump(exclude_unset=True)), uow)


async def change_batch_if_match(command: ChangeBatchIfMatch, uow: UnitOfWork) -> BatchChanged:
    """Change a batch. Raises PreconditionFailedError where it has none of the tags, and what `change_batch` raises."""
    product, batch = _find_batch(command.ref, uow)
    check_tag(command.if_match, BatchState.of(product.sku, batch))
    return await change_batch(command, uow)


async def transfer_batch(command: TransferBatch, uow: UnitOfWork) -> BatchTransferred:
    """Move pieces of a batch to a new batch in another location. The same transfer again changes nothing.

    Raises BatchNotFoundError, BatchConflictError, BelowShippedError.
    """
    product, batch = _find_batch(command.source_ref, uow)
    if uow.products.sku_of_batch(command.ref) not in {None, product.sku}:
        raise BatchConflictError(command.ref)
    known = product.batches.get(command.ref)
    if known is not None:
        recorded = (known.first_qty, known.first_eta, known.first_terms.location)
        if known is batch or recorded != (command.qty, command.eta, command.location):
            raise BatchConflictError(command.ref)
        return BatchTransferred.of(product.sku, batch, known, [], created=False)
    product.check_quantity(batch.ref, batch.qty - command.qty)
    await fetch_lines_to_release(product, batch, batch.qty - command.qty, uow)
    relocation = product.transfer(batch.ref, command.qty, command.ref, command.location, command.eta)
    moves = await relocate(relocation, product, uow)
    await serve_queue(product, uow)
    new = product.batches.find(command.ref)
    return BatchTransferred.of(product.sku, batch, new, await line_moves(moves), created=True)


def _find_batch(ref: str, uow: UnitOfWork) -> tuple[Product, Batch]:
    sku = uow.products.sku_of_batch(ref)
    product = uow.products.get(sku) if sku is not None else None
    if product is None:
        raise BatchNotFoundError(ref)
    return product, product.batches.find(ref)


async def _change_quantity(
    product: Product, batch: Batch, qty: int, why: WhyStockChanged, uow: UnitOfWork
) -> list[Move]:
    await fetch_lines_to_release(product, batch, qty, uow)
    return await relocate(product.change_quantity(batch.ref, qty, why.reason, why.reference), product, uow)


async def _empty(product: Product, batch: Batch, uow: UnitOfWork) -> list[Move]:
    await uow.products.fetch_last_allocated(product, batch, batch.allocated_qty)
    return await relocate(product.empty_batch(batch.ref), product, uow)


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
    while batch.allocated_qty and (room := product.batches.room_before(batch)):
        held = await uow.products.fetch_allocated(product, batch, max_qty=room, after=after, limit=LATE_LINES)
        lines = [product.allocations[key] for key in held]
        targets |= reserve_sooner(product.batches, batch, lines)
        if len(lines) < LATE_LINES:
            break
        after = lines[-1].requested_sequence
    return await relocate(Relocation.to_targets(product, targets, "batch_eta_changed"), product, uow)


async def _after_change(product: Product, batch: Batch, moves: list[Move], uow: UnitOfWork) -> BatchChanged:
    await serve_queue(product, uow)
    return BatchChanged(BatchState.of(product.sku, batch), await line_moves(moves))
