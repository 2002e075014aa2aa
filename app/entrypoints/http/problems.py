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
    """A kind of problem: its stable code, its HTTP status and its title."""

    code: str
    status: int
    title: str


KINDS: dict[str, Kind] = {
    kind.code: kind
    for kind in (
        Kind("malformed-request", 400, "The request is not valid HTTP"),
        Kind("malformed-body", 400, "The body is not valid JSON"),
        Kind(errors.InvalidSkuError.code, 400, "No batch of this SKU has been recorded"),
        Kind("idempotency-key-required", 400, "The request needs an Idempotency-Key"),
        Kind("too-deeply-nested", 400, "The body is nested too deeply"),
        Kind("unauthenticated", 401, "The caller is not authenticated"),
        Kind("forbidden", 403, "The caller lacks permission"),
        Kind("not-found", 404, "The path does not exist"),
        Kind(errors.BatchNotFoundError.code, 404, "No batch has this ref"),
        Kind(errors.OrderNotFoundError.code, 404, "The order does not exist"),
        Kind(errors.AllocationNotFoundError.code, 404, "The order has no line of this SKU"),
        Kind(errors.ProductNotFoundError.code, 404, "No product has this SKU"),
        Kind(errors.CartNotFoundError.code, 404, "No cart has this id"),
        Kind("method-not-allowed", 405, "The path does not support this method"),
        Kind("request-timeout", 408, "The request did not arrive in time"),
        Kind(errors.AlreadyShippedError.code, 409, "The line was shipped"),
        Kind(errors.NotAllocatedError.code, 409, "The line is not allocated"),
        Kind(errors.NotConfirmedError.code, 409, "The line is held and not confirmed"),
        Kind(errors.NotHeldError.code, 409, "The order or line is not held"),
        Kind(errors.BelowShippedError.code, 409, "The quantity is below the shipped quantity"),
        Kind(errors.QuantityChangedError.code, 409, "The batch or product does not have the expected quantity"),
        Kind(errors.BatchConflictError.code, 409, "The ref was recorded with other content"),
        Kind(errors.OutOfStockError.code, 409, "No batch can hold the whole line"),
        Kind(errors.AllocationConflictError.code, 409, "The order has a line of this SKU with another quantity"),
        Kind(errors.OrderConflictError.code, 409, "The order was placed before with other lines"),
        Kind(errors.CartClosedError.code, 409, "The cart is closed"),
        Kind(errors.CartEmptyError.code, 409, "The cart has no item"),
        Kind(errors.PriceChangedError.code, 409, "The item has another unit price"),
        Kind(errors.CurrencyMismatchError.code, 409, "The cart has another currency"),
        Kind(errors.CheckoutConflictError.code, 409, "The cart was checked out as another order"),
        Kind(IdempotencyKeyInUseError.code, 409, "The first request with this key is still running"),
        Kind("cursor-expired", 410, "Events after the cursor are no longer kept"),
        Kind(errors.PreconditionFailedError.code, 412, "The current ETag is not in If-Match"),
        Kind("payload-too-large", 413, "The body is too large"),
        Kind("uri-too-long", 414, "The URI is too long"),
        Kind("unsupported-media-type", 415, "The body must be application/json"),
        Kind("misdirected-request", 421, "The host is not allowed"),
        Kind("invalid-request", 422, "The request is invalid"),
        Kind(errors.QuantityTooLargeError.code, 422, "The quantity of the batch would be too large"),
        Kind(errors.LocationRequiredError.code, 422, "The location of the count is missing"),
        Kind(errors.CartLimitExceededError.code, 422, "The cart would exceed a limit"),
        Kind(IdempotencyKeyReusedError.code, 422, "The key was used for another request"),
        Kind("too-many-requests", 429, "The rate limit is exceeded"),
        Kind("headers-too-large", 431, "The headers are too large"),
        Kind("internal-error", 500, "The service failed; the error has been logged"),
        Kind("unavailable", 503, "The service is temporarily unavailable; try again"),
        Kind("overloaded", 503, "The service is overloaded; try again"),
    )
}


DEFAULT_TYPE_BASE = "/problems/"
_type_base = DEFAULT_TYPE_BASE


def configure_types(base: str) -> None:
    """Set the base of the `type` of every problem; the code follows it. Call it once, when the process starts."""
    global _type_base  # noqa: PLW0603 - the protocol returns problems before a request has an application
    _type_base = base


class Fault(BaseModel):
    """A fault of a request."""

    loc: Annotated[
        list[str | int],
        Field(description="The place of the fault: body, path, query, header or item, and the field in it."),
    ]
    msg: Annotated[str, Field(description="The fault, for people.")]
    type: Annotated[str, Field(description="The kind of fault, for programs.")]


def _only_with(codes: str, meaning: str) -> Any:  # noqa: ANN401 - as Pydantic declares its Field
    return Field(
        description=f"With {codes}: {meaning}", exclude_if=lambda value: value is None, json_schema_extra=drop_default
    )


class Problem(BaseModel):
    """An error as RFC 9457 describes it."""

    type: Annotated[
        str, Field(description="A URI reference that identifies the kind of problem and refers to its explanation.")
    ]
    title: Annotated[str, Field(description="The kind of problem, for people.")]
    status: Annotated[int, Field(description="The HTTP status.")]
    detail: Annotated[str, Field(description="The explanation of this occurrence.")]
    instance: Annotated[str, Field(description="The path of the request.")]
    code: Annotated[str, Field(description="The kind of problem, for programs.")]
    errors: Annotated[list[Fault] | None, _only_with("invalid-request", "the faults.")] = None
    locations: Annotated[list[str] | None, _only_with("location-required", "those with pieces.")] = None
    present_qty: Annotated[int | None, _only_with("quantity-changed", "the current quantity.")] = None
    first_cursor: Annotated[str | None, _only_with("cursor-expired", "the cursor of the first event that is kept.")] = (
        None
    )
    skus: Annotated[
        list[str] | None,
        _only_with("invalid-sku, out-of-stock and not-held", "the SKUs of the lines that caused the refusal."),
    ] = None


class ProblemError(Exception):
    """Ends the request with a problem as its response."""

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
    """The problem of a refusal."""
    return ProblemError(refusal.code, str(refusal), details=refusal.details)


def respond(instance: str, problem: ProblemError) -> Response:
    """The response with the problem."""
    body = json.dumps(members_of(instance, problem), separators=(",", ":"))
    return Response(body, problem.kind.status, problem.headers, MEDIA_TYPE)


def members_of(instance: str, problem: ProblemError) -> dict[str, Any]:
    """The members of the problem's JSON object."""
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
    """The path of the request as it was sent, percent-encoded."""
    raw: bytes | None = scope.get("raw_path")
    return quote(scope["path"]) if raw is None else raw.partition(b"?")[0].decode("latin-1")


def documented(*codes: str) -> dict[int | str, dict[str, Any]]:
    """The OpenAPI responses of a route: these problems, and those that every route can return."""
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
_CHALLENGE = {"WWW-Authenticate": {"description": "The required credentials (RFC 6750).", "schema": {"type": "string"}}}
_ACCEPTED = {
    "Accept": {"description": "The supported media type.", "schema": {"type": "string"}},
    "Accept-Encoding": {"description": "The supported content coding.", "schema": {"type": "string"}},
}
_HEADERS = {415: _ACCEPTED, 401: _CHALLENGE, 403: _CHALLENGE, 429: _RETRY_AFTER, 503: _RETRY_AFTER}
