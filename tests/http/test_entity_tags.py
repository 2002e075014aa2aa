"""Batches and products have an `ETag`; reads and writes may be made to depend on it (RFC 9110, 13)."""

import asyncio
import uuid

import httpx
import pytest

from tests.support.api import Api, Json, assert_invalid, assert_problem, new


async def tag_of(api: Api, path: str) -> str:
    answer = await api.client.get(path)
    assert answer.status_code == 200
    return answer.headers["etag"]


async def patch(api: Api, ref: str, tags: str, **changes: object) -> httpx.Response:
    return await api.client.patch(f"/v1/batches/{ref}", json=changes, headers={"If-Match": tags})


async def watch(api: Api, sku: str, tags: str, qty: int) -> httpx.Response:
    return await api.client.put(f"/v1/products/{sku}/reorder-point", json={"qty": qty}, headers={"If-Match": tags})


async def test_every_answer_that_shows_a_batch_has_its_tag(api: Api, other_api: Api) -> None:
    body = {"ref": new("batch"), "sku": new("sku"), "qty": 10}
    path = f"/v1/batches/{body['ref']}"

    recorded = await api.client.post("/v1/batches", json=body)
    again = await api.client.post("/v1/batches", json=body)
    assert (recorded.status_code, again.status_code) == (201, 200)
    tags = {recorded.headers["etag"], again.headers["etag"], await tag_of(api, path), await tag_of(other_api, path)}
    assert len(tags) == 1
    assert tags.pop().startswith('"')

    changed = await api.client.patch(path, json={"qty": 9, "eta": "2030-01-01"})
    assert changed.headers["etag"] == await tag_of(api, path) == await tag_of(other_api, path)


async def test_a_tag_changes_with_everything_that_is_shown(api: Api) -> None:
    sku = new("sku")
    ref = await api.record(sku, 10)
    paths = (f"/v1/batches/{ref}", f"/v1/products/{sku}")
    seen = [[await tag_of(api, path) for path in paths]]

    async def look() -> None:
        seen.append([await tag_of(api, path) for path in paths])

    await api.change(ref, qty=11)
    await look()
    await api.change(ref, eta="2030-01-01")
    await look()
    order = await api.order(sku, 4)
    await look()
    await api.client.patch(f"/v1/allocations/{order}/{sku}", json={"qty": 3})
    await look()
    await api.client.post(f"/v1/allocations/{order}/{sku}/ship")
    await look()
    for of_kind in zip(*seen, strict=True):
        assert len(set(of_kind)) == len(seen)

    products = [seen[-1][1]]
    for change in (api.watch(sku, 2), api.order(sku, 50), api.record(sku, 1)):
        await change
        products.append(await tag_of(api, paths[1]))
    assert len(set(products)) == len(products)
    assert await tag_of(api, paths[0]) == seen[-1][0]


async def test_a_current_representation_is_not_sent_again(api: Api) -> None:
    sku = new("sku")
    ref = await api.record(sku, 10)
    for path in (f"/v1/batches/{ref}", f"/v1/products/{sku}"):
        tag = await tag_of(api, path)
        for known in (tag, f"W/{tag}", "*", f'"other", W/"more",{tag}'):
            answer = await api.client.get(path, headers={"If-None-Match": known})
            assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", tag), known
            assert "content-type" not in answer.headers
        for unknown in ('"other"', tag.strip('"'), ""):
            assert (await api.client.get(path, headers={"If-None-Match": unknown})).status_code == 200, unknown
        await api.order(sku, 1)
        assert (await api.client.get(path, headers={"If-None-Match": tag})).status_code == 200
    assert (await api.client.get(f"/v1/batches/{new('batch')}", headers={"If-None-Match": "*"})).status_code == 404


