"""Who may call what: every route and method, with and without the scope that it needs."""

import logging
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
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
from tests.support.keys import add_key

# Paths without authentication. They neither show nor change business data.
OPEN = {"/livez", "/readyz", "/metrics", "/docs", "/docs/static/{name}", "/openapi.json", "/asyncapi", "/asyncapi.json"}
OPEN |= {"/", "/problems/{code}", "/board/sign-in", "/board/session", "/board/sign-out", "/board/static/{name}"}


def test_the_page_on_security_names_every_path_that_is_open() -> None:
    page = (Path(__file__).parents[2] / "docs/security.md").read_text(encoding="utf-8")
    (paragraph,) = [each for each in page.split("\n\n") if "are open, for any host.\n" in each]
    assert set(re.findall(r"`(/[^`]*)`", paragraph)) == OPEN


@pytest.fixture(scope="module")
def key_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keys") / "api-keys.toml"


@pytest.fixture(scope="module")
def keys_with(key_file: Path) -> dict[str, str]:
    """A key that has only the scope, for each scope."""
    return {scope: add_key(key_file, f"with {scope}", [scope]) for scope in sorted(SCOPES)}


@pytest.fixture(scope="module")
def keys_without(key_file: Path) -> dict[str, str]:
    """A key that has every scope but that one, for each scope."""
    return {scope: add_key(key_file, f"without {scope}", SCOPES - {scope}) for scope in sorted(SCOPES)}


@asynccontextmanager
async def guarded(settings: Settings, key_file: Path, **more: Any) -> AsyncIterator[Api]:
    settings = settings.model_copy(update={"auth": "api-keys", "api_keys_file": key_file})
    async with bootstrap(settings, **more) as service, in_process(service) as api:
        yield api


@pytest.fixture
async def locked(
    shared_settings: Settings, key_file: Path, keys_with: dict[str, str], keys_without: dict[str, str]
) -> AsyncIterator[Api]:
    """The application, which takes the keys."""
    async with guarded(shared_settings, key_file) as api:
        yield api


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


async def test_the_challenge_names_the_accepted_credentials(locked: Api, keys_with: dict[str, str]) -> None:
    path = "/v1/batches/batch-1"
    nothing = await locked.client.get(path)
    assert nothing.headers["www-authenticate"] == 'Bearer realm="allocation"'
    wrong = await locked.client.get(path, headers=bearer("wrong"))
    assert wrong.headers["www-authenticate"].startswith('Bearer realm="allocation", error="invalid_token", error_d')
    lacking = await locked.client.get(path, headers=bearer(keys_with["admin"]))
    assert lacking.headers["www-authenticate"] == (
        'Bearer realm="allocation", error="insufficient_scope", scope="read"'
    )


async def test_credentials_are_accepted_in_every_valid_form(locked: Api, keys_with: dict[str, str]) -> None:
    key = keys_with["read"]
    for headers in ({"authorization": f"bearer {key}"}, {"AUTHORIZATION": f"BEARER  {key} "}, {"x-api-key": key}):
        assert (await locked.client.get("/v1/batches/batch-1", headers=headers)).status_code == 404


@pytest.mark.parametrize(
    "headers",
    [
        [("Authorization", "Bearer")],
        [("Authorization", "Bearer ")],
        [("Authorization", "{key}")],
        [("Authorization", "Basic {key}")],
        [("Authorization", "Bearer {key} {key}")],
        [("Authorization", "Bearer {key}"), ("Authorization", "Bearer {key}")],
        [("Authorization", "Bearer {key}"), ("X-API-Key", "{key}")],
        [("X-API-Key", "")],
        [("X-API-Key", "Bearer {key}")],
        [("Cookie", "key={key}")],
    ],
    ids=str,
)
async def test_credentials_in_any_other_form_are_refused(
    locked: Api, keys_with: dict[str, str], headers: list[tuple[str, str]]
) -> None:
    shown = [(name, value.format(key=keys_with["read"])) for name, value in headers]
    answer = await locked.client.get("/v1/batches/batch-1", headers=shown)
    assert_problem(answer, 401, "unauthenticated")
    assert keys_with["read"] not in answer.text
    assert keys_with["read"] not in answer.headers["www-authenticate"]


