"""Which requests are traced: a sampled `traceparent` is followed for authenticated callers."""

from pathlib import Path
from typing import Any

import pytest

from app.bootstrap import bootstrap
from app.settings import Settings
from tests.support.api import bearer, in_process
from tests.support.keys import add_key
from tests.support.otlp import collecting

TRACE = "0af7651916cd43dd8448eb211c80319c"
RECORDED = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}
PATH = "/v1/batches/batch-1"


async def traced(settings: Settings, *requests: tuple[str, dict[str, str]], **more: Any) -> list[tuple[str, int | str]]:
    """The traces and statuses of the spans that are left when the requests have been answered."""
    with collecting() as collector:
        settings = settings.model_copy(update={"otlp_endpoint": collector.url, "trace_ratio": 0.0} | more)
        async with bootstrap(settings) as service, in_process(service) as api:
            for path, headers in requests:
                await api.client.get(path, headers=headers)
    return [(span.trace_id, span.attributes["http.response.status_code"]) for span in collector.spans]


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    return tmp_path / "api-keys.toml"


async def test_requests_of_unknown_callers_are_not_traced(shared_settings: Settings, key_file: Path) -> None:
    known = bearer(add_key(key_file, "shop", ["read"]))
    strangers = [{}, bearer("wrong"), {"X-API-Key": "wrong"}, {"Authorization": "Basic x"}]
    requests = [(path, RECORDED | headers) for headers in strangers for path in (PATH, "/v1/nothing")]
    spans = await traced(shared_settings, *requests, (PATH, RECORDED | known), auth="api-keys", api_keys_file=key_file)
    assert spans == [(TRACE, 404)]


async def test_requests_of_callers_without_the_scope_are_traced(shared_settings: Settings, key_file: Path) -> None:
    known = bearer(add_key(key_file, "shop", ["orders:write"]))
    spans = await traced(shared_settings, (PATH, RECORDED | known), auth="api-keys", api_keys_file=key_file)
    assert spans == [(TRACE, 403)]


@pytest.mark.parametrize("rate", [None, 100])
async def test_without_authentication_every_caller_can_request_a_trace(
    shared_settings: Settings, rate: int | None
) -> None:
    assert await traced(shared_settings, (PATH, RECORDED), http_rate_limit=rate) == [(TRACE, 404)]


async def test_the_trace_ratio_includes_requests_of_unknown_callers(shared_settings: Settings, key_file: Path) -> None:
    add_key(key_file, "shop", ["read"])
    (span,) = await traced(shared_settings, (PATH, {}), auth="api-keys", api_keys_file=key_file, trace_ratio=1.0)
    assert span[1] == 401