async def test_a_batch_is_changed_only_if_its_tag_matches(api: Api) -> None:
    sku = new("sku")
    ref = await api.record(sku, 10)
    path = f"/v1/batches/{ref}"
    first = await tag_of(api, path)

    changed = await patch(api, ref, first, qty=11)
    assert (changed.status_code, changed.json()["qty"]) == (200, 11)
    second = changed.headers["etag"]

    for tags in (first, f'W/{second}, "other"', '"*"', '""'):
        assert_problem(await patch(api, ref, tags, qty=12, eta="2030-01-01"), 412, "precondition-failed")
        assert await tag_of(api, path) == second
    assert (await api.product(sku))["batches"][0]["qty"] == 11
    assert (await patch(api, ref, f'"other", {second}', qty=12)).status_code == 200
    assert (await patch(api, ref, "*", qty=13)).status_code == 200


async def test_an_allocation_in_between_is_a_change_of_the_batch(api: Api) -> None:
    sku = new("sku")
    ref = await api.record(sku, 10)
    tag = await tag_of(api, f"/v1/batches/{ref}")
    await api.order(sku, 1)

    assert_problem(await patch(api, ref, tag, qty=9), 412, "precondition-failed")


async def test_the_expected_quantity_counts_as_well(api: Api) -> None:
    ref = await api.record(new("sku"), 10)
    tag = await tag_of(api, f"/v1/batches/{ref}")

    assert_problem(await patch(api, ref, tag, qty=9, expected_qty=8), 409, "quantity-changed")
    assert_problem(await patch(api, ref, '"other"', qty=9, expected_qty=8), 412, "precondition-failed")
    assert (await patch(api, ref, tag, qty=9, expected_qty=10)).status_code == 200


async def test_of_two_changes_that_name_the_same_tag_one_takes_effect(api: Api, other_api: Api) -> None:
    sku = new("sku")
    ref = await api.record(sku, 100)
    for round_ in range(8):
        tag = await tag_of(api, f"/v1/batches/{ref}")

        answers = await asyncio.gather(
            *(
                patch((api, other_api)[number % 2], ref, tag, qty=200 + round_ * 10 + number, reason="recount")
                for number in range(6)
            )
        )

        assert sorted(answer.status_code for answer in answers) == [200] + [412] * 5
        (done,) = [answer for answer in answers if answer.status_code == 200]
        assert (await api.batch(ref))["qty"] == done.json()["qty"]


async def test_a_reorder_point_is_set_where_the_tag_of_the_product_matches(api: Api) -> None:
    sku = new("sku")
    await api.record(sku, 10)
    path = f"/v1/products/{sku}"
    first = await tag_of(api, path)

    assert_problem(await watch(api, sku, '"other"', 5), 412, "precondition-failed")
    # Less than that is available, so this raises an event besides.
    done = await watch(api, sku, first, 20)

    assert (done.status_code, done.json()["reorder_point"]) == (200, 20)
    assert done.headers["etag"] == await tag_of(api, path)
    assert_problem(await watch(api, sku, first, 5), 412, "precondition-failed")
    assert (await watch(api, sku, done.headers["etag"], 0)).status_code == 200
    assert (await api.product(sku))["reorder_point"] is None


async def test_a_batch_is_recorded_again_where_it_is_there_and_matches(api: Api) -> None:
    body = {"ref": new("batch"), "sku": new("sku"), "qty": 10}

    async def record(tags: str, **more: object) -> httpx.Response:
        return await api.client.post("/v1/batches", json={**body, **more}, headers={"If-Match": tags})

    assert_problem(await record("*"), 412, "precondition-failed")
    assert (await api.client.get(f"/v1/batches/{body['ref']}")).status_code == 404
    tag = (await api.client.post("/v1/batches", json=body)).headers["etag"]

    assert (await record(tag)).status_code == 200
    assert_problem(await record('"other"'), 412, "precondition-failed")
    assert_problem(await record(tag, qty=11), 409, "batch-conflict")


async def test_unknown_resources_are_not_found_whatever_the_tag(api: Api) -> None:
    for tags in ("*", '"tag"'):
        assert_problem(await patch(api, new("batch"), tags, qty=1), 404, "batch-not-found")
        assert_problem(await watch(api, new("sku"), tags, 1), 404, "product-not-found")


