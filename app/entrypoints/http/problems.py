"""Every error as `application/problem+json` (RFC 9457), from one table."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import Response
from pydantic import BaseModel, Field

from app.domain import errors
from app.domain.fields import drop_default
from app.service_layer.idempotency import IdempotencyKeyInUseError, IdempotencyKeyReusedError

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_SECONDS = 1


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of problem: its stable code, the status that it answers with, and what it is called."""

    code: str
    status: int
    title: str


KINDS: dict[str, Kind] = {
    kind.code: kind
    for kind in (
        Kind("malformed-request", 400, "The request is not HTTP that this service understands"),
        Kind("malformed-body", 400, "The body is not JSON"),
        Kind(errors.InvalidSkuError.code, 400, "No batch of this SKU was ever recorded"),
        Kind("too-deeply-nested", 400, "The body is nested too deeply"),
        Kind("unauthenticated", 401, "The caller is not known"),
        Kind("forbidden", 403, "The caller may not do this"),
        Kind("not-found", 404, "There is no such path"),
        Kind(errors.BatchNotFoundError.code, 404, "No batch has this ref"),
        Kind(errors.OrderNotFoundError.code, 404, "The order has no line"),
        Kind(errors.AllocationNotFoundError.code, 404, "The order has no line of this SKU"),
        Kind(errors.ProductNotFoundError.code, 404, "No product has this SKU"),
        Kind("method-not-allowed", 405, "The path does not take this method"),
        Kind("request-timeout", 408, "The request did not arrive in time"),
        Kind(errors.AlreadyShippedError.code, 409, "The line has left the house"),
        Kind(errors.NotAllocatedError.code, 409, "The line waits for stock"),
        Kind(errors.BelowShippedError.code, 409, "More has been shipped from the batch than that"),
        Kind(errors.QuantityChangedError.code, 409, "The batch has another quantity than expected"),
        Kind(errors.BatchConflictError.code, 409, "The ref was recorded with other content"),
        Kind(errors.OutOfStockError.code, 409, "No batch holds the whole line"),
        Kind(errors.AllocationConflictError.code, 409, "The order has another quantity of this SKU"),
        Kind(errors.OrderConflictError.code, 409, "The order was placed before with other lines"),
        Kind(IdempotencyKeyInUseError.code, 409, "The first request with this key is still running"),
        Kind(errors.PreconditionFailedError.code, 412, "The ETag is not one of those in If-Match"),
        Kind("payload-too-large", 413, "The body is too large"),
        Kind("uri-too-long", 414, "The address is too long"),
        Kind("unsupported-media-type", 415, "The body has to be application/json"),
        Kind("misdirected-request", 421, "The service is not known by this host name"),
        Kind("invalid-request", 422, "A part of the request has the wrong form"),
        Kind(IdempotencyKeyReusedError.code, 422, "The key came with another request before"),
        Kind("too-many-requests", 429, "The caller asks too often"),
        Kind("headers-too-large", 431, "The headers are too large"),
        Kind("internal-error", 500, "The service failed; the fault is ours and has been logged"),
        Kind("unavailable", 503, "The service cannot answer now; try again"),
        Kind("overloaded", 503, "Too many requests are waiting; try again"),
    )
}


DEFAULT_TYPE_BASE = "/problems/"
_type_base = DEFAULT_TYPE_BASE


def configure_types(base: str) -> None:
    """Have the `type` of every problem begin with the base; the code follows. For the whole process, at its start."""
    global _type_base  # noqa: PLW0603 - problems are answered where no application is known yet
    _type_base = base


class Fault(BaseModel):
    """One thing that is wrong with a request."""

    loc: Annotated[list[str | int], Field(description="Where: body, path, query or item, and the field in it.")]
    msg: Annotated[str, Field(description="What is wrong, for people.")]
    type: Annotated[str, Field(description="What is wrong, for programs.")]


