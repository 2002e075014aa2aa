"""Runs the items of a command that has many."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

from app.domain.commands import Command
from app.domain.errors import DomainError
from app.service_layer.ports import UnitOfWork

EVENTS_AT_A_TIME = 5000
"""How many events the items of one command raise before what they have changed is written."""

ITEMS_AT_A_TIME = 100
"""How many items of one command run before other tasks get a turn."""

Item = TypeVar("Item", bound=Command)
Result = TypeVar("Result")


async def run_each(
    items: Iterable[Item], handler: Callable[[Item, UnitOfWork], Awaitable[Result]], uow: UnitOfWork
) -> list[Result | DomainError]:
    """Run the items one after another. Returns the result or the refusal of each."""
    answers: list[Result | DomainError] = []
    written = uow.event_count
    for number, item in enumerate(items, start=1):
        try:
            answers.append(await handler(item, uow))
        except DomainError as refusal:
            answers.append(refusal)
        # The stock level is judged after each item, as if the item came alone.
        uow.collect_events()
        if uow.event_count - written > EVENTS_AT_A_TIME:
            written = uow.event_count
            await uow.flush_all()
        if number % ITEMS_AT_A_TIME == 0:
            # The handlers wait only where there are backorders, so other tasks could wait until the last item.
            await asyncio.sleep(0)
    return answers
