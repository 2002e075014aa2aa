"""The AsyncAPI document as one HTML page, without scripts and external resources."""

import html
import json
from collections.abc import Iterable, Iterator
from typing import Any

Json = dict[str, Any]

CONTENT_SECURITY_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"

_STYLE = """
:root { color-scheme: light dark; --line: 1px solid color-mix(in srgb, currentColor 20%, transparent); }
body { font: 16px/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
body { max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h2 { margin-top: 3rem; border-bottom: 2px solid; }
section { margin: 2rem 0; padding-left: 1rem; border-left: var(--line); border-left-width: 4px; }
code, pre { font-family: ui-monospace, monospace; font-size: .875em; }
h2 code, h3 code { font-size: 1em; }
pre { overflow-x: auto; padding: .75rem; background: color-mix(in srgb, currentColor 8%, transparent); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; margin: .5rem 0 1rem; }
th, td { text-align: left; vertical-align: top; padding: .25rem .75rem .25rem 0; border-bottom: var(--line); }
@media (max-width: 40rem) { section { padding-left: .5rem; } td { min-width: 6rem; } }
summary { cursor: pointer; font-weight: 600; }
"""

_ACTIONS = {"send": "The service publishes here", "receive": "The service reads from here"}
_BOUNDS = ("minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems", "pattern")


class _Html(str):
    """Text that is markup already. Other text is escaped when it is put into an element."""

    __slots__ = ()


def asyncapi_page(document: Json) -> str:
    """The page: channels and their messages, each with its headers, its data and an example."""
    channels = document["channels"].items()
    return "<!DOCTYPE html>\n" + _element(
        "html",
        _element(
            "head",
            _Html('<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'),
            _element("title", f"{document['info']['title']}: events and messages"),
            # Constant text, and the content of a style element must not be escaped.
            _element("style", _Html(_STYLE)),
        ),
        _element(
            "body",
            _element("h1", f"{document['info']['title']}: events and messages"),
            _element("p", document["info"].get("description", "")),
            _element("p", "As JSON: ", _element("a", "/asyncapi.json", href="/asyncapi.json")),
            *(_channel(document, name, channel) for name, channel in channels),
        ),
        lang="en",
    )


def _channel(document: Json, name: str, channel: Json) -> _Html:
    own = [each for each in document["operations"].values() if each["channel"]["$ref"] == f"#/channels/{name}"]
    messages = [_resolved(document, message) for message in channel["messages"].values()]
    return _together(
        _element("h2", _code(channel["address"]), id=name),
        _element("p", channel.get("description", "")),
        *(_element("p", f"{_ACTIONS[each['action']]}. {each.get('summary', '')}") for each in own),
        _element("ul", *(_element("li", _link(name, message)) for message in messages)),
        *(_message(document, name, message) for message in messages),
    )


def _link(channel: str, message: Json) -> _Html:
    anchor = _element("a", _code(message["name"]), href=f"#{channel}-{message['name']}")
    return _together(anchor, f" {message.get('summary') or ''}")


def _message(document: Json, channel: str, message: Json) -> _Html:
    key = message.get("bindings", {}).get("kafka", {}).get("key", {})
    return _element(
        "section",
        _element("h3", _code(message["name"])),
        _element("p", message.get("summary") or ""),
        _element("p", f"Content type {message.get('contentType', '')}. Key: {key.get('description', 'none')}"),
        _element("h4", "Data"),
        *(_table(document, each) for each in message["payload"].get("oneOf", [message["payload"]])),
        _element("details", _element("summary", "Headers"), _table(document, message["headers"])),
        *(_example(example) for example in message.get("examples", [])),
        id=f"{channel}-{message['name']}",
    )


def _example(example: Json) -> _Html:
    headers = "\n".join(f"{name}: {value}" for name, value in example.get("headers", {}).items())
    data = json.dumps(example.get("payload"), indent=2, ensure_ascii=False)
    return _element("details", _element("summary", "Example"), _element("pre", f"{headers}\n\n{data}"), open="open")


def _table(document: Json, schema: Json) -> _Html:
    """A row for each property, nested ones included."""
    schema = _resolved(document, schema)
    heads = (_element("th", title) for title in ("name", "type", "meaning"))
    rows = (_element("tr", *row) for row in _rows(document, schema, ""))
    table = _element("table", _element("tr", *heads), *rows)
    # On a narrow screen the table scrolls instead of the page.
    return _element("div", table, **{"class": "wide", "tabindex": "0"})


def _rows(document: Json, schema: Json, prefix: str) -> Iterator[Iterable[_Html]]:
    required = schema.get("required", [])
    for name, part in schema.get("properties", {}).items():
        facts = _resolved(document, part)
        presence = "" if name in required else " (optional)"
        yield (
            _element("td", _code(f"{prefix}{name}"), presence),
            _element("td", _kind(document, facts)),
            _element("td", facts.get("description", "")),
        )
        inner = _resolved(document, facts.get("items", facts))
        yield from _rows(document, inner, f"{prefix}{name}{'[]' if 'items' in facts else ''}.")


def _kind(document: Json, schema: Json) -> str:
    """The type of a value: `string (date) or null`, `integer, minimum 1`."""
    schema = _resolved(document, schema)
    if alternatives := schema.get("anyOf") or schema.get("oneOf"):
        return " or ".join(_kind(document, each) for each in alternatives)
    if "const" in schema:
        return json.dumps(schema["const"])
    if "enum" in schema:
        return " or ".join(map(json.dumps, schema["enum"]))
    kind = str(schema.get("type", "anything"))
    if "items" in schema:
        kind = f"list of {_kind(document, schema['items'])}"
    if "format" in schema:
        kind += f" ({schema['format']})"
    return ", ".join([kind, *(f"{bound} {schema[bound]}" for bound in _BOUNDS if bound in schema)])


def _resolved(document: Json, part: Json) -> Json:
    """The target of a reference, with the members beside the reference."""
    if "$ref" not in part:
        return part
    found: Any = document
    for step in part["$ref"].removeprefix("#/").split("/"):
        found = found[step]
    return {**_resolved(document, found), **{name: facts for name, facts in part.items() if name != "$ref"}}


def _code(text: str) -> _Html:
    return _element("code", text)


def _element(name: str, *children: str, **attributes: str) -> _Html:
    """An element. Its attributes, and children that are plain text, are escaped."""
    written = "".join(f' {key}="{html.escape(value)}"' for key, value in attributes.items())
    return _Html(f"<{name}{written}>{_together(*children)}</{name}>\n")


def _together(*children: str) -> _Html:
    return _Html("".join(child if isinstance(child, _Html) else html.escape(child) for child in children))
