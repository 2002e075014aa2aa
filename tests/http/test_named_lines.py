"""Lines of one order and SKU, each with a `line` that is part of its identity."""

from typing import Any

from tests.support.api import Api, Json, assert_invalid, assert_problem, new


async def placed(api: Api, order: str, sku: str, qty: int, line: str | None = None, **more: Any) -> Json:
    """The answer to a line that was accepted."""
    name = {} if line is None else {"line": line}
    answer = await api.client.post("/v1/allocations", json={"order_id": order, "sku": sku, "qty": qty, **name, **more})
    assert answer.status_code in {200, 201, 202}, answer.text
    return {"status_code": answer.status_code, **answer.json()}


async def shop(api: Api, *quantities: int) -> tuple[str, list[str]]:
    """A SKU and its batches of these quantities, in the warehouse."""
    sku = new("sku")
    return sku, [await api.record(sku, qty) for qty in quantities]


async def names(api: Api, order: str) -> dict[str, tuple[int, str | None]]:
    """The quantity and the batch of each line of the order, by its name."""
    answer = await api.client.get(f"/v1/allocations/{order}")
    return {line.get("line", ""): (line["qty"], line["batch_ref"]) for line in answer.json()}


async def test_the_dry_run_of_a_line_that_no_batch_can_hold_proposes_pieces_that_are_allocated(api: Api) -> None:
    sku, refs = await shop(api, 50, 50)
    order = new("order")
    whole = {"order_id": order, "sku": sku, "qty": 60}
    preview = (await api.client.post("/v1/allocations?dry_run=true", json=whole)).json()
    assert preview["pieces"] == [
        {"qty": 50, "batch_ref": refs[0], "eta": None},
        {"qty": 10, "batch_ref": refs[1], "eta": None},
    ]
    lines = [{"sku": sku, "line": str(number), "qty": piece["qty"]} for number, piece in enumerate(preview["pieces"])]
    answer = await api.client.post("/v1/orders", json={"order_id": order, "lines": lines, "if_unavailable": "reject"})
    assert [line["batch_ref"] for line in answer.json()["lines"]] == refs


async def test_no_pieces_are_proposed_where_one_batch_holds_the_line_or_all_together_cannot(api: Api) -> None:
    sku, _ = await shop(api, 50, 50)
    for qty in (50, 101):
        body = {"order_id": new("order"), "sku": sku, "qty": qty}
        assert "pieces" not in (await api.client.post("/v1/allocations?dry_run=true", json=body)).json()


async def test_the_dry_run_of_an_order_proposes_pieces_of_what_its_other_lines_leave(api: Api) -> None:
    sku, refs = await shop(api, 50, 50)
    lines = [{"sku": sku, "line": "a", "qty": 40}, {"sku": sku, "line": "b", "qty": 55}]
    preview = (await api.client.post("/v1/orders?dry_run=true", json={"lines": lines})).json()
    assert "pieces" not in preview["lines"][0]
    assert [(each["qty"], each["batch_ref"]) for each in preview["lines"][1]["pieces"]] == [
        (10, refs[0]),
        (45, refs[1]),
    ]


async def test_lines_with_other_names_are_other_lines(api: Api) -> None:
    sku, refs = await shop(api, 50, 50)
    order = new("order")
    assert (await placed(api, order, sku, 50, "a"))["line"] == "a"
    assert (await placed(api, order, sku, 10, "b"))["batch_ref"] == refs[1]
    unnamed = await placed(api, order, sku, 5)
    assert "line" not in unnamed
    again = await placed(api, order, sku, 10, "b")
    assert (again["status_code"], again["line"]) == (200, "b")
    # The documented default may be sent.
    assert (await placed(api, order, sku, 5, ""))["status_code"] == 200
    other = await api.client.post("/v1/allocations", json={"order_id": order, "sku": sku, "qty": 11, "line": "b"})
    assert_problem(other, 409, "allocation-conflict")
    assert "in line b" in other.json()["detail"]
    assert await names(api, order) == {"": (5, refs[1]), "a": (50, refs[0]), "b": (10, refs[1])}


