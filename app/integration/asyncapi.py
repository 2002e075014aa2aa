"""The AsyncAPI 3.0 document, generated from the message models."""

from typing import Any

from app.domain.commands import CancelOrder, Command, PlaceOrder
from app.integration.inbound import INBOUND_MESSAGES, StockCount
from app.integration.order_messages import OrderMessage
from app.integration.outbound import OUTBOUND_MESSAGES
from app.integration.product_messages import Message

INBOUND_TOPIC = "allocation.inbound.v1"
EVENTS_TOPIC = "allocation.events.v1"

_REFERENCE = "#/components/schemas/{model}"

_TEXT = {"type": "string", "minLength": 1, "maxLength": 255}
_TYPE = {"type": "string", "description": "The name of the message, which defines its data."}
_SUBJECT = "RED-CHAIR"
_MESSAGE_ID = "8b0a2f0e-6f6c-4d3c-9f7f-2f4b8c1d9e10"
_EXAMPLE_TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
_TRACE = {"type": "string", "description": "W3C trace context.", "examples": [_EXAMPLE_TRACE]}

_INBOUND_HEADERS: dict[str, Any] = {
    "type": "object",
    "required": ["ce_id", "ce_type"],
    "properties": {
        "ce_specversion": {"const": "1.0"},
        "ce_id": {
            **_TEXT,
            "description": (
                "A message takes effect once for each ce_source and ce_id, however often it is delivered. A message "
                "with the same ce_source and ce_id but another type or other data becomes a dead letter."
            ),
            "examples": [_MESSAGE_ID],
        },
        "ce_type": _TYPE,
        "ce_source": {
            "type": "string",
            "description": (
                "The context in which ce_id is unique: a URI reference of 1 to 2048 printable characters. "
                "CloudEvents requires it; a message without it has the empty source."
            ),
            "examples": ["/purchasing"],
        },
        "ce_correlationid": {
            **_TEXT,
            "description": "Copied to every event that the message causes.",
            "examples": ["conversation-1"],
        },
        "content-type": {"type": "string", "examples": ["application/json"]},
        "traceparent": _TRACE,
        "ce_traceparent": {
            "type": "string",
            "description": (
                "CloudEvents' distributed tracing extension, as SDKs send it. Used if there is no traceparent. "
                "ce_tracestate is ignored."
            ),
            "examples": [_EXAMPLE_TRACE],
        },
    },
}

_OUTBOUND_HEADERS: dict[str, Any] = {
    "type": "object",
    "required": [
        "ce_specversion",
        "ce_id",
        "ce_type",
        "ce_source",
        "ce_time",
        "ce_subject",
        "ce_correlationid",
        "ce_causationid",
        "content-type",
    ],
    "properties": {
        "ce_specversion": {"const": "1.0"},
        "ce_id": {
            "type": "string",
            "format": "uuid",
            "description": "Identical in every delivery of the event.",
            "examples": [_MESSAGE_ID],
        },
        "ce_type": _TYPE,
        "ce_source": {"type": "string", "format": "uri-reference", "examples": ["/allocation"]},
        "ce_time": {
            "type": "string",
            "format": "date-time",
            "description": "The time of the commit.",
            "examples": ["2030-01-01T12:00:00.000000+00:00"],
        },
        "ce_subject": {
            "type": "string",
            "description": "The SKU, or the order id of an event of an order as a whole.",
            "examples": [_SUBJECT],
        },
        "ce_sequence": {
            "type": "string",
            "pattern": "^[1-9][0-9]*$",
            "description": (
                "Numbers the events of one SKU 1, 2, 3 … without a gap, in the order of commits. A decimal number "
                "without leading zeros: compare it as a number, because as text 10 sorts before 9. (CloudEvents' "
                "sequence extension leaves the format to the sender.) Absent only from events of an order as a whole, "
                "which are also in the order of commits, and from an allocation_failed.v1 for a SKU that does not "
                "exist."
            ),
            "examples": ["7"],
        },
        "ce_correlationid": {
            **_TEXT,
            "description": "The conversation that the event belongs to.",
            "examples": ["conversation-1"],
        },
        "ce_causationid": {
            **_TEXT,
            "description": "The ce_id of the message or the id of the HTTP request that caused the event.",
            "examples": ["request-1"],
        },
        "content-type": {"const": "application/json"},
        "traceparent": _TRACE,
        "ce_traceparent": {
            "type": "string",
            "description": "The same as traceparent, as CloudEvents' distributed tracing extension.",
            "examples": [_EXAMPLE_TRACE],
        },
    },
}


