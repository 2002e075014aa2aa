"""Which messages take effect: each the first time that its source and id are seen, and with the content seen then."""

from collections.abc import Sequence

from app.integration.inbound import ReceivedMessage
from app.service_layer.ports import MessageConflictError, Receipt, UnitOfWork
from app.service_layer.requests import Outcome, Request


async def accept_messages(group: Sequence[Request], uow: UnitOfWork) -> list[Outcome | None]:
    """The outcomes of messages that were received before; None for each request that is to take effect."""
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
