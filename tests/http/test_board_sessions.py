"""Signing in to the board, and out."""

from pathlib import Path

import httpx

from tests.http.test_board import HTML, get
from tests.support.api import Api, assert_problem, bearer, new
from tests.support.keys import add_key
from tests.support.waiting import eventually

ORIGIN = {"Origin": "http://localhost"}


async def sign_in(api: Api, key: str, target: str = "/board", **headers: str) -> httpx.Response:
    form = {"credentials": key, "next": target}
    return await api.client.post("/board/session", data=form, headers=HTML | ORIGIN | headers)


async def test_a_key_is_traded_for_a_cookie_that_is_good_for_pages_only(keyed: Api, key_file: Path) -> None:
    key = add_key(key_file, "ana", ["read", "stock:write"])
    elsewhere = await sign_in(keyed, key, Host="shop.example", Origin="https://shop.example")
    assert "Secure" in elsewhere.headers["set-cookie"].split("; ")
    keyed.client.cookies.clear()
    refused = await keyed.client.get("/board/products?low_stock=true", headers=HTML)
    assert refused.status_code == 303
    assert refused.headers["location"] == "/board/sign-in?next=%2Fboard%2Fproducts%3Flow_stock%3Dtrue"
    assert_problem(await keyed.client.get("/board"), 401, "unauthenticated")
    assert (await keyed.client.get(refused.headers["location"])).status_code == 200

    signed_in = await sign_in(keyed, key, "/board/products?low_stock=true")

    assert (signed_in.status_code, signed_in.headers["location"]) == (303, "/board/products?low_stock=true")
    cookie = signed_in.headers["set-cookie"]
    assert {"HttpOnly", "Path=/board", "SameSite=strict"} <= set(cookie.split("; "))
    assert "Secure" not in cookie
    assert "Sign out" in (await get(keyed, "")).text
    # The header of a caller takes precedence, and the API ignores the cookie.
    assert (await keyed.client.get("/board", headers=bearer("other"))).status_code == 401
    assert (await keyed.client.get("/v1/products", headers={"Cookie": cookie.partition(";")[0]})).status_code == 401

    # Without its key the cookie is worthless.
    key_file.write_text("")
    keyed.client.cookies.set("allocation_board", key, domain="localhost.local", path="/board")
    await eventually(lambda: is_refused(keyed))


async def is_refused(api: Api) -> bool:
    return (await api.client.get("/board")).status_code == 401


async def test_signing_out_deletes_the_cookie(keyed: Api, key_file: Path) -> None:
    await sign_in(keyed, add_key(key_file, "ana", ["read"]))
    assert (await keyed.client.get("/board")).status_code == 200

    response = await keyed.client.post("/board/sign-out", headers=ORIGIN)

    assert (response.status_code, response.headers["location"]) == (303, "/board/sign-in")
    assert (await keyed.client.get("/board")).status_code == 401


async def test_signing_in_is_refused(keyed: Api, key_file: Path) -> None:
    key, writer = add_key(key_file, "ana", ["read"]), add_key(key_file, "bob", ["stock:write"])
    wrong = await sign_in(keyed, new("key"))
    assert (wrong.status_code, "set-cookie" in wrong.headers) == (401, False)
    assert "the API key is unknown" in wrong.text
    assert (await sign_in(keyed, "")).status_code == 401
    assert (await sign_in(keyed, writer)).status_code == 403
    for origin in ("http://evil.example", "null", "http://localhost:99"):
        foreign = await sign_in(keyed, key, Origin=origin)
        assert (foreign.status_code, "set-cookie" in foreign.headers) == (403, False)
        assert (await keyed.client.post("/board/sign-out", headers={"Origin": origin})).status_code == 403
    for target in (
        "//evil.example",
        "https://evil.example",
        "/boardx",
        "/board\\evil",
        "/v1/products",
        "/board/\r\nX: y",
    ):
        assert (await sign_in(keyed, key, target)).headers["location"] == "/board"
    large = await keyed.client.post("/board/session", content=b"x" * 20_000, headers=ORIGIN)
    assert_problem(large, 413, "payload-too-large")


async def test_a_problem_has_the_menu_and_the_search_for_those_who_are_signed_in(keyed: Api, key_file: Path) -> None:
    foreign = await keyed.client.post("/board/sign-out", headers={"Origin": "null", "Accept": "text/html"})
    assert foreign.status_code == 403
    assert "/board/search" not in foreign.text
    keyed.client.headers.update(bearer(add_key(key_file, "ana", ["read"])))
    problem = await keyed.client.get("/board/orders/none", headers={"Accept": "text/html"})
    assert problem.status_code == 404
    for part in ("The order does not exist", 'action="/board/search"', "/board/backorders", "Sign out"):
        assert part in problem.text
