"""The OpenAPI document: FastAPI's description of the routes, adapted to what client generators support."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from app.entrypoints.http.identity import SECURITY_SCHEMES
from app.entrypoints.http.problems import Problem

LICENSE = {"name": "Apache-2.0", "identifier": "Apache-2.0"}
CONTACT = {"name": "The operators of this service"}

SERVERS = [{"url": "/", "description": "The host that serves this document."}]
"""Relative, because the service does not have its public address (OpenAPI 3.1, section 4.8.5)."""

TAGS = [
    {"name": "batches", "description": "Batches of stock."},
    {"name": "allocations", "description": "Order lines and the batches that serve them."},
    {"name": "orders", "description": "Orders of several lines."},
    {"name": "carts", "description": "Carts: items with prices, before they are ordered."},
    {"name": "products", "description": "Products: stock, reorder point, history and availability."},
    {"name": "events", "description": "The published events over HTTP."},
    {"name": "operations", "description": "Health and metrics, for operators."},
]

_REFERENCE = "#/components/schemas/{model}"


def openapi_document(app: FastAPI) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of the application's routes."""
    document = get_openapi(
        title=app.title,
        version=app.version,
        description=app.description,
        routes=app.routes,
        tags=TAGS,
        servers=SERVERS,
        license_info=LICENSE,
        contact=CONTACT,
    )
    document["components"]["securitySchemes"] = SECURITY_SCHEMES
    schemas = document["components"]["schemas"]
    # FastAPI's schemas for invalid requests. The routes declare problems instead.
    schemas.pop("HTTPValidationError", None)
    schemas.pop("ValidationError", None)
    problem = Problem.model_json_schema(ref_template=_REFERENCE)
    schemas.update(problem.pop("$defs"))
    schemas["Problem"] = problem
    _name_schemas_with_defaults(schemas)
    whole: dict[str, Any] = _with_whole_numbers(document)
    return whole


def _name_schemas_with_defaults(schemas: dict[str, Any]) -> None:
    """Move each property that has a default into a schema of its own, and replace it by a reference.

    openapi-typescript declares a property as required if `default` is beside its type, and as optional if the default
    is in the referenced schema. Other generators treat both forms alike.
    """
    for schema in list(schemas.values()):
        for name, facts in schema.get("properties", {}).items():
            if "default" not in facts:
                continue
            component = facts["title"].replace(" ", "")
            named = {**facts, "title": component}
            if schemas.setdefault(component, named) != named:
                raise ValueError(f"two schemas would have the name {component}; give one of the fields another title")
            schema["properties"][name] = {"$ref": _REFERENCE.format(model=component)}


def _with_whole_numbers(part: Any) -> Any:  # noqa: ANN401 - a part of the document is any JSON
    """Write bounds such as 1.0 as 1: FastAPI's models hold them as floats, and some generators then infer a float."""
    match part:
        case dict():
            return {name: _with_whole_numbers(each) for name, each in part.items()}
        case list():
            return [_with_whole_numbers(each) for each in part]
        case float() if part.is_integer():
            return int(part)
        case _:
            return part
