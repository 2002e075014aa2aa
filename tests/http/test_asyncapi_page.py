"""The page about events and messages is complete, works without the internet, and escapes HTML."""

import json
from html.parser import HTMLParser
from typing import Any

from app.entrypoints.http.asyncapi_page import asyncapi_page
from app.integration.asyncapi import asyncapi_document
from tests.support.api import Api

VOID = {"input", "link", "meta"}


class Page(HTMLParser):
    """The text of a page, the elements in it, and what it links to."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.text = ""
        self.elements: set[str] = set()
        self.links: list[str] = []
        self.ids: list[str] = []
        self._open: list[str] = []
        self.feed(markup)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.add(tag)
        if tag not in VOID:
            self._open.append(tag)
        for name, value in attrs:
            if name in {"href", "src"}:
                self.links.append(value or "")
            elif name == "id":
                self.ids.append(value or "")

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def _properties(document: dict[str, Any], schema: dict[str, Any]) -> list[tuple[str, Any]]:
    """The properties of an object, or of each of its alternatives."""
    names = [each["$ref"].rpartition("/")[2] for each in schema.get("oneOf", [])]
    schemas = [document["components"]["schemas"][name] for name in names] or [schema]
    return [each for properties in schemas for each in properties["properties"].items()]


async def test_the_page_shows_every_message_with_its_headers_its_data_and_an_example(api: Api) -> None:
    answer = await api.client.get("/asyncapi")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    page = Page(answer.text)
    document = asyncapi_document()
    for channel in document["channels"].values():
        assert channel["address"] in page.text
        assert channel["description"] in page.text
    for message in document["components"]["messages"].values():
        assert message["summary"] in page.text
        for part in ("headers", "payload"):
            for name, facts in _properties(document, message[part]):
                assert name in page.text
                assert facts.get("description", "") in page.text
        assert json.dumps(message["examples"][0]["payload"], indent=2) in page.text
        assert "\n".join(f"{name}: {value}" for name, value in message["examples"][0]["headers"].items()) in page.text


async def test_the_page_needs_no_script_and_no_external_files(api: Api) -> None:
    answer = await api.client.get("/asyncapi")
    page = Page(answer.text)
    assert "script" not in page.elements
    assert len(set(page.ids)) == len(page.ids)
    for link in page.links:
        if link.startswith("#"):
            assert link[1:] in page.ids
        else:
            assert (await api.client.get(link)).status_code == 200
    assert "default-src 'none'" in answer.headers["content-security-policy"]


async def test_the_document_is_served_for_programs_as_well(api: Api) -> None:
    answer = await api.client.get("/asyncapi.json")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert answer.json() == asyncapi_document()


def test_html_in_the_document_is_escaped() -> None:
    hostile = "<script>alert('1')</script>&\"'"

    def poisoned(part: Any) -> Any:  # noqa: ANN401 - any JSON
        match part:
            case dict():
                return {
                    name: hostile if name in {"description", "summary"} and isinstance(value, str) else poisoned(value)
                    for name, value in part.items()
                }
            case list():
                return [poisoned(each) for each in part]
            case _:
                return part

    page = Page(asyncapi_page(poisoned(asyncapi_document())))
    assert "script" not in page.elements
    assert hostile in page.text


def test_properties_within_others_have_rows_of_their_own() -> None:
    document = asyncapi_document()
    message = document["components"]["messages"]["out.line_allocated.v1"]
    line = {"type": "object", "required": ["sku"], "properties": {"sku": {"type": "string", "maxLength": 9}}}
    document["components"]["schemas"]["Line"] = line
    line_by_name = {"$ref": "#/components/schemas/Line", "description": "A line."}
    message["payload"]["properties"] = {"lines": {"type": "array", "items": line_by_name}, "first": line_by_name}
    text = Page(asyncapi_page(document)).text
    assert "lines[].sku" in text
    assert "first.sku" in text
    assert "A line." in text
    assert "list of object" in text
    assert "string, maxLength 9" in text