async def test_without_a_name_no_named_line_is_cancelled_changed_or_shipped(api: Api) -> None:
    sku, (ref,) = await shop(api, 50)
    order = new("order")
    await placed(api, order, sku, 5, "a")
    path = f"/v1/allocations/{order}/{sku}"
    assert_problem(await api.client.delete(path), 404, "allocation-not-found")
    assert_problem(await api.client.patch(path, json={"qty": 6}), 404, "allocation-not-found")
    assert_problem(await api.client.post(f"{path}/ship"), 404, "allocation-not-found")
    assert_problem(await api.client.delete(f"{path}?line=b"), 404, "allocation-not-found")
    assert await names(api, order) == {"a": (5, ref)}
    await placed(api, order, sku, 7)
    assert (await api.client.patch(f"{path}?line=a", json={"qty": 6})).json()["qty"] == 6
    shipped = (await api.client.post(f"{path}/ship?line=a")).json()
    assert (shipped["status"], shipped["line"]) == ("shipped", "a")
    assert (await api.client.delete(path)).status_code == 204
    assert await names(api, order) == {"a": (6, ref)}
    refused = await api.client.delete(f"{path}?line=a")
    assert_problem(refused, 409, "already-shipped")
    assert f"The line a of sku {sku}" in refused.json()["detail"]


async def test_the_name_in_a_query_has_the_form_of_an_identifier(api: Api) -> None:
    assert_invalid(await api.client.delete("/v1/allocations/order/sku?line=a%2Fb"), ["query", "line"])
    body = {"order_id": "order", "sku": "sku", "qty": 1, "line": "a/b"}
    assert_invalid(await api.client.post("/v1/allocations", json=body), ["body", "line"])


async def test_sku_and_name_occur_once_in_an_order(api: Api) -> None:
    sku, _ = await shop(api, 50)
    twice = [{"sku": sku, "line": "a", "qty": 1}, {"sku": sku, "line": "a", "qty": 2}]
    assert_invalid(await api.client.post("/v1/orders", json={"lines": twice}), ["body", "lines"])
    unnamed = [{"sku": sku, "qty": 1}, {"sku": sku, "line": "", "qty": 2}]
    assert_invalid(await api.client.post("/v1/orders", json={"lines": unnamed}), ["body", "lines"])
    once = [{"sku": sku, "qty": 1}, {"sku": sku, "line": "a", "qty": 2}]
    assert (await api.client.post("/v1/orders", json={"lines": once})).status_code == 201


async def test_an_order_of_pieces_is_recognised_when_it_is_repeated(api: Api) -> None:
    sku, _ = await shop(api, 50)
    order = new("order")
    body = {"order_id": order, "lines": [{"sku": sku, "line": name, "qty": 5} for name in ("b", "a")]}
    assert (await api.client.post("/v1/orders", json=body)).status_code == 201
    again = await api.client.post("/v1/orders", json=body)
    assert (again.status_code, [line["line"] for line in again.json()["lines"]]) == (200, ["a", "b"])
    other = {"order_id": order, "lines": [{"sku": sku, "line": name, "qty": 5} for name in ("a", "c")]}
    assert_problem(await api.client.post("/v1/orders", json=other), 409, "order-conflict")


async def test_pieces_of_an_order_that_do_not_fit_together_are_refused_together(api: Api) -> None:
    sku, (ref,) = await shop(api, 10)
    order = new("order")
    # Each fits alone.
    lines = [{"sku": sku, "line": "a", "qty": 6}, {"sku": sku, "line": "b", "qty": 6}]
    for terms in ({"if_unavailable": "reject"}, {"hold_for": 60}):
        refused = await api.client.post("/v1/orders", json={"order_id": order, "lines": lines, **terms})
        assert_problem(refused, 409, "out-of-stock")
        assert refused.json()["skus"] == [sku]
        assert (await api.client.get(f"/v1/batches/{ref}")).json()["allocated_qty"] == 0
    assert_problem(await api.client.get(f"/v1/orders/{order}"), 404, "order-not-found")


