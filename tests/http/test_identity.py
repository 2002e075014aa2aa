"""Who may call what: every route and method, with and without the scope that it needs."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import pytest
from fastapi import FastAPI

from app.bootstrap import bootstrap
from app.domain.commands import Command
from app.entrypoints.http.identity import SECURITY_SCHEMES
from app.entrypoints.http.problems import KINDS
from app.entrypoints.http.route import ServiceRoute
from app.entrypoints.server import http_application
from app.service_layer.callers import SCOPES, Scope
from app.settings import Settings
from tests.support.api import Api, assert_problem, bearer, in_process, new
from tests.support.keys import guarded

# Paths without authentication. They neither show nor change business data.
OPEN = {"/livez", "/readyz", "/metrics", "/docs", "/docs/static/{name}", "/openapi.json", "/asyncapi", "/asyncapi.json"}
OPEN |= {"/", "/problems/{code}", "/board/sign-in", "/board/session", "/board/sign-out", "/board/static/{name}"}


def test_the_page_on_security_names_every_path_that_is_open() -> None:
    page = (Path(__file__).parents[2] / "docs/security.md").read_text(encoding="utf-8")
    (paragraph,) = [each for each in page.split("\n\n") if "are open, for any host.\n" in each]
    assert set(re.findall(r"`(/[^`]*)`", paragraph)) == OPEN


def application_of(api: Api) -> FastAPI:
    app = api.client._transport.app  # type: ignore[attr-defined]
    assert isinstance(app, FastAPI)
    return app


def calls(app: FastAPI) -> Iterator[tuple[str, str, str]]:
    """Every method and path of the application: as declared, and as a caller requests it."""
    for route in app.routes:
        path: str = getattr(route, "path", "")
        methods = getattr(route, "methods", None)
        assert methods, f"{route!r} takes any method, or is of a kind unknown to this test"
        for method in sorted(methods):
            yield method, path, re.sub(r"\{[^}]+\}", "nothing-1", path)


async def test_every_route_and_method_refuses_callers_without_its_scope(
    locked: Api, keys_with: dict[str, str], keys_without: dict[str, str]
) -> None:
    app = application_of(locked)
    document = app.openapi()
    guarded_calls = 0
    for method, declared, path in calls(app):
        if declared in OPEN:
            # Signing in checks the credentials in its form.
            if declared == "/board/session":
                continue
            for headers in ({}, bearer("unknown"), bearer(keys_with["read"])):
                answer = await locked.client.request(method, path, headers=headers)
                assert answer.status_code not in {401, 403}, (method, path)
            continue
        guarded_calls += 1
        # The pages of the board are not in the document.
        documented = document["paths"].get(declared, {method.lower(): {"security": [{"bearer": ["read"]}]}})
        security = documented[method.lower()]["security"]
        assert declared in document["paths"] or declared.startswith("/board"), declared
        ((needed,),) = {tuple(scopes) for scheme in security for scopes in scheme.values()}
        assert needed in SCOPES, (method, path)

        for headers in ({}, bearer("unknown"), {"X-API-Key": "unknown"}, {"Authorization": "Basic YTpi"}):
            answer = await locked.client.request(method, path, headers=headers)
            assert_problem(answer, 401, "unauthenticated")
        for key in (keys_without[needed], *(key for scope, key in keys_with.items() if scope != needed)):
            answer = await locked.client.request(method, path, headers=bearer(key))
            assert_problem(answer, 403, "forbidden")
        for headers in (bearer(keys_with[needed]), {"X-API-Key": keys_with[needed]}):
            answer = await locked.client.request(method, path, headers=headers)
            assert answer.status_code not in {401, 403, 500}, (method, path, answer.text)
    assert guarded_calls >= 8


async def test_each_operation_declares_the_security_that_it_enforces(locked: Api) -> None:
    document = application_of(locked).openapi()
    assert document["components"]["securitySchemes"].keys() == SECURITY_SCHEMES.keys()
    schemes = document["components"]["securitySchemes"]
    assert (schemes["bearer"]["type"], schemes["bearer"]["scheme"]) == ("http", "bearer")
    assert (schemes["apiKey"]["in"], schemes["apiKey"]["name"]) == ("header", "X-API-Key")
    for path, item in document["paths"].items():
        for method, operation in item.items():
            if path in OPEN:
                assert operation["security"] == [], (method, path)
                continue
            assert [set(scheme) for scheme in operation["security"]] == [{"bearer"}, {"apiKey"}]
            assert {"401", "403", "429"} <= set(operation["responses"]), (method, path)
            for status in ("401", "403"):
                assert "WWW-Authenticate" in operation["responses"][status]["headers"]


async def test_the_document_does_not_depend_on_authentication(shared_settings: Settings, locked: Api) -> None:
    async with bootstrap(shared_settings) as service:
        assert http_application(service).openapi() == application_of(locked).openapi()


def test_a_route_without_a_scope_cannot_be_declared() -> None:
    async def endpoint() -> None:
        """Forgotten."""

    with pytest.raises(TypeError, match="@needs"):
        ServiceRoute("/v1/new", endpoint, methods=["GET"])


def test_the_four_scopes_are_those_of_the_contract() -> None:
    assert {"orders:write", "stock:write", "read", "admin"} == SCOPES


async def test_a_caller_without_the_scope_learns_nothing(locked: Api, keys_with: dict[str, str]) -> None:
    """Neither whether a batch, a SKU or an order exists, nor whether the request was valid."""
    ref, sku, order = new("batch"), new("sku"), new("order")
    stock, orders = bearer(keys_with["stock:write"]), bearer(keys_with["orders:write"])
    body = {"ref": ref, "sku": sku, "qty": 10}
    assert (await locked.client.post("/v1/batches", json=body, headers=stock)).status_code == 201
    line = {"order_id": order, "sku": sku, "qty": 1}
    assert (await locked.client.post("/v1/allocations", json=line, headers=orders)).status_code == 201

    alike = [
        ("GET", [f"/v1/batches/{ref}", "/v1/batches/none", "/v1/batches/%20"]),
        ("GET", [f"/v1/products/{sku}", "/v1/products/none", "/v1/products/%20"]),
        ("GET", [f"/v1/allocations/{order}", "/v1/allocations/none", "/v1/allocations/%20"]),
        ("DELETE", [f"/v1/allocations/{order}/{sku}", "/v1/allocations/none/none", "/v1/allocations/%20/%20"]),
        ("PATCH", [f"/v1/allocations/{order}/{sku}", "/v1/allocations/none/none", "/v1/allocations/%20/%20"]),
        ("PATCH", [f"/v1/batches/{ref}", "/v1/batches/none", "/v1/batches/%20"]),
    ]
    for headers, status in (({}, 401), (bearer(keys_with["admin"]), 403)):
        for method, paths in alike:
            answers = []
            for path, content in [
                (path, content) for path in paths for content in (b"", b'{"qty": 1}', b"{", b"x" * 70_000)
            ]:
                answer = await locked.client.request(method, path, content=content, headers=headers)
                problem = answer.json() | {"instance": "-"}
                answers.append((answer.status_code, problem, answer.headers["www-authenticate"]))
            assert answers[0][0] == status
            assert all(answer == answers[0] for answer in answers), (method, paths)
    kept = await locked.client.get(f"/v1/allocations/{order}", headers=bearer(keys_with["read"]))
    assert [each["batch_ref"] for each in kept.json()] == [ref]


class Causes:
    """Stands in for the bus, and records the principals."""

    def __init__(self) -> None:
        self.principals: list[str | None] = []

    async def handle(self, command: Command, cause: Any, **_: object) -> None:  # noqa: ANN401 - as the bus has it
        self.principals.append(cause.principal)
        raise TimeoutError

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass


async def test_the_cause_of_a_command_names_the_caller(
    shared_settings: Settings, key_file: Path, keys_with: dict[str, str]
) -> None:
    causes, body = Causes(), {"ref": new("batch"), "sku": new("sku"), "qty": 1}
    async with guarded(shared_settings, key_file, bus=causes) as api:
        await api.client.post("/v1/batches", json=body, headers=bearer(keys_with["stock:write"]))
    async with bootstrap(shared_settings, bus=causes) as service, in_process(service) as api:  # type: ignore[arg-type]
        await api.client.post("/v1/batches", json=body, headers=bearer("whatever"))
    assert causes.principals == ["with stock:write", None]


async def test_without_a_choice_every_caller_is_refused(shared_settings: Settings) -> None:
    undecided = shared_settings.model_copy(update={"auth": None})
    async with bootstrap(undecided) as service, in_process(service) as api:
        for headers in ({}, bearer("anything")):
            answer = await api.client.get("/v1/batches/batch-1", headers=headers)
            assert_problem(answer, 401, "unauthenticated")
        assert (await api.client.get("/livez")).status_code == 200


def test_each_refusal_is_a_kind_of_its_own() -> None:
    kinds = {code: KINDS[code].status for code in ("unauthenticated", "forbidden", "too-many-requests")}
    assert kinds == {"unauthenticated": 401, "forbidden": 403, "too-many-requests": 429}


@pytest.mark.parametrize("scope", sorted(SCOPES))
async def test_no_scope_includes_another(scope: Scope, locked: Api, keys_with: dict[str, str]) -> None:
    reading = await locked.client.get("/v1/batches/batch-1", headers=bearer(keys_with[scope]))
    assert (reading.status_code == 404) == (scope == "read")


async def test_the_history_names_the_caller(locked: Api, keys_with: dict[str, str]) -> None:
    sku = new("sku")
    body = {"ref": new("batch"), "sku": sku, "qty": 1}
    answer = await locked.client.post("/v1/batches", json=body, headers=bearer(keys_with["stock:write"]))
    assert answer.status_code == 201

    history = await locked.client.get(f"/v1/products/{sku}/history", headers=bearer(keys_with["read"]))

    assert [entry["who"] for entry in history.json()["items"]] == ["with stock:write"]


async def test_an_idempotency_key_belongs_to_its_caller(
    locked: Api, keys_with: dict[str, str], keys_without: dict[str, str]
) -> None:
    sku, key = new("sku"), {"Idempotency-Key": new("key")}
    for caller in (keys_with["stock:write"], keys_without["read"]):
        body = {"ref": new("batch"), "sku": sku, "qty": 1}
        answer = await locked.client.post("/v1/batches", json=body, headers=bearer(caller) | key)
        assert (answer.status_code, answer.json()["ref"]) == (201, body["ref"])
