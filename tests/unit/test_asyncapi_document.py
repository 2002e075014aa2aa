"""The AsyncAPI document by the official schema, and its examples by the document's own schemas."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from pydantic import BaseModel, Field

from app.integration.asyncapi import _example, asyncapi_document

OFFICIAL_SCHEMA = Path(__file__).parents[1] / "schemas" / "asyncapi" / "3.0.0.json"

Json = dict[str, Any]


@pytest.fixture(scope="module")
def official() -> jsonschema.Draft7Validator:
    return jsonschema.Draft7Validator(json.loads(OFFICIAL_SCHEMA.read_text()))


def faults(validator: jsonschema.Draft7Validator, document: Json) -> list[str]:
    return [error.json_path for error in validator.iter_errors(document)]


def test_the_document_is_valid_by_the_official_schema(official: jsonschema.Draft7Validator) -> None:
    assert faults(official, asyncapi_document()) == []


@pytest.mark.parametrize(
    ("path", "wrong"),
    [
        ("operations/sendEvents/action", "publish"),
        ("channels/events/bindings/kafka/topic", 3),
        ("components/messages/out.line_allocated.v1/payload/type", "number of pieces"),
        ("components/messages/out.line_allocated.v1/examples/0/headers", "none"),
    ],
)
def test_the_official_schema_sees_the_parts_that_are_ours(
    official: jsonschema.Draft7Validator, path: str, wrong: object
) -> None:
    document = json.loads(json.dumps(asyncapi_document()))
    *way, last = path.split("/")
    place = document
    for step in way:
        place = place[int(step)] if isinstance(place, list) else place[step]
    place[last] = wrong
    assert faults(official, document) != []


def test_every_message_has_an_example_that_is_valid_in_each_part() -> None:
    components = asyncapi_document()["components"]
    assert components["messages"]
    for name, message in components["messages"].items():
        for part in ("headers", "payload"):
            validator = jsonschema.Draft202012Validator(
                {**message[part], "components": components},
                format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER,
            )
            alternatives = message[part].get("oneOf", [message[part]])
            for example, alternative in zip(message["examples"], alternatives, strict=len(alternatives) > 1):
                validator.validate(example[part])
                schema = alternative
                if "$ref" in alternative:
                    schema = components["schemas"][alternative["$ref"].rpartition("/")[2]]
                assert set(example[part]) == set(schema["properties"]), (name, part)


def test_every_message_and_every_channel_has_its_kafka_binding() -> None:
    document = asyncapi_document()
    for message in document["components"]["messages"].values():
        assert message["bindings"]["kafka"]["key"]["type"] == "string"
    for channel in document["channels"].values():
        assert channel["bindings"]["kafka"]["topic"] == channel["address"]


def test_an_example_is_put_together_from_the_parts_of_its_parts() -> None:
    class Line(BaseModel):
        sku: str = Field(examples=["CHAIR"])

    class Order(BaseModel):
        lines: list[Line]
        first: Line = Field(description="Once more.")

    schema = Order.model_json_schema()
    assert _example(schema, schema["$defs"]) == {"lines": [{"sku": "CHAIR"}], "first": {"sku": "CHAIR"}}
