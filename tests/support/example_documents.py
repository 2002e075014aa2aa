"""An OpenAPI and an AsyncAPI document of an example service, and changes of them."""

import copy
from typing import Any

Json = dict[str, Any]
ORDER: Json = {
    "type": "object",
    "required": ["sku", "qty"],
    "additionalProperties": False,
    "dependentRequired": {"parts": ["eta"]},
    "properties": {
        "sku": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[A-Z]"},
        "qty": {"type": "integer", "minimum": 1, "maximum": 100},
        "eta": {"anyOf": [{"type": "string", "format": "date"}, {"type": "null"}]},
        "if_unavailable": {"enum": ["backorder", "reject"], "default": "backorder"},
        "parts": {"type": "array", "items": {"$ref": "#/components/schemas/Part"}, "maxItems": 10},
    },
}
PART: Json = {
    "type": "object",
    "required": ["name"],
    "properties": {
        "name": {"type": "string"},
        "parts": {"type": "array", "items": {"$ref": "#/components/schemas/Part"}},
    },
}
STATE: Json = {
    "type": "object",
    "required": ["sku", "status"],
    "properties": {
        "sku": {"type": "string", "maxLength": 255},
        "status": {"enum": ["allocated", "backordered"]},
        "qty": {"type": "integer", "minimum": 0},
        "eta": {"anyOf": [{"type": "string", "format": "date"}, {"type": "null"}]},
        "part": {"$ref": "#/components/schemas/Part"},
    },
}
PROBLEM = {"schema": {"type": "object"}, "examples": {"one": {"value": {"code": "out-of-stock"}}}}
OPENAPI: Json = {
    "paths": {
        "/orders/{id}": {
            "post": {
                "operationId": "placeOrder",
                "parameters": [
                    {"in": "path", "name": "id", "required": True, "schema": {"type": "string"}},
                    {"in": "query", "name": "dry", "schema": {"type": "boolean"}},
                    {"in": "header", "name": "key", "required": True, "schema": {"type": "string", "maxLength": 9}},
                ],
                "requestBody": {
                    "required": False,
                    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Order"}}},
                },
                "responses": {
                    "200": {
                        "headers": {"Location": {}},
                        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/State"}}},
                    },
                    "409": {"content": {"application/problem+json": PROBLEM}},
                },
            }
        }
    },
    "components": {"schemas": {"Order": ORDER, "Part": PART, "State": STATE}},
}
CALL = ("paths", "/orders/{id}", "post")
BODY = ("components", "schemas", "Order")
ANSWER = ("components", "schemas", "State")
GONE = object()
Change = tuple[tuple[str | int, ...], object]


def changed(document: Json, change: Change) -> Json:
    (*way, last), value = change
    result = copy.deepcopy(document)
    place: Any = result
    for step in way:
        place = place[step]
    if value is GONE:
        del place[last]
    elif isinstance(place, list) and last == len(place):
        place.append(value)
    else:
        place[last] = copy.deepcopy(value)
    return result


def message(payload: Json) -> Json:
    return {
        "contentType": "application/json",
        "headers": {"type": "object", "properties": {"ce_id": {"type": "string"}}},
        "payload": payload,
        "bindings": {"kafka": {"key": {"type": "string", "description": "The SKU."}}},
    }


ASYNCAPI: Json = {
    "channels": {
        "inbound": {"address": "in.v1", "messages": {"order": {"$ref": "#/components/messages/in.order"}}},
        "events": {"address": "out.v1", "messages": {"state": {"$ref": "#/components/messages/out.state"}}},
    },
    "operations": {
        "receive": {"action": "receive", "channel": {"$ref": "#/channels/inbound"}},
        "send": {"action": "send", "channel": {"$ref": "#/channels/events"}},
    },
    "components": {
        "messages": {"in.order": message(ORDER), "out.state": message(STATE)},
        "schemas": {"Part": PART},
    },
}
IN = ("components", "messages", "in.order")
OUT = ("components", "messages", "out.state")
