"""Many lines or batches in one request: one result for each in order; no item fails because of another."""

from collections import Counter

import httpx
import pytest

from app.bootstrap import bootstrap
from app.settings import Settings
from tests.support.api import Api, Json, assert_invalid, assert_problem, in_process, new
from tests.support.cells import in_one_cell
from tests.support.database import raw_connection

ALLOCATIONS, BATCHES = "/v1/allocations/bulk", "/v1/batches/bulk"
MOST = 1000


def line(sku: str, qty: int, **more: object) -> Json:
    return {"order_id": new("order"), "sku": sku, "qty": qty, **more}


def batch(sku: str, qty: int, **more: object) -> Json:
    return {"ref": new("batch"), "sku": sku, "qty": qty, **more}


async def results(api: Api, path: str, items: list[Json]) -> list[Json]:
    """Send the request. Returns the results, one for each item."""
    answer = await api.client.post(path, json={"items": items})
    assert answer.status_code == 200, answer.text
    found: list[Json] = answer.json()["results"]
    assert len(found) == len(items)
    return found


def statuses(found: list[Json]) -> list[int]:
    return [result["status"] for result in found]


async def events(settings: Settings, sku: str) -> list[tuple[str, str]]:
    """The types and data of what was published about the SKU, in order."""
    async with raw_connection(settings.database_url.get_secret_value()) as connection:
        query = "SELECT type, data FROM events WHERE subject = $1 ORDER BY sequence NULLS LAST, id"
        return [tuple(row) for row in await connection.fetch(query, sku)]


async def test_each_line_has_the_result_that_the_single_call_would_have_had(api: Api) -> None:
    sku, other = new("sku"), new("sku")
    await api.record(sku, 10)
    known, conflicting = line(sku, 1), line(sku, 1)
    for body in (known, conflicting):
        await api.client.post("/v1/allocations", json=body)
    items = [
        line(sku, 3),
        line(other, 1),
        line(sku, 20),
        line(sku, 20, if_unavailable="reject"),
        known,
        conflicting | {"qty": 2},
        line(sku, 5),
    ]

    found = await results(api, ALLOCATIONS, items)

    assert statuses(found) == [201, 400, 202, 409, 200, 409, 201]
    for item, result in zip(items, found, strict=True):
        if "allocation" in result:
            assert set(result) == {"status", "allocation"}
            assert result["allocation"] == (await api.lines(item["order_id"]))[0]
        else:
            assert set(result) == {"status", "problem"}
    codes = [result["problem"]["code"] for result in found if "problem" in result]
    assert codes == ["invalid-sku", "out-of-stock", "allocation-conflict"]


async def test_a_problem_in_a_result_is_that_of_the_single_call(api: Api) -> None:
    item = line(new("sku"), 1)

    (result,) = await results(api, ALLOCATIONS, [item])

    single = await api.client.post("/v1/allocations", json=item)
    assert result == {"status": 400, "problem": single.json() | {"instance": ALLOCATIONS}}


async def test_each_batch_has_the_result_that_the_single_call_would_have_had(api: Api) -> None:
    sku = new("sku")
    first, known = batch(sku, 5, eta="2030-01-01"), batch(sku, 7)
    await api.client.post("/v1/batches", json=known)
    conflicting = batch(new("sku"), 1) | {"ref": known["ref"]}

    found = await results(api, BATCHES, [first, conflicting, known, batch(sku, 1, eta=None)])

    assert statuses(found) == [201, 409, 200, 201]
    assert found[0] == {"status": 201, "batch": await api.batch(first["ref"])}
    assert found[1]["problem"]["code"] == "batch-conflict"
    assert (await api.product(sku))["available_qty"] == 13


