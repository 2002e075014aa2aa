"""Carts, as a caller sees them: items, prices, entity tags and repetitions."""

import asyncio
import uuid

import httpx
import pytest

from app.bootstrap import bootstrap
from app.settings import Settings
from tests.support.api import Api, Json, assert_invalid, assert_problem, in_process, new

LARGEST = 2**53 - 1


async def put(api: Api, cart: str, sku: str, qty: int, unit_price: int, **more: object) -> httpx.Response:
    """Set an item; `more` are further fields of the body."""
    return await api.client.put(f"/v1/carts/{cart}/items/{sku}", json={"qty": qty, "unit_price": unit_price, **more})


async def add(
    api: Api, cart: str, sku: str, qty: int, unit_price: int, *, key: str | None = None, **more: object
) -> httpx.Response:
    """Add pieces, with a new key unless one is given; `more` are further fields of the body."""
    body = {"sku": sku, "qty": qty, "unit_price": unit_price, **more}
    headers = {"Idempotency-Key": key or uuid.uuid4().hex}
    return await api.client.post(f"/v1/carts/{cart}/items", json=body, headers=headers)


async def cart_of(api: Api, cart: str) -> Json:
    answer = await api.client.get(f"/v1/carts/{cart}")
    assert answer.status_code == 200, answer.text
    shown: Json = answer.json()
    assert answer.headers["etag"] == f'"{shown["version"]}"'
    return shown


def items_of(cart: Json) -> list[tuple[str, int, int]]:
    return [(item["sku"], item["qty"], item["unit_price"]) for item in cart["items"]]


async def test_an_item_is_set_and_the_first_one_makes_the_cart(api: Api) -> None:
    cart = new("cart")
    assert_problem(await api.client.get(f"/v1/carts/{cart}"), 404, "cart-not-found")

    made = await put(api, cart, "TABLE", 1, 12_000)
    changed = await put(api, cart, "CHAIR", 2, 4990)

    assert (made.status_code, changed.status_code) == (201, 201)
    assert changed.json() == {
        "cart_id": cart,
        "currency": "EUR",
        "status": "open",
        "order_id": None,
        "items": [{"sku": "CHAIR", "qty": 2, "unit_price": 4990}, {"sku": "TABLE", "qty": 1, "unit_price": 12_000}],
        "total": 21_980,
        "version": 2,
    }
    assert changed.headers["etag"] == '"2"'
    assert await cart_of(api, cart) == changed.json()
    head = await api.client.head(f"/v1/carts/{cart}")
    assert (head.status_code, head.headers["etag"]) == (200, '"2"')


async def test_setting_an_item_may_be_repeated(api: Api) -> None:
    cart = new("cart")
    first = await put(api, cart, "CHAIR", 2, 4990)
    again = await put(api, cart, "CHAIR", 2, 4990)
    assert (again.status_code, again.json(), again.headers["etag"]) == (200, first.json(), first.headers["etag"])

    lower = await put(api, cart, "CHAIR", 1, 0)
    assert (lower.status_code, items_of(lower.json()), lower.json()["total"]) == (200, [("CHAIR", 1, 0)], 0)

    headers = {"Idempotency-Key": uuid.uuid4().hex}
    body = {"qty": 3, "unit_price": 1}
    path = f"/v1/carts/{cart}/items/CHAIR"
    keyed = await api.client.put(path, json=body, headers=headers)
    await put(api, cart, "CHAIR", 9, 9)
    repeated = await api.client.put(path, json=body, headers=headers)
    assert (repeated.status_code, repeated.content) == (200, keyed.content)
    assert items_of(await cart_of(api, cart)) == [("CHAIR", 9, 9)]


async def test_pieces_are_added_once_for_each_key(api: Api) -> None:
    cart, key = new("cart"), uuid.uuid4().hex

    answers = [await add(api, cart, "CHAIR", 2, 4990, key=key) for _ in range(3)]
    assert {(answer.status_code, answer.content, answer.headers["etag"]) for answer in answers} == {
        (200, answers[0].content, '"1"')
    }
    more = await add(api, cart, "CHAIR", 1, 4990)
    assert (items_of(more.json()), more.json()["total"]) == ([("CHAIR", 3, 4990)], 14_970)
    assert_problem(await add(api, cart, "CHAIR", 3, 4990, key=key), 422, "idempotency-key-reused")


async def test_adding_needs_a_key(api: Api) -> None:
    cart = new("cart")
    answer = await api.client.post(f"/v1/carts/{cart}/items", json={"sku": "CHAIR", "qty": 1, "unit_price": 1})

    assert_problem(answer, 400, "idempotency-key-required")
    assert_problem(await api.client.get(f"/v1/carts/{cart}"), 404, "cart-not-found")


