"""Changes of stock: reasons and references, expected quantities, and delays that move lines."""

import pytest

from tests.support.api import Api, assert_invalid, assert_problem, new


async def test_a_change_that_expects_another_quantity_is_refused_with_the_present_one(api: Api) -> None:
    ref = await api.record(new("sku"), 10)

    refused = await api.client.patch(f"/v1/batches/{ref}", json={"qty": 7, "eta": "2011-01-02", "expected_qty": 9})

    assert assert_problem(refused, 409, "quantity-changed")["present_qty"] == 10
    batch = await api.batch(ref)
    assert (batch["qty"], batch["eta"]) == (10, None)


async def test_a_change_with_the_right_expected_quantity_is_made_and_can_be_repeated(api: Api) -> None:
    ref = await api.record(new("sku"), 10)
    body = {"qty": 7, "expected_qty": 10, "reason": "damaged", "reference": "report 17 of Ana"}

    answers = [await api.client.patch(f"/v1/batches/{ref}", json=body) for _ in range(2)]

    assert [(answer.status_code, answer.json()["qty"]) for answer in answers] == [(200, 7)] * 2


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({"qty": 1, "reason": "stolen"}, ["body", "reason"]),
        ({"qty": 1, "reason": None}, ["body", "reason"]),
        ({"qty": 1, "reference": ""}, ["body", "reference"]),
        ({"qty": 1, "reference": "x" * 256}, ["body", "reference"]),
        ({"qty": 1, "expected_qty": "1"}, ["body", "expected_qty"]),
        ({"qty": 1, "expected_qty": None}, ["body", "expected_qty"]),
        ({"eta": None, "reallocate": 1}, ["body", "reallocate"]),
        ({"eta": None, "reason": "lost"}, ["body"]),
        ({"eta": None, "expected_qty": 1}, ["body"]),
        ({"qty": 1, "reallocate": True}, ["body"]),
    ],
)
async def test_invalid_changes_are_refused(api: Api, body: dict[str, object], where: list[str | int]) -> None:
    assert_invalid(await api.client.patch("/v1/batches/batch-1", json=body), where)


@pytest.mark.parametrize(
    "character", ["\n", "\r", "\x00", "\x1b", "\x7f", "\x85", "\u2028", "\u2029", "\u202e", "\u2066"]
)
async def test_a_reference_is_one_line_without_control_characters(api: Api, character: str) -> None:
    ref = await api.record(new("sku"), 5)
    for reference in (character, f"report{character}17"):
        answer = await api.client.patch(f"/v1/batches/{ref}", json={"qty": 1, "reference": reference})
        assert_invalid(answer, ["body", "reference"])
    assert (await api.batch(ref))["qty"] == 5


@pytest.mark.parametrize(
    "reference", [" ", "Prüfung 17 · 検査", "a\u00a0b", "\U0001f469\u200d\U0001f527", "\u0645\u06cc\u200c\u062e"]
)
async def test_a_reference_is_in_any_language(api: Api, reference: str) -> None:
    ref = await api.record(new("sku"), 5)
    await api.change(ref, qty=1, reference=reference)


async def test_lines_of_a_late_batch_move_to_one_that_serves_them_sooner(api: Api) -> None:
    sku = new("sku")
    late = await api.record(sku, 10, eta="2011-01-02")
    sooner = await api.record(sku, 5, eta="2011-01-03")
    first, second, third = [await api.order(sku, qty) for qty in (4, 3, 1)]

    moved = await api.moved(late, eta="2011-02-01", reallocate=True)

    assert moved == [(first, sooner), (third, sooner)]
    assert [await api.batch_of(order) for order in (first, second, third)] == [sooner, late, sooner]
    assert await api.moved(late, eta="2011-02-01", reallocate=True) == []


async def test_lines_of_a_late_batch_stay_by_default(api: Api) -> None:
    sku = new("sku")
    late = await api.record(sku, 10, eta="2011-01-02")
    await api.record(sku, 5, eta="2011-01-03")
    order = await api.order(sku, 4)

    assert await api.moved(late, eta="2011-02-01") == []
    assert await api.batch_of(order) == late


async def test_many_lines_of_a_late_batch_move_page_by_page(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.service_layer.batch_handlers.LATE_LINES", 3)
    sku = new("sku")
    late = await api.record(sku, 20, eta="2011-01-02")
    sooner = await api.record(sku, 8, eta="2011-01-03")
    orders = [await api.order(sku, 1) for _ in range(20)]

    moved = await api.moved(late, eta="2011-02-01", reallocate=True)

    assert moved == [(order, sooner) for order in orders[:8]]
