"""The service as a caller over HTTP sees it, in process or as a process of its own."""

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import httpx

from app.bootstrap import Service
from app.entrypoints.server import http_application

Json = dict[str, Any]

PROBLEM_MEMBERS = {"type", "title", "status", "detail", "instance", "code"}
MORE_MEMBERS = {
    "invalid-request": {"errors"},
    "quantity-changed": {"present_qty"},
    "location-required": {"locations"},
    "cursor-expired": {"first_cursor"},
    "invalid-sku": {"skus"},
    "out-of-stock": {"skus"},
    "not-held": {"skus"},
}


def new(kind: str) -> str:
    """A new, unique identifier."""
    return f"{kind}-{uuid.uuid4().hex}"


@dataclass(frozen=True)
class Api:
    """The calls of the contract. Those that return no response assert that the service did what it was asked."""

    client: httpx.AsyncClient

    async def record(
        self, sku: str, qty: int, *, eta: str | None = None, ref: str | None = None, **terms: object
    ) -> str:
        """Record a batch, in the warehouse unless it has an ETA; `terms` are further fields. Returns its ref."""
        body = {"ref": ref or new("batch"), "sku": sku, "qty": qty, "eta": eta, **terms}
        answer = await self.client.post("/v1/batches", json=body)
        assert answer.status_code == 201, answer.text
        return str(body["ref"])

    async def allocate(self, sku: str, qty: int, *, order_id: str | None = None, **more: object) -> httpx.Response:
        """Ask for a line; `more` are further fields of the body."""
        body = {"order_id": order_id or new("order"), "sku": sku, "qty": qty, **more}
        return await self.client.post("/v1/allocations", json=body)

    async def order(self, sku: str, qty: int, *, order_id: str | None = None) -> str:
        """Have a line accepted: allocated or queued. Returns its order id."""
        order_id = order_id or new("order")
        answer = await self.allocate(sku, qty, order_id=order_id)
        assert answer.status_code in {201, 202}, answer.text
        return order_id

    async def change(self, ref: str, **changes: object) -> Json:
        """PATCH a batch. Returns the answer."""
        answer = await self.client.patch(f"/v1/batches/{ref}", json=changes)
        assert answer.status_code == 200, answer.text
        changed: Json = answer.json()
        return changed

    async def moved(self, ref: str, **changes: object) -> list[tuple[str, str | None]]:
        """PATCH a batch. Returns which orders moved, and where to."""
        return [(line["order_id"], line["to_batch_ref"]) for line in (await self.change(ref, **changes))["moved"]]

    async def cancel(self, order_id: str, sku: str) -> None:
        """Cancel a line."""
        answer = await self.client.delete(f"/v1/allocations/{order_id}/{sku}")
        assert answer.status_code == 204, answer.text

    async def watch(self, sku: str, qty: int) -> Json:
        """Set the reorder point. Returns the answer."""
        answer = await self.client.put(f"/v1/products/{sku}/reorder-point", json={"qty": qty})
        assert answer.status_code == 200, answer.text
        stock: Json = answer.json()
        return stock

    async def lines(self, order_id: str) -> list[Json]:
        """The lines of an order; none where the order is not known."""
        answer = await self.client.get(f"/v1/allocations/{order_id}")
        if answer.status_code == 404:
            return []
        assert answer.status_code == 200, answer.text
        lines: list[Json] = answer.json()
        return lines

    async def batch_of(self, order_id: str) -> str | None:
        """The batch that serves the only line of an order; None while it waits."""
        (line,) = await self.lines(order_id)
        batch: str | None = line["batch_ref"]
        return batch

    async def batch(self, ref: str) -> Json:
        """A batch as it is now."""
        answer = await self.client.get(f"/v1/batches/{ref}")
        assert answer.status_code == 200, answer.text
        batch: Json = answer.json()
        return batch

    async def product(self, sku: str) -> Json:
        """A product as it is now."""
        answer = await self.client.get(f"/v1/products/{sku}")
        assert answer.status_code == 200, answer.text
        product: Json = answer.json()
        return product


@asynccontextmanager
async def in_process(service: Service) -> AsyncIterator[Api]:
    """The application over the service, inside its lifespan, without a socket."""
    app = http_application(service)
    # A request that fails inside is answered as under uvicorn; the tests look at the answer.
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=60) as client,
    ):
        yield Api(client)


@asynccontextmanager
async def over_http(url: str) -> AsyncIterator[Api]:
    """The application that listens at the URL."""
    async with httpx.AsyncClient(base_url=url, timeout=30, trust_env=False) as client:
        yield Api(client)


def bearer(credentials: str) -> dict[str, str]:
    """The header that shows them."""
    return {"Authorization": f"Bearer {credentials}"}


def assert_problem(response: httpx.Response, status: int, code: str, detail: str | None = None) -> Json:
    """The answer is the problem of that code, and nothing but what RFC 9457 and the contract name. Returns it."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem: Json = response.json()
    assert set(problem) == PROBLEM_MEMBERS | MORE_MEMBERS.get(code, set()), problem
    assert (problem["status"], problem["code"]) == (status, code)
    assert unquote(problem["instance"]) == response.request.url.path
    assert all(isinstance(problem[name], str) and problem[name] for name in ("type", "title", "detail"))
    if detail is not None:
        assert problem["detail"] == detail
    return problem


def assert_invalid(response: httpx.Response, *locations: list[str | int]) -> Json:
    """The answer is a 422 that names exactly these places. Returns the problem."""
    problem = assert_problem(response, 422, "invalid-request")
    for fault in problem["errors"]:
        assert set(fault) == {"loc", "msg", "type"}, fault
        assert isinstance(fault["msg"], str), fault
        assert isinstance(fault["type"], str), fault
        assert fault["msg"] and fault["type"], fault  # noqa: PT018 - both together say it
    assert sorted((fault["loc"] for fault in problem["errors"]), key=str) == sorted(locations, key=str), problem
    return problem