async def test_pieces_are_added_at_the_same_price_only(api: Api) -> None:
    cart = new("cart")
    await put(api, cart, "CHAIR", 1, 4990)

    key = uuid.uuid4().hex
    for _ in range(2):
        assert_problem(await add(api, cart, "CHAIR", 1, 5990, key=key), 409, "price-changed")

    assert items_of(await cart_of(api, cart)) == [("CHAIR", 1, 4990)]


@pytest.mark.parametrize(("query", "left"), [("?qty=1", [("CHAIR", 2, 1)]), ("?qty=3", []), ("?qty=4", []), ("", [])])
async def test_pieces_are_removed(api: Api, query: str, left: list[tuple[str, int, int]]) -> None:
    cart = new("cart")
    await put(api, cart, "CHAIR", 3, 1)

    answer = await api.client.delete(f"/v1/carts/{cart}/items/CHAIR{query}")

    assert (answer.status_code, answer.content, answer.headers["etag"]) == (204, b"", '"2"')
    assert items_of(await cart_of(api, cart)) == left


async def test_removing_what_is_absent_changes_nothing(api: Api) -> None:
    cart = new("cart")
    absent = await api.client.delete(f"/v1/carts/{cart}/items/CHAIR")
    assert (absent.status_code, "etag" in absent.headers) == (204, False)
    assert_problem(await api.client.get(f"/v1/carts/{cart}"), 404, "cart-not-found")

    await put(api, cart, "CHAIR", 3, 1)
    for _ in range(2):
        assert (await api.client.delete(f"/v1/carts/{cart}/items/TABLE?qty=1")).headers["etag"] == '"1"'


async def test_removing_with_a_key_takes_effect_once(api: Api) -> None:
    cart = new("cart")
    await put(api, cart, "CHAIR", 3, 1)
    headers = {"Idempotency-Key": uuid.uuid4().hex}

    answers = [await api.client.delete(f"/v1/carts/{cart}/items/CHAIR?qty=1", headers=headers) for _ in range(3)]

    assert {answer.status_code for answer in answers} == {204}
    assert items_of(await cart_of(api, cart)) == [("CHAIR", 2, 1)]


async def test_a_cart_has_one_currency(api: Api, shared_settings: Settings) -> None:
    cart = new("cart")
    made = await put(api, cart, "CHAIR", 1, 100, currency="CHF")
    assert made.json()["currency"] == "CHF"
    assert (await put(api, cart, "TABLE", 1, 100)).json()["currency"] == "CHF"
    for answer in (
        await put(api, cart, "CHAIR", 1, 100, currency="EUR"),
        await add(api, cart, "LAMP", 1, 100, currency="EUR"),
    ):
        assert_problem(answer, 409, "currency-mismatch")
    assert (await add(api, cart, "LAMP", 1, 100, currency="CHF")).status_code == 200

    elsewhere = shared_settings.model_copy(update={"cart_currency": "SEK"})
    async with bootstrap(elsewhere) as service, in_process(service) as swedish:
        assert (await put(swedish, new("cart"), "CHAIR", 1, 100)).json()["currency"] == "SEK"
        assert (await add(swedish, new("cart"), "CHAIR", 1, 100)).json()["currency"] == "SEK"


async def test_limits_are_refused_and_change_nothing(api: Api) -> None:
    cart = new("cart")
    await put(api, cart, "CHAIR", 1, LARGEST)
    for answer in (
        await put(api, cart, "CHAIR", 2, LARGEST),
        await put(api, cart, "TABLE", 1, 1),
        await add(api, cart, "CHAIR", 1, LARGEST),
    ):
        assert_problem(answer, 422, "cart-limit-exceeded")
    assert (await cart_of(api, cart))["total"] == LARGEST

    full = new("cart")
    for number in range(100):
        assert (await put(api, full, f"SKU-{number}", 1, 1)).status_code == 201
    assert_problem(await put(api, full, "SKU-100", 1, 1), 422, "cart-limit-exceeded")
    assert_problem(await add(api, full, "SKU-100", 1, 1), 422, "cart-limit-exceeded")
    assert len((await cart_of(api, full))["items"]) == 100
    assert_problem(await put(api, new("cart"), "CHAIR", 2, LARGEST), 422, "cart-limit-exceeded")


async def test_values_of_another_form_are_refused(api: Api) -> None:
    cart = new("cart")
    for values, place in (
        ({"qty": 0, "unit_price": 1}, "qty"),
        ({"qty": 1, "unit_price": -1}, "unit_price"),
        ({"qty": 1, "unit_price": 1.5}, "unit_price"),
        ({"qty": 1, "unit_price": LARGEST + 1}, "unit_price"),
        ({"qty": 1, "unit_price": 1, "currency": "eur"}, "currency"),
        ({"qty": 1, "unit_price": 1, "currency": None}, "currency"),
        ({"qty": 1, "unit_price": 1, "price": 1}, "price"),
        ({"qty": 1}, "unit_price"),
    ):
        answer = await api.client.put(f"/v1/carts/{cart}/items/CHAIR", json=values)
        assert_invalid(answer, ["body", place])
    for query in ("qty=0", "qty=1.5", "qty=-1", "qty="):
        assert_invalid(await api.client.delete(f"/v1/carts/{cart}/items/CHAIR?{query}"), ["query", "qty"])


