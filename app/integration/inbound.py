"""Messages from upstream systems, the commands that they become, and what they are known by."""

import hashlib
import json
from dataclasses import dataclass

from pydantic import ValidationError

from app.domain.commands import (
    Allocate,
    CancelAllocation,
    CancelOrder,
    ChangeBatchEta,
    ChangeBatchQuantity,
    ChangeLineQuantity,
    Command,
    CreateBatch,
    PlaceOrder,
    ShipLine,
)
from app.integration.cloudevents import CloudEvent, UnreadableMessageError
from app.integration.json_syntax import MalformedJsonError, parse_json

INBOUND_MESSAGES: dict[str, type[Command]] = {
    "batch_created.v1": CreateBatch,
    "batch_quantity_changed.v1": ChangeBatchQuantity,
    "batch_eta_changed.v1": ChangeBatchEta,
    "allocation_required.v1": Allocate,
    "line_quantity_changed.v1": ChangeLineQuantity,
    "allocation_cancelled.v1": CancelAllocation,
    "line_shipped.v1": ShipLine,
    "order_placed.v1": PlaceOrder,
    "order_cancelled.v1": CancelOrder,
}


@dataclass(frozen=True, slots=True)
class ReceivedMessage:
    """What a message is known by: its CloudEvents identity, and a digest of its content.

    `source` is empty where the sender gave none. Two messages with one identity have to have one content.
    """

    source: str
    id: str
    content: bytes

    @property
    def identity(self) -> tuple[str, str]:
        """CloudEvents' identity: an id is unique only within its source."""
        return (self.source, self.id)


def digest(event: CloudEvent) -> bytes:
    """A digest of what an event says: its type and its data.

    Raises UnreadableMessageError for data that `parse_json` refuses, such as an object with the same name twice.

    The data are compared as JSON and not as bytes, so that a copy in the other mode, with other white space or with
    its fields in another order has the same content. All fields count, those that this service does not know as well:
    otherwise a release that learns a field would take a message for another one than its predecessor did.
    """
    try:
        data = json.dumps(parse_json(event.data), sort_keys=True, separators=(",", ":"))
    except MalformedJsonError as error:
        raise UnreadableMessageError(f"{event.type}: data: {error}") from None
    return hashlib.blake2b(f"{event.type}\0{data}".encode(), digest_size=16).digest()


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
