"""Query parameters have one form; an unknown, repeated, missing or invalid one is refused by its name."""

import pytest

from tests.support.api import Api, assert_invalid, new

LISTS = ["/v1/products", "/v1/batches", "/v1/backorders"]


@pytest.mark.parametrize("path", LISTS)
async def test_an_unknown_parameter_is_refused(api: Api, path: str) -> None:
    assert_invalid(await api.client.get(f"{path}?colour=red&Limit=1"), ["query", "colour"], ["query", "Limit"])


@pytest.mark.parametrize("path", LISTS)
async def test_a_repeated_parameter_is_refused(api: Api, path: str) -> None:
    assert_invalid(await api.client.get(f"{path}?limit=1&limit=1"), ["query", "limit"])


async def test_a_missing_parameter_is_refused(api: Api) -> None:
    assert_invalid(await api.client.get(f"/v1/products/{new('sku')}/availability"), ["query", "qty"])


@pytest.mark.parametrize("limit", ["0", "-1", "201", "1.0", "1e1", " 1", "+1", "1_0", "ten", "", "9" * 30])
async def test_a_page_has_one_to_two_hundred_items(api: Api, limit: str) -> None:
    for path in (*LISTS, "/v1/products/sku-1/history"):
        assert_invalid(await api.client.get(path, params={"limit": limit}), ["query", "limit"])


@pytest.mark.parametrize("limit", [1, 200])
async def test_the_bounds_are_accepted(api: Api, limit: int) -> None:
    for path in LISTS:
        assert (await api.client.get(path, params={"limit": limit})).status_code == 200


@pytest.mark.parametrize(
    "day",
    ["2030-13-01", "2030-02-30", "2030-1-1", "20300101", "2030-01-01T00:00:00", "1893456000", "01.02.2030", "null", ""],
)
async def test_a_day_is_written_year_month_day(api: Api, day: str) -> None:
    assert_invalid(await api.client.get("/v1/batches", params={"arriving_by": day}), ["query", "arriving_by"])
    asked = {"qty": "1", "by": day}
    assert_invalid(await api.client.get("/v1/products/sku-1/availability", params=asked), ["query", "by"])


@pytest.mark.parametrize("flag", ["yes", "1", "True", "on", "", "null"])
async def test_a_flag_is_true_or_false(api: Api, flag: str) -> None:
    for name in ("low_stock", "backordered"):
        assert_invalid(await api.client.get("/v1/products", params={name: flag}), ["query", name])
    body = {"order_id": "order-1", "sku": "sku-1", "qty": 1}
    answer = await api.client.post("/v1/allocations", params={"dry_run": flag}, json=body)
    assert_invalid(answer, ["query", "dry_run"])


@pytest.mark.parametrize("qty", ["0", "-1", "2147483648", "1.0", "one", ""])
async def test_a_quantity_is_a_whole_number_of_pieces(api: Api, qty: str) -> None:
    answer = await api.client.get("/v1/products/sku-1/availability", params={"qty": qty})
    assert_invalid(answer, ["query", "qty"])


@pytest.mark.parametrize("sku", ["", " A", "a b", "ä", "x" * 256, "\x00"])
async def test_an_identifier_has_the_form_of_one(api: Api, sku: str) -> None:
    for path in ("/v1/batches", "/v1/backorders"):
        assert_invalid(await api.client.get(path, params={"sku": sku}), ["query", "sku"])


async def test_all_wrong_parameters_are_reported_together(api: Api) -> None:
    answer = await api.client.get("/v1/batches?limit=0&arriving_by=soon&colour=red")
    assert_invalid(answer, ["query", "limit"], ["query", "arriving_by"], ["query", "colour"])
