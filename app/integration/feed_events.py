"""Reads the records of the events topic for the feed."""

import json
from collections.abc import Iterable

from app.integration.cloudevents import CloudEvent, UnreadableMessageError, parse
from app.integration.json_syntax import MalformedJsonError, parse_json
from app.integration.outbound import OUTBOUND_MESSAGES
from app.integration.product_messages import ProductMessage

EVENT_TYPES = tuple(sorted(model.ce_type for model in OUTBOUND_MESSAGES.values()))
_WITHOUT_SKU = frozenset(model.ce_type for model in OUTBOUND_MESSAGES.values() if not issubclass(model, ProductMessage))


def read_published(headers: Iterable[tuple[str, bytes | None]], value: bytes | None) -> CloudEvent | None:
    """The event as this service publishes it, with its data in one line; None for a record of another program."""
    try:
        event = parse(headers, value)
        data = parse_json(event.data)
    except (UnreadableMessageError, MalformedJsonError):
        return None
    if not (event.source and event.time and event.subject and event.correlation_id and event.causation_id):
        return None
    if b"\n" in event.data or b"\r" in event.data:
        # A line break would end the line of a server-sent event.
        return event._replace(data=json.dumps(data).encode())
    return event


def sku_of(event: CloudEvent) -> str:
    """The SKU of the event; empty for events of orders and carts, which can concern several."""
    return "" if event.type in _WITHOUT_SKU else event.subject
