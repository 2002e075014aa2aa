"""Whether a JSON schema is compatible with an older one: one side has to accept each value that the other may give.

What the service reads is given by callers that follow the old schema. What it answers or publishes is accepted by them.
So both directions share one comparison, with the sides exchanged. In addition, a removed property is a break in either
direction, and an added one is not, because readers have to ignore unknown properties.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, Self, TypeVar

import jsonschema

Json = dict[str, Any]
Direction = Literal["read", "written"]
Side = TypeVar("Side")

_AT_LEAST = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
_AT_MOST = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
_ANNOTATIONS = frozenset(
    {"title", "description", "examples", "example", "default", "deprecated", "readOnly", "writeOnly", "discriminator"}
)
_UNDERSTOOD = frozenset(
    {
        *(*_AT_LEAST, *_AT_MOST, "$ref", "$defs", "type", "const", "enum", "anyOf", "oneOf", "allOf"),
        *("properties", "required", "additionalProperties", "items", "dependentRequired", "dependentSchemas"),
    }
)


@dataclass(frozen=True)
class Schema:
    """A schema within its document."""

    document: Json
    facts: Json

    @property
    def resolved(self) -> "Schema":
        """What a reference stands for, and all parts of an `allOf` in one."""
        facts = self.facts
        while "$ref" in facts:
            beside = {name: value for name, value in facts.items() if name != "$ref"}
            facts = {**target(self.document, facts["$ref"]), **beside}
        if "allOf" in facts:
            merged: Json = {name: value for name, value in facts.items() if name != "allOf"}
            for part in facts["allOf"]:
                _merge(merged, self.part(part).resolved.facts)
            facts = merged
        return Schema(self.document, facts)

    def part(self, facts: Json) -> "Schema":
        """Another schema of the same document."""
        return Schema(self.document, facts)

    def alternatives(self) -> "list[Schema]":
        """The schemas of which a value fits at least one."""
        facts = self.resolved.facts
        for name in ("anyOf", "oneOf"):
            if name in facts:
                rest = {key: value for key, value in facts.items() if key not in {name, *_ANNOTATIONS}}
                each = (self.part({**rest, **self.part(one).resolved.facts}) for one in facts[name])
                return [alternative for one in each for alternative in one.alternatives()]
        if isinstance(facts.get("type"), list):
            return [self.part({**facts, "type": one}) for one in facts["type"]]
        return [self.part(facts)]

    @property
    def values(self) -> list[Any] | None:
        """The only values that there are, where they are listed."""
        if "const" in self.facts:
            return [self.facts["const"]]
        listed: list[Any] | None = self.facts.get("enum")
        return listed

    def takes(self, value: object) -> bool:
        """Whether a value fits."""
        beside = {name: part for name, part in self.document.items() if name in {"components", "$defs"}}
        return jsonschema.Draft202012Validator({**beside, **self.facts}).is_valid(value)


@dataclass(frozen=True)
class Comparison:
    """Compares a schema as it was with the schema as it is now."""

    direction: Direction
    old: Schema
    new: Schema
    where: str
    seen: frozenset[tuple[str, str]] = field(default=frozenset())

    def breaks(self) -> list[str]:
        """Each incompatible change, in a sentence."""
        names = (self.old.facts.get("$ref", ""), self.new.facts.get("$ref", ""))
        if all(names) and names in self.seen:
            return []
        seen = self.seen | {names}
        found: list[str] = []
        givers, takers = self._in_order(self.old.alternatives(), self.new.alternatives())
        for giver in givers:
            pairs = (self._in_order(giver, taker) for taker in takers)
            attempts = [self._with(*pair, seen=seen)._breaks_of_alternative() for pair in pairs]
            # The alternative with the fewest breaks is taken as the one that was meant.
            fewest: list[str] = min(attempts, key=len)
            found += fewest
        return found

    def _breaks_of_alternative(self) -> list[str]:
        giver, taker = self._in_order(self.old, self.new)
        if giver.values is not None:
            return [self._said(f"the value {value!r}") for value in giver.values if not taker.takes(value)]
        if taker.values is not None:
            return [self._said(f"another value than {', '.join(map(repr, taker.values))}")]
        if not _is_kind_of(giver.facts.get("type"), taker.facts.get("type")):
            return [self._said(f"the type {giver.facts.get('type', 'of any value')}")]
        return [*self._bounds(giver.facts, taker.facts), *self._properties(), *self._items(giver, taker)]

    def _bounds(self, giver: Json, taker: Json) -> Iterator[str]:
        for name in _AT_LEAST:
            if name in taker and giver.get(name, float("-inf")) < taker[name]:
                yield self._said(f"{name} {giver.get(name, 'without bound')}, against {taker[name]}")
        for name in _AT_MOST:
            if name in taker and giver.get(name, float("inf")) > taker[name]:
                yield self._said(f"{name} {giver.get(name, 'without bound')}, against {taker[name]}")
        yield from self._dependencies(giver, taker)
        # Any other keyword has to stay the same, because the effect of a change of it is unknown here.
        for name in sorted(taker.keys() - _UNDERSTOOD - _ANNOTATIONS):
            if not name.startswith("x-") and giver.get(name) != taker[name]:
                yield self._said(f"{name} {giver.get(name, 'of any form')!r}, against {taker[name]!r}")

    def _dependencies(self, giver: Json, taker: Json) -> Iterator[str]:
        """Properties that another property requires. Callers do not send a property that is new."""
        known = giver.get("properties", {})
        given: dict[str, list[str]] = giver.get("dependentRequired", {})
        for name, required in taker.get("dependentRequired", {}).items():
            if name in known and not set(required) <= set(given.get(name, [])):
                yield self._said(f"{name} without {', '.join(required)}")
        for name, schema in taker.get("dependentSchemas", {}).items():
            # One alternative that requires no more than the giver always has is enough.
            alternatives = schema.get("anyOf", [schema])
            is_met = any(
                each.keys() == {"required"} and set(each["required"]) <= set(given.get(name, []))
                for each in alternatives
            )
            if name in known and not is_met and giver.get("dependentSchemas", {}).get(name) != schema:
                yield self._said(f"{name} unless {schema}")

    def _properties(self) -> Iterator[str]:
        old, new = (side.facts.get("properties", {}) for side in (self.old, self.new))
        giver, taker = self._in_order(self.old, self.new)
        for name in sorted(set(taker.facts.get("required", [])) - set(giver.facts.get("required", []))):
            if self.direction == "read":
                yield f"{self.where}.{name}: is required now"
            elif name in new:
                yield f"{self.where}.{name}: may be left out now"
        for name, facts in old.items():
            if name not in new:
                yield f"{self.where}.{name}: is gone"
                continue
            inner = self._with(self.old.part(facts), self.new.part(new[name]), where=f"{self.where}.{name}")
            yield from inner.breaks()
            if self.direction == "read":
                yield from inner.default()
        yield from self._other_properties()

    def _other_properties(self) -> Iterator[str]:
        old, new = (side.facts.get("additionalProperties", True) for side in (self.old, self.new))
        if self.direction == "read" and new is False and old is not False:
            yield f"{self.where}: fields that are not known are refused now"
        elif isinstance(new, dict) or isinstance(old, dict):
            sides = (self.old.part(_as_schema(old)), self.new.part(_as_schema(new)))
            yield from self._with(*sides, where=f"{self.where}.*").breaks()

    def default(self) -> Iterator[str]:
        """Changes of the default, which is the value of callers that leave it out."""
        old, new = self.old.resolved.facts, self.new.resolved.facts
        if "default" in old and new.get("default", ...) != old["default"]:
            yield f"{self.where}: the default is {new.get('default', 'gone')!r} and was {old['default']!r}"

    def _items(self, giver: Schema, taker: Schema) -> Iterable[str]:
        if "items" not in taker.facts:
            return []
        items = self._in_order(giver.part(giver.facts.get("items", {})), taker.part(taker.facts["items"]))
        return self._with(*items, where=f"{self.where}[]").breaks()

    def _in_order(self, first: Side, second: Side) -> tuple[Side, Side]:
        """Turn (old, new) into (giver, taker), and (giver, taker) into (old, new)."""
        return (first, second) if self.direction == "read" else (second, first)

    def _with(
        self, old: Schema, new: Schema, *, where: str | None = None, seen: frozenset[tuple[str, str]] | None = None
    ) -> Self:
        return type(self)(self.direction, old, new, where or self.where, self.seen if seen is None else seen)

    def _said(self, what: str) -> str:
        return f"{self.where}: {what} {'is refused now' if self.direction == 'read' else 'was not promised'}"


def target(document: Json, reference: str) -> Json:
    """The target of a reference within the document."""
    found: Any = document
    for step in reference.removeprefix("#/").split("/"):
        found = found[step.replace("~1", "/").replace("~0", "~")]
    assert isinstance(found, dict)
    return found


def _merge(whole: Json, part: Json) -> None:
    for name, value in part.items():
        if name == "properties":
            whole[name] = {**whole.get(name, {}), **value}
        elif name == "required":
            whole[name] = sorted({*whole.get(name, []), *value})
        else:
            whole.setdefault(name, value)


def _as_schema(additional: Json | bool) -> Json:
    return additional if isinstance(additional, dict) else {}


def _is_kind_of(giver: str | None, taker: str | None) -> bool:
    return taker is None or giver == taker or (giver, taker) == ("integer", "number")
