"""Conditional requests: the `ETag` of a batch or product, and the requests that name one.

A read with `If-None-Match` is answered with 304 where the caller has the content already. A write with `If-Match` takes
effect only where the batch or product still has one of the named tags. That is compared by the handler, under the lock
of the product, so of two writes that name the same tag only one takes effect.

Source: https://www.rfc-editor.org/rfc/rfc9110#section-13
"""

import re
from typing import Any

from fastapi import Request, Response

from app.domain.errors import PreconditionFailedError
from app.entrypoints.http.answers import Answer
from app.entrypoints.http.idempotent_write import KEYED
from app.entrypoints.http.parameters import invalid

_TAG = r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"'
_TAGS = re.compile(_TAG)
_LIST = re.compile(rf"[ \t,]*{_TAG}(?:[ \t]*,[ \t,]*{_TAG})*[ \t,]*")
ANY = frozenset({"*"})

MAX_LENGTH = 4096
"""Characters of a list of tags. A tag of this service has less than twenty."""

_EXAMPLE = '"9b2f6c1d3e4a5b60"'
_SCHEMA = {
    "type": "string",
    "maxLength": MAX_LENGTH,
    "pattern": r'^(\*|(W/)?"[!#-~]*"(, ?(W/)?"[!#-~]*")*)$',
    # Not the example of the parameter: the page at /docs would send that.
    "examples": [_EXAMPLE],
}


def _header(name: str, description: str) -> dict[str, Any]:
    return {"name": name, "in": "header", "required": False, "description": description, "schema": _SCHEMA}


GUARDED: dict[str, Any] = {
    "parameters": [
        *KEYED["parameters"],
        _header(
            "If-Match",
            "Change it only where its `ETag` is one of these, else answer with 412 `precondition-failed`. Weak tags "
            "(`W/`) never match; `*` always does. The other writing calls refuse this header with 422.",
        ),
    ]
}
"""What the OpenAPI document says of a writing route that compares."""

CACHED: dict[str, Any] = {
    "parameters": [_header("If-None-Match", "Answer with 304 and no body where its `ETag` is one of these.")]
}
"""What the OpenAPI document says of a reading route whose answer has a tag."""

TAGGED: dict[str, Any] = {
    "headers": {
        "ETag": {
            "description": "Changes whenever the batch or product does; for `If-Match` and `If-None-Match`.",
            "schema": {"type": "string", "examples": [_EXAMPLE]},
        }
    }
}
"""What the OpenAPI document says of an answer that has a tag."""

NOT_MODIFIED: dict[str, Any] = {"description": "The content has not changed since the caller got its tag.", **TAGGED}


def if_match(request: Request) -> frozenset[str] | None:
    """The strong tags of `If-Match`, or ANY; None where there is no such header. Raises ProblemError.

    Weak tags are left out, for `If-Match` compares strongly (RFC 9110, 13.1.1).
    """
    values = request.headers.getlist("if-match")
    if not values:
        return None
    tags = _parse(", ".join(values))
    if tags is None:
        message = 'Header should be * or a list of tags in quotation marks, as in "a", "b", of 4096 characters at most'
        raise invalid([{"loc": ["header", "If-Match"], "msg": message, "type": "entity_tags"}])
    return frozenset(tag for tag in tags if not tag.startswith("W/"))


def show(request: Request, content: bytes, tag: str) -> Response:
    """The answer to a read: the content, or 304 where the caller has it. Raises PreconditionFailedError."""
    wanted = if_match(request)
    if wanted is not None and wanted.isdisjoint({tag, *ANY}):
        raise PreconditionFailedError
    headers = {"ETag": tag}
    known = _parse(", ".join(request.headers.getlist("if-none-match"))) or frozenset()
    # This header compares weakly (RFC 9110, 13.1.2). One of another form is ignored: without it the answer is right.
    if not {each.removeprefix("W/") for each in known}.isdisjoint({tag, *ANY}):
        return Response(status_code=304, headers=headers)
    return Answer(content, headers=headers)


def _parse(value: str) -> frozenset[str] | None:
    """The tags of a list, with their quotation marks, or ANY; None where it is of another form or too long."""
    if len(value) > MAX_LENGTH:
        return None
    if value.strip(" \t") == "*":
        return ANY
    return frozenset(_TAGS.findall(value)) if _LIST.fullmatch(value) else None
