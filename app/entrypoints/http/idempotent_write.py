"""What every writing call does: hand its command to the bus, and keep the promise of an Idempotency-Key.

Source: https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/
"""

import hashlib
import re
from collections.abc import Callable
from typing import Any

from fastapi import Request, Response

from app.domain.commands import Command
from app.domain.errors import DomainError
from app.entrypoints.http.context import cause_of
from app.entrypoints.http.parameters import invalid
from app.entrypoints.http.problems import ProblemError, documented, path_of, problem_of, respond
from app.service_layer.idempotency import (
    IdempotencyKey,
    IdempotencyKeyInUseError,
    IdempotencyKeyReusedError,
    StoredAnswer,
)

KEY_PATTERN = r'^("[!#-~]{1,255}"|[!#-~]{1,255})$'
"""Visible ASCII characters. The draft writes a key as a string of a structured field, and most callers do not."""

KEYED: dict[str, Any] = {
    "parameters": [
        {
            "name": "Idempotency-Key",
            "in": "header",
            "required": False,
            "description": (
                "Made up by the caller for each new request, for example a UUID. The same request again with the same "
                "key gets the same answer, without any effect. It is the same request if method, path, query and body "
                "are the same, byte for byte. Kept for 24 hours, unless the service is set otherwise."
            ),
            # Without an example: Swagger UI would send it with each request, and the second one would be refused.
            "schema": {"type": "string", "pattern": KEY_PATTERN, "maxLength": 257},
        }
    ]
}
"""What the OpenAPI document says of every writing route."""


def documented_write(*codes: str) -> dict[int | str, dict[str, Any]]:
    """The OpenAPI responses of a writing route that can answer with these problems, and with those of keys."""
    keys = (IdempotencyKeyInUseError.code, IdempotencyKeyReusedError.code, "invalid-request")
    return documented(*codes, *keys, "overloaded")


async def write(request: Request, command: Command, render: Callable[[Any], Response]) -> Response:
    """Run the command and render its result. A request with a key that was answered before is answered the same.

    `If-Match` is refused where the command cannot compare it: a caller who names a tag relies on it.
    """
    if "if-match" in request.headers and "if_match" not in type(command).model_fields:
        message = "Header should be sent only with changes of one batch or one product"
        raise invalid([{"loc": ["header", "If-Match"], "msg": message, "type": "unsupported"}])
    bus = request.app.state.bus
    given = key_of(request)
    if given is None:
        return render(await bus.handle(command, cause_of(request)))
    answer: StoredAnswer = await bus.handle(command, cause_of(request), _key(given, request, render))
    return Response(answer.body, answer.status, dict(answer.headers))


def key_of(request: Request) -> str | None:
    """The Idempotency-Key of the request. Raises ProblemError unless it comes once and has the documented form.

    The route asks this of every writing call, so that a mistake shows even where the key is not used: in a dry run, and
    in a bulk request whose items are all invalid.
    """
    given = [value for name, value in request.scope["headers"] if name == b"idempotency-key"]
    if not given:
        return None
    if len(given) > 1:
        raise ProblemError("malformed-request", "the request has more than one Idempotency-Key; send one")
    key: str = given[0].decode("latin-1")
    if not re.fullmatch(KEY_PATTERN, key):
        message = "Key should be 1 to 255 visible ASCII characters, with or without quotation marks around them"
        raise invalid([{"loc": ["header", "Idempotency-Key"], "msg": message, "type": "key_form"}])
    return key


def _key(given: str, request: Request, render: Callable[[Any], Response]) -> IdempotencyKey:
    def stored(result: Any, refusal: DomainError | None) -> StoredAnswer:  # noqa: ANN401 - as the bus has it
        answer = render(result) if refusal is None else respond(path_of(request.scope), problem_of(refusal))
        headers = ((name, value) for name, value in answer.headers.items() if name != "content-length")
        return StoredAnswer(answer.status_code, tuple(headers), bytes(answer.body))

    return IdempotencyKey(cause_of(request).principal or "", given.strip('"'), _fingerprint(request), stored)


def _fingerprint(request: Request) -> bytes:
    """A digest of what is asked for: method, path, `If-Match` and body as they came."""
    scope = request.scope
    target = f"{request.method} {path_of(scope)}?".encode() + scope["query_string"] + b"\n"
    for tags in request.headers.getlist("if-match"):
        target += f"If-Match: {tags}\n".encode()
    return hashlib.sha256(target + scope["state"].get("body", b"")).digest()
