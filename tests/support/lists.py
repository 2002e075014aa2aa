"""Reads pages of lists."""

from tests.support.api import Api, Json


async def page(api: Api, path: str, **query: str | int) -> Json:
    answer = await api.client.get(f"/v1/{path}", params=query)
    assert answer.status_code == 200, answer.text
    found: Json = answer.json()
    assert set(found) == {"items", "next_cursor", "count", "count_is_exact"}
    return found
