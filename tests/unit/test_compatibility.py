"""The check of promises itself: it finds each way to let a caller down, and minds nothing that is only more."""

from collections.abc import Mapping

import pytest

from tests.support.document_compatibility import asyncapi_breaks, openapi_breaks
from tests.support.example_documents import ANSWER, ASYNCAPI, BODY, CALL, GONE, IN, OPENAPI, ORDER, OUT, Change, changed

BROKEN: Mapping[str, Change] = {
    "a path is gone": (("paths", "/orders/{id}"), GONE),
    "a method is gone": (CALL, GONE),
    "another operationId": ((*CALL, "operationId"), "place"),
    "a parameter is gone": ((*CALL, "parameters", 1), GONE),
    "an optional parameter is required": ((*CALL, "parameters", 1, "required"), True),
    "a parameter has another type": ((*CALL, "parameters", 1, "schema", "type"), "integer"),
    "a parameter may be shorter only": ((*CALL, "parameters", 2, "schema", "maxLength"), 8),
    "a new parameter is required": (
        (*CALL, "parameters", 3),
        {"in": "query", "name": "who", "required": True, "schema": {"type": "string"}},
    ),
    "the body is required": ((*CALL, "requestBody", "required"), True),
    "the body's media type is gone": ((*CALL, "requestBody", "content", "application/json"), GONE),
    "a status is gone": ((*CALL, "responses", "409"), GONE),
    "an answer's media type is gone": ((*CALL, "responses", "200", "content", "application/json"), GONE),
    "a header of an answer is gone": ((*CALL, "responses", "200", "headers", "Location"), GONE),
    "a problem is gone": (
        (*CALL, "responses", "409", "content", "application/problem+json", "examples", "one", "value", "code"),
        "sold-out",
    ),
    "an identity is asked for": ((*CALL, "security"), [{"bearer": ["orders:write"]}]),
    "a field of the body is required": ((*BODY, "required"), ["sku", "qty", "eta"]),
    "a new field of the body is required": (
        BODY,
        {**ORDER, "required": ["sku", "qty", "who"], "properties": {**ORDER["properties"], "who": {"type": "string"}}},
    ),
    "a field of the body is gone": ((*BODY, "properties", "eta"), GONE),
    "a field of the body has another type": ((*BODY, "properties", "qty", "type"), "string"),
    "a field of the body may not be null": ((*BODY, "properties", "eta"), {"type": "string", "format": "date"}),
    "a field of the body takes fewer values": ((*BODY, "properties", "if_unavailable", "enum"), ["backorder"]),
    "a field of the body takes only some values": ((*BODY, "properties", "sku"), {"enum": ["CHAIR"]}),
    "a field of the body has another default": ((*BODY, "properties", "if_unavailable", "default"), "reject"),
    "a field of the body is shorter": ((*BODY, "properties", "sku", "maxLength"), 254),
    "a field of the body is longer": ((*BODY, "properties", "sku", "minLength"), 2),
    "a field of the body is smaller": ((*BODY, "properties", "qty", "maximum"), 99),
    "a field of the body is larger": ((*BODY, "properties", "qty", "minimum"), 2),
    "a field of the body has another pattern": ((*BODY, "properties", "sku", "pattern"), "^[A-Y]"),
    "a field of the body has another format": (
        (*BODY, "properties", "eta", "anyOf", 0),
        {"type": "string", "format": "date-time"},
    ),
    "a list of the body is shorter": ((*BODY, "properties", "parts", "maxItems"), 9),
    "a field of the body needs another beside it": ((*BODY, "dependentRequired"), {"eta": ["parts"]}),
    "a field of the body needs more beside it": ((*BODY, "dependentRequired"), {"parts": ["eta", "if_unavailable"]}),
    "a field of the body needs a value beside it": ((*BODY, "dependentSchemas"), {"parts": {"properties": {}}}),
    "a keyword that is not understood": ((*BODY, "properties", "qty", "multipleOf"), 2),
    "unknown fields are refused": (
        ("components", "schemas", "Part", "additionalProperties"),
        False,
    ),
    "a field within a list is required": (
        ("components", "schemas", "Part", "required"),
        ["name", "parts"],
    ),
    "a field of an answer is gone": ((*ANSWER, "properties", "qty"), GONE),
    "a field of an answer may be left out": ((*ANSWER, "required"), ["sku"]),
    "a field of an answer has another type": ((*ANSWER, "properties", "qty", "type"), "number"),
    "a field of an answer may be null": (
        (*ANSWER, "properties", "sku"),
        {"anyOf": [{"type": "string", "maxLength": 255}, {"type": "null"}]},
    ),
    "a field of an answer has more values": (
        (*ANSWER, "properties", "status", "enum"),
        ["allocated", "backordered", "lost"],
    ),
    "a field of an answer has any value": ((*ANSWER, "properties", "status"), {"type": "string"}),
    "a field of an answer is longer": ((*ANSWER, "properties", "sku", "maxLength"), 256),
    "a field of an answer has no bound": ((*ANSWER, "properties", "qty", "minimum"), GONE),
    "a field within an answer is gone": (("components", "schemas", "Part", "properties", "name"), GONE),
}

