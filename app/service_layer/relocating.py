"""The part of use cases that moves lines off their batches."""

import asyncio
from collections.abc import Sequence
from operator import attrgetter

from app.domain.product import Product
from app.domain.relocation import Move, Relocation
from app.domain.stock import Batch
from app.service_layer.ports import UnitOfWork
from app.service_layer.results import LineMove

MOVES_AT_A_TIME = 1000


async def fetch_lines_to_release(product: Product, batch: Batch, qty: int, uow: UnitOfWork) -> None:
    """Put the lines into the product that leave the batch when its quantity becomes `qty`."""
    overrun = batch.allocated_qty + batch.shipped_qty - qty
    if overrun > 0:
        await uow.products.fetch_last_allocated(product, batch, overrun)


async def relocate(relocation: Relocation, product: Product, uow: UnitOfWork) -> list[Move]:
    """Take every step of the relocation; a long one is written after each step. Returns what moved."""
    if not relocation.is_long:
        return relocation.run()
    for done in relocation.steps:
        if done is None:
            await asyncio.sleep(0)
        else:
            await uow.flush(product, done=done)
    return relocation.moves


async def line_moves(moves: Sequence[Move]) -> list[LineMove]:
    """The moves as callers see them, oldest request first. Other tasks have turns while many are converted."""
    shown: list[LineMove] = []
    for number, move in enumerate(sorted(moves, key=attrgetter("requested_sequence")), start=1):
        shown.append(LineMove.of(move))
        if number % MOVES_AT_A_TIME == 0:
            await asyncio.sleep(0)
    return shown