@pytest.mark.parametrize(
    ("wrong", "where"),
    [
        ({"qty": "3"}, ["item", "qty"]),
        ({"qty": 0}, ["item", "qty"]),
        ({"sku": ""}, ["item", "sku"]),
        ({"colour": "red"}, ["item", "colour"]),
        ({"if_unavailable": None}, ["item", "if_unavailable"]),
        (None, ["item"]),
        (5, ["item"]),
    ],
    ids=str,
)
async def test_an_invalid_item_is_refused_alone(api: Api, wrong: object, where: list[str]) -> None:
    sku = new("sku")
    await api.record(sku, 10)
    item: object = line(sku, 1) | wrong if isinstance(wrong, dict) else wrong

    answer = await api.client.post(ALLOCATIONS, json={"items": [line(sku, 4), item, line(sku, 6)]})

    first, refused, last = answer.json()["results"]
    assert (first["status"], refused["status"], last["status"]) == (201, 422, 201)
    assert refused["problem"]["code"] == "invalid-request"
    assert [fault["loc"] for fault in refused["problem"]["errors"]] == [where]
    assert (await api.product(sku))["allocated_qty"] == 10


async def test_items_that_are_all_invalid_are_all_refused(api: Api) -> None:
    assert statuses(await results(api, BATCHES, [{}, {"ref": 1}])) == [422, 422]


async def test_the_same_item_twice_in_one_request_takes_effect_once(api: Api) -> None:
    sku = new("sku")
    stock, wanted = batch(sku, 10), line(sku, 2)

    assert statuses(await results(api, BATCHES, [stock, stock])) == [201, 200]
    assert statuses(await results(api, ALLOCATIONS, [wanted, wanted, wanted | {"qty": 3}])) == [201, 200, 409]
    assert (await api.batch(stock["ref"]))["allocated_qty"] == 2


async def test_the_same_request_again_changes_nothing(api: Api, shared_settings: Settings) -> None:
    sku = new("sku")
    await api.record(sku, 3)
    items = [line(sku, 2), line(sku, 2)]
    first = await results(api, ALLOCATIONS, items)
    before = await events(shared_settings, sku)

    again = await results(api, ALLOCATIONS, items)

    assert (statuses(first), statuses(again)) == ([201, 202], [200, 200])
    assert [result["allocation"] for result in again] == [result["allocation"] for result in first]
    assert await events(shared_settings, sku) == before


async def test_one_ref_for_two_skus_in_one_request_goes_to_the_first(api: Api) -> None:
    ref, first, second = new("batch"), new("sku"), new("sku")

    found = await results(api, BATCHES, [batch(first, 1) | {"ref": ref}, batch(second, 1) | {"ref": ref}])

    assert statuses(found) == [201, 409]
    assert (await api.batch(ref))["sku"] == first
    assert_problem(await api.client.get(f"/v1/products/{second}"), 404, "product-not-found")


async def test_a_thousand_lines_of_one_sku_are_never_oversold(api: Api) -> None:
    sku = new("sku")
    refs = [await api.record(sku, 300), await api.record(sku, 200, eta="2030-01-01")]

    found = await results(api, ALLOCATIONS, [line(sku, 1, if_unavailable="reject") for _ in range(MOST)])

    assert statuses(found) == [201] * 500 + [409] * 500
    assert [result["allocation"]["batch_ref"] for result in found[:500]] == [refs[0]] * 300 + [refs[1]] * 200
    product = await api.product(sku)
    assert (product["allocated_qty"], product["available_qty"], product["backordered_qty"]) == (500, 0, 0)


async def test_batches_serve_the_lines_that_wait(api: Api) -> None:
    sku = new("sku")
    await api.record(sku, 1)
    orders = [await api.order(sku, 4), await api.order(sku, 6)]
    items = [batch(sku, 4), batch(sku, 6)]

    await results(api, BATCHES, items)

    assert [await api.batch_of(order) for order in orders] == [item["ref"] for item in items]


