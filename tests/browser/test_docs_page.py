"""Swagger UI at /docs in a real browser: it renders without the internet, and what it sends works."""

import json
import uuid
from typing import Any

import pytest
from playwright.async_api import Locator, expect

from tests.browser.conftest import Visit

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

LISTS = {"listBatches": "batches", "listProducts": "products", "listBackorders": "allocations"}


async def opened(visit: Visit, tag: str, operation: str) -> Locator:
    """The block of an operation, ready to be tried out."""
    if visit.page.url.partition("#")[0] != f"{visit.url}/docs":
        await visit.page.goto(f"{visit.url}/docs")
    block = visit.page.locator(f"#operations-{tag}-{operation}")
    # Opening a block changes the address, and Playwright's `click` would wait for a navigation that never ends.
    await block.locator(".opblock-summary-control").dispatch_event("click")
    await block.get_by_role("button", name="Try it out").click()
    return block


async def execute(visit: Visit, block: Locator, path: str) -> tuple[int, Any]:
    """Send the request as the page would. Returns the status and the body."""
    async with visit.page.expect_response(lambda response: response.url.startswith(visit.url + path)) as caught:
        await block.get_by_role("button", name="Execute").click()
    response = await caught.value
    await expect(block.locator(".live-responses-table tbody .response-col_status").first).to_contain_text(
        str(response.status)
    )
    return response.status, await response.json()


async def test_every_operation_of_the_document_is_shown(visit: Visit) -> None:
    document = json.loads(await (await visit.page.request.get(f"{visit.url}/openapi.json")).text())
    operations = [operation for item in document["paths"].values() for operation in item.values()]
    await visit.page.goto(f"{visit.url}/docs")
    await expect(visit.page.locator(".opblock")).to_have_count(len(operations))
    await expect(visit.page.locator(".information-container")).to_contain_text("Apache-2.0")
    visit.assert_nothing_went_wrong()


async def test_two_different_writes_from_the_page_both_succeed(visit: Visit) -> None:
    block = await opened(visit, "batches", "createBatch")
    for qty in (3, 4):
        batch = {"ref": f"batch-{uuid.uuid4().hex}", "sku": "RED-CHAIR", "qty": qty}
        await block.locator("textarea.body-param__text").fill(json.dumps(batch))
        status, answer = await execute(visit, block, "/v1/batches")
        assert status == 201, answer
        assert (answer["ref"], answer["qty"]) == (batch["ref"], qty)
    visit.assert_nothing_went_wrong()


async def test_writes_of_two_operations_from_the_page_both_succeed(visit: Visit) -> None:
    sku = f"sku-{uuid.uuid4().hex}"
    for tag, operation, path, body in (
        ("batches", "createBatch", "/v1/batches", {"ref": f"batch-{sku}", "sku": sku, "qty": 9}),
        ("allocations", "allocate", "/v1/allocations", {"order_id": f"order-{sku}", "sku": sku, "qty": 2}),
        ("orders", "placeOrder", "/v1/orders", {"order_id": f"other-{sku}", "lines": [{"sku": sku, "qty": 3}]}),
    ):
        block = await opened(visit, tag, operation)
        await block.locator("textarea.body-param__text").fill(json.dumps(body))
        status, _ = await execute(visit, block, path)
        assert status == 201
    visit.assert_nothing_went_wrong()


@pytest.mark.parametrize("operation", LISTS)
async def test_a_list_accepts_the_parameters_that_the_page_fills_in(visit: Visit, operation: str) -> None:
    path = f"/v1/{operation.removeprefix('list').lower()}"
    status, answer = await execute(visit, await opened(visit, LISTS[operation], operation), path)
    assert (status, "items" in answer) == (200, True)
    visit.assert_nothing_went_wrong()


async def test_the_example_of_each_body_is_accepted(visit: Visit) -> None:
    for tag, operation, path in (
        ("batches", "createBatch", "/v1/batches"),
        ("allocations", "allocate", "/v1/allocations"),
        ("batches", "createBatches", "/v1/batches/bulk"),
        ("allocations", "allocateMany", "/v1/allocations/bulk"),
    ):
        status, answer = await execute(visit, await opened(visit, tag, operation), path)
        assert status < 300, answer
        assert all(result["status"] < 300 for result in answer.get("results", [])), answer
    visit.assert_nothing_went_wrong()
