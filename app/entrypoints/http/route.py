"""The route class of the service: bytes in, command out, bytes back.

FastAPI's own handling of a request (dependencies, a model for the body, a model for the response) costs more than all
the rest of the request. This class keeps FastAPI's declarations, and so the OpenAPI document, but handles requests
differently: the command's TypeAdapter validates the body directly from the bytes, the TypeAdapters of the annotations
validate the parameters, and the endpoint returns an encoded response.

An endpoint declares its path parameters, its query parameters (marked with `Query()`), at most one body, and the
request if it needs it: `async def change(ref: Ref, changes: Changes, request: Request, dry: Dry = False) -> Response`.
An error that it raises becomes a problem here, or in `RequestContext` if it is unexpected.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from fastapi import Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel, TypeAdapter, ValidationError
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from app.domain.errors import DomainError
from app.entrypoints.http.headers import ROUTING_KEY, named_headers
from app.entrypoints.http.idempotent_write import key_of
from app.entrypoints.http.identity import scope_of, security_of
from app.entrypoints.http.nesting import MAX_NESTING, is_nested_deeper_than
from app.entrypoints.http.parameters import Parameters, faults_of, invalid
from app.entrypoints.http.problems import ProblemError, documented, problem_of
from app.entrypoints.http.services import services_of
from app.integration.json_syntax import MalformedJsonError, parse_json
from app.read_model.pagination import InvalidCursorError
from app.service_layer.feed import FeedCursorExpiredError, FeedUnavailableError
from app.service_layer.messagebus import OverloadedError
from app.service_layer.ports import TemporarilyUnavailableError

READING_METHODS = frozenset({"GET", "HEAD"})


class ServiceRoute(APIRoute):
    """An APIRoute whose endpoints declare a scope, take validated arguments and return a Response."""

    body_limit: ClassVar[str] = "max_body_bytes"
    """The attribute of HttpServices that has the maximum size of a body."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        scope = scope_of(endpoint)
        if scope is not None:
            refusals = documented("unauthenticated", "forbidden", "misdirected-request", "too-many-requests")
            options["responses"] = refusals | (options.get("responses") or {})
        is_writing = not READING_METHODS.issuperset(options.get("methods") or ())
        extra = {"security": security_of(scope)} | (options.get("openapi_extra") or {})
        if is_writing:
            extra["parameters"] = [*extra.get("parameters", ()), ROUTING_KEY]
        options["openapi_extra"] = extra
        super().__init__(path, endpoint, **options)
        self.app = _application(endpoint, self.path_format, self.body_limit, is_writing=is_writing)


class BulkRoute(ServiceRoute):
    """A route whose body holds many commands."""

    body_limit: ClassVar[str] = "max_bulk_body_bytes"


def _application(endpoint: Callable[..., Any], path: str, body_limit: str, *, is_writing: bool) -> ASGIApp:
    """The ASGI application of the endpoint."""
    parameters = Parameters(endpoint, path)
    needed = scope_of(endpoint)

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            services = services_of(scope)
            left = services.deadline
            if needed is not None:
                left = await services.gate.admit(scope, needed, left)
            if is_writing:
                key_of(request)
            arguments = parameters.parse(request)
            for name, adapter in parameters.body.items():
                body = scope["state"]["body"] = await _read_body(request, getattr(services, body_limit))
                arguments[name] = _parse(adapter, body, services.validation_context)
            async with asyncio.timeout(left) as scope["state"]["deadline"]:
                response: Response = await endpoint(**arguments)
        except Exception as error:
            problem = as_problem(error)
            if problem is None:
                raise
            raise problem from error
        await response(scope, receive, send)

    return answer


def as_problem(error: Exception) -> ProblemError | None:  # noqa: PLR0911 - one for each kind of error
    """The problem of an error that an endpoint raised; None for an error of the service."""
    match error:
        case ProblemError():
            return error
        case DomainError():
            return problem_of(error)
        case InvalidCursorError():
            return invalid([{"loc": ["query", "cursor"], "msg": str(error), "type": "cursor"}])
        case OverloadedError():
            return ProblemError("overloaded", str(error))
        case FeedCursorExpiredError():
            return ProblemError("cursor-expired", str(error), details={"first_cursor": error.first_cursor})
        case FeedUnavailableError():
            return ProblemError("unavailable", str(error))
        case TimeoutError():
            detail = "the request timed out; it may still take effect, and can be repeated safely"
            return ProblemError("unavailable", detail)
        case TemporarilyUnavailableError():
            return ProblemError("unavailable", "the database does not respond; try again")
        case _:
            return None


async def _read_body(request: Request, limit: int) -> bytes:
    headers = named_headers(request.scope)
    content_type = headers.get(b"content-type", b"application/json").decode("latin-1")
    if content_type != "application/json" and not _is_json(content_type):
        detail = f"{content_type} is not supported; send application/json"
        raise ProblemError("unsupported-media-type", detail, headers={"Accept": "application/json"})
    codings = ",".join(request.headers.getlist("content-encoding")) if b"content-encoding" in headers else ""
    if codings and not _is_identity(codings):
        detail = f"the content coding {codings} is not supported; send the body without one"
        raise ProblemError("unsupported-media-type", detail, headers={"Accept-Encoding": "identity"})
    declared = headers.get(b"content-length", b"0")
    if declared.isdigit() and int(declared) > limit:
        raise _too_large(limit)
    body = bytearray()
    while True:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        body += message.get("body", b"")
        if len(body) > limit:
            raise _too_large(limit)
        if not message.get("more_body", False):
            return bytes(body)


def _is_json(content_type: str) -> bool:
    media_type = content_type.partition(";")[0].strip().lower()
    return media_type == "application/json" or (media_type.startswith("application/") and media_type.endswith("+json"))


def _is_identity(codings: str) -> bool:
    """Whether the body has no content coding."""
    return all(coding.strip().lower() in {"", "identity"} for coding in codings.split(","))


def _too_large(limit: int) -> ProblemError:
    # The rest of the body is not read, so the connection cannot be used again.
    return ProblemError("payload-too-large", f"a body may have at most {limit} bytes", headers={"Connection": "close"})


def _parse(adapter: TypeAdapter[Any], body: bytes, context: Mapping[str, Any]) -> BaseModel:
    try:
        command: BaseModel = adapter.validate_json(body, context=context)
    except ValidationError as error:
        if is_nested_deeper_than(MAX_NESTING, body):
            raise ProblemError("too-deeply-nested", f"a body may have at most {MAX_NESTING} levels") from None
        _refuse_malformed(body)
        raise invalid(faults_of(error, "body")) from None
    _refuse_malformed(body)
    return command


def _refuse_malformed(body: bytes) -> None:
    try:
        parse_json(body)
    except MalformedJsonError as error:
        raise ProblemError("malformed-body", f"the body is not valid JSON: {error}") from None
