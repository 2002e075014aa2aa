"""Writing requests: runs the command, and implements `Idempotency-Key`.

Source: https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/
"""

import asyncio
import hashlib
import re
from collections.abc import Callable
from typing import Any

from fastapi import Request, Response

from app.domain.commands import Command
from app.domain.errors import DomainError
from app.entrypoints.http.context import cause_of
from app.entrypoints.http.headers import named_headers
from app.entrypoints.http.parameters import invalid
from app.entrypoints.http.problems import ProblemError, documented, path_of, problem_of, respond
from app.entrypoints.http.services import services_of
from app.service_layer.idempotency import (
    IdempotencyKey,
    IdempotencyKeyInUseError,
    IdempotencyKeyReusedError,
    StoredAnswer,
)

KEY_PATTERN = r'^("[!#-~]{1,255}"|[!#-~]{1,255})$'
"""Visible ASCII characters. The draft requires quotation marks around a key, and most callers leave them out."""

LARGE_DEADLINE = 60.0
"""Seconds that a request has from the call of its `on_large`."""

KEYED: dict[str, Any] = {
    "parameters": [
        {
            "name": "Idempotency-Key",
            "in": "header",
            "required": False,
            "description": (
                "A unique value that the caller generates for each new request, for example a UUID. A repeated request "
                "with the same key gets the stored response and has no effect. Method, path, query, `If-Match` and "
                "body have to be the same, byte for byte. Responses are stored for 24 hours unless the operator "
                "configures otherwise."
            ),
            # Without an example: Swagger UI would send it with each request, and refuse the second one.
            "schema": {"type": "string", "pattern": KEY_PATTERN, "maxLength": 257},
        }
    ]
}
"""The OpenAPI parameters of a writing route."""


KEY_REQUIRED: dict[str, Any] = {"parameters": [KEYED["parameters"][0] | {"required": True}]}
"""The OpenAPI parameters of a writing route whose repetition would take effect again."""


def documented_write(*codes: str) -> dict[int | str, dict[str, Any]]:
    """The OpenAPI responses of a writing route: these problems, and those that every writing route can return."""
    keys = (IdempotencyKeyInUseError.code, IdempotencyKeyReusedError.code, "invalid-request")
    return documented(*codes, *keys, "overloaded")


async def write(request: Request, command: Command, render: Callable[[Any], Response]) -> Response:
    """Run the command and render its result. A repeated request with the same key gets the stored response.

    Raises ProblemError for `If-Match` if the command does not support it: ignoring it would drop the caller's
    condition.
    """
    if b"if-match" in named_headers(request.scope) and "if_match" not in type(command).model_fields:
        message = "Header is supported only by changes of one batch, one product or one cart"
        raise invalid([{"loc": ["header", "If-Match"], "msg": message, "type": "unsupported"}])
    deadline: asyncio.Timeout = request.scope["state"]["deadline"]

    def wait_longer() -> None:
        deadline.reschedule(asyncio.get_running_loop().time() + LARGE_DEADLINE)

    bus = services_of(request.scope).bus
    given = key_of(request)
    if given is None:
        return render(await bus.handle(command, cause_of(request), on_large=wait_longer))
    key = IdempotencyKey(cause_of(request).principal or "", given.strip('"'), _fingerprint(request))

    def encode(result: Any, refusal: DomainError | None) -> StoredAnswer:  # noqa: ANN401 - as the bus returns it
        answer = render(result) if refusal is None else respond(path_of(request.scope), problem_of(refusal))
        headers = ((name, value) for name, value in answer.headers.items() if name != "content-length")
        return StoredAnswer(answer.status_code, tuple(headers), bytes(answer.body))

    answer: StoredAnswer = await bus.handle(command, cause_of(request), key, encode, on_large=wait_longer)
    return Response(answer.body, answer.status, dict(answer.headers))


def key_of(request: Request) -> str | None:
    """The Idempotency-Key of the request; None without one. Raises ProblemError if it is malformed.

    The route calls this for every writing request, so that a malformed key is refused even where the key is not used:
    in a dry run, and in a bulk request whose items are all invalid.
    """
    given = named_headers(request.scope).get(b"idempotency-key")
    if given is None:
        return None
    key = given.decode("latin-1")
    if not re.fullmatch(KEY_PATTERN, key):
        message = "Key should be 1 to 255 visible ASCII characters, with or without quotation marks around them"
        raise invalid([{"loc": ["header", "Idempotency-Key"], "msg": message, "type": "key_form"}])
    return key


def require_key(request: Request) -> None:
    """Raise ProblemError for a request without an Idempotency-Key."""
    if key_of(request) is None:
        detail = "the request would take effect again if it were repeated; send it with an Idempotency-Key"
        raise ProblemError("idempotency-key-required", detail)


def _fingerprint(request: Request) -> bytes:
    """A digest of the request: method, path, query, `If-Match` and body as they were sent."""
    scope = request.scope
    target = f"{request.method} {path_of(scope)}?".encode() + scope["query_string"] + b"\n"
    for tags in request.headers.getlist("if-match"):
        target += f"If-Match: {tags}\n".encode()
    return hashlib.sha256(target + scope["state"].get("body", b"")).digest()
