"""Request bodies: identifiers, quantities and dates. Unknown fields are refused."""

import json
from datetime import date

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.support.api import Api, Json, assert_invalid, assert_problem, new

LONGEST = 255
MOST = 2_147_483_647

GOOD_IDENTIFIERS = ["a", "Z", "0", "9.9", "a_b", "a:b", "a-b", "A.b_C:d-9", "a.", "a" * LONGEST]
BAD_IDENTIFIERS: list[object] = [
    "",
    "a" * (LONGEST + 1),
    ".a",
    "_a",
    ":a",
    "-a",
    " a",
    "a ",
    "a b",
    "a/b",
    "a\n",
    "a\x00",
    "ä",
    "aä",
    "٣",
    "a+b",
    "a%b",
    "a,b",
    "a@b",
    None,
    1,
    1.5,
    True,
    [],
    ["a"],
    {},
]
BAD_QUANTITIES: list[str] = [
    '"3"',
    "3.0",
    "3.5",
    "1e2",
    "true",
    "false",
    "null",
    "-1",
    "2147483648",
    "9223372036854775808",
    "[]",
    "[3]",
    "{}",
    '""',
]
BAD_ETAS: list[object] = [
    "2011-01-02T00:00:00",
    "2011-01-02T00:00:00Z",
    "2011-01-02 ",
    "2011-1-2",
    "20110102",
    "2011-W01-1",
    "2011-02-30",
    "2011-13-01",
    "2011-00-10",
    "0000-01-01",
    "02.01.2011",
    "11-01-02",
    "+2011-01-02",
    "",
    "now",
    "infinity",
    0,
    1293926400,
    1.5,
    True,
    [],
    {},
]


def batch(**changes: object) -> Json:
    return {"ref": new("batch"), "sku": new("sku"), "qty": 1, **changes}


def line(**changes: object) -> Json:
    return {"order_id": new("order"), "sku": new("sku"), "qty": 1, **changes}


def with_raw_qty(body: Json, qty: str) -> str:
    """The body as JSON, its quantity written exactly so."""
    return json.dumps(body | {"qty": "QTY"}).replace('"QTY"', qty)


@pytest.mark.parametrize("identifier", GOOD_IDENTIFIERS)
async def test_identifiers_of_every_form_go_in_and_come_out(api: Api, identifier: str) -> None:
    # Good in each place, and unique where it has to be.
    ref, order = f"{identifier}{new('')}"[-LONGEST:].lstrip("-"), new("order")
    assert (await api.client.post("/v1/batches", json=batch(ref=ref, sku=identifier))).status_code == 201
    assert (await api.client.get(f"/v1/batches/{ref}")).json()["sku"] == identifier
    answer = await api.client.post("/v1/allocations", json=line(order_id=order, sku=identifier))
    assert (answer.status_code, answer.json()["sku"]) == (201, identifier)
    await api.client.delete(f"/v1/allocations/{identifier}/{identifier}")
    await api.order(identifier, 1, order_id=identifier)
    assert [shown["order_id"] for shown in await api.lines(identifier) if shown["sku"] == identifier] == [identifier]
    assert (await api.product(identifier))["sku"] == identifier
    assert (await api.client.delete(f"/v1/allocations/{order}/{identifier}")).status_code == 204


@pytest.mark.parametrize("identifier", BAD_IDENTIFIERS, ids=repr)
async def test_identifiers_of_other_forms_are_refused_in_each_field(api: Api, identifier: object) -> None:
    for field in ("ref", "sku"):
        answer = await api.client.post("/v1/batches", json=batch(**{field: identifier}))
        assert_invalid(answer, ["body", field])
    for field in ("order_id", "sku"):
        answer = await api.client.post("/v1/allocations", json=line(**{field: identifier}))
        assert_invalid(answer, ["body", field])