def asyncapi_document() -> dict[str, Any]:
    """The document: the inbound channel and the events channel."""
    messages = {
        **{f"in.{name}": _inbound_message(name, model) for name, model in INBOUND_MESSAGES.items()},
        **{f"out.{model.ce_type}": _outbound_message(model) for model in OUTBOUND_MESSAGES.values()},
    }
    shared = {
        name: schema for message in messages.values() for name, schema in _pop_definitions(message["payload"]).items()
    }
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Allocation",
            "version": "1.0.0",
            "contact": {"name": "The operators of this service"},
            "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
            "description": (
                "CloudEvents 1.0 over Kafka. Events are published in binary mode; messages are read in binary or "
                "structured mode. In a message, each ce_ header and content-type may appear once (header names are "
                "case-insensitive), and each name once in a JSON object. A message that breaks this rule becomes a "
                "dead letter, because programs read duplicates differently. Other headers may repeat. The record key "
                "is the SKU, or the order id for an event of an order as a whole. An event may be delivered more than "
                "once, with the same ce_id and ce_sequence; first deliveries are always in order."
            ),
        },
        "defaultContentType": "application/json",
        "channels": {
            "inbound": _channel(
                INBOUND_TOPIC,
                "Requests of upstream systems. ALLOCATION_KAFKA_INBOUND_TOPICS sets other or further topics.",
                list(INBOUND_MESSAGES),
                "in",
            ),
            "events": _channel(
                EVENTS_TOPIC,
                "Decisions of the service.",
                [model.ce_type for model in OUTBOUND_MESSAGES.values()],
                "out",
            ),
        },
        "operations": {
            "receiveInbound": {
                "action": "receive",
                "channel": {"$ref": "#/channels/inbound"},
                "summary": (
                    "Each message is one command and takes effect once for its source and id. An unreadable message "
                    "becomes a dead letter."
                ),
            },
            "sendEvents": {
                "action": "send",
                "channel": {"$ref": "#/channels/events"},
                "summary": "Each decision is one event, published after its commit.",
            },
        },
        "components": {"messages": messages, "schemas": shared},
    }


def _pop_definitions(payload: dict[str, Any]) -> dict[str, Any]:
    """Remove the payload's `$defs`, which the document has under `components`, and return them."""
    definitions: dict[str, Any] = payload.pop("$defs", {})
    return definitions


def _channel(topic: str, description: str, names: list[str], direction: str) -> dict[str, Any]:
    return {
        "address": topic,
        "description": description,
        "messages": {name: {"$ref": f"#/components/messages/{direction}.{name}"} for name in names},
        "bindings": {"kafka": {"topic": topic, "bindingVersion": "0.5.0"}},
    }


def _inbound_message(name: str, model: type[Command] | type[StockCount]) -> dict[str, Any]:
    schema = model.model_json_schema(mode="validation", ref_template=_REFERENCE)
    # Unknown fields of messages are ignored.
    for each in (schema, *schema.get("$defs", {}).values()):
        each.pop("additionalProperties", None)
    key = "order id" if issubclass(model, (PlaceOrder, CancelOrder)) else "SKU"
    description = (
        f"The {key}. The service reads only the data. With this key and Kafka's default partitioner, messages with the "
        f"same {key} are read in the order in which they were sent. In an installation with several cells, a "
        "partition then has messages of one cell, if the number of partitions is a multiple of the number of cells."
    )
    return _message(name, model.__doc__, schema, _INBOUND_HEADERS, description)


def _outbound_message(model: type[Message]) -> dict[str, Any]:
    schema = model.model_json_schema(mode="serialization", ref_template=_REFERENCE)
    key = "The order id." if issubclass(model, OrderMessage) else "The SKU."
    return _message(model.ce_type, model.__doc__, schema, _OUTBOUND_HEADERS, key)


def _message(
    name: str, summary: str | None, schema: dict[str, Any], headers: dict[str, Any], key: str
) -> dict[str, Any]:
    headers = {**headers, "properties": {**headers["properties"], "ce_type": {**_TYPE, "const": name}}}
    return {
        "name": name,
        "title": name,
        "summary": summary,
        "contentType": "application/json",
        "correlationId": {"location": "$message.header#/ce_correlationid"},
        "headers": headers,
        "payload": schema,
        "bindings": {
            "kafka": {"key": {"type": "string", "description": key}, "bindingVersion": "0.5.0"},
        },
        "examples": [
            {"headers": _example(headers, {}), "payload": _example(alternative, schema.get("$defs", {}))}
            for alternative in schema.get("oneOf", [schema])
        ],
    }


def _example(schema: dict[str, Any], parts: dict[str, Any]) -> Any:  # noqa: ANN401 - an example is any JSON
    """An example assembled from the examples of the parts. Parts without an example are left out."""
    match schema:
        case {"examples": [example, *_]} | {"const": example} | {"enum": [example, *_]} | {"default": example}:
            return example
        case {"$ref": str(reference)}:
            return _example(parts[reference.rpartition("/")[2]], parts)
        case {"type": "array", "items": items}:
            return [_example(items, parts)]
        case {"properties": properties}:
            examples = {name: _example(facts, parts) for name, facts in properties.items()}
            return {name: example for name, example in examples.items() if example is not None}
        case _:
            return None
