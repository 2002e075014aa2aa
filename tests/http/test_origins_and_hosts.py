"""Without authentication, requests of other web pages are refused by their origin and their host."""

import pytest

from app.bootstrap import bootstrap
from app.settings import Settings
from tests.support.api import Api, assert_problem, in_process


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