@pytest.mark.parametrize("identifier", ["a" * 256, ".a", "-a", "a%20b", "%C3%A4", "a%00", "a+b", "a@b"])
async def test_identifiers_of_other_forms_are_refused_in_a_path(api: Api, identifier: str) -> None:
    good = new("x")
    assert_invalid(await api.client.get(f"/v1/batches/{identifier}"), ["path", "ref"])
    assert_invalid(await api.client.patch(f"/v1/batches/{identifier}", json={"qty": 1}), ["path", "ref"])
    assert_invalid(await api.client.get(f"/v1/products/{identifier}"), ["path", "sku"])
    assert_invalid(await api.client.get(f"/v1/allocations/{identifier}"), ["path", "order_id"])
    assert_invalid(await api.client.delete(f"/v1/allocations/{identifier}/{good}"), ["path", "order_id"])
    assert_invalid(await api.client.delete(f"/v1/allocations/{good}/{identifier}"), ["path", "sku"])
    both = await api.client.delete(f"/v1/allocations/{identifier}/{identifier}")
    assert_invalid(both, ["path", "order_id"], ["path", "sku"])


@pytest.mark.parametrize("qty", [1, MOST])
async def test_quantities_within_bounds_are_taken(api: Api, qty: int) -> None:
    body = batch(qty=qty)
    answer = await api.client.post("/v1/batches", json=body)
    assert (answer.status_code, answer.json()["available_qty"]) == (201, qty)
    assert (await api.allocate(body["sku"], qty)).status_code == 201
    assert (await api.change(body["ref"], qty=MOST))["available_qty"] == MOST - qty


@pytest.mark.parametrize("qty", [*BAD_QUANTITIES, "0", "-0"])
async def test_other_quantities_of_a_batch_or_line_are_refused(api: Api, qty: str) -> None:
    headers = {"content-type": "application/json"}
    for path, body in (("/v1/batches", batch()), ("/v1/allocations", line())):
        answer = await api.client.post(path, content=with_raw_qty(body, qty), headers=headers)
        assert_invalid(answer, ["body", "qty"])


@pytest.mark.parametrize("qty", BAD_QUANTITIES)
async def test_other_new_quantities_are_refused(api: Api, qty: str) -> None:
    ref = await api.record(new("sku"), 5)
    headers = {"content-type": "application/json"}
    answer = await api.client.patch(f"/v1/batches/{ref}", content=with_raw_qty({}, qty), headers=headers)
    assert_invalid(answer, ["body", "qty"])
    assert (await api.batch(ref))["qty"] == 5


@pytest.mark.parametrize("eta", ["2011-01-02", "0001-01-01", "9999-12-31", "2012-02-29"])
async def test_a_day_of_the_calendar_goes_in_and_comes_out(api: Api, eta: str) -> None:
    body = batch(eta=eta)
    assert (await api.client.post("/v1/batches", json=body)).json()["eta"] == eta
    assert (await api.client.post("/v1/batches", json=body)).status_code == 200
    other = await api.record(new("sku"), 5)
    assert (await api.change(other, eta=eta))["eta"] == eta
    assert (await api.batch(other))["eta"] == eta


@pytest.mark.parametrize("eta", ["0001-01-01", "9999-12-31", "2012-02-29"])
async def test_the_tables_show_a_day_as_it_came_in(api: Api, engine: AsyncEngine, eta: str) -> None:
    recorded, changed, sku = new("batch"), await api.record(new("sku"), 5), new("sku")
    await api.record(sku, 5, ref=recorded, eta=eta)
    await api.change(changed, eta=eta)
    by = await api.client.get(f"/v1/products/{sku}/availability", params={"qty": 1, "by": eta})
    listed = await api.client.get("/v1/batches", params={"sku": sku, "arriving_by": eta})

    async with engine.connect() as connection:
        statement = text("SELECT eta::text, first_eta::text FROM batches WHERE ref = :ref")
        rows = [(await connection.execute(statement, {"ref": ref})).one() for ref in (recorded, changed)]
        parameter = await connection.scalar(text("SELECT CAST(:day AS date)::text"), {"day": date.fromisoformat(eta)})
    assert [tuple(row) for row in rows] == [(eta, eta), (eta, None)]
    assert parameter == eta
    assert by.json()["available"] is True
    assert [batch["eta"] for batch in listed.json()["items"]] == [eta]


