"""The routes of the board: a cookie identifies the caller, and problems are pages.

A browser cannot send a bearer token with a page. So the credentials are in a cookie that scripts cannot read and that
no other site can send. For a page it becomes the header `Authorization`, and the gate checks it as it checks that of
any other caller, at each request. Nothing is stored: a session ends when its key is removed or its token expires, and
every process accepts it, also after a restart.
"""

from collections.abc import MutableMapping
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from fastapi import Request, Response
from fastapi.responses import RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from app.entrypoints.http.board.rendering import page
from app.entrypoints.http.problems import ProblemError
from app.entrypoints.http.route import ServiceRoute
from app.entrypoints.http.services import services_of

COOKIE = "allocation_board"
HOME = "/board"


class BoardRoute(ServiceRoute):
    """A route for browsers."""

    def __init__(self, path: str, endpoint: Any, **options: Any) -> None:  # noqa: ANN401 - as FastAPI passes them
        super().__init__(path, endpoint, **options)
        self.app = _for_browsers(self.app)


def _for_browsers(app: ASGIApp) -> ASGIApp:
    """The application with the credentials of the cookie, and with pages for problems if the caller accepts HTML."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope)
        credentials = request.cookies.get(COOKIE)
        if scope["method"] == "GET" and credentials and not _names_credentials(request):
            scope = with_credentials(scope, credentials)
        try:
            await app(scope, receive, send)
        except ProblemError as problem:
            if "text/html" not in request.headers.get("accept", ""):
                raise
            await _shown(request, problem)(scope, receive, send)

    return answer


def _shown(request: Request, problem: ProblemError) -> Response:
    if problem.kind.status == HTTPStatus.UNAUTHORIZED:
        asked = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        return RedirectResponse(f"{HOME}/sign-in?next={quote(asked, safe='')}", HTTPStatus.SEE_OTHER)
    services = services_of(request.scope)
    response = page(
        "problem.html",
        problem.kind.status,
        zone=services.zone,
        can_sign_out=services.gate.knows_callers,
        # The gate notes a caller whom it knows, also one without the scope.
        is_signed_in=not services.gate.knows_callers or request.state.cause.principal is not None,
        title=problem.kind.title,
        detail=problem.detail,
    )
    response.headers.update(problem.headers)
    return response


def _names_credentials(request: Request) -> bool:
    return "authorization" in request.headers or "x-api-key" in request.headers


def with_credentials(scope: MutableMapping[str, Any], credentials: str) -> MutableMapping[str, Any]:
    """The scope of the request with the header Authorization."""
    shown = b"Bearer " + credentials.encode("latin-1", "replace")
    return {**scope, "headers": [*scope["headers"], (b"authorization", shown)]}
