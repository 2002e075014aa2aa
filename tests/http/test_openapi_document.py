"""The OpenAPI document describes the service completely."""

import asyncio
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from app.bootstrap import bootstrap
from app.entrypoints.server import http_application
from app.settings import Settings
from tests.http.contract import CODES, OF_KEYS, STATUSES
from tests.support.api import Api, Json

VALIDATOR = jsonschema.Draft202012Validator


@pytest.fixture(scope="session")
def document() -> Json:
    """The document as it is served, built without a running service."""

    async def make() -> Json:
        async with bootstrap(Settings(_env_file=None)) as service:
            return http_application(service).openapi()

    return asyncio.run(make())


def operations(document: Json) -> Iterator[tuple[str, str, Json]]:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield method, path, operation


def resolved(document: Json, schema: Json) -> Json:
    """The schema that a reference names, or the schema itself."""
    while "$ref" in schema:
        target: Any = document
        for part in schema["$ref"].removeprefix("#/").split("/"):
            target = target[part]
        schema = target
    return schema


async def test_the_document_is_served_as_json(api: Api, document: Json) -> None:
    answer = await api.client.get("/openapi.json")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert answer.json() == document


def test_the_document_is_valid_openapi_3_1(document: Json) -> None:
    assert document["openapi"].startswith("3.1.")
    OpenAPIV31SpecValidator(document).validate()


def test_the_document_has_exactly_the_calls_of_the_contract_and_their_statuses(document: Json) -> None:
    described = {(method, path): set(operation["responses"]) for method, path, operation in operations(document)}
    assert set(described) == set(STATUSES)
    for call, statuses in STATUSES.items():
        assert described[call] >= statuses, call


def test_each_operation_has_an_id_of_its_own_and_a_summary(document: Json) -> None:
    described = list(operations(document))
    ids = [operation["operationId"] for _, _, operation in described]
    assert len(set(ids)) == len(ids)
    for _, path, operation in described:
        assert operation["operationId"].isidentifier(), path
        assert 5 <= len(operation["summary"]) <= 80, path
        assert operation["tags"], path


def test_each_body_has_examples_that_are_valid(document: Json) -> None:
    found = 0
    for method, path, operation in operations(document):
        contents = [operation.get("requestBody", {}).get("content", {})]
        contents += [answer.get("content", {}) for answer in operation["responses"].values()]
        for media_type, content in ((name, content) for each in contents for name, content in each.items()):
            if "json" not in media_type:
                continue
            for example in examples_of(document, content):
                schema = content["schema"] | {"components": document["components"]}
                VALIDATOR(schema, format_checker=VALIDATOR.FORMAT_CHECKER).validate(example)
                found += 1
                break
            else:
                pytest.fail(f"no example: {method} {path} {content}")
    assert found > 20


def test_each_parameter_has_examples_that_are_valid(document: Json) -> None:
    found = 0
    for method, path, operation in operations(document):
        for parameter in operation.get("parameters", []):
            if parameter["name"] == "Idempotency-Key":
                # A page that tries requests out would send its example with each of them, and a key is for one request.
                assert not {"example", "examples"} & {*parameter, *parameter["schema"]}
                continue
            example = parameter.get("example", example_of(document, parameter["schema"]))
            assert example is not None, f"no example: {method} {path} {parameter['name']}"
            schema = parameter["schema"] | {"components": document["components"]}
            VALIDATOR(schema, format_checker=VALIDATOR.FORMAT_CHECKER).validate(example)
            found += 1
    assert found >= 5


def examples_of(document: Json, content: Json) -> list[Any]:
    """The examples of a body: of the whole, of its schema, or put together from those of its properties."""
    if "example" in content:
        return [content["example"]]
    if "examples" in content:
        return [example["value"] for example in content["examples"].values()]
    example = example_of(document, content["schema"])
    return [] if example is None else [example]


