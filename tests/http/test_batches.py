"""Recording batches and reading them back."""

import pytest

from tests.support.api import Api, Json, assert_problem, new


def body_of(ref: str, sku: str, **changes: object) -> Json:
    return {"ref": ref, "sku": sku, "qty": 100, "eta": "2011-01-02", **changes}


async def test_a_new_batch_is_answered_with_201_its_content_and_where_it_is(api: Api) -> None:
    ref, sku = new("batch"), new("sku")
    answer = await api.client.post("/v1/batches", json=body_of(ref, sku))
    assert answer.status_code == 201
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == {
        "ref": ref,
        "sku": sku,
        "qty": 100,
        "eta": "2011-01-02",
        "allocated_qty": 0,
        "shipped_qty": 0,
        "held_qty": 0,
        "available_qty": 100,
    }
    followed = await api.client.get(answer.headers["location"])
    assert (followed.status_code, followed.json()) == (200, answer.json())


@pytest.mark.parametrize("eta", [{}, {"eta": None}], ids=["left out", "null"])
async def test_a_batch_without_eta_is_in_the_warehouse(api: Api, eta: Json) -> None:
    ref, sku = new("batch"), new("sku")
    answer = await api.client.post("/v1/batches", json={"ref": ref, "sku": sku, "qty": 1, **eta})
    assert answer.status_code == 201
    assert answer.json()["eta"] is None


async def test_reading_a_batch_shows_what_is_allocated_of_it(api: Api) -> None:
    sku = new("sku")
    ref = await api.record(sku, 20, eta="2011-01-02")
    await api.order(sku, 3)
    answer = await api.client.get(f"/v1/batches/{ref}")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == {
        "ref": ref,
        "sku": sku,
        "qty": 20,
        "eta": "2011-01-02",
        "allocated_qty": 3,
        "shipped_qty": 0,
        "held_qty": 0,
        "available_qty": 17,
    }


async def test_an_unknown_batch_is_not_found(api: Api) -> None:
    ref = new("batch")
    assert_problem(await api.client.get(f"/v1/batches/{ref}"), 404, "batch-not-found")


async def test_case_counts_in_a_ref(api: Api) -> None:
    sku = new("sku")
    ref = await api.record(sku, 1, ref=new("batch"))
    assert_problem(await api.client.get(f"/v1/batches/{ref.upper()}"), 404, "batch-not-found")
    await api.record(sku, 2, ref=ref.upper())
    assert (await api.batch(ref))["qty"] == 1


async def test_recording_the_same_batch_again_is_answered_with_200_and_changes_nothing(api: Api) -> None:
    body = body_of(new("batch"), new("sku"))
    first = await api.client.post("/v1/batches", json=body)
    again = await api.client.post("/v1/batches", json=body)
    assert (again.status_code, again.json()) == (200, first.json())
    assert [batch["ref"] for batch in (await api.product(body["sku"]))["batches"]] == [body["ref"]]


async def test_the_content_first_recorded_is_the_same_whatever_has_changed_since(api: Api) -> None:
    body = body_of(new("batch"), new("sku"))
    await api.client.post("/v1/batches", json=body)
    await api.order(body["sku"], 5)
    await api.change(body["ref"], qty=50, eta=None)
    again = await api.client.post("/v1/batches", json=body)
    assert again.status_code == 200
    now = {
        "ref": body["ref"],
        "sku": body["sku"],
        "qty": 50,
        "eta": None,
        "allocated_qty": 5,
        "shipped_qty": 0,
        "held_qty": 0,
        "available_qty": 45,
    }
    assert again.json() == now
    assert await api.batch(body["ref"]) == now


async def test_the_content_as_it_is_now_is_other_content_than_the_first(api: Api) -> None:
    body = body_of(new("batch"), new("sku"))
    await api.client.post("/v1/batches", json=body)
    await api.change(body["ref"], qty=50)
    assert_problem(await api.client.post("/v1/batches", json=body | {"qty": 50}), 409, "batch-conflict")


@pytest.mark.parametrize("change", [{"qty": 99}, {"eta": "2011-01-03"}, {"eta": None}], ids=str)
async def test_the_same_ref_with_other_content_is_a_conflict(api: Api, change: Json) -> None:
    body = body_of(new("batch"), new("sku"))
    await api.client.post("/v1/batches", json=body)
    before = await api.batch(body["ref"])
    assert_problem(await api.client.post("/v1/batches", json=body | change), 409, "batch-conflict")
    assert await api.batch(body["ref"]) == before


@pytest.mark.parametrize("known", [True, False], ids=["of a known SKU", "of an unknown SKU"])
async def test_a_ref_belongs_to_one_sku_permanently(api: Api, known: bool) -> None:
    body, other = body_of(new("batch"), new("sku")), new("sku")
    await api.client.post("/v1/batches", json=body)
    if known:
        await api.record(other, 1)
    assert_problem(await api.client.post("/v1/batches", json=body | {"sku": other}), 409, "batch-conflict")
    if not known:
        # The refusal has not created the product.
        assert_problem(await api.client.get(f"/v1/products/{other}"), 404, "product-not-found")


async def test_a_first_eta_of_null_and_one_left_out_are_the_same(api: Api) -> None:
    body = {"ref": new("batch"), "sku": new("sku"), "qty": 7}
    assert (await api.client.post("/v1/batches", json=body)).status_code == 201
    assert (await api.client.post("/v1/batches", json=body | {"eta": None})).status_code == 200


async def test_recording_the_same_batch_again_serves_no_line_twice(api: Api) -> None:
    sku, ref = new("sku"), new("batch")
    await api.record(sku, 1)
    order = await api.order(sku, 5)
    await api.record(sku, 5, ref=ref)
    assert await api.batch_of(order) == ref
    assert (await api.client.post("/v1/batches", json={"ref": ref, "sku": sku, "qty": 5})).status_code == 200
    assert (await api.product(sku))["allocated_qty"] == 5
