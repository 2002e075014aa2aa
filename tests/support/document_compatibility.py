"""Incompatible changes of the interface documents: calls, answers, channels and messages."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.support.schema_compatibility import Comparison, Direction, Json, Schema, target

_METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
_PROBLEM = "application/problem+json"


def openapi_breaks(old: Json, new: Json) -> list[str]:
    """Each change of the OpenAPI document that breaks callers of the old one, in a sentence."""
    found: list[str] = []
    for path, item in old["paths"].items():
        for method in item:
            if method not in _METHODS:
                continue
            call = f"{method.upper()} {path}"
            now = new["paths"].get(path, {}).get(method)
            if now is None:
                found.append(f"{call}: is gone")
            else:
                found += _Call(call, (old, new), item[method], now).breaks()
    return list(dict.fromkeys(found))


def asyncapi_breaks(old: Json, new: Json) -> list[str]:
    """Each change of the AsyncAPI document that breaks systems that follow the old one, in a sentence."""
    channels = {channel["address"]: channel for channel in new["channels"].values()}
    found: list[str] = []
    for name, channel in old["channels"].items():
        now = channels.get(channel["address"])
        if now is None:
            found.append(f"{channel['address']}: is gone")
            continue
        for operation in old["operations"].values():
            if operation["channel"]["$ref"] == f"#/channels/{name}":
                direction: Direction = "read" if operation["action"] == "receive" else "written"
                found += _channel_breaks((old, channel), (new, now), direction)
    return found


@dataclass(frozen=True)
class _Call:
    """One operation of an OpenAPI document, as it was and as it is; the documents in the same order."""

    name: str
    documents: tuple[Json, Json]
    old: Json
    new: Json

    def breaks(self) -> Iterator[str]:
        if self.old.get("operationId") != self.new.get("operationId"):
            yield f"{self.name}: its operationId was {self.old.get('operationId')}; generated clients call it so"
        yield from self._parameters()
        yield from self._body()
        yield from self._answers()
        yield from self._locks()

    def _parameters(self) -> Iterator[str]:
        old, new = (
            {(each["in"], each["name"]): each for each in (_resolved(document, one) for one in listed)}
            for document, listed in zip(self.documents, self._both("parameters", []), strict=True)
        )
        for (place, name), facts in new.items():
            before = old.get((place, name), {})
            if facts.get("required", False) and not before.get("required", False):
                yield f"{self.name} {place} {name}: is required now"
        for (place, name), facts in old.items():
            if (place, name) not in new:
                yield f"{self.name} {place} {name}: is gone"
                continue
            yield from self._compare("read", facts, new[place, name], f"{place} {name}")

    def _body(self) -> Iterator[str]:
        bodies = zip(self.documents, self._both("requestBody", {}), strict=True)
        old, new = (_resolved(document, body) for document, body in bodies)
        if new.get("required", False) and not old.get("required", False):
            yield f"{self.name} body: is required now"
        yield from self._contents("read", old, new, "body")

    def _answers(self) -> Iterator[str]:
        for status, answer in self.old["responses"].items():
            if status not in self.new["responses"]:
                yield f"{self.name} {status}: is gone"
                continue
            old = _resolved(self.documents[0], answer)
            new = _resolved(self.documents[1], self.new["responses"][status])
            for header in old.get("headers", {}):
                if header not in new.get("headers", {}):
                    yield f"{self.name} {status} header {header}: is gone"
            yield from self._contents("written", old, new, status)

    def _contents(self, direction: Direction, old: Json, new: Json, where: str) -> Iterator[str]:
        for media_type, facts in old.get("content", {}).items():
            now = new.get("content", {}).get(media_type)
            if now is None:
                yield f"{self.name} {where}: {media_type} is gone"
                continue
            yield from self._compare(direction, facts, now, where)
            if media_type == _PROBLEM:
                for code in sorted(_codes(facts) - _codes(now)):
                    yield f"{self.name} {where}: the problem {code} is gone"

    def _locks(self) -> Iterator[str]:
        """Credentials that are not enough any more: each set of schemes and scopes that was enough has to stay so."""
        documents = [document.get("security", []) for document in self.documents]
        old, new = self.old.get("security", documents[0]), self.new.get("security", documents[1])
        for key in old or [{}]:
            if new and not any(_opens(key, lock) for lock in new):
                yield f"{self.name}: {key or 'no identity'} is not enough any more"

    def _both(self, name: str, default: Any) -> tuple[Any, Any]:  # noqa: ANN401 - a part of a document is any JSON
        return self.old.get(name, default), self.new.get(name, default)

    def _compare(self, direction: Direction, old: Json, new: Json, where: str) -> list[str]:
        """The schemas of two parts that have one."""
        before = Schema(self.documents[0], old.get("schema", {}))
        now = Schema(self.documents[1], new.get("schema", {}))
        return Comparison(direction, before, now, f"{self.name} {where}").breaks()


def _resolved(document: Json, part: Json) -> Json:
    return target(document, part["$ref"]) if "$ref" in part else part


def _codes(content: Json) -> set[str]:
    return {example["value"]["code"] for example in content.get("examples", {}).values()}


def _opens(key: Json, lock: Json) -> bool:
    return all(scheme in key and set(scopes) <= set(key[scheme]) for scheme, scopes in lock.items())


def _channel_breaks(old: tuple[Json, Json], new: tuple[Json, Json], direction: Direction) -> Iterator[str]:
    (old_document, old_channel), (new_document, new_channel) = old, new
    actions = {
        each["action"]
        for each in new_document["operations"].values()
        if target(new_document, each["channel"]["$ref"]) == new_channel
    }
    address = old_channel["address"]
    if ("receive" if direction == "read" else "send") not in actions:
        yield f"{address}: nothing is {direction} there any more"
    for name, reference in old_channel["messages"].items():
        if name not in new_channel["messages"]:
            yield f"{address} {name}: is gone"
            continue
        before = target(old_document, reference["$ref"])
        now = target(new_document, new_channel["messages"][name]["$ref"])
        for part in ("contentType", "bindings"):
            if _without_words(before.get(part)) != _without_words(now.get(part)):
                yield f"{address} {name}: its {part} is another"
        for part in ("headers", "payload"):
            sides = Schema(old_document, before[part]), Schema(new_document, now[part])
            yield from Comparison(direction, *sides, f"{address} {name} {part}").breaks()


def _without_words(part: object) -> object:
    """The part without what only explains it."""
    if not isinstance(part, dict):
        return part
    return {name: _without_words(each) for name, each in part.items() if name not in {"description", "examples"}}
