"""Conditional requests: the `ETag` of a batch, product or cart, `If-Match` and `If-None-Match`.

A read with `If-None-Match` returns 304 if the caller has the current content. A write with `If-Match` takes effect only
if the resource still has one of the tags. The handler compares the tags under a lock, so only one of two writes with
the same tag takes effect.

Source: https://www.rfc-editor.org/rfc/rfc9110#section-13
"""

import re
from typing import Any

from fastapi import Request, Response

from app.domain.errors import PreconditionFailedError
from app.entrypoints.http.answers import Answer
from app.entrypoints.http.idempotent_write import KEY_REQUIRED, KEYED
from app.entrypoints.http.parameters import invalid

_TAG = r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"'
_TAGS = re.compile(_TAG)
_LIST = re.compile(rf"[ \t,]*{_TAG}(?:[ \t]*,[ \t,]*{_TAG})*[ \t,]*")
ANY = frozenset({"*"})

MAX_LENGTH = 4096
"""The longest list of tags, in characters. A tag of this service has less than twenty."""

_EXAMPLE = '"9b2f6c1d3e4a5b60"'
_SCHEMA = {
    "type": "string",
    "maxLength": MAX_LENGTH,
    "pattern": r'^(\*|(W/)?"[!#-~]*"(, ?(W/)?"[!#-~]*")*)$',
    # Not `example` of the parameter: Swagger UI would send it with each request.
    "examples": [_EXAMPLE],
}


def _header(name: str, description: str) -> dict[str, Any]:
    return {"name": name, "in": "header", "required": False, "description": description, "schema": _SCHEMA}


_IF_MATCH = _header(
    "If-Match",
    "Makes the change conditional: if the current `ETag` is not in this list, the response is 412 "
    "`precondition-failed`. Weak tags (`W/`) never match; `*` always does. Operations that do not support this "
    "header refuse it with 422.",
)
GUARDED: dict[str, Any] = {"parameters": [*KEYED["parameters"], _IF_MATCH]}
"""The OpenAPI parameters of a writing route that supports `If-Match`."""

GUARDED_WITH_KEY: dict[str, Any] = {"parameters": [*KEY_REQUIRED["parameters"], _IF_MATCH]}
"""The same for a route that requires an Idempotency-Key."""

CACHED: dict[str, Any] = {
    "parameters": [_header("If-None-Match", "If the current `ETag` is in this list, the response is 304 without body.")]
}
"""The OpenAPI parameters of a reading route whose response has an `ETag`."""

TAGGED: dict[str, Any] = {
    "headers": {
        "ETag": {
            "description": "The entity tag: it changes with each change of the batch, product or cart.",
            "schema": {"type": "string", "examples": [_EXAMPLE]},
        }
    }
}
"""The OpenAPI headers of a response that has an `ETag`."""

NOT_MODIFIED: dict[str, Any] = {"description": "The content has one of the tags in `If-None-Match`.", **TAGGED}


def if_match(request: Request) -> frozenset[str] | None:
    """The strong tags of `If-Match`, or ANY; None without the header. Raises ProblemError.

    Weak tags are left out, because `If-Match` uses the strong comparison (RFC 9110, 13.1.1).
    """
    values = request.headers.getlist("if-match")
    if not values:
        return None
    tags = _parse(", ".join(values))
    if tags is None:
        message = 'Header should be * or a list of quoted tags, for example "a", "b", with at most 4096 characters'
        raise invalid([{"loc": ["header", "If-Match"], "msg": message, "type": "entity_tags"}])
    return frozenset(tag for tag in tags if not tag.startswith("W/"))


def show(request: Request, content: bytes, tag: str) -> Response:
    """The response to a read: the content, or 304 if the caller has it. Raises PreconditionFailedError."""
    wanted = if_match(request)
    if wanted is not None and wanted.isdisjoint({tag, *ANY}):
        raise PreconditionFailedError
    headers = {"ETag": tag}
    known = _parse(", ".join(request.headers.getlist("if-none-match"))) or frozenset()
    # The weak comparison (RFC 9110, 13.1.2). A malformed header is ignored: the full response is always correct.
    if not {each.removeprefix("W/") for each in known}.isdisjoint({tag, *ANY}):
        return Response(status_code=304, headers=headers)
    return Answer(content, headers=headers)


def _parse(value: str) -> frozenset[str] | None:
    """The tags of a list, with their quotation marks, or ANY; None if it is malformed or too long."""
    if len(value) > MAX_LENGTH:
        return None
    if value.strip(" \t") == "*":
        return ANY
    return frozenset(_TAGS.findall(value)) if _LIST.fullmatch(value) else None
