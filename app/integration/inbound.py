"""Inbound messages: their commands, and their identity."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Discriminator, RootModel, Tag, ValidationError

from app.domain.commands import (
    Allocate,
    CancelAllocation,
    CancelOrder,
    ChangeBatchEta,
    ChangeBatchQuantity,
    ChangeBatchTerms,
    ChangeLineQuantity,
    Command,
    CountBatch,
    CountProduct,
    CreateBatch,
    PlaceOrder,
    ShipLine,
)
from app.integration.cloudevents import CloudEvent, UnreadableMessageError
from app.integration.json_syntax import MalformedJsonError, parse_json


def _counted_field(data: object) -> str | None:
    """Which of `ref` and `sku` the data of a count have; None: both or neither."""
    given = data.keys() & {"ref", "sku"} if isinstance(data, dict) else set()
    return given.pop() if len(given) == 1 else None


class StockCount(
    RootModel[
        Annotated[
            Annotated[CountBatch, Tag("ref")] | Annotated[CountProduct, Tag("sku")],
            Discriminator(
                _counted_field,
                custom_error_type="ref_or_sku",
                custom_error_message="Input should be an object with either ref or sku",
            ),
        ]
    ]
):
    """Pieces were counted in the warehouse: those of one batch (`ref`), or those of all of a product (`sku`)."""


INBOUND_MESSAGES: dict[str, type[Command] | type[StockCount]] = {
    "batch_created.v1": CreateBatch,
    "batch_quantity_changed.v1": ChangeBatchQuantity,
    "batch_eta_changed.v1": ChangeBatchEta,
    "batch_changed.v1": ChangeBatchTerms,
    "stock_counted.v1": StockCount,
    "allocation_required.v1": Allocate,
    "line_quantity_changed.v1": ChangeLineQuantity,
    "allocation_cancelled.v1": CancelAllocation,
    "line_shipped.v1": ShipLine,
    "order_placed.v1": PlaceOrder,
    "order_cancelled.v1": CancelOrder,
}


@dataclass(frozen=True, slots=True)
class ReceivedMessage:
    """The identity of a message, and a digest of its content.

    `source` is empty if the sender gave none. Messages with the same identity must have the same content.
    `routing_key` is that of its command: it decides on the cell in which the message is known.
    """

    source: str
    id: str
    content: bytes
    routing_key: str = ""

    @property
    def identity(self) -> tuple[str, str]:
        """CloudEvents' identity: an id is unique within its source."""
        return (self.source, self.id)


def digest(event: CloudEvent) -> bytes:
    """A digest of the type and the data of an event.

    Raises UnreadableMessageError for data that `parse_json` refuses, such as an object with the same name twice.

    The digest is of the JSON value and not of the bytes, so the mode, white space and the order of fields do not
    matter. Unknown fields count: the digest of a message stays the same in a later release that knows the field.
    """
    try:
        data = json.dumps(parse_json(event.data), sort_keys=True, separators=(",", ":"))
    except MalformedJsonError as error:
        raise UnreadableMessageError(f"{event.type}: data: {error}") from None
    return hashlib.blake2b(f"{event.type}\0{data}".encode(), digest_size=16).digest()


def to_command(event: CloudEvent, context: Mapping[str, Any] | None = None) -> Command:
    """The command of a message. Unknown fields are ignored.

    `context` has the limits of this service, for the validation of the fields.

    Raises UnreadableMessageError for an unknown type and for invalid data.
    """
    model = INBOUND_MESSAGES.get(event.type)
    if model is None:
        message = f"unknown type {event.type!r}; known types: {', '.join(INBOUND_MESSAGES)}"
        raise UnreadableMessageError(message)
    try:
        parsed = model.model_validate_json(event.data, extra="ignore", context=context)
    except ValidationError as error:
        raise UnreadableMessageError(f"{event.type}: {_summary(error)}") from None
    return parsed.root if isinstance(parsed, StockCount) else parsed


def _summary(error: ValidationError) -> str:
    """The error of each field, without values: a dead letter has the bytes beside it."""
    return "; ".join(
        f"{'.'.join(map(str, fault['loc'])) or 'data'}: {fault['msg']}"
        for fault in error.errors(include_url=False, include_context=False, include_input=False)
    )
