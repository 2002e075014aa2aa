"""Signing in to the board, and out."""

from http import HTTPStatus
from urllib.parse import parse_qs, urlsplit

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from app.entrypoints.http.board.rendering import page
from app.entrypoints.http.board.route import COOKIE, HOME, BoardRoute, with_credentials
from app.entrypoints.http.identity import open_to_all
from app.entrypoints.http.problems import ProblemError
from app.entrypoints.http.services import services_of

MAX_FORM_BYTES = 16_384
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_REFUSED = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})


router = APIRouter(prefix=HOME, route_class=BoardRoute, include_in_schema=False)


@router.get("/sign-in")
@open_to_all
async def get_sign_in(request: Request) -> Response:
    """The page that takes an API key or a token."""
    return _sign_in(_local(request.query_params.get("next")))


@router.post("/session")
@open_to_all
async def sign_in(request: Request) -> Response:
    """Checks an API key or token and puts it into the cookie. Raises ProblemError."""
    _refuse_other_origin(request)
    form = await _form(request)
    target, credentials = _local(form.get("next")), form.get("credentials", "").strip()
    services = services_of(request.scope)
    if services.gate.knows_callers:
        try:
            await services.gate.admit(with_credentials(request.scope, credentials), "read", services.deadline)
        except ProblemError as problem:
            if problem.kind.status not in _REFUSED:
                raise
            return _sign_in(target, problem)
    response = RedirectResponse(target, HTTPStatus.SEE_OTHER)
    response.set_cookie(COOKIE, credentials, path=HOME, secure=_needs_tls(request), httponly=True, samesite="strict")
    return response


@router.post("/sign-out")
@open_to_all
async def sign_out(request: Request) -> Response:
    """Deletes the cookie. Raises ProblemError."""
    _refuse_other_origin(request)
    response = RedirectResponse(f"{HOME}/sign-in", HTTPStatus.SEE_OTHER)
    response.delete_cookie(COOKIE, path=HOME, secure=_needs_tls(request), httponly=True, samesite="strict")
    return response


def _sign_in(target: str, problem: ProblemError | None = None) -> Response:
    status = HTTPStatus.OK if problem is None else problem.kind.status
    return page("sign_in.html", status, target=target, fault=None if problem is None else problem.detail)


def _refuse_other_origin(request: Request) -> None:
    """Raise `forbidden` for a form of another site. A browser sends `Origin` with every form."""
    origin = request.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
        raise ProblemError("forbidden", "the form is of another origin")


def _needs_tls(request: Request) -> bool:
    """Whether the cookie is for HTTPS only: always, except on this machine."""
    return (request.url.hostname or "") not in _LOOPBACK


def _local(target: str | None) -> str:
    """The page of the board to go to. Other targets are not followed."""
    if target is None or not (target == HOME or target.startswith((f"{HOME}/", f"{HOME}?"))) or "\\" in target:
        return HOME
    return target if target.isascii() and target.isprintable() else HOME


async def _form(request: Request) -> dict[str, str]:
    """The fields of the form. Raises ProblemError."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_FORM_BYTES:
            detail = f"a form may have at most {MAX_FORM_BYTES} bytes"
            raise ProblemError("payload-too-large", detail, headers={"Connection": "close"})
    try:
        fields = parse_qs(body.decode("ascii"), max_num_fields=10)
    except ValueError:
        raise ProblemError("malformed-body", "the body is not a form") from None
    return {name: values[0] for name, values in fields.items()}
