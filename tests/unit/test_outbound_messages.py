"""The published events: the type and data of each, and the document that describes them."""

import json
import re
from datetime import UTC, date, datetime
from typing import Any

import jsonschema
import pytest
from pydantic import BaseModel

from app.domain import events
from app.domain.carts import CartItem
from app.domain.commands import Command, CountBatch, CountProduct
from app.domain.events import Event
from app.domain.stock import OrderLine
from app.integration.asyncapi import EVENTS_TOPIC, INBOUND_TOPIC, asyncapi_document
from app.integration.inbound import INBOUND_MESSAGES, StockCount
from app.integration.outbound import OUTBOUND_MESSAGES, to_message

LINE: dict[str, Any] = {"sku": "CHAIR", "sequence": 7, "order_id": "order-1", "qty": 3}
LINE_DATA = {"sku": "CHAIR", "order_id": "order-1", "qty": 3}
BATCH: dict[str, Any] = {"sku": "CHAIR", "sequence": 7, "ref": "batch-1", "qty": 0, "eta": date(2030, 1, 1)}
BATCH_DATA = {"sku": "CHAIR", "ref": "batch-1", "qty": 0, "eta": "2030-01-01"}
THREE_LAMPS = OrderLine("CHAIR", "LAMP", 3)
ORDER_DATA = {"order_id": "CHAIR", "lines": [{"sku": "LAMP", "qty": 3}]}
NAMED_LAMPS = OrderLine("CHAIR", "LAMP", 3, name="a")
NAMED_DATA = {"order_id": "CHAIR", "lines": [{"sku": "LAMP", "line": "a", "qty": 3}]}

SOMETIMES = {"new_qty", "location", "best_before", "blocked", "line"}
"""Fields that an event has only where they have a value."""

EXAMPLES: list[tuple[Event, str, dict[str, Any]]] = [
    (events.LineAllocated(**LINE, batch_ref="b"), "line_allocated.v1", {**LINE_DATA, "batch_ref": "b"}),
    (
        events.LineHeld(**LINE, batch_ref="b", held_until=datetime(2030, 1, 1, 12, 0, 0, 5, UTC)),
        "line_held.v1",
        {**LINE_DATA, "batch_ref": "b", "held_until": "2030-01-01T12:00:00.000005Z"},
    ),
    (
        events.HoldReleased(**LINE, batch_ref="b", reason="expired"),
        "hold_released.v1",
        {**LINE_DATA, "batch_ref": "b", "reason": "expired"},
    ),
    (
        events.LineDeallocated(**LINE, batch_ref="b", reason="batch_quantity_changed"),
        "line_deallocated.v1",
        {**LINE_DATA, "batch_ref": "b", "reason": "batch_quantity_changed"},
    ),
    (
        events.LineDeallocated(**LINE, batch_ref=None, reason="cancelled"),
        "line_deallocated.v1",
        {**LINE_DATA, "batch_ref": None, "reason": "cancelled"},
    ),
    (
        events.LineDeallocated(**LINE, batch_ref="b", reason="cancelled", new_qty=4),
        "line_deallocated.v1",
        {**LINE_DATA, "batch_ref": "b", "reason": "cancelled", "new_qty": 4},
    ),
    (events.LineShipped(**LINE, batch_ref="b"), "line_shipped.v1", {**LINE_DATA, "batch_ref": "b"}),
    (events.LineBackordered(**LINE), "line_backordered.v1", LINE_DATA),
    (
        events.AllocationFailed(**{**LINE, "sequence": None}, reason="invalid_sku"),
        "allocation_failed.v1",
        {**LINE_DATA, "reason": "invalid_sku"},
    ),
    (events.OutOfStock(**LINE), "out_of_stock.v1", LINE_DATA),
    (
        events.LowStock(sku="CHAIR", sequence=7, available_qty=3, reorder_point=5, backordered_qty=4, incoming_qty=2),
        "low_stock.v1",
        {"sku": "CHAIR", "available_qty": 3, "reorder_point": 5, "backordered_qty": 4, "incoming_qty": 2},
    ),
    (
        events.BackInStock(sku="CHAIR", sequence=7, available_qty=3),
        "back_in_stock.v1",
        {"sku": "CHAIR", "available_qty": 3},
    ),
    (events.BatchCreated(**BATCH), "batch_created.v1", BATCH_DATA),
    (
        events.BatchCreated(**BATCH, location="oslo", best_before=date(2030, 6, 30), blocked=True),
        "batch_created.v1",
        {**BATCH_DATA, "location": "oslo", "best_before": "2030-06-30", "blocked": True},
    ),
    (
        events.BatchTermsChanged(**BATCH),
        "batch_changed.v1",
        {**BATCH_DATA, "location": "main", "best_before": None, "blocked": False},
    ),
    (
        events.BatchQuantityChanged(**BATCH, reason="damaged", reference="report-17"),
        "batch_quantity_changed.v1",
        {**BATCH_DATA, "reason": "damaged", "reference": "report-17"},
    ),
    (
        events.BatchEtaChanged(**{**BATCH, "eta": None}, order_ids=("order-1",), order_count=1),
        "batch_eta_changed.v1",
        {**BATCH_DATA, "eta": None, "order_ids": ["order-1"], "order_count": 1},
    ),
    (
        events.CartCheckedOut(
            order_id="CHAIR",
            cart_id="cart-1",
            currency="EUR",
            total=15,
            items=(CartItem("LAMP", 3, 5),),
            held_until=None,
        ),
        "cart_checked_out.v1",
        {
            "order_id": "CHAIR",
            "cart_id": "cart-1",
            "currency": "EUR",
            "total": 15,
            "items": [{"sku": "LAMP", "qty": 3, "unit_price": 5}],
            "held_until": None,
        },
    ),
    (events.OrderPlaced(order_id="CHAIR", lines=(THREE_LAMPS,)), "order_placed.v1", ORDER_DATA),
    (events.OrderPlaced(order_id="CHAIR", lines=(NAMED_LAMPS,)), "order_placed.v1", NAMED_DATA),
    (events.OrderCancelled(order_id="CHAIR", lines=(THREE_LAMPS,)), "order_cancelled.v1", ORDER_DATA),
    (
        events.OrderRefused(order_id="CHAIR", lines=(THREE_LAMPS,), reason="conflict"),
        "order_refused.v1",
        {**ORDER_DATA, "reason": "conflict"},
    ),
]