@pytest.mark.parametrize(("stored", "eta"), [("infinity", "9999-12-31"), ("-infinity", "0001-01-01")])
async def test_a_day_that_an_earlier_release_stored_as_infinity_is_read(
    api: Api, engine: AsyncEngine, stored: str, eta: str
) -> None:
    sku, ref = new("sku"), new("batch")
    await api.record(sku, 5, ref=ref, eta=eta)
    async with engine.begin() as connection:
        statement = f"UPDATE batches SET eta = '{stored}', first_eta = '{stored}' WHERE ref = :ref"
        await connection.execute(text(statement), {"ref": ref})

    assert (await api.batch(ref))["eta"] == eta
    again = await api.client.post("/v1/batches", json={"ref": ref, "sku": sku, "qty": 5, "eta": eta})
    assert (again.status_code, again.json()["eta"]) == (200, eta)
    assert (await api.change(ref, qty=4))["eta"] == eta


@pytest.mark.parametrize("eta", BAD_ETAS, ids=repr)
async def test_etas_of_other_forms_are_refused(api: Api, eta: object) -> None:
    assert_invalid(await api.client.post("/v1/batches", json=batch(eta=eta)), ["body", "eta"])
    ref = await api.record(new("sku"), 5)
    assert_invalid(await api.client.patch(f"/v1/batches/{ref}", json={"eta": eta}), ["body", "eta"])


@pytest.mark.parametrize("value", [None, "", "Reject", "REJECT", "wait", 1, True, [], {}], ids=repr)
async def test_if_unavailable_has_two_values(api: Api, value: object) -> None:
    answer = await api.client.post("/v1/allocations", json=line(if_unavailable=value))
    assert_invalid(answer, ["body", "if_unavailable"])


@pytest.mark.parametrize("field", ["urgency", "Qty", "available_qty", "batch_ref", "", "orderId"])
async def test_unknown_fields_are_refused(api: Api, field: str) -> None:
    for path, body in (("/v1/batches", batch()), ("/v1/allocations", line())):
        assert_invalid(await api.client.post(path, json=body | {field: 1}), ["body", field])


async def test_a_refused_batch_leaves_nothing(api: Api) -> None:
    body = batch(urgency=1)
    await api.client.post("/v1/batches", json=body)
    assert_problem(await api.client.get(f"/v1/batches/{body['ref']}"), 404, "batch-not-found")


async def test_each_thing_that_is_wrong_is_named(api: Api) -> None:
    answer = await api.client.post("/v1/batches", json={"sku": " ", "qty": "3", "eta": 5, "more": None})
    problem = assert_invalid(
        answer, ["body", "ref"], ["body", "sku"], ["body", "qty"], ["body", "eta"], ["body", "more"]
    )
    assert next(fault for fault in problem["errors"] if fault["loc"] == ["body", "ref"])["type"] == "missing"


async def test_fields_that_are_missing_are_named(api: Api) -> None:
    assert_invalid(await api.client.post("/v1/batches", json={}), ["body", "ref"], ["body", "sku"], ["body", "qty"])
    places: list[list[str | int]] = [["body", "order_id"], ["body", "sku"], ["body", "qty"]]
    assert_invalid(await api.client.post("/v1/allocations", json={}), *places)


@pytest.mark.parametrize("body", ["[]", "null", "1", '"text"', "true", '[{"ref": "a"}]'])
async def test_json_that_is_not_an_object_is_refused(api: Api, body: str) -> None:
    ref = await api.record(new("sku"), 5)
    headers = {"content-type": "application/json"}
    for method, path in (("POST", "/v1/batches"), ("POST", "/v1/allocations"), ("PATCH", f"/v1/batches/{ref}")):
        assert_invalid(await api.client.request(method, path, content=body, headers=headers), ["body"])


async def test_a_refusal_does_not_repeat_what_was_sent(api: Api) -> None:
    secret = f"{new('secret')} "
    answer = await api.client.post("/v1/batches", json=batch(ref=secret, eta=secret))
    assert answer.status_code == 422
    assert secret.strip() not in answer.text
