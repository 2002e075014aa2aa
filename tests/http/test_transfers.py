"""Transfers of pieces to other locations, and counts of one location, over HTTP."""

from typing import Any

from tests.http.test_choice_of_batches import batch, day, place, read
from tests.support.api import Api, assert_problem, new


async def transfer(api: Api, source: str, **body: Any) -> dict[str, Any]:
    answer = await api.client.post(f"/v1/batches/{source}/transfer", json=body)
    assert answer.status_code in {200, 201}, answer.text
    return dict(answer.json())


async def test_a_transfer_takes_free_pieces_first_and_can_be_repeated(api: Api) -> None:
    sku = new("sku")
    await batch(api, f"a-{sku}", sku, 10, best_before=day(30))
    line = await place(api, sku, 4)
    body = {"ref": f"b-{sku}", "qty": 6, "location": "berlin"}
    first = await transfer(api, f"a-{sku}", **body)
    assert (first["source"]["qty"], first["source"]["allocated_qty"], first["batch"]["available_qty"]) == (4, 4, 6)
    assert (first["batch"]["location"], first["batch"]["best_before"], first["moved"]) == ("berlin", day(30), [])
    assert await transfer(api, f"a-{sku}", **body) == first
    other = await api.client.post(f"/v1/batches/a-{sku}/transfer", json={**body, "qty": 5})
    assert_problem(other, 409, "batch-conflict")
    too_many = await api.client.post(f"/v1/batches/a-{sku}/transfer", json={**body, "ref": f"c-{sku}", "qty": 5})
    assert_problem(too_many, 409, "below-shipped")
    (now,) = (await api.client.get(f"/v1/allocations/{line['order_id']}")).json()
    assert now["batch_ref"] == f"a-{sku}"


async def test_lines_go_along_with_a_transfer_unless_another_batch_serves_them_earlier(api: Api) -> None:
    sku = new("sku")
    await batch(api, f"a-{sku}", sku, 10)
    stays, goes = await place(api, sku, 5), await place(api, sku, 5)
    await batch(api, f"here-{sku}", sku, 9)
    done = await transfer(api, f"a-{sku}", ref=f"b-{sku}", qty=5, location="berlin")
    # The other batch was recorded first, but serves the line no earlier.
    assert [(each["order_id"], each["to_batch_ref"]) for each in done["moved"]] == [(goes["order_id"], f"b-{sku}")]
    later = await transfer(api, f"a-{sku}", ref=f"c-{sku}", qty=5, location="berlin", eta=day(2))
    assert [(each["order_id"], each["to_batch_ref"]) for each in later["moved"]] == [(stays["order_id"], f"here-{sku}")]


async def test_a_line_does_not_go_along_to_a_location_that_may_not_serve_it(api: Api) -> None:
    sku = new("sku")
    await batch(api, f"a-{sku}", sku, 5)
    line = await place(api, sku, 5, **{"from": ["main"]})
    done = await transfer(api, f"a-{sku}", ref=f"b-{sku}", qty=5, location="berlin")
    assert [(each["order_id"], each["to_batch_ref"]) for each in done["moved"]] == [(line["order_id"], None)]


async def test_a_transfer_serves_lines_that_wait_for_the_location(api: Api) -> None:
    sku = new("sku")
    await batch(api, f"a-{sku}", sku, 5)
    line = await place(api, sku, 3, **{"from": ["berlin"]})
    assert line["status"] == "backordered"
    await transfer(api, f"a-{sku}", ref=f"b-{sku}", qty=4, location="berlin", eta=day(1))
    (now,) = (await api.client.get(f"/v1/allocations/{line['order_id']}")).json()
    assert now["batch_ref"] == f"b-{sku}"


async def test_the_pieces_of_a_blocked_batch_stay_blocked_when_they_are_transferred(api: Api) -> None:
    sku = new("sku")
    await batch(api, f"a-{sku}", sku, 5, blocked=True)
    done = await transfer(api, f"a-{sku}", ref=f"b-{sku}", qty=5, location="quarantine")
    assert (done["batch"]["blocked"], done["batch"]["available_qty"]) == (True, 0)


async def test_a_product_is_counted_by_location(api: Api) -> None:
    sku = new("sku")
    await batch(api, f"a-{sku}", sku, 5, location="berlin")
    path = f"/v1/products/{sku}/on-hand"
    assert (await api.client.put(path, json={"on_hand_qty": 6})).json()["on_hand_qty"] == 6
    await batch(api, f"b-{sku}", sku, 9, location="paris")
    refused = await api.client.put(path, json={"on_hand_qty": 6})
    assert assert_problem(refused, 422, "location-required")["locations"] == ["berlin", "paris"]
    counted = await api.client.put(path, json={"on_hand_qty": 4, "location": "berlin", "expected_on_hand_qty": 6})
    assert counted.json()["on_hand_qty"] == 4
    found = await api.client.put(path, json={"on_hand_qty": 3, "location": "rome"})
    assert found.status_code == 200
    product = await read(api, f"/v1/products/{sku}")
    assert {each["location"]: each["qty"] for each in product["batches"]} == {"berlin": 4, "paris": 9, "rome": 3}