async def test_refusals_publish_what_single_calls_publish(api: Api, shared_settings: Settings) -> None:
    stories = []
    for path in ("/v1/allocations", ALLOCATIONS):
        sku, unknown = new("sku"), new("sku")
        await api.record(sku, 5, ref=f"{sku}-b")
        items = [
            {"order_id": "a", "sku": sku, "qty": 4},
            {"order_id": "a", "sku": sku, "qty": 5},
            {"order_id": "b", "sku": sku, "qty": 4, "if_unavailable": "reject"},
            {"order_id": "c", "sku": sku, "qty": 4},
            {"order_id": "d", "sku": unknown, "qty": 4},
        ]
        if path == ALLOCATIONS:
            await results(api, path, items)
        else:
            for item in items:
                await api.client.post(path, json=item)
        story = [*await events(shared_settings, sku), *await events(shared_settings, unknown)]
        stories.append([(kind, data.replace(sku, "CHAIR").replace(unknown, "TABLE")) for kind, data in story])

    assert stories[0] == stories[1]
    assert Counter(kind for kind, _ in stories[0])["allocation_failed.v1"] == 3


@pytest.mark.parametrize("path", [ALLOCATIONS, BATCHES])
async def test_a_request_has_from_1_to_1000_items(api: Api, path: str) -> None:
    sku = new("sku")
    make = batch if path == BATCHES else line
    items = [make(sku, 1) for _ in range(MOST + 1)]

    assert_invalid(await api.client.post(path, json={"items": []}), ["body", "items"])
    assert_invalid(await api.client.post(path, json={}), ["body", "items"])
    assert_invalid(await api.client.post(path, json={"items": items}), ["body", "items"])
    assert_invalid(await api.client.post(path, json={"items": items[:1], "more": 1}), ["body", "more"])
    assert_invalid(await api.client.post(path, json=items), ["body"])
    assert len(await results(api, path, items[:1])) == 1
    assert len(await results(api, path, items[:MOST])) == MOST


async def test_a_body_that_is_not_json_is_malformed(api: Api) -> None:
    answer = await api.client.post(BATCHES, content="{", headers={"content-type": "application/json"})
    assert_problem(answer, 400, "malformed-body")


async def test_a_thousand_items_with_the_longest_names_fit_and_a_larger_body_is_refused(api: Api) -> None:
    items = [line("s" * 255, 2_147_483_647, if_unavailable="backorder") for _ in range(MOST)]
    for number, item in enumerate(items):
        item["order_id"] = f"{number:0255}"
    assert set(statuses(await results(api, ALLOCATIONS, items))) == {400}

    padded = httpx.Request("POST", "http://service", json={"items": items}).content + b" " * 1_048_576
    answer = await api.client.post(ALLOCATIONS, content=padded, headers={"content-type": "application/json"})
    assert_problem(answer, 413, "payload-too-large", "a body may have at most 1048576 bytes")


async def test_bulk_and_single_calls_have_separate_body_limits(shared_settings: Settings) -> None:
    settings = shared_settings.model_copy(update={"http_max_body_bytes": 1024, "http_max_bulk_body_bytes": 2048})
    async with bootstrap(settings) as service, in_process(service) as api:
        for size, status in ((1000, 422), (2000, 422), (3000, 413)):
            answer = await api.client.post(BATCHES, json={"more": "x" * size})
            assert answer.status_code == status
        assert_problem(await api.client.post("/v1/batches", json={"more": "x" * 2000}), 413, "payload-too-large")


async def test_all_items_of_a_cell_that_take_effect_share_one_transaction(api: Api, shared_settings: Settings) -> None:
    skus = in_one_cell(new("sku"), 20)
    refs = in_one_cell(new("batch"), 20, cell_of=skus[0])

    await results(api, BATCHES, [batch(sku, 1, ref=ref) for sku, ref in zip(skus, refs, strict=True)])

    async with raw_connection(shared_settings.database_url.get_secret_value(), cell_of=skus[0]) as connection:
        query = "SELECT count(DISTINCT xmin::text) FROM batches WHERE sku = ANY($1)"
        assert await connection.fetchval(query, skus) == 1


async def test_of_many_faults_the_first_are_listed_with_the_number_of_others(api: Api) -> None:
    item = {f"field-{number}": 0 for number in range(5000)}

    answer = await api.client.post("/v1/allocations/bulk", json={"items": [item]})

    (result,) = answer.json()["results"]
    assert result["status"] == 422
    assert len(result["problem"]["errors"]) == 51
    assert result["problem"]["errors"][-1]["msg"] == "And 4953 more faults"
