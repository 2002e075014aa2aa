"""The parameters that an endpoint declares, and their values in a request.

Values are validated by the TypeAdapters of the annotations. One problem lists all faults of the parameters.
"""

import inspect
from collections.abc import Callable, Sequence
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from fastapi import Request, params
from pydantic import TypeAdapter, ValidationError

from app.entrypoints.http.problems import ProblemError

MOST_FAULTS = 50
"""The most faults that a problem lists. A response must not be larger than the request."""


class Parameters:
    """The parameters of an endpoint. `body` has the TypeAdapter of the body by its name; there is at most one."""

    def __init__(self, endpoint: Callable[..., Any], path: str) -> None:
        self.body: dict[str, TypeAdapter[Any]] = {}
        self._path: dict[str, TypeAdapter[Any]] = {}
        self._query: dict[str, TypeAdapter[Any]] = {}
        # A name of the API may be a keyword of Python.
        self._arguments: dict[str, str] = {}
        signature = inspect.signature(endpoint).parameters
        hints = get_type_hints(endpoint, include_extras=True)
        hints.pop("return", None)
        self._takes_request = Request in hints.values()
        for name, hint in hints.items():
            if hint is not Request:
                kind = self._query if _is_query(hint) else self._path if f"{{{name}}}" in path else self.body
                public = _alias(hint) or name
                kind[public] = TypeAdapter(_without_marker(hint))
                self._arguments[public] = name
        self._required = [
            name for name in self._query if signature[self._arguments[name]].default is inspect.Parameter.empty
        ]

    def parse(self, request: Request) -> dict[str, Any]:
        """The arguments of the endpoint, except for the body. Raises ProblemError."""
        arguments: dict[str, Any] = {"request": request} if self._takes_request else {}
        faults: list[dict[str, Any]] = []
        if self._path:
            for name, adapter in self._path.items():
                _validate(arguments, faults, "path", name, request.path_params[name], adapter)
        if self._required or (self._query and request.scope["query_string"]):
            self._parse_query(arguments, faults, request.query_params.multi_items())
        if faults:
            raise invalid(faults)
        return {self._arguments.get(name, name): value for name, value in arguments.items()}

    def _parse_query(
        self, arguments: dict[str, Any], faults: list[dict[str, Any]], items: Sequence[tuple[str, str]]
    ) -> None:
        """Add the arguments from the query. Unknown names are refused: a misspelt filter would return too much."""
        given: set[str] = set()
        for name, value in items:
            if name not in self._query:
                message = f"Unknown parameter; the parameters are {', '.join(self._query)}"
                faults.append({"loc": ["query", name], "msg": message, "type": "unknown"})
            elif name in given:
                faults.append({"loc": ["query", name], "msg": "Parameter should be given once", "type": "repeated"})
            else:
                _validate(arguments, faults, "query", name, value, self._query[name])
            given.add(name)
        faults += [
            {"loc": ["query", name], "msg": "Parameter required", "type": "missing"}
            for name in self._required
            if name not in given
        ]


def faults_of(error: ValidationError, *where: str) -> list[dict[str, Any]]:
    """The faults without the values that were sent: at most MOST_FAULTS, and the number of those left out."""
    faults = error.errors(include_url=False, include_context=False, include_input=False)
    listed = [
        {"loc": [*where, *fault["loc"]], "msg": fault["msg"], "type": fault["type"]} for fault in faults[:MOST_FAULTS]
    ]
    if len(faults) > MOST_FAULTS:
        listed.append({"loc": [*where], "msg": f"And {len(faults) - MOST_FAULTS} more faults", "type": "more"})
    return listed


def invalid(faults: list[dict[str, Any]]) -> ProblemError:
    """The problem of a request with these faults."""
    detail = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in faults)
    return ProblemError("invalid-request", detail, faults=faults)


def _validate(
    arguments: dict[str, Any],
    faults: list[dict[str, Any]],
    where: str,
    name: str,
    value: str,
    adapter: TypeAdapter[Any],
) -> None:
    try:
        arguments[name] = adapter.validate_strings(value)
    except ValidationError as error:
        faults += faults_of(error, where, name)


def _alias(hint: Any) -> str | None:  # noqa: ANN401 - an annotation
    return next((each.alias for each in get_args(hint) if isinstance(each, params.Query)), None)


def _is_query(hint: Any) -> bool:  # noqa: ANN401 - a type annotation can be anything
    return get_origin(hint) is Annotated and any(isinstance(item, params.Query) for item in get_args(hint)[1:])


def _without_marker(hint: Any) -> Any:  # noqa: ANN401 - a type annotation can be anything
    """The annotation without FastAPI's marker, which names the place of the value and does not validate it."""
    if get_origin(hint) is not Annotated:
        return hint
    inner, *metadata = get_args(hint)
    kept = [item for item in metadata if not isinstance(item, (params.Path, params.Query))]
    return Annotated[(inner, *kept)] if kept else inner
