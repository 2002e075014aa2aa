"""Liveness, readiness, metrics, and documentation that works without the internet."""

import re
from html.parser import HTMLParser

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as families_of
from prometheus_client.parser import text_string_to_metric_families

from tests.support.api import Api, new


async def test_a_running_service_is_live_and_ready(api: Api) -> None:
    for path, status in (("/livez", "alive"), ("/readyz", "ready")):
        answer = await api.client.get(path)
        assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
        assert answer.json() == {"status": status}


async def test_metrics_are_prometheus_text_and_count_requests(api: Api) -> None:
    async def requests() -> float:
        answer = await api.client.get("/metrics")
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/plain")
        return sum(
            sample.value
            for family in text_string_to_metric_families(answer.text)
            for sample in family.samples
            if sample.name.endswith("_count") and "/v1/products/{sku}" in sample.labels.values()
        )

    before = await requests()
    for _ in range(3):
        await api.client.get(f"/v1/products/{new('sku')}")
    assert await requests() == before + 3


@pytest.mark.parametrize(
    "accept",
    [
        "application/openmetrics-text",
        "application/openmetrics-text; version=1.0.0; charset=utf-8",
        # What Prometheus 3 sends.
        "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;version=1.0.0;q=0.4,*/*;q=0.2",
    ],
)
async def test_metrics_are_openmetrics_where_accept_names_it(api: Api, accept: str) -> None:
    await api.client.get("/livez")
    answer = await api.client.get("/metrics", headers={"Accept": accept})
    assert answer.headers["content-type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    assert answer.headers["vary"] == "Accept"
    assert answer.text.endswith("# EOF\n")
    families = {family.name for family in families_of(answer.text)}  # type: ignore[no-untyped-call]
    assert "allocation_http_requests" in families


@pytest.mark.parametrize("accept", ["", "*/*", "text/plain", "application/openmetrics-text;q=0", "text/html"])
async def test_metrics_are_prometheus_text_otherwise(api: Api, accept: str) -> None:
    answer = await api.client.get("/metrics", headers={"Accept": accept})
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"


async def test_the_root_leads_to_the_documentation(api: Api) -> None:
    answer = await api.client.get("/")
    assert (answer.status_code, answer.headers["location"]) == (307, "/docs")


async def test_metrics_have_no_sku_order_or_batch_in_labels(api: Api) -> None:
    sku, order, ref, path = new("sku"), new("order"), new("batch"), new("path")
    await api.record(sku, 10, ref=ref)
    await api.order(sku, 5, order_id=order)
    await api.allocate(sku, 6, order_id=order)
    await api.allocate(sku, 50, if_unavailable="reject")
    await api.change(ref, qty=1)
    await api.product(sku)
    await api.batch(ref)
    await api.lines(order)
    await api.cancel(order, sku)
    await api.client.delete(f"/v1/allocations/{order}/{sku}")
    await api.client.get(f"/{path}")
    await api.client.put(f"/v1/batches/{ref}")
    await api.client.post("/v1/batches", json={"ref": ref, "sku": sku, "qty": 0})
    metrics = (await api.client.get("/metrics")).text
    assert "allocation" in metrics
    for name in (sku, order, ref, path):
        assert name not in metrics


class Assets(HTMLParser):
    """Collects what a page loads, and the scripts in it."""

    def __init__(self) -> None:
        super().__init__()
        self.urls: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in {"src", "href"} and value is not None:
                self.urls.append(value)


async def test_the_documentation_loads_local_assets_only(api: Api) -> None:
    page = await api.client.get("/docs")
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    assets = Assets()
    assets.feed(page.text)
    assert {re.sub(r".*\.", "", url) for url in assets.urls} >= {"js", "css"}
    for url in assets.urls:
        assert url.startswith("/")
        assert not url.startswith("//")
        answer = await api.client.get(url)
        assert answer.status_code == 200, url
        assert len(answer.content) > 100
    assert "://" not in page.text
    assert "/openapi.json" in page.text


async def test_the_stylesheet_of_the_documentation_loads_no_external_files(api: Api) -> None:
    page = await api.client.get("/docs")
    assets = Assets()
    assets.feed(page.text)
    (style,) = [url for url in assets.urls if url.endswith(".css")]
    imported = re.findall(r"url\(\s*['\"]?(?:https?:)?//|@import", (await api.client.get(style)).text)
    assert imported == []


@pytest.mark.parametrize("path", ["/docs/static/..%2F..%2Fpyproject.toml", "/docs/static/../../pyproject.toml"])
async def test_the_path_of_assets_serves_no_other_file(api: Api, path: str) -> None:
    assert (await api.client.get(path)).status_code == 404