async def test_a_hold_is_replaced_by_pieces_that_need_its_stock(api: Api) -> None:
    sku, (ref,) = await shop(api, 10)
    order = new("order")
    held = await api.client.post(
        "/v1/orders", json={"order_id": order, "lines": [{"sku": sku, "qty": 10}], "hold_for": 60}
    )
    assert held.status_code == 201
    waiting = new("order")
    await placed(api, waiting, sku, 10)
    pieces = [{"sku": sku, "line": "a", "qty": 6}, {"sku": sku, "line": "b", "qty": 4}]
    replaced = await api.client.put(f"/v1/orders/{order}/hold", json={"hold_for": 60, "lines": pieces})
    assert replaced.status_code == 200, replaced.text
    assert await names(api, order) == {"a": (6, ref), "b": (4, ref)}
    too_many = [{"sku": sku, "line": "a", "qty": 6}, {"sku": sku, "line": "b", "qty": 5}]
    refused = await api.client.put(f"/v1/orders/{order}/hold", json={"hold_for": 60, "lines": too_many})
    assert_problem(refused, 409, "out-of-stock")
    confirmed = await api.client.post("/v1/orders", json={"order_id": order, "lines": pieces})
    assert confirmed.status_code == 201
    assert {line["status"] for line in confirmed.json()["lines"]} == {"allocated"}


async def test_an_order_is_cancelled_with_all_its_pieces_and_their_stock_serves_the_queue(api: Api) -> None:
    sku, (ref,) = await shop(api, 10)
    order, waiting = new("order"), new("order")
    for name in ("a", "b"):
        await placed(api, order, sku, 5, name)
    assert (await placed(api, waiting, sku, 10, "c"))["status"] == "backordered"
    assert (await api.client.delete(f"/v1/orders/{order}")).status_code == 204
    assert await names(api, waiting) == {"c": (10, ref)}
    history = (await api.client.get(f"/v1/products/{sku}/history")).json()["items"]
    assert [(each["event"], each.get("line")) for each in history[:3]] == [
        ("line_allocated.v1", "c"),
        ("line_deallocated.v1", "b"),
        ("line_deallocated.v1", "a"),
    ]


async def test_moved_lines_lists_and_late_orders_name_their_lines(api: Api) -> None:
    sku, (ref,) = await shop(api, 1)
    late = await api.record(sku, 10, eta="2030-01-01")
    order = new("order")
    for name in ("a", "b"):
        await placed(api, order, sku, 5, name)
    listed = (await api.client.get(f"/v1/batches/{late}/lines")).json()["items"]
    assert [line["line"] for line in listed] == ["a", "b"]
    changed = (await api.client.patch(f"/v1/batches/{late}", json={"qty": 5})).json()
    assert [(move["line"], move["to_batch_ref"]) for move in changed["moved"]] == [("b", None)]
    waiting = (await api.client.get(f"/v1/backorders?sku={sku}")).json()["items"]
    assert [line["line"] for line in waiting] == ["b"]
    await api.client.patch(f"/v1/batches/{ref}", json={"qty": 5})
    assert await names(api, order) == {"a": (5, late), "b": (5, ref)}


async def test_pieces_that_a_line_holds_are_available_to_that_line(api: Api) -> None:
    sku, (ref,) = await shop(api, 10)
    order = new("order")
    await placed(api, order, sku, 10, "a", hold_for=60)
    path = f"/v1/products/{sku}/availability?qty=10&order_id={order}"
    assert (await api.client.get(path)).json()["available"] is False
    assert (await api.client.get(f"{path}&line=a")).json()["batch_ref"] == ref


async def test_bulk_takes_names(api: Api) -> None:
    sku, refs = await shop(api, 5, 5)
    order = new("order")
    items = [{"order_id": order, "sku": sku, "qty": 5, "line": name} for name in ("a", "b", "a")]
    results = (await api.client.post("/v1/allocations/bulk", json={"items": items})).json()["results"]
    assert [result["status"] for result in results] == [201, 201, 200]
    assert await names(api, order) == {"a": (5, refs[0]), "b": (5, refs[1])}