KEPT: Mapping[str, Change] = {
    "nothing": (CALL, OPENAPI["paths"]["/orders/{id}"]["post"]),
    "another path": (("paths", "/more"), {"get": {"responses": {}}}),
    "another method": (("paths", "/orders/{id}", "get"), {"responses": {}}),
    "an optional parameter more": (
        (*CALL, "parameters", 3),
        {"in": "query", "name": "who", "schema": {"type": "string"}},
    ),
    "a parameter may be left out": ((*CALL, "parameters", 2, "required"), False),
    "a status more": ((*CALL, "responses", "202"), {"description": "Later."}),
    "a media type more": ((*CALL, "requestBody", "content", "text/csv"), {"schema": {"type": "string"}}),
    "a header more": ((*CALL, "responses", "200", "headers", "ETag"), {}),
    "a problem more": (
        (*CALL, "responses", "409", "content", "application/problem+json", "examples", "two"),
        {"value": {"code": "already-shipped"}},
    ),
    "other words": ((*CALL, "description"), "Said better."),
    "a field of the body more": ((*BODY, "properties", "note"), {"type": "string"}),
    "a field of the body may be left out": ((*BODY, "required"), ["sku"]),
    "a field of the body may be null": (
        (*BODY, "properties", "qty"),
        {"anyOf": [ORDER["properties"]["qty"], {"type": "null"}]},
    ),
    "a field of the body takes more values": (
        (*BODY, "properties", "if_unavailable", "enum"),
        ["backorder", "reject", "wait"],
    ),
    "a field of the body takes any text": (
        (*BODY, "properties", "if_unavailable"),
        {"type": "string", "default": "backorder"},
    ),
    "a field of the body may be larger": ((*BODY, "properties", "qty", "maximum"), 1000),
    "a field of the body needs nothing beside it": ((*BODY, "dependentRequired"), GONE),
    "a field of the body needs one of two beside it": (
        (*BODY, "dependentSchemas"),
        {"parts": {"anyOf": [{"required": ["eta"]}, {"properties": {"parts": {"maxItems": 0}}}]}},
    ),
    "a new field of the body needs another beside it": (
        (*BODY, "dependentRequired"),
        {"parts": ["eta"], "new": ["eta"]},
    ),
    "a new field of the body excludes another": (
        (*BODY, "dependentSchemas"),
        {"new": {"not": {"required": ["eta"]}}},
    ),
    "a field of the body has no pattern": ((*BODY, "properties", "sku", "pattern"), GONE),
    "a field of the body takes fractions": ((*BODY, "properties", "qty", "type"), "number"),
    "unknown fields are ignored": ((*BODY, "additionalProperties"), GONE),
    "a field of an answer more": ((*ANSWER, "properties", "note"), {"type": "string"}),
    "a field of an answer is always there": ((*ANSWER, "required"), ["sku", "status", "qty"]),
    "a field of an answer is never null": ((*ANSWER, "properties", "eta"), {"type": "string", "format": "date"}),
    "a field of an answer has fewer values": ((*ANSWER, "properties", "status"), {"const": "allocated"}),
    "a field of an answer is smaller": ((*ANSWER, "properties", "qty", "maximum"), 9),
    "a schema of another name": (
        (*CALL, "responses", "200", "content", "application/json", "schema"),
        {"allOf": [{"$ref": "#/components/schemas/State"}, {"description": "The same."}]},
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_lets_a_caller_down_is_found(name: str) -> None:
    breaks = openapi_breaks(OPENAPI, changed(OPENAPI, BROKEN[name]))
    assert breaks
    assert all("/orders/{id}" in each for each in breaks)


@pytest.mark.parametrize("name", KEPT)
def test_additions_to_calls_are_compatible(name: str) -> None:
    assert openapi_breaks(OPENAPI, changed(OPENAPI, KEPT[name])) == []


def test_a_break_names_its_place() -> None:
    broken = changed(OPENAPI, BROKEN["a field of the body is smaller"])
    assert openapi_breaks(OPENAPI, broken) == ["POST /orders/{id} body.qty: maximum 100, against 99 is refused now"]


def test_fewer_scopes_are_enough_and_more_are_not() -> None:
    lock = (*CALL, "security")
    old = changed(OPENAPI, (lock, [{"bearer": ["read"]}]))
    assert openapi_breaks(old, changed(OPENAPI, (lock, [{"bearer": []}, {"key": ["read"]}]))) == []
    assert openapi_breaks(old, changed(OPENAPI, (lock, []))) == []
    assert openapi_breaks(old, changed(OPENAPI, (lock, [{"bearer": ["read", "admin"]}]))) != []


BROKEN_MESSAGES: Mapping[str, Change] = {
    "another topic": (("channels", "events", "address"), "out.v2"),
    "a message is gone": (("channels", "events", "messages", "state"), GONE),
    "nothing is sent any more": (("operations", "send"), GONE),
    "the topic is read and not written": (("operations", "send", "action"), "receive"),
    "another content type": ((*OUT, "contentType"), "application/avro"),
    "another key": ((*OUT, "bindings", "kafka", "key", "type"), "integer"),
    "a header is required": ((*IN, "headers", "required"), ["ce_id"]),
    "a header is gone": ((*OUT, "headers", "properties", "ce_id"), GONE),
    "a field that is read is required": ((*IN, "payload", "required"), ["sku", "qty", "eta"]),
    "a field that is read takes less": ((*IN, "payload", "properties", "qty", "maximum"), 9),
    "a field that is written is gone": ((*OUT, "payload", "properties", "qty"), GONE),
    "a field that is written may be left out": ((*OUT, "payload", "required"), ["sku"]),
}
KEPT_MESSAGES: Mapping[str, Change] = {
    "a message more": (("channels", "events", "messages", "order"), {"$ref": "#/components/messages/in.order"}),
    "a channel of another name": (
        ("channels", "outbound"),
        {"address": "other.v1", "messages": {}},
    ),
    "a header more": ((*OUT, "headers", "properties", "traceparent"), {"type": "string"}),
    "a header that may be sent": ((*IN, "headers", "properties", "traceparent"), {"type": "string"}),
    "other words for the key": ((*OUT, "bindings", "kafka", "key", "description"), "The product."),
    "a field that is read takes more": ((*IN, "payload", "properties", "qty", "maximum"), 1000),
    "a field more is written": ((*OUT, "payload", "properties", "note"), {"type": "string"}),
}


@pytest.mark.parametrize("name", BROKEN_MESSAGES)
def test_breaks_of_messages_are_found(name: str) -> None:
    assert asyncapi_breaks(ASYNCAPI, changed(ASYNCAPI, BROKEN_MESSAGES[name])) != []


@pytest.mark.parametrize("name", KEPT_MESSAGES)
def test_additions_to_messages_are_compatible(name: str) -> None:
    assert asyncapi_breaks(ASYNCAPI, changed(ASYNCAPI, KEPT_MESSAGES[name])) == []
