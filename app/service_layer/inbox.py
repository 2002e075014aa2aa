"""Inbound messages: their requests, and the check that each message takes effect once."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from app.integration import cloudevents, inbound
from app.integration.cloudevents import UnreadableMessageError
from app.integration.dead_letters import Header
from app.integration.inbound import ReceivedMessage
from app.service_layer.ports import Cause, MessageConflictError, Receipt, UnitOfWork
from app.service_layer.requests import Outcome, Request


def to_request(headers: Iterable[Header], value: bytes | None, context: Mapping[str, Any] | None = None) -> Request:
    """The request of a record: its command, its cause and its identity. Raises UnreadableMessageError."""
    event = cloudevents.parse(headers, value)
    try:
        command = inbound.to_command(event, context)
        message = ReceivedMessage(event.source, event.id, inbound.digest(event), command.routing_key)
    except UnreadableMessageError as error:
        error.message_id = event.id
        raise
    return Request(command, Cause(event.id, event.correlation_id or event.id, event.traceparent), message)


async def accept_messages(group: Sequence[Request], uow: UnitOfWork) -> list[Outcome | None]:
    """The outcomes of messages that were received before, and None for each request that has to run."""
    first: dict[tuple[str, str], ReceivedMessage] = {}
    for request in group:
        if request.message is not None:
            first.setdefault(request.message.identity, request.message)
    receipts = await uow.inbox.accept(list(first.values())) if first else {}
    outcomes: list[Outcome | None] = []
    for request in group:
        message = request.message
        receipt = None if message is None else receipts.get(message.identity)
        if message is None or receipt is None:
            outcomes.append(None)
        elif receipt.content in {None, message.content}:
            outcomes.append(Outcome(duplicate=True, receipt=receipt))
        else:
            outcomes.append(Outcome(error=MessageConflictError(message, receipt), receipt=receipt))
        if message is not None:
            receipts.setdefault(message.identity, Receipt(message.content))
    return outcomes
