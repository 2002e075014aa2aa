"""The AsyncAPI 3.0 document, made from the message models."""

from typing import Any

from app.domain.commands import CancelOrder, Command, PlaceOrder
from app.integration.inbound import INBOUND_MESSAGES
from app.integration.outbound import OUTBOUND_MESSAGES, Message, OrderMessage

INBOUND_TOPIC = "allocation.inbound.v1"
EVENTS_TOPIC = "allocation.events.v1"

_REFERENCE = "#/components/schemas/{model}"

_TEXT = {"type": "string", "minLength": 1, "maxLength": 255}
_TYPE = {"type": "string", "description": "What the data is; the name of the message."}
_SUBJECT = "RED-CHAIR"
_MESSAGE_ID = "8b0a2f0e-6f6c-4d3c-9f7f-2f4b8c1d9e10"
_EXAMPLE_TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
_TRACE = {"type": "string", "description": "W3C trace context, where there is one.", "examples": [_EXAMPLE_TRACE]}

_INBOUND_HEADERS: dict[str, Any] = {
    "type": "object",
    "required": ["ce_id", "ce_type"],
    "properties": {
        "ce_specversion": {"const": "1.0"},
        "ce_id": {
            **_TEXT,
            "description": (
                "A message takes effect once for each ce_source and ce_id, however often it is delivered. Another "
                "message with both, whose type or data differ, is set aside as a dead letter and takes no effect."
            ),
            "examples": [_MESSAGE_ID],
        },
        "ce_type": _TYPE,
        "ce_source": {
            "type": "string",
            "description": (
                "The context in which the ce_id is unique: a URI reference of 1 to 2048 printable characters. "
                "CloudEvents requires it; a message without it counts as one of the empty source."
            ),
            "examples": ["/purchasing"],
        },
        "ce_correlationid": {
            **_TEXT,
            "description": "Handed on with every event that follows.",
            "examples": ["conversation-1"],
        },
        "content-type": {"type": "string", "examples": ["application/json"]},
        "traceparent": _TRACE,
        "ce_traceparent": {
            "type": "string",
            "description": (
                "CloudEvents' distributed tracing extension, as SDKs send it: read where there is no traceparent. A "
                "ce_tracestate may be there and is not handed on."
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
            "description": "The same each time the event is delivered.",
            "examples": [_MESSAGE_ID],
        },
        "ce_type": _TYPE,
        "ce_source": {"type": "string", "format": "uri-reference", "examples": ["/allocation"]},
        "ce_time": {
            "type": "string",
            "format": "date-time",
            "description": "When the event was committed.",
            "examples": ["2030-01-01T12:00:00.000000+00:00"],
        },
        "ce_subject": {
            "type": "string",
            "description": "The SKU; of an event of an order as a whole, the order id.",
            "examples": [_SUBJECT],
        },
        "ce_sequence": {
            "type": "string",
            "pattern": "^[1-9][0-9]*$",
            "description": (
                "Counts the events of one SKU: 1, 2, 3 … without a gap, in the order of commits. A decimal number "
                "without leading zeros: compare it as a number, because as texts 10 sorts before 9. (CloudEvents' "
                "sequence extension leaves the format to the sender.) Absent only from the "
                "events of an order as a whole, which come in the order of commits as well, and from an "
                "allocation_failed.v1 for a SKU that does not exist."
            ),
            "examples": ["7"],
        },
        "ce_correlationid": {
            **_TEXT,
            "description": "Of the conversation that the event belongs to.",
            "examples": ["conversation-1"],
        },
        "ce_causationid": {
            **_TEXT,
            "description": "The ce_id of the message, or the id of the HTTP request, behind it.",
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
    """Both channels, as this service reads and writes them."""
    messages = {
        **{f"in.{name}": _inbound_message(name, model) for name, model in INBOUND_MESSAGES.items()},
        **{f"out.{model.ce_type}": _outbound_message(model) for model in OUTBOUND_MESSAGES.values()},
    }
    shared = {name: schema for message in messages.values() for name, schema in _parts_of(message["payload"]).items()}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Allocation",
            "version": "1.0.0",
            "contact": {"name": "The operators of this service"},
            "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
            "description": (
                "CloudEvents 1.0 over Kafka. Events leave in binary mode; messages are read in binary or in structured "
                "mode. In a message each ce_ header and content-type may come once, whatever the case of its name, and "
                "each name once in a JSON object; a message that breaks this rule is set aside as a dead letter, "
                "because its readers could understand it differently. Other headers may repeat. The key of a record is "
                "the SKU, or of an event of an order as a whole its id. A reader may see an event twice, and then with "
                "the same ce_id and ce_sequence; first occurrences are always in order."
            ),
        },
        "defaultContentType": "application/json",
        "channels": {
            "inbound": _channel(
                INBOUND_TOPIC,
                "What upstream systems ask for. More topics by the setting ALLOCATION_KAFKA_INBOUND_TOPICS.",
                list(INBOUND_MESSAGES),
                "in",
            ),
            "events": _channel(
                EVENTS_TOPIC,
                "What the service decided.",
                [model.ce_type for model in OUTBOUND_MESSAGES.values()],
                "out",
            ),
        },
        "operations": {
            "receiveInbound": {
                "action": "receive",
                "channel": {"$ref": "#/channels/inbound"},
                "summary": (
                    "Each message becomes one command and takes effect once for its source and id; what cannot be read "
                    "is set aside."
                ),
            },
            "sendEvents": {
                "action": "send",
                "channel": {"$ref": "#/channels/events"},
                "summary": "Each decision becomes one event, published after it has been committed.",
            },
        },
        "components": {"messages": messages, "schemas": shared},
    }


def _parts_of(payload: dict[str, Any]) -> dict[str, Any]:
    """Take the parts that the payload refers to out of it, for they stand beside the messages."""
    parts: dict[str, Any] = payload.pop("$defs", {})
    return parts


def _channel(topic: str, description: str, names: list[str], direction: str) -> dict[str, Any]:
    return {
        "address": topic,
        "description": description,
        "messages": {name: {"$ref": f"#/components/messages/{direction}.{name}"} for name in names},
        "bindings": {"kafka": {"topic": topic, "bindingVersion": "0.5.0"}},
    }


def _inbound_message(name: str, model: type[Command]) -> dict[str, Any]:
    schema = model.model_json_schema(mode="validation", ref_template=_REFERENCE)
    # A tolerant reader: fields that this service does not know are ignored.
    for each in (schema, *schema.get("$defs", {}).values()):
        each.pop("additionalProperties", None)
    key = "The order's id" if issubclass(model, (PlaceOrder, CancelOrder)) else "The SKU"
    return _message(name, model.__doc__, schema, _INBOUND_HEADERS, f"{key}; the data decide, whatever the key is.")


def _outbound_message(model: type[Message]) -> dict[str, Any]:
    schema = model.model_json_schema(mode="serialization", ref_template=_REFERENCE)
    key = "The order's id." if issubclass(model, OrderMessage) else "The SKU."
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
        "examples": [{"headers": _example(headers, {}), "payload": _example(schema, schema.get("$defs", {}))}],
    }


def _example(schema: dict[str, Any], parts: dict[str, Any]) -> Any:  # noqa: ANN401 - an example is any JSON
    """An example put together from those of the parts; what has none is left out."""
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
