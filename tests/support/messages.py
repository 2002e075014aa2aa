"""A bus over the store in memory, and short ways to say things to it."""

import json
from collections.abc import Sequence
from typing import Any, Self

from app.domain.commands import Allocate, Command, CreateBatch, ShipLine
from app.domain.errors import DomainError
from app.integration.inbound import ReceivedMessage
from app.integration.outbound import OutboundMessage
from app.service_layer.handlers import COMMAND_HANDLERS
from app.service_layer.messagebus import MessageBus
from app.service_layer.ports import Cause
from app.service_layer.requests import Outcome, Request, RetryPolicy
from tests.support.fakes import InMemoryStore

CAUSE = Cause(causation_id="request-1", correlation_id="conversation-1", traceparent="00-1-1-01")


class Pauses:
    """A sleep that takes no time and remembers how long it was asked to be."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)


class Service:
    """The handlers behind the bus, over a store in memory."""

    def __init__(self) -> None:
        self.store = InMemoryStore()
        self.pauses = Pauses()
        self.bus = MessageBus(self.store.unit_of_work, COMMAND_HANDLERS, retry=RetryPolicy(sleep=self.pauses))
        self._heard = 0

    @classmethod
    async def with_chairs_and_tables(cls) -> Self:
        """A service with 10 chairs and 2 tables in the warehouse, of which nothing was heard yet."""
        service = cls()
        await service.send(
            CreateBatch(ref="chairs", sku="CHAIR", qty=10), CreateBatch(ref="tables", sku="TABLE", qty=2)
        )
        service.heard()
        return service

    async def send(self, *commands: Command) -> Any:  # noqa: ANN401 - each command has a result of its own
        """Run the commands one after another; returns the result of the last. Raises its refusal."""
        result = None
        for command in commands:
            result = (await self.bus.handle_group([Request(command, CAUSE)]))[0].unwrap()
        return result

    async def ship(self, order_id: str, sku: str, qty: int) -> None:
        """Allocate and ship a line."""
        await self.send(Allocate(order_id=order_id, sku=sku, qty=qty), ShipLine(order_id=order_id, sku=sku))

    async def send_group(self, *commands: Command) -> list[Any]:
        """Run the commands in one unit of work; returns their results, or the codes of their refusals."""
        return answers(await self.bus.handle_group([Request(command, CAUSE) for command in commands]))

    def heard(self) -> list[tuple[str, dict[str, Any]]]:
        """What was published since the last call: types and data."""
        new = self.store.published[self._heard :]
        self._heard += len(new)
        return [(message.type, data(message)) for message in new]

    def types_heard(self) -> list[str]:
        return [kind for kind, _ in self.heard()]


def received(message_id: str, source: str = "/upstream", content: bytes = b"content") -> ReceivedMessage:
    """A message as the inbox knows it."""
    return ReceivedMessage(source, message_id, content)


def data(message: OutboundMessage) -> dict[str, Any]:
    parsed = json.loads(message.data)
    assert isinstance(parsed, dict)
    return parsed


def answers(outcomes: Sequence[Outcome]) -> list[Any]:
    """The results, and the codes of the refusals. Raises what is neither."""
    return [outcome.error.code if isinstance(outcome.error, DomainError) else outcome.unwrap() for outcome in outcomes]
