"""The route class of the service: bytes in, command out, bytes back.

FastAPI's own handling of a request (dependencies, a model for the body, a model for the answer) costs more than all the
rest of it together. This class keeps FastAPI's declaration, and so the OpenAPI document, and does the work itself: the
body is validated by the command's own TypeAdapter straight from the bytes, path parameters by those of their
annotations, and the endpoint returns its answer ready to be sent.

An endpoint declares its path parameters, at most one body, and the request where it needs it:
`async def change(ref: Ref, changes: Changes, request: Request) -> Response`. What it raises becomes a problem here or,
where it is none that is known, in `RequestContext`.
"""

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from fastapi import Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel, TypeAdapter, ValidationError
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from app.adapters.database import is_passing
from app.domain.errors import DomainError
from app.entrypoints.http.identity import scope_of, security_of
from app.entrypoints.http.nesting import MAX_NESTING, is_nested_deeper_than
from app.entrypoints.http.problems import ProblemError, documented
from app.service_layer.messagebus import OverloadedError
from app.service_layer.ports import TemporarilyUnavailableError


class ServiceRoute(APIRoute):
    """An APIRoute whose endpoints say who may call them, take validated arguments and return a Response."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        scope = scope_of(endpoint)
        if scope is not None:
            refusals = documented("unauthenticated", "forbidden", "too-many-requests")
            options["responses"] = refusals | (options.get("responses") or {})
        options["openapi_extra"] = {"security": security_of(scope)} | (options.get("openapi_extra") or {})
        super().__init__(path, endpoint, **options)
        self.app = _application(endpoint, self.path_format)


def _application(endpoint: Callable[..., Any], path: str) -> ASGIApp:
    """The ASGI application that answers requests to the endpoint."""
    path_adapters, bodies, takes_request = _adapters(endpoint, path)
    needed = scope_of(endpoint)

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            gate = scope["app"].state.gate
            if gate is not None and needed is not None:
                await gate.admit(scope, needed)
            arguments: dict[str, Any] = {"request": request} if takes_request else {}
            if path_adapters:
                _add_path_parameters(arguments, path_adapters, request.path_params)
            for name, adapter in bodies.items():
                arguments[name] = _parse(adapter, await _read_body(request))
            async with asyncio.timeout(scope["app"].state.deadline):
                response: Response = await endpoint(**arguments)
        except Exception as error:
            problem = _as_problem(error)
            if problem is None:
                raise
            raise problem from error
        await response(scope, receive, send)

    return answer


def _adapters(
    endpoint: Callable[..., Any], path: str
) -> tuple[dict[str, TypeAdapter[Any]], dict[str, TypeAdapter[Any]], bool]:
    """What validates the path parameters of the endpoint and its body, by name; and whether it takes the request."""
    in_path: dict[str, TypeAdapter[Any]] = {}
    in_body: dict[str, TypeAdapter[Any]] = {}
    hints = get_type_hints(endpoint, include_extras=True)
    for name, hint in hints.items():
        if name == "return" or hint is Request:
            continue
        (in_path if f"{{{name}}}" in path else in_body)[name] = TypeAdapter(_without_marker(hint))
    return in_path, in_body, Request in hints.values()


def _as_problem(error: Exception) -> ProblemError | None:
    """What the caller is told about an error that an endpoint may raise; None where it is a fault of ours."""
    match error:
        case ProblemError():
            return error
        case DomainError():
            return ProblemError(error.code, str(error), details=error.details)
        case OverloadedError():
            return ProblemError("overloaded", str(error))
        case TimeoutError():
            detail = "no answer in time; the request may still take effect, and may be sent again safely"
            return ProblemError("unavailable", detail)
        case _ if isinstance(error, TemporarilyUnavailableError) or is_passing(error):
            return ProblemError("unavailable", "the database does not answer; try again")
        case _:
            return None


async def _read_body(request: Request) -> bytes:
    content_type = request.headers.get("content-type")
    if content_type is not None and not _is_json(content_type):
        detail = f"{content_type} is not supported; send application/json"
        raise ProblemError("unsupported-media-type", detail, headers={"Accept": "application/json"})
    limit: int = request.app.state.max_body_bytes
    declared = request.headers.get("content-length", "0")
    if declared.isdecimal() and int(declared) > limit:
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


def _too_large(limit: int) -> ProblemError:
    # The rest of the body is not read, so the connection cannot be used again.
    return ProblemError("payload-too-large", f"a body has at most {limit} bytes", headers={"Connection": "close"})


def _parse(adapter: TypeAdapter[Any], body: bytes) -> BaseModel:
    try:
        command: BaseModel = adapter.validate_json(body)
    except ValidationError as error:
        faults = _faults(error, "body")
        if is_nested_deeper_than(MAX_NESTING, body):
            raise ProblemError("too-deeply-nested", f"a body is nested at most {MAX_NESTING} deep") from None
        if not _is_strict_json(body):
            raise ProblemError("malformed-body", f"the body is not JSON: {faults[0]['msg']}") from None
        raise _invalid(faults) from None
    return command


def _is_strict_json(body: bytes) -> bool:
    """Pydantic's parser also takes NaN and Infinity, which are no JSON. Asked only about what it has refused."""

    def refuse(constant: str) -> None:
        raise ValueError(constant)

    try:
        json.loads(body.decode(), parse_constant=refuse, parse_int=len)
    except (ValueError, RecursionError):
        return False
    return True


def _add_path_parameters(
    arguments: dict[str, Any], adapters: Mapping[str, TypeAdapter[Any]], values: Mapping[str, Any]
) -> None:
    faults: list[dict[str, Any]] = []
    for name, adapter in adapters.items():
        try:
            arguments[name] = adapter.validate_python(values[name])
        except ValidationError as error:
            faults += _faults(error, "path", name)
    if faults:
        raise _invalid(faults)


def _faults(error: ValidationError, *where: str) -> list[dict[str, Any]]:
    """What is wrong, without the values that were sent."""
    return [
        {"loc": [*where, *fault["loc"]], "msg": fault["msg"], "type": fault["type"]}
        for fault in error.errors(include_url=False, include_context=False, include_input=False)
    ]


def _invalid(faults: list[dict[str, Any]]) -> ProblemError:
    detail = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in faults)
    return ProblemError("invalid-request", detail, faults=faults)


def _without_marker(hint: Any) -> Any:  # noqa: ANN401 - a type annotation can be anything
    """The annotation without FastAPI's Path(), which says where the value stands and nothing about its form."""
    if get_origin(hint) is not Annotated:
        return hint
    inner, *metadata = get_args(hint)
    kept = [item for item in metadata if type(item).__module__ != "fastapi.params"]
    return Annotated[(inner, *kept)] if kept else inner