@pytest.mark.parametrize(("event", "ce_type", "data"), EXAMPLES)
def test_a_message_has_the_data_of_the_contract_and_no_more(event: Event, ce_type: str, data: dict[str, Any]) -> None:
    message = to_message(event)

    assert (message.type, message.subject, message.sequence) == (ce_type, "CHAIR", event.sequence)
    assert json.loads(message.data) == data


def subclasses_of(kind: type[Any]) -> set[type[Any]]:
    return {each for child in kind.__subclasses__() for each in (child, *subclasses_of(child))}


def test_every_event_of_the_domain_is_published() -> None:
    # By name, because a dataclass with slots is made twice.
    kinds = subclasses_of(Event)
    families = {kind.__name__ for kind in kinds if kind.__subclasses__()}
    assert {kind.__name__ for kind in kinds} - families == {event.__name__ for event in OUTBOUND_MESSAGES}
    assert {type(event) for event, _, _ in EXAMPLES} == set(OUTBOUND_MESSAGES)


def test_the_document_has_both_channels_with_all_their_messages() -> None:
    document = asyncapi_document()

    assert document["asyncapi"].startswith("3.")
    channels = {channel["address"]: set(channel["messages"]) for channel in document["channels"].values()}
    assert channels[INBOUND_TOPIC] == set(INBOUND_MESSAGES)
    assert channels[EVENTS_TOPIC] == {ce_type for _, ce_type, _ in EXAMPLES}
    assert {operation["action"] for operation in document["operations"].values()} == {"send", "receive"}


def test_every_reference_of_the_document_leads_somewhere() -> None:
    document = asyncapi_document()
    references = re.findall(r'"\$ref": "#/([^"]+)"', json.dumps(document))

    assert references
    for reference in references:
        found: Any = document
        for step in reference.split("/"):
            found = found[step]
        assert found


@pytest.mark.parametrize(("event", "ce_type", "data"), EXAMPLES)
def test_the_schemas_of_the_document_describe_what_is_published(
    event: Event, ce_type: str, data: dict[str, Any]
) -> None:
    components = asyncapi_document()["components"]
    schema = components["messages"][f"out.{ce_type}"]["payload"]

    jsonschema.validate(data, {**schema, "components": components}, cls=jsonschema.Draft202012Validator)
    assert set(data) | SOMETIMES == set(schema["required"]) | SOMETIMES
    assert set(schema["properties"]) - set(data) <= SOMETIMES


def test_the_examples_of_the_document_are_valid() -> None:
    components = asyncapi_document()["components"]
    for name, message in components["messages"].items():
        schema = {**message["payload"], "components": components}
        for example in message["examples"]:
            jsonschema.validate(example["payload"], schema, cls=jsonschema.Draft202012Validator)
            assert example["headers"]["ce_type"] == message["name"] == name.partition(".")[2]
            jsonschema.validate(
                {"ce_id": "1", "ce_type": message["name"]},
                {"type": "object", "properties": message["headers"]["properties"]},
            )


@pytest.mark.parametrize(("ce_type", "model"), INBOUND_MESSAGES.items())
def test_what_is_read_may_have_fields_that_are_not_known(ce_type: str, model: type[Command] | type[StockCount]) -> None:
    components = asyncapi_document()["components"]
    payload = components["messages"][f"in.{ce_type}"]["payload"]
    described: list[tuple[Any, type[BaseModel]]] = [(payload, model)]
    if model is StockCount:
        described = [(components["schemas"][each.__name__], each) for each in (CountBatch, CountProduct)]

    for schema, each in described:
        assert "additionalProperties" not in schema
        assert set(schema["properties"]) == {facts.alias or name for name, facts in each.model_fields.items()}


def test_the_sequence_may_be_absent_and_nothing_else() -> None:
    headers = asyncapi_document()["components"]["messages"]["out.line_allocated.v1"]["headers"]

    assert set(headers["properties"]) - set(headers["required"]) == {"ce_sequence", "traceparent", "ce_traceparent"}