async def test_a_key_in_the_url_is_refused(locked: Api, keys_with: dict[str, str]) -> None:
    for name in ("access_token", "api_key", "X-API-Key"):
        answer = await locked.client.get("/v1/batches/batch-1", params={name: keys_with["read"]})
        assert_problem(answer, 401, "unauthenticated")
        assert keys_with["read"] not in answer.text


async def test_no_credentials_are_logged_or_counted(
    locked: Api, keys_with: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    secrets = [keys_with["read"], keys_with["admin"], "wrong-and-secret"]
    for secret in secrets:
        answer = await locked.client.get("/v1/batches/batch-1", headers=bearer(secret))
        assert secret not in answer.text
        assert secret not in str(answer.headers)
    metrics = (await locked.client.get("/metrics")).text
    for secret in secrets:
        assert secret not in metrics
        assert secret not in caplog.text


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


@pytest.mark.parametrize("origin", ["https://elsewhere.example", "null", "http://127.0.0.1:9"])
async def test_without_authentication_other_origins_are_refused(shared_settings: Settings, origin: str) -> None:
    """A browser sends a POST without a Content-Type for any page, without a preflight request."""
    body = b'{"ref":"batch-1","sku":"page","qty":1}'
    async with bootstrap(shared_settings) as service, in_process(service) as api:
        answer = await api.client.post("/v1/batches", content=body, headers={"Origin": origin})
        assert_problem(answer, 403, "forbidden")
        own = f"http://{api.client.base_url.netloc.decode()}"
        answer = await api.client.get("/v1/products/page", headers={"Origin": own})
        assert_problem(answer, 404, "product-not-found")
        assert (await api.client.get("/docs", headers={"Origin": origin})).status_code == 200


async def test_a_refused_origin_is_not_reported_as_a_missing_scope(api: Api) -> None:
    answer = await api.client.get("/v1/batches", headers={"Origin": "https://elsewhere.example"})
    problem = assert_problem(answer, 403, "forbidden")
    assert "scope" not in problem["title"] + problem["detail"]
    assert "web pages" in problem["detail"]


REBOUND = [
    "evil.example",
    "evil.example:8000",
    "localhost.evil.example",
    "127.0.0.1.evil.example",
    "1.2.3",
    "[evil]",
    "",
]


@pytest.mark.parametrize("host", REBOUND)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
async def test_without_authentication_other_hosts_are_refused(api: Api, host: str, method: str) -> None:
    """A page whose name resolves to this machine sends its name both as Host and as Origin (DNS rebinding)."""
    path = "/v1/batches" if method != "DELETE" else "/v1/orders/order-1"
    answer = await api.client.request(method, path, headers={"Host": host, "Origin": f"http://{host}"})
    assert_problem(answer, 421, "misdirected-request")
    assert (await api.client.get("/livez", headers={"Host": host})).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST:8000",
        "shop.localhost",
        "localhost.",
        "127.0.0.1:9",
        "10.0.0.7",
        "[::1]:8000",
        "[fe80::1]",
    ],
)
async def test_addresses_and_loopback_names_are_answered(api: Api, host: str) -> None:
    answer = await api.client.get("/v1/batches", headers={"Host": host, "Origin": f"http://{host}"})
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("allowed", "host", "status"),
    [
        (["shop.example"], "Shop.Example:8000", 200),
        (["shop.example"], "other.example", 421),
        (["shop.example"], "sub.shop.example", 421),
        (["*"], "evil.example", 200),
    ],
)
async def test_hosts_that_are_listed_are_answered(
    shared_settings: Settings, allowed: list[str], host: str, status: int
) -> None:
    settings = shared_settings.model_copy(update={"http_allowed_hosts": allowed})
    async with bootstrap(settings) as service, in_process(service) as api:
        assert (await api.client.get("/v1/batches", headers={"Host": host})).status_code == status


async def test_with_authentication_any_host_is_answered(shared_settings: Settings) -> None:
    undecided = shared_settings.model_copy(update={"auth": None})
    async with bootstrap(undecided) as service, in_process(service) as api:
        answer = await api.client.get("/v1/batches", headers={"Host": "shop.example"})
        assert_problem(answer, 401, "unauthenticated")


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
