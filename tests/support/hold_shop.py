"""A shop that holds stock: the application over HTTP, with a clock that tests move."""

from dataclasses import dataclass
from datetime import datetime, timedelta

import httpx

from tests.support.api import Api, Json, new

HOUR = timedelta(hours=1)


@dataclass
class Shop:
    """The application, and the clock that its holds end by: that of the database, moved by `ahead`."""

    api: Api
    ahead: timedelta = timedelta()

    def clock(self, now: datetime) -> datetime:
        return now + self.ahead

    async def hold(self, sku: str, qty: int, *, order_id: str | None = None, seconds: int = 600) -> Json:
        """Hold a line. Returns it."""
        answer = await self.api.allocate(sku, qty, order_id=order_id, hold_for=seconds)
        assert answer.status_code == 201, answer.text
        line: Json = answer.json()
        assert line["status"] == "held"
        return line

    async def hold_order(self, *lines: tuple[str, int], seconds: int = 600) -> Json:
        """Hold an order. Returns it."""
        answer = await self.post_order(new("order"), *lines, hold_for=seconds)
        assert answer.status_code == 201, answer.text
        order: Json = answer.json()
        return order

    async def post_order(self, order_id: str, *lines: tuple[str, int], **more: object) -> httpx.Response:
        body = {"order_id": order_id, "lines": [{"sku": sku, "qty": qty} for sku, qty in lines], **more}
        return await self.api.client.post("/v1/orders", json=body)

    async def put_hold(
        self, order_id: str, *lines: tuple[str, int], seconds: int = 600, headers: dict[str, str] | None = None
    ) -> httpx.Response:
        body: Json = {"hold_for": seconds}
        if lines:
            body["lines"] = [{"sku": sku, "qty": qty} for sku, qty in lines]
        return await self.api.client.put(f"/v1/orders/{order_id}/hold", json=body, headers=headers)

    async def confirm(self, line: Json, **more: object) -> httpx.Response:
        return await self.api.allocate(line["sku"], line["qty"], order_id=line["order_id"], **more)

    async def ship(self, line: Json) -> httpx.Response:
        return await self.api.client.post(f"/v1/allocations/{line['order_id']}/{line['sku']}/ship")

    async def history(self, sku: str) -> list[Json]:
        """The events of the product, oldest first."""
        answer = await self.api.client.get(f"/v1/products/{sku}/history", params={"limit": 200})
        assert answer.status_code == 200, answer.text
        return list(reversed(answer.json()["items"]))

    async def kinds(self, sku: str) -> list[str]:
        return [event["event"] for event in await self.history(sku)]


def end_of(line: Json) -> datetime:
    return datetime.fromisoformat(line["held_until"])


async def hold_many(shop: Shop, sku: str, count: int) -> None:
    items = [{"order_id": new("order"), "sku": sku, "qty": 1, "hold_for": 600} for _ in range(count)]
    answer = await shop.api.client.post("/v1/allocations/bulk", json={"items": items})
    assert {result["status"] for result in answer.json()["results"]} == {201}