# --- conditional requests -------------------------------------------------------------------------------------------


async def test_a_current_cart_is_not_sent_again(api: Api) -> None:
    cart = new("cart")
    await put(api, cart, "CHAIR", 1, 1)
    path = f"/v1/carts/{cart}"

    known = await api.client.get(path, headers={"If-None-Match": '"1"'})
    assert (known.status_code, known.content, known.headers["etag"]) == (304, b"", '"1"')
    assert_problem(await api.client.get(path, headers={"If-Match": '"2"'}), 412, "precondition-failed")
    await put(api, cart, "CHAIR", 2, 1)
    assert (await api.client.get(path, headers={"If-None-Match": '"1"'})).status_code == 200


async def test_every_write_compares_the_tag(api: Api) -> None:
    cart, sku = new("cart"), new("sku")
    await api.record(sku, 10)
    tag = (await put(api, cart, sku, 1, 1)).headers["etag"]
    path = f"/v1/carts/{cart}"
    item: Json = {"qty": 2, "unit_price": 1}
    calls: list[tuple[str, str, Json | None]] = [
        ("PUT", f"{path}/items/{sku}", item),
        ("POST", f"{path}/items", {"sku": sku, **item}),
        ("DELETE", f"{path}/items/{sku}?qty=1", None),
        ("POST", f"{path}/checkout", {}),
    ]

    async def call(method: str, target: str, body: Json | None, tags: str) -> httpx.Response:
        headers = {"If-Match": tags, "Idempotency-Key": uuid.uuid4().hex}
        return await api.client.request(method, target, json=body, headers=headers)

    for each in calls:
        before = await cart_of(api, cart)
        assert_problem(await call(*each, '"0", W/"1"'), 412, "precondition-failed")
        assert await cart_of(api, cart) == before
        done = await call(*each, tag)
        assert done.status_code < 300, done.text
        tag = done.headers["etag"]
        assert tag == f'"{(await cart_of(api, cart))["version"]}"'
    assert tag == '"5"'


async def test_a_cart_that_does_not_exist_matches_no_tag(api: Api) -> None:
    cart = new("cart")
    path = f"/v1/carts/{cart}"
    headers = {"If-Match": "*", "Idempotency-Key": uuid.uuid4().hex}
    item: Json = {"qty": 2, "unit_price": 1}

    refused = [
        await api.client.put(f"{path}/items/CHAIR", json=item, headers=headers),
        await api.client.delete(f"{path}/items/CHAIR", headers={"If-Match": "*"}),
    ]

    for answer in refused:
        assert_problem(answer, 412, "precondition-failed")
    checkout = await api.client.post(f"{path}/checkout", json={}, headers={"If-Match": "*"})
    assert_problem(checkout, 404, "cart-not-found")


async def test_pieces_that_are_added_at_once_at_two_instances_are_all_counted(api: Api, other_api: Api) -> None:
    for _ in range(5):
        cart = new("cart")
        answers = await asyncio.gather(
            *(add((api, other_api)[number % 2], cart, "CHAIR", 1, 100) for number in range(20))
        )

        assert {answer.status_code for answer in answers} == {200}
        assert sorted(answer.json()["version"] for answer in answers) == list(range(1, 21))
        assert items_of(await cart_of(api, cart)) == [("CHAIR", 20, 100)]


async def test_the_first_item_that_is_set_at_once_makes_one_cart(api: Api, other_api: Api) -> None:
    for _ in range(5):
        cart = new("cart")
        answers = await asyncio.gather(
            *(put((api, other_api)[number % 2], cart, f"SKU-{number}", 1, 1) for number in range(10))
        )

        assert {answer.status_code for answer in answers} == {201}
        assert (await cart_of(api, cart))["total"] == 10


async def test_of_two_changes_with_one_tag_one_takes_effect(api: Api, other_api: Api) -> None:
    cart = new("cart")
    tag = (await put(api, cart, "CHAIR", 1, 1)).headers["etag"]
    path = f"/v1/carts/{cart}/items/CHAIR"

    answers = await asyncio.gather(
        *(
            caller.client.put(path, json={"qty": 10 + number, "unit_price": 1}, headers={"If-Match": tag})
            for number, caller in enumerate((api, other_api) * 3)
        )
    )

    assert sorted(answer.status_code for answer in answers) == [200] + [412] * 5
