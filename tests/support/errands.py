"""The plainest messages there can be, for tests of the bus itself: an errand is done, refused, or goes wrong."""

import asyncio
from typing import Any

from app.domain.commands import Command, CreateBatch
from app.domain.errors import DomainError
from app.domain.events import AllocationFailed
from app.integration.inbound import ReceivedMessage
from app.service_layer.lock_sets import LOCKS, LockSet
from app.service_layer.messagebus import MessageBus
from app.service_layer.ports import Cause, TooLargeToShareError, UnitOfWork
from app.service_layer.requests import RetryPolicy
from tests.support.fakes import InMemoryStore
from tests.support.messages import Pauses

CAUSE = Cause(causation_id="request-1", correlation_id="conversation-1")


class Errand(Command):
    """Its name is written into the inbox of the unit of work: so a test sees whether it has been committed."""

    name: str
    key: str = ""
    refused: bool = False
    goes_wrong: bool = False
    pieces: int = 1
    room: int = 1

    @property
    def routing_key(self) -> str:
        return self.key

    @property
    def size(self) -> int:
        return self.pieces

    @property
    def places(self) -> int:
        return self.room


def _lock(errand: Errand, locks: LockSet) -> None:
    locks.skus.add(errand.key or errand.name)


LOCKS[Errand] = _lock


class RefusedError(DomainError):
    code = "refused"


class Desk:
    """Runs errands over a store in memory. With `door` closed they wait within their unit of work."""

    def __init__(self, **options: Any) -> None:
        self.store = InMemoryStore()
        self.pauses = Pauses()
        self.door = asyncio.Event()
        self.door.set()
        self.begun: list[str] = []
        self.too_large: set[str] = set()
        options = {"retry": RetryPolicy(sleep=self.pauses), "unit_of_work": self.store.unit_of_work, **options}
        factory = options.pop("unit_of_work")
        self.bus = MessageBus(factory, [(Errand, self.run)], **options)

    @property
    def done(self) -> set[str]:
        """The errands that were committed."""
        return {name for _, name in self.store.tables.inbox}

    async def run(self, command: Errand, uow: UnitOfWork) -> str:
        self.begun.append(command.name)
        await self.door.wait()
        if command.name in self.too_large:
            raise TooLargeToShareError(command.name)
        if command.refused:
            raise RefusedError(command.name)
        await uow.inbox.accept([ReceivedMessage("", command.name, b"")])
        uow.raise_event(AllocationFailed(sku=command.name, sequence=None, order_id="o", qty=1, reason="invalid_sku"))
        if command.goes_wrong:
            message = f"{command.name} went wrong"
            raise RuntimeError(message)
        return command.name.upper()

    async def handle(self, name: str, **more: Any) -> str:
        errand = Errand(name=name, **more)
        answer: str = await self.bus.handle(errand, CAUSE)
        return answer

    async def close_door(self) -> "asyncio.Task[str]":
        """Return once an errand waits at the closed door, so that those that follow wait behind it."""
        self.door.clear()
        first = asyncio.create_task(self.handle("first"))
        while not self.begun:  # noqa: ASYNC110 - one turn of the loop is enough
            await asyncio.sleep(0)  # poll
        return first


async def enqueue() -> None:
    """Let the tasks that were just made run until each waits for its answer."""
    for _ in range(3):
        await asyncio.sleep(0)  # poll


NEVER_REGISTERED = CreateBatch(ref="batch-1", sku="CHAIR", qty=1)
