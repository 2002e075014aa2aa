"""Messages from upstream systems, and the commands that they become."""

from pydantic import ValidationError

from app.domain.commands import (
    Allocate,
    CancelAllocation,
    CancelOrder,
    ChangeBatchEta,
    ChangeBatchQuantity,
    Command,
    CreateBatch,
    PlaceOrder,
    ShipLine,
)
from app.integration.cloudevents import CloudEvent, UnreadableMessageError

INBOUND_MESSAGES: dict[str, type[Command]] = {
    "batch_created.v1": CreateBatch,
    "batch_quantity_changed.v1": ChangeBatchQuantity,
    "batch_eta_changed.v1": ChangeBatchEta,
    "allocation_required.v1": Allocate,
    "allocation_cancelled.v1": CancelAllocation,
    "line_shipped.v1": ShipLine,
    "order_placed.v1": PlaceOrder,
    "order_cancelled.v1": CancelOrder,
}


def to_command(event: CloudEvent) -> Command:
    """The command that a message asks for; fields that this service does not know are ignored.

    Raises UnreadableMessageError for a type that is not known and for data of another shape.
    """
    model = INBOUND_MESSAGES.get(event.type)
    if model is None:
        message = f"unknown type {event.type!r}; known are {', '.join(INBOUND_MESSAGES)}"
        raise UnreadableMessageError(message)
    try:
        return model.model_validate_json(event.data, extra="ignore")
    except ValidationError as error:
        raise UnreadableMessageError(f"{event.type}: {_summary(error)}") from None


def _summary(error: ValidationError) -> str:
    """What is wrong with which field, without the values: a dead letter has the bytes beside it."""
    return "; ".join(
        f"{'.'.join(map(str, fault['loc'])) or 'data'}: {fault['msg']}"
        for fault in error.errors(include_url=False, include_context=False, include_input=False)
    )
