"""Calls a client that was generated from the OpenAPI document, for requests that are written as curl commands.

Nothing here knows an operation: the document says which one a request is for, and the generated function says what
types it takes.
"""

import argparse
import importlib
import json
import re
import shlex
import string
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date
from enum import Enum
from types import ModuleType
from typing import Any, get_args, get_type_hints
from urllib.parse import parse_qsl, unquote, urlsplit

Json = dict[str, Any]


@dataclass(frozen=True)
class HttpRequest:
    """A request of a shell session."""

    method: str
    url: str
    headers: dict[str, str] = field(default_factory=dict)
    body: Any = None


def requests_of(commands: list[str]) -> Iterator[HttpRequest | None]:
    """The requests of a shell session; None for a line that sets variables or waits, which happens here."""
    variables: dict[str, str] = {}
    for command in commands:
        words = shlex.split(command)
        if words[0] == "sleep":
            time.sleep(float(words[1]))
            yield None
            continue
        if words[0] != "curl":
            variables |= dict(word.split("=", 1) for word in words)
            yield None
            continue
        yield _request([string.Template(word).substitute(variables) for word in words[1:]])


def _request(words: list[str]) -> HttpRequest:
    parser = argparse.ArgumentParser()
    parser.add_argument("-s", action="store_true")
    parser.add_argument("-X", dest="method")
    parser.add_argument("-H", dest="headers", action="append", default=[])
    parser.add_argument("-d", dest="body")
    parser.add_argument("url")
    given = parser.parse_args(words)
    return HttpRequest(
        method=given.method or ("GET" if given.body is None else "POST"),
        url=given.url,
        headers={name.strip().lower(): value.strip() for name, value in (each.split(":", 1) for each in given.headers)},
        body=None if given.body is None else json.loads(given.body),
    )


class GeneratedClient:
    """The generated package, and the document that it was generated from."""

    def __init__(self, package: str, document: Json) -> None:
        self._package = package
        self._document = document
        self._client: Any = importlib.import_module(package).Client

    def call(self, request: HttpRequest) -> tuple[int, Any]:
        """Send a request. Returns the status, and the answer's model as JSON."""
        url = urlsplit(request.url)
        in_path, operation = self._operation(request.method, url.path)
        function: Callable[..., Any] = self._module(operation).sync_detailed
        hints = get_type_hints(function)
        given = {**in_path, **dict(parse_qsl(url.query)), **request.headers}
        names = {each["name"]: _identifier(each["name"]) for each in operation.get("parameters", [])}
        arguments = {name: _as_hinted(hints[name], given[key]) for key, name in names.items() if key in given}
        if request.body is not None:
            arguments["body"] = _as_model(hints["body"], request.body)
        others = {name: value for name, value in request.headers.items() if name not in {*names, "content-type"}}
        with self._client(base_url=f"{url.scheme}://{url.netloc}", headers=others) as client:
            answer = function(client=client, **arguments)
        return int(answer.status_code), _as_json(answer.parsed)

    def functions(self) -> Iterator[tuple[Json, dict[str, Any]]]:
        """Each operation of the document, and the types of the function that was generated for it."""
        for item in self._document["paths"].values():
            for operation in item.values():
                yield operation, get_type_hints(self._module(operation).sync_detailed)

    def _operation(self, method: str, path: str) -> tuple[dict[str, str], Json]:
        """The operation that a request is for, and its path parameters."""
        for template, item in self._document["paths"].items():
            pattern = re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", re.escape(template))
            match = re.fullmatch(pattern, path)
            if match is not None and method.lower() in item:
                return {name: unquote(value) for name, value in match.groupdict().items()}, item[method.lower()]
        raise AssertionError(f"no operation for {method} {path}")

    def _module(self, operation: Json) -> ModuleType:
        tag, name = (_identifier(each) for each in (operation["tags"][0], operation["operationId"]))
        return importlib.import_module(f"{self._package}.api.{tag}.{name}")


def _identifier(name: str) -> str:
    """What the generator makes of a name."""
    return re.sub(r"[^a-z0-9]+", "_", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower())


def _as_hinted(hint: Any, value: str) -> Any:  # noqa: ANN401 - a type annotation can be anything
    """The text of a parameter as the type that the function takes."""
    for kind in get_args(hint) or (hint,):
        if kind is bool:
            return value == "true"
        if kind is date:
            return date.fromisoformat(value)
        if isinstance(kind, type) and (kind is int or issubclass(kind, Enum)):
            return kind(value)
    return value


def _as_model(hint: Any, body: Any) -> Any:  # noqa: ANN401 - a type annotation can be anything
    """A body as the model that the function takes."""
    (model,) = [kind for kind in get_args(hint) or (hint,) if hasattr(kind, "from_dict")]
    return model.from_dict(body)


def _as_json(parsed: Any) -> Any:  # noqa: ANN401 - an answer can be anything
    if isinstance(parsed, list):
        return [_as_json(each) for each in parsed]
    return parsed.to_dict() if hasattr(parsed, "to_dict") else parsed
