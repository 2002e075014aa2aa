"""The history of a product, read from its events."""

from datetime import UTC, datetime

from tests.support.api import Api, Json, assert_invalid, assert_problem, new

FIELDS = [
    "time",
    "event",
    "sequence",
    "order_id",
    "batch_ref",
    "qty",
    "eta",
    "reason",
    "reference",
    "who",
    "correlation_id",
    "causation_id",
    "event_id",
]


async def history(api: Api, sku: str, **query: str | int) -> Json:
    answer = await api.client.get(f"/v1/products/{sku}/history", params=query)
    assert answer.status_code == 200, answer.text
    found: Json = answer.json()
    return found


async def whole_history(api: Api, sku: str, limit: int) -> list[Json]:
    found = await history(api, sku, limit=limit)
    entries: list[Json] = found["items"]
    while found["next_cursor"] is not None:
        found = await history(api, sku, limit=limit, cursor=found["next_cursor"])
        entries += found["items"]
    return entries


async def test_the_history_lists_events_newest_first(api: Api) -> None:
    sku = new("sku")
    ref = await api.record(sku, 10, eta="2011-01-01")
    order = await api.order(sku, 4)
    late = await api.order(sku, 20)
    await api.change(ref, eta=None)
    await api.change(ref, qty=3, reason="damaged", reference="report-17")
    await api.cancel(order, sku)

    found = await history(api, sku)

    fields = ("sequence", "event", "order_id", "batch_ref", "qty", "eta", "reason", "reference")
    assert [tuple(entry[name] for name in fields) for entry in found["items"]] == [
        (10, "line_deallocated.v1", order, None, 4, None, "cancelled", None),
        (9, "line_backordered.v1", order, None, 4, None, None, None),
        (8, "out_of_stock.v1", order, None, 4, None, None, None),
        (7, "line_deallocated.v1", order, ref, 4, None, "batch_quantity_changed", None),
        (6, "batch_quantity_changed.v1", None, ref, 3, None, "damaged", "report-17"),
        (5, "batch_eta_changed.v1", None, ref, 10, None, None, None),
        (4, "line_backordered.v1", late, None, 20, None, None, None),
        (3, "out_of_stock.v1", late, None, 20, None, None, None),
        (2, "line_allocated.v1", order, ref, 4, None, None, None),
        (1, "batch_created.v1", None, ref, 10, "2011-01-01", None, None),
    ]
    assert (found["count"], found["count_is_exact"], found["next_cursor"]) == (10, True, None)
    assert all(list(entry) == FIELDS for entry in found["items"])


async def test_holds_are_listed_with_their_end_and_the_reason_of_their_release(api: Api) -> None:
    sku, kept, dropped = new("sku"), new("order"), new("order")
    ref = await api.record(sku, 10)
    held = await api.allocate(sku, 4, order_id=kept, hold_for=600)
    first_end = held.json()["held_until"]
    extended = await api.client.put(f"/v1/orders/{kept}/hold", json={"hold_for": 700})
    (line,) = extended.json()["lines"]
    await api.allocate(sku, 4, order_id=kept)
    await api.allocate(sku, 5, order_id=dropped, hold_for=600)
    await api.cancel(dropped, sku)

    entries = (await history(api, sku))["items"]

    fields = ("event", "order_id", "batch_ref", "qty", "reason", "held_until")
    shown = [tuple(entry.get(name) for name in fields) for entry in entries]
    assert shown[:1] + shown[2:] == [
        ("hold_released.v1", dropped, ref, 5, "cancelled", None),
        ("line_allocated.v1", kept, ref, 4, None, None),
        ("line_held.v1", kept, ref, 4, None, line["held_until"]),
        ("line_held.v1", kept, ref, 4, None, first_end),
        ("batch_created.v1", None, ref, 10, None, None),
    ]
    assert shown[1][:5] == ("line_held.v1", dropped, ref, 5, None)
    assert all(("held_until" in entry) == (entry["event"] == "line_held.v1") for entry in entries)


async def test_an_entry_has_its_time_and_its_causes(api: Api) -> None:
    sku, request, conversation = new("sku"), new("request"), new("conversation")
    before = datetime.now(UTC)
    ids = {"x-request-id": request, "x-correlation-id": conversation}
    body = {"ref": new("batch"), "sku": sku, "qty": 1}
    assert (await api.client.post("/v1/batches", json=body, headers=ids)).status_code == 201

    (entry,) = (await history(api, sku))["items"]

    assert (entry["causation_id"], entry["correlation_id"], entry["who"]) == (request, conversation, None)
    assert before <= datetime.fromisoformat(entry["time"]) <= datetime.now(UTC)
    assert len(entry["event_id"]) == 36


async def test_a_refusal_is_listed(api: Api) -> None:
    sku = new("sku")
    await api.record(sku, 1)
    assert (await api.allocate(sku, 2, if_unavailable="reject")).status_code == 409
    newest, before, _ = (await history(api, sku))["items"]
    assert (newest["event"], newest["reason"], before["event"]) == (
        "allocation_failed.v1",
        "out_of_stock",
        "out_of_stock.v1",
    )


async def test_the_pages_of_a_history_are_the_history(api: Api) -> None:
    sku = new("sku")
    await api.record(sku, 10)
    for _ in range(10):
        await api.order(sku, 1)
    for limit in (1, 5, 11):
        assert [entry["sequence"] for entry in await whole_history(api, sku, limit)] == list(range(11, 0, -1))


async def test_new_events_do_not_move_the_next_page(api: Api) -> None:
    sku = new("sku")
    await api.record(sku, 10)
    await api.order(sku, 1)
    first = await history(api, sku, limit=1)
    await api.order(sku, 1)

    second = await history(api, sku, limit=1, cursor=first["next_cursor"])

    assert [page["items"][0]["sequence"] for page in (first, second)] == [2, 1]
    assert second["next_cursor"] is None


async def test_products_have_a_history_each(api: Api) -> None:
    one, other = new("sku"), new("sku")
    for sku in (one, other):
        await api.record(sku, 10)
        await api.order(sku, 1)
    cursor = (await history(api, one, limit=1))["next_cursor"]

    assert_invalid(
        await api.client.get(f"/v1/products/{other}/history", params={"cursor": cursor}), ["query", "cursor"]
    )
    assert {entry["sequence"] for entry in (await history(api, other))["items"]} == {1, 2}


async def test_an_unknown_product_has_no_history(api: Api) -> None:
    sku = new("sku")
    await api.allocate(sku, 1)
    assert_problem(await api.client.get(f"/v1/products/{sku}/history"), 404, "product-not-found")