def example_of(document: Json, schema: Json) -> Any:  # noqa: ANN401 - an example is any JSON
    here = resolved(document, schema)
    for facts in (schema, here):
        if facts.get("examples"):
            return facts["examples"][0]
    if here.get("type") == "array":
        item = example_of(document, here["items"])
        return None if item is None else [item]
    if "enum" in here or "const" in here:
        return here.get("const", here.get("enum", [None])[0])
    if "properties" not in here:
        return None
    example = {name: example_of(document, facts) for name, facts in here["properties"].items()}
    missing = [name for name in here.get("required", []) if example[name] is None]
    return None if missing else {name: value for name, value in example.items() if value is not None}


@pytest.mark.parametrize(("method", "path", "status"), CODES)
def test_each_problem_of_the_contract_is_declared_with_its_code(
    document: Json, method: str, path: str, status: str
) -> None:
    answer = document["paths"][path][method]["responses"][status]
    assert set(answer["content"]) == {"application/problem+json"}
    codes = {example["value"]["code"] for example in answer["content"]["application/problem+json"]["examples"].values()}
    assert codes - OF_KEYS == CODES[method, path, status]


def test_each_error_is_declared_as_a_problem(document: Json) -> None:
    for method, path, operation in operations(document):
        for status, answer in operation["responses"].items():
            if not status.startswith(("4", "5")):
                continue
            assert set(answer["content"]) == {"application/problem+json"}, (method, path, status)
            schema = resolved(document, answer["content"]["application/problem+json"]["schema"])
            assert set(schema["required"]) == {"type", "title", "status", "detail", "instance", "code"}
            assert ("Retry-After" in answer.get("headers", {})) == (status in {"429", "503"}), (method, path, status)


def test_the_document_declares_the_bounds_of_the_contract(document: Json) -> None:
    schemas = document["components"]["schemas"]
    line = schemas["Allocate"]
    assert line["additionalProperties"] is False
    assert sorted(line["required"]) == ["order_id", "qty", "sku"]
    assert (line["properties"]["qty"]["minimum"], line["properties"]["qty"]["maximum"]) == (1, 2_147_483_647)
    assert (line["properties"]["sku"]["minLength"], line["properties"]["sku"]["maxLength"]) == (1, 255)
    if_unavailable = resolved(document, line["properties"]["if_unavailable"])
    assert set(if_unavailable["enum"]) == {"backorder", "reject"}
    assert if_unavailable["default"] == "backorder"
    changes = schemas["BatchChanges"]["properties"]["qty"]
    assert (changes["minimum"], changes["maximum"]) == (0, 2_147_483_647)


def test_a_default_never_makes_a_property_required_in_a_client(document: Json) -> None:
    """openapi-typescript declares a property required that has a `default` beside its type, in answers too."""
    for name, schema in document["components"]["schemas"].items():
        for field, facts in schema.get("properties", {}).items():
            assert "default" not in facts, (name, field)
    changes = document["components"]["schemas"]["BatchChanges"]["properties"]
    assert resolved(document, changes["reallocate"])["default"] is False


def test_bounds_of_whole_numbers_are_whole_numbers(document: Json) -> None:
    qty = document["components"]["schemas"]["Allocate"]["properties"]["qty"]
    assert (str(qty["minimum"]), str(qty["maximum"])) == ("1", "2147483647")


def test_the_document_names_its_owner_and_its_server(document: Json) -> None:
    assert document["info"]["license"] == {"name": "Apache-2.0", "identifier": "Apache-2.0"}
    assert document["info"]["contact"]["name"]
    assert [server["url"] for server in document["servers"]] == ["/"]


def test_every_operation_declares_what_it_refuses(document: Json) -> None:
    for method, path, operation in operations(document):
        assert any(status.startswith("4") for status in operation["responses"]), (method, path)


def test_the_created_batch_declares_its_location(document: Json) -> None:
    assert "Location" in document["paths"]["/v1/batches"]["post"]["responses"]["201"]["headers"]