class Problem(BaseModel):
    """An error as RFC 9457 describes it."""

    type: Annotated[
        str, Field(description="Names the kind of problem, as a URI reference that leads to its explanation.")
    ]
    title: Annotated[str, Field(description="The kind of problem, for people.")]
    status: Annotated[int, Field(description="The HTTP status.")]
    detail: Annotated[str, Field(description="What happened this time, and what to do about it.")]
    instance: Annotated[str, Field(description="The path that was asked for.")]
    code: Annotated[str, Field(description="The kind of problem, for programs.")]
    errors: Annotated[
        list[Fault] | None,
        Field(
            description="With invalid-request: each thing that is wrong.",
            exclude_if=lambda v: v is None,
            json_schema_extra=drop_default,
        ),
    ] = None
    present_qty: Annotated[
        int | None,
        Field(
            description="With quantity-changed: what the batch has now.",
            exclude_if=lambda v: v is None,
            json_schema_extra=drop_default,
        ),
    ] = None
    skus: Annotated[
        list[str] | None,
        Field(
            description="With invalid-sku and out-of-stock: the SKUs of the lines that are the reason.",
            exclude_if=lambda v: v is None,
            json_schema_extra=drop_default,
        ),
    ] = None


class ProblemError(Exception):
    """Answers the request with a problem."""

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        faults: list[dict[str, Any]] | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(detail)
        self.kind = KINDS[code]
        self.detail = detail
        self.headers = dict(headers or {})
        if self.kind.status == HTTPStatus.SERVICE_UNAVAILABLE or code == IdempotencyKeyInUseError.code:
            self.headers.setdefault("Retry-After", str(RETRY_AFTER_SECONDS))
        self.faults = faults
        self.details = details or {}


def problem_of(refusal: errors.DomainError) -> ProblemError:
    """The problem that tells of a refusal of the business."""
    return ProblemError(refusal.code, str(refusal), details=refusal.details)


def respond(instance: str, problem: ProblemError) -> Response:
    """The answer that tells of the problem."""
    body = json.dumps(members_of(instance, problem), separators=(",", ":"))
    return Response(body, problem.kind.status, problem.headers, MEDIA_TYPE)


def members_of(instance: str, problem: ProblemError) -> dict[str, Any]:
    """The members of the JSON that tells of the problem."""
    kind = problem.kind
    members: dict[str, Any] = {
        "type": _type_base + kind.code,
        "title": kind.title,
        "status": kind.status,
        "detail": problem.detail,
        "instance": instance,
        "code": kind.code,
        **problem.details,
    }
    if problem.faults is not None:
        members["errors"] = problem.faults
    return members


def path_of(scope: Mapping[str, Any]) -> str:
    """The path as it was asked for: a URI reference, percent-encoded."""
    raw: bytes | None = scope.get("raw_path")
    return quote(scope["path"]) if raw is None else raw.partition(b"?")[0].decode("latin-1")


def documented(*codes: str) -> dict[int | str, dict[str, Any]]:
    """The OpenAPI responses of a route that can answer with these problems, besides those that any route can."""
    by_status: dict[int, list[Kind]] = {}
    for code in dict.fromkeys((*codes, "internal-error", "unavailable")):
        by_status.setdefault(KINDS[code].status, []).append(KINDS[code])
    return {status: _response(kinds) for status, kinds in by_status.items()}


def _response(kinds: list[Kind]) -> dict[str, Any]:
    examples = {
        kind.code: {
            "summary": kind.title,
            "value": {
                "type": f"/problems/{kind.code}",
                "title": kind.title,
                "status": kind.status,
                "detail": kind.title,
                "instance": "/v1/…",
                "code": kind.code,
            },
        }
        for kind in kinds
    }
    response: dict[str, Any] = {
        "description": "; ".join(f"`{kind.code}`: {kind.title}" for kind in kinds),
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}, "examples": examples}},
    }
    headers = _HEADERS.get(kinds[0].status)
    return response if headers is None else response | {"headers": headers}


_RETRY_AFTER = {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer", "minimum": 0}}}
_CHALLENGE = {"WWW-Authenticate": {"description": "What would do (RFC 6750).", "schema": {"type": "string"}}}
_ACCEPTED = {
    "Accept": {"description": "The media type to send.", "schema": {"type": "string"}},
    "Accept-Encoding": {"description": "The content coding to send: none.", "schema": {"type": "string"}},
}
_HEADERS = {415: _ACCEPTED, 401: _CHALLENGE, 403: _CHALLENGE, 429: _RETRY_AFTER, 503: _RETRY_AFTER}