@pytest.mark.parametrize("tags", ["tag", '"tag', 'tag"', '"a" "b"', '"a", *', '*, "a"', 'w/"a"', '"a b"', "", ","])
async def test_tags_of_another_form_are_refused_and_nothing_is_done(api: Api, tags: str) -> None:
    ref = await api.record(new("sku"), 10)

    assert_invalid(await patch(api, ref, tags, qty=9), ["header", "If-Match"])

    assert (await api.batch(ref))["qty"] == 10


async def test_several_headers_are_one_list(api: Api) -> None:
    ref = await api.record(new("sku"), 10)
    tag = await tag_of(api, f"/v1/batches/{ref}")
    headers = [("If-Match", '"other"'), ("If-Match", f", {tag},")]

    assert (await api.client.patch(f"/v1/batches/{ref}", json={"qty": 9}, headers=headers)).status_code == 200


async def test_a_read_can_require_a_tag(api: Api) -> None:
    sku = new("sku")
    ref = await api.record(sku, 10)
    for path in (f"/v1/batches/{ref}", f"/v1/products/{sku}"):
        tag = await tag_of(api, path)
        assert (await api.client.get(path, headers={"If-Match": tag})).status_code == 200
        refused = await api.client.get(path, headers={"If-Match": '"other"', "If-None-Match": tag})
        assert_problem(refused, 412, "precondition-failed")


async def test_a_call_that_cannot_compare_refuses_a_tag_and_does_nothing(api: Api) -> None:
    sku = new("sku")
    ref = await api.record(sku, 10)
    held = await api.order(sku, 1)
    line, batch = {"order_id": new("order"), "sku": sku, "qty": 1}, {"ref": new("batch"), "sku": sku, "qty": 1}
    calls: list[tuple[str, str, Json | None]] = [
        ("POST", "/v1/allocations", line),
        ("POST", "/v1/allocations/bulk", {"items": [line]}),
        ("POST", "/v1/batches/bulk", {"items": [batch]}),
        ("POST", "/v1/orders", {"lines": [{"sku": sku, "qty": 1}]}),
        ("PATCH", f"/v1/allocations/{held}/{sku}", {"qty": 2}),
        ("DELETE", f"/v1/allocations/{held}/{sku}", None),
        ("POST", f"/v1/allocations/{held}/{sku}/ship", None),
        ("DELETE", f"/v1/orders/{held}", None),
    ]
    before = await tag_of(api, f"/v1/products/{sku}")

    for method, path, body in calls:
        for headers in ({"If-Match": "*"}, {"If-Match": "*", "Idempotency-Key": uuid.uuid4().hex}):
            answer = await api.client.request(method, path, json=body, headers=headers)
            assert_invalid(answer, ["header", "If-Match"])

    assert await tag_of(api, f"/v1/products/{sku}") == before
    assert (await api.batch(ref))["allocated_qty"] == 1


async def test_the_tag_is_part_of_the_request_of_a_key(api: Api) -> None:
    ref = await api.record(new("sku"), 10)
    path, key = f"/v1/batches/{ref}", uuid.uuid4().hex
    tag = await tag_of(api, path)

    async def change(tags: str, key: str) -> httpx.Response:
        headers = {"If-Match": tags, "Idempotency-Key": key}
        return await api.client.patch(path, json={"qty": 9}, headers=headers)

    done = await change(tag, key)
    again = await change(tag, key)
    assert (done.status_code, again.status_code, again.content) == (200, 200, done.content)
    assert again.headers["etag"] == done.headers["etag"]
    assert_problem(await change("*", key), 422, "idempotency-key-reused")

    late = uuid.uuid4().hex
    assert_problem(await change(tag, late), 412, "precondition-failed")
    await api.change(ref, qty=10)
    assert await tag_of(api, path) == tag
    assert_problem(await change(tag, late), 412, "precondition-failed")
