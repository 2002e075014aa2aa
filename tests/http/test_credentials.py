"""Credentials: the forms that are accepted, the challenge for all others, and no trace of them."""

import logging

import pytest

from tests.support.api import Api, assert_problem, bearer


async def test_the_challenge_names_the_accepted_credentials(locked: Api, keys_with: dict[str, str]) -> None:
    path = "/v1/batches/batch-1"
    nothing = await locked.client.get(path)
    assert nothing.headers["www-authenticate"] == 'Bearer realm="allocation"'
    wrong = await locked.client.get(path, headers=bearer("wrong"))
    assert wrong.headers["www-authenticate"].startswith('Bearer realm="allocation", error="invalid_token", error_d')
    lacking = await locked.client.get(path, headers=bearer(keys_with["admin"]))
    assert lacking.headers["www-authenticate"] == (
        'Bearer realm="allocation", error="insufficient_scope", scope="read"'
    )


async def test_credentials_are_accepted_in_every_valid_form(locked: Api, keys_with: dict[str, str]) -> None:
    key = keys_with["read"]
    for headers in ({"authorization": f"bearer {key}"}, {"AUTHORIZATION": f"BEARER  {key} "}, {"x-api-key": key}):
        assert (await locked.client.get("/v1/batches/batch-1", headers=headers)).status_code == 404


@pytest.mark.parametrize(
    "headers",
    [
        [("Authorization", "Bearer")],
        [("Authorization", "Bearer ")],
        [("Authorization", "{key}")],
        [("Authorization", "Basic {key}")],
        [("Authorization", "Bearer {key} {key}")],
        [("Authorization", "Bearer {key}"), ("Authorization", "Bearer {key}")],
        [("Authorization", "Bearer {key}"), ("X-API-Key", "{key}")],
        [("X-API-Key", "")],
        [("X-API-Key", "Bearer {key}")],
        [("Cookie", "key={key}")],
    ],
    ids=str,
)
async def test_credentials_in_any_other_form_are_refused(
    locked: Api, keys_with: dict[str, str], headers: list[tuple[str, str]]
) -> None:
    shown = [(name, value.format(key=keys_with["read"])) for name, value in headers]
    answer = await locked.client.get("/v1/batches/batch-1", headers=shown)
    assert_problem(answer, 401, "unauthenticated")
    assert keys_with["read"] not in answer.text
    assert keys_with["read"] not in answer.headers["www-authenticate"]


async def test_a_key_in_the_url_is_refused(locked: Api, keys_with: dict[str, str]) -> None:
    for name in ("access_token", "api_key", "X-API-Key"):
        answer = await locked.client.get("/v1/batches/batch-1", params={name: keys_with["read"]})
        assert_problem(answer, 401, "unauthenticated")
        assert keys_with["read"] not in answer.text


async def test_no_credentials_are_logged_or_counted(
    locked: Api, keys_with: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    secrets = [keys_with["read"], keys_with["admin"], "wrong-and-secret"]
    for secret in secrets:
        answer = await locked.client.get("/v1/batches/batch-1", headers=bearer(secret))
        assert secret not in answer.text
        assert secret not in str(answer.headers)
    metrics = (await locked.client.get("/metrics")).text
    for secret in secrets:
        assert secret not in metrics
        assert secret not in caplog.text
